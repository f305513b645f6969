"""Tiny projects of each package manager, with packages from the real registry."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from builder.tests.stage import BUILDER, npm_package
from tidegate_builder.package_manager import known_versions

COREPACK = BUILDER / "node_modules/corepack/dist/corepack.js"
BUILD = (
    "const n = require('is-number'), fs = require('fs');"
    "fs.mkdirSync('dist'); fs.writeFileSync('dist/index.html', 'is ' + n(7));"
)
PACKAGE = npm_package(scripts={"build": "node build.cjs"}, dependencies={"is-number": "7.0.0"})

pytestmark = [
    pytest.mark.xdist_group("real-installs"),
    pytest.mark.timeout(300),
]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def stage(stage, cache):
    stage.cache = cache
    stage.repository_path.mkdir()
    return stage


def tool(stage, *arguments):
    """Run a package manager as a developer would, to make the lock file."""
    registry = subprocess.check_output(
        ("npm", "config", "get", "registry"), text=True, stderr=subprocess.DEVNULL
    ).strip()
    environment = {
        **{name: value for name, value in os.environ.items() if name not in {"CI", "NODE_ENV"}},
        "COREPACK_HOME": str(stage.cache / "corepack"),
        "COREPACK_ENABLE_AUTO_PIN": "0",
        "COREPACK_ENABLE_DOWNLOAD_PROMPT": "0",
        "COREPACK_INTEGRITY_KEYS": "0",
        "COREPACK_NPM_REGISTRY": registry.rstrip("/"),
        "npm_config_cache": str(stage.cache / "npm"),
    }
    done = subprocess.run(
        arguments, cwd=stage.repository_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def commit_locked(stage, files, *arguments):
    """Write the files, let the package manager make its lock file, and commit without what it installed."""
    stage.write(files)
    tool(stage, *arguments)
    for left in ("node_modules", ".yarn", ".pnp.cjs", ".pnp.loader.mjs"):
        path = stage.repository_path / left
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    shutil.rmtree(stage.repository_path / ".git", ignore_errors=True)
    files_now = {
        str(path.relative_to(stage.repository_path)): path.read_bytes()
        for path in stage.repository_path.rglob("*")
        if path.is_file() and "node_modules" not in path.parts
    }
    shutil.rmtree(stage.repository_path)
    stage.commit(files_now)


def check_made(run, manager, *lines):
    assert run.exit_code == 0, run.log
    assert run.site["index.html"].content == b"is true"
    assert run.result["packageManager"] == manager
    for line in lines:
        assert line in run.lines


def test_npm(stage):
    commit_locked(stage, {"package.json": PACKAGE, "build.cjs": BUILD}, "npm", "install")
    check_made(stage.build(), "npm", "==> Installing with npm ci")


def test_npm_of_a_named_version(stage):
    package = PACKAGE | {"packageManager": "npm@10.9.2", "scripts": {"build": "npm --version && node build.cjs"}}
    commit_locked(stage, {"package.json": package, "build.cjs": BUILD}, "npm", "install")
    check_made(stage.build(), "npm", "==> Installing with npm ci (npm 10.9.2)", "10.9.2")


def test_yarn_classic_by_its_lock_file(stage):
    package = PACKAGE | {"scripts": {"build": "yarn --version && yarn run really", "really": "node build.cjs"}}
    yarn = f"yarn@{known_versions()['yarn']['1']}"
    commit_locked(stage, {"package.json": package, "build.cjs": BUILD}, "node", str(COREPACK), yarn, "install")
    check_made(stage.build(), "yarn", "==> Installing with yarn install --frozen-lockfile (yarn 1.22.22)", "1.22.22")


@pytest.mark.parametrize("lock_version", ["6", "8", "newest"])
def test_modern_yarn_by_its_lock_file(stage, lock_version):
    yarn = known_versions()["yarn"][lock_version]
    files = {"package.json": PACKAGE, "build.cjs": BUILD, "yarn.lock": ""}
    commit_locked(stage, files, "node", str(COREPACK), f"yarn@{yarn}", "install")
    version = yarn.partition("+")[0]
    # Plug'n'Play: there is no node_modules, so only yarn's own `node` finds the package.
    check_made(stage.build(), "yarn", f"==> Installing with yarn install --immutable (yarn {version})")


def test_yarn_by_package_manager(stage):
    package = PACKAGE | {"packageManager": "yarn@4.5.0"}
    files = {"package.json": package, "build.cjs": BUILD, "yarn.lock": "", ".yarnrc.yml": "nodeLinker: node-modules\n"}
    commit_locked(stage, files, "node", str(COREPACK), "yarn", "install")
    check_made(stage.build(), "yarn", "==> Installing with yarn install --immutable (yarn 4.5.0)")


@pytest.mark.parametrize("lock_version", ["5", "6", "9"])
def test_pnpm_by_its_lock_file(stage, lock_version):
    pnpm = known_versions()["pnpm"][lock_version]
    files = {"package.json": PACKAGE, "build.cjs": BUILD}
    commit_locked(stage, files, "node", str(COREPACK), f"pnpm@{pnpm}", "install")
    version = pnpm.partition("+")[0]
    check_made(stage.build(), "pnpm", f"==> Installing with pnpm install --frozen-lockfile (pnpm {version})")


def test_pnpm_by_package_manager(stage):
    package = PACKAGE | {"packageManager": "pnpm@9.15.9", "scripts": {"build": "pnpm --version && node build.cjs"}}
    commit_locked(stage, {"package.json": package, "build.cjs": BUILD}, "node", str(COREPACK), "pnpm", "install")
    check_made(stage.build(), "pnpm", "==> Installing with pnpm install --frozen-lockfile (pnpm 9.15.9)", "9.15.9")


@pytest.mark.parametrize("manager", ["npm", "yarn", "pnpm"])
def test_a_workspaces_member(stage, manager):
    files = {
        "package.json": npm_package(workspaces=["apps/*", "packages/*"]),
        "packages/shared/package.json": npm_package(
            name="shared", main="index.js", dependencies={"is-number": "7.0.0"}
        ),
        "packages/shared/index.js": "module.exports = require('is-number');",
        "apps/web/package.json": npm_package(
            name="web",
            scripts={"build": "node build.cjs"},
            dependencies={"shared": "workspace:*" if manager == "pnpm" else "1.0.0"},
        ),
        "apps/web/build.cjs": BUILD.replace("'is-number'", "'shared'"),
    }
    if manager == "pnpm":
        files["pnpm-workspace.yaml"] = "packages:\n  - apps/*\n  - packages/*\n"
    version = {"yarn": known_versions()["yarn"]["1"], "pnpm": known_versions()["pnpm"]["9"]}.get(manager)
    command = ("node", str(COREPACK), f"{manager}@{version}") if version else ("npm",)
    commit_locked(stage, files, *command, "install")
    assert not (stage.repository_path / "apps/web/package-lock.json").exists()
    check_made(stage.build(settings__rootDirectory="apps/web"), manager)


def test_a_framework_without_a_build_script(stage):
    package = npm_package(devDependencies={"vite": "^8.3.8"})
    shutil.rmtree(stage.repository_path)
    page = "<script type=module src=/m.js></script>"
    stage.commit({"package.json": package, "index.html": page, "m.js": "alert(1)"})
    run = stage.build()
    assert run.exit_code == 0, run.log
    assert run.result["framework"] == "vite"
    assert "==> Building with vite build (Vite)" in run.lines
    script = next(path for path in run.site if path.endswith(".js"))
    assert run.site[script].cache_control == "public, max-age=31536000, immutable"


def test_the_example_is_published_byte_for_byte_as_a_plain_build_makes_it(stage, tmp_path):
    example = BUILDER.parent / "examples/harbour"
    files = {
        str(path.relative_to(example)): path.read_bytes()
        for path in example.rglob("*")
        if path.is_file() and not {"node_modules", "dist"} & set(path.relative_to(example).parts)
    }
    shutil.rmtree(stage.repository_path)
    stage.commit(files)
    run = stage.build()
    assert run.exit_code == 0, run.log
    plain = tmp_path / "plain"
    subprocess.run(("git", "clone", "--quiet", stage.repository_path, plain), check=True)
    for command in (("npm", "ci"), ("npm", "run", "build")):
        subprocess.run(command, cwd=plain, check=True, capture_output=True)
    made = {
        str(path.relative_to(plain / "dist")): path.read_bytes()
        for path in Path(plain / "dist").rglob("*")
        if path.is_file()
    }
    assert {path: stored.content for path, stored in run.site.items()} == made
    assert run.result["framework"] == "vite"

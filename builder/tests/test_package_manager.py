"""Which package manager, which version, and where it installs."""

import json

import pytest

from tidegate_builder.failure import Code, StepFailed
from tidegate_builder.package_manager import find_package_manager, known_versions, read_package

YARN_CLASSIC = "# yarn lockfile v1\n\n\n"
YARN_BERRY = "# This file is generated\n\n__metadata:\n  version: {}\n  cacheKey: 10c0\n"


@pytest.fixture
def make(tmp_path):
    def write(files):
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(content) if isinstance(content, dict) else content)
        return tmp_path

    return write


def found(checkout, project="."):
    directory = (checkout / project).resolve()
    manager = find_package_manager(directory, checkout)
    where = manager.directory.relative_to(checkout).as_posix()
    return " ".join(manager.install()), (manager.version or "").partition("+")[0], where


@pytest.mark.parametrize(
    ("files", "command", "version"),
    [
        ({}, "npm install", ""),
        ({"package-lock.json": "{}"}, "npm ci", ""),
        ({"npm-shrinkwrap.json": "{}"}, "npm ci", ""),
        ({"yarn.lock": YARN_CLASSIC}, "yarn install --frozen-lockfile", "1.22.22"),
        ({"yarn.lock": YARN_BERRY.format(6)}, "yarn install --immutable", "3.8.7"),
        ({"yarn.lock": YARN_BERRY.format(8)}, "yarn install --immutable", "4.9.4"),
        (
            {"yarn.lock": YARN_BERRY.format(99)},
            "yarn install --immutable",
            known_versions()["yarn"]["newest"].split("+")[0],
        ),
        ({"pnpm-lock.yaml": "lockfileVersion: 5.4\n"}, "pnpm install --frozen-lockfile", "7.33.7"),
        ({"pnpm-lock.yaml": "lockfileVersion: '6.0'\n"}, "pnpm install --frozen-lockfile", "8.15.9"),
        ({"pnpm-lock.yaml": "lockfileVersion: '9.0'\n"}, "pnpm install --frozen-lockfile", "10.34.9"),
        ({"bun.lock": "{}"}, "bun install --frozen-lockfile", ""),
        ({"package.json": {"packageManager": "pnpm@9.1.0"}}, "pnpm install --no-frozen-lockfile", "9.1.0"),
        ({"package.json": {"packageManager": "yarn@4.2.0"}}, "yarn install --no-immutable", "4.2.0"),
        ({"package.json": {"packageManager": "yarn@1.22.0"}}, "yarn install", "1.22.0"),
        ({"package.json": {"packageManager": "npm@10.9.2"}, "package-lock.json": "{}"}, "npm ci", "10.9.2"),
        # The named version wins over the lock file's, and the named manager over another's lock file.
        (
            {"package.json": {"packageManager": "pnpm@9.1.0+sha512.abc"}, "pnpm-lock.yaml": "lockfileVersion: '6.0'\n"},
            "pnpm install --frozen-lockfile",
            "9.1.0",
        ),
        (
            {"package.json": {"packageManager": "pnpm@9.1.0"}, "package-lock.json": "{}"},
            "pnpm install --no-frozen-lockfile",
            "9.1.0",
        ),
        (
            {"package-lock.json": "{}", "pnpm-lock.yaml": "lockfileVersion: '9.0'\n"},
            "npm ci",
            "",
        ),
    ],
)
def test_the_repository_says_how_to_install(make, files, command, version):
    assert found(make({"package.json": {}, **files})) == (command, version, ".")


@pytest.mark.parametrize("workspaces", [["apps/*"], {"packages": ["./apps/web"]}, ["**"], ["!x", "apps/**"]])
def test_a_workspace_is_installed_at_its_top(make, workspaces):
    checkout = make(
        {
            "package.json": {"workspaces": workspaces},
            "package-lock.json": "{}",
            "apps/web/package.json": {"name": "web"},
        }
    )
    assert found(checkout, "apps/web") == ("npm ci", "", ".")


@pytest.mark.parametrize("workspaces", [["packages/*"], None, ["apps/*", "!apps/web"], "apps/*", ["../*"], [1]])
def test_a_directory_outside_of_the_workspace_is_installed_by_itself(make, workspaces):
    checkout = make(
        {
            "package.json": {"workspaces": workspaces},
            "package-lock.json": "{}",
            "apps/web/package.json": {"name": "web"},
        }
    )
    assert found(checkout, "apps/web") == ("npm install", "", "apps/web")


def test_a_pnpm_workspace_goes_by_its_lock_file(make):
    lock = "lockfileVersion: '9.0'\n\nimporters:\n\n  .: {}\n\n  apps/web:\n    dependencies: {}\n"
    checkout = make(
        {
            "package.json": {},
            "pnpm-workspace.yaml": "packages: ['apps/*']\n",
            "pnpm-lock.yaml": lock,
            "apps/web/package.json": {},
            "apps/web2/package.json": {},
        }
    )
    assert found(checkout, "apps/web") == ("pnpm install --frozen-lockfile", "10.34.9", ".")
    assert found(checkout, "apps/web2") == ("npm install", "", "apps/web2")


def test_an_own_lock_file_wins_over_the_workspace(make):
    checkout = make(
        {
            "package.json": {"workspaces": ["*"]},
            "yarn.lock": YARN_CLASSIC,
            "web/package.json": {},
            "web/package-lock.json": "{}",
        }
    )
    assert found(checkout, "web") == ("npm ci", "", "web")


@pytest.mark.parametrize("text", ["{", "[]", '"x"', "[" * 100_000])
def test_a_broken_package_json_is_said_to_be_broken(tmp_path, text):
    (tmp_path / "package.json").write_text(text)
    with pytest.raises(StepFailed) as raised:
        read_package(tmp_path)
    assert raised.value.failure.code == Code.SETTINGS_INVALID


def test_a_byte_order_mark_does_no_harm(tmp_path):
    (tmp_path / "package.json").write_bytes(b'\xef\xbb\xbf{"name": "x"}')
    assert read_package(tmp_path) == {"name": "x"}


@pytest.mark.parametrize("named", ["pnpm", "pnpm@latest", "pnpm@9", "cnpm@1.2.3", 7, "pnpm@9.1.0; rm -rf /", ""])
def test_a_package_manager_without_an_exact_version_is_refused(make, named):
    with pytest.raises(StepFailed) as raised:
        found(make({"package.json": {"packageManager": named}}))
    assert raised.value.failure.code == Code.SETTINGS_INVALID

"""Small programs on the PATH that start the right version of each package manager, for us and for scripts."""

import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tidegate_builder.environment import find_program
from tidegate_builder.failure import Code, failed
from tidegate_builder.package_manager import PackageManager, known_versions

COREPACK = Path(__file__).parents[1] / "node_modules/corepack/dist/corepack.js"
PROGRAMS = {"npm": ("npm", "npx"), "yarn": ("yarn", "yarnpkg"), "pnpm": ("pnpm", "pnpx")}
REGISTRY_SECONDS = 20


def require_tools(manager: PackageManager, environment: Mapping[str, str]) -> None:
    """Check that what the package manager needs is there. Raises StepFailed."""
    for program in ("node", "npm"):
        if not find_program(program, environment):
            tool = "Node.js" if program == "node" else program
            raise failed(
                Code.TOOL_MISSING,
                f"This repository has a package.json, and {tool} is not installed where the builder runs.",
                "Install Node.js 20 or later with npm there, then build again.",
            )
    if manager.name == "bun" and not find_program("bun", environment):
        raise failed(
            Code.TOOL_MISSING,
            "This repository is installed with Bun, which the builder does not have.",
            "Commit a package-lock.json, yarn.lock or pnpm-lock.yaml, or set installCommand and buildCommand.",
        )
    if manager.name in {"yarn", "pnpm"} and not COREPACK.is_file() and not find_program(manager.name, environment):
        raise failed(
            Code.TOOL_MISSING,
            f"This repository is installed with {manager.name}, and the builder lacks corepack, which starts it.",
            "Run `npm ci` in builder/ where the builder runs, then build again.",
        )


def write_launchers(directory: Path, manager: PackageManager) -> None:
    """Put launchers for yarn and pnpm, and for npm if its version is named, into `directory`."""
    if not COREPACK.is_file():
        return
    versions = {name: found["1" if name == "yarn" else "newest"] for name, found in known_versions().items()}
    if manager.version and manager.name in PROGRAMS:
        versions[manager.name] = manager.version
    for name, version in versions.items():
        for program in PROGRAMS[name]:
            launcher = directory / program
            launcher.write_text(f'#!/bin/sh\nexec node {shlex.quote(str(COREPACK))} {program}@{version} "$@"\n')
            launcher.chmod(0o755)


def registry_environment(manager: PackageManager, environment: Mapping[str, str]) -> dict[str, str]:
    """Return what makes corepack fetch modern yarn from npm's own registry, whichever that is here.

    It would else ask a further host, which a mirror or a firewall may not know.
    """
    if manager.name != "yarn" or manager.classic_yarn or not COREPACK.is_file():
        return {}
    registry = _ask("npm", "config", "get", "registry", directory=manager.directory, environment=environment)
    return {"COREPACK_NPM_REGISTRY": registry.rstrip("/")} if registry.startswith("http") else {}


def _ask(*arguments: str, directory: Path, environment: Mapping[str, str]) -> str:
    try:
        answer = subprocess.run(
            arguments,
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=REGISTRY_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return ""
    return answer.stdout.strip()

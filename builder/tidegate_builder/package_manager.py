"""Which package manager a project is installed with: its `packageManager`, its lock file, its workspace."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidegate_builder.failure import Code, failed

LOCK_FILES = {
    "package-lock.json": "npm",
    "npm-shrinkwrap.json": "npm",
    "yarn.lock": "yarn",
    "pnpm-lock.yaml": "pnpm",
    "bun.lock": "bun",
    "bun.lockb": "bun",
}
NAMED = re.compile(r"(npm|yarn|pnpm|bun)@(\d+\.\d+\.\d+[-+.\w]*)")
LOCK_HEAD_BYTES = 4096
# A version that reads each version of a lock file, with the hash that corepack checks it by.
VERSIONS_FILE = Path(__file__).with_name("package_managers.json")


@dataclass(frozen=True)
class PackageManager:
    """How to install a project, and where; `version` is None for the one that this machine has."""

    name: str
    version: str | None
    directory: Path
    locked: bool

    @property
    def classic_yarn(self) -> bool:
        return self.name == "yarn" and (self.version or "1").startswith("1.")

    @property
    def label(self) -> str:
        """The name for the log, with the version if that is not this machine's own."""
        return f"{self.name} {self.version.partition('+')[0]}" if self.version else self.name

    def install(self) -> tuple[str, ...]:
        """Return the install command; with a lock file, exactly what it says and nothing else."""
        match self.name, self.locked:
            case "npm", locked:
                return ("npm", "ci") if locked else ("npm", "install")
            case "yarn", locked if not self.classic_yarn:
                return ("yarn", "install", "--immutable" if locked else "--no-immutable")
            case "pnpm", False:
                return ("pnpm", "install", "--no-frozen-lockfile")
            case name, locked:
                return (name, "install", *(("--frozen-lockfile",) if locked else ()))

    def run(self, script: str) -> tuple[str, ...]:
        """Return the command that runs a script of package.json."""
        return (self.name, "run", script)


def read_package(directory: Path) -> Mapping[str, Any] | None:
    """Return the directory's package.json, None if there is none. Raises StepFailed if it is broken."""
    try:
        package = json.loads((directory / "package.json").read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise failed(
            Code.SETTINGS_INVALID, f"package.json cannot be read: {error}", "Make package.json valid JSON."
        ) from error
    if not isinstance(package, dict):
        raise failed(Code.SETTINGS_INVALID, "package.json is not an object.", "Make package.json a JSON object.")
    return package


def find_package_manager(project: Path, checkout: Path) -> PackageManager:
    """Find how and where to install a project: in its own directory, or in that of the workspace it belongs to."""
    directory = _install_directory(project, checkout)
    lock = _lock_file(directory)
    named = _named(project, checkout)
    if named:
        name, version = named
        locked = lock is not None and LOCK_FILES[lock.name] == name
        return PackageManager(name, version, directory, locked or bool(_lock_file(directory, name)))
    if lock:
        return PackageManager(LOCK_FILES[lock.name], _version_for(lock), directory, locked=True)
    if (directory / "pnpm-workspace.yaml").is_file():
        return PackageManager("pnpm", known_versions()["pnpm"]["newest"], directory, locked=False)
    return PackageManager("npm", None, directory, locked=False)


def _upwards(project: Path, checkout: Path) -> list[Path]:
    return [project, *(parent for parent in project.parents if parent.is_relative_to(checkout))]


def _install_directory(project: Path, checkout: Path) -> Path:
    for directory in _upwards(project, checkout):
        if _lock_file(directory) if directory == project else _holds_in_workspace(directory, project):
            return directory
    return project


def _holds_in_workspace(root: Path, project: Path) -> bool:
    """Say whether the project is a member of the workspace that `root` is the top of."""
    if (root / "pnpm-workspace.yaml").is_file():
        lock = root / "pnpm-lock.yaml"
        importer = re.compile(rf"^  ['\"]?{re.escape(project.relative_to(root).as_posix())}['\"]?:", re.MULTILINE)
        return not lock.is_file() or bool(importer.search(lock.read_text(errors="replace")))
    workspaces = (read_package(root) or {}).get("workspaces")
    patterns = workspaces.get("packages") if isinstance(workspaces, dict) else workspaces
    member = False
    for pattern in patterns if isinstance(patterns, list) else []:
        kept = str(pattern).removeprefix("!").removeprefix("./").strip("/")
        if kept and ".." not in kept and project in root.glob(kept):
            member = not str(pattern).startswith("!")
    return member


def _lock_file(directory: Path, name: str | None = None) -> Path | None:
    for file, manager in LOCK_FILES.items():
        if name in {None, manager} and (directory / file).is_file():
            return directory / file
    return None


def _named(project: Path, checkout: Path) -> tuple[str, str] | None:
    """Return what the nearest `packageManager` names."""
    for directory in _upwards(project, checkout):
        text = (read_package(directory) or {}).get("packageManager")
        if text is None:
            continue
        match = NAMED.fullmatch(text) if isinstance(text, str) else None
        if not match:
            raise failed(
                Code.SETTINGS_INVALID,
                f"package.json's packageManager {text!r} names no package manager with an exact version.",
                "Write for example pnpm@9.15.9, yarn@4.9.4 or npm@10.9.2, or leave packageManager out.",
            )
        return match[1], match[2]
    return None


def _version_for(lock: Path) -> str | None:
    """Return the version that reads this lock file."""
    with lock.open("rb") as file:
        head = file.read(LOCK_HEAD_BYTES).decode(errors="replace")
    match lock.name:
        case "pnpm-lock.yaml":
            found = re.search(r"^lockfileVersion:\s*['\"]?(\d+)", head, re.MULTILINE)
            versions = known_versions()["pnpm"]
        case "yarn.lock":
            found = re.search(r"^__metadata:\s+version:\s*['\"]?(\d+)", head, re.MULTILINE)
            versions = known_versions()["yarn"]
            if not found:
                return versions["1"]
        case _:
            return None
    return versions.get(found[1] if found else "", versions["newest"])


def known_versions() -> dict[str, dict[str, str]]:
    """Return, by package manager and version of its lock file, the version (with its hash) that reads it."""
    versions: dict[str, dict[str, str]] = json.loads(VERSIONS_FILE.read_bytes())
    return versions

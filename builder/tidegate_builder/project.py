"""What is to be built, and with which commands: the job's settings first, then the repository's own."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidegate_builder.environment import find_program, install_environment, with_local_programs
from tidegate_builder.failure import Code, failed
from tidegate_builder.framework import Framework
from tidegate_builder.job import Settings
from tidegate_builder.package_manager import PackageManager, find_package_manager, read_package

PAGES = ("index.html", "index.htm")


@dataclass(frozen=True)
class Project:
    """One directory of the checkout, and what its package.json says; `manager` is None where npm has no part in it."""

    checkout: Path
    directory: Path
    package: Mapping[str, Any] | None
    manager: PackageManager | None

    @property
    def has_build_script(self) -> bool:
        scripts = (self.package or {}).get("scripts")
        return isinstance(scripts, dict) and isinstance(scripts.get("build"), str)


@dataclass(frozen=True)
class Command:
    """A command, where it runs and how the log names it."""

    arguments: tuple[str, ...]
    directory: Path
    environment: Mapping[str, str]
    label: str


def find_project(checkout: Path, settings: Settings) -> Project:
    """Look at the checkout. Raises StepFailed."""
    checkout = checkout.resolve()
    directory = _root_directory(checkout, settings.root_directory)
    package = read_package(directory)
    needs_npm = package is not None and any(
        package.get(key) for key in ("scripts", "dependencies", "devDependencies", "workspaces", "packageManager")
    )
    return Project(checkout, directory, package, find_package_manager(directory, checkout) if needs_npm else None)


def _root_directory(checkout: Path, wanted: str | None) -> Path:
    directory = directory_below(checkout, wanted or ".", checkout)
    if directory is None:
        raise failed(
            Code.ROOT_DIRECTORY_MISSING,
            f"The repository has no directory {wanted!r}.",
            "Check the spelling of rootDirectory; it is relative to the top of the repository.",
        )
    return directory


def directory_below(base: Path, wanted: str, checkout: Path) -> Path | None:
    """Return the real directory that the settings name, None if it is not there or outside of the checkout."""
    try:
        directory = (base / wanted.lstrip("/")).resolve(strict=True)
    except (OSError, RuntimeError, ValueError):  # not there, links in a circle, a null byte
        return None
    return directory if directory.is_dir() and directory.is_relative_to(checkout) else None


def needs_detection(project: Project, settings: Settings) -> bool:
    """Say whether the framework is worth asking for: not for plain HTML, so that it builds without Node.js."""
    if project.manager:
        return True
    return settings.build_command is None and not any((project.directory / page).is_file() for page in PAGES)


def install_command(project: Project, settings: Settings, environment: Mapping[str, str]) -> Command | None:
    """Return the command that installs what the project needs, if any."""
    environment = install_environment(environment, locked=bool(project.manager and project.manager.locked))
    if settings.install_command is not None:
        return _users_command(settings.install_command, project, environment)
    if not project.manager:
        return None
    return Command(
        project.manager.install(), project.manager.directory, environment, shlex.join(project.manager.install())
    )


def build_command(
    project: Project, settings: Settings, framework: Framework | None, environment: Mapping[str, str]
) -> Command | None:
    """Return the command that makes the site, if any. Raises StepFailed if its tool is not there."""
    if settings.build_command is not None:
        return _users_command(settings.build_command, project, environment)
    if project.manager and project.has_build_script:
        arguments = project.manager.run("build")
        return Command(arguments, project.directory, environment, shlex.join(arguments))
    if not framework:
        return None
    arguments = tuple(shlex.split(framework.command))
    if project.manager and project.manager.name == "yarn":
        arguments = ("yarn", "run", *arguments)  # with Plug'n'Play only yarn finds it
    elif project.manager:
        environment = with_local_programs(environment, project.directory, project.manager.directory)
    elif not find_program(arguments[0], environment):
        raise failed(
            Code.TOOL_MISSING,
            f"This repository is built with {framework.name}, which the builder does not have.",
            f"Let package.json install {framework.name}, or commit the finished site and set outputDirectory.",
        )
    return Command(arguments, project.directory, environment, shlex.join(arguments))


def _users_command(text: str, project: Project, environment: Mapping[str, str]) -> Command | None:
    """Return the user's own command; the one thing that goes through a shell."""
    if not text.strip():
        return None
    directories = (project.directory, project.manager.directory) if project.manager else (project.directory,)
    shell = find_program("bash", environment) or "sh"
    return Command(
        (shell, "-c", text), project.directory, with_local_programs(environment, *dict.fromkeys(directories)), text
    )

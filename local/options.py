"""What the local stack is told: by flags, or by the environment variables that `make run` passes on."""

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from local.chaos import Chaos, parse

ROOT = Path(__file__).resolve().parent.parent
NO_AWS_FILES = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}

DESCRIPTION = """Run all of Tidegate on this machine, build a repository and show its site.

Options with a name in brackets can also be given as an environment variable of that name; its default follows."""


@dataclass(frozen=True)
class Options:
    """The settings of one run."""

    api_port: int
    sites_port: int
    logs_port: int
    repo: str | None
    ref: str | None
    root_directory: str | None
    build: bool
    once: bool
    state: Path | None
    chaos: Chaos
    schedule_seconds: float | None
    max_concurrent_builds: int
    build_timeout_seconds: int
    log_sink_url: str

    @property
    def parameters(self) -> dict[str, str]:
        """The template's parameters on this machine."""
        return {
            "ApiAuth": "NONE",
            "SitesUrl": f"http://{{slug}}.localhost:{self.sites_port}",
            "GitProtocols": "https,http,file",
            "AllowPrivateGitHosts": "true",
            "MaxConcurrentBuilds": str(self.max_concurrent_builds),
            "BuildTimeoutSeconds": str(self.build_timeout_seconds),
            "LogSinkUrl": self.log_sink_url,
        }


def read(arguments: Sequence[str], environment: Mapping[str, str]) -> Options:
    """Read the options; argparse ends the program on a wrong one."""
    parser = argparse.ArgumentParser(
        prog="python -m local", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )

    def option(flag: str, variable: str, text: str, default: str | None = None) -> None:
        given = environment.get(variable) or default
        usual = f"; {default}" if default else ""
        parser.add_argument(flag, default=given, metavar=variable, help=f"{text} [{variable}{usual}]")

    option("--api-port", "API_PORT", "port of the API", "9000")
    option("--sites-port", "SITES_PORT", "port of the sites", "8000")
    option("--logs-port", "LOGS_PORT", "port of the live logs, by WebSocket", "9001")
    option("--repo", "REPO", "git URL or local repository to build; the example of this checkout if not given")
    option("--ref", "REF", "branch, tag or commit to build")
    option("--root", "ROOT", "directory of the repository that holds the site")
    option("--state", "STATE_DIR", "folder in which builds and sites are kept between runs")
    option("--max-concurrent-builds", "MAX_CONCURRENT_BUILDS", "builds that run at once; others wait", "4")
    option(
        "--log-sink-url", "LOG_SINK_URL", "OTLP/HTTP endpoint that logs are sent on to, http://127.0.0.1:4318/v1/logs"
    )
    option("--build-timeout-seconds", "BUILD_TIMEOUT_SECONDS", "time limit of a build", "1200")
    option(
        "--schedule-seconds", "SCHEDULE_SECONDS", "seconds between runs of the reconciler, if not the template's rate"
    )
    option(
        "--chaos",
        "CHAOS",
        "double, drop and delay task events and log batches: a seed, or seed=7,drop=0.2,double=0.3,delay=0.5",
    )
    keep = environment.get("KEEP_STATE", "") not in {"", "0"}
    parser.add_argument(
        "--keep-state", action="store_true", default=keep, help="the same as --state .tidegate/state [KEEP_STATE=1]"
    )
    parser.add_argument("--no-build", action="store_true", help="only start, and build nothing")
    parser.add_argument("--once", action="store_true", help="build, print the result and end; exit code 1 if it failed")
    given = parser.parse_args(arguments)
    state = given.state or (".tidegate/state" if given.keep_state else None)
    try:
        return Options(
            api_port=_number("API_PORT", given.api_port, 1, 65535),
            sites_port=_number("SITES_PORT", given.sites_port, 1, 65535),
            logs_port=_number("LOGS_PORT", given.logs_port, 1, 65535),
            repo=given.repo,
            ref=given.ref,
            root_directory=given.root,
            build=not given.no_build,
            once=given.once,
            state=ROOT / state if state else None,
            chaos=parse(given.chaos or ""),
            schedule_seconds=float(given.schedule_seconds) if given.schedule_seconds else None,
            max_concurrent_builds=_number("MAX_CONCURRENT_BUILDS", given.max_concurrent_builds, 1, 500),
            log_sink_url=_address("LOG_SINK_URL", given.log_sink_url or ""),
            build_timeout_seconds=_number("BUILD_TIMEOUT_SECONDS", given.build_timeout_seconds, 1, 2700),
        )
    except ValueError as error:
        parser.error(str(error))


def _number(name: str, text: str, least: int, most: int) -> int:
    if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
        raise ValueError(f"{name} must be a whole number from {least} to {most}, not {text!r}")
    return int(text)


def _address(name: str, text: str) -> str:
    if text and not text.startswith(("http://", "https://")):
        raise ValueError(f"{name} must be an http or https URL, not {text!r}")
    return text


def from_command_line(arguments: Sequence[str]) -> Options:
    """The options of this process."""
    return read(arguments, os.environ)

"""The job: all the builder needs to know, as docs/contract.md describes it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

VERSION = 1


class JobUnreadable(Exception):
    """The document is not a job that this builder understands."""


@dataclass(frozen=True)
class Source:
    """What to clone."""

    url: str
    ref: str | None
    commit: str | None
    protocols: tuple[str, ...]


@dataclass(frozen=True)
class Settings:
    """How to build; None is: find out. An empty command is: skip this step."""

    root_directory: str | None
    install_command: str | None
    build_command: str | None
    output_directory: str | None


@dataclass(frozen=True)
class Limits:
    """How large a site may be."""

    files: int
    file_bytes: int
    site_bytes: int


@dataclass(frozen=True)
class Upload:
    """A presigned POST, and the prefix below which it holds."""

    url: str
    fields: tuple[tuple[str, str], ...]
    prefix: str


@dataclass(frozen=True)
class Job:
    """One attempt at one build."""

    build_id: str
    attempt: int
    source: Source
    settings: Settings
    env: tuple[tuple[str, str], ...]
    timeout_seconds: float
    limits: Limits
    upload: Upload


def read_job(document: bytes, build_id: str | None) -> Job:
    """Read the job's JSON; it must be for this build, if that is known. Raises JobUnreadable."""
    try:
        job = _job(json.loads(document))
    except KeyError as error:
        raise JobUnreadable(f"{error} is missing") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise JobUnreadable(str(error)) from error
    if build_id and job.build_id != build_id:
        raise JobUnreadable("it is another build's")
    return job


def _job(data: Mapping[str, Any]) -> Job:
    if data["version"] != VERSION:
        raise ValueError(f"version {data['version']} is not known")
    source, settings, limits, upload = data["source"], data.get("settings") or {}, data["limits"], data["upload"]
    return Job(
        build_id=_text(data["buildId"]),
        attempt=int(data["attempt"]),
        source=Source(
            url=_text(source["url"]),
            ref=_optional(source.get("ref")),
            commit=_optional(source.get("commit")),
            protocols=tuple(map(_text, source.get("protocols") or ["https"])),
        ),
        settings=Settings(
            root_directory=_optional(settings.get("rootDirectory")),
            install_command=_optional(settings.get("installCommand")),
            build_command=_optional(settings.get("buildCommand")),
            output_directory=_optional(settings.get("outputDirectory")),
        ),
        env=tuple((_text(name), _text(value)) for name, value in (data.get("env") or {}).items()),
        timeout_seconds=float(data["timeoutSeconds"]),
        limits=Limits(int(limits["files"]), int(limits["fileBytes"]), int(limits["siteBytes"])),
        upload=Upload(
            url=_text(upload["url"]),
            fields=tuple((_text(name), _text(value)) for name, value in upload["fields"].items()),
            prefix=_text(upload["prefix"]),
        ),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a string")
    return value


def _optional(value: object) -> str | None:
    return None if value is None else _text(value)

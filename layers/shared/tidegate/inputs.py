"""Bodies that clients send, checked: every wrong field is named, and nothing unchecked goes further."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from tidegate import fields
from tidegate.exceptions import FieldError, InvalidRequest, MalformedBody
from tidegate.model import BuildSettings, Project, Source

MAX_BODY_BYTES = 128 * 1024
MAX_ERRORS = 50  # told at once; a body can hold many thousand wrong names

# docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-tasks-services.html#fargate-tasks-size
FARGATE_SIZES: dict[int, range | tuple[int, ...]] = {
    256: (512, 1024, 2048),
    512: range(1024, 4096 + 1, 1024),
    1024: range(2048, 8192 + 1, 1024),
    2048: range(4096, 16384 + 1, 1024),
    4096: range(8192, 30720 + 1, 1024),
    8192: range(16384, 61440 + 1, 4096),
    16384: range(32768, 122880 + 1, 8192),
}

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


class BuildDefaults(msgspec.Struct, frozen=True):
    """What the stack allows and adds: git's URL schemes, private hosts, and the task's size."""

    protocols: tuple[str, ...]
    private_hosts: bool
    cpu: int
    memory: int


class NewProject(msgspec.Struct, frozen=True):
    """A checked request for a build, of a new project or a known one; `env` has the values that `settings` names."""

    source: Source
    slug: str | None
    settings: BuildSettings
    env: dict[str, str]


def parse_json_object(body: bytes) -> dict[str, Any]:
    """Decode a body that must be one JSON object with each name given once, or raise MalformedBody."""
    if not body.strip():
        raise MalformedBody("The body is empty; send a JSON object")
    try:
        value = msgspec.json.decode(body)
        json.loads(body, object_pairs_hook=_refuse_doubles)  # msgspec takes the last of equal names
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise MalformedBody(f"The body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise MalformedBody("The body must be a JSON object")
    return value


def _refuse_doubles(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("an object gives a name twice")


def parse_new_project(body: Mapping[str, Any], defaults: BuildDefaults) -> NewProject:
    """Check every field of `POST /project`, or raise InvalidRequest naming each that is wrong."""
    rules = {
        "gitURL": lambda value: fields.git_url(value, defaults.protocols, private_hosts=defaults.private_hosts),
        "slug": fields.slug,
        **_build_rules(),
    }
    values = _values(body, rules, defaults, required=("gitURL",))
    return _new_build(values["gitURL"], values.get("slug"), values)


def parse_new_build(body: Mapping[str, Any], project: Project, defaults: BuildDefaults) -> NewProject:
    """Check every field of a build of a known project, or raise InvalidRequest naming each that is wrong."""
    cpu, memory = project.settings.cpu or defaults.cpu, project.settings.memory or defaults.memory
    values = _values(body, _build_rules(), replace(defaults, cpu=cpu, memory=memory))
    return _new_build(project.git_url, project.slug, values)


def parse_nothing(body: Mapping[str, Any]) -> None:
    """Check that a request has no fields, or raise InvalidRequest naming each."""
    _, errors = _checked(body, {}, ())
    if errors:
        raise InvalidRequest(errors=tuple(errors[:MAX_ERRORS]))


def parse_subscription(body: Mapping[str, Any]) -> tuple[str, str | None, str]:
    """Check a viewer's wish to follow a build, or raise InvalidRequest; returns the build's id, cursor and encoding."""
    rules: dict[str, Callable[[Any], Any]] = {
        "action": str,
        "buildId": fields.build_id,
        "cursor": fields.cursor,
        "encoding": fields.encoding,
    }
    values, errors = _checked(body, rules, ("buildId",))
    if errors:
        raise InvalidRequest(errors=tuple(errors[:MAX_ERRORS]))
    return values["buildId"], values.get("cursor"), values.get("encoding", "gzip")


def _build_rules() -> dict[str, Callable[[Any], Any]]:
    return {
        "ref": fields.ref,
        "rootDirectory": fields.directory,
        "installCommand": fields.command,
        "buildCommand": fields.command,
        "outputDirectory": fields.output_directory,
        "env": fields.env,
        "cpu": fields.whole_number,
        "memory": fields.whole_number,
    }


def _new_build(url: str, project: str | None, values: Mapping[str, Any]) -> NewProject:
    wanted = values.get("ref")
    commit = wanted.lower() if wanted and _COMMIT.fullmatch(wanted.lower()) else None
    variables = values.get("env") or {}
    return NewProject(
        source=Source(url, ref=None if commit else wanted, commit=commit),
        slug=project,
        settings=BuildSettings(
            root_directory=values.get("rootDirectory"),
            install_command=values.get("installCommand"),
            build_command=values.get("buildCommand"),
            output_directory=values.get("outputDirectory"),
            cpu=values.get("cpu"),
            memory=values.get("memory"),
            env_names=tuple(sorted(variables)),
        ),
        env=variables,
    )


def _values(
    body: Mapping[str, Any],
    rules: Mapping[str, Callable[[Any], Any]],
    defaults: BuildDefaults,
    required: tuple[str, ...] = (),
) -> dict[str, Any]:
    """All fields by their rules, or InvalidRequest with everything that is wrong."""
    values, errors = _checked(body, rules, required)
    if not {"cpu", "memory"} & {error.field for error in errors}:
        errors += size_errors(values.get("cpu"), values.get("memory"), defaults)
    if errors:
        raise InvalidRequest(errors=tuple(errors[:MAX_ERRORS]))
    return values


def _checked(
    body: Mapping[str, Any], rules: Mapping[str, Callable[[Any], Any]], required: tuple[str, ...]
) -> tuple[dict[str, Any], list[FieldError]]:
    """Apply each field's rule; null means absent, and a field without a rule is refused."""
    values: dict[str, Any] = {}
    errors = [FieldError(name, "is required") for name in required if body.get(name) is None]
    for name, value in body.items():
        if name not in rules:
            errors.append(FieldError(name[:100], "is not a known field"))
        elif value is not None:
            try:
                values[name] = rules[name](value)
            except InvalidRequest as error:
                errors += error.errors
            except ValueError as error:
                errors.append(FieldError(name, str(error)))
    return values, errors


def size_errors(cpu: int | None, memory: int | None, defaults: BuildDefaults) -> list[FieldError]:
    """Check that Fargate has a task of this size; what is not given comes from the defaults."""
    if cpu is None and memory is None:
        return []
    units = defaults.cpu if cpu is None else cpu
    sizes = FARGATE_SIZES.get(units)
    if sizes is None:
        return [FieldError("cpu", f"must be one of {', '.join(map(str, FARGATE_SIZES))}")]
    if (defaults.memory if memory is None else memory) in sizes:
        return []
    step = "" if isinstance(sizes, tuple) else f" in steps of {sizes.step}"
    return [FieldError("memory", f"must be from {sizes[0]} to {sizes[-1]} MiB{step} for cpu {units}")]

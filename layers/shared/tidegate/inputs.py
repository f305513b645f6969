"""What clients send, checked: every wrong field is named, and nothing unchecked goes further."""

import json
import posixpath
import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from tidegate.exceptions import FieldError, InvalidRequest, MalformedBody
from tidegate.model import BuildSettings, Project, Source

MAX_BODY_BYTES = 128 * 1024
MAX_URL = 2048
MAX_REF = 255
MAX_DIRECTORY = 512
MAX_COMMAND = 1000
MAX_ENV_COUNT = 100
MAX_ENV_NAME = 128
MAX_ENV_VALUE = 8 * 1024
MAX_ENV_TOTAL = 64 * 1024
MAX_CURSOR = 10_000
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

_SLUG = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_REF_REFUSED = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|//|@\{|(^|/)\.|\.lock(/|$)|^[-+/]|[/.]$|^@$")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ENV_RESERVED = ("GIT_REPOSITORY_URL", "PROJECT_ID", "BUILD_ID", "JOB_URL")
_BUILD_ID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")


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
        "gitURL": lambda value: git_url(
            _text(value, MAX_URL), defaults.protocols, private_hosts=defaults.private_hosts
        ),
        "slug": slug,
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
        "buildId": lambda value: build_id(_text(value, 26)),
        "cursor": _cursor,
        "encoding": _encoding,
    }
    values, errors = _checked(body, rules, ("buildId",))
    if errors:
        raise InvalidRequest(errors=tuple(errors[:MAX_ERRORS]))
    return values["buildId"], values.get("cursor"), values.get("encoding", "gzip")


def _encoding(value: Any) -> str:
    if value not in ("gzip", "identity"):
        raise ValueError("must be gzip, which is the default, or identity")
    return str(value)


def _cursor(value: Any) -> str:
    return _text(value, MAX_CURSOR)


def _build_rules() -> dict[str, Callable[[Any], Any]]:
    return {
        "ref": ref,
        "rootDirectory": directory,
        "installCommand": command,
        "buildCommand": command,
        "outputDirectory": directory,
        "env": env,
        "cpu": _whole_number,
        "memory": _whole_number,
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


def git_url(value: Any, protocols: tuple[str, ...], *, private_hosts: bool) -> str:
    """Check a repository's address: scheme, host, no credentials, nothing inside a private network."""
    from tidegate import giturls  # has many expressions, which other requests do not need

    return giturls.normal(_text(value, MAX_URL), protocols, private_hosts=private_hosts)


def slug(value: Any) -> str:
    """Check a project's name: a DNS label (RFC 1035), lower case, not an encoded international one."""
    text = _text(value, 63)
    if not _SLUG.fullmatch(text) or text.startswith("xn--"):
        raise ValueError("must be 1 to 63 of a-z, 0-9 and -, with no - at either end")
    return text


def ref(value: Any) -> str:
    """Check a branch, tag or full commit id, by the rules of git-check-ref-format; + would start a refspec."""
    text = _text(value, MAX_REF)
    if _REF_REFUSED.search(text):
        raise ValueError("must be a branch, a tag or a full commit id")
    return text


def directory(value: Any) -> str | None:
    """Check and normalise a directory inside the repository; the root itself is `None`."""
    text = _text(value, MAX_DIRECTORY, empty=True)
    if _CONTROL.search(text) or "\\" in text:
        raise ValueError("must be written with / and without control characters")
    path = posixpath.normpath(text or ".")
    parts = path.lower().split("/")
    if path.startswith(("/", "-", "~")) or ".." in parts or ".git" in parts:
        raise ValueError("must be a relative path that stays inside the repository")
    return None if path == "." else path


def command(value: Any) -> str:
    """Check a shell command of the user's: one line of text."""
    text = _text(value, MAX_COMMAND).strip()
    if not text or _CONTROL.search(text.replace("\t", " ")):
        raise ValueError("must be one line of text")
    return text


def env(value: Any) -> dict[str, str]:
    """Check environment variables: names a shell accepts, text values, bounded in number and size.

    No message repeats a value: they are secrets. Raises InvalidRequest where single variables are wrong.
    """
    if not isinstance(value, dict):
        raise ValueError("must be an object of text values")
    if len(value) > MAX_ENV_COUNT:
        raise ValueError(f"must not hold more than {MAX_ENV_COUNT} variables")
    wrong = [(name, message) for name, text in value.items() if (message := _wrong_variable(name, text))]
    if wrong:
        raise InvalidRequest(errors=tuple(FieldError(f"env.{name[:50]}", message) for name, message in wrong))
    if sum(len(name) + len(text.encode()) for name, text in value.items()) > MAX_ENV_TOTAL:
        raise ValueError(f"must not hold more than {MAX_ENV_TOTAL} bytes in all")
    return value


def _wrong_variable(name: str, text: Any) -> str | None:
    if len(name) > MAX_ENV_NAME or not _ENV_NAME.fullmatch(name):
        return f"must be named by up to {MAX_ENV_NAME} of A-Z, a-z, 0-9 and _, with no digit first"
    if name in _ENV_RESERVED or name.startswith("TIDEGATE_"):
        return "must not be set: the builder sets it itself"
    if not isinstance(text, str) or "\0" in text:
        return "must be a text without NUL"
    return f"must not be longer than {MAX_ENV_VALUE} bytes" if len(text.encode()) > MAX_ENV_VALUE else None


def idempotency_key(value: str) -> str:
    """Check an Idempotency-Key: 1 to 255 visible ASCII characters."""
    if not re.fullmatch(r"[!-~]{1,255}", value):
        raise ValueError("must be 1 to 255 visible ASCII characters")
    return value


def build_id(value: str) -> str:
    """Check a build id: a ULID in its canonical upper case."""
    if not _BUILD_ID.fullmatch(value):
        raise ValueError("must be a build's id")
    return value


def limit(value: str | None, default: int, most: int, *, least: int = 1) -> int:
    """Check how many items a page may have, or how many seconds a client waits."""
    if value is None:
        return default
    if not re.fullmatch(r"[0-9]{1,6}", value) or not least <= int(value) <= most:
        raise ValueError(f"must be a whole number from {least} to {most}")
    return int(value)


def _text(value: Any, most: int, *, empty: bool = False) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a text")
    if not value and not empty:
        raise ValueError("must not be empty")
    if len(value) > most:
        raise ValueError(f"must not be longer than {most} characters")
    return value


def _whole_number(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("must be a whole number")
    return value


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

"""What clients send, checked: every wrong field is named, and nothing unchecked goes further."""

import ipaddress
import posixpath
import re
import socket
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from tidegate.exceptions import FieldError, InvalidRequest, MalformedBody
from tidegate.model import BuildSettings, Source

MAX_BODY_BYTES = 128 * 1024
MAX_URL = 2048
MAX_REF = 255
MAX_DIRECTORY = 512
MAX_COMMAND = 1000
MAX_ENV_COUNT = 100
MAX_ENV_NAME = 128
MAX_ENV_VALUE = 8 * 1024
MAX_ENV_TOTAL = 64 * 1024

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

_URL = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>\[[0-9a-f:.]+\]|[a-z0-9.-]*)(?::(?P<port>[0-9]{1,5}))?(?P<path>/.*)"
)
_URL_PATH = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@%/-]+")
_FILE_PATH = re.compile(r"[^\x00-\x1f\x7f?#\\]+")
_HOST = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(\.(?!-)[a-z0-9-]{1,63}(?<!-))*")
_PRIVATE_SUFFIXES = ("localhost", "local", "internal", "intranet", "lan", "home.arpa", "corp", "home")
_SLUG = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_REF_REFUSED = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|//|@\{|(^|/)\.|\.lock(/|$)|^[-/]|[/.]$|^@$")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
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
    """A checked `POST /project`; `env` holds the values that `settings.env_names` names."""

    source: Source
    slug: str | None
    settings: BuildSettings
    env: dict[str, str]


def parse_json_object(body: bytes) -> dict[str, Any]:
    """Decode a body that must be one JSON object, or raise MalformedBody."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise MalformedBody(f"The body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise MalformedBody("The body must be a JSON object")
    return value


def parse_new_project(body: Mapping[str, Any], defaults: BuildDefaults) -> NewProject:
    """Check every field of `POST /project`, or raise InvalidRequest naming each that is wrong."""
    rules: dict[str, Callable[[Any], Any]] = {
        "gitURL": lambda value: git_url(value, defaults.protocols, private_hosts=defaults.private_hosts),
        "slug": slug,
        "ref": ref,
        "rootDirectory": directory,
        "installCommand": command,
        "buildCommand": command,
        "outputDirectory": directory,
        "env": env,
        "cpu": _whole_number,
        "memory": _whole_number,
    }
    values, errors = _checked(body, rules, required=("gitURL",))
    cpu, memory = values.get("cpu"), values.get("memory")
    if not errors and (cpu or memory):
        errors += _size_errors(cpu, memory, defaults)
    if errors:
        raise InvalidRequest(errors=tuple(errors))
    wanted = values.get("ref")
    commit = wanted if wanted and _COMMIT.fullmatch(wanted) else None
    variables = values.get("env") or {}
    return NewProject(
        source=Source(values["gitURL"], ref=None if commit else wanted, commit=commit),
        slug=values.get("slug"),
        settings=BuildSettings(
            root_directory=values.get("rootDirectory"),
            install_command=values.get("installCommand"),
            build_command=values.get("buildCommand"),
            output_directory=values.get("outputDirectory"),
            cpu=cpu,
            memory=memory,
            env_names=tuple(sorted(variables)),
        ),
        env=variables,
    )


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
            except ValueError as error:
                errors.append(FieldError(name, str(error)))
    return values, errors


def git_url(value: Any, protocols: tuple[str, ...], *, private_hosts: bool) -> str:
    """Check a repository's address: scheme, host, no credentials, nothing inside a private network.

    The form is strict, so that no two URL parsers (this one, git's, curl's) can read different hosts in it.
    """
    text = _text(value, MAX_URL)
    if re.match(r"[\w.-]+@[\w.-]+:", text):
        raise ValueError("must be a URL such as https://host/owner/repository, not an SSH address")
    scheme, mark, rest = text.partition("://")
    if not mark or scheme.lower() not in protocols:
        raise ValueError(f"must start with {' or '.join(f'{name}://' for name in protocols)}")
    authority, slash, path = rest.partition("/")
    if "@" in authority:
        raise ValueError("must not hold a user name or password")
    found = _URL.fullmatch(f"{scheme}://{authority}".lower() + slash + path)
    if found is None:
        raise ValueError("must have a host in ASCII and a path")
    host, port = found["host"], found["port"]
    if found["scheme"] == "file":
        if host or port or not private_hosts or not _FILE_PATH.fullmatch(found["path"]):
            raise ValueError("must name a directory of this machine: file:///path")
        return found.string
    if not _URL_PATH.fullmatch(found["path"]) or found["path"].strip("/") == "":
        raise ValueError("must have the repository's path, without query or fragment")
    if port and not 0 < int(port) < 65536:
        raise ValueError("has a port that does not exist")
    _check_host(host, private_hosts=private_hosts)
    return found.string


def _check_host(host: str, *, private_hosts: bool) -> None:
    address = _ip_address(host)
    if address is None and not _HOST.fullmatch(host.removesuffix(".")):
        raise ValueError("must have a valid host")
    if private_hosts:
        return
    name = host.removesuffix(".")
    private_name = "." not in name or name.endswith(tuple(f".{suffix}" for suffix in _PRIVATE_SUFFIXES))
    if not _is_public(address) if address else private_name:
        raise ValueError("must not name a private, loopback or link-local host")


def _ip_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address a resolver sees in `host`, also in its short, octal and hexadecimal forms (127.1, 0x7f000001)."""
    if host.startswith("["):
        try:
            return ipaddress.IPv6Address(host[1:-1])
        except ValueError as error:
            raise ValueError("must have a valid host") from error
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host.removesuffix(".")))
    except (OSError, ValueError):
        return None


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether the address, and any IPv4 address carried inside it, belongs to the public internet."""
    if isinstance(address, ipaddress.IPv6Address):
        nat64 = ipaddress.IPv6Network("64:ff9b::/96")
        inner = address.ipv4_mapped or address.sixtofour
        if address in nat64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return _is_public(inner)
        if address.teredo:
            return False
    return address.is_global and not address.is_multicast


def slug(value: Any) -> str:
    """Check a project's name: a DNS label (RFC 1035), lower case, not an encoded international one."""
    text = _text(value, 63)
    if not _SLUG.fullmatch(text) or text.startswith("xn--"):
        raise ValueError("must be 1 to 63 of a-z, 0-9 and -, with no - at either end")
    return text


def ref(value: Any) -> str:
    """Check a branch, tag or full commit id, by the rules of git-check-ref-format."""
    text = _text(value, MAX_REF)
    if _REF_REFUSED.search(text):
        raise ValueError("must be a branch, a tag or a full commit id")
    return text


def directory(value: Any) -> str | None:
    """Check and normalise a directory inside the repository; the root itself is `None`."""
    text = _text(value, MAX_DIRECTORY, empty=True)
    if _CONTROL.search(text) or "\\" in text:
        raise ValueError("must be written with / and without control characters")
    parts = posixpath.normpath(text or ".").split("/")
    if text.startswith(("/", "-", "~")) or ".." in parts or ".git" in (part.lower() for part in parts):
        raise ValueError("must be a relative path that stays inside the repository")
    return None if parts == ["."] else "/".join(parts)


def command(value: Any) -> str:
    """Check a shell command of the user's: one line of text."""
    text = _text(value, MAX_COMMAND).strip()
    if not text or _CONTROL.search(text):
        raise ValueError("must be one line of text")
    return text


def env(value: Any) -> dict[str, str]:
    """Check environment variables: names a shell accepts, text values, bounded in number and size."""
    if not isinstance(value, dict):
        raise ValueError("must be an object of text values")
    if len(value) > MAX_ENV_COUNT:
        raise ValueError(f"must not hold more than {MAX_ENV_COUNT} variables")
    for name, text in value.items():
        if len(name) > MAX_ENV_NAME or not _ENV_NAME.fullmatch(name):
            raise ValueError(f"has a name that is not a variable's: {name[:50]!r}")
        if name in _ENV_RESERVED or name.startswith("TIDEGATE_"):
            raise ValueError(f"must not set {name}, which the builder sets itself")
        if not isinstance(text, str) or "\0" in text:
            raise ValueError(f"must have a text as the value of {name}")
        if len(text.encode("utf-8", "surrogatepass")) > MAX_ENV_VALUE:
            raise ValueError(f"has a value over {MAX_ENV_VALUE} bytes: {name}")
    if sum(len(name) + len(text.encode("utf-8", "surrogatepass")) for name, text in value.items()) > MAX_ENV_TOTAL:
        raise ValueError(f"must not hold more than {MAX_ENV_TOTAL} bytes in all")
    return value


def build_id(value: str) -> str:
    """Check a build id: a ULID in its canonical upper case."""
    if not _BUILD_ID.fullmatch(value):
        raise ValueError("must be a build's id")
    return value


def limit(value: str | None, default: int, most: int) -> int:
    """Check how many items a page may have."""
    if value is None:
        return default
    if not re.fullmatch(r"[0-9]{1,6}", value) or not 1 <= int(value) <= most:
        raise ValueError(f"must be a whole number from 1 to {most}")
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


def _size_errors(cpu: int | None, memory: int | None, defaults: BuildDefaults) -> list[FieldError]:
    """Check that Fargate has a task of this size; what is not given comes from the stack's defaults."""
    units = cpu or defaults.cpu
    sizes = FARGATE_SIZES.get(units)
    if sizes is None:
        return [FieldError("cpu", f"must be one of {', '.join(map(str, FARGATE_SIZES))}")]
    if (memory or defaults.memory) in sizes:
        return []
    step = "" if isinstance(sizes, tuple) else f" in steps of {sizes.step}"
    return [FieldError("memory", f"must be from {sizes[0]} to {sizes[-1]} MiB{step} for cpu {units}")]

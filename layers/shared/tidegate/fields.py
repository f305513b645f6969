"""Single values that clients send, checked: each rule returns the value as it goes further, or raises ValueError."""

import posixpath
import re
from typing import Any

from tidegate.exceptions import FieldError, InvalidRequest

MAX_URL = 2048
MAX_REF = 255
MAX_DIRECTORY = 512
MAX_COMMAND = 1000
MAX_ENV_COUNT = 100
MAX_ENV_NAME = 128
MAX_ENV_VALUE = 8 * 1024
MAX_ENV_TOTAL = 64 * 1024
MAX_CURSOR = 10_000

_SLUG = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_REF_REFUSED = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|//|@\{|(^|/)\.|\.lock(/|$)|^[-+/]|[/.]$|^@$")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ENV_RESERVED = ("GIT_REPOSITORY_URL", "PROJECT_ID", "BUILD_ID", "JOB_URL")
_BUILD_ID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")


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


def output_directory(value: Any) -> str | None:
    """Check and normalise where a build puts the site; the project's own directory is `.`, an empty text is `None`."""
    return None if value == "" else directory(value) or "."


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


def whole_number(value: Any) -> int:
    """Check that a value is a whole number, of any size."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("must be a whole number")
    return value


def idempotency_key(value: str) -> str:
    """Check an Idempotency-Key: 1 to 255 visible ASCII characters."""
    if not re.fullmatch(r"[!-~]{1,255}", value):
        raise ValueError("must be 1 to 255 visible ASCII characters")
    return value


def build_id(value: Any) -> str:
    """Check a build id: a ULID in its canonical upper case."""
    if not isinstance(value, str) or not _BUILD_ID.fullmatch(value):
        raise ValueError("must be a build's id")
    return value


def cursor(value: Any) -> str:
    """Check that a cursor may be one; its reader knows better."""
    return _text(value, MAX_CURSOR)


def encoding(value: Any) -> str:
    """Check in which form a viewer takes its lines."""
    if value not in ("gzip", "identity"):
        raise ValueError("must be gzip, which is the default, or identity")
    return str(value)


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

"""What a viewer gets over its connection: JSON objects of a size that API Gateway takes (docs/contract.md)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from tidegate import batches
from tidegate.exceptions import Problem
from tidegate.model import LogLine

LARGEST = 120 * 1024  # API Gateway takes 128 KB
LINES = 96 * 1024  # of a frame, which has two cursors as well
PACKED = 512 * 1024  # of a compressed frame, before it is
_UNIT = 32 * 1024  # of what API Gateway bills; to compress less saves nothing

PONG = b'{"type":"pong"}'


def lines(build_id: str, after: str | None, cursor: str | None, found: Sequence[LogLine]) -> Iterator[bytes]:
    """Lines between two cursors; what is too large for a frame comes in several, of which the last moves the cursor."""
    whole = _lines(build_id, after, cursor, found)
    if len(whole) <= LARGEST:
        yield whole
        return
    if len(found) > 1:
        half = len(found) // 2
        yield from lines(build_id, after, after, found[:half])
        yield from lines(build_id, after, cursor, found[half:])
        return
    [line] = found
    pieces = _cut(line.message)
    for part, message in enumerate(pieces, 1):
        piece = {"id": line.id, "timestamp": line.timestamp, "message": message, "part": part, "parts": len(pieces)}
        yield _lines(build_id, after, cursor if part == len(pieces) else after, [piece])


def of_json(build_id: str, after: str | None, cursor: str | None, found: bytes | memoryview) -> bytes:
    """Lines between two cursors that are JSON already, with commas between, at most `LINES` bytes of them."""
    return b"".join((_lines(build_id, after, cursor, ())[: -len(b"]}")], found, b"]}"))


def packed(build_id: str, after: str | None, cursor: str | None, found: bytes | memoryview) -> bytes | None:
    """Such lines as base64 of gzip of a JSON array, or as they are if they are few; `None` if a frame is too small."""
    if len(found) < _UNIT and len(plain := of_json(build_id, after, cursor, found)) <= _UNIT:
        return plain
    data = batches.gzip(b"[", found, b"]")
    about = {"type": "lines", "buildId": build_id, "after": after, "cursor": cursor}
    frame = msgspec.json.encode({**about, "gzip": data})
    return frame if len(frame) <= LARGEST else None


def end(build_id: str, cursor: str | None, about: Mapping[str, Any]) -> bytes:
    """What comes after the last line: how the build ended, and how its log did."""
    return msgspec.json.encode({"type": "end", "buildId": build_id, **about, "cursor": cursor})


def error(problem: Problem) -> bytes:
    """A broken rule."""
    frame = {"type": "error", "code": problem.code, "message": problem.detail}
    return msgspec.json.encode(frame | ({"errors": problem.errors} if problem.errors else {}))


def _lines(build_id: str, after: str | None, cursor: str | None, found: Sequence[Any]) -> bytes:
    return msgspec.json.encode({"type": "lines", "buildId": build_id, "after": after, "cursor": cursor, "lines": found})


def _cut(message: str) -> list[str]:
    if len(msgspec.json.encode(message)) <= LINES:
        return [message]
    half = len(message) // 2
    return _cut(message[:half]) + _cut(message[half:])

"""Batches of log lines in CloudWatch's form, gzip of JSON, in which they also are stored.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/SubscriptionFilters.html
"""

import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from operator import lt
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

MAX_LINE_BYTES = 1024 * 1024  # CloudWatch takes no longer ones
_JSON_GROWTH = 2  # times a line's limit that it may have as JSON, as Lambda answers with 6 MB, which are JSON of JSON
_MARK_BYTES = 64  # the mark's, so that a line that was cut is not too long again
_EVENT = b'{"id":"'  # a message's own quotes are escaped, so that this is found in none
_OPENING, _CLOSING = b'{"logEvents":[', b"]}"
_PIECE = 64 * 1024
_GZIP = 16 + 15  # zlib's word for gzip, with the largest window


class Event(Struct, frozen=True):
    """One line as CloudWatch has it."""

    id: str
    timestamp: int
    message: str


class Batch(Struct, frozen=True, rename="camel"):
    """What a subscription filter delivers."""

    message_type: str
    log_stream: str = ""
    log_events: tuple[Event, ...] = ()

    @property
    def task_id(self) -> str:
        return _task_id(self.log_stream)


class Outline(Struct, frozen=True):
    """A batch without its lines' texts."""

    message_type: str
    task_id: str
    ids: list[str]


class _Id(Struct, frozen=True, gc=False):
    id: str


class _Outline(Struct, frozen=True, rename="camel"):
    message_type: str
    log_stream: str = ""
    log_events: list[_Id] = []


class _Loose(Struct, frozen=True, rename="camel"):
    message_type: str
    log_stream: str = ""
    log_events: list[dict[str, Any]] = []


class _ExactEvent(Event, frozen=True, forbid_unknown_fields=True, gc=False): ...


class _ExactBatch(Batch, frozen=True):
    log_events: tuple[_ExactEvent, ...] = ()


class _Lines(Struct, frozen=True, rename="camel"):
    log_events: tuple[Event, ...]


_outline = msgspec.json.Decoder(_Outline)
_exact = msgspec.json.Decoder(_ExactBatch)
_lines = msgspec.json.Decoder(_Lines)


def unpack(data: str) -> bytes:
    """The block in an event's `awslogs.data`; raises ValueError."""
    return msgspec.convert(data, bytes)  # base64, with less than half of binascii's instructions


def inflate(block: bytes) -> bytes:
    """The JSON in a block; raises ValueError."""
    from isal import isal_zlib

    stream = isal_zlib.decompressobj(_GZIP)
    try:
        body = stream.decompress(block)
    except isal_zlib.error as error:  # type: ignore[misc]  # its stub names an instance
        raise ValueError("awslogs.data is not gzip") from error
    if not stream.eof:
        raise ValueError("awslogs.data ends too early")
    return body + inflate(stream.unused_data) if stream.unused_data else body


def deflate(lines: memoryview) -> bytes:
    """A block of lines, given as JSON objects with commas between."""
    return gzip(_OPENING, lines, _CLOSING)


def tail(lines: memoryview) -> bytes:
    """What `deflate` ends with: gzip's checksum and the length of what is in it."""
    from isal import isal_zlib

    checksum, length = 0, 0
    for piece in (_OPENING, lines, _CLOSING):
        checksum, length = isal_zlib.crc32(piece, checksum), length + len(piece)
    return checksum.to_bytes(4, "little") + length.to_bytes(4, "little")


def gzip(*pieces: bytes | memoryview) -> bytes:
    """The pieces together, compressed: to a sixth or so, in little time."""
    from isal import isal_zlib

    stream = isal_zlib.compressobj(1, wbits=_GZIP)
    if sum(map(len, pieces)) < _PIECE:
        pieces = (b"".join(pieces),)  # isal hardly compresses less than 32 KB that follow on something
    return b"".join([*map(stream.compress, pieces), stream.flush()])  # piece by piece, which copies nothing


def outline(body: bytes) -> Outline | None:
    """A batch's outline if its lines are in order, each there once; what it refuses `decode` may still read.

    It costs half of what `decode` costs, and all of the JSON is read for it.
    """
    try:
        found = _outline.decode(body)
    except ValueError:
        return None
    return outline_of(found)


def outline_of(found: "Batch | _Outline") -> Outline | None:
    """The outline of a batch that was read."""
    ids = [event.id for event in found.log_events]
    in_order = all(map(lt, ids, ids[1:]))
    return Outline(found.message_type, _task_id(found.log_stream), ids) if in_order else None


def decode(body: bytes) -> Batch:
    """A batch with its lines, also where bytes are no UTF-8; raises ValueError."""
    try:
        return msgspec.json.decode(body, type=Batch)
    except ValueError:
        found = msgspec.convert(_lenient(body), _Loose)
        return Batch(found.message_type, found.log_stream, tuple(map(_read, found.log_events)))


def exact(body: bytes) -> Batch | None:
    """A batch with its lines if their JSON objects have the three fields and no other."""
    try:
        return _exact.decode(body)
    except ValueError:
        return None


def lines(body: bytes, ids: Sequence[object]) -> memoryview | None:
    """The JSON objects of a batch with this outline, if nothing else is around them and each begins with its id."""
    first, last = body.find(_EVENT), body.rfind(_EVENT)
    if body.count(_EVENT) != len(ids) or not body.endswith(b"]}"):
        return None
    try:
        msgspec.json.decode(memoryview(body)[last:-2], type=_Id)
    except ValueError:
        return None
    return memoryview(body)[first:-2]


def encode(events: Iterable[Event]) -> memoryview:
    """Lines as JSON objects with commas between."""
    return memoryview(msgspec.json.encode(tuple(events)))[1:-1]


def pieces(lines: memoryview, most_bytes: int) -> Iterator[bytes | memoryview]:
    """Lines as JSON objects with commas between, so many bytes at a time at most, or a single longer one."""
    if len(lines) <= most_bytes:
        yield lines
        return
    data, border = bytes(lines), b"," + _EVENT
    start, end = 0, len(data)
    while start < end:
        stop = end
        if end - start > most_bytes:
            fits = data.rfind(border, start, start + most_bytes + len(border))
            stop = max(fits, 0) or max(data.find(border, start), 0) or end
        yield data[start:stop]
        start = stop + 1


def count(piece: bytes | memoryview) -> int:
    """How many lines a piece has."""
    return bytes(piece).count(_EVENT)


def halve(lines: memoryview, second: str) -> tuple[memoryview, memoryview]:
    """The lines before the one with an id, and those from it on."""
    start = _find(lines, _EVENT + msgspec.json.encode(second)[1:])
    return lines[: start - 1], lines[start:]


def events(block: bytes) -> tuple[Event, ...]:
    """The lines in a stored block, all that can be read of each."""
    body = inflate(block)
    try:
        return _lines.decode(body).log_events
    except ValueError:
        return tuple(map(_read, _lenient(body)["logEvents"]))


def cut(event: Event, limit: int = MAX_LINE_BYTES) -> Event:
    """The line, or as much of it as is kept, with a mark, in at most so many bytes, and twice as many of JSON."""
    text = event.message
    if len(text) * 4 <= limit:
        return event
    data, most = text.encode(), _JSON_GROWTH * limit
    if len(data) <= limit and (len(text) * 6 <= most or _json_bytes(text) <= most):
        return event
    kept = data[: limit - _MARK_BYTES].decode(errors="ignore")
    if _json_bytes(kept) > most - _MARK_BYTES:
        places = range(len(kept))
        kept = kept[: bisect_right(places, most - _MARK_BYTES, key=lambda place: _json_bytes(kept[:place])) - 1]
    return replace(event, message=f"{kept}… [cut by Tidegate: the line has {len(data)} bytes]")


def _json_bytes(text: str) -> int:
    return len(msgspec.json.encode(text)) - len('""')


def _find(lines: memoryview, wanted: bytes) -> int:
    """Where something stands, piece by piece, as a view cannot search and a copy is large."""
    for start in range(0, len(lines), _PIECE):
        found = bytes(lines[start : start + _PIECE + len(wanted)]).find(wanted)
        if found >= 0:
            return start + found
    raise ValueError(f"{wanted!r} is not in the batch")


def _task_id(log_stream: str) -> str:
    """The task that wrote the lines: the last part of `prefix/container/task-id`."""
    return log_stream.rpartition("/")[2]


def _lenient(body: bytes) -> Any:
    """JSON as the standard library reads it: broken bytes, lone surrogates and control characters do not matter."""
    text = json.dumps(json.loads(body.decode("utf-8", "replace"), strict=False), ensure_ascii=False)
    return msgspec.json.decode(text.encode("utf-8", "replace"))


def _read(event: dict[str, Any]) -> Event:
    try:
        return msgspec.convert(event, Event)
    except ValueError:
        return Event(msgspec.convert(event, _Id).id, 0, "[Tidegate cannot read this line]")

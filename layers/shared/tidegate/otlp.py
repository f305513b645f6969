"""Log lines as the OpenTelemetry protocol writes them, in protobuf, and what a sink answers.

https://opentelemetry.io/docs/specs/otlp/#otlphttp and opentelemetry/proto/logs/v1/logs.proto. Written out here, as the
few fields of a line do not need protobuf's library, whose import alone costs more than a batch of lines.
"""

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

import msgspec
from msgspec import Struct

from tidegate import batches
from tidegate.batches import Event
from tidegate.memory import Memory

MAX_BYTES = 1_000_000  # of a request; New Relic takes no more
MAX_RECORDS = 5_000
_AROUND = 200  # bytes of a record, at most, around a line's text and id
_SCOPE = "tidegate"
_UID = b"log.record.uid"
_SEEN_AT = b"\x59"  # observed_time_unix_nano = 11, fixed64
_Frame = tuple[int, Callable[..., bytes], bytes, bytes, bytes]


class Line(Protocol):
    """A line of a log; `id` is CloudWatch's event id, `timestamp` is in milliseconds since 1970."""

    @property
    def id(self) -> str: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def message(self) -> str: ...


class Rejected(Struct, frozen=True, rename="camel"):
    """What a sink that took the rest of a request did not take, and why."""

    rejected_log_records: int = 0
    error_message: str = ""


class _Answer(Struct, rename="camel"):
    partial_success: Rejected = Rejected()


def requests(resource: Mapping[str, str | int | None], lines: Iterable[Line], observed: int) -> Iterator[bytes]:
    """ExportLogsServiceRequests with all lines, each within the limits; `observed` is in nanoseconds since 1970.

    Each record has the line's id as `log.record.uid`, by which one that is sent again can be told. Attributes that are
    `None` are left out. A line too long for a request is cut.
    """
    head = _field(1, _resource(resource))
    scope = _field(1, _field(1, _SCOPE.encode()))
    most = MAX_BYTES - len(head) - len(scope) - 20  # the tags and lengths of the two messages around
    seen = _SEEN_AT + _nanoseconds(observed)
    stamp, time = -1, b""
    records: list[bytes] = []
    size = 0
    for line in lines:
        try:
            body, uid = line.message.encode(), line.id.encode()
        except UnicodeEncodeError:  # half a surrogate pair; to say so each time costs as much as to encode
            body, uid = line.message.encode("utf-8", "replace"), line.id.encode("utf-8", "replace")
        length, pack, opening, before_body, before_uid = _frames[len(body), len(uid)]
        if length > most:
            kept = batches.cut(Event("", 0, body.decode()), most - _AROUND - len(uid))
            body = kept.message.encode()
            length, pack, opening, before_body, before_uid = _frames[len(body), len(uid)]
        size += length
        if size > most or len(records) == MAX_RECORDS:
            yield _request(head, scope, records)
            records, size = [], length
        if line.timestamp != stamp:  # mostly it is that of the line before
            stamp, time = line.timestamp, _nanoseconds(line.timestamp * 1_000_000)
        records.append(pack(opening, time, before_body, body, before_uid, uid, seen))
    if records:
        yield _request(head, scope, records)


def _request(head: bytes, scope: bytes, records: list[bytes]) -> bytes:
    """ResourceLogs = 1, and in it ScopeLogs = 2; put together at once, as a copy costs an instruction a byte."""
    size = sum(map(len, records))
    inner = b"\x12" + _varint(len(scope) + size)
    outer = b"\x0a" + _varint(len(head) + len(inner) + len(scope) + size)
    return b"".join((outer, head, inner, scope, *records))


def _frame(body: int, uid: int) -> _Frame:
    """How long a LogRecord of such values is, what packs it (cheaper than a join), and what is before each value."""
    before_body = b"\x2a" + _varint(_length(body)) + b"\x0a" + _varint(body)  # body = 5: AnyValue.string_value = 1
    key = _field(1, _UID) + b"\x12" + _varint(_length(uid)) + b"\x0a" + _varint(uid)  # KeyValue.key = 1, value = 2
    before_uid = b"\x32" + _varint(len(key) + uid) + key  # attributes = 6
    record = 9 + len(before_body) + body + len(before_uid) + uid + 9
    opening = b"\x12" + _varint(record) + b"\x09"  # ScopeLogs.log_records = 2; time_unix_nano = 1, fixed64
    form = struct.Struct(f"{len(opening)}s8s{len(before_body)}s{body}s{len(before_uid)}s{uid}s9s")
    return form.size, form.pack, opening, before_body, before_uid


def _nanoseconds(time: int) -> bytes:
    return time.to_bytes(8, "little")  # fixed64


class _Frames(Memory[tuple[int, int], _Frame]):
    """Frames by lengths, each made once; `lru_cache` would cost four times the look-up."""

    most = 4096

    def __missing__(self, lengths: tuple[int, int]) -> _Frame:
        self[lengths] = _frame(*lengths)
        return self[lengths]


_frames = _Frames()


def _resource(attributes: Mapping[str, str | int | None]) -> bytes:
    return b"".join(
        _field(1, _field(1, name.encode()) + _field(2, _any_value(value)))
        for name, value in attributes.items()
        if value is not None
    )


def _any_value(value: str | int) -> bytes:
    if isinstance(value, int):
        return b"\x18" + _varint(value)  # int_value = 3
    return _field(1, value.encode("utf-8", "replace"))


def _field(number: int, value: bytes) -> bytes:
    """A field whose value has a length: a message or a string."""
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _length(value: int) -> int:
    """How many bytes a field of a one-byte tag with a value of so many bytes takes."""
    return 1 + len(_varint(value)) + value


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def rejected(answer: bytes, content_type: str) -> Rejected:
    """What an ExportLogsServiceResponse says was not taken; one that cannot be read says nothing."""
    try:
        if "json" in content_type:
            return msgspec.json.decode(answer, type=_Answer, strict=False).partial_success
        partial = _read(answer).get(1, b"")
        fields = _read(partial) if isinstance(partial, bytes) else {}
        count, message = fields.get(1, 0), fields.get(2, b"")
    except (ValueError, IndexError):
        return Rejected()
    text = message.decode("utf-8", "replace") if isinstance(message, bytes) else ""
    return Rejected(count if isinstance(count, int) else 0, text)


def _read(message: bytes) -> dict[int, int | bytes]:
    """The fields of a message, of the two kinds an answer has; raises ValueError or IndexError if it is none."""
    fields: dict[int, int | bytes] = {}
    position = 0
    while position < len(message):
        tag, position = _read_varint(message, position)
        value, position = _read_varint(message, position)
        if tag & 7 == 0:
            fields[tag >> 3] = value
        elif tag & 7 == 2 and position + value <= len(message):
            fields[tag >> 3] = message[position : position + value]
            position += value
        else:
            raise ValueError("not an answer of the protocol")
    return fields


def _read_varint(message: bytes, position: int) -> tuple[int, int]:
    number = shift = 0
    while message[position] > 0x7F:
        number |= (message[position] & 0x7F) << shift
        shift += 7
        position += 1
    return number | message[position] << shift, position + 1

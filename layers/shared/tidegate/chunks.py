"""The log store: each batch of lines from CloudWatch is one compressed item, a chunk.

A chunk's key is its first event's id and a digest of what it holds. Event ids grow with time within a stream, so the
key puts a task's chunks in order; a batch that is delivered twice lands on itself, and one that overlaps another
replaces nothing.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from itertools import groupby
from typing import Any

import msgspec
from msgspec import Struct

from tidegate import aws, batches, blocks, items
from tidegate.batches import Batch, Event
from tidegate.items import Item
from tidegate.model import LogLine
from tidegate.settings import settings

MARK_BYTES = 6
_MAX_TEXT = 4 * 1024 * 1024  # of a chunk, unpacked, so that a flood of equal lines can still be read
_PART = 1024 * 1024  # of a chunk that is condensed: its lines are read, which takes several times the memory
_SMALL = 128 * 1024  # unpacked, up to which a block is condensed wherever that saves a write unit
_DENSE = 1 / 8  # of the unpacked block: if a larger one has more, that is mostly ids, which a condensed one leaves out
_ONE_UNIT = 800  # a block that fits into one with its keys
_NOTES = "~"  # what is about a log, and not of it, sorts behind all chunks
Line = tuple[str, int, str]


class Delivery(Struct, frozen=True, dict=True):
    """What came of an event's `awslogs.data`: JSON, and the chunk that it became, if it became just one."""

    message_type: str
    task_id: str
    lines: int
    body: bytes
    chunk: "Name | None" = None
    read: Batch | None = None

    @cached_property
    def events(self) -> tuple[Event, ...]:
        """The lines, as the store gives them to a reader."""
        events = (self._exact or batches.decode(self.body)).log_events
        return events if len(self.body) <= batches.MAX_LINE_BYTES else tuple(map(batches.cut, events))

    @cached_property
    def json(self) -> memoryview:
        """The lines as JSON objects with commas between: those that came, if a reader may have them as they are."""
        if self._exact and len(self.body) <= batches.MAX_LINE_BYTES:
            lines = batches.lines(self.body, self.events)
            if lines is not None:
                return lines
        return batches.encode(self.events)

    @cached_property
    def _exact(self) -> Batch | None:
        return self.read or batches.exact(self.body)


class Name(Struct, frozen=True):
    """Which chunk: its first line's id, its last one's and its mark."""

    first: str
    last: str
    mark: bytes

    @property
    def key(self) -> str:
        return f"{self.first}.{self.mark.hex()}"


class Chunk(Struct):
    """Lines that are stored; `last` is the id of the last one."""

    key: str
    last: str
    data: bytes
    fetched: bool = False

    @property
    def first(self) -> str:
        return self.key.rpartition(".")[0]

    @property
    def mark(self) -> bytes:
        return bytes.fromhex(self.key.rpartition(".")[2])

    def lines(self) -> list[Line]:
        events = map(batches.cut, blocks.events(self.data, self.first))
        return [(event.id, event.timestamp, event.message) for event in events]

    def overlaps(self, other: "Chunk") -> bool:
        return self.last >= other.first and self.first <= other.last


def store(data: str, now: datetime, *, read: bool = False) -> Delivery:
    """Store what a subscription filter delivers, base64 of gzip of JSON; raises ValueError if it is something else.

    CloudWatch's own block is stored as it is, or condensed where that saves much, and in parts if it fits no item.
    Lines out of order, and JSON that only a lenient reader understands, are written anew. `read`: the texts of a large
    one are read at once, too, which costs less than to do it later.
    """
    block = batches.unpack(data)
    body = batches.inflate(block)
    dense = len(body) <= _SMALL or len(block) > len(body) * _DENSE
    fits = len(block) <= items.LARGEST and len(body) <= (_PART if dense else _MAX_TEXT)
    whole = batches.exact(body) if read or (dense and fits and len(block) > _ONE_UNIT) else None
    outline = batches.outline_of(whole) if whole else batches.outline(body)
    lines = None if fits or outline is None else batches.lines(body, outline.ids)
    if outline is None or not (fits or lines):
        batch = batches.decode(body)
        if batch.message_type == "DATA_MESSAGE":
            put(batch, now)
        return Delivery(batch.message_type, batch.task_id, len(batch.log_events), body)
    chunk = None
    if outline.message_type == "DATA_MESSAGE" and outline.ids:
        about = {"expiresAt": settings().logs_expire(now)}
        if lines:
            _put(outline.task_id, outline.ids, lines, about, dense=dense)
        else:
            chunk = _name(outline.ids, block[-8:])
            _write(_cheapest(outline.task_id, chunk, block, whole if dense else None, about))
    return Delivery(outline.message_type, outline.task_id, len(outline.ids), body, chunk, whole)


def put(batch: Batch, now: datetime, *, fetched: bool = False) -> None:
    """Store the lines of a batch; storing them again changes nothing.

    `fetched`: the subscription has not delivered them (yet), so that nobody but the store knows of them.
    """
    events = {event.id: event for event in batch.log_events}
    if events:
        ids = sorted(events)
        about = {"expiresAt": settings().logs_expire(now)} | ({"fetched": True} if fetched else {})
        _put(batch.task_id, ids, batches.encode(events[each] for each in ids), about, dense=True)


def _put(task_id: str, ids: Sequence[str], lines: memoryview, about: Mapping[str, Any], *, dense: bool) -> None:
    """Write lines as one chunk, or as several where they are too many for one; condensed if they are dense."""
    one = len(ids) == 1
    block = _block(lines, dense=dense or one) if one or len(lines) <= (_PART if dense else _MAX_TEXT) else None
    if block and (one or len(block) <= items.LARGEST):
        chunk = _name(ids, batches.tail(lines))
        _write(items.make(task_id, chunk.key, chunk.last, block, about))
    else:
        half = len(ids) // 2
        first, second = batches.halve(lines, ids[half])
        _put(task_id, ids[:half], first, about, dense=dense)
        _put(task_id, ids[half:], second, about, dense=dense)


def _block(lines: memoryview, *, dense: bool) -> bytes:
    """Lines condensed, if that can be done; a single one is cut to what is kept of a line."""
    try:
        events = msgspec.json.decode(b"".join((b"[", lines, b"]")), type=tuple[Event, ...]) if dense else ()
    except ValueError:
        events = ()
    if len(events) == 1:
        return batches.deflate(batches.encode(map(batches.cut, events)))
    return blocks.condense(events) or batches.deflate(lines)


def _name(ids: Sequence[str], tail: bytes) -> Name:
    """A chunk's name, made of what it holds in whichever form."""
    digest = hashlib.sha256(f"{ids[-1]} {len(ids)} ".encode() + tail).digest()
    return Name(ids[0], ids[-1], digest[:MARK_BYTES])


def _cheapest(task_id: str, chunk: Name, block: bytes, whole: Batch | None, about: Mapping[str, Any]) -> list[Item]:
    """The items of CloudWatch's own block, or of its lines condensed if that saves a write unit."""
    made = items.make(task_id, chunk.key, chunk.last, block, about)
    if whole and items.units(made) > 1 and (condensed := blocks.condense(whole.log_events)):
        shorter = items.make(task_id, chunk.key, chunk.last, condensed, about)
        return min(made, shorter, key=items.units)
    return made


def _write(made: Sequence[Item]) -> None:
    for item in made:
        aws.dynamodb().put_item(TableName=settings().logs_table, Item=aws.to_item(item))


def fetched_lines(task_id: str) -> list[list[LogLine]]:
    """The lines that are stored because they were fetched, and that the subscription has not delivered since.

    Gap by gap, so that what becomes of them never reaches over other lines.
    """
    fetched: dict[str, LogLine] = {}
    delivered: set[str] = set()
    for chunk in read(task_id):
        if chunk.fetched:
            fetched.update((line[0], LogLine(*line)) for line in chunk.lines())
        else:
            delivered.update(line[0] for line in chunk.lines())
    gaps = groupby(sorted(fetched.keys() | delivered), lambda event_id: event_id not in delivered)
    return [[fetched[event_id] for event_id in gap] for missed, gap in gaps if missed]


def stored_ids(task_id: str) -> tuple[set[str], str]:
    """The ids of all lines stored of a task's log, and the last line's text."""
    found: set[str] = set()
    last = ("", 0, "")
    for chunk in read(task_id):
        lines = chunk.lines()
        found.update(line[0] for line in lines)
        last = max(last, lines[-1])
    return found, last[2]


def read(task_id: str, base: str = "") -> Iterator[Chunk]:
    """A task's chunks behind a key, in order."""
    pages = (
        aws.dynamodb()
        .get_paginator("query")
        .paginate(
            TableName=settings().logs_table,
            KeyConditionExpression="taskId = :task" + (" AND firstEventId > :base" if base else ""),
            ExpressionAttributeValues={":task": {"S": task_id}} | ({":base": {"S": base}} if base else {}),
            ConsistentRead=True,
        )
    )
    found = (item for page in pages for item in page["Items"] if not item["firstEventId"]["S"].startswith(_NOTES))
    yield from map(_chunk, items.join(found))


def _chunk(item: Any) -> Chunk:
    key, data = item["firstEventId"]["S"], item["lines"]["B"]
    last = item["lastEventId"]["S"] if "lastEventId" in item else blocks.last_id(data, key.rpartition(".")[0])
    return Chunk(key, last, data, "fetched" in item)


def any_between(task_id: str, low: str, high: str) -> bool:
    """Whether there is a chunk whose key is between these, which costs less than to read it."""
    answer = aws.dynamodb().query(
        TableName=settings().logs_table,
        KeyConditionExpression="taskId = :task AND firstEventId BETWEEN :low AND :high",
        ExpressionAttributeValues={":task": {"S": task_id}, ":low": {"S": low}, ":high": {"S": high}},
        ConsistentRead=True,
        Select="COUNT",
        Limit=1,
    )
    return answer["Count"] > 0

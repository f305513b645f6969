"""The log store: each batch of lines from CloudWatch is one compressed item, a chunk, in CloudWatch's own form.

A chunk's key is its first event's id and a digest of what it holds. Event ids grow with time within a stream, so the
key puts a task's chunks in order; a batch that is delivered twice lands on itself, and one that overlaps another
replaces nothing.

Lambda handles batches side by side and tries again minutes later, so a chunk may appear before one that a reader has
seen. A cursor therefore says which chunks were read, not only how far: a late chunk is still new to it.
"""

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from itertools import chain, groupby
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from tidegate import aws, batches, blocks
from tidegate.batches import Batch, Event
from tidegate.model import LogLine, LogPage
from tidegate.settings import settings

MAX_PAGE_BYTES = 1024 * 1024  # Lambda answers with 6 MB at most, and JSON within JSON may double what we count
WINDOW = 100  # the newest chunks of a task, among which a late one is noticed: minutes, as Lambda's own retries take
_MAX_CHUNK = 380 * 1024  # an item may have 400 KB
_MAX_TEXT = 4 * 1024 * 1024  # of a chunk, unpacked, so that a flood of equal lines can still be read
_SMALL, _SMALL_TEXT = 4 * 1024, 64 * 1024  # up to which a block and its text may be condensed: more would cost too much
_WRITE_UNIT = 1024  # bytes of an item
_MARK_BYTES = 6
_NOTES = "~"  # what is about a log, and not of it, sorts behind all chunks
_SEAL = "~seal"
_WATCHES = "~unsealed"  # in place of a task id
_Line = tuple[str, int, str]


class Page(LogPage, frozen=True):
    """A page of a log; `more` says that lines after it are stored already."""

    more: bool = False


class Seal(Struct, frozen=True, rename="camel"):
    """The end of a task's log: how many lines it has, and why some may be missing after the line `after`."""

    lines: int
    after: str | None = None
    reason: str | None = None


class Watch(Struct, frozen=True, rename="camel"):
    """A log that is not sealed for good: whose it is, and what the last look at it saw.

    `lines` is how many were stored then, `whole` whether those were all CloudWatch had, `since` the time in
    milliseconds from which on it is still to be compared, after the line `last`.
    """

    task_id: str
    build_id: str | None = None
    project_slug: str | None = None
    ended_at: datetime | None = None
    looked_at: datetime | None = None
    lines: int = 0
    whole: bool = False
    since: int = 0
    last: str | None = None


class Origin(Struct, frozen=True, rename="camel"):
    """Whose log a task writes."""

    build_id: str
    project_slug: str


class BadCursor(ValueError):
    """The cursor is not one that a page of this log gave."""


class Delivery(Struct, frozen=True, dict=True):
    """What came of an event's `awslogs.data`: JSON, and the chunk that it became, if it became just one."""

    message_type: str
    task_id: str
    lines: int
    body: bytes
    chunk: "_Name | None" = None
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


class _Name(Struct, frozen=True):
    """Which chunk: its first line's id, its last one's and its mark."""

    first: str
    last: str
    mark: bytes

    @property
    def key(self) -> str:
        return f"{self.first}.{self.mark.hex()}"


def store(data: str, now: datetime, *, read: bool = False) -> Delivery:
    """Store what a subscription filter delivers, base64 of gzip of JSON; raises ValueError if it is something else.

    CloudWatch's own block is stored as it is, without reading the lines' texts, or in parts if it fits no item. Lines
    out of order, and JSON that only a lenient reader understands, are written anew. `read`: the texts are read at once,
    which costs less than to do it later.
    """
    block = batches.unpack(data)
    body = batches.inflate(block)
    whole = batches.exact(body) if read else None
    outline = batches.outline_of(whole) if whole else batches.outline(body)
    fits = len(block) <= _MAX_CHUNK and len(body) <= _MAX_TEXT
    lines = None if fits or outline is None else batches.lines(body, outline.ids)
    if outline is None or not (fits or lines):
        batch = batches.decode(body)
        if batch.message_type == "DATA_MESSAGE":
            put(batch, now)
        return Delivery(batch.message_type, batch.task_id, len(batch.log_events), body)
    chunk = None
    if outline.message_type == "DATA_MESSAGE" and outline.ids:
        if lines:
            _put(outline.task_id, outline.ids, lines, _expiry(now), {})
        else:
            chunk = _write(outline.task_id, outline.ids, block, _expiry(now), {})
    return Delivery(outline.message_type, outline.task_id, len(outline.ids), body, chunk, whole)


def put(batch: Batch, now: datetime, *, fetched: bool = False) -> None:
    """Store the lines of a batch; storing them again changes nothing.

    `fetched`: the subscription has not delivered them (yet), so that nobody but the store knows of them.
    """
    events = {event.id: event for event in batch.log_events}
    if events:
        ids = sorted(events)
        _put(
            batch.task_id,
            ids,
            batches.encode(events[each] for each in ids),
            _expiry(now),
            {"fetched": True} if fetched else {},
        )


def _put(task_id: str, ids: Sequence[str], lines: memoryview, expires: int, more: Mapping[str, bool]) -> None:
    """Write lines as one chunk, or as several where they fit into none."""
    if len(lines) <= _MAX_TEXT and len(block := batches.deflate(lines)) <= _MAX_CHUNK:
        _write(task_id, ids, block, expires, more)
    elif len(ids) == 1:
        _write(task_id, ids, _cut_to_fit(msgspec.json.decode(lines, type=Event)), expires, more)
    else:
        half = len(ids) // 2
        first, second = batches.halve(lines, ids[half])
        _put(task_id, ids[:half], first, expires, more)
        _put(task_id, ids[half:], second, expires, more)


def _cut_to_fit(event: Event) -> bytes:
    """The block of a line that fits no item, cut; no text grows more than sixfold in JSON."""
    for limit in (batches.MAX_LINE_BYTES, batches.MAX_LINE_BYTES // 2, _MAX_CHUNK // 8):
        block = batches.deflate(batches.encode([batches.cut(event, limit)]))
        if len(block) <= _MAX_CHUNK:
            break
    return block


def _write(task_id: str, ids: Sequence[str], block: bytes, expires: int, more: Mapping[str, bool]) -> _Name:
    # gzip ends with a checksum and the length of what is in it
    digest = hashlib.sha256(f"{ids[-1]} {len(ids)} ".encode() + block[-8:]).digest()
    chunk = _Name(ids[0], ids[-1], digest[:_MARK_BYTES])
    item = {
        "taskId": task_id,
        "firstEventId": chunk.key,
        "lastEventId": chunk.last,
        "lines": block,
        "expiresAt": expires,
        **more,
    }
    aws.dynamodb().put_item(TableName=settings().logs_table, Item=aws.to_item(_cheaper(item)))
    return chunk


def _cheaper(item: dict[str, Any]) -> dict[str, Any]:
    """The item with its block condensed, if that saves a write unit."""
    block = item["lines"]
    if _units(item) == 1 or len(block) > _SMALL or int.from_bytes(block[-4:], "little") > _SMALL_TEXT:
        return item
    condensed = item | {"lines": blocks.condense(batches.events(block))}
    del condensed["lastEventId"]  # it stands in the block
    return condensed if condensed["lines"] and _units(condensed) < _units(item) else item


def _units(item: Mapping[str, Any]) -> int:
    """The write units of an item, and at a border one more."""
    size = sum(len(name) + (len(value) if isinstance(value, str | bytes) else 8) for name, value in item.items())
    return -(-size // _WRITE_UNIT)


def fetched_lines(task_id: str) -> list[list[LogLine]]:
    """The lines that are stored because they were fetched, and that the subscription has not delivered since.

    Gap by gap, so that what becomes of them never reaches over other lines.
    """
    fetched: dict[str, LogLine] = {}
    delivered: set[str] = set()
    for chunk in _chunks(task_id, ""):
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
    for chunk in _chunks(task_id, ""):
        lines = chunk.lines()
        found.update(line[0] for line in lines)
        last = max(last, lines[-1])
    return found, last[2]


def get_seal(task_id: str) -> Seal | None:
    """The seal of a task's log; lines that it counts are there for whoever reads after it."""
    item = _note(task_id, _SEAL)
    return msgspec.convert(item, Seal) if item else None


def seal(look: Watch, new: Seal, now: datetime) -> None:
    """Write the seal of a task's log, or a newer one over it, with the look that it comes from."""
    item = aws.plain(look) | aws.plain(new) | {"firstEventId": _SEAL, "expiresAt": _expiry(now)}
    aws.dynamodb().put_item(TableName=settings().logs_table, Item=aws.to_item(item))


def look_of_seal(task_id: str) -> Watch | None:
    """What the look saw that a task's log was sealed by."""
    item = _note(task_id, _SEAL)
    return msgspec.convert(item, Watch) if item else None


def name_task(task_id: str, build_id: str, project_slug: str, now: datetime) -> None:
    """Note whose log a task writes, as the log's stream names the task alone; it is to be looked at from then on."""
    watch(Watch(task_id, build_id, project_slug), now)


def origin(task_id: str) -> Origin | None:
    """Whose log a task writes; `None` if that is not noted (yet)."""
    item = _note(_WATCHES, task_id) or _note(task_id, _SEAL)
    return msgspec.convert(item, Origin) if item and item.get("projectSlug") else None


def watch(new: Watch, now: datetime) -> None:
    """Remember that a log is to be looked at (again)."""
    item = aws.plain(new) | {"taskId": _WATCHES, "firstEventId": new.task_id, "expiresAt": _expiry(now)}
    aws.dynamodb().put_item(TableName=settings().logs_table, Item=aws.to_item(item))


def get_watch(task_id: str) -> Watch | None:
    """What is noted of a log that is to be looked at."""
    item = _note(_WATCHES, task_id)
    return msgspec.convert(item | {"taskId": task_id}, Watch) if item else None


def unwatch(task_id: str) -> None:
    """Forget a log that is whole."""
    key = {"taskId": {"S": _WATCHES}, "firstEventId": {"S": task_id}}
    aws.dynamodb().delete_item(TableName=settings().logs_table, Key=key)


def watches() -> list[Watch]:
    """The logs that are to be looked at."""
    pages = (
        aws.dynamodb()
        .get_paginator("query")
        .paginate(
            TableName=settings().logs_table,
            KeyConditionExpression="taskId = :watches",
            ExpressionAttributeValues={":watches": {"S": _WATCHES}},
            ConsistentRead=True,
        )
    )
    items = [aws.from_item(item) for page in pages for item in page["Items"]]
    return [msgspec.convert(item | {"taskId": item["firstEventId"]}, Watch) for item in items]


def _note(first: str, second: str) -> dict[str, Any] | None:
    """The item about a log that has this key."""
    key = {"taskId": {"S": first}, "firstEventId": {"S": second}}
    answer = aws.dynamodb().get_item(TableName=settings().logs_table, Key=key, ConsistentRead=True)
    return aws.from_item(answer["Item"]) if "Item" in answer else None


def _expiry(now: datetime) -> int:
    return int((now + timedelta(days=settings().log_retention_days)).timestamp())


class _Place(Struct, array_like=True):
    """How far a task's log was read.

    `read` holds the marks of the chunks that were read, save those up to the key `base`, whose last line is `floor`;
    of the chunk with the mark `part` the first `given` lines were read. `last` is the greatest id of a chunk that was.
    """

    base: Annotated[str, Meta(max_length=200)] = ""
    floor: Annotated[str, Meta(max_length=100)] = ""
    part: bytes = b""
    given: Annotated[int, Meta(ge=0)] = 0
    read: bytes = b""
    last: Annotated[str, Meta(max_length=100)] = ""

    @property
    def marks(self) -> list[bytes]:
        return [self.read[start : start + _MARK_BYTES] for start in range(0, len(self.read), _MARK_BYTES)]


class _Chunk(Struct):
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

    def lines(self) -> list[_Line]:
        events = map(batches.cut, blocks.events(self.data, self.first))
        return [(event.id, event.timestamp, event.message) for event in events]

    def overlaps(self, other: "_Chunk") -> bool:
        return self.last >= other.first and self.first <= other.last


class _Sheet:
    """The page in the making."""

    def __init__(self, limit: int, most_bytes: int) -> None:
        self._limit, self._most = limit, most_bytes
        self._lines: list[LogLine] = []
        self._sorted = self._bytes = 0

    def add(self, line: _Line) -> bool:
        """Put a line on the page; `False` if it does not fit. The first one does, whatever its size."""
        new = LogLine(*line)
        size = len(msgspec.json.encode(new)) + 1
        if self._lines and (len(self._lines) >= self._limit or self._bytes + size > self._most):
            return False
        self._lines.append(new)
        self._bytes += size
        return True

    def sort(self) -> None:
        """Put what came since the last call in order."""
        self._lines[self._sorted :] = sorted(self._lines[self._sorted :], key=lambda line: line.id)
        self._sorted = len(self._lines)

    def take(self) -> tuple[LogLine, ...]:
        """The page's lines; what comes then stands on a new one."""
        self.sort()
        lines = tuple(self._lines)
        self._lines, self._sorted, self._bytes = [], 0, 0
        return lines


def read(task_ids: list[str], cursor: str | None, limit: int) -> Page:
    """The first of `pages`."""
    return next(pages(task_ids, cursor, limit, MAX_PAGE_BYTES))


def pages(task_ids: list[str], cursor: str | None, limit: int, most_bytes: int) -> Iterator[Page]:
    """Lines that no page before the cursor gave, over all tasks of a build; raises BadCursor.

    Each line comes once, and in order; lines that were stored late come with the next call. There is at least one page,
    and the last one says that there is no more. `most_bytes` counts lines as JSON; one that is longer has a page of its
    own.
    """
    places = _read_cursor(cursor) if cursor else []
    places += [_Place() for _ in task_ids[len(places) :]]
    sheet = _Sheet(limit, most_bytes)
    for task_id, place in zip(task_ids, places, strict=False):
        for _ in _read_task(task_id, place, sheet):
            yield Page(sheet.take(), _write_cursor(places), more=True)
        sheet.sort()
    begun = any(place != _Place() for place in places)
    yield Page(sheet.take(), _write_cursor(places) if begun else cursor)


def pages_of(new: Delivery, task_ids: list[str], cursor: str | None, most_bytes: int) -> list[tuple[bytes, str]] | None:
    """The pages after a cursor, as JSON objects with commas between, if they are a delivery that was just stored.

    That is so for who has read all that is stored before it. `None` for anybody else: the store is to be read.
    """
    places = _read_cursor(cursor) if cursor else []
    if not new.chunk or len(places) != len(task_ids) or task_ids[-1] != new.task_id:
        return None
    place, chunk = places[-1], new.chunk
    behind = f"{place.last}/"  # behind the keys that begin with it and a dot
    begun = place.part or not place.last or behind > chunk.first
    if begun or len(place.read) >= 2 * WINDOW * _MARK_BYTES or _any_between(new.task_id, behind, chunk.first):
        return None
    found = [*batches.pieces(new.json, most_bytes)]
    if any(len(piece) > most_bytes for piece in found):
        return None
    pages, given = [], 0
    for piece in found[:-1]:
        given += batches.count(piece)
        places[-1] = replace(place, part=chunk.mark, given=given)
        pages.append((piece, _write_cursor(places)))
    places[-1] = replace(place, read=place.read + chunk.mark, last=chunk.last)
    return [*pages, (found[-1], _write_cursor(places))]


def check_cursor(cursor: str) -> None:
    """Raise BadCursor for what no page can have given."""
    _read_cursor(cursor)


def _read_task(task_id: str, place: _Place, sheet: _Sheet) -> Iterator[None]:
    """Put a task's new lines on the page and move its place on; stops whenever the page is full."""
    stream = _chunks(task_id, place.base)
    read, late = _look_back(stream, place)
    near = list(read)
    for chunk in chain(late, stream):
        if chunk not in late:  # from here on keys only rise
            near = [other for other in near if other.last >= chunk.first]
        known = {line[0] for other in near if other.overlaps(chunk) for line in other.lines()}
        given = place.given if chunk.mark == place.part else 0
        for position, line in enumerate(chunk.lines()):
            if position < given or line[0] <= place.floor or line[0] in known:
                continue
            while not sheet.add(line):
                place.part, place.given = chunk.mark, position
                _move_base(place, read, late)
                yield
        place.part, place.given = b"", 0
        read.append(chunk)
        near.append(chunk)
    _move_base(place, read, late)


def _look_back(stream: Iterator[_Chunk], place: _Place) -> tuple[list[_Chunk], list[_Chunk]]:
    """The chunks that were read, and those among them that were not, the one that was begun first."""
    read: list[_Chunk] = []
    late: list[_Chunk] = []
    marks = set(place.marks)
    awaited = {*marks, place.part} - {b""}
    while awaited and (chunk := next(stream, None)):
        (read if chunk.mark in marks else late).append(chunk)
        awaited.discard(chunk.mark)
    return read, sorted(late, key=lambda chunk: chunk.mark != place.part)


def _move_base(place: _Place, read: list[_Chunk], late: list[_Chunk]) -> None:
    """Note which chunks were read, one by one for the newest only, which keeps the cursor short."""
    read.sort(key=lambda chunk: chunk.key)
    marks = {chunk.mark for chunk in read}
    unread = min((chunk.key for chunk in late if chunk.mark not in marks), default=None)
    while len(read) > WINDOW and (unread is None or read[0].key < unread):
        oldest = read.pop(0)
        place.base, place.floor = oldest.key, max(oldest.last, place.floor)
    place.read = b"".join(chunk.mark for chunk in read)
    place.last = max([place.floor, *(chunk.last for chunk in read)])


def _chunks(task_id: str, base: str) -> Iterator[_Chunk]:
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
    for page in pages:
        for item in page["Items"]:
            if not item["firstEventId"]["S"].startswith(_NOTES):
                yield _chunk(item)


def _chunk(item: Any) -> _Chunk:
    key, data = item["firstEventId"]["S"], item["lines"]["B"]
    last = item["lastEventId"]["S"] if "lastEventId" in item else blocks.last_id(data, key.rpartition(".")[0])
    return _Chunk(key, last, data, "fetched" in item)


def _any_between(task_id: str, low: str, high: str) -> bool:
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


def _write_cursor(places: list[_Place]) -> str:
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(places)).decode().rstrip("=")


def _read_cursor(cursor: str) -> list[_Place]:
    try:
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return msgspec.msgpack.decode(data, type=list[_Place])
    except ValueError as error:
        raise BadCursor("must be a cursor that an earlier page gave") from error

"""Reading logs page by page, each line once.

Lambda handles batches side by side and tries again minutes later, so a chunk may appear before one that a reader has
seen. A cursor therefore says which chunks were read, not only how far: a late chunk is still new to it.
"""

import base64
from collections.abc import Iterator, Sequence
from itertools import chain, zip_longest
from typing import Annotated

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from tidegate import batches, chunks
from tidegate.chunks import MARK_BYTES, Chunk, Delivery, Line
from tidegate.model import LogLine, LogPage

MAX_PAGE_BYTES = 1024 * 1024  # Lambda answers with 6 MB at most, and JSON within JSON may double what we count
WINDOW = 100  # the newest chunks of a task, among which a late one is noticed: minutes, as Lambda's own retries take
_MOST_LINES = 10**9  # who says that it has more made its cursor up
_Key = Annotated[str, Meta(max_length=200)]
_Id = Annotated[str, Meta(max_length=100)]
_Count = Annotated[int, Meta(ge=0, le=_MOST_LINES)]


class Page(LogPage, frozen=True):
    """A page of a log; `more` says that lines after it are stored already."""

    more: bool = False


class BadCursor(ValueError):
    """The cursor is not one that a page of this log gave."""


class _Place(Struct, array_like=True):
    """How far a task's log was read.

    `read` holds the marks of the chunks that were read, save those up to the key `base`, whose last line is `floor`;
    of the chunk with the mark `part` the first `given` lines were read. `last` is the greatest id of a chunk that was.
    `lines` were read in all, anew since the log was known to have `sealed`, if they once were not all.
    """

    base: _Key = ""
    floor: _Id = ""
    part: Annotated[bytes, Meta(max_length=MARK_BYTES)] = b""
    given: _Count = 0
    read: bytes = b""
    last: _Id = ""
    lines: _Count = 0
    sealed: Annotated[int, Meta(ge=-1, le=_MOST_LINES)] = -1

    @property
    def marks(self) -> list[bytes]:
        return [self.read[start : start + MARK_BYTES] for start in range(0, len(self.read), MARK_BYTES)]


class _Sheet:
    """The page in the making."""

    def __init__(self, limit: int, most_bytes: int) -> None:
        self._limit, self._most = limit, most_bytes
        self._lines: list[LogLine] = []
        self._sorted = self._bytes = 0

    def add(self, line: Line) -> bool:
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


def read(task_ids: list[str], cursor: str | None, limit: int, sealed: Sequence[int] = ()) -> Page:
    """The first of `pages`."""
    return next(pages(task_ids, cursor, limit, MAX_PAGE_BYTES, sealed))


def pages(
    task_ids: list[str], cursor: str | None, limit: int, most_bytes: int, sealed: Sequence[int] = ()
) -> Iterator[Page]:
    """Lines that no page before the cursor gave, over all tasks of a build; raises BadCursor.

    Each line comes once, and in order; lines that were stored late come with the next call. There is at least one page,
    and the last one says that there is no more. `most_bytes` counts lines as JSON; one that is longer has a page of its
    own. `sealed` is how many lines each log has that is sealed: who has read to its end and got another number, as a
    line came too late to be noticed, gets that log once more.
    """
    places = _read_cursor(cursor)[: len(task_ids)] if cursor else []
    places += [_Place() for _ in task_ids[len(places) :]]
    sheet = _Sheet(limit, most_bytes)
    for number, (task_id, whole) in enumerate(zip_longest(task_ids, sealed)):
        while True:
            for _ in _read_task(task_id, places[number], sheet):
                yield Page(sheet.take(), _write_cursor(places), more=True)
            sheet.sort()
            if whole in {None, places[number].lines, places[number].sealed}:
                break
            places[number] = _Place(sealed=whole)
    begun = any(place != _Place() for place in places)
    yield Page(sheet.take(), _write_cursor(places) if begun else cursor)


def pages_of(
    new: Delivery, task_ids: list[str], cursor: str | None, most_bytes: int
) -> list[tuple[bytes | memoryview, str]] | None:
    """The pages after a cursor, as JSON objects with commas between, if they are a delivery that was just stored.

    That is so for who has read all that is stored before it. `None` for anybody else: the store is to be read.
    """
    places = _read_cursor(cursor) if cursor else []
    if not new.chunk or len(places) != len(task_ids) or task_ids[-1] != new.task_id:
        return None
    place, chunk = places[-1], new.chunk
    behind = f"{place.last}/"  # behind the keys that begin with it and a dot
    begun = place.part or not place.last or behind > chunk.first
    if begun or len(place.read) >= 2 * WINDOW * MARK_BYTES or chunks.any_between(new.task_id, behind, chunk.first):
        return None
    found = [*batches.pieces(new.json, most_bytes)]
    if any(len(piece) > most_bytes for piece in found):
        return None
    pages: list[tuple[bytes | memoryview, str]] = []
    given = 0
    for piece in found[:-1]:
        given += batches.count(piece)
        places[-1] = replace(place, part=chunk.mark, given=given, lines=place.lines + given)
        pages.append((piece, _write_cursor(places)))
    places[-1] = replace(place, read=place.read + chunk.mark, last=chunk.last, lines=place.lines + new.lines)
    return [*pages, (found[-1], _write_cursor(places))]


def check_cursor(cursor: str | None) -> str | None:
    """The cursor; raises BadCursor for what no page can have given."""
    if cursor:
        _read_cursor(cursor)
    return cursor


def _read_task(task_id: str, place: _Place, sheet: _Sheet) -> Iterator[None]:
    """Put a task's new lines on the page and move its place on; stops whenever the page is full."""
    stream = chunks.read(task_id, place.base)
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
            place.lines += 1
        place.part, place.given = b"", 0
        read.append(chunk)
        near.append(chunk)
    _move_base(place, read, late)


def _look_back(stream: Iterator[Chunk], place: _Place) -> tuple[list[Chunk], list[Chunk]]:
    """The chunks that were read, and those among them that were not, the one that was begun first."""
    read: list[Chunk] = []
    late: list[Chunk] = []
    marks = set(place.marks)
    awaited = {*marks, place.part} - {b""}
    while awaited and (chunk := next(stream, None)):
        (read if chunk.mark in marks else late).append(chunk)
        awaited.discard(chunk.mark)
    return read, sorted(late, key=lambda chunk: chunk.mark != place.part)


def _move_base(place: _Place, read: list[Chunk], late: list[Chunk]) -> None:
    """Note which chunks were read, one by one for the newest only, which keeps the cursor short."""
    read.sort(key=lambda chunk: chunk.key)
    marks = {chunk.mark for chunk in read}
    unread = min((chunk.key for chunk in late if chunk.mark not in marks), default=None)
    while len(read) > WINDOW and (unread is None or read[0].key < unread):
        oldest = read.pop(0)
        place.base, place.floor = oldest.key, max(oldest.last, place.floor)
    place.read = b"".join(chunk.mark for chunk in read)
    place.last = max([place.floor, *(chunk.last for chunk in read)])


def _write_cursor(places: list[_Place]) -> str:
    for place in places:
        place.lines = min(place.lines, _MOST_LINES)  # so that what follows on a cursor can be read, too
    # A build that waited for capacity may have hundreds of tasks that wrote nothing.
    short = [place if place != _Place() else () for place in places]
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(short)).decode().rstrip("=")


def _read_cursor(cursor: str) -> list[_Place]:
    try:
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return msgspec.msgpack.decode(data, type=list[_Place])
    except ValueError as error:
        raise BadCursor("must be a cursor that an earlier page gave") from error

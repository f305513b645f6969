"""A build's log in frames, from whatever cursor its viewers have."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from msgspec import Struct

from tidegate import chunks, frames, logs, reading

_MOST = 100_000  # lines; a frame is full of bytes long before


class Sheet(Struct, frozen=True):
    """A page of a log, ready to be sent."""

    frames: list[bytes]
    cursor: str | None
    more: bool


class Log:
    """A build's log as it is to be sent; the first page from each cursor is read once for all who stand there.

    `ending` is what to tell of its end, once it has one. `new` was just stored: who has all before it needs no more.
    """

    def __init__(
        self,
        build_id: str,
        tasks: list[str],
        ending: dict[str, Any] | None = None,
        new: chunks.Delivery | None = None,
    ) -> None:
        self.tasks, self.ending = tasks, ending
        self._build_id, self._new = build_id, new
        self._whole: dict[str | None, list[Sheet]] = {}
        self._first: dict[str | None, Sheet] = {}
        self._rest: dict[str | None, Iterator[Sheet]] = {}

    def first(self, cursor: str | None) -> Sheet:
        """The next page after a cursor."""
        if cursor not in self._first and (whole := self._at_once(cursor)):
            self._whole[cursor], self._first[cursor] = whole, whole[0]
        elif cursor not in self._first:
            reader = self._read(cursor)
            self._first[cursor], self._rest[cursor] = next(reader), reader
        return self._first[cursor]

    def sheets(self, cursor: str | None) -> Iterator[Sheet]:
        """All pages after a cursor."""
        sheet = self.first(cursor)
        yield sheet
        if cursor in self._whole:
            yield from self._whole[cursor][1:]
        elif sheet.more:  # the first viewer reads on, any other from there once more
            yield from self._rest.pop(cursor, None) or self._read(sheet.cursor)

    def news(self, cursor: str | None) -> bool:
        """Whether there is anything to tell who stands at the cursor."""
        return bool(self.first(cursor).frames or self.ending)

    def _at_once(self, cursor: str | None) -> list[Sheet]:
        """All pages, if they can be told without reading what is stored."""
        sheets: list[Sheet] = []
        found = logs.pages_of(self._new, self.tasks, cursor, frames.LINES) if self._new else None
        for lines, after in found or ():
            sheets.append(Sheet([frames.of_json(self._build_id, cursor, after, lines)], after, more=True))
            cursor = after
        return sheets

    def _read(self, cursor: str | None) -> Iterator[Sheet]:
        for page in logs.pages(self.tasks, cursor, _MOST, frames.LINES):
            sent = frames.lines(self._build_id, cursor, page.cursor, page.lines) if page.lines else ()
            yield Sheet([*sent], page.cursor, page.more)
            cursor = page.cursor


def look(build_id: str, now: datetime) -> Log:
    """A build's log as it is now, and how it ended if it has; raises NotFound."""
    view = reading.outlook(build_id, now)
    about = {"status": view.build.status, "sealed": view.sealed, "lineCount": view.line_count, "gaps": view.gaps}
    return Log(build_id, view.tasks, about if view.over else None)

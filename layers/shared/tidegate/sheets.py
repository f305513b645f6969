"""A build's log in frames, from whatever cursor its viewers have."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from tidegate import chunks, frames, logs, reading

_MOST = 100_000  # lines; a frame is full of bytes long before
Place = tuple[str | None, str]  # a cursor, and the encoding for who stands there


class Sheet(Struct, frozen=True):
    """A page of a log, ready to be sent."""

    frames: list[bytes]
    cursor: str | None
    more: bool


class Log:
    """A build's log as it is to be sent; the first page from each cursor is made once for all who stand there.

    `ending` is what to tell of its end, once it has one, `sealed` how many lines each task wrote, once that is known.
    `new` was just stored: who has all before it needs no more.
    """

    def __init__(
        self,
        build_id: str,
        tasks: list[str],
        ending: dict[str, Any] | None = None,
        new: chunks.Delivery | None = None,
        sealed: Sequence[int] = (),
    ) -> None:
        self.tasks, self.ending = tasks, ending
        self._build_id, self._new, self._sealed = build_id, new, sealed
        self._whole: dict[Place, list[Sheet]] = {}
        self._first: dict[Place, Sheet] = {}
        self._rest: dict[Place, Iterator[Sheet]] = {}

    def at_hand(self, cursor: str | None, encoding: str) -> bool:
        """Whether all that comes after a cursor can be told without reading what is stored."""
        place = cursor, encoding
        if place not in self._whole:
            self._whole[place] = self._at_once(cursor, encoding)
        return bool(self._whole[place])

    def first(self, cursor: str | None, encoding: str) -> Sheet:
        """The next page after a cursor, for who takes lines so encoded."""
        place = cursor, encoding
        if self.at_hand(cursor, encoding):
            return self._whole[place][0]
        if place not in self._first:
            reader = self._read(cursor, encoding)
            self._first[place], self._rest[place] = next(reader), reader
        return self._first[place]

    def sheets(self, cursor: str | None, encoding: str) -> Iterator[Sheet]:
        """All pages after a cursor."""
        place, sheet = (cursor, encoding), self.first(cursor, encoding)
        yield sheet
        if whole := self._whole[place]:
            yield from whole[1:]
        elif sheet.more:  # the first viewer reads on, any other from there once more
            yield from self._rest.pop(place, None) or self._read(sheet.cursor, encoding)

    def news(self, cursor: str | None, encoding: str) -> bool:
        """Whether there is anything to tell who stands at the cursor."""
        return bool(self.first(cursor, encoding).frames or self.ending)

    def _at_once(self, cursor: str | None, encoding: str) -> list[Sheet]:
        """All pages, if they can be told without reading what is stored."""
        sheets: list[Sheet] = []
        most = frames.PACKED if encoding == "gzip" else frames.LINES
        found = logs.pages_of(self._new, self.tasks, cursor, most) if self._new else None
        for lines, after in found or ():
            write = frames.packed if encoding == "gzip" else frames.of_json
            frame = write(self._build_id, cursor, after, lines)
            if frame is None:
                return []
            sheets.append(Sheet([frame], after, more=True))
            cursor = after
        return sheets

    def _read(self, cursor: str | None, encoding: str) -> Iterator[Sheet]:
        for page in logs.pages(self.tasks, cursor, _MOST, frames.LINES, self._sealed):
            yield Sheet(self._frames(cursor, page, encoding) if page.lines else [], page.cursor, page.more)
            cursor = page.cursor

    def _frames(self, cursor: str | None, page: logs.Page, encoding: str) -> list[bytes]:
        if encoding == "gzip":
            frame = frames.packed(self._build_id, cursor, page.cursor, msgspec.json.encode(page.lines)[1:-1])
            if frame:
                return [frame]
        return [*frames.lines(self._build_id, cursor, page.cursor, page.lines)]


def look(build_id: str, now: datetime) -> Log:
    """A build's log as it is now, and how it ended if it has; raises NotFound."""
    view = reading.outlook(build_id, now)
    about = {"status": view.build.status, "sealed": view.sealed, "lineCount": view.line_count, "gaps": view.gaps}
    return Log(build_id, view.tasks, about if view.over else None, sealed=view.lines)

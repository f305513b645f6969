"""A viewer of a build's live log, as docs/contract.md tells clients to be."""

import contextlib
import json
import socket
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tests.fakes import lines_of

SECONDS = 60


class Viewer:
    """Follows a build over one connection after another; holds its lines and, in the end, the last frame."""

    def __init__(self, port: int, build_id: str, encoding: str | None = None) -> None:
        self.lines: list[tuple[str, str]] = []
        self.end: dict[str, Any] | None = None
        self.repeated = 0
        self._port = port
        self._build_id = build_id
        self._encoding = {"encoding": encoding} if encoding else {}
        self._cursor: str | None = None
        self._pieces: dict[str, dict[int, str]] = {}
        self._known: set[str] = set()
        self._connection: ClientConnection
        self._open = contextlib.ExitStack()

    @property
    def messages(self) -> list[str]:
        """The lines' texts, as they came."""
        return [message for _, message in self.lines]

    def connect(self) -> None:
        """Connect, and go on after the last line."""
        self.close()
        # No pings of the library's own: it answers for a client that does not read for a while.
        opened = connect(f"ws://127.0.0.1:{self._port}", proxy=None, ping_interval=None)
        self._connection = self._open.enter_context(opened)
        ask = {"action": "subscribe", "buildId": self._build_id, **self._encoding}
        self._connection.send(json.dumps(ask | ({"cursor": self._cursor} if self._cursor else {})))

    def follow(self, lines: int | None = None) -> None:
        """Read until there are so many lines, or to the end."""
        while self.end is None and (lines is None or len(self.lines) < lines):
            frame = self._receive()
            match frame.get("type"):
                case "lines":
                    self._take(frame)
                case "end":
                    self.end = frame
                case _:
                    raise AssertionError(frame)

    def cut(self) -> None:
        """Lose the connection as by a pulled plug: no close frame, and what is under way is lost."""
        with contextlib.suppress(OSError):
            self._connection.socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection."""
        self._open.close()

    def _receive(self) -> dict[str, Any]:
        frame: dict[str, Any] = json.loads(self._connection.recv(SECONDS))
        assert frame.get("buildId") == self._build_id, frame
        return frame

    def _take(self, frame: dict[str, Any]) -> None:
        new = frame["after"] == self._cursor
        for line in lines_of(frame):
            message = self._whole(line)
            if message is None:
                continue
            if line["id"] in self._known:
                assert not new, "a frame that says its lines are new repeats one"
                self.repeated += 1
                continue
            self._known.add(line["id"])
            self.lines.append((line["id"], message))
        self._cursor = frame["cursor"]

    def _whole(self, line: dict[str, Any]) -> str | None:
        """A line's text, if its last piece is there."""
        if "parts" not in line:
            return str(line["message"])
        pieces = self._pieces.setdefault(line["id"], {})
        pieces[line["part"]] = line["message"]
        if line["part"] < line["parts"]:
            return None
        return "".join(pieces[part] for part in range(1, line["parts"] + 1))

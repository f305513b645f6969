"""The open connections of the WebSocket API, and API Gateway's management API to them.

https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-how-to-call-websocket-api-connections.html
"""

import contextlib
import secrets
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection

MESSAGE_BYTES = 128 * 1024
FRAME_BYTES = 32 * 1024
BUFFER_BYTES = 1024 * 1024  # how much API Gateway keeps for a client that does not read is nowhere written
IDLE_SECONDS = 600.0
LIFE_SECONDS = 7200.0
CLOSE_SECONDS = 5.0


class CallRefused(Exception):
    """A call of the management API that is refused; ``status`` and ``code`` are those of its answer."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code


class Viewer:
    """One connection: what is sent to it waits in a bounded buffer, so that nobody waits for a client."""

    def __init__(self, stage: str, host: str, user_agent: str | None) -> None:
        self.id = secrets.token_urlsafe(11) + "="
        self.stage = stage
        self.host = host
        self.identity = {"sourceIp": "127.0.0.1"} | ({"userAgent": user_agent} if user_agent else {})
        self.connected_at = self.active_at = time.time()
        self.ended: tuple[int, str] | None = None
        self._connection: ServerConnection | None = None
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._changed = threading.Condition()

    def open(self, connection: ServerConnection) -> None:
        """Begin to send to an accepted connection."""
        self._connection = connection
        threading.Thread(target=self._write, args=(connection,), daemon=True).start()

    def seconds_left(self) -> float:
        """For how long the connection may stay open if nothing more is sent either way."""
        return min(self.connected_at + LIFE_SECONDS, self.active_at + IDLE_SECONDS) - time.time()

    def send(self, message: bytes) -> None:
        """Send a text, as soon as the client reads."""
        if len(message) > MESSAGE_BYTES:
            raise CallRefused(413, "PayloadTooLargeException")
        with self._changed:
            if self.ended:
                raise CallRefused(410, "GoneException")
            if self._bytes + len(message) > BUFFER_BYTES:
                raise CallRefused(429, "LimitExceededException")
            self._waiting.append(message)
            self._bytes += len(message)
            self._changed.notify()

    def end(self, code: int, reason: str) -> None:
        """Send what waits, and close the connection; cut it off if the client does not take part."""
        with self._changed:
            if self.ended:
                return
            self.ended = code, reason
            self._changed.notify()
        last = threading.Timer(CLOSE_SECONDS, self.cut)
        last.daemon = True
        last.start()

    def closed(self) -> None:
        """Send no more: the connection is closed."""
        with self._changed:
            self.ended = self.ended or (1006, "")
            self._waiting.clear()
            self._changed.notify()

    def cut(self) -> None:
        """Cut the connection off, also under a write that waits for the client."""
        if self._connection:
            with contextlib.suppress(OSError):
                self._connection.socket.shutdown(socket.SHUT_RDWR)

    def _write(self, connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            while (message := self._next()) is not None:
                connection.send(message if len(message) <= FRAME_BYTES else _frames(message), text=True)
                self.active_at = time.time()
                with self._changed:
                    self._bytes -= len(message)
            if self.ended:
                connection.close(*self.ended)

    def _next(self) -> bytes | None:
        with self._changed:
            while not self._waiting and not self.ended:
                self._changed.wait()
            return self._waiting.popleft() if self._waiting else None


class Viewers:
    """All open connections, by id."""

    def __init__(self) -> None:
        self._open: dict[str, Viewer] = {}

    def add(self, viewer: Viewer) -> None:
        """Let others find a connection."""
        self._open[viewer.id] = viewer

    def remove(self, viewer: Viewer) -> None:
        """Forget a connection that is closed."""
        self._open.pop(viewer.id, None)

    def cut_all(self) -> None:
        """Cut all connections off."""
        for viewer in list(self._open.values()):
            viewer.cut()

    def call(self, method: str, connection_id: str, body: bytes) -> dict[str, Any] | None:
        """Answer a call of the management API; raises CallRefused."""
        viewer = self._open.get(connection_id)
        if viewer is None or viewer.ended:
            raise CallRefused(410, "GoneException")
        match method:
            case "POST":
                viewer.send(body)
            case "DELETE":
                viewer.end(1000, "Connection Closed Normally")
            case "GET":
                times = {"connectedAt": _iso(viewer.connected_at), "lastActiveAt": _iso(viewer.active_at)}
                return {**times, "identity": viewer.identity}
            case _:
                raise CallRefused(403, "MissingAuthenticationTokenException")
        return None


def _frames(message: bytes) -> Iterator[bytes]:
    for start in range(0, len(message), FRAME_BYTES):
        yield message[start : start + FRAME_BYTES]


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

"""Local API Gateway's WebSocket APIs: a server whose connections and messages invoke functions.

Limits and close codes are those of
https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html
and https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-overview.html
"""

import contextlib
import json
import logging
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import Message
from http import HTTPStatus
from typing import Any
from weakref import WeakKeyDictionary

from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve

from local.gateway import Check
from local.lambdas import Outcome
from local.payload import connect_event, disconnect_event, message_event
from local.viewers import CLOSE_SECONDS, FRAME_BYTES, MESSAGE_BYTES, CallRefused, Viewer, Viewers

AT_ONCE = 8  # messages of one connection that are handled side by side
BACKLOG = 128
REASONS = {
    1001: "Going away",
    1005: "Client-side close frame status not set",
    1006: "Connection closed abnormally",
}


@dataclass(frozen=True)
class WebSocketApi:
    """A WebSocket API of the template: where in a message its route key stands, and each route's function by ARN."""

    logical_id: str
    stage: str
    path: tuple[str, ...]
    routes: Mapping[str, str]

    def find(self, message: str) -> tuple[str, str | None]:
        """The route key for a message, and the function's ARN if there is such a route."""
        try:
            value = json.loads(message)
        except (ValueError, RecursionError):
            value = None
        for name in self.path:
            value = value.get(name) if isinstance(value, dict) else None
        own = isinstance(value, str) and value in self.routes and not value.startswith("$")
        key = value if own else "$default"
        return key, self.routes.get(key)


class WebSocketGateway:
    """One WebSocket API on a port of the loopback interface."""

    def __init__(
        self,
        api: WebSocketApi,
        port: int,
        invoke: Callable[[str, Any], Outcome],
        check: Callable[[int], Check],
        viewers: Viewers,
    ) -> None:
        """``check`` is given the port and decides who may connect, as for the HTTP API."""
        logging.getLogger("websockets.server").setLevel(logging.CRITICAL)
        self._api = api
        self._invoke = invoke
        self._viewers = viewers
        self._accepted: WeakKeyDictionary[ServerConnection, Viewer] = WeakKeyDictionary()
        self._server: Server = serve(
            self._live,
            "127.0.0.1",
            port,
            backlog=BACKLOG,
            compression=None,  # API Gateway has none
            process_response=self._accept,
            server_header=None,
            ping_interval=None,
            close_timeout=CLOSE_SECONDS,
            max_size=(MESSAGE_BYTES, FRAME_BYTES),
        )
        # Accepted sockets inherit it; the system's own would hold megabytes for a client that does not read.
        self._server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MESSAGE_BYTES)
        self.port: int = self._server.socket.getsockname()[1]
        self._check = check(self.port)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Take no more connections, and cut off those that are there."""
        self._viewers.cut_all()
        self._server.shutdown()

    def _accept(self, connection: ServerConnection, request: Request, response: Response) -> Response | None:
        """Ask $connect about a connection that keeps to the protocol; None accepts it."""
        if response.status_code != 101:
            return None
        headers = Message()
        for name, value in request.headers.raw_items():
            headers[name] = value
        refusal = self._check("CONNECT", headers)
        if refusal:
            return _refused(connection, refusal.status, code=refusal.code, message=refusal.message)
        path, _, query = request.path.partition("?")
        if path.strip("/") not in {"", self._api.stage}:
            return _refused(connection, 403, message="Forbidden")
        viewer = Viewer(self._api.stage, headers.get("host", ""), headers.get("user-agent"))
        event = connect_event(viewer, list(headers.items()), query)
        status = self._connect(event)
        if not 200 <= status < 300:
            message = HTTPStatus(status).phrase
            return _refused(connection, status, message=message, **_ids(event))
        self._accepted[connection] = viewer
        return None

    def _connect(self, event: dict[str, Any]) -> int:
        """The status that $connect answers with."""
        if "$connect" not in self._api.routes:
            return 200
        outcome = self._invoke(self._api.routes["$connect"], event)
        return _status(outcome) or 502

    def _live(self, connection: ServerConnection) -> None:
        """Hand on what an accepted connection says, until it is closed."""
        viewer = self._accepted.pop(connection)
        viewer.open(connection)
        self._viewers.add(viewer)
        free = threading.Semaphore(AT_ONCE)
        with contextlib.suppress(ConnectionClosed):
            while True:
                message = self._receive(viewer, connection)
                if isinstance(message, bytes):
                    viewer.end(1003, "Binary is not supported")
                elif message is not None and not viewer.ended:
                    free.acquire()
                    threading.Thread(target=self._handle, args=(viewer, message, free), daemon=True).start()
        self._viewers.remove(viewer)
        viewer.closed()
        if "$disconnect" in self._api.routes:
            end = connection.protocol.close_rcvd or connection.protocol.close_sent
            code, reason = (int(end.code), end.reason) if end else (1006, "")
            event = disconnect_event(viewer, code, reason or REASONS.get(code, ""))
            self._invoke(self._api.routes["$disconnect"], event)

    def _receive(self, viewer: Viewer, connection: ServerConnection) -> str | bytes | None:
        """The next message; None after a while, and raises ConnectionClosed at the end."""
        try:
            message = connection.recv(None if viewer.ended else max(0.0, viewer.seconds_left()))
        except TimeoutError:
            if viewer.seconds_left() <= 0:
                viewer.end(1001, REASONS[1001])
            return None
        viewer.active_at = time.time()
        return message

    def _handle(self, viewer: Viewer, message: str, free: threading.Semaphore) -> None:
        key, arn = self._api.find(message)
        event = message_event(viewer, key, message)
        try:
            if arn is None:
                _tell(viewer, "Forbidden", event)
            elif _status(self._invoke(arn, event)) is None:
                _tell(viewer, "Internal server error", event)
        finally:
            free.release()


def path_of(selection: str) -> tuple[str, ...]:
    """The path of a route selection expression such as ``$request.body.action``."""
    match = re.fullmatch(r"\$(\{)?request\.body\.([\w.]+)(?(1)\})", selection)
    if not match:
        raise ValueError(f"the local stack selects routes by $request.body.<name>, not by {selection!r}")
    return tuple(match[2].split("."))


def _status(outcome: Outcome) -> int | None:
    """The status of a function's answer; None if it failed, or gave none."""
    if outcome.error or not isinstance(outcome.result, dict):
        return None
    status = outcome.result.get("statusCode")
    return int(status) if isinstance(status, int) or (isinstance(status, str) and status.isdigit()) else None


def _ids(event: Mapping[str, Any]) -> dict[str, str]:
    return {name: event["requestContext"][name] for name in ("connectionId", "requestId")}


def _tell(viewer: Viewer, message: str, event: Mapping[str, Any]) -> None:
    """Tell a client of an error, as API Gateway words it."""
    with contextlib.suppress(CallRefused):
        viewer.send(json.dumps({"message": message, **_ids(event)}).encode())


def _refused(connection: ServerConnection, status: int, **body: str) -> Response:
    response = connection.respond(status, json.dumps(body))
    del response.headers["content-type"]
    response.headers["content-type"] = "application/json"
    return response

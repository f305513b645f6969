"""Local API Gateway: HTTP servers that hand requests to functions in HTTP API's payload 2.0."""

import json
import re
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import Message
from functools import cached_property
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from local.lambdas import Outcome
from local.payload import answer_of, event_of

BODY_LIMIT = 10 * 1024 * 1024
SAFE = {"GET", "HEAD", "OPTIONS"}
CONTROL = re.compile(r"[\0-\x1f\x7f]")
Check = Callable[[str, Message], "Refusal | None"]


@dataclass(frozen=True)
class Route:
    """A route of an HTTP API: method (None for any), path with parameters or ``$default``, and the function's ARN."""

    method: str | None
    path: str
    arn: str

    @property
    def key(self) -> str:
        """The route key of the event."""
        return "$default" if self.path in {"$default", "/$default"} else f"{self.method or 'ANY'} {self.path}"

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """The path as a regular expression."""
        if self.key == "$default":
            return re.compile(".*", re.DOTALL)
        parts = re.split(r"(\{[^}]+\})", self.path)
        return re.compile("".join(_part(part) for part in parts))


@dataclass(frozen=True)
class HttpApi:
    """An HTTP API of the template."""

    logical_id: str
    routes: tuple[Route, ...]

    def find(self, method: str, path: str) -> tuple[Route, Mapping[str, str]] | None:
        """The route for a request with its path parameters, the most exact first."""
        for route in sorted(self.routes, key=lambda r: (r.key == "$default", "{" in r.path, r.method is None)):
            match = route.pattern.fullmatch(path)
            if match and route.method in {None, method}:
                return route, match.groupdict()
        return None


@dataclass(frozen=True)
class Refusal:
    """Why a request is not let through."""

    status: int
    code: str
    message: str


def api_check(port: int) -> Check:
    """Let through what comes from this machine and not from a web page: no such page may start builds here."""
    hosts = {f"{name}{end}" for name in ("127.0.0.1", "localhost", "[::1]") for end in ("", f":{port}")}

    def check(method: str, headers: Message) -> Refusal | None:
        if headers.get("host", "").lower() not in hosts:
            return Refusal(421, "WRONG_HOST", "Ask the local API by 127.0.0.1 or localhost.")
        if method in SAFE:
            return None
        origin = headers.get("origin")
        cross_site = origin is not None and origin.lower() not in {f"http://{host}" for host in hosts}
        if cross_site or headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
            return Refusal(403, "CROSS_SITE", "The local API takes no requests from web pages.")
        sent = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        if sent and headers.get_content_type() != "application/json":
            return Refusal(415, "UNSUPPORTED_MEDIA_TYPE", "Send the body with content-type: application/json.")
        return None

    return check


def sites_check(method: str, headers: Message) -> Refusal | None:
    """Let through requests for local names, to read."""
    host = headers.get("host", "").lower().rpartition(":")[0] or headers.get("host", "").lower()
    if host not in {"127.0.0.1", "localhost"} and not host.endswith(".localhost"):
        return Refusal(421, "WRONG_HOST", "Sites are at http://<slug>.localhost.")
    return None if method in SAFE else Refusal(405, "METHOD_NOT_ALLOWED", "Sites are read-only.")


class Gateway(ThreadingHTTPServer):
    """One HTTP API on a port of the loopback interface."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, api: HttpApi, port: int, invoke: Callable[[str, Any], Outcome], check: Check) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.api = api
        self.invoke = invoke
        self.check = check
        threading.Thread(target=self.serve_forever, args=(0.1,), daemon=True).start()

    def server_bind(self) -> None:
        """Bind without HTTPServer's look-up of the host's name, which may ask the network."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "localhost", self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A visitor who went away is no news."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = "tidegate"
    sys_version = ""
    disable_nagle_algorithm = True
    wbufsize = -1
    timeout = 60
    server: Gateway

    def handle_request(self) -> None:
        """Check, route, invoke, answer."""
        body = self._body()
        if isinstance(body, Refusal):
            self.close_connection = True
            self._refuse(body)
            return
        refusal = self.server.check(self.command, self.headers)
        if refusal:
            self._refuse(refusal)
            return
        path, _, query = self.path.partition("?")
        if not path.startswith("/"):  # an absolute URI, as proxies send
            path = urlsplit(path).path or "/"
        found = self.server.api.find(self.command, unquote(path))
        if not found:
            self._answer(404, {"content-type": "application/json"}, b'{"message":"Not Found"}')
            return
        route, parameters = found
        outcome = self.server.invoke(route.arn, event_of(self, route.key, parameters, path, query, body))
        self._answer(*answer_of(outcome))

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = handle_request  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Print nothing: the function logs what matters."""

    def _body(self) -> "bytes | Refusal":
        if "transfer-encoding" in self.headers:
            return Refusal(411, "LENGTH_REQUIRED", "Send the body with a content-length.")
        length = self.headers.get("content-length", "0")
        if not length.isdigit():
            return Refusal(400, "BAD_LENGTH", "The content-length is no number.")
        if int(length) > BODY_LIMIT:
            return Refusal(413, "TOO_LARGE", "Request Entity Too Large")
        return self.rfile.read(int(length))

    def _refuse(self, refusal: Refusal) -> None:
        problem = {
            "type": "about:blank",
            "title": HTTPStatus(refusal.status).phrase,
            "status": refusal.status,
            "code": refusal.code,
            "detail": refusal.message,
        }
        self._answer(refusal.status, {"content-type": "application/problem+json"}, json.dumps(problem).encode())

    def _answer(self, status: int, headers: Mapping[str, Any], body: bytes) -> None:
        self.send_response(status)
        given = {key.lower() for key in headers}
        for key, value in headers.items():
            for one in value if isinstance(value, list) else [value]:
                self.send_header(key, CONTROL.sub(" ", str(one)).encode().decode("latin-1"))
        bodiless = status in {204, 304} or status < 200
        if "content-length" not in given and not bodiless:
            self.send_header("content-length", str(len(body)))
        if self.close_connection:
            self.send_header("connection", "close")
        self.end_headers()
        if self.command != "HEAD" and not bodiless:
            self.wfile.write(body)
        self.wfile.flush()


def _part(part: str) -> str:
    if not part.startswith("{"):
        return re.escape(part)
    name = part[1:-1]
    return f"(?P<{name[:-1]}>.+)" if name.endswith("+") else f"(?P<{name}>[^/]+)"

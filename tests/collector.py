"""A log sink for tests: an OTLP/HTTP collector in a thread that reads requests by OpenTelemetry's own classes."""

import gzip
import threading
import time
from collections import deque
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest


class Answer(NamedTuple):
    """What the collector answers; the status 0 resets the connection, -1 says nothing for `seconds`.

    The status 100 comes again and again, with no answer behind it. What is after the first `at_once` bytes comes byte
    by byte, a hundred a second.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = {}
    seconds: float = 0
    at_once: int | None = None


class Request(NamedTuple):
    path: str
    headers: dict[str, str]
    body: ExportLogsServiceRequest


class Collector:
    """Answers each request with the next of `answers`, or takes it."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.answers: deque[Answer] = deque()
        self.over = threading.Event()
        self.cut_off = threading.Event()  # somebody did not wait for the end of an answer
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                collector.handle(self)

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1/logs"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def handle(self, call: BaseHTTPRequestHandler) -> None:
        data = call.rfile.read(int(call.headers["Content-Length"]))
        if call.headers.get("Content-Encoding") == "gzip":
            data = gzip.decompress(data)
        body = ExportLogsServiceRequest.FromString(data)
        headers = {name.lower(): value for name, value in call.headers.items()}
        self.requests.append(Request(call.path, headers, body))
        answer = self.answers.popleft() if self.answers else Answer()
        if answer.status <= 0:
            self.over.wait(answer.seconds)
            call.close_connection = True
            return
        if answer.status == 100:
            self._write(call, b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000_000, None)
            call.close_connection = True
            return
        lines = {**answer.headers, "Content-Length": len(answer.body)}
        head = f"HTTP/1.1 {answer.status} Said\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self._write(call, f"{head}\r\n".encode() + answer.body, answer.at_once)

    def _write(self, call: BaseHTTPRequestHandler, said: bytes, at_once: int | None) -> None:
        try:
            call.wfile.write(said[:at_once])
            for byte in said[at_once:] if at_once is not None else b"":
                self.over.wait(0.01)
                call.wfile.write(bytes([byte]))
        except OSError:
            self.cut_off.set()
            call.close_connection = True

    def close(self) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()

    def records(self) -> list[Any]:
        return [
            record
            for request in self.requests
            for resource in request.body.resource_logs
            for scope in resource.scope_logs
            for record in scope.log_records
        ]

    def lines(self) -> list[str]:
        return [record.body.string_value for record in self.records()]

    def resource(self, number: int = -1) -> dict[str, Any]:
        """The resource attributes of a request."""
        [resource] = self.requests[number].body.resource_logs
        return {
            each.key: getattr(each.value, each.value.WhichOneof("value") or "") for each in resource.resource.attributes
        }


class Clock:
    """A clock in place of `time` that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = time.monotonic()
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

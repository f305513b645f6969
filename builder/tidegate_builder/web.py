"""HTTP with kept-alive connections and retries: all that fetching the job and uploading need."""

import http.client
import random
import ssl
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from urllib.parse import SplitResult, urljoin, urlsplit

SOCKET_SECONDS = 30.0
ATTEMPTS = 6
FIRST_PAUSE_SECONDS = 0.2
MAX_REDIRECTS = 3
MAX_ANSWER_BYTES = 16 << 20


@dataclass(frozen=True)
class Response:
    """A server's whole answer."""

    status: int
    location: str | None
    body: bytes


class TryAgainLater(Exception):
    """The server cannot answer now, or the connection broke."""


class Connection:
    """One connection to a URL's server, made when needed and kept."""

    def __init__(self, url: str, timeout: float = SOCKET_SECONDS) -> None:
        parts = urlsplit(url)
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._connection = _connection(parts, timeout)

    def send(self, method: str, headers: dict[str, str], body: Callable[[], Iterable[bytes]] = lambda: ()) -> Response:
        """Send one request and read the answer. Raises TryAgainLater where another try may help."""
        try:
            response = self._exchange(method, headers, body)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise TryAgainLater(str(error) or type(error).__name__) from error
        if response.status >= 500 or response.status in {408, 429} or b"<Code>RequestTimeout</Code>" in response.body:
            raise TryAgainLater(f"HTTP {response.status}")
        return response

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _exchange(self, method: str, headers: dict[str, str], body: Callable[[], Iterable[bytes]]) -> Response:
        connection = self._connection
        connection.putrequest(method, self._target)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        try:
            for piece in body():
                connection.send(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the server refused before it had read all; its answer says why
        answer = connection.getresponse()
        content = answer.read(MAX_ANSWER_BYTES)
        if answer.will_close or not answer.isclosed():
            connection.close()
        return Response(answer.status, answer.getheader("Location"), content)


def _connection(parts: SplitResult, timeout: float) -> http.client.HTTPConnection:
    if parts.scheme == "https" and parts.hostname:
        return http.client.HTTPSConnection(parts.hostname, parts.port, timeout=timeout, context=_tls())
    if parts.scheme == "http" and parts.hostname:
        return http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout)
    raise ValueError("not an http or https URL")


@cache
def _tls() -> ssl.SSLContext:
    """Return the one context for all connections: each one made would read all root certificates again."""
    return ssl.create_default_context()


def get(url: str) -> Response:
    """Fetch a URL; follows redirects. Raises TryAgainLater, ValueError for what is not an HTTP URL."""
    for _ in range(MAX_REDIRECTS):
        connection = Connection(url)
        response = connection.send("GET", {})
        connection.close()
        if response.status not in {301, 302, 303, 307, 308} or not response.location:
            return response
        url = urljoin(url, response.location)
    return response


def with_retries(send: Callable[[], Response], deadline: float) -> Response:
    """Send, again after a growing pause where that may help. Raises the last TryAgainLater."""
    pause = FIRST_PAUSE_SECONDS
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return send()
        except TryAgainLater:
            pause *= random.uniform(1.5, 2.5)  # noqa: S311 - only spreads the load
            if attempt == ATTEMPTS or time.monotonic() + pause > deadline:
                raise
        time.sleep(pause)
    raise AssertionError("not reached")

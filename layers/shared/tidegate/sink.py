"""The log sink: an OTLP/HTTP endpoint, and the secret whose JSON object gives a request's headers.

What the protocol calls temporary is tried again for a few seconds, https://opentelemetry.io/docs/specs/otlp/#failures-1.
A sink that stays away is then left alone for a while, so that batches of lines fail fast into Lambda's own retry and do
not hold the account's concurrency one time-out after the other.
"""

import email.utils
import io
import re
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from tidegate import aws, batches, otlp
from tidegate.observability import logger, measure
from tidegate.responses import Response, respond_with
from tidegate.settings import settings

if TYPE_CHECKING:
    import socket

    from urllib3 import BaseHTTPResponse, HTTPConnectionPool, PoolManager

_CONNECT, _READ = 2.0, 5.0  # seconds; the second for an answer as a whole
_TRYING = 8.0  # seconds from the first request on in which another try may begin
_SENDING = 13.0  # and in which another request may begin: what comes before it has its share of the function's time
_PAUSE = 0.5  # seconds before the second try; doubles each time
_REST = 30.0  # seconds that a sink is left alone after it was away
_HEADERS_AGE = 300.0  # seconds that the secret is believed
_TEMPORARY = {0, 429, 502, 503, 504}  # 0: no answer at all
_REFUSED_KEY = {401, 403}
_MOST_ANSWER = 64 * 1024
_PACKET = 1_000  # bytes, which cost nothing to send
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\x20-\x7e\t]+")
_OURS = {"content-type": "application/x-protobuf", "user-agent": "tidegate"}
_NOT_THEIRS = {"connection", "content-encoding", "content-length", "host", "transfer-encoding"}


class Unsent(Exception):
    """The sink has not taken the lines."""


class Away(Unsent):
    """The sink does not answer, or says that it cannot for the moment."""


class _Answer(Struct, frozen=True):
    status: int
    body: bytes
    content_type: str = ""
    retry_after: str = ""

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")


class _Link(Struct):
    """What is kept between two batches."""

    pool: "PoolManager"
    connections: "HTTPConnectionPool"
    path: str
    headers: Mapping[str, str]
    read_at: float
    rests_until: float = 0.0


class _Timely(Response):
    """An answer that must be here in time as a whole; a socket's own time-out is for each of its pieces."""

    def __init__(self, sock: "socket.socket", *given: Any, **named: Any) -> None:
        super().__init__(sock, *given, **named)
        self.fp = io.BufferedReader(_Pieces(sock, self.fp.detach()))


class _Pieces(io.RawIOBase):
    """What a socket receives in the time that one answer has."""

    def __init__(self, sock: "socket.socket", raw: io.RawIOBase) -> None:
        self._socket, self._raw = sock, raw
        self._until = time.monotonic() + _READ

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")  # as a socket says it; one that always has more never would
        self._socket.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        if not self.closed:
            self._socket.settimeout(_READ)  # for the next request
            self._raw.close()
        super().close()


@cache
def _link() -> _Link:
    import ssl

    import urllib3

    # The system's own roots: those that the layer's botocore has left are of AWS alone.
    pool = urllib3.PoolManager(
        ssl_context=ssl.create_default_context(),
        timeout=urllib3.Timeout(connect=_CONNECT, read=_READ),
        retries=False,
    )
    # Looked for once: that costs a third of a request.
    connections = pool.connection_from_url(settings().log_sink_url)
    respond_with(connections, _Timely)
    path = urllib3.util.parse_url(settings().log_sink_url).request_uri
    return _Link(pool, connections, path, _read_headers(), time.monotonic())


def send(requests: Iterable[bytes]) -> None:
    """Send ExportLogsServiceRequests, one after the other; raises Unsent at the first that is not taken.

    Those before it were taken. Whoever sends them all again repeats these; the records' ids tell.
    """
    link = _link()
    started = time.monotonic()
    if link.read_at + _HEADERS_AGE < started:
        link.headers, link.read_at = _read_headers(), started
    try:
        _send_all(link, requests, started)
    except Away:
        link.rests_until = time.monotonic() + _REST
        raise


def _send_all(link: _Link, requests: Iterable[bytes], started: float) -> None:
    if started < link.rests_until:
        raise Unsent("the log sink was away a moment ago and is left alone for a while")
    for body in requests:
        _send_one(link, body, started)


def _send_one(link: _Link, body: bytes, started: float) -> None:
    if time.monotonic() - started > _SENDING:
        raise Away("the log sink is too slow")
    pause, renewed = _PAUSE, False
    while True:
        answer = _post(link, body)
        if 200 <= answer.status < 300:
            _tell_rejected(answer, link.headers)
            return
        if answer.status in _REFUSED_KEY and settings().log_sink_secret and not renewed:
            link.headers, link.read_at, renewed = _read_headers(), time.monotonic(), True
            continue
        told = _told(answer, link.headers)
        wait = max(_seconds(answer.retry_after), pause)
        if answer.status not in _TEMPORARY:
            raise Unsent(told)
        if time.monotonic() + wait - started > _TRYING:
            raise Away(told)
        logger.info("log sink tried again", answer=told)
        time.sleep(wait)
        pause *= 2


def _post(link: _Link, body: bytes) -> _Answer:
    """One request; a connection that fails is an answer with the status 0."""
    from urllib3.exceptions import HTTPError

    headers = {**link.headers, **_OURS}
    if len(body) > _PACKET:
        body, headers["content-encoding"] = batches.gzip(body), "gzip"
    try:
        answer = link.connections.urlopen("POST", link.path, body, headers, redirect=False, preload_content=False)
    except HTTPError as error:
        return _Answer(0, f"{type(error).__name__}: {error}".encode())
    given = _body(answer)
    return _Answer(answer.status, given, answer.headers.get("content-type", ""), answer.headers.get("retry-after", ""))


def _body(answer: "BaseHTTPResponse") -> bytes:
    """An answer's body, or its beginning; none where it does not come: what became of the lines, the status says."""
    from urllib3.exceptions import HTTPError

    try:
        given = answer.read(_MOST_ANSWER)
    except HTTPError:
        answer.close()
        return b""
    if len(given) < _MOST_ANSWER:
        answer.release_conn()
    else:
        answer.close()
    return given


def _told(answer: _Answer, headers: Mapping[str, str]) -> str:
    """An answer for the log."""
    return f"the log sink answered {answer.status or 'nothing'}: {_short(answer.text, headers)}"


def _short(text: str, headers: Mapping[str, str]) -> str:
    """What the sink says, in short, and without a key that it may repeat in it."""
    for secret in sorted({part for value in headers.values() for part in (value, *value.split())}, key=len)[::-1]:
        text = text.replace(secret, "***") if len(secret) > 7 else text
    return text[:200]


def _tell_rejected(answer: _Answer, headers: Mapping[str, str]) -> None:
    """Lines that the sink will never take are told, and not sent again."""
    rejected = otlp.rejected(answer.body, answer.content_type)
    if rejected.rejected_log_records or rejected.error_message:
        told = _short(rejected.error_message, headers)
        logger.warning("log sink rejected lines", lines=rejected.rejected_log_records, reason=told)
    if rejected.rejected_log_records:
        measure({"LogSinkRejectedLines": rejected.rejected_log_records})


def _seconds(retry_after: str) -> float:
    """How long Retry-After asks to wait; 0 if it says nothing that can be read."""
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after)
    moment = email.utils.parsedate_tz(retry_after)
    return email.utils.mktime_tz(moment) - datetime.now(UTC).timestamp() if moment else 0.0


def _read_headers() -> dict[str, str]:
    """The headers in the secret; raises ValueError, without a value of it, if they are none."""
    if not settings().log_sink_secret:
        return {}
    answer = aws.secrets().get_secret_value(SecretId=settings().log_sink_secret)
    try:
        found = msgspec.json.decode(answer.get("SecretString", ""), type=dict[str, str])
    except ValueError:
        # Not `from`: what msgspec says may repeat a part of the secret.
        raise ValueError("the log sink's secret must be a JSON object of header names and values") from None
    headers = {name.strip().lower(): value.strip() for name, value in found.items()}
    for name, value in headers.items():
        if not _NAME.fullmatch(name) or name in _NOT_THEIRS:
            raise ValueError(f"the log sink's secret names a header that cannot be given: {name!r}")
        if not _VALUE.fullmatch(value):
            raise ValueError(f"the value of the header {name!r} in the log sink's secret is not printable ASCII")
    return headers

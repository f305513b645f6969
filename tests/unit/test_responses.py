"""Headers are read as http.client reads them."""

import io
from email.errors import MissingHeaderBodySeparatorDefect
from http.client import HTTPException, LineTooLong, parse_headers

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate import responses

NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,20}", fullmatch=True)
VALUES = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=30)
LINES = st.lists(st.tuples(NAMES, st.sampled_from([":", ": ", ":\t", " : "]), VALUES), max_size=12)


def read(raw: bytes) -> tuple[list[tuple[str, str]], list[type], bytes]:
    """The headers, what is wrong with them, and what is left of the stream."""
    stream = io.BytesIO(raw)
    message = responses.parse_headers(stream)
    return message.items(), [type(defect) for defect in message.defects], stream.read()


def expected(raw: bytes) -> tuple[list[tuple[str, str]], list[type], bytes]:
    stream = io.BytesIO(raw)
    message = parse_headers(stream)
    items = [(name, value.strip(" \t") if not message.defects else value) for name, value in message.items()]
    return items, [type(defect) for defect in message.defects], stream.read()


@given(LINES, st.sampled_from(["\r\n", "\n"]))
def test_any_headers(lines: list[tuple[str, str, str]], end: str) -> None:
    raw = "".join(f"{name}{colon}{value}{end}" for name, colon, value in lines) + end + "body"
    assert read(raw.encode("latin-1")) == expected(raw.encode("latin-1"))


@given(st.binary(max_size=200))
def test_any_bytes(raw: bytes) -> None:
    found, defects, left = read(raw)
    assert ([name for name, _ in found], defects, left) == (
        [name for name, _ in expected(raw)[0]],
        *expected(raw)[1:],
    )


def test_long_headers_and_many_are_refused_as_by_http_client() -> None:
    for read_by in (responses.parse_headers, parse_headers):
        with pytest.raises(LineTooLong):
            read_by(io.BytesIO(b"a: " + b"x" * 70_000 + b"\r\n\r\n"))
        with pytest.raises(HTTPException, match="more than 100"):
            read_by(io.BytesIO(b"a: b\r\n" * 101 + b"\r\n"))


def test_headers_that_are_not_plain() -> None:
    assert read(b"a: b\r\n c\r\nd: e\r\n\r\n")[0] == [("a", "b\r\n c"), ("d", "e")]
    assert read(b"a: b\r\nno header\r\n\r\n")[1] == [MissingHeaderBodySeparatorDefect]

"""HTTP responses whose headers are read without the parser of mail, a sixth of what a short request costs."""

import http.client
from email.parser import Parser
from http.client import HTTPException, HTTPMessage, HTTPResponse, LineTooLong
from types import FunctionType
from typing import IO, Any

_MOST_BYTES, _MOST_HEADERS = 65_536, 100  # as http.client has them


def parse_headers(stream: IO[bytes], *_: Any, **__: Any) -> HTTPMessage:
    """Read headers up to the empty line; any that is not a name and a value in one line leaves all to the parser."""
    message = HTTPMessage()
    lines: list[str] = []
    plain = True
    while (line := stream.readline(_MOST_BYTES + 1)) not in {b"\r\n", b"\n", b""}:
        if len(line) > _MOST_BYTES:
            raise LineTooLong("header line")
        if len(lines) >= _MOST_HEADERS:
            raise HTTPException(f"got more than {_MOST_HEADERS} headers")
        lines.append(line.decode("iso-8859-1"))
        name, colon, value = lines[-1].partition(":")
        plain = plain and bool(colon) and name.isascii() and name.replace("-", "a").isalnum() and "\r" not in value[:-2]
        message.set_raw(name, value.strip(" \t\r\n"))
    return message if plain else Parser(_class=HTTPMessage).parsestr("".join(lines))


class Response(HTTPResponse):
    """One of http.client's: its own code, which finds our function where it looks for `parse_headers`."""

    begin = FunctionType(HTTPResponse.begin.__code__, {**vars(http.client), "parse_headers": parse_headers}, "begin")


def respond_with(pool: Any, kind: type[HTTPResponse] = Response) -> None:
    """Let the connections of urllib3's pool make such responses."""
    connection = pool.ConnectionCls
    pool.ConnectionCls = type(connection.__name__, (connection,), {"response_class": kind})

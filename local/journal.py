"""The journal of what changed tables and objects: written before each answer, replayed when the stack starts again.

One record a request: a line of JSON with the request's head and the length of its body, then the body and a line end.
A record that a kill cut off is the last one, was never answered, and is left out.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

WRITES = {"PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "TransactWriteItems"}


@dataclass(frozen=True)
class Entry:
    """A request that changed something, and when."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    at: float

    def environ(self) -> dict[str, Any]:
        """The request for a WSGI application."""
        return {
            "REQUEST_METHOD": self.method,
            "SCRIPT_NAME": "",
            "PATH_INFO": self.path,
            "QUERY_STRING": self.query,
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": BytesIO(self.body),
            "wsgi.errors": BytesIO(),
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            "CONTENT_LENGTH": str(len(self.body)),
            **self.headers,
        }


def entry_of(environ: dict[str, Any], body: bytes, at: float) -> Entry:
    """A request as the journal keeps it."""
    kept = {key: value for key, value in environ.items() if key.startswith("HTTP_") or key == "CONTENT_TYPE"}
    return Entry(
        environ["REQUEST_METHOD"],
        environ.get("PATH_INFO", "/"),
        environ.get("QUERY_STRING", ""),
        {key: str(value) for key, value in kept.items()},
        body,
        at,
    )


def changes(service: str, environ: dict[str, Any]) -> bool:
    """Whether a request may change a table or an object."""
    if service == "dynamodb":
        return environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2] in WRITES
    return service == "s3" and environ["REQUEST_METHOD"] in {"PUT", "POST", "DELETE"}


class Journal:
    """An append-only file of entries."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._end = 0
        self._file = path.open("ab", buffering=0)

    def entries(self) -> Iterator[Entry]:
        """Read what is there, and forget a record that was cut off."""
        with self._path.open("rb") as file:
            while line := file.readline():
                try:
                    head = json.loads(line)
                except ValueError:
                    break
                body = file.read(head.pop("length"))
                if file.read(1) != b"\n":
                    break
                self._end = file.tell()
                yield Entry(body=body, **head)
        self._file.truncate(self._end)

    def replace(self, entries: Iterable[Entry]) -> None:
        """Write these entries in place of all others."""
        written = self._path.with_suffix(".new")
        with written.open("wb") as file:
            for entry in entries:
                file.write(_record(entry))
        written.replace(self._path)
        self._file.close()
        self._file = self._path.open("ab", buffering=0)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def append(self, entry: Entry) -> None:
        """Add an entry; it outlives the process as soon as this returns."""
        view = memoryview(_record(entry))
        while view:
            view = view[self._file.write(view) :]


def _record(entry: Entry) -> bytes:
    head = asdict(entry)
    body = head.pop("body")
    return json.dumps({**head, "length": len(body)}).encode() + b"\n" + bytes(body) + b"\n"

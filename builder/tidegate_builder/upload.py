"""Putting files into the bucket by presigned POST, several at a time."""

import os
import re
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from tidegate_builder.content import cache_control, content_type, is_text
from tidegate_builder.failure import Code, OutOfTime, failed
from tidegate_builder.job import Upload
from tidegate_builder.output import SiteFile
from tidegate_builder.web import Connection, Response, TryAgainLater, with_retries

THREADS = 8
CHUNK_BYTES = 1 << 20
# A larger text file is not read through to see whether it is UTF-8.
CHARSET_BYTES = 8 << 20
RESULT_CACHE_CONTROL = "no-store"


class Refused(Exception):
    """The bucket does not take the file."""


@dataclass(frozen=True)
class Body:
    """What is uploaded: bytes, or a file that is read piece by piece."""

    size: int
    content: bytes | None = None
    file: "os.PathLike[str] | None" = None

    def pieces(self) -> Iterator[bytes]:
        """Yield the content, from its start on each call."""
        if self.content is not None:
            yield self.content
        elif self.file is not None:
            with open(self.file, "rb") as opened:  # noqa: PTH123 - any path will do
                while piece := opened.read(CHUNK_BYTES):
                    yield piece


def upload_site(upload: Upload, files: Iterable[SiteFile], deadline: float) -> None:
    """Upload all files below `files/`. Raises StepFailed, OutOfTime."""
    queue: SimpleQueue[SiteFile] = SimpleQueue()
    count = 0
    for file in files:
        queue.put(file)
        count += 1
    ended: SimpleQueue[Exception | None] = SimpleQueue()
    stop = threading.Event()
    workers = min(THREADS, count)
    for _ in range(workers):
        # Daemons: when time is up nobody waits for a connection that hangs.
        threading.Thread(target=_work, args=(upload, queue, ended, stop, deadline), daemon=True).start()
    try:
        for _ in range(workers):
            error = ended.get(timeout=max(0.0, deadline - time.monotonic()))
            if error:
                raise _failed(error)
    except Empty as error:
        raise OutOfTime from error
    finally:
        stop.set()


def upload_result(upload: Upload, document: bytes, deadline: float, name: str = "result.json") -> None:
    """Upload `result.json`, or another account of the build. Raises StepFailed."""
    connection = Connection(upload.url)
    body = Body(len(document), content=document)
    try:
        _post(connection, upload, name, "application/json", RESULT_CACHE_CONTROL, body, deadline)
    except (TryAgainLater, Refused) as error:
        raise _failed(error) from error
    finally:
        connection.close()


def _work(
    upload: Upload,
    queue: "SimpleQueue[SiteFile]",
    ended: "SimpleQueue[Exception | None]",
    stop: threading.Event,
    deadline: float,
) -> None:
    connection = Connection(upload.url)
    try:
        while not stop.is_set() and not queue.empty():
            _send_file(connection, upload, queue.get_nowait(), deadline)
    except Empty:
        ended.put(None)  # another worker took the last one
    except Exception as error:  # noqa: BLE001 - raised again in the main thread
        ended.put(error)
    else:
        ended.put(None)
    finally:
        connection.close()


def _send_file(connection: Connection, upload: Upload, file: SiteFile, deadline: float) -> None:
    media_type = content_type(file.path)
    body = Body(file.size, file=file.file)
    if is_text(media_type) and file.size <= CHARSET_BYTES:
        content = file.file.read_bytes()
        body = Body(len(content), content=content)
        if _is_utf8(content):  # of another text the page itself knows the charset, and a header would overrule it
            media_type += "; charset=utf-8"
    _post(connection, upload, f"files/{file.path}", media_type, cache_control(file.path), body, deadline)


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def _post(
    connection: Connection, upload: Upload, path: str, media_type: str, caching: str, body: Body, deadline: float
) -> None:
    fields = {**dict(upload.fields), "key": upload.prefix + path, "Content-Type": media_type, "Cache-Control": caching}
    boundary = f"tidegate-{os.urandom(16).hex()}"
    head = form_head(fields, boundary, media_type)
    tail = f"\r\n--{boundary}--\r\n".encode()
    headers = {
        "Content-Type": f"multipart/form-data; boundary={boundary}",
        "Content-Length": str(len(head) + body.size + len(tail)),
    }

    def pieces() -> Iterator[bytes]:
        yield head
        yield from body.pieces()
        yield tail

    response = with_retries(lambda: connection.send("POST", headers, pieces), deadline)
    if response.status not in {200, 201, 204}:
        raise Refused(f"{path}: {_reason(response)}")


def form_head(fields: dict[str, str], boundary: str, media_type: str) -> bytes:
    """Return the form up to the file's content: S3 wants all fields before the file, and the file last."""
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    parts.append(
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="file"\r\n'
        f"Content-Type: {media_type}\r\n\r\n"
    )
    return "".join(parts).encode()


def _reason(response: Response) -> str:
    found = re.search(rb"<Code>(.*?)</Code>.*?<Message>(.*?)</Message>", response.body, re.DOTALL)
    said = b": ".join(found.groups()).decode(errors="replace") if found else ""
    return f"HTTP {response.status} {said}".strip()


def _failed(error: Exception) -> Exception:
    if not isinstance(error, TryAgainLater | Refused | OSError):
        return error
    return failed(
        Code.UPLOAD_FAILED,
        f"The site could not be uploaded: {error}",
        "It is not the project's fault: build again.",
    )

"""The log store: each batch of lines from CloudWatch is one compressed item, keyed by its first event's id.

Event ids grow with time within a stream, so the key puts a task's lines in order, and a batch that is delivered twice
lands on itself.
"""

import base64
import binascii
import json
import zlib
from datetime import datetime, timedelta
from typing import Any

import msgspec

from tidegate import aws
from tidegate.model import LogLine, LogPage
from tidegate.settings import settings

_MAX_CHUNK = 350 * 1024  # an item may have 400 KB
_GZIP = 16 + zlib.MAX_WBITS

_Line = tuple[str, int, str]


class _Event(msgspec.Struct, frozen=True):
    id: str
    timestamp: int
    message: str


class Batch(msgspec.Struct, frozen=True, rename="camel"):
    """What a subscription filter delivers.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/SubscriptionFilters.html
    """

    message_type: str
    log_stream: str = ""
    log_events: tuple[_Event, ...] = ()

    @property
    def task_id(self) -> str:
        """The task that wrote the lines: the last part of `prefix/container/task-id`."""
        return self.log_stream.rpartition("/")[2]


class BadCursor(ValueError):
    """The cursor is not one that a page of this log gave."""


def decode(data: str) -> Batch:
    """Read the `awslogs.data` of an event: base64 of gzip of JSON; raises ValueError if it is something else."""
    try:
        body = zlib.decompress(base64.b64decode(data), _GZIP)
    except (binascii.Error, zlib.error) as error:
        raise ValueError("awslogs.data is not base64 of gzip") from error
    try:
        return msgspec.json.decode(body, type=Batch)
    except msgspec.DecodeError:
        # The standard library reads what strict UTF-8 refuses: broken bytes and lone surrogates.
        text = json.dumps(json.loads(body.decode("utf-8", "replace")), ensure_ascii=False)
        return msgspec.json.decode(text.encode("utf-8", "replace"), type=Batch)


def put(batch: Batch, now: datetime) -> None:
    """Store the lines of a batch; storing them again changes nothing."""
    lines = [(event.id, event.timestamp, event.message) for event in batch.log_events]
    if lines:
        expires = int((now + timedelta(days=settings().log_retention_days)).timestamp())
        _put(batch.task_id, lines, expires)


def _put(task_id: str, lines: list[_Line], expires: int) -> None:
    data = zlib.compress(msgspec.json.encode(lines))
    if len(data) > _MAX_CHUNK and len(lines) > 1:
        half = len(lines) // 2
        _put(task_id, lines[:half], expires)
        _put(task_id, lines[half:], expires)
        return
    aws.dynamodb().put_item(
        TableName=settings().logs_table,
        Item=aws.to_item(
            {
                "taskId": task_id,
                "firstEventId": lines[0][0],
                "lastEventId": lines[-1][0],
                "lines": data,
                "expiresAt": expires,
            }
        ),
    )


def read(task_ids: list[str], cursor: str | None, limit: int) -> LogPage:
    """The next lines after `cursor` over all tasks of a build, in order, each once; raises BadCursor.

    The cursor names the task, the chunk to read on from, and the last line seen.
    """
    position, chunk, seen = _read_cursor(cursor) if cursor else (0, "", "")
    lines: list[LogLine] = []
    while position < len(task_ids):
        more, chunk, seen = _read_task(task_ids[position], chunk, seen, limit - len(lines))
        lines += more
        if len(lines) >= limit or position + 1 == len(task_ids):
            break
        position, chunk, seen = position + 1, "", ""
    return LogPage(tuple(lines), _write_cursor(position, chunk, seen) if seen or position else cursor)


def _read_task(task_id: str, start: str, seen: str, limit: int) -> tuple[list[LogLine], str, str]:
    """Up to `limit` lines of one task after the line `seen`, and the chunk and line to go on from.

    Chunks may overlap. Those read are in the order of their first lines, so whatever lies below the first line of the
    last one read is complete.
    """
    found: dict[str, _Line] = {}
    chunks: list[tuple[str, str]] = []
    for first, last, lines in _chunks(task_id, start):
        if sum(1 for event_id in found if event_id < first) >= limit:
            break
        chunks.append((first, last))
        found |= {line[0]: line for line in lines if line[0] > seen}
    page = [LogLine(*found[event_id]) for event_id in sorted(found)[:limit]]
    seen = page[-1].id if page else seen
    unread = [first for first, last in chunks if last > seen]
    return page, (unread or [first for first, _ in chunks[-1:]] or [start])[0], seen


def _chunks(task_id: str, start: str) -> Any:
    pages = (
        aws.dynamodb()
        .get_paginator("query")
        .paginate(
            TableName=settings().logs_table,
            KeyConditionExpression="taskId = :task AND firstEventId >= :start",
            ExpressionAttributeValues={":task": {"S": task_id}, ":start": {"S": start or "0"}},
            ConsistentRead=True,
        )
    )
    for page in pages:
        for item in page["Items"]:
            chunk = aws.from_item(item)
            lines = msgspec.json.decode(zlib.decompress(chunk["lines"]), type=list[_Line])
            yield chunk["firstEventId"], chunk["lastEventId"], lines


def _write_cursor(position: int, chunk: str, seen: str) -> str:
    return base64.urlsafe_b64encode(f"{position}.{chunk}.{seen}".encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> tuple[int, str, str]:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
        position, chunk, seen = text.split(".")
        numbers = (position, chunk or "0", seen or "0")
    except ValueError as error:
        raise BadCursor("must be a cursor that an earlier page gave") from error
    if not all(number.isascii() and number.isdigit() and len(number) < 80 for number in numbers):
        raise BadCursor("must be a cursor that an earlier page gave")
    return int(position), chunk, seen

"""What is noted about logs: whose they are, which are to be looked at, and the seals of those that are whole.

The notes stand in the table of the log's chunks, under keys that no chunk has.
"""

from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from tidegate import aws
from tidegate.memory import Memory
from tidegate.settings import settings

_SEAL = "~seal"  # in place of an event id
_WATCHES = "~unsealed"  # in place of a task id

known_origins: "Memory[str, Origin]" = Memory()  # of tasks that have written


class Seal(Struct, frozen=True, rename="camel"):
    """The end of a task's log: how many lines it has, and why some may be missing after the line `after`."""

    lines: int
    after: str | None = None
    reason: str | None = None


class Watch(Struct, frozen=True, rename="camel"):
    """A log that is not sealed for good: whose it is, and what the last look at it saw.

    `lines` is how many were stored then, `whole` whether those were all CloudWatch had, `since` the time in
    milliseconds from which on it is still to be compared, after the line `last`.
    """

    task_id: str
    build_id: str | None = None
    project_slug: str | None = None
    ended_at: datetime | None = None
    looked_at: datetime | None = None
    lines: int = 0
    whole: bool = False
    since: int = 0
    last: str | None = None


class Origin(Struct, frozen=True, rename="camel"):
    """Whose log a task writes."""

    build_id: str
    project_slug: str


def get_seal(task_id: str) -> Seal | None:
    """The seal of a task's log; lines that it counts are there for whoever reads after it."""
    item = _note(task_id, _SEAL)
    return msgspec.convert(item, Seal) if item else None


def seal(look: Watch, new: Seal, now: datetime) -> None:
    """Write the seal of a task's log, or a newer one over it, with the look that it comes from."""
    item = aws.plain(look) | aws.plain(new) | {"firstEventId": _SEAL, "expiresAt": settings().logs_expire(now)}
    aws.dynamodb().put_item(TableName=settings().logs_table, Item=aws.to_item(item))


def look_of_seal(task_id: str) -> Watch | None:
    """What the look saw that a task's log was sealed by."""
    item = _note(task_id, _SEAL)
    return msgspec.convert(item, Watch) if item else None


def name_task(task_id: str, build_id: str, project_slug: str, now: datetime) -> None:
    """Note whose log a task writes, as the log's stream names the task alone; it is to be looked at from then on."""
    watch(Watch(task_id, build_id, project_slug), now)


def origin(task_id: str) -> Origin | None:
    """Whose log a task writes; `None` if that is not noted (yet)."""
    item = _note(_WATCHES, task_id) or _note(task_id, _SEAL)
    return msgspec.convert(item, Origin) if item and item.get("projectSlug") else None


def known_origin(task_id: str) -> Origin | None:
    """Whose log a task writes, asked once for all its batches: a task never changes its build."""
    if task_id not in known_origins:
        found = origin(task_id)
        if found is None:
            return None
        known_origins[task_id] = found
    return known_origins[task_id]


def watch(new: Watch, now: datetime) -> None:
    """Remember that a log is to be looked at (again)."""
    item = aws.plain(new) | {"taskId": _WATCHES, "firstEventId": new.task_id, "expiresAt": settings().logs_expire(now)}
    aws.dynamodb().put_item(TableName=settings().logs_table, Item=aws.to_item(item))


def get_watch(task_id: str) -> Watch | None:
    """What is noted of a log that is to be looked at."""
    item = _note(_WATCHES, task_id)
    return msgspec.convert(item | {"taskId": task_id}, Watch) if item else None


def unwatch(task_id: str) -> None:
    """Forget a log that is whole."""
    key = {"taskId": {"S": _WATCHES}, "firstEventId": {"S": task_id}}
    aws.dynamodb().delete_item(TableName=settings().logs_table, Key=key)


def watches() -> list[Watch]:
    """The logs that are to be looked at."""
    pages = (
        aws.dynamodb()
        .get_paginator("query")
        .paginate(
            TableName=settings().logs_table,
            KeyConditionExpression="taskId = :watches",
            ExpressionAttributeValues={":watches": {"S": _WATCHES}},
            ConsistentRead=True,
        )
    )
    items = [aws.from_item(item) for page in pages for item in page["Items"]]
    return [msgspec.convert(item | {"taskId": item["firstEventId"]}, Watch) for item in items]


def _note(first: str, second: str) -> dict[str, Any] | None:
    """The item about a log that has this key."""
    key = {"taskId": {"S": first}, "firstEventId": {"S": second}}
    answer = aws.dynamodb().get_item(TableName=settings().logs_table, Key=key, ConsistentRead=True)
    return aws.from_item(answer["Item"]) if "Item" in answer else None

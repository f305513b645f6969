"""The build table.

An item that this version cannot read, as a newer one may leave it when it is rolled back, is left out of what lists
builds, with an error in the log and in UnreadableBuild; who reads it by its id gets Unavailable.
"""

import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

import msgspec
from botocore.exceptions import ClientError
from msgspec.structs import replace

from tidegate import aws
from tidegate.exceptions import Unavailable
from tidegate.model import Build
from tidegate.observability import count, logger
from tidegate.settings import settings

_BATCH = 100  # what BatchGetItem takes
_LISTED = 25  # read at a time where the reader may stop early
_PAUSE = 0.05  # seconds before what DynamoDB had no capacity for is asked again; doubles each time


def create(build: Build) -> bool:
    """Write a new build; `False` if there is one with its id already."""
    return aws.create(settings().builds_table, "id", build)


def get(build_id: str) -> Build | None:
    """Read a build as it is now."""
    item = aws.dynamodb().get_item(TableName=settings().builds_table, Key={"id": {"S": build_id}}, ConsistentRead=True)
    return _build(item["Item"]) if "Item" in item else None


def save(before: Build, after: Build, now: datetime) -> Build | None:
    """Write what changed, unless the build has changed since `before` was read; `None` if it has.

    One conditional UpdateItem, on the attempt, on the newest task version and on the count of writes.
    """
    after = replace(after, revision=before.revision + 1, updated_at=now)
    old, new = aws.plain(before), aws.plain(after)
    changed = {name: value for name, value in new.items() if value is not None and value != old.get(name)}
    removed = [name for name, value in new.items() if value is None and old.get(name) is not None]
    sets = ", ".join(f"#{name} = :{name}" for name in changed)
    removes = ", ".join(f"#{name}" for name in removed)
    try:
        aws.dynamodb().update_item(
            TableName=settings().builds_table,
            Key={"id": {"S": before.id}},
            UpdateExpression=f"SET {sets}" + (f" REMOVE {removes}" if removes else ""),
            ConditionExpression=(
                "#attempt = :beforeAttempt AND #revision = :beforeRevision AND #taskVersion = :beforeVersion"
            ),
            ExpressionAttributeNames={
                f"#{name}": name for name in {*changed, *removed, "attempt", "revision", "taskVersion"}
            },
            ExpressionAttributeValues={
                **{f":{name}": aws.to_attribute(value) for name, value in changed.items()},
                ":beforeAttempt": aws.to_attribute(before.attempt),
                ":beforeRevision": aws.to_attribute(before.revision),
                ":beforeVersion": aws.to_attribute(before.task_version),
            },
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    except ClientError as error:
        if aws.failed_with(error, "ConditionalCheckFailedException"):
            # Two functions may want the very same, claim one start for one; only what was sent again can be its own.
            return after if aws.tried_before(error) and aws.met_itself(error, aws.to_item(new)) else None
        raise
    return after


def of_project(slug: str, before_id: str | None) -> Iterator[Build]:
    """A project's builds, the newest first, starting below `before_id`."""
    condition = "projectSlug = :slug" + (" AND id < :before" if before_id else "")
    values = {":slug": {"S": slug}} | ({":before": {"S": before_id}} if before_id else {})
    pages = (
        aws.dynamodb()
        .get_paginator("query")
        .paginate(
            TableName=settings().builds_table,
            IndexName="byProject",
            KeyConditionExpression=condition,
            ExpressionAttributeValues=values,
            ScanIndexForward=False,
            PaginationConfig={"PageSize": _BATCH},
        )
    )
    for page in pages:
        yield from _read([item["id"]["S"] for item in page["Items"]], newest_first=True)


def open_builds() -> list[Build]:
    """All builds that have not ended or whose task may still live, the oldest first.

    The index follows the table a moment later, so the builds themselves are read again, consistently.
    """
    pages = (
        aws.dynamodb()
        .get_paginator("query")
        .paginate(
            TableName=settings().builds_table,
            IndexName="open",
            KeyConditionExpression="#open = :open",
            ExpressionAttributeNames={"#open": "open"},
            ExpressionAttributeValues={":open": {"S": "open"}},
        )
    )
    ids = [item["id"]["S"] for page in pages for item in page["Items"]]
    return [build for build in _read(ids) if build.open]


def _read(ids: list[str], *, newest_first: bool = False) -> Iterator[Build]:
    size, pause = _LISTED if newest_first else _BATCH, _PAUSE
    for some in (ids[start : start + size] for start in range(0, len(ids), size)):
        keys: Any = {settings().builds_table: {"Keys": [{"id": {"S": each}} for each in some], "ConsistentRead": True}}
        found: list[Build] = []
        while keys:
            answer = aws.dynamodb().batch_get_item(RequestItems=keys)
            found += _readable(answer["Responses"].get(settings().builds_table, []))
            if keys := answer.get("UnprocessedKeys"):
                time.sleep(pause)
                pause *= 2
        yield from sorted(found, key=lambda build: build.id, reverse=newest_first)


def _readable(items: Iterable[Any]) -> Iterator[Build]:
    for item in items:
        try:
            yield _build(item)
        except Unavailable:
            logger.exception("build not readable", build_id=item["id"]["S"])
            count("UnreadableBuild")


def _build(item: Any) -> Build:
    try:
        # A build that is done has no `open` in the table, and would else be read with the default.
        return msgspec.convert({"open": None} | aws.from_item(item), Build)
    except msgspec.ValidationError as error:
        raise Unavailable(f"Build {item['id']['S']} cannot be read: {error}") from error

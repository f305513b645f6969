"""The build table.

An item that this version cannot read, as a newer one may leave it when it is rolled back, is left out of what lists
builds, with an error in the log and in UnreadableBuild; who reads it by its id gets Unavailable.

Items are shorter than `aws.plain` writes a build, as DynamoDB counts a write by the item's size: empty settings are
left out, so are the tasks if `taskArn` is the only one, and the timeline is compressed.
"""

import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from botocore.exceptions import ClientError
from msgspec.structs import replace

from tidegate import aws
from tidegate.exceptions import Unavailable
from tidegate.model import Build, BuildSettings, Entry
from tidegate.observability import count, logger
from tidegate.settings import settings

_BATCH = 100  # what BatchGetItem takes
_LISTED = 25  # read at a time where the reader may stop early
_PAUSE = 0.05  # seconds before what DynamoDB had no capacity for is asked again; doubles each time
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
# What timelines are made of, for zlib to refer to. Not to be changed: what was written with it is read with it.
_PHRASES = (
    b'"reconciler","deadline passed","noted"task not found","missed once"refused: CAPACITY_UNAVAILABLE","waits"'
    b'"no free slot","queued"cancel: CANCELED_BY_USER","cancel requested"to canceled"to failed, "attempt 2, '
    b'"task seen stopped"an older version"another attempt"STOPPED v9 exit 0","the build has ended"],'
    b'"event","task 1 DEPROVISIONING v8 exit 0","the build has ended"],'
    b'[25,"event","task 1 STOPPING v7 exit 0","the build has ended"],'
    b'[0,"event","published","publishing to ready"],'
    b'[100,"event","task 1 DEACTIVATING v6 exit 0","building to publishing"],'
    b'[50,"event","task 1 RUNNING v5","starting to building"],'
    b'[20,"event","task 1 ACTIVATING v4","nothing new"],'
    b'[20,"event","task 1 PENDING v3","nothing new"],'
    b'[20,"event","task 1 PROVISIONING v2","nothing new"],'
    b'[0,"api","RunTask 1 accepted","task known"],[[17,"api","about to call RunTask","queued to starting"]'
)


def create(build: Build) -> bool:
    """Write a new build; `False` if there is one with its id already."""
    return aws.create(settings().builds_table, "id", _short(build))


def get(build_id: str) -> Build | None:
    """Read a build as it is now."""
    item = aws.dynamodb().get_item(TableName=settings().builds_table, Key={"id": {"S": build_id}}, ConsistentRead=True)
    return _build(item["Item"]) if "Item" in item else None


def save(before: Build, after: Build, now: datetime) -> Build | None:
    """Write what changed, unless the build has changed since `before` was read; `None` if it has.

    One conditional UpdateItem, on the attempt, on the newest task version and on the count of writes.
    """
    after = replace(after, revision=before.revision + 1, updated_at=now)
    old, new = _short(before), _short(after)
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
        return msgspec.convert(_full(aws.from_item(item)), Build)
    except (msgspec.DecodeError, zlib.error) as error:
        raise Unavailable(f"Build {item['id']['S']} cannot be read: {error}") from error


def _short(build: Build) -> dict[str, Any]:
    values = aws.plain(build)
    if build.settings == BuildSettings():
        values["settings"] = None
    if build.tasks == ((build.task_arn,) if build.task_arn else ()):
        values["tasks"] = None
    values["timeline"] = _press(build.timeline) if build.timeline else None
    return values


def _full(values: dict[str, Any]) -> dict[str, Any]:
    if "tasks" not in values and values.get("taskArn"):
        values["tasks"] = (values["taskArn"],)
    if isinstance(timeline := values.get("timeline"), bytes):
        values["timeline"] = _unpress(timeline)
    # A build that is done has no `open` in the table, and would else be read with the default.
    return {"open": None} | values


def _press(timeline: Sequence[Entry]) -> bytes:
    """Entries as `[milliseconds since the one before, source, seen, change]`, compressed; the first since 1970."""
    times = [(entry.at - _EPOCH) // _MILLISECOND for entry in timeline]
    rows = [
        (at - last, aws.writable(entry.source), aws.writable(entry.seen), aws.writable(entry.change))
        for at, last, entry in zip(times, [0, *times], timeline, strict=False)
    ]
    stream = zlib.compressobj(zlib.Z_BEST_COMPRESSION, zdict=_PHRASES)
    return stream.compress(msgspec.json.encode(rows)) + stream.flush()


def _unpress(data: bytes) -> list[Entry]:
    rows = msgspec.json.decode(
        zlib.decompressobj(zdict=_PHRASES).decompress(data), type=list[tuple[int, str, str, str]]
    )
    entries, at = [], _EPOCH
    for since, *words in rows:
        at += since * _MILLISECOND
        entries.append(Entry(at, *words))
    return entries

"""The builder's log in CloudWatch Logs."""

from collections.abc import Iterator

from botocore.exceptions import ClientError

from tidegate import aws
from tidegate.model import LogLine
from tidegate.settings import settings


def stream_of(task_id: str) -> str:
    """The log stream that a task writes to (docs/contract.md)."""
    return f"build/{settings().builder_container}/{task_id}"


def read(task_id: str, since: int) -> Iterator[list[LogLine]]:
    """What CloudWatch holds of a task's log, page by page, from a time in milliseconds on; nothing without a stream."""
    pages = (
        aws.logs()
        .get_paginator("filter_log_events")
        .paginate(logGroupName=settings().builder_log_group, logStreamNames=[stream_of(task_id)], startTime=since)
    )
    try:
        for page in pages:
            yield [LogLine(each["eventId"], each["timestamp"], each["message"]) for each in page["events"]]
    except ClientError as error:
        if not aws.failed_with(error, "ResourceNotFoundException"):
            raise

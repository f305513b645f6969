"""ECS's and CloudWatch's own shapes turned into ours; the one place that knows ECS's words.

Sources: docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_task_events.html and
docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Task.html.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tidegate.model import Task

_PREFERENCE = {None: 1, 0: 2}  # by exit code: a failure first, then one that has not ended, a success last
_STARTED_BY = re.compile(r"([0-9A-HJKMNP-TV-Z]{26})/([1-9][0-9]{0,3})")


def task_of(detail: Mapping[str, Any], container: str) -> Task | None:
    """Read an ECS task, from an event's `detail` or from DescribeTasks; `None` if no build of ours started it.

    Times are ISO 8601 text in events and aware datetimes from boto3. The container is looked up by name, since
    sidecars (GuardDuty's agent, for one) come and go in the list; of two with that name the worse one counts.
    """
    origin = parse_started_by(detail.get("startedBy"))
    if origin is None or not detail.get("taskArn"):
        return None
    named = [c for c in detail.get("containers") or () if c.get("name") == container]
    builder: Mapping[str, Any] = min(named, key=lambda c: _PREFERENCE.get(c.get("exitCode"), 0), default={})
    return Task(
        arn=detail["taskArn"],
        build_id=origin[0],
        attempt=origin[1],
        version=int(detail.get("version") or 0),
        last_status=detail.get("lastStatus") or "",
        desired_status=detail.get("desiredStatus") or "",
        created_at=time_of(detail.get("createdAt")),
        started_at=time_of(detail.get("startedAt")),
        stopped_at=time_of(detail.get("stoppedAt")),
        stop_code=detail.get("stopCode"),
        stopped_reason=detail.get("stoppedReason"),
        container_status=builder.get("lastStatus"),
        exit_code=builder.get("exitCode"),
        container_reason=builder.get("reason"),
    )


def started_by(build_id: str, attempt: int) -> str:
    """The `startedBy` of a build's task, so that every task can be traced to its build."""
    return f"{build_id}/{attempt}"


def parse_started_by(text: str | None) -> tuple[str, int] | None:
    """The build id and the attempt in a task's `startedBy`; `None` if it is not one of ours."""
    found = _STARTED_BY.fullmatch(text or "")
    return (found[1], int(found[2])) if found else None


def client_token(build_id: str, attempt: int) -> str:
    """RunTask's idempotency token: the same for every try of one attempt."""
    return f"{build_id}-{attempt}"


def time_of(value: str | datetime | None) -> datetime | None:
    """An aware UTC time from an event's text or from boto3; `None` if there is none."""
    if not value:
        return None
    return (value if isinstance(value, datetime) else datetime.fromisoformat(value)).astimezone(UTC)

"""The clock -> what events did not say."""

from datetime import UTC, datetime, timedelta
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from tidegate import reconciling, sealing, watching
from tidegate.observability import count, logger

_RESERVED = 15.0  # seconds for logs and viewers
_VIEWERS = timedelta(seconds=20)  # from the start: what they do not take by then is sent by the next sweep
_LEAST = timedelta(seconds=5)  # for viewers, however long the builds have taken
_END = timedelta(seconds=47)  # from the start, of the 50 that the function has


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """Bring every open build forward; what fails is raised, and is tried again a minute later in any case."""
    now = _now()

    def seconds_left() -> float:
        return context.get_remaining_time_in_millis() / 1000

    try:
        reconciling.reconcile(now, lambda: seconds_left() - _RESERVED)
    finally:
        try:
            watching.sweep(_now, max(now + _VIEWERS, _now() + _LEAST))
        finally:
            sealing.sweep(now, seconds_left, lambda build_id: watching.push(build_id, _now, now + _END))
    count("SweepCompleted")  # last: a sweep is missed if any part of it fails


def _now() -> datetime:
    return datetime.now(UTC)

"""The clock -> what events did not say."""

from datetime import UTC, datetime, timedelta
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from tidegate import reconciling, sealing, watching
from tidegate.observability import logger, measure

_RESERVED = 15.0  # seconds for logs and viewers
_SENDING = timedelta(seconds=40)  # from the start, of the 50 that the function has


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """Bring every open build forward; what fails is raised, and is tried again a minute later in any case."""
    now = _now()
    try:
        found = reconciling.reconcile(now, lambda: context.get_remaining_time_in_millis() / 1000 - _RESERVED)
    finally:
        try:
            sealing.sweep(now)
        finally:
            watching.sweep(_now, now + _SENDING)
    measure(found)  # last, so that a sweep is missed if any part of it fails


def _now() -> datetime:
    return datetime.now(UTC)

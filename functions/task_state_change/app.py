"""ECS Task State Change -> build."""

from datetime import UTC, datetime, timedelta
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from tidegate import queueing, sealing, watching
from tidegate.events import task_of
from tidegate.observability import logger
from tidegate.settings import settings

_SENDING = timedelta(seconds=20)  # from the start, of the 50 that the function has


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """Bring the build forward whose task the event is about.

    A fault is raised, so that Lambda tries again and then keeps the event in the dead-letter queue; doing it twice is
    safe.
    """
    task = task_of(event["detail"], settings().builder_container)
    if task is None:
        logger.info("task is none of ours", task=event["detail"].get("taskArn"))
        return
    now = _now()
    if build := queueing.observe_task(task, now):
        sealing.see_end(task, now)
        if task.ended:
            watching.push(build.id, _now, now + _SENDING)


def _now() -> datetime:
    return datetime.now(UTC)

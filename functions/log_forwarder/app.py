"""A batch of the builder's log lines -> log store, viewers, log sink."""

from datetime import UTC, datetime, timedelta
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from tidegate import chunks, watching
from tidegate.observability import logger
from tidegate.settings import settings

_SENDING = timedelta(seconds=5)  # to viewers; who needs longer is served by the next batch


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """Store the lines of one delivery of the subscription filter, send them to who watches, and to the log sink.

    A second delivery changes nothing. The sink comes last, so that nothing waits for it. What it does not take is
    raised, so that Lambda tries again and then keeps the delivery in the dead-letter queue.
    """
    delivery = chunks.store(event["awslogs"]["data"], _now(), read=bool(settings().log_sink_url))
    if delivery.message_type != "DATA_MESSAGE":
        logger.info("control message", type=delivery.message_type)
        return
    logger.info("lines stored", task=delivery.task_id, lines=delivery.lines)
    watching.push_task(delivery.task_id, _now, _now() + _SENDING, delivery)
    if settings().log_sink_url:
        from tidegate import forwarding

        forwarding.forward(delivery, _now())


def _now() -> datetime:
    return datetime.now(UTC)

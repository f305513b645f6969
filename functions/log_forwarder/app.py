"""A batch of the builder's log lines -> log store."""

from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from tidegate import logs
from tidegate.observability import logger


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """Store the lines of one delivery of the subscription filter; a second delivery changes nothing."""
    delivery = logs.store(event["awslogs"]["data"], datetime.now(UTC))
    if delivery.message_type == "DATA_MESSAGE":
        logger.info("lines stored", task=delivery.task_id, lines=delivery.lines)
    else:
        logger.info("control message", type=delivery.message_type)

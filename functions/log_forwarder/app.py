"""A batch of the builder's log lines -> log store."""

from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from tidegate import logs
from tidegate.observability import logger


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """Store the lines of one delivery of the subscription filter; a second delivery changes nothing."""
    batch = logs.decode(event["awslogs"]["data"])
    if batch.message_type != "DATA_MESSAGE":
        logger.info("control message", type=batch.message_type)
        return
    logs.put(batch, datetime.now(UTC))
    logger.info("lines stored", task=batch.task_id, lines=len(batch.log_events))

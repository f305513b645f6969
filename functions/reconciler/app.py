"""The clock -> what events did not say."""

from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from tidegate import sealing, service
from tidegate.observability import logger


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """Bring every open build forward; what fails is raised, and is tried again a minute later in any case."""
    now = datetime.now(UTC)
    try:
        service.reconcile(now)
    finally:
        sealing.sweep(now)

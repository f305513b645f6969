"""A viewer's message -> subscription; the log so far -> the viewer."""

from typing import Any

import msgspec
from aws_lambda_powertools.utilities.typing import LambdaContext

from tidegate import connections
from tidegate.observability import logger

_OK = {"statusCode": 200}


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer one event of API Gateway's WebSocket API; what a viewer gets goes over its connection."""
    request = event["requestContext"]
    connection_id = request["connectionId"]
    match request["routeKey"]:
        case "$connect":
            logger.info("viewer connected", connection=connection_id, ip=request["identity"]["sourceIp"])
        case "$disconnect":
            for build_id in connections.builds_of(connection_id):
                connections.remove(build_id, connection_id)
            logger.info("viewer left", connection=connection_id)
        case "ping":
            _send(connection_id, {"type": "pong"})
        case _:
            _send(connection_id, {"type": "error", "code": "UNKNOWN_ACTION", "message": "action is none that is known"})
    return _OK


def _send(connection_id: str, frame: dict[str, Any]) -> None:
    connections.post(connection_id, msgspec.json.encode(frame))

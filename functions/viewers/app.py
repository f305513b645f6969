"""A viewer's message -> subscription; the log so far -> the viewer."""

from datetime import UTC, datetime, timedelta
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from tidegate import connections, frames, inputs, watching
from tidegate.aws import FAULTS
from tidegate.connections import Busy, Gone
from tidegate.exceptions import Problem, Unavailable, UnknownAction
from tidegate.observability import logger

_SENDING = timedelta(seconds=15)  # of the 29 that API Gateway gives: each call may take some of its own

_OK = {"statusCode": 200}


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer one event of API Gateway's WebSocket API; what a viewer gets goes over its connection."""
    request = event["requestContext"]
    connection_id = request["connectionId"]
    match request["eventType"]:
        case "CONNECT":
            logger.info("viewer connected", connection=connection_id, ip=request["identity"]["sourceIp"])
        case "DISCONNECT":
            watching.leave(connection_id)
            logger.info("viewer left", connection=connection_id, reason=request.get("disconnectReason"))
        case _:
            _answer(connection_id, _act(connection_id, request["routeKey"], event.get("body") or ""))
    return _OK


def _act(connection_id: str, route: str, body: str) -> bytes | None:
    """Do what a message asks for; returns the frame to answer with, if there is one."""
    try:
        message = inputs.parse_json_object(body.encode())
        match route:
            case "subscribe":
                build_id, cursor, encoding = inputs.parse_subscription(message)
                wanted = connections.Subscription(build_id, connection_id, cursor, encoding=encoding)
                watching.subscribe(wanted, _now, _now() + _SENDING)
                return None
            case "ping":
                inputs.parse_nothing({name: value for name, value in message.items() if name != "action"})
                return frames.PONG
            case _:
                raise UnknownAction("action must be subscribe or ping")
    except Problem as problem:
        logger.info("message refused", connection=connection_id, code=problem.code, detail=problem.detail)
        return frames.error(problem)
    except FAULTS:
        logger.exception("AWS call failed", connection=connection_id)
        return frames.error(Unavailable("AWS did not answer as needed; try again"))


def _answer(connection_id: str, frame: bytes | None) -> None:
    try:
        if frame:
            connections.post(connection_id, frame)
    except Gone:
        logger.info("viewer gone", connection=connection_id)
    except Busy as busy:
        logger.warning("viewer busy", connection=connection_id, reason=str(busy))


def _now() -> datetime:
    return datetime.now(UTC)

"""The viewers' WebSocket connections and what each is subscribed to."""

from botocore.exceptions import ClientError

from tidegate import aws
from tidegate.settings import settings


def builds_of(connection_id: str) -> list[str]:
    """The builds that a connection is subscribed to; one of this moment may be missing."""
    pages = (
        aws.dynamodb()
        .get_paginator("query")
        .paginate(
            TableName=settings().connections_table,
            IndexName="byConnection",
            KeyConditionExpression="connectionId = :connection",
            ExpressionAttributeValues={":connection": {"S": connection_id}},
        )
    )
    return [item["buildId"]["S"] for page in pages for item in page["Items"]]


def remove(build_id: str, connection_id: str) -> None:
    """Forget a subscription."""
    key = {"buildId": {"S": build_id}, "connectionId": {"S": connection_id}}
    aws.dynamodb().delete_item(TableName=settings().connections_table, Key=key)


def post(connection_id: str, frame: bytes) -> bool:
    """Send a frame of at most 128 KB; `False` if the connection is gone.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-how-to-call-websocket-api-connections.html
    """
    try:
        aws.connections().post_to_connection(ConnectionId=connection_id, Data=frame)
    except ClientError as error:
        if aws.failed_with(error, "GoneException"):
            return False
        raise
    return True

"""The viewers' WebSocket connections, and what each is subscribed to: who got how much, and who sends to it just now.

One function at a time sends to a viewer, so that lines keep their order: it holds the subscription's lease. Who finds
it taken leaves a wish, and the holder does not give the lease back while there are wishes it has not seen.
"""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import msgspec
from botocore.exceptions import BotoCoreError, ClientError
from msgspec import Struct

from tidegate import aws
from tidegate.settings import settings

LEASE = timedelta(seconds=15)
_LONGEST = timedelta(hours=3)  # more than the two hours that API Gateway keeps a connection
_FREE = "(attribute_not_exists(#leasedUntil) OR #leasedUntil <= :now)"


class Gone(Exception):
    """The viewer's connection has ended."""


class Busy(Exception):
    """The viewer did not take the frame now; it may have got it all the same."""


class Subscription(Struct, frozen=True, rename="camel"):
    """A viewer of a build's log and the cursor after the last line that it was sent.

    `encoding` is `gzip` for one that takes lines compressed, or `identity`. `lease` names who may send to it until
    `leased_until`, in milliseconds; `wishes` counts those who would have.
    """

    build_id: str
    connection_id: str
    cursor: str | None = None
    wishes: int = 0
    lease: str | None = None
    leased_until: int = 0
    encoding: str = "identity"

    @property
    def place(self) -> tuple[str | None, str]:
        """What its next lines depend on: all who stand there get the same."""
        return self.cursor, self.encoding

    def leased(self, now: datetime) -> bool:
        """Whether somebody else is sending, or the viewer is left in peace for a while."""
        return self.leased_until > _milliseconds(now)


def subscribe(new: Subscription, now: datetime) -> None:
    """Write a subscription, or write it anew over the one the connection has; whoever held its lease has lost it."""
    item = aws.plain(new) | {"expiresAt": int((now + _LONGEST).timestamp())}
    aws.dynamodb().put_item(TableName=settings().connections_table, Item=aws.to_item(item))


def of_build(build_id: str) -> list[Subscription]:
    """All who watch a build, read from the table itself."""
    found: list[Subscription] = []
    start: Any = {}
    while True:
        page = aws.dynamodb().query(
            TableName=settings().connections_table,
            KeyConditionExpression="buildId = :build",
            ExpressionAttributeValues={":build": {"S": build_id}},
            ConsistentRead=True,
            **start,
        )
        found += [_read(item) for item in page["Items"]]
        if "LastEvaluatedKey" not in page:
            return found
        start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}


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


def watched() -> list[str]:
    """The builds that somebody watches."""
    pages = (
        aws.dynamodb()
        .get_paginator("scan")
        .paginate(TableName=settings().connections_table, ProjectionExpression="buildId")
    )
    return sorted({item["buildId"]["S"] for page in pages for item in page["Items"]})


def take(seen: Subscription, lease: str, now: datetime) -> Subscription | None:
    """Take the lease if it is free, and cursor and wishes are still those seen; `None` if the subscription is gone.

    What is returned has our lease, or shows why not.
    """
    same = "#wishes = :wishes AND " + ("#cursor = :cursor" if seen.cursor else "attribute_not_exists(#cursor)")
    return _update(
        seen,
        "SET #lease = :lease, #leasedUntil = :until",
        f"attribute_exists(buildId) AND {_FREE} AND {same}",
        {
            "now": _milliseconds(now),
            "lease": lease,
            "until": _milliseconds(now + LEASE),
            "wishes": seen.wishes,
            "cursor": seen.cursor,
        },
    )


def wish(seen: Subscription) -> Subscription | None:
    """Ask the lease's holder to look again; returns the subscription as it then is, `None` if it is gone."""
    return _update(seen, "ADD #wishes :one", "attribute_exists(buildId)", {"one": 1})


def renew(held: Subscription, cursor: str | None, now: datetime) -> bool:
    """Keep the cursor and hold the lease for longer; `False` if it is lost."""
    values = {"lease": held.lease, "until": _milliseconds(now + LEASE), "cursor": cursor}
    found = _update(held, f"SET #leasedUntil = :until{_cursor(cursor)}", "#lease = :lease", values)
    return found is not None and found.lease == held.lease


def release(held: Subscription, cursor: str | None) -> Subscription | None:
    """Keep the cursor and give the lease back, unless there are new wishes; `None` if the subscription is gone.

    What is returned has our lease still if there are.
    """
    return _update(
        held,
        f"{'SET #cursor = :cursor ' if cursor else ''}REMOVE #lease, #leasedUntil",
        "#lease = :lease AND #wishes = :wishes",
        {"lease": held.lease, "wishes": held.wishes, "cursor": cursor},
    )


def leave(held: Subscription, cursor: str | None, until: datetime) -> None:
    """Keep the cursor and give the lease back, wishes or not; nobody sends until the time given."""
    values = {"lease": held.lease, "until": _milliseconds(until), "cursor": cursor}
    _update(held, f"SET #leasedUntil = :until{_cursor(cursor)} REMOVE #lease", "#lease = :lease", values)


def end(held: Subscription) -> None:
    """Forget a subscription that has got everything, unless it was made anew meanwhile."""
    try:
        aws.dynamodb().delete_item(
            TableName=settings().connections_table,
            Key=_key(held.build_id, held.connection_id),
            ConditionExpression="#lease = :lease",
            ExpressionAttributeNames={"#lease": "lease"},
            ExpressionAttributeValues={":lease": aws.to_attribute(held.lease)},
        )
    except ClientError as error:
        if not aws.failed_with(error, "ConditionalCheckFailedException"):
            raise


def remove(build_id: str, connection_id: str) -> None:
    """Forget a subscription."""
    aws.dynamodb().delete_item(TableName=settings().connections_table, Key=_key(build_id, connection_id))


def prepare() -> None:
    """Make the client that posts, before threads do: botocore makes one at a time."""
    aws.connections()


def post(connection_id: str, frame: bytes) -> None:
    """Send a frame of at most 128 KB; raises Gone or Busy.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-how-to-call-websocket-api-connections.html
    """
    try:
        aws.connections().post_to_connection(ConnectionId=connection_id, Data=frame)
    except ClientError as error:
        if aws.failed_with(error, "GoneException"):
            raise Gone from error
        raise Busy(str(error)) from error
    except BotoCoreError as error:
        raise Busy(str(error)) from error


def _update(seen: Subscription, change: str, condition: str, values: Mapping[str, Any]) -> Subscription | None:
    """Change a subscription under a condition; returns it as it is then, changed or not, `None` if it is gone."""
    try:
        answer = aws.dynamodb().update_item(
            TableName=settings().connections_table,
            Key=_key(seen.build_id, seen.connection_id),
            UpdateExpression=change,
            ConditionExpression=condition,
            ExpressionAttributeNames=_names(change + condition),
            ExpressionAttributeValues={
                f":{name}": aws.to_attribute(value) for name, value in values.items() if value is not None
            },
            ReturnValues="ALL_NEW",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    except ClientError as error:
        if not aws.failed_with(error, "ConditionalCheckFailedException"):
            raise
        found: Any = error.response
        return _read(found["Item"]) if "Item" in found else None
    return _read(answer["Attributes"])


@cache
def _names(expression: str) -> dict[str, str]:
    """The names in an expression, of which there are a few; some are words of DynamoDB's own."""
    return {f"#{name}": name for name in re.findall(r"#(\w+)", expression)}


def _cursor(cursor: str | None) -> str:
    return ", #cursor = :cursor" if cursor else ""


def _key(build_id: str, connection_id: str) -> dict[str, Any]:
    return {"buildId": {"S": build_id}, "connectionId": {"S": connection_id}}


def _read(item: Mapping[str, Any]) -> Subscription:
    return msgspec.convert(aws.from_item(item), Subscription)


def _milliseconds(time: datetime) -> int:
    return int(time.timestamp() * 1000)

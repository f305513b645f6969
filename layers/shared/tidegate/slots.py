"""The build slots: one item that holds the ids of the builds that may run, never more than the limit.

It stands in the build table under the key `slots`, which is no build's id. Taking and giving back are idempotent, so a
repeated event or a retried function cannot leak a slot.
"""

from typing import Any

from botocore.exceptions import ClientError

from tidegate import aws
from tidegate.settings import settings

_KEY = {"id": {"S": "slots"}}
_SIGHTINGS: dict[str, Any] = {"id": {"S": "sightings"}}


def acquire(build_id: str) -> bool:
    """Take a slot, or keep the one the build has; `False` if all are taken."""
    try:
        aws.dynamodb().update_item(
            TableName=settings().builds_table,
            Key=_KEY,
            UpdateExpression="ADD holders :build",
            ConditionExpression=("attribute_not_exists(holders) OR size(holders) < :limit OR contains(holders, :one)"),
            ExpressionAttributeValues={
                ":build": {"SS": [build_id]},
                ":one": {"S": build_id},
                ":limit": {"N": str(settings().max_concurrent_builds)},
            },
        )
    except ClientError as error:
        if aws.failed_with(error, "ConditionalCheckFailedException"):
            return False
        raise
    return True


def release(*build_ids: str) -> None:
    """Give the builds' slots back, if they have any."""
    aws.dynamodb().update_item(
        TableName=settings().builds_table,
        Key=_KEY,
        UpdateExpression="DELETE holders :builds",
        ExpressionAttributeValues={":builds": {"SS": list(build_ids)}},
    )


def holders() -> set[str]:
    """The ids of the builds that have a slot."""
    answer = aws.dynamodb().get_item(TableName=settings().builds_table, Key=_KEY, ConsistentRead=True)
    found: set[str] = aws.from_item(answer.get("Item", {})).get("holders", set())
    return found


def sightings() -> set[str]:
    """The ARNs of the tasks without an open build that the last sweep saw."""
    answer = aws.dynamodb().get_item(TableName=settings().builds_table, Key=_SIGHTINGS)
    found: set[str] = aws.from_item(answer.get("Item", {})).get("tasks", set())
    return found


def sight(task_arns: set[str]) -> None:
    """Remember the tasks without an open build for the next sweep."""
    item = _SIGHTINGS | ({"tasks": {"SS": sorted(task_arns)}} if task_arns else {})
    aws.dynamodb().put_item(TableName=settings().builds_table, Item=item)

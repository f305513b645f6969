"""The project table."""

from datetime import datetime
from typing import Any

import msgspec
from botocore.exceptions import ClientError

from tidegate import aws
from tidegate.model import Project
from tidegate.settings import settings


def create(project: Project) -> bool:
    """Write a new project; `False` if the slug is taken."""
    return aws.create(settings().projects_table, "slug", aws.plain(project))


def get(slug: str, *, consistent: bool = True) -> Project | None:
    """Read a project."""
    answer = aws.dynamodb().get_item(
        TableName=settings().projects_table, Key={"slug": {"S": slug}}, ConsistentRead=consistent
    )
    return _project(answer["Item"]) if "Item" in answer else None


def page(limit: int, after_slug: str | None) -> tuple[list[Project], str | None]:
    """Some projects, in no promised order, and the slug to go on after (`None` at the end)."""
    start: dict[str, Any] = {"ExclusiveStartKey": {"slug": {"S": after_slug}}} if after_slug else {}
    answer = aws.dynamodb().scan(TableName=settings().projects_table, Limit=limit, **start)
    last = answer.get("LastEvaluatedKey")
    return [_project(item) for item in answer["Items"]], last["slug"]["S"] if last else None


def change(project: Project) -> None:
    """Write a project's settings anew, for its later builds."""
    values = aws.to_item(aws.plain(project))
    aws.dynamodb().update_item(
        TableName=settings().projects_table,
        Key={"slug": {"S": project.slug}},
        UpdateExpression="SET settings = :settings" + (", env = :env" if project.env else ""),
        ConditionExpression="attribute_exists(slug)",
        ExpressionAttributeValues={
            ":settings": values["settings"],
            **({":env": values["env"]} if project.env else {}),
        },
    )


def publish(slug: str, build_id: str, attempt: int, now: datetime) -> bool | None:
    """Make a ready build the live one, by what its attempt has made.

    `False` if a newer one is live or the project is gone, `None` if it is refused. Build ids sort by time, so the
    greater id is the newer build; repeating it changes nothing.
    """
    try:
        aws.dynamodb().update_item(
            TableName=settings().projects_table,
            Key={"slug": {"S": slug}},
            UpdateExpression="SET liveBuild = :build, liveAttempt = :attempt, liveAt = :now",
            ConditionExpression=(
                "attribute_exists(slug) AND NOT contains(refused, :build)"
                " AND (attribute_not_exists(liveBuild) OR liveBuild < :build)"
            ),
            ExpressionAttributeValues={
                ":build": aws.to_attribute(build_id),
                ":attempt": aws.to_attribute(attempt),
                ":now": aws.to_attribute(now),
            },
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    except ClientError as error:
        if aws.failed_with(error, "ConditionalCheckFailedException"):
            found: Any = error.response
            item = aws.from_item(found.get("Item", {}))
            return None if build_id in item.get("refused", ()) else bool(item.get("liveBuild") == build_id)
        raise
    return True


def refuse(slug: str, build_id: str) -> bool:
    """Make sure that a build never goes live; `False` if it is live."""
    try:
        aws.dynamodb().update_item(
            TableName=settings().projects_table,
            Key={"slug": {"S": slug}},
            UpdateExpression="ADD refused :builds",
            ConditionExpression="attribute_exists(slug) AND (attribute_not_exists(liveBuild) OR liveBuild <> :build)",
            ExpressionAttributeValues={":builds": {"SS": [build_id]}, ":build": {"S": build_id}},
        )
    except ClientError as error:
        if aws.failed_with(error, "ConditionalCheckFailedException"):
            project = get(slug)
            return project is None or project.live_build != build_id
        raise
    return True


def _project(item: Any) -> Project:
    return msgspec.convert(aws.from_item(item), Project)

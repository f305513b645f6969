"""Idempotency keys: which build a client's key stands for.

A key is claimed with the build's id already chosen. Whoever comes back with it after a crash goes on with that id, so
one key never makes two builds. The claims stand in the build table under keys that are no builds' ids, and expire.
"""

import hashlib
from datetime import datetime, timedelta

from botocore.exceptions import ClientError
from msgspec import Struct

from tidegate import aws
from tidegate.settings import settings

_KEPT = timedelta(hours=24)
_RUNS = timedelta(seconds=60)  # longer than the API function may


class Claim(Struct, frozen=True):
    """What a key stands for: the request's digest, the chosen build id and slug; `mine` if it is to be done now."""

    fingerprint: str
    build_id: str
    slug: str
    mine: bool
    done: bool = False


def fingerprint(*parts: str) -> str:
    """A digest that tells two requests apart."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


def claim(key: str, wanted: str, build_id: str, slug: str, now: datetime) -> Claim:
    """Claim a key for a request; if it is claimed, say for what. A claim left undone for a minute is taken over."""
    second = int(now.timestamp())
    try:
        aws.dynamodb().put_item(
            TableName=settings().builds_table,
            Item=aws.to_item(
                {
                    "id": _id(key),
                    "fingerprint": wanted,
                    "buildId": build_id,
                    "slug": slug,
                    "claimedAt": second,
                    "expiresAt": second + int(_KEPT.total_seconds()),
                }
            ),
            # DynamoDB removes expired items some time later only.
            ConditionExpression="attribute_not_exists(id) OR expiresAt < :now",
            ExpressionAttributeValues={":now": {"N": str(second)}},
        )
    except ClientError as error:
        if aws.failed_with(error, "ConditionalCheckFailedException"):
            return _existing(key, wanted, build_id, slug, now)
        raise
    return Claim(wanted, build_id, slug, mine=True)


def _existing(key: str, wanted: str, build_id: str, slug: str, now: datetime) -> Claim:
    item = aws.from_item(
        aws.dynamodb()
        .get_item(TableName=settings().builds_table, Key={"id": {"S": _id(key)}}, ConsistentRead=True)
        .get("Item", {})
    )
    if not item:
        return claim(key, wanted, build_id, slug, now)
    found = Claim(item["fingerprint"], item["buildId"], item["slug"], mine=False, done=item.get("done", False))
    # A claim under our own build id is ours: botocore repeated a call whose answer was lost.
    if found.build_id == build_id:
        return Claim(found.fingerprint, build_id, found.slug, mine=True)
    overdue = now.timestamp() - item["claimedAt"] > _RUNS.total_seconds()
    if found.done or found.fingerprint != wanted or not overdue or not _take_over(key, item["claimedAt"], now):
        return found
    return Claim(found.fingerprint, found.build_id, found.slug, mine=True)


def _take_over(key: str, claimed_at: int, now: datetime) -> bool:
    try:
        aws.dynamodb().update_item(
            TableName=settings().builds_table,
            Key={"id": {"S": _id(key)}},
            UpdateExpression="SET claimedAt = :now",
            ConditionExpression="claimedAt = :seen AND attribute_not_exists(done)",
            ExpressionAttributeValues={":now": {"N": str(int(now.timestamp()))}, ":seen": {"N": str(claimed_at)}},
        )
    except ClientError as error:
        if aws.failed_with(error, "ConditionalCheckFailedException"):
            return False
        raise
    return True


def finish(key: str) -> None:
    """Note that the request of a claimed key is done."""
    aws.dynamodb().update_item(
        TableName=settings().builds_table,
        Key={"id": {"S": _id(key)}},
        UpdateExpression="SET done = :true",
        ExpressionAttributeValues={":true": {"BOOL": True}},
    )


def release(key: str) -> None:
    """Give a claim back whose request was refused."""
    aws.dynamodb().delete_item(TableName=settings().builds_table, Key={"id": {"S": _id(key)}})


def _id(key: str) -> str:
    return f"key:{key}"

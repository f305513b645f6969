"""The AWS clients, each made once and only when needed, and DynamoDB's way of writing values."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import botocore.session
import msgspec
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from msgspec import Struct

from tidegate import direct

if TYPE_CHECKING:
    from botocore.session import Session
    from mypy_boto3_apigatewaymanagementapi import ApiGatewayManagementApiClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_ecs import ECSClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sts import STSClient

# Three tries of at most seven seconds fit into the functions' time limits; the same request is sent again, so the same
# client token too.
LONGEST_CALL = 22.0  # seconds, with the waits between the tries
_CONFIG = Config(
    connect_timeout=2,
    read_timeout=5,
    retries={"mode": "standard", "total_max_attempts": 3},
    signature_version="v4",
    max_pool_connections=32,  # viewers are served side by side
    user_agent=direct.USER_AGENT,
)
FAULTS = (ClientError, BotoCoreError)

# By default botocore signs URLs for S3's global host, which may redirect to the region's, where the signature is wrong.
_S3_CONFIG = _CONFIG.merge(Config(signature_version="s3v4", s3={"addressing_style": "virtual"}))

# For what nothing shall wait for.
_S3_BRIEFLY_CONFIG = _S3_CONFIG.merge(
    Config(connect_timeout=1, read_timeout=1, retries={"mode": "standard", "total_max_attempts": 1})
)


# A viewer whose connection does not take a frame at once gets it with the next push; the others shall not wait for it.
_VIEWERS_CONFIG = _CONFIG.merge(
    Config(connect_timeout=1, read_timeout=2, retries={"mode": "standard", "total_max_attempts": 1})
)


# A call's first try is not botocore's (tidegate.direct), so its own are one less.
_DYNAMODB_CONFIG = _CONFIG.merge(Config(retries={"mode": "standard", "total_max_attempts": 2}))


@cache
def _session() -> "Session":
    session = botocore.session.Session()
    for service, kind in (("dynamodb", direct.Dynamo), ("apigatewaymanagementapi", direct.Connections)):
        session.register(f"creating-client-class.{service}", partial(_base, kind))
    return session


def _base(kind: type, base_classes: list[type], **_: Any) -> None:
    base_classes.insert(0, kind)


def _create(service: str, config: Config, **credentials: Any) -> Any:
    """A client by botocore alone: boto3 around it makes a cold start longer and adds nothing that is used."""
    return _session().create_client(service, config=config, **credentials)


@cache
def connections() -> "ApiGatewayManagementApiClient":
    """The client of the viewers' connections; its endpoint comes from AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI."""
    client: ApiGatewayManagementApiClient = _create("apigatewaymanagementapi", _VIEWERS_CONFIG)
    return client


@cache
def dynamodb() -> "DynamoDBClient":
    """The DynamoDB client."""
    client: DynamoDBClient = _create("dynamodb", _DYNAMODB_CONFIG)
    return client


@cache
def ecs() -> "ECSClient":
    """The ECS client."""
    client: ECSClient = _create("ecs", _CONFIG)
    return client


@cache
def functions() -> "LambdaClient":
    """The Lambda client."""
    client: LambdaClient = _create("lambda", _CONFIG)
    return client


@cache
def logs() -> "CloudWatchLogsClient":
    """The CloudWatch Logs client."""
    client: CloudWatchLogsClient = _create("logs", _CONFIG)
    return client


@cache
def s3() -> "S3Client":
    """The S3 client, with the function's own credentials."""
    client: S3Client = _create("s3", _S3_CONFIG)
    return client


@cache
def s3_briefly() -> "S3Client":
    """The S3 client for what is asked once and for two seconds at most."""
    client: S3Client = _create("s3", _S3_BRIEFLY_CONFIG)
    return client


@cache
def secrets() -> "SecretsManagerClient":
    """The Secrets Manager client."""
    client: SecretsManagerClient = _create("secretsmanager", _CONFIG)
    return client


@cache
def sts() -> "STSClient":
    """The STS client, at the region's own endpoint."""
    client: STSClient = _create("sts", _CONFIG)
    return client


def s3_as(credentials: Mapping[str, Any]) -> "S3Client":
    """An S3 client with the credentials that STS returned, to sign with."""
    client: S3Client = _create(
        "s3",
        _S3_CONFIG,
        aws_access_key_id=credentials["AccessKeyId"],
        aws_secret_access_key=credentials["SecretAccessKey"],
        aws_session_token=credentials["SessionToken"],
    )
    return client


def failed_with(error: ClientError, *codes: str) -> bool:
    """Whether the error is one of these AWS error codes."""
    return error.response["Error"]["Code"] in codes


def http_status(error: ClientError) -> int:
    """The HTTP status that AWS answered with; 0 if that is not known."""
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)


def create(table: str, key: str, values: Mapping[str, Any]) -> bool:
    """Write plain values as a new item; `False` if there is another one with their key."""
    item = to_item(values)
    try:
        dynamodb().put_item(
            TableName=table,
            Item=item,
            ConditionExpression=f"attribute_not_exists({key})",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    except ClientError as error:
        if failed_with(error, "ConditionalCheckFailedException"):
            return met_itself(error, item)
        raise
    return True


def met_itself(error: ClientError, item: Mapping[str, Any]) -> bool:
    """Whether a conditional write failed on what it has written itself.

    A write whose answer got lost is sent again. The call must ask for `ALL_OLD` on the failure of its condition.
    """
    found: Any = error.response
    return bool(found.get("Item") == item)


def tried_before(error: ClientError) -> bool:
    """Whether botocore had sent the request before it got this answer: an earlier one may have taken effect."""
    return bool(error.response.get("ResponseMetadata", {}).get("RetryAttempts"))


def plain(value: Struct) -> dict[str, Any]:
    """A model as plain values that `to_attribute` can write."""
    values: dict[str, Any] = msgspec.to_builtins(value, builtin_types=(datetime,))
    return values


def to_item(values: Mapping[str, Any]) -> dict[str, Any]:
    """Write plain values as a DynamoDB item; `None` is left out."""
    return {name: to_attribute(value) for name, value in values.items() if value is not None}


def to_attribute(value: Any) -> dict[str, Any]:
    """Write one plain value as a DynamoDB attribute; numbers stay int or float, never Decimal."""
    match value:
        case bool():
            return {"BOOL": value}
        case str():
            return {"S": writable(value)}
        case datetime():
            return {"S": value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")}
        case int() | float():
            return {"N": repr(value)}
        case bytes():
            return {"B": value}
        case list() | tuple():
            return {"L": [to_attribute(part) for part in value]}
        case dict():
            return {"M": to_item(value)}
        case _:
            raise TypeError(f"no DynamoDB attribute for {type(value).__name__}")


def writable(text: str) -> str:
    """The text with a question mark for half a surrogate pair, which JSON may hold and DynamoDB refuses."""
    return text.encode("utf-8", "replace").decode()


def from_item(item: Mapping[str, Any]) -> dict[str, Any]:
    """Read a DynamoDB item as plain values."""
    return {name: from_attribute(attribute) for name, attribute in item.items()}


def from_attribute(attribute: Mapping[str, Any]) -> Any:
    """Read one DynamoDB attribute as a plain value."""
    [(kind, value)] = attribute.items()
    match kind:
        case "N":
            return int(value) if value.lstrip("-").isdigit() else float(value)
        case "L":
            return [from_attribute(part) for part in value]
        case "M":
            return from_item(value)
        case "NULL":
            return None
        case "SS":
            return set(value)
        case _:
            return value

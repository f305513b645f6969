"""The stack's AWS resources in moto, made from template.yaml's own definitions."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import pytest
from botocore.validate import ParamValidator
from moto import mock_aws
from samtranslator.yaml_helper import yaml_parse

from tests.fakes import FakeEcs
from tidegate import aws, direct, notes, sites, watching
from tidegate.settings import Settings, settings

ROOT = Path(__file__).parent.parent
REGION = "eu-central-1"
ACCOUNT = "123456789012"
TABLES = ("BuildsTable", "ProjectsTable", "LogsTable", "ConnectionsTable")


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """The functions' environment, with empty tables, a bucket and a cluster behind it."""
    with stack_in(monkeypatch) as found:
        yield found


@contextmanager
def stack_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """The stack, for as long as it is needed.

    The AWS clients stay from test to test: to make them costs more than all else here.
    """
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("MOTO_ACCOUNT_ID", ACCOUNT)
    with mock_aws():
        for name, value in _create().items():
            monkeypatch.setenv(name, value)
        _forget()
        monkeypatch.setattr(direct.Dynamo, "_ask", _ask)
        yield settings()
    _forget()


_real_ask = direct.Dynamo._ask


def _ask(client: Any, operation: str, wanted: Any) -> Any:
    """Check by botocore's model what is sent: moto takes what DynamoDB would refuse."""
    shape = client.meta.service_model.operation_model(operation).input_shape
    report = ParamValidator().validate(wanted, shape)
    assert not report.has_errors(), report.generate_report()
    return _real_ask(client, operation, wanted)


@pytest.fixture
def ecs(stack: Settings, monkeypatch: pytest.MonkeyPatch) -> FakeEcs:
    """ECS that only records; moto's own knows no Fargate."""
    fake = FakeEcs(stack.cluster)
    monkeypatch.setattr(aws, "ecs", lambda: fake)
    return fake


@pytest.fixture
def set_environment(stack: Settings, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Change a variable of the functions' environment for the rest of the test."""

    def change(name: str, value: str) -> None:
        monkeypatch.setenv(name, value)
        settings.cache_clear()

    return change


@pytest.fixture
def atomic(stack: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """DynamoDB handles one request at a time, for tests with threads: moto's conditions and writes are two steps."""
    client: Any = aws.dynamodb()
    real, lock = client._make_api_call, Lock()

    def call(*args: Any) -> Any:
        with lock:
            return real(*args)

    monkeypatch.setattr(client, "_make_api_call", call)


def _forget() -> None:
    settings.cache_clear()
    sites.missing.clear()
    notes.known_origins.clear()
    watching._tasks.clear()


@cache
def _resources() -> dict[str, Any]:
    resources: dict[str, Any] = yaml_parse((ROOT / "template.yaml").read_text())["Resources"]
    return resources


def _create() -> dict[str, str]:
    for name in TABLES:
        properties = _resources()[name]["Properties"]
        wanted = ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "BillingMode")
        aws.dynamodb().create_table(TableName=name, **{key: properties[key] for key in wanted if key in properties})
    aws.s3().create_bucket(Bucket="artifacts", CreateBucketConfiguration={"LocationConstraint": REGION})
    return {
        "BUILDS_TABLE": "BuildsTable",
        "PROJECTS_TABLE": "ProjectsTable",
        "LOGS_TABLE": "LogsTable",
        "CONNECTIONS_TABLE": "ConnectionsTable",
        "ARTIFACTS_BUCKET": "artifacts",
        "CLUSTER": f"arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/builds",
        "TASK_DEFINITION": f"arn:aws:ecs:{REGION}:{ACCOUNT}:task-definition/builder:1",
        "BUILDER_CONTAINER": "builder",
        "BUILDER_LOG_GROUP": "/tidegate/builder",
        "SUBNETS": "subnet-0a1b2c3d",
        "SECURITY_GROUPS": "sg-0a1b2c3d",
        "ASSIGN_PUBLIC_IP": "ENABLED",
        "BUILDER_ACCESS_ROLE": f"arn:aws:iam::{ACCOUNT}:role/builder-access",
        "SITES_URL": "http://{slug}.localhost:8000",
        "MAX_CONCURRENT_BUILDS": "2",
        "BUILD_TIMEOUT_SECONDS": "1200",
        "SPOT_SHARE": "0",
        "BUILD_CPU": "2048",
        "BUILD_MEMORY": "4096",
        "LOG_RETENTION_DAYS": "30",
        "GIT_PROTOCOLS": "https",
        "ALLOW_PRIVATE_GIT_HOSTS": "false",
    }

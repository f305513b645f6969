"""Local Fargate by boto3: what it refuses, a task's life, its end, its log."""

import base64
import gzip
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest
from botocore.exceptions import ClientError

from local.aws import Endpoint
from local.container import Spec
from local.ecs import Catalog, Cluster, TaskDefinition
from local.fargate import Fargate
from local.logs import Logs, Subscription

PREFIX = "arn:aws:ecs:us-east-1:123456789012"
CLUSTER = f"{PREFIX}:cluster/builds"
DEFINITION = f"{PREFIX}:task-definition/builder:3"
GROUP = "/builds/builder"
KEYS = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "us-east-1"}
CONTAINER = {
    "name": "builder",
    "image": "builder:latest",
    "stopTimeout": 1,
    "environment": [{"name": "FROM", "value": "definition"}],
    "logConfiguration": {
        "logDriver": "awslogs",
        "options": {"awslogs-group": GROUP, "awslogs-stream-prefix": "build"},
    },
}
CATALOG = Catalog(
    (Cluster(CLUSTER),),
    (TaskDefinition(DEFINITION, "1024", "2048", (CONTAINER,)),),
    frozenset({"subnet-1"}),
    frozenset({"sg-1"}),
)
NETWORK = {"awsvpcConfiguration": {"subnets": ["subnet-1"], "securityGroups": ["sg-1"], "assignPublicIp": "ENABLED"}}


@dataclass
class Aws:
    """The endpoint's clients, and what it sent."""

    ecs: Any
    logs: Any
    events: list[dict[str, Any]]
    batches: list[dict[str, Any]]
    fargate: Fargate

    def run(self, code: str, **more: Any) -> dict[str, Any]:
        """Run a task of Python code."""
        environment = [{"name": "CODE", "value": code}]
        overrides = {"containerOverrides": [{"name": "builder", "environment": environment}]}
        request = {"cluster": CLUSTER, "taskDefinition": DEFINITION, "networkConfiguration": NETWORK}
        answer = self.ecs.run_task(**{**request, "overrides": overrides, **more})
        assert not answer["failures"]
        task: dict[str, Any] = answer["tasks"][0]
        return task

    def describe(self, arn: str) -> dict[str, Any]:
        task: dict[str, Any] = self.ecs.describe_tasks(cluster=CLUSTER, tasks=[arn])["tasks"][0]
        return task

    def wait(self, arn: str, status: str = "STOPPED", seconds: float = 20) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while (task := self.describe(arn))["lastStatus"] != status:
            assert time.monotonic() < deadline, task
            time.sleep(0.02)
        return task

    def lines(self) -> list[str]:
        """What the subscription delivered."""
        return [event["message"] for batch in self.batches for event in batch["logEvents"]]


def python(environment: dict[str, str] | Any, folder: Path) -> Spec:
    return Spec((sys.executable, "-u", "-c", environment["CODE"]), folder, environment)


@pytest.fixture
def aws(tmp_path: Path) -> Iterator[Aws]:
    endpoint = Endpoint()
    events: list[dict[str, Any]] = []
    batches: list[dict[str, Any]] = []

    def deliver(_arn: str, event: dict[str, Any]) -> None:
        batches.append(json.loads(gzip.decompress(base64.b64decode(event["awslogs"]["data"]))))

    logs = Logs(tmp_path / "logs", {GROUP}, [Subscription("all", GROUP, "arn")], deliver)
    fargate = Fargate(CATALOG, tmp_path / "tasks", logs, python, events.append)
    endpoint.fargate, endpoint.logs = fargate, logs
    ecs = boto3.client("ecs", endpoint_url=endpoint.url, **KEYS)
    cloudwatch = boto3.client("logs", endpoint_url=endpoint.url, **KEYS)
    yield Aws(ecs, cloudwatch, events, batches, fargate)
    fargate.close()
    ecs.close()
    cloudwatch.close()
    endpoint.close()


def test_life_of_a_task(aws: Aws) -> None:
    first = aws.run("print('one'); print(); print('two'); raise SystemExit(7)", startedBy="build/1")
    assert (first["lastStatus"], first["desiredStatus"], first["version"]) == ("PROVISIONING", "RUNNING", 1)
    task = aws.wait(first["taskArn"])
    container = task["containers"][0]
    assert (container["exitCode"], container["lastStatus"]) == (7, "STOPPED")
    assert (task["stopCode"], task["stoppedReason"]) == (
        "EssentialContainerExited",
        "Essential container in task exited",
    )
    assert task["startedBy"] == "build/1"
    assert task["group"] == "family:builder"
    assert task["createdAt"] <= task["startedAt"] <= task["stoppedAt"]
    details = [event["detail"] for event in aws.events]
    assert [each["lastStatus"] for each in details] == [
        "PROVISIONING",
        "PENDING",
        "RUNNING",
        "DEPROVISIONING",
        "STOPPED",
    ]
    assert [each["version"] for each in details] == [1, 2, 3, 4, 5]
    assert aws.lines() == ["one", "two"]


def test_events_have_the_shape_of_recorded_ones(aws: Aws) -> None:
    recorded = json.loads((Path(__file__).parents[2] / "events" / "task-state-change-stopped-ok.json").read_text())
    aws.wait(aws.run("", startedBy="b/1", capacityProviderStrategy=[{"capacityProvider": "FARGATE"}])["taskArn"])
    event = aws.events[-1]
    assert event.keys() == recorded.keys()
    own, other = event["detail"], recorded["detail"]
    assert other.keys() - own.keys() == set()
    assert own.keys() - other.keys() == set()
    for key in own.keys() & other.keys():
        assert isinstance(own[key], type(other[key])), key
    wanted = other["containers"][0].keys() - {"imageDigest", "runtimeId"}
    assert wanted <= own["containers"][0].keys()


def test_environment_is_the_definitions_and_the_overrides(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOST_SECRET", "canary")
    aws.wait(aws.run("import os, json; print(json.dumps(dict(os.environ)))")["taskArn"])
    seen = json.loads(aws.lines()[0])
    assert seen["FROM"] == "definition"
    assert seen["HOME"] != str(Path.home())
    assert seen.keys() <= {"FROM", "CODE", "PATH", "HOME", "TMPDIR", "LANG", "LC_CTYPE", "TIDEGATE_TASK"}


def test_client_token_makes_one_task(aws: Aws) -> None:
    first = aws.run("", clientToken="build-1")
    assert aws.run("", clientToken="build-1")["taskArn"] == first["taskArn"]
    with pytest.raises(ClientError) as caught:
        aws.run("pass", clientToken="build-1")
    assert caught.value.response["Error"]["Code"] == "ConflictException"
    assert caught.value.response["resourceIds"] == [first["taskArn"]]
    aws.wait(first["taskArn"])
    assert aws.run("", clientToken="build-1")["lastStatus"] == "STOPPED"
    assert aws.run("", clientToken="build-2")["taskArn"] != first["taskArn"]


@pytest.mark.parametrize(
    ("request_", "code", "words"),
    [
        ({"cluster": "other"}, "ClusterNotFoundException", "Cluster not found"),
        ({"taskDefinition": "other"}, "ClientException", "TaskDefinition not found"),
        ({"networkConfiguration": {}}, "InvalidParameterException", "Network Configuration must be provided"),
        (
            {"networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-9"]}}},
            "InvalidParameterException",
            "'subnet-9' does not exist",
        ),
        ({"overrides": {"cpu": "300"}}, "InvalidParameterException", "No Fargate configuration exists"),
        ({"overrides": {"cpu": "1 vCPU", "memory": "9 GB"}}, "InvalidParameterException", "No Fargate configuration"),
        (
            {"overrides": {"containerOverrides": [{"name": "x"}]}},
            "InvalidParameterException",
            "Override for container named x is not a container in the TaskDefinition.",
        ),
        (
            {"overrides": {"containerOverrides": [{"name": "builder", "command": ["x" * 8200]}]}},
            "InvalidParameterException",
            "Container Overrides length must be at most 8192",
        ),
        (
            {"launchType": "FARGATE", "capacityProviderStrategy": [{"capacityProvider": "FARGATE"}]},
            "InvalidParameterException",
            "Specifying both a launch type and capacity provider strategy",
        ),
        ({"capacityProviderStrategy": [{"capacityProvider": "MINE"}]}, "InvalidParameterException", "MINE"),
        ({"count": 11}, "InvalidParameterException", "count"),
    ],
)
def test_refused_requests(aws: Aws, request_: dict[str, Any], code: str, words: str) -> None:
    with pytest.raises(ClientError, match=words) as caught:
        aws.run("", **request_)
    assert caught.value.response["Error"]["Code"] == code
    assert aws.ecs.list_tasks(cluster=CLUSTER)["taskArns"] == []
    assert aws.events == []


def test_stop_asks_first(aws: Aws) -> None:
    code = "import signal, time; signal.signal(15, lambda *_: exit(143)); print('up'); time.sleep(60)"
    task = aws.run(code)
    until(lambda: "up" in aws.lines())
    stopping = aws.ecs.stop_task(cluster=CLUSTER, task=task["taskArn"], reason="canceled")["task"]
    assert stopping["desiredStatus"] == "STOPPED"
    ended = aws.wait(task["taskArn"])
    assert (ended["stopCode"], ended["stoppedReason"]) == ("UserInitiated", "canceled")
    assert ended["containers"][0]["exitCode"] == 143
    again = aws.ecs.stop_task(cluster=CLUSTER, task=task["taskArn"])["task"]
    assert again["version"] == ended["version"]


def test_stop_kills_what_does_not_listen(aws: Aws) -> None:
    task = aws.run("import signal, time; signal.signal(15, signal.SIG_IGN); print('up'); time.sleep(60)")
    until(lambda: "up" in aws.lines())
    aws.ecs.stop_task(cluster=CLUSTER, task=task["taskArn"])
    assert aws.wait(task["taskArn"])["containers"][0]["exitCode"] == 137


def test_end_takes_every_process_along(aws: Aws) -> None:
    code = (
        "import subprocess; p = subprocess.Popen(['sleep', '977'], start_new_session=True); print(p.pid);"
        "print(subprocess.check_output(['sh', '-c', 'setsid sleep 976 >/dev/null & echo $!']).decode())"
    )
    started = time.monotonic()
    aws.wait(aws.run(code)["taskArn"])
    assert time.monotonic() - started < 10
    for pid in map(int, aws.lines()):
        assert not psutil.pid_exists(pid)


def test_unknown_tasks(aws: Aws) -> None:
    answer = aws.ecs.describe_tasks(cluster=CLUSTER, tasks=["0" * 32])
    assert answer["tasks"] == []
    assert answer["failures"][0]["reason"] == "MISSING"
    with pytest.raises(ClientError, match="The referenced task was not found"):
        aws.ecs.stop_task(cluster=CLUSTER, task="0" * 32)


def test_list_tasks(aws: Aws) -> None:
    task = aws.run("import time; time.sleep(30)", startedBy="build/1")
    listed = aws.ecs.list_tasks
    assert listed(cluster=CLUSTER, startedBy="build/1")["taskArns"] == [task["taskArn"]]
    assert listed(cluster=CLUSTER, family="builder")["taskArns"] == [task["taskArn"]]
    assert listed(cluster=CLUSTER, startedBy="build/2")["taskArns"] == []
    aws.ecs.stop_task(cluster=CLUSTER, task=task["taskArn"])
    assert listed(cluster=CLUSTER)["taskArns"] == []
    assert listed(cluster=CLUSTER, desiredStatus="STOPPED")["taskArns"] == [task["taskArn"]]


def test_log_can_be_read_with_the_ids_that_were_delivered(aws: Aws) -> None:
    task = aws.run("for i in range(3000): print(i)")
    aws.wait(task["taskArn"])
    stream = f"build/builder/{task['taskArn'].rpartition('/')[2]}"
    delivered = [(event["id"], event["message"]) for batch in aws.batches for event in batch["logEvents"]]
    assert [message for _, message in delivered] == [str(number) for number in range(3000)]
    assert delivered == sorted(delivered, key=lambda each: each[0])
    assert all(len(event_id) == 56 for event_id, _ in delivered)
    assert aws.batches[0]["logStream"] == stream
    pages = aws.logs.get_paginator("filter_log_events").paginate(
        logGroupName=GROUP, logStreamNames=[stream], PaginationConfig={"PageSize": 700}
    )
    assert [(each["eventId"], each["message"]) for page in pages for each in page["events"]] == delivered
    got = aws.logs.get_log_events(logGroupName=GROUP, logStreamName=stream, startFromHead=True, limit=10)
    assert [each["message"] for each in got["events"]] == [str(number) for number in range(10)]
    last = aws.logs.get_log_events(logGroupName=GROUP, logStreamName=stream, limit=2)
    assert [each["message"] for each in last["events"]] == ["2998", "2999"]
    with pytest.raises(ClientError, match="does not exist"):
        aws.logs.filter_log_events(logGroupName=GROUP, logStreamNames=["other"])


def test_log_is_delivered_before_the_end_is_told(aws: Aws) -> None:
    task = aws.run("print('last words')")
    until(lambda: any(event["detail"]["lastStatus"] == "DEPROVISIONING" for event in aws.events))
    assert aws.lines() == ["last words"]
    aws.wait(task["taskArn"])


def test_restart_tells_of_lost_tasks(aws: Aws, tmp_path: Path) -> None:
    ended = aws.run("")
    aws.wait(ended["taskArn"])
    running = aws.run("print('up'); import time; time.sleep(60)", clientToken="t", startedBy="build/1")
    until(lambda: "up" in aws.lines())
    aws.fargate.close()
    events: list[dict[str, Any]] = []
    logs = Logs(tmp_path / "logs", {GROUP}, [], lambda _arn, _event: None)
    again = Fargate(CATALOG, tmp_path / "tasks", logs, python, events.append)
    assert again.announce_recovered() == ["build/1"]
    detail = events[0]["detail"]
    assert detail["taskArn"] == running["taskArn"]
    assert (detail["lastStatus"], detail["stopCode"]) == ("STOPPED", "TerminationNotice")
    assert "exitCode" not in detail["containers"][0]
    assert detail["version"] > 3
    described = again.describe({"cluster": CLUSTER, "tasks": [ended["taskArn"], running["taskArn"]]})
    assert [task["lastStatus"] for task in described["tasks"]] == ["STOPPED", "STOPPED"]


def until(condition: Any, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)

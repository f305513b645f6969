"""`make replay` against moto's queues, with the functions' own handlers behind Invoke: what it plays is safe."""

import importlib
import io
import json
import sys
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws
from msgspec.structs import replace

from scripts import replay
from scripts.events import BUILD, PROJECT, RESULT, SITES_URL, TASK, cases, set_up
from tests.fakes import FakeEcs
from tests.integration.test_event_files import CONTEXT
from tidegate import builds, logs, projects, slots
from tidegate.model import Build
from tidegate.status import Status

ARN = "arn:aws:lambda:us-east-1:123456789012:function:"
HANDLERS = {
    "TaskStateChangeFunction": "task_state_change",
    "LogForwarderFunction": "log_forwarder",
    "ReconcilerFunction": "reconciler",
}
EVENTS = {case.name: case.event() for case in cases()}
TASK_EVENTS = {name: event for name, event in EVENTS.items() if name.startswith("task-state-change-")}
LOG_EVENTS = {name: event for name, event in EVENTS.items() if name.startswith("log-forwarder-")}
TICK = EVENTS["reconciler-tick"]
TEMPLATE = {
    "Resources": {
        **{name: {"Type": "AWS::SQS::Queue"} for name in replay.QUEUES},
        **{
            name: {
                "Type": "AWS::Lambda::Function",
                "Properties": {
                    "Runtime": "python3.13",
                    "Handler": "app.handler",
                    "Role": "arn:aws:iam::123456789012:role/function",
                    "Code": {"ZipFile": "def handler(event, context): ..."},
                },
            }
            for name in replay.FUNCTIONS
        },
    }
}


class Functions:
    """Lambda's Invoke over the functions' own handlers."""

    def __init__(self) -> None:
        self.invoked: list[str] = []

    def invoke(self, FunctionName: str, Payload: bytes) -> dict[str, Any]:  # noqa: N803
        self.invoked.append(FunctionName)
        app = importlib.import_module(f"functions.{HANDLERS[FunctionName]}.app")
        try:
            app.handler(json.loads(Payload), CONTEXT)
        except Exception as error:  # noqa: BLE001
            answer = {"errorType": type(error).__name__, "errorMessage": str(error)}
            return {"FunctionError": "Unhandled", "Payload": io.BytesIO(json.dumps(answer).encode())}
        return {"Payload": io.BytesIO(b"null")}


class Queues:
    """The two queues, and the functions that a replay invokes."""

    def __init__(self) -> None:
        self.sqs = boto3.client("sqs")
        self.functions = Functions()
        self.names = {name: self.sqs.create_queue(QueueName=name)["QueueUrl"] for name in replay.QUEUES}
        self.names |= {name: name for name in replay.FUNCTIONS}

    def undelivered(self, event: Any) -> None:
        """What EventBridge, or the scheduler, leaves behind."""
        self._send("UndeliveredEventsQueue", event)

    def failed(self, function: str, event: Any) -> None:
        """What Lambda leaves behind."""
        record = {
            "version": "1.0",
            "requestContext": {"functionArn": f"{ARN}{function}:$LATEST", "condition": "RetriesExhausted"},
            "requestPayload": event,
            "responseContext": {"statusCode": 200, "functionError": "Unhandled"},
            "responsePayload": {"errorType": "Unavailable"},
        }
        self._send("FailedInvocationsQueue", record)

    def _send(self, queue: str, message: Any) -> None:
        text = message if isinstance(message, str) else json.dumps(message)
        self.sqs.send_message(QueueUrl=self.names[queue], MessageBody=text)

    def replay(self, *, dry_run: bool = False) -> int:
        """Replay both; returns how many are left, and holds that the queues agree."""
        functions: Any = self.functions
        left = sum(replay.replay(self.sqs, functions, self.names, queue, dry_run=dry_run) for queue in replay.QUEUES)
        counted = [
            self.sqs.get_queue_attributes(QueueUrl=self.names[queue], AttributeNames=["ApproximateNumberOfMessages"])[
                "Attributes"
            ]["ApproximateNumberOfMessages"]
            for queue in replay.QUEUES
        ]
        assert sum(map(int, counted)) == left
        return left


@pytest.fixture(autouse=True)
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "WAIT_SECONDS", 0)


@pytest.fixture
def queues(ecs: FakeEcs, set_environment: Any, monkeypatch: pytest.MonkeyPatch) -> Queues:
    set_environment("SITES_URL", SITES_URL)
    set_up()
    return Queues()


def essence(build: Build | None) -> Build | None:
    """A build without what every look at it may change: its timeline and the count and time of writes."""
    return build and replace(build, timeline=(), revision=0, updated_at=None)


def ended(status: str, queues: Queues) -> Build:
    """A build that has come to this end, by the function's own hand."""
    name = {"ready": "stopped-ok", "failed": "stopped-build-failed"}[status]
    queues.functions.invoke("TaskStateChangeFunction", json.dumps(EVENTS[f"task-state-change-{name}"]).encode())
    build = builds.get(BUILD.id)
    assert build is not None
    assert build.status == status
    return build


@pytest.mark.parametrize("status", ["ready", "failed"])
@pytest.mark.parametrize("queue", ["undelivered", "failed"])
def test_task_events_change_no_build_that_has_ended(queues: Queues, status: str, queue: str) -> None:
    was, live = ended(status, queues), projects.get(PROJECT.slug)
    other = {name: event for name, event in TASK_EVENTS.items() if BUILD.id in event["detail"].get("startedBy", "")}
    assert len(other) > 25
    for event in other.values():
        queues.undelivered(event) if queue == "undelivered" else queues.failed("TaskStateChangeFunction", event)
    assert queues.replay() == 0
    assert len(queues.functions.invoked) == len(other) + 1
    assert essence(builds.get(BUILD.id)) == essence(was)
    assert projects.get(PROJECT.slug) == live
    assert slots.holders() == set()


def test_old_events_do_not_take_a_running_build_back(queues: Queues) -> None:
    running = EVENTS["task-state-change-running"]
    queues.functions.invoke("TaskStateChangeFunction", json.dumps(running).encode())
    was = builds.get(BUILD.id)
    for name in ("provisioning", "pending", "activating", "running"):
        queues.undelivered(EVENTS[f"task-state-change-{name}"])
        queues.failed("TaskStateChangeFunction", EVENTS[f"task-state-change-{name}"])
    assert queues.replay() == 0
    assert was is not None
    assert was.status is Status.BUILDING
    assert essence(builds.get(BUILD.id)) == essence(was)


def test_lost_end_is_made_good(queues: Queues) -> None:
    queues.undelivered(EVENTS["task-state-change-stopped-ok"])
    assert queues.replay() == 0
    build = builds.get(BUILD.id)
    assert build is not None
    assert (build.status, build.files) == (Status.READY, RESULT.files)


def test_log_lines_are_not_doubled(queues: Queues) -> None:
    for event in LOG_EVENTS.values():
        queues.functions.invoke("LogForwarderFunction", json.dumps(event).encode())
    was = logs.read([TASK], None, 100).lines
    for event in LOG_EVENTS.values():
        queues.failed("LogForwarderFunction", event)
    assert queues.replay() == 0
    assert logs.read([TASK], None, 100).lines == was


def test_lost_log_lines_are_made_good(queues: Queues) -> None:
    queues.failed("LogForwarderFunction", LOG_EVENTS["log-forwarder-first-batch"])
    assert queues.replay() == 0
    assert len(logs.read([TASK], None, 100).lines) == 5


def test_ticks_are_dropped(queues: Queues) -> None:
    queues.undelivered(TICK)
    queues.failed("ReconcilerFunction", TICK)
    assert queues.replay() == 0
    assert queues.functions.invoked == []


def test_what_fails_again_stays(queues: Queues, capsys: pytest.CaptureFixture[str]) -> None:
    queues.failed("LogForwarderFunction", {"awslogs": {"data": "no batch"}})
    queues.undelivered(EVENTS["task-state-change-stopped-ok"])
    assert queues.replay() == 1
    assert queues.replay() == 1, "it is visible again at once"
    assert "LogForwarderFunction log lines: failed again" in capsys.readouterr().out


@pytest.mark.parametrize("body", ["no json", "[]", "{}", '{"detail-type": "Something else"}'])
def test_what_is_not_known_stays(queues: Queues, body: str) -> None:
    queues.undelivered(body)
    assert queues.replay() == 1
    assert queues.functions.invoked == []


def test_other_stacks_functions_are_not_invoked(queues: Queues) -> None:
    queues.failed("SomebodyElses", TICK)
    assert queues.replay() == 1
    assert queues.functions.invoked == []


def test_more_than_a_page(queues: Queues) -> None:
    for _ in range(25):
        queues.undelivered(EVENTS["task-state-change-unknown-build"])
    assert queues.replay() == 0
    assert len(queues.functions.invoked) == 25


def test_dry_run_plays_nothing(queues: Queues, capsys: pytest.CaptureFixture[str]) -> None:
    queues.undelivered(EVENTS["task-state-change-stopped-ok"])
    assert queues.replay(dry_run=True) == 1
    assert queues.functions.invoked == []
    assert f"TaskStateChangeFunction {BUILD.id}/1 STOPPED: kept" in capsys.readouterr().out


# the program


@pytest.fixture
def deployed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A stack with the queues and functions, by their real names, which moto invokes without running them."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    with mock_aws(config={"lambda": {"use_docker": False}}):
        role: Any = {"RoleName": "function", "AssumeRolePolicyDocument": "{}"}
        boto3.client("iam").create_role(**role)
        boto3.client("cloudformation").create_stack(StackName="tidegate", TemplateBody=json.dumps(TEMPLATE))
        yield


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["replay", *arguments])
    return replay.main()


def test_program_finds_the_stacks_queues(
    deployed: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = replay.read_names(boto3.client("cloudformation"), "tidegate")
    message = json.dumps(EVENTS["task-state-change-running"])
    boto3.client("sqs").send_message(QueueUrl=names["UndeliveredEventsQueue"], MessageBody=message)
    assert run(monkeypatch, "--dry-run") == 1
    assert run(monkeypatch) == 0
    assert run(monkeypatch) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == f"UndeliveredEventsQueue: TaskStateChangeFunction {BUILD.id}/1 RUNNING: kept"
    assert told[3] == f"UndeliveredEventsQueue: TaskStateChangeFunction {BUILD.id}/1 RUNNING: replayed"
    assert told[4:] == ["UndeliveredEventsQueue: 0 left", "FailedInvocationsQueue: 0 left"] * 2


def test_missing_stack_is_told(deployed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match=r"replay: .*other"):
        run(monkeypatch, "--stack", "other")

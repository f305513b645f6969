"""Local Lambda: what a function sees, and what becomes of one that fails, hangs or dies."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from local import lambdas as module
from local.account import ACCOUNT, REGION
from local.lambdas import Lambdas
from local.running import send_to_queue
from local.timers import Timers
from local.worker import Function

CODE = """
import json, os, sys, time
import shared

print("loaded")

def handler(event, context):
    match event.get("do"):
        case "raise": raise ValueError("broken")
        case "sleep": time.sleep(event["seconds"])
        case "exit": os._exit(3)
        case "big": return "x" * 7_000_000
        case "odd": return {1, 2}
        case "count":
            with open(event["file"], "a") as file: file.write("x")
            raise ValueError("again")
    return {
        "pid": os.getpid(), "env": dict(os.environ), "path": sys.path, "shared": shared.VALUE,
        "stdin": sys.stdin.read(),
        "name": context.function_name, "id": context.aws_request_id, "left": context.get_remaining_time_in_millis(),
        "arn": context.invoked_function_arn,
    }
"""
ARN = "arn:aws:lambda:us-east-1:123456789012:function:one"


@pytest.fixture
def sent() -> list[tuple[str, Any]]:
    return []


@pytest.fixture
def make(tmp_path: Path, sent: list[tuple[str, Any]]) -> Iterator[Callable[..., Lambdas]]:
    ends: list[Callable[[], None]] = []
    (tmp_path / "layer").mkdir()
    (tmp_path / "layer" / "shared.py").write_text("VALUE = 7")

    def start(
        code: str = CODE,
        send: Callable[[str, Any], None] = lambda *a: sent.append(a),  # type: ignore[misc,assignment]
        tell: Callable[[str], None] = print,
        **more: Any,
    ) -> Lambdas:
        folder = tmp_path / "code"
        folder.mkdir(exist_ok=True)
        (folder / "app.py").write_text(code)
        environment = {"TABLE": "builds"}
        given = {"timeout": 5.0, "memory": 512, **more}
        function = Function("One", "one", ARN, "app.handler", folder, (tmp_path / "layer",), environment, **given)
        timers = Timers(4)
        lambdas = Lambdas([function], {"AWS_REGION": "us-east-1"}, tmp_path, timers, send, tell)
        ends.extend([timers.close, lambdas.close])
        return lambdas

    yield start
    for end in ends:
        end()


def test_function_sees_its_environment_and_nothing_else(
    make: Callable[..., Lambdas], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOST_SECRET", "canary")
    lambdas = make()
    assert lambdas.warm() == []
    result = lambdas.invoke(ARN, {}).result
    assert result["env"]["TABLE"] == "builds"
    assert result["env"]["AWS_REGION"] == "us-east-1"
    assert result["env"]["AWS_LAMBDA_FUNCTION_NAME"] == "one"
    assert "HOST_SECRET" not in result["env"]
    assert result["path"][:2] == [str(tmp_path / "code"), str(tmp_path / "layer")]
    assert not [path for path in result["path"] if path == str(Path(module.__file__).parent.parent)]
    assert (result["name"], result["arn"], result["shared"], result["stdin"]) == ("one", ARN, 7, "")
    assert 4000 < result["left"] <= 5000
    log = (tmp_path / "One.log").read_text()
    assert "loaded" in log
    assert f"START RequestId: {result['id']}" in log


def test_one_warm_worker_is_used_again(make: Callable[..., Lambdas]) -> None:
    lambdas = make()
    lambdas.warm()
    assert lambdas.invoke(ARN, {}).result["pid"] == lambdas.invoke(ARN, {}).result["pid"]


def test_more_workers_when_busy(make: Callable[..., Lambdas]) -> None:
    lambdas = make(workers=2)
    lambdas.warm()
    slow = threading.Thread(target=lambdas.invoke, args=(ARN, {"do": "sleep", "seconds": 2}))
    slow.start()
    time.sleep(0.1)
    started = time.monotonic()
    assert lambdas.invoke(ARN, {}).result
    assert time.monotonic() - started < 1.9
    slow.join()


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ({"do": "raise"}, "ValueError"),
        ({"do": "sleep", "seconds": 30}, "Sandbox.Timedout"),
        ({"do": "exit"}, "Runtime.ExitError"),
        ({"do": "big"}, "ResponseTooLarge"),
        ({"do": "odd"}, "TypeError"),
    ],
)
def test_failures(make: Callable[..., Lambdas], event: dict[str, Any], kind: str) -> None:
    lambdas = make(timeout=1.0)
    lambdas.warm()
    outcome = lambdas.invoke(ARN, event)
    assert outcome.error
    assert outcome.error["errorType"] == kind
    assert lambdas.invoke(ARN, {}).result


def test_function_that_cannot_be_loaded(make: Callable[..., Lambdas]) -> None:
    (error,) = make(code="import no_such_module").warm()
    assert "no_such_module" in error


def test_background_invocation_is_tried_again_and_then_sent_to_its_queue(
    make: Callable[..., Lambdas], sent: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.05)
    lambdas = make(retries=2, on_failure="arn:queue")
    lambdas.warm()
    event = {"do": "count", "file": str(tmp_path / "count")}
    lambdas.invoke_later(ARN, event)
    deadline = time.monotonic() + 10
    while not sent:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert (tmp_path / "count").read_text() == "xxx"
    ((queue, record),) = sent
    assert queue == "arn:queue"
    assert record["requestPayload"] == event
    assert record["requestContext"]["condition"] == "RetriesExhausted"
    assert record["requestContext"]["approximateInvokeCount"] == 3
    assert record["responsePayload"]["errorType"] == "ValueError"


def test_next_batch_does_not_wait_for_one_that_is_held_up(
    make: Callable[..., Lambdas], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "ORDER_SECONDS", 60)
    monkeypatch.setattr(module, "RETRY_SECONDS", 600)
    lambdas = make(timeout=60.0)
    lambdas.warm()
    counted = tmp_path / "count"
    for number in range(1, 4):
        lambdas.invoke_in_order(ARN, {"do": "count", "file": str(counted)})
        assert counted.read_text() == "x" * number, "it is done before the next one"
    monkeypatch.setattr(module, "ORDER_SECONDS", 0.05)
    lambdas.invoke_in_order(ARN, {"do": "sleep", "seconds": 50})
    assert lambdas.invoke(ARN, {}).result


def test_record_that_is_too_large_for_its_queue_is_dropped(
    make: Callable[..., Lambdas], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Lambda does it; the largest that fits is kept."""
    monkeypatch.setenv("MOTO_ACCOUNT_ID", ACCOUNT)
    with mock_aws():
        sqs = boto3.client("sqs", region_name=REGION)
        url = sqs.create_queue(QueueName="failed", Attributes={"MaximumMessageSize": "4096"})["QueueUrl"]
        told: list[str] = []
        queue = f"arn:aws:sqs:{REGION}:{ACCOUNT}:failed"
        lambdas = make(send=send_to_queue, tell=told.append, retries=0, on_failure=queue)
        lambdas.warm()
        lambdas.invoke_in_order(ARN, {"do": "raise", "lines": "x" * 1000})
        lambdas.invoke_in_order(ARN, {"do": "raise", "lines": "x" * 5000})
        kept = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    assert len(kept) == 1
    assert [line for line in told if "DestinationDeliveryFailures" in line and "4096" in line]

"""Each function's handler answers each of its event files the way events/README.md says, against moto."""

import importlib
import json
from typing import Any

import pytest

from scripts.events import BUILD, SITES_URL, TASK, Case, cases, set_up
from tests.context import context
from tests.fakes import FakeConnections, FakeEcs
from tidegate import aws, builds, logs, slots
from tidegate.events import parse_started_by

CONTEXT = context("function")


def handle(case: Case) -> Any:
    app = importlib.import_module(f"functions.{case.function.replace('-', '_')}.app")
    return app.handler(case.event(), CONTEXT)


def of(*functions: str) -> Any:
    return pytest.mark.parametrize("case", [case for case in cases() if case.function in functions], ids=str)


@pytest.fixture(autouse=True)
def world(ecs: FakeEcs, set_environment: Any) -> None:
    set_environment("SITES_URL", SITES_URL)
    set_up()


def outcome(build_id: str) -> str:
    build = builds.get(build_id)
    if build is None:
        return "nothing"
    attempt = f", attempt {build.attempt}" if build.attempt > 1 else ""
    return build.status + (f" {build.failure.code}" if build.failure else "") + attempt


@of("api")
def test_api(case: Case) -> None:
    answer = handle(case)
    status, _, code = case.answer.partition(" ")
    assert str(answer["statusCode"]) == status
    assert code in answer["body"]


@of("sites")
def test_sites(case: Case) -> None:
    assert str(handle(case)["statusCode"]) == case.answer


@of("task-state-change")
def test_task_state_change(case: Case) -> None:
    started_by = parse_started_by(case.event()["detail"].get("startedBy"))
    handle(case)
    assert (outcome(started_by[0]) if started_by else "nothing") == case.answer


@of("log-forwarder")
def test_log_forwarder(case: Case) -> None:
    handle(case)
    lines = len(logs.read([TASK], None, 100).lines)
    assert (f"{lines} lines" if lines else "nothing") == case.answer


@of("viewers")
def test_viewers(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    connections = FakeConnections()
    monkeypatch.setattr(aws, "connections", lambda: connections)
    for name in ("first", "next", "last"):
        handle(Case("log-forwarder", f"log-forwarder-{name}-batch", ""))
    answer = handle(case)
    frames = connections.frames.get(case.event()["requestContext"]["connectionId"], [])
    assert f"{answer['statusCode']} {told(frames)}" == case.answer
    subscriptions = aws.dynamodb().scan(TableName="ConnectionsTable")["Items"]
    assert bool(subscriptions) == case.answer.endswith(" lines")


def told(frames: list[dict[str, Any]]) -> str:
    if not frames:
        return "nothing"
    [frame] = frames
    if frame["type"] == "error":
        fields = ", ".join(sorted(error["field"] for error in frame.get("errors", [])))
        return f"{frame['code']} {fields}".strip()
    return f"{len(frame['lines'])} lines" if frame["type"] == "lines" else str(frame["type"])


def test_event_holds_the_cursor_after_the_first_batch() -> None:
    handle(Case("log-forwarder", "log-forwarder-first-batch", ""))
    event = Case("viewers", "viewers-subscribe-cursor", "").event()
    assert json.loads(event["body"])["cursor"] == logs.read([TASK], None, 100).cursor


def test_disconnect_forgets_what_the_connection_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aws, "connections", FakeConnections)
    for name in ("connect", "subscribe", "disconnect"):
        handle(Case("viewers", f"viewers-{name}", ""))
    assert aws.dynamodb().scan(TableName="ConnectionsTable")["Items"] == []


@of("reconciler")
def test_reconciler(case: Case) -> None:
    slots.acquire(BUILD.id)
    handle(case)
    assert outcome(BUILD.id) == case.answer


def test_log_is_whole_and_in_order_however_batches_come() -> None:
    batches = {case.name.removeprefix("log-forwarder-"): case for case in cases() if case.function == "log-forwarder"}
    for name in ("last-batch", "overlapping", "redelivered", "next-batch", "first-batch", "control-message"):
        handle(batches[name])
    lines = logs.read([TASK], None, 100).lines
    assert [line.message for line in lines[:2]] == [
        "Cloning https://git.example.com/you/site.git",
        "Cloned main at 4b825dc642cb6eb9a060e54bf8d69288fbee4904 in 0.8 s",
    ]
    assert len(lines) == 13
    assert lines[-1].message == "Done: callous-tender-dog is built"

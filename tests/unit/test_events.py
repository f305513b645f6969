"""The event files: named in their README, told in one story, and read by Powertools' data classes."""

import json
import re
from datetime import UTC, datetime

import pytest
from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEventV2, CloudWatchLogsEvent, EventBridgeEvent

from scripts.events import BUILD, FOLDER, PROJECT, SECOND_BUILD, TASK, UNKNOWN_BUILD, cases
from tidegate.events import task_of

CASES = {case.name: case for case in cases()}
ACCOUNT = "123456789012"


def of(function):
    return [case for case in CASES.values() if case.function == function]


def detail(case):
    return EventBridgeEvent(case.event()).detail


def lines(name):
    return CloudWatchLogsEvent(CASES[name].event()).parse_logs_data().log_events


def test_readme_names_every_file_and_no_other():
    assert sorted(CASES) == sorted(path.stem for path in FOLDER.glob("*.json"))


@pytest.mark.parametrize("name", CASES)
def test_is_plain_json_without_secrets(name):
    text = CASES[name].path.read_text(encoding="utf-8")
    assert text == json.dumps(json.loads(text), indent=2, ensure_ascii=False) + "\n"
    assert {*re.findall(r"\b\d{12}\b", text)} <= {ACCOUNT}
    assert not re.search(r"(AKIA|ASIA)[0-9A-Z]{16}|X-Amz-Security-Token", text)


@pytest.mark.parametrize("case", of("api"), ids=str)
def test_request_is_of_payload_2(case):
    event = APIGatewayProxyEventV2(case.event())
    assert event.version == "2.0"
    assert event.path == event.raw_path == event.request_context.http.path
    assert event.request_context.account_id == ACCOUNT
    assert all(name == name.lower() for name in event.headers)
    if event.body:
        assert int(event.headers["content-length"]) == len(event.decoded_body.encode())


@pytest.mark.parametrize("case", of("task-state-change"), ids=str)
def test_task_event_is_whole(case):
    event = EventBridgeEvent(case.event())
    assert (event.source, event.detail_type, event.account) == ("aws.ecs", "ECS Task State Change", ACCOUNT)
    arn = event.detail["taskArn"]
    assert event.resources == [arn]
    assert {container["taskArn"] for container in event.detail["containers"]} == {arn}
    assert "builder" in {container["name"] for container in event.detail["containers"]}
    assert event.detail["updatedAt"][:19] == event.time[:19]
    times = [event.detail[key] for key in ("createdAt", "startedAt", "stoppingAt", "stoppedAt") if key in event.detail]
    assert times == sorted(times)


@pytest.mark.parametrize("case", of("task-state-change"), ids=str)
def test_task_event_belongs_to_a_build_of_the_story(case):
    task = task_of(detail(case), "builder")
    if case.name.endswith(("started-by-somebody-else", "without-started-by")):
        assert task is None
        return
    assert task.build_id in {BUILD.id, SECOND_BUILD.id, UNKNOWN_BUILD}
    overrides = detail(case)["overrides"]["containerOverrides"][0]["environment"]
    assert {"name": "BUILD_ID", "value": task.build_id} in overrides
    if task.build_id == BUILD.id:
        assert (task.id, task.attempt) == (TASK, 1)
        assert {"name": "PROJECT_ID", "value": PROJECT.slug} in overrides


@pytest.mark.parametrize("case", of("log-forwarder"), ids=str)
def test_batch_is_of_the_builders_stream(case):
    batch = CloudWatchLogsEvent(case.event()).parse_logs_data()
    if batch.message_type == "CONTROL_MESSAGE":
        assert (batch.owner, batch.log_stream) == ("CloudwatchLogs", "")
        return
    assert batch.log_stream == f"build/builder/{TASK}"
    ids = [line.get_id for line in batch.log_events]
    assert all(len(id_) == 56 for id_ in ids)
    assert ids == sorted(set(ids))


def test_batches_overlap_as_they_say():
    first, second = lines("log-forwarder-first-batch"), lines("log-forwarder-next-batch")
    assert lines("log-forwarder-redelivered") == first
    assert lines("log-forwarder-overlapping") == first[3:] + second
    assert second[0].get_id > first[-1].get_id


def test_scheduler_ticks():
    event = EventBridgeEvent(CASES["reconciler-tick"].event())
    assert (event.source, event.detail_type) == ("aws.scheduler", "Scheduled Event")
    assert datetime.fromisoformat(event.time) > BUILD.created_at.astimezone(UTC)

"""Logs made whole against moto's DynamoDB and a CloudWatch that is told what to show."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from msgspec.structs import replace

from scripts.events import BUILD, TASK, cases, set_up
from tests.fakes import FakeEcs, client_error
from tests.integration.test_logs import batch, event_id
from tidegate import aws, builds, chunks, logs, notes, sealing
from tidegate.model import Task

NOW = datetime(2026, 11, 21, 7, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
CLOSING = "==> Ready: 3 files in 2.0 s"
EVENTS = {case.name.removeprefix("task-state-change-"): case.event() for case in cases()}


class FakeCloudWatch:
    """FilterLogEvents over the lines of one stream, some a page; `fault` is raised after the pages before it."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.page = 4
        self.fault: tuple[int, Exception] | None = None
        self.asked: list[dict[str, Any]] = []

    def get_paginator(self, name: str) -> "FakeCloudWatch":
        assert name == "filter_log_events"
        return self

    def paginate(self, **wanted: Any) -> Iterator[dict[str, Any]]:
        self.asked.append(wanted)
        events = [
            {"eventId": event_id(number), "timestamp": number, "message": line}
            for number, line in enumerate(self.lines)
            if number >= wanted["startTime"]
        ]
        for number, start in enumerate(range(0, len(events) + 1, self.page)):
            if self.fault and number == self.fault[0]:
                raise self.fault[1]
            yield {"events": events[start : start + self.page]}


@pytest.fixture
def cloudwatch(ecs: FakeEcs, monkeypatch: pytest.MonkeyPatch) -> FakeCloudWatch:
    fake = FakeCloudWatch()
    monkeypatch.setattr(aws, "logs", lambda: fake)
    return fake


def ended() -> Task:
    arn = f"arn:aws:ecs:x:1:task/builds/{TASK}"
    return Task(arn=arn, build_id=BUILD.id, attempt=1, version=5, last_status="STOPPED")


def close() -> None:
    """Let the build be done with its task."""
    build = builds.get(BUILD.id)
    assert build
    assert builds.save(build, replace(build, open=None), NOW)


def raising(error: Exception) -> Any:
    raise error


def stored() -> list[str]:
    return [line.message for line in logs.read([TASK], None, 5000).lines]


def deliver(cloudwatch: FakeCloudWatch, *numbers: int) -> None:
    chunks.put(batch([(number, cloudwatch.lines[number]) for number in numbers]), NOW)


def test_what_the_subscription_missed_is_fetched_and_the_log_sealed(cloudwatch: FakeCloudWatch) -> None:
    cloudwatch.lines = [*(f"line {number}" for number in range(9)), CLOSING]
    deliver(cloudwatch, 0, 1, 2)
    deliver(cloudwatch, 6, 7)
    sealing.see_end(ended(), NOW)
    assert stored() == cloudwatch.lines
    assert notes.get_seal(TASK) == notes.Seal(10)
    [asked] = cloudwatch.asked
    assert asked == {
        "logGroupName": "/tidegate/builder",
        "logStreamNames": [f"build/builder/{TASK}"],
        "startTime": 0,
    }
    deliver(cloudwatch, 3, 4, 5, 6)
    assert stored() == cloudwatch.lines, "a delivery that comes after all changes nothing"
    sealing.see_end(ended(), NOW)
    assert len(cloudwatch.asked) == 1, "a sealed log is not compared for each event"


def test_filled_gaps_are_read_in_their_place(cloudwatch: FakeCloudWatch) -> None:
    cloudwatch.lines = [*(f"line {number}" for number in range(9)), CLOSING]
    cloudwatch.page = 100
    deliver(cloudwatch, 2, 3)
    deliver(cloudwatch, 6, 7)
    sealing.see_end(ended(), NOW)
    read: list[str] = []
    page = logs.read([TASK], None, 3)
    while page.lines:
        read += [line.message for line in page.lines]
        page = logs.read([TASK], page.cursor, 3)
    assert read == cloudwatch.lines


def test_nothing_missing_writes_no_lines(cloudwatch: FakeCloudWatch) -> None:
    cloudwatch.lines = ["one", CLOSING]
    deliver(cloudwatch, 0, 1)
    before = len(list(chunks.read(TASK)))
    sealing.see_end(ended(), NOW)
    assert len(list(chunks.read(TASK))) == before


def test_whose_log_it_is_is_known_from_the_first_line_to_after_the_seal(cloudwatch: FakeCloudWatch) -> None:
    set_up()
    mine = notes.Origin(BUILD.id, BUILD.project_slug)
    assert notes.origin(TASK) is None
    notes.name_task(TASK, BUILD.id, BUILD.project_slug, NOW)
    assert notes.origin(TASK) == mine
    cloudwatch.lines = ["one", CLOSING]
    sealing.see_end(ended(), NOW)
    assert notes.origin(TASK) == mine
    close()
    sealing.sweep(NOW + MINUTE)
    assert (notes.watches(), notes.get_seal(TASK), notes.origin(TASK)) == ([], notes.Seal(2), mine)


def test_a_task_that_was_never_named_is_when_it_ends(cloudwatch: FakeCloudWatch) -> None:
    set_up()
    cloudwatch.lines = ["one", CLOSING]
    sealing.see_end(ended(), NOW)
    assert notes.watches() == [notes.Watch(TASK, BUILD.id, BUILD.project_slug)]
    assert notes.origin(TASK) == notes.Origin(BUILD.id, BUILD.project_slug)


def test_a_log_whose_end_failed_half_way_is_still_looked_at(
    cloudwatch: FakeCloudWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloudwatch.lines = ["one"]
    with monkeypatch.context() as patch:
        patch.setattr(chunks, "stored_ids", lambda _: raising(client_error("InternalServerError", "oh", "Query")))
        with pytest.raises(ClientError):
            sealing.see_end(ended(), NOW)
    for minute in (1, 2):
        sealing.sweep(NOW + minute * MINUTE)
    assert (stored(), notes.get_seal(TASK)) == (cloudwatch.lines, notes.Seal(1))


def test_a_task_that_the_index_does_not_show_yet_is_left_alone(
    cloudwatch: FakeCloudWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up()
    notes.name_task(TASK, BUILD.id, BUILD.project_slug, NOW)
    monkeypatch.setattr(builds, "open_builds", list)
    sealing.sweep(NOW)
    assert cloudwatch.asked == []
    assert notes.watches() == [notes.Watch(TASK, BUILD.id, BUILD.project_slug)]
    close()
    sealing.sweep(NOW + MINUTE)
    assert len(cloudwatch.asked) == 1


def test_a_log_without_the_builders_last_line_is_sealed_when_two_looks_agree(cloudwatch: FakeCloudWatch) -> None:
    cloudwatch.lines = ["one"]
    sealing.see_end(ended(), NOW)
    assert notes.get_seal(TASK) is None
    cloudwatch.lines += ["two"]
    sealing.sweep(NOW + MINUTE)
    assert (stored(), notes.get_seal(TASK)) == (["one", "two"], None)
    sealing.sweep(NOW + MINUTE + timedelta(seconds=5))
    assert notes.get_seal(TASK) is None, "too soon after the last look"
    sealing.sweep(NOW + 2 * MINUTE)
    assert notes.get_seal(TASK) == notes.Seal(2)
    assert notes.watches() == []


def test_a_sweep_right_after_the_seal_leaves_the_second_look_to_the_next(cloudwatch: FakeCloudWatch) -> None:
    cloudwatch.lines = ["one", CLOSING]
    sealing.see_end(ended(), NOW)
    before = notes.watches()
    sealing.sweep(NOW + timedelta(seconds=3))
    assert (len(cloudwatch.asked), notes.watches()) == (1, before)
    cloudwatch.lines += ["a late word"]
    for minute in (1, 2):
        sealing.sweep(NOW + minute * MINUTE)
    assert (stored(), notes.get_seal(TASK), notes.watches()) == (cloudwatch.lines, notes.Seal(3), [])


def test_a_sweep_right_after_an_end_without_a_seal_looks_at_once(cloudwatch: FakeCloudWatch) -> None:
    cloudwatch.lines = ["one"]
    sealing.see_end(ended(), NOW)
    cloudwatch.lines += [CLOSING]
    sealing.sweep(NOW + timedelta(seconds=3))
    assert notes.get_seal(TASK) == notes.Seal(2)


def test_lines_after_the_seal_are_kept_and_counted(cloudwatch: FakeCloudWatch) -> None:
    cloudwatch.lines = ["one", CLOSING]
    sealing.see_end(ended(), NOW)
    cloudwatch.lines += ["a late word"]
    sealing.sweep(NOW + MINUTE)
    sealing.sweep(NOW + 2 * MINUTE)
    assert stored() == cloudwatch.lines
    assert notes.get_seal(TASK) == notes.Seal(3)
    assert notes.watches() == []


def test_a_fault_of_cloudwatch_is_made_good_later(cloudwatch: FakeCloudWatch) -> None:
    cloudwatch.lines = [*(f"line {number}" for number in range(9)), CLOSING]
    cloudwatch.fault = (1, client_error("ThrottlingException", "slow down", "FilterLogEvents"))
    sealing.see_end(ended(), NOW)
    assert (len(stored()), notes.get_seal(TASK)) == (4, None)
    cloudwatch.fault = None
    sealing.sweep(NOW + MINUTE)
    assert cloudwatch.asked[-1]["startTime"] == 3, "it goes on where it stood"
    assert stored() == cloudwatch.lines
    assert notes.get_seal(TASK) == notes.Seal(10)
    sealing.sweep(NOW + 2 * MINUTE)
    sealing.sweep(NOW + 3 * MINUTE)
    assert notes.watches() == []


def test_while_cloudwatch_is_away_a_sweep_tries_one_log_and_the_next_another(cloudwatch: FakeCloudWatch) -> None:
    for number in range(3):
        notes.watch(notes.Watch(f"{number:032x}", ended_at=NOW), NOW)
    cloudwatch.fault = 0, ReadTimeoutError(endpoint_url="https://logs.example.com")
    for minute in range(1, 4):
        sealing.sweep(NOW + minute * MINUTE)
    tasks = [asked["logStreamNames"][0].rpartition("/")[2] for asked in cloudwatch.asked]
    assert sorted(tasks) == [f"{number:032x}" for number in range(3)]


def test_a_sweep_without_time_looks_at_no_log(cloudwatch: FakeCloudWatch) -> None:
    cloudwatch.lines = [f"line {number}" for number in range(9)]
    sealing.see_end(ended(), NOW)
    cloudwatch.asked.clear()
    with pytest.raises(ExceptionGroup, match="not sealed"):
        sealing.sweep(NOW + MINUTE, lambda: aws.LONGEST_CALL - 1)
    assert cloudwatch.asked == []
    left = iter([aws.LONGEST_CALL, aws.LONGEST_CALL, 0.0])
    sealing.sweep(NOW + MINUTE, lambda: next(left))
    assert (len(stored()), notes.get_seal(TASK)) == (9, None), "the third page had to wait"
    sealing.sweep(NOW + 2 * MINUTE)
    assert notes.get_seal(TASK) is None, "two looks at the whole"
    told: list[str] = []
    sealing.sweep(NOW + 3 * MINUTE, tell=told.append)
    assert (notes.get_seal(TASK), told) == (notes.Seal(9), [BUILD.id])


def test_a_gap_that_cannot_be_filled_is_shown(cloudwatch: FakeCloudWatch) -> None:
    cloudwatch.lines = [f"line {number}" for number in range(9)]
    cloudwatch.fault = (1, client_error("AccessDeniedException", "no", "FilterLogEvents"))
    sealing.see_end(ended(), NOW)
    cloudwatch.fault = (0, cloudwatch.fault[1])
    sealing.sweep(NOW + MINUTE)
    assert notes.get_seal(TASK) is None
    sealing.sweep(NOW + 20 * MINUTE)
    assert notes.get_seal(TASK) == notes.Seal(4, event_id(3), "CloudWatch did not show the rest of the log")
    assert notes.watches() == []


def test_a_very_long_log_is_read_in_parts(cloudwatch: FakeCloudWatch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "_PAGES", 2)
    cloudwatch.lines = [*(f"line {number}" for number in range(30)), CLOSING]
    sealing.see_end(ended(), NOW)
    assert (len(stored()), notes.get_seal(TASK)) == (8, None)
    for minute in range(1, 10):
        sealing.sweep(NOW + minute * MINUTE)
    assert stored() == cloudwatch.lines
    assert notes.get_seal(TASK) == notes.Seal(31)
    assert notes.watches() == []


def test_the_sweep_finds_tasks_whose_end_nobody_told(cloudwatch: FakeCloudWatch) -> None:
    build = set_up() or BUILD
    cloudwatch.lines = ["one"]
    sealing.sweep(NOW)
    sealing.sweep(NOW + MINUTE)
    assert cloudwatch.asked == [], "a task that runs is left alone"
    [watch] = notes.watches()
    assert watch.task_id == TASK
    aws.dynamodb().delete_item(TableName="BuildsTable", Key={"id": {"S": build.id}})
    for minute in (2, 3):
        sealing.sweep(NOW + minute * MINUTE)
    assert notes.get_seal(TASK) == notes.Seal(1)


def test_a_task_without_a_stream_has_an_empty_log(cloudwatch: FakeCloudWatch) -> None:
    cloudwatch.fault = (0, client_error("ResourceNotFoundException", "no stream", "FilterLogEvents"))
    sealing.see_end(ended(), NOW)
    sealing.sweep(NOW + MINUTE)
    assert notes.get_seal(TASK) == notes.Seal(0)


@given(st.data())
@hypothesis_settings(
    deadline=None, max_examples=25, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_losses_are_made_good(cloudwatch: FakeCloudWatch, data: st.DataObject) -> None:
    for item in aws.dynamodb().scan(TableName="LogsTable")["Items"]:
        aws.dynamodb().delete_item(TableName="LogsTable", Key={name: item[name] for name in ("taskId", "firstEventId")})
    total = data.draw(st.integers(0, 40))
    cloudwatch.lines = [f"line {number}" for number in range(total)]
    cloudwatch.page = data.draw(st.integers(2, 12))
    numbers = st.lists(st.integers(0, total - 1), max_size=12) if total else st.just([])
    for some in data.draw(st.lists(numbers, max_size=6)):
        deliver(cloudwatch, *some)
    sealing.see_end(ended(), NOW)
    for some in data.draw(st.lists(numbers, max_size=3)):
        deliver(cloudwatch, *some)
    sealing.sweep(NOW + MINUTE)
    assert stored() == cloudwatch.lines
    assert notes.get_seal(TASK) == notes.Seal(total)

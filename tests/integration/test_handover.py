"""With a log sink: what the subscription missed is handed to the log forwarder, once and in CloudWatch's own shape."""

import base64
import gzip
import json
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from scripts.events import TASK
from tests.fakes import client_error
from tests.integration.test_logs import event_id
from tests.integration.test_sealing import CLOSING, MINUTE, NOW, FakeCloudWatch, cloudwatch, deliver, ended, stored
from tidegate import aws, batches, chunks, notes, sealing, subscription
from tidegate.model import LogLine

__all__ = ["cloudwatch"]  # the fixture

ARN = "arn:aws:lambda:eu-central-1:123456789012:function:log-forwarder"


class FakeLambda:
    """Takes asynchronous invocations; `fault` is raised instead."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.fault: Exception | None = None

    def invoke(self, **wanted: Any) -> dict[str, Any]:
        assert (wanted["FunctionName"], wanted["InvocationType"]) == (ARN, "Event")
        if self.fault:
            raise self.fault
        self.events.append(json.loads(wanted["Payload"]))
        assert len(wanted["Payload"]) < 1_000_000
        return {"StatusCode": 202}

    def lines(self) -> list[str]:
        """The lines of all deliveries, in the order in which they were handed over."""
        bodies = [batches.inflate(batches.unpack(each["awslogs"]["data"])) for each in self.events]
        return [event.message for body in bodies for event in batches.decode(body).log_events]


@pytest.fixture
def functions(cloudwatch: FakeCloudWatch, set_environment: Any, monkeypatch: pytest.MonkeyPatch) -> FakeLambda:
    fake = FakeLambda()
    monkeypatch.setattr(aws, "functions", lambda: fake)
    set_environment("LOG_FORWARDER", ARN)
    return fake


def sweep(*minutes: int) -> None:
    for minute in minutes:
        sealing.sweep(NOW + minute * MINUTE)


def test_missed_lines_are_handed_over_once(cloudwatch: FakeCloudWatch, functions: FakeLambda) -> None:
    cloudwatch.lines = [*(f"line {number}" for number in range(9)), CLOSING]
    deliver(cloudwatch, 0, 1, 2)
    sealing.see_end(ended(), NOW)
    assert stored() == cloudwatch.lines
    assert functions.events == [], "the subscription may still deliver them"
    deliver(cloudwatch, 6, 7, 8, 9)
    sweep(1, 2)
    assert functions.lines() == ["line 3", "line 4", "line 5"]
    assert notes.watches() == []


def test_a_delivery_is_as_cloudwatch_makes_it(cloudwatch: FakeCloudWatch, functions: FakeLambda) -> None:
    cloudwatch.lines = ["\x1b[32m✓\x1b[0m one", "", CLOSING]
    sealing.see_end(ended(), NOW)
    sweep(1)
    [event] = functions.events
    data = event["awslogs"]["data"]
    assert json.loads(gzip.decompress(base64.b64decode(data))) == {
        "messageType": "DATA_MESSAGE",
        "owner": "123456789012",
        "logGroup": "/tidegate/builder",
        "logStream": f"build/builder/{TASK}",
        "subscriptionFilters": ["missed lines"],
        "logEvents": [
            {"id": event_id(number), "timestamp": number, "message": line}
            for number, line in enumerate(cloudwatch.lines)
        ],
    }
    before = stored()
    assert chunks.store(data, NOW).lines == 3
    assert stored() == before
    assert chunks.fetched_lines(TASK) == [], "the forwarder has them now"


def test_nothing_missed_is_no_delivery(cloudwatch: FakeCloudWatch, functions: FakeLambda) -> None:
    cloudwatch.lines = ["one", CLOSING]
    deliver(cloudwatch, 0, 1)
    sealing.see_end(ended(), NOW)
    sweep(1, 2)
    assert (functions.events, notes.watches()) == ([], [])


def test_without_a_sink_nothing_is_handed_over(
    cloudwatch: FakeCloudWatch, functions: FakeLambda, set_environment: Any
) -> None:
    set_environment("LOG_FORWARDER", "")
    cloudwatch.lines = ["one", CLOSING]
    sealing.see_end(ended(), NOW)
    sweep(1, 2)
    assert (functions.events, notes.watches()) == ([], [])


def test_what_cannot_be_handed_over_is_stored_and_sealed_all_the_same_and_tried_each_minute(
    cloudwatch: FakeCloudWatch, functions: FakeLambda
) -> None:
    cloudwatch.lines = ["one", CLOSING]
    functions.fault = client_error("TooManyRequestsException", "slow down", "Invoke")
    sealing.see_end(ended(), NOW)
    for minute in (1, 2, 3):
        with pytest.raises(ExceptionGroup):
            sweep(minute)
    assert (stored(), notes.get_seal(TASK)) == (cloudwatch.lines, notes.Seal(2))
    functions.fault = None
    sweep(4, 5)
    assert functions.lines() == cloudwatch.lines
    assert notes.watches() == []


def test_lines_before_a_gap_are_handed_over_when_cloudwatch_is_given_up(
    cloudwatch: FakeCloudWatch, functions: FakeLambda
) -> None:
    cloudwatch.lines = [f"line {number}" for number in range(9)]
    cloudwatch.fault = (1, client_error("AccessDeniedException", "no", "FilterLogEvents"))
    sealing.see_end(ended(), NOW)
    cloudwatch.fault = (0, cloudwatch.fault[1])
    sweep(1)
    assert functions.events == []
    sweep(20)
    assert functions.lines() == cloudwatch.lines[:4]


def test_deliveries_fit_into_what_lambda_and_the_queue_take(functions: FakeLambda) -> None:
    chance = random.Random(7)
    lines = [LogLine(event_id(number), number, chance.randbytes(3_000).hex()) for number in range(200)]
    subscription.deliver("build/builder/x", lines)
    assert len(functions.events) > 3
    assert max(len(event["awslogs"]["data"]) for event in functions.events) <= subscription.MOST_DATA
    assert functions.lines() == [line.message for line in lines]
    functions.events.clear()
    longest = base64.b64encode(chance.randbytes(batches.MAX_LINE_BYTES // 2)).decode()
    subscription.deliver("build/builder/x", [LogLine(event_id(1), 1, longest), LogLine(event_id(2), 2, "short")])
    assert functions.lines() == [longest, "short"]
    functions.events.clear()
    longest = base64.b64encode(chance.randbytes(batches.MAX_LINE_BYTES // 4 * 3)).decode()
    subscription.deliver("build/builder/x", [LogLine(event_id(1), 1, longest), LogLine(event_id(2), 2, "short")])
    assert max(len(event["awslogs"]["data"]) for event in functions.events) < 1_000_000
    cut, short = functions.lines()
    assert (cut[:400_000], short) == (longest[:400_000], "short")
    assert cut.endswith("[cut by Tidegate: the line has 1048576 bytes]")


@given(st.data())
@hypothesis_settings(
    deadline=None, max_examples=25, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_forwarder_gets_every_line(cloudwatch: FakeCloudWatch, functions: FakeLambda, data: st.DataObject) -> None:
    """Whatever was delivered before and after the task's end: all lines come to the forwarder, few of them twice."""
    for item in aws.dynamodb().scan(TableName="LogsTable")["Items"]:
        aws.dynamodb().delete_item(TableName="LogsTable", Key={name: item[name] for name in ("taskId", "firstEventId")})
    functions.events.clear()
    total = data.draw(st.integers(1, 40))
    cloudwatch.lines = [f"line {number}" for number in range(total)]
    cloudwatch.page = data.draw(st.integers(2, 12))
    numbers = st.lists(st.integers(0, total - 1), max_size=12)
    delivered: set[int] = set()
    for some in data.draw(st.lists(numbers, max_size=6)):
        deliver(cloudwatch, *some)
        delivered.update(some)
    sealing.see_end(ended(), NOW)
    for some in data.draw(st.lists(numbers, max_size=3)):
        deliver(cloudwatch, *some)
        delivered.update(some)
    sweep(1, 2)
    assert sorted(functions.lines()) == sorted(
        line for number, line in enumerate(cloudwatch.lines) if number not in delivered
    )
    assert stored() == cloudwatch.lines
    assert notes.watches() == []

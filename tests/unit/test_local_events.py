"""Local EventBridge, Scheduler and the misbehaving mode."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from local.chaos import CALM, Batches, Chaos, parse
from local.events import Bus, Rule, Schedule, Target, seconds_of
from local.timers import Timers

EVENTS = Path(__file__).parents[2] / "events"
STOPPED = json.loads((EVENTS / "task-state-change-stopped-ok.json").read_text())
PATTERN = {
    "source": ["aws.ecs"],
    "detail-type": ["ECS Task State Change"],
    "detail": {"clusterArn": [STOPPED["detail"]["clusterArn"]], "group": ["family:tidegate-builder"]},
}
ARN = "arn:aws:scheduler:us-east-1:123456789012:schedule/default/tidegate-reconciler"


def bus(invoked: list[Any], chaos: Chaos = CALM, schedules: tuple[Schedule, ...] = ()) -> tuple[Bus, Timers]:
    timers = Timers(2)
    rules = [Rule("tasks", PATTERN, (Target("function"),))]
    return Bus(rules, list(schedules), chaos, timers, lambda *call: invoked.append(call), lambda *_: None), timers


def until(condition: Any) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_rule_gets_its_events_only() -> None:
    invoked: list[Any] = []
    events, timers = bus(invoked)
    events.publish({**STOPPED, "source": "other"})
    events.publish({**STOPPED, "detail": {**STOPPED["detail"], "group": "service:x"}})
    events.publish(STOPPED)
    until(lambda: invoked)
    time.sleep(0.05)
    assert invoked == [("function", STOPPED)]
    timers.close()


def test_schedule_sends_the_event_of_the_scheduler() -> None:
    invoked: list[Any] = []
    recorded = json.loads((EVENTS / "reconciler-tick.json").read_text())
    events, timers = bus(invoked, schedules=(Schedule("s", ARN, 0.05, Target("reconciler")),))
    events.start_clock()
    until(lambda: len(invoked) >= 3)
    timers.close()
    arn, event = invoked[0]
    assert arn == "reconciler"
    changing = {"id", "time"}
    assert event.keys() == recorded.keys()
    assert {key: event[key] for key in event.keys() - changing} == {
        key: recorded[key] for key in event.keys() - changing
    }


def test_chaos_is_the_same_for_the_same_seed() -> None:
    keys = [f"{task}/{version}" for task in range(50) for version in range(6)]
    one, same, other = (Chaos(seed, drop=0.3, double=0.3, delay=0.5) for seed in (1, 1, 2))
    plan = [one.deliveries(key) for key in keys]
    assert plan == [same.deliveries(key) for key in keys]
    assert plan != [other.deliveries(key) for key in keys]
    assert {len(deliveries) for deliveries in plan} == {0, 1, 2}
    assert [CALM.deliveries(key) for key in keys] == [[0.0]] * len(keys)


def test_log_batches_come_in_order_in_a_calm_network() -> None:
    waited: list[Any] = []
    timers = Timers(1)
    batches = Batches(CALM, timers, lambda *call: waited.append(call), lambda *_: pytest.fail("not in order"))
    for number in range(5):
        batches.deliver("forwarder", number)
    timers.close()
    assert waited == [("forwarder", number) for number in range(5)]


def test_log_batches_are_doubled_dropped_and_late_in_a_wild_one() -> None:
    came: list[int] = []
    wild = Chaos(7, drop=0.3, double=0.5, delay=0.5, longest=0.2)
    timers = Timers(4)
    batches = Batches(wild, timers, lambda _, number: came.append(number), lambda _, number: came.append(number))
    for number in range(40):
        batches.deliver("forwarder", number)
    until(lambda: len(came) == sum(len(wild.deliveries(f"batch/{number}")) for number in range(40)))
    timers.close()
    assert 0 < len(set(came)) < 40
    assert len(came) > len(set(came))
    assert came != sorted(came)


def test_chaos_settings() -> None:
    assert parse("") == CALM
    assert parse("7").seed == 7
    assert parse("7").drop > 0
    assert parse("seed=3,drop=1,longest=2") == Chaos(3, drop=1, double=0.3, delay=0.5, longest=2)
    with pytest.raises(ValueError, match="dorp"):
        parse("dorp=1")


def test_rates() -> None:
    assert seconds_of("rate(1 minute)") == 60
    assert seconds_of("rate(2 hours)") == 7200
    with pytest.raises(ValueError, match="cron"):
        seconds_of("cron(0 * * * ? *)")

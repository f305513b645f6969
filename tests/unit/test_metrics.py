"""What is counted: every repair by its kind, every end once, and nothing for what is as it should be."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from tidegate import metrics
from tidegate.decision import CANCELED, decide
from tidegate.diagnosis import diagnose_start
from tidegate.model import Build, Result, Source, Task
from tidegate.observations import (
    CancelAsked,
    Observation,
    Overdue,
    Published,
    QueueFull,
    StartClaimed,
    TaskAccepted,
    TaskLost,
    TaskRefused,
    TaskSeen,
)
from tidegate.status import Status

NOW = datetime(2026, 11, 21, 7, 30, tzinfo=UTC)
AGO = NOW - timedelta(minutes=5)
ARN = "arn:aws:ecs:eu-central-1:123456789012:task/builds/0f3c"
QUEUED = Build(
    id="01JD6Q2V8W3M4N5P6R7S8T9VAB",
    project_slug="callous-tender-dog",
    source=Source("https://git.example.com/you/site.git"),
    created_at=AGO,
    updated_at=AGO,
    deadline=NOW + timedelta(hours=6),
    timeout_seconds=1200,
)
CLAIMED = replace(QUEUED, status=Status.STARTING, claimed=1, starting_at=AGO, deadline=NOW + timedelta(minutes=5))
STARTING = replace(CLAIMED, task_arn=ARN, tasks=(ARN,), task_version=1)
BUILDING = replace(STARTING, status=Status.BUILDING, building_at=AGO, task_version=4)
MISSED = replace(BUILDING, missing_at=AGO)
PUBLISHING = replace(BUILDING, status=Status.PUBLISHING, publishing_at=AGO)
READY = replace(PUBLISHING, status=Status.READY, finished_at=AGO, open=None)
RESULT = Result(build_id=QUEUED.id, attempt=1, ok=True, files=3)


def task(**fields: Any) -> Task:
    stopped: dict[str, Any] = {"last_status": "STOPPED", "version": 6, "stopped_at": NOW - timedelta(minutes=2)}
    return Task(**{"arn": ARN, "build_id": QUEUED.id, "attempt": 1, **stopped, **fields})


RUNNING = task(last_status="RUNNING", version=5, stopped_at=None)
ENDED_WELL = task(exit_code=0, container_status="STOPPED")
UNKNOWN_REASON = task(stopped_reason="The moon was in the way")


def counted(before: Build, seen: Observation, source: str = "reconciler") -> dict[str, dict[str, str]]:
    decision = decide(before, seen)
    found = list(metrics.counts(before, decision.build, decision, seen, source, NOW))
    assert len({name for name, _ in found}) == len(found), "nothing is counted twice"
    return dict(found)


@pytest.mark.parametrize(
    ("before", "seen", "kind"),
    [
        (CLAIMED, StartClaimed(NOW, CLAIMED.revision), "unfinished start"),
        (CLAIMED, TaskSeen(NOW, RUNNING), "lost answer"),
        (BUILDING, TaskSeen(NOW, ENDED_WELL, RESULT), "lost stop"),
        (MISSED, TaskLost(NOW, 1), "lost task"),
        (PUBLISHING, Published(NOW), "stuck publish"),
        (replace(BUILDING, deadline=AGO), Overdue(NOW), "overdue"),
    ],
)
def test_repairs(before: Build, seen: Observation, kind: str) -> None:
    assert counted(before, seen)["Repair"] == {"kind": kind}
    assert "Repair" not in counted(before, seen, "event"), "what an event does is no repair"


@pytest.mark.parametrize(
    ("before", "seen"),
    [
        (QUEUED, StartClaimed(NOW, QUEUED.revision)),
        (CLAIMED, TaskAccepted(NOW, 1, ARN)),
        (replace(CLAIMED, updated_at=NOW), StartClaimed(NOW, CLAIMED.revision)),
        (replace(PUBLISHING, updated_at=NOW), Published(NOW)),
        (BUILDING, TaskSeen(NOW, replace(RUNNING, version=4))),
        (STARTING, TaskSeen(NOW, RUNNING)),
        (BUILDING, TaskSeen(NOW, replace(ENDED_WELL, stopped_at=NOW - timedelta(seconds=20)), RESULT)),
        (BUILDING, TaskSeen(NOW, replace(ENDED_WELL, stopped_at=None), RESULT)),
        (BUILDING, Overdue(NOW)),
        (QUEUED, QueueFull(NOW)),
        (BUILDING, TaskLost(NOW, 1)),
        (READY, TaskLost(NOW, 1)),
    ],
)
def test_what_is_as_it_should_be_is_no_repair(before: Build, seen: Observation) -> None:
    assert "Repair" not in counted(before, seen)


def test_build_ends_once() -> None:
    assert counted(PUBLISHING, Published(NOW), "event") == {"BuildEnded": {"status": "ready", "code": "READY"}}
    failed = replace(READY, status=Status.FAILED, open="open", failure=CANCELED)
    assert counted(failed, TaskSeen(NOW, task()), "event") == {}, "its task was seen stopped, later"


def test_failed_build_says_who_can_mend_it() -> None:
    assert counted(BUILDING, TaskSeen(NOW, task(exit_code=106)), "event") == {
        "BuildEnded": {"status": "failed", "code": "BUILD_FAILED"},
        "BuildFailed": {"blame": "user"},
    }
    assert counted(QUEUED, CancelAsked(NOW, CANCELED), "api") == {
        "BuildEnded": {"status": "canceled", "code": "CANCELED"}
    }


def test_retried_build() -> None:
    lost = counted(MISSED, TaskLost(NOW, 1))
    assert lost == {"BuildRetried": {"code": "TASK_LOST"}, "Repair": {"kind": "lost task"}}


@pytest.mark.parametrize("faults", [0, 2])
def test_unknown_reason_is_counted_whether_or_not_the_build_goes_on(faults: int) -> None:
    found = counted(replace(CLAIMED, faults=faults), TaskSeen(NOW, UNKNOWN_REASON), "event")
    assert found["UnclassifiedReason"] == {}
    assert ("BuildRetried" in found, "BuildEnded" in found) == (faults == 0, faults == 2)


@pytest.mark.parametrize(("code", "name"), [("ThrottlingException", "THROTTLED"), ("Moonshine", "UNCLASSIFIED")])
def test_refusals_are_counted_by_our_code(code: str, name: str) -> None:
    """AWS's own code may be any text, and each would be a metric."""
    diagnosis = diagnose_start(code, "any text")
    found = counted(CLAIMED, TaskRefused(NOW, 1, diagnosis), "api")
    assert found["RunTaskRefused"] == {"code": diagnosis.failure.code}
    assert diagnosis.failure.code == name
    assert ("UnclassifiedReason" in found) == (name == "UNCLASSIFIED")


def test_ignored_events_say_why() -> None:
    late = TaskSeen(NOW, replace(RUNNING, version=2))
    assert counted(BUILDING, late, "event") == {"EventIgnored": {"reason": "an older version"}}
    assert counted(BUILDING, late, "reconciler") == {}, "a sweep looks at every build"
    assert counted(READY, CancelAsked(NOW, CANCELED), "api") == {}


def test_seconds_in_each_state() -> None:
    def at(second: float) -> datetime:
        return AGO + timedelta(seconds=second)

    ready = replace(READY, starting_at=at(2), building_at=at(42.5), publishing_at=at(60), finished_at=at(61))
    assert metrics.seconds(ready) == {
        "WaitingSeconds": 2,
        "StartingSeconds": 40.5,
        "BuildingSeconds": 17.5,
        "PublishingSeconds": 1,
    }
    assert metrics.seconds(replace(QUEUED, finished_at=at(9))) == {"WaitingSeconds": 9}
    skipped = replace(ready, building_at=None)
    assert metrics.seconds(skipped) == {"WaitingSeconds": 2, "StartingSeconds": 58, "PublishingSeconds": 1}
    early = replace(ready, building_at=at(1.5))
    assert metrics.seconds(early)["StartingSeconds"] == 0, "ECS's clock may be behind ours"


def test_sweep() -> None:
    minute = timedelta(minutes=1)
    assert metrics.sweep([], set(), NOW) == {"OpenBuilds": 0, "QueueLength": 0, "OverdueBuilds": 0}
    opened = [
        QUEUED,
        replace(QUEUED, id="claims its slot"),
        replace(BUILDING, deadline=NOW - minute),
        replace(BUILDING, deadline=NOW - 3 * minute),
        replace(READY, status=Status.FAILED, open="open", deadline=AGO, finished_at=NOW - minute),
        replace(READY, status=Status.FAILED, open="open", deadline=AGO, finished_at=NOW - 3 * minute),
    ]
    found = metrics.sweep(opened, {"claims its slot"}, NOW)
    assert found == {"OpenBuilds": 6, "QueueLength": 1, "OverdueBuilds": 2}

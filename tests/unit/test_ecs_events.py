"""ECS's shapes turned into ours: each event file, the builder by its name, and whatever may be missing."""

from datetime import UTC, datetime, timedelta, timezone
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.events import BUILD, SECOND_BUILD, TASK, UNKNOWN_BUILD, Case, cases
from tidegate.events import client_token, parse_started_by, started_by, task_of, time_of

CASES = {case.name.removeprefix("task-state-change-"): case for case in cases() if case.function == "task-state-change"}

# What each file must be read as: task status, builder's status, exit code, stop code, a word of the reason.
READ: dict[str, tuple[str, str, int | None, str | None, str]] = {
    "provisioning": ("PROVISIONING", "PENDING", None, None, ""),
    "pending": ("PENDING", "PENDING", None, None, ""),
    "activating": ("ACTIVATING", "PENDING", None, None, ""),
    "running": ("RUNNING", "RUNNING", None, None, ""),
    "running-with-sidecar": ("RUNNING", "RUNNING", None, None, ""),
    "running-newer-attempt": ("RUNNING", "RUNNING", None, None, ""),
    "spot-notice": ("RUNNING", "RUNNING", None, "SpotInterruption", "spot"),
    "deprovisioning": ("DEPROVISIONING", "STOPPED", 0, "EssentialContainerExited", "essential"),
    "stopped-ok": ("STOPPED", "STOPPED", 0, "EssentialContainerExited", "essential"),
    "stopped-builder-error": ("STOPPED", "STOPPED", 100, "EssentialContainerExited", "essential"),
    "stopped-clone-failed": ("STOPPED", "STOPPED", 102, "EssentialContainerExited", "essential"),
    "stopped-install-failed": ("STOPPED", "STOPPED", 105, "EssentialContainerExited", "essential"),
    "stopped-build-failed": ("STOPPED", "STOPPED", 106, "EssentialContainerExited", "essential"),
    "stopped-output-missing": ("STOPPED", "STOPPED", 107, "EssentialContainerExited", "essential"),
    "stopped-timed-out": ("STOPPED", "STOPPED", 109, "EssentialContainerExited", "essential"),
    "stopped-unknown-exit-code": ("STOPPED", "STOPPED", 1, "EssentialContainerExited", "essential"),
    "stopped-with-sidecar": ("STOPPED", "STOPPED", 106, "EssentialContainerExited", "essential"),
    "stopped-out-of-memory-137": ("STOPPED", "STOPPED", 137, "EssentialContainerExited", "memory"),
    "stopped-out-of-memory-1": ("STOPPED", "STOPPED", 1, "EssentialContainerExited", "memory"),
    "stopped-killed-137": ("STOPPED", "STOPPED", 137, "EssentialContainerExited", "essential"),
    "stopped-by-user": ("STOPPED", "STOPPED", 143, "UserInitiated", "stopped by user"),
    "stopped-canceled": ("STOPPED", "STOPPED", 143, "UserInitiated", ""),
    "stopped-spot": ("STOPPED", "STOPPED", 143, "SpotInterruption", "spot"),
    "stopped-spot-killed": ("STOPPED", "STOPPED", 137, "SpotInterruption", "spot"),
    "stopped-cannot-pull-image": ("STOPPED", "STOPPED", None, "TaskFailedToStart", "CannotPullContainerError"),
    "stopped-resource-initialization-error": ("STOPPED", "STOPPED", None, "TaskFailedToStart", "ResourceInitial"),
    "stopped-network-interface-timeout": ("STOPPED", "STOPPED", None, "TaskFailedToStart", "network interface"),
    "stopped-capacity-unavailable": ("STOPPED", "STOPPED", None, "TaskFailedToStart", "capacity"),
    "stopped-container-never-started": ("STOPPED", "STOPPED", None, "TaskFailedToStart", "CannotStartContainer"),
    "stopped-no-exit-code": ("STOPPED", "STOPPED", None, "EssentialContainerExited", "essential"),
    "stopped-host-lost": ("STOPPED", "STOPPED", None, None, "Host EC2"),
    "stopped-infrastructure-health": ("STOPPED", "STOPPED", None, "InfrastructureHealth", ""),
    "stopped-maintenance": ("STOPPED", "STOPPED", 143, "TerminationNotice", "maintenance"),
    "stopped-unknown-reason": ("STOPPED", "STOPPED", None, "QuantumDecoherence", "nobody"),
    "stopped-older-attempt": ("STOPPED", "STOPPED", 143, "SpotInterruption", "spot"),
    "unknown-build": ("STOPPED", "STOPPED", 0, "EssentialContainerExited", "essential"),
}
NOT_OURS = {"started-by-somebody-else", "without-started-by"}


def detail(name: str) -> dict[str, Any]:
    found: dict[str, Any] = CASES[name].event()["detail"]
    return found


@pytest.mark.parametrize("name", READ)
def test_each_event_is_read_as_it_is(name: str) -> None:
    task = task_of(detail(name), "builder")
    assert task
    status, container_status, exit_code, stop_code, reason = READ[name]
    assert (task.last_status, task.container_status) == (status, container_status)
    assert (task.exit_code, task.stop_code) == (exit_code, stop_code)
    assert reason.lower() in f"{task.container_reason} {task.stopped_reason}".lower()


@pytest.mark.parametrize("case", [case for name, case in CASES.items() if name not in NOT_OURS], ids=str)
def test_each_event_belongs_to_its_build_and_its_answer(case: Case) -> None:
    task = task_of(case.event()["detail"], "builder")
    assert task
    answer = case.answer
    status, _, exit_code, *_ = READ[case.name.removeprefix("task-state-change-")]
    assert task.ended is (status == "STOPPED" or exit_code is not None)
    if answer.startswith("building"):
        assert task.running
        assert task.started_at
        assert task.started_at.tzinfo is UTC
    if answer == "starting":
        assert not task.running
        assert not task.ended
    if answer.startswith(("ready", "failed")):
        assert task.ended
    if case.name.endswith("newer-attempt"):
        assert (task.build_id, task.attempt) == (SECOND_BUILD.id, 2)
    elif case.name.endswith("older-attempt"):
        assert (task.build_id, task.attempt) == (SECOND_BUILD.id, 1)
    elif case.name.endswith("unknown-build"):
        assert task.build_id == UNKNOWN_BUILD
    else:
        assert (task.build_id, task.attempt, task.id) == (BUILD.id, 1, TASK)


@pytest.mark.parametrize("name", sorted(NOT_OURS))
def test_tasks_of_others_are_none_of_ours(name: str) -> None:
    assert task_of(detail(name), "builder") is None


def test_every_file_is_named_here() -> None:
    assert set(READ) | NOT_OURS == set(CASES)


# --- containers ---


def container(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "lastStatus": "STOPPED", **more}


def read(*containers: dict[str, Any]) -> tuple[Any, Any]:
    task = task_of({"taskArn": "a/b", "startedBy": f"{BUILD.id}/1", "containers": list(containers)}, "builder")
    assert task
    return task.exit_code, task.container_status


AGENT = container("aws-guardduty-agent-pQ7x", exitCode=0)


@pytest.mark.parametrize(
    "order", list(permutations([AGENT, container("x"), container("builder", exitCode=106)])), ids=str
)
def test_the_builder_is_found_by_name_wherever_it_stands(order: tuple[dict[str, Any], ...]) -> None:
    assert read(*order) == (106, "STOPPED")


def test_a_task_without_the_builder_has_no_exit_code() -> None:
    assert read(AGENT) == read() == (None, None)
    assert read({"exitCode": 0}, {"name": None, "exitCode": 0}) == (None, None)


@pytest.mark.parametrize(
    ("two", "worse"),
    [
        ((container("builder", exitCode=0), container("builder", exitCode=106)), (106, "STOPPED")),
        ((container("builder", exitCode=0), container("builder")), (None, "STOPPED")),
        ((container("builder", exitCode=0), {"name": "builder", "lastStatus": "RUNNING"}), (None, "RUNNING")),
        ((container("builder"), container("builder", exitCode=137)), (137, "STOPPED")),
    ],
)
def test_of_two_with_its_name_the_worse_one_counts(two: tuple[Any, Any], worse: tuple[Any, Any]) -> None:
    assert read(*two) == read(*reversed(two)) == worse


# --- whose task it is ---


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "alice",
        "ecs-svc/1234567890123456789",
        "events-rule/tidegate",
        BUILD.id,
        f"{BUILD.id}/",
        f"{BUILD.id}/0",
        f"{BUILD.id}/01",
        f"{BUILD.id}/-1",
        f"{BUILD.id}/12345",
        f"{BUILD.id}/1/1",
        f"{BUILD.id}/1\n",
        f" {BUILD.id}/1",
        f"{BUILD.id.lower()}/1",
        f"{BUILD.id[:-1]}/1",
        f"{BUILD.id[:-1]}U/1",
        f"{BUILD.id}/\u0661",
    ],
)
def test_started_by_others(text: str | None) -> None:
    assert parse_started_by(text) is None
    assert task_of({"taskArn": "a/b", "startedBy": text}, "builder") is None


@given(st.text("0123456789ABCDEFGHJKMNPQRSTVWXYZ", min_size=26, max_size=26), st.integers(1, 9999))
def test_started_by_comes_back(build_id: str, attempt: int) -> None:
    assert parse_started_by(started_by(build_id, attempt)) == (build_id, attempt)
    assert len(client_token(build_id, attempt)) <= 64


# --- what may be missing ---

NAMES = sorted(detail("stopped-ok"))


@given(st.sampled_from(sorted(CASES)), st.sets(st.sampled_from(NAMES)), st.sets(st.sampled_from(NAMES)))
def test_missing_fields_never_raise(name: str, absent: set[str], empty: set[str]) -> None:
    left = {key: None if key in empty else value for key, value in detail(name).items() if key not in absent}
    task = task_of(left, "builder")
    if {"taskArn", "startedBy"} & (absent | empty):
        assert task is None


def test_containers_may_be_bare() -> None:
    bare = [{}, {"name": "builder"}]
    task = task_of({"taskArn": "a/b", "startedBy": f"{BUILD.id}/1", "containers": bare}, "builder")
    assert task
    assert (task.id, task.version, task.last_status, task.ended, task.running) == ("b", 0, "", False, False)
    assert task_of({}, "builder") is None


@pytest.mark.parametrize(
    "value",
    [
        "2024-11-21T06:38:24.32Z",
        "2024-11-21T06:38:24.320Z",
        "2024-11-21T06:38:24.320000123Z",
        "2024-11-21T07:38:24.32+01:00",
        datetime(2024, 11, 21, 6, 38, 24, 320000, tzinfo=UTC),
        datetime(2024, 11, 21, 7, 38, 24, 320000, tzinfo=timezone(timedelta(hours=1))),
    ],
)
def test_times_are_utc(value: Any) -> None:
    time = time_of(value)
    assert time == datetime(2024, 11, 21, 6, 38, 24, 320000, tzinfo=UTC)
    assert time
    assert time.tzinfo is UTC


def test_no_time_is_none() -> None:
    assert time_of(None) is time_of("") is None

# ruff: noqa: E501 - a row of the table is one line
"""The table of decisions, which docs/decide.md shows, and what holds for every build and observation."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tidegate.decision import CANCELED, MISSED_TWICE, REFUSED_FOR, SUPERSEDED, Decision, decide
from tidegate.diagnosis import failure
from tidegate.model import MAX_ATTEMPTS, Build, Diagnosis, Failure, Result, Source, Task
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
from tidegate.status import Blame, Retry, Status

DOC = Path(__file__).parents[2] / "docs" / "decide.md"
NOW = datetime(2026, 11, 21, 7, 30, tzinfo=UTC)
LATER = NOW + timedelta(days=1)
ID = "01JD6Q2V8W3M4N5P6R7S8T9VAB"
ARN = "arn:aws:ecs:eu-central-1:123456789012:task/builds/0a1b"
OLD = "arn:aws:ecs:eu-central-1:123456789012:task/builds/0000"

QUEUED = Build(ID, "site", Source("https://git.example.com/you/site.git"), NOW, NOW + timedelta(hours=6), 1200)
CLAIMED = replace(QUEUED, status=Status.STARTING, claimed=1, starting_at=NOW, deadline=NOW + timedelta(minutes=10))
REFUSED = replace(CLAIMED, waiting="It did not work.", updated_at=NOW - REFUSED_FOR)
WAITING = replace(CLAIMED, attempt=2, waiting="AWS has no capacity.")
STARTING = replace(CLAIMED, task_arn=ARN, tasks=(ARN,), task_version=1)
BUILDING = replace(STARTING, status=Status.BUILDING, building_at=NOW, task_version=3)
SECOND = replace(BUILDING, attempt=2, faults=1, task_arn=None, task_version=0, building_at=None, tasks=(OLD,))
THIRD = replace(BUILDING, attempt=3, faults=2)
PUBLISHING = replace(BUILDING, status=Status.PUBLISHING, publishing_at=NOW, exit_code=0)
READY = replace(PUBLISHING, status=Status.READY, finished_at=NOW, open=None)
OVERDUE = replace(
    BUILDING, status=Status.FAILED, finished_at=NOW, failure=Failure("BUILD_TIMED_OUT", Blame.USER, "Late.", "Hurry.")
)
FAILED = replace(OVERDUE, open=None)
MISSED = replace(BUILDING, missing_at=NOW - MISSED_TWICE)
UNWANTED = replace(BUILDING, cancel_requested_at=NOW, deadline=NOW + timedelta(minutes=10))
UNWANTED_CLAIM = replace(CLAIMED, cancel_requested_at=NOW, deadline=NOW + timedelta(minutes=10))

TASK_LOST = failure("TASK_LOST").message

OK = Result(ID, 1, ok=True, files=3, bytes=30)


def task(last_status: str = "RUNNING", version: int = 4, **fields: object) -> Task:
    return Task(ARN, ID, fields.pop("attempt", 1), version, last_status, **fields)  # type: ignore[arg-type]


def seen(last_status: str = "RUNNING", version: int = 4, result: Result | None = None, **fields: object) -> TaskSeen:
    return TaskSeen(NOW, task(last_status, version, **fields), result)


def stopped(exit_code: int | None, reason: str = "Essential container in task exited", **fields: object) -> TaskSeen:
    fields = {"stop_code": "EssentialContainerExited", "stopped_reason": reason, "exit_code": exit_code} | fields
    result = fields.pop("result", None)
    return seen("STOPPED", 5, result, container_status="STOPPED", **fields)  # type: ignore[arg-type]


def refused(retry: Retry, code: str = "CODE", *, doubt: bool = False) -> TaskRefused:
    return TaskRefused(NOW, 1, Diagnosis(Failure(code, Blame.PLATFORM, "It did not work.", "Wait."), retry), doubt)


# situation, build, observation, answer
CASES: list[tuple[str, str, Build, Observation, str]] = [
    # Start
    ("queued", "it has a slot", QUEUED, StartClaimed(NOW, 1), "queued → starting; call RunTask"),
    ("queued", "no slot is free", QUEUED, QueueFull(NOW), "waits"),
    ("queued, waits", "no slot is free", replace(QUEUED, waiting="All build slots are taken."), QueueFull(NOW), "nothing: waits already"),
    ("building", "no slot is free", BUILDING, QueueFull(NOW), "nothing: the build has started"),
    ("claimed", "claimed again after a crash", CLAIMED, StartClaimed(NOW, 1), "nothing: claimed already; call RunTask"),
    ("second attempt", "it has a slot", SECOND, StartClaimed(NOW, 1), "noted; call RunTask"),
    ("claimed", "another was faster", replace(CLAIMED, revision=2), StartClaimed(NOW, 1), "nothing: claimed already"),
    ("canceled meanwhile", "it has a slot", replace(FAILED, status=Status.CANCELED, task_arn=None), StartClaimed(NOW, 1), "nothing: the build has ended or its task is known"),
    ("cancel requested", "it has a slot", UNWANTED_CLAIM, StartClaimed(NOW, 1), "nothing: the build is being canceled"),
    ("claimed", "RunTask accepted", CLAIMED, TaskAccepted(NOW, 1, ARN), "task known"),
    ("task known by its event", "RunTask accepted", STARTING, TaskAccepted(NOW, 1, ARN), "nothing: the task is known"),
    ("queued", "an event before the API's own write", QUEUED, seen("PROVISIONING", 1), "queued → starting; task known"),
    ("queued", "RUNNING before the API's own write", QUEUED, seen(), "queued → building; task known"),
    ("claimed, second attempt", "RunTask accepted the first", replace(SECOND), TaskAccepted(NOW, 1, ARN), "nothing: another attempt; stop the task"),
    ("claimed", "RunTask throttled, timed out, 5xx", CLAIMED, refused(Retry.SAME_TOKEN), "waits"),
    ("claimed", "no capacity or quota", CLAIMED, refused(Retry.WAIT), "waits; attempt 2"),
    ("claimed", "RunTask failed by the platform", CLAIMED, refused(Retry.NEW_ATTEMPT), "waits; attempt 2; start it"),
    ("claimed, third attempt", "RunTask failed by the platform", replace(CLAIMED, faults=2), refused(Retry.NEW_ATTEMPT), "starting → failed (CODE)"),
    ("claimed", "RunTask refused by configuration", CLAIMED, refused(Retry.NO, "ACCESS_DENIED"), "starting → failed (ACCESS_DENIED)"),
    ("claimed, RunTask's answer lost", "RunTask refused by configuration", CLAIMED, refused(Retry.NO, "ACCESS_DENIED", doubt=True), "waits"),
    ("claimed, RunTask's answer lost", "that call used the token up and made no task", CLAIMED, refused(Retry.NO, "TOKEN_CONFLICT"), "waits; attempt 2"),
    ("claimed, RunTask's answer lost", "no capacity or quota", CLAIMED, refused(Retry.WAIT, doubt=True), "waits"),
    ("claimed, RunTask's answer lost", "refused the same way for two minutes, and no task is found", REFUSED, refused(Retry.NO, "ACCESS_DENIED", doubt=True), "starting → failed (ACCESS_DENIED), its task may live"),
    ("claimed, RunTask's answer lost", "short of capacity for two minutes", REFUSED, refused(Retry.WAIT, doubt=True), "nothing: waits already"),
    # A task's life
    ("starting", "PENDING", STARTING, seen("PENDING", 2), "nothing: nothing new"),
    ("starting", "RUNNING", STARTING, seen(), "starting → building"),
    ("building", "RUNNING again", BUILDING, seen(version=3), "nothing: an older version"),
    ("building", "PENDING, late", BUILDING, seen("PENDING", 2), "nothing: an older version"),
    ("building", "Spot warning (desired STOPPED)", BUILDING, seen(desired_status="STOPPED", stop_code="SpotInterruption"), "nothing: nothing new"),
    ("building", "DEPROVISIONING with exit 0 and a result", BUILDING, seen("DEPROVISIONING", 5, OK, container_status="STOPPED", exit_code=0), "building → publishing; publish"),
    ("building", "STOPPED, exit 0 and a result", BUILDING, stopped(0, result=OK), "building → publishing; publish"),
    ("starting", "STOPPED, exit 0: RUNNING was lost", STARTING, stopped(0, result=OK), "starting → publishing; publish"),
    ("queued", "STOPPED, exit 0: all else was lost", QUEUED, stopped(0, result=OK), "queued → publishing; task known; publish"),
    ("publishing", "STOPPED after DEPROVISIONING", PUBLISHING, stopped(0), "nothing: the task's end is known; publish"),
    ("publishing", "RUNNING, late", PUBLISHING, seen(), "nothing: the task's end is known"),
    ("publishing", "published", PUBLISHING, Published(NOW), "publishing → ready"),
    ("ready", "published again", READY, Published(NOW), "nothing: not publishing"),
    ("building", "STOPPED, exit 0, no result", BUILDING, stopped(0), "building → failed (RESULT_MISSING)"),
    ("building", "STOPPED, exit 0, result says no", BUILDING, stopped(0, result=replace(OK, ok=False)), "building → failed (RESULT_MISSING)"),
    ("building", "exit 0, but stopped by somebody", BUILDING, stopped(0, "Task stopped by user", stop_code="UserInitiated", result=OK), "building → failed (STOPPED_OUTSIDE)"),
    ("building", "exit 106", BUILDING, stopped(106), "building → failed (BUILD_FAILED)"),
    ("building", "out of memory, exit 137", BUILDING, stopped(137, container_reason="OutOfMemoryError: Container killed due to memory usage"), "building → failed (OUT_OF_MEMORY)"),
    ("building", "out of memory, exit 1", BUILDING, stopped(1, container_reason="OutOfMemoryError: Container killed due to memory usage"), "building → failed (OUT_OF_MEMORY)"),
    ("building", "Spot took the machine", BUILDING, stopped(137, "Your Spot Task was interrupted.", stop_code="SpotInterruption"), "waits; attempt 2; start it"),
    ("building, third attempt", "Spot took the machine", THIRD, stopped(137, "Your Spot Task was interrupted.", stop_code="SpotInterruption", attempt=3), "building → failed (SPOT_INTERRUPTED)"),
    ("starting", "STOPPED: no capacity after all", STARTING, stopped(None, "Capacity is unavailable at this time. Please try again later or in a different availability zone", stop_code="TaskFailedToStart"), "waits; attempt 2"),
    ("starting", "no exit code, unknown reason", STARTING, stopped(None, "?", stop_code=None), "waits; attempt 2; start it"),
    ("building", "no exit code, unknown reason", BUILDING, stopped(None, "?", stop_code=None), "building → failed (UNCLASSIFIED)"),
    ("building", "task not found", BUILDING, TaskLost(NOW, 1), "missed once"),
    ("building, missed once", "not found again at once", replace(BUILDING, missing_at=NOW), TaskLost(NOW, 1), "nothing: missed once"),
    ("building, missed once", "RUNNING again", MISSED, seen("RUNNING", 3), "noted"),
    ("building, missed once", "task gone from ECS", MISSED, TaskLost(NOW, 1), "waits; attempt 2; start it"),
    ("claimed", "no task found", CLAIMED, TaskLost(NOW, 1), "nothing: no task was started"),
    ("building, second attempt", "STOPPED of the first", SECOND, stopped(137), "nothing: another attempt"),
    ("building, second attempt", "RUNNING of the first", SECOND, seen(), "nothing: another attempt; stop the task"),
    ("building, second attempt", "RUNNING", SECOND, seen(attempt=2), "task known"),
    # After the end
    ("ready", "RUNNING, late or of a task that came up afterwards", READY, seen(), "nothing: the build has ended; stop the task"),
    ("failed", "STOPPED, exit 0", FAILED, stopped(0, result=OK), "nothing: the build has ended"),
    ("failed, its task may live", "STOPPED", OVERDUE, stopped(0, result=OK), "task seen stopped"),
    ("failed, its task may live", "task not found", OVERDUE, TaskLost(NOW, 1), "missed once"),
    ("failed, its task may live, missed once", "task gone from ECS", replace(OVERDUE, missing_at=MISSED.missing_at), TaskLost(NOW, 1), "task seen stopped"),
    ("failed, its task may live, missed once", "RUNNING", replace(OVERDUE, missing_at=MISSED.missing_at), seen(), "noted; stop the task"),
    ("failed, its task may live", "RUNNING", OVERDUE, seen(), "nothing: the build has ended; stop the task"),
    ("failed while RunTask ran", "RunTask accepted", replace(OVERDUE, task_arn=None), TaskAccepted(NOW, 1, ARN), "task known; stop the task"),
    ("failed while RunTask ran", "RunTask refused", replace(OVERDUE, task_arn=None), refused(Retry.NO), "task seen stopped"),
    # Cancel
    ("queued", "cancel", QUEUED, CancelAsked(NOW, CANCELED), "queued → canceled (CANCELED)"),
    ("queued", "a newer build of the same ref", QUEUED, CancelAsked(NOW, SUPERSEDED), "queued → canceled (SUPERSEDED)"),
    ("waits for capacity", "cancel", WAITING, CancelAsked(NOW, CANCELED), "starting → canceled (CANCELED)"),
    ("waits for capacity", "a newer build of the same ref", WAITING, CancelAsked(NOW, SUPERSEDED), "starting → canceled (SUPERSEDED)"),
    ("task lost, second attempt not started", "cancel", replace(SECOND, waiting=TASK_LOST), CancelAsked(NOW, CANCELED), "cancel requested"),
    ("claimed", "cancel while RunTask runs", CLAIMED, CancelAsked(NOW, CANCELED), "cancel requested"),
    ("cancel requested while RunTask runs", "RunTask accepted", UNWANTED_CLAIM, TaskAccepted(NOW, 1, ARN), "task known; stop the task"),
    ("cancel requested while RunTask runs", "RunTask refused", UNWANTED_CLAIM, refused(Retry.NO), "starting → canceled (CANCELED)"),
    ("cancel requested while RunTask runs", "RunTask's answer lost", UNWANTED_CLAIM, refused(Retry.SAME_TOKEN), "waits"),
    ("cancel requested while RunTask runs", "refused, and an earlier answer was lost", UNWANTED_CLAIM, refused(Retry.NO, doubt=True), "waits"),
    ("cancel requested while RunTask runs", "an earlier call used the token up", UNWANTED_CLAIM, refused(Retry.NO, "TOKEN_CONFLICT"), "waits"),
    ("cancel requested while RunTask runs", "no task found", UNWANTED_CLAIM, TaskLost(NOW, 1), "missed once"),
    ("cancel requested, no task found once", "no task found", replace(UNWANTED_CLAIM, missing_at=MISSED.missing_at), TaskLost(NOW, 1), "starting → canceled (CANCELED)"),
    ("building", "cancel", BUILDING, CancelAsked(NOW, CANCELED), "cancel requested; stop the task"),
    ("cancel requested", "cancel again", UNWANTED, CancelAsked(NOW, CANCELED), "nothing: asked already; stop the task"),
    ("cancel requested", "RUNNING: it came up all the same", UNWANTED, seen(), "noted; stop the task"),
    ("cancel requested", "STOPPED", UNWANTED, stopped(143, "Tidegate: canceled", stop_code="UserInitiated"), "building → canceled (CANCELED)"),
    ("cancel requested", "STOPPED, exit 0 and a result: cancel was first", UNWANTED, stopped(0, result=OK), "building → canceled (CANCELED)"),
    ("cancel requested", "Spot took the machine", UNWANTED, stopped(137, "Your Spot Task was interrupted."), "building → canceled (CANCELED)"),
    ("cancel requested, task missed once", "task gone from ECS", replace(UNWANTED, missing_at=MISSED.missing_at), TaskLost(NOW, 1), "building → canceled (CANCELED)"),
    ("publishing", "cancel: success was first", PUBLISHING, CancelAsked(NOW, CANCELED), "nothing: the site is being published"),
    ("ready", "cancel", READY, CancelAsked(NOW, CANCELED), "nothing: the build has ended"),
    # Deadlines
    ("building", "before the deadline", BUILDING, Overdue(NOW), "nothing: not overdue"),
    ("queued", "deadline", QUEUED, Overdue(LATER), "queued → failed (WAIT_TIMED_OUT)"),
    ("starting", "deadline", STARTING, Overdue(LATER), "starting → failed (START_TIMED_OUT), its task may live; stop the task"),
    ("claimed", "deadline", CLAIMED, Overdue(LATER), "starting → failed (START_TIMED_OUT), its task may live"),
    ("claimed, waits for capacity", "deadline", replace(CLAIMED, waiting="AWS has no capacity."), Overdue(LATER), "starting → failed (WAIT_TIMED_OUT), its task may live"),
    ("building", "deadline", BUILDING, Overdue(LATER), "building → failed (BUILD_TIMED_OUT), its task may live; stop the task"),
    ("building, second attempt not started", "deadline", SECOND, Overdue(LATER), "building → failed (START_TIMED_OUT), its task may live"),
    ("publishing", "deadline, and the project refuses it from now on", PUBLISHING, Overdue(LATER), "publishing → failed (PUBLISH_TIMED_OUT)"),
    ("cancel requested", "deadline", UNWANTED, Overdue(LATER), "building → failed (STOP_TIMED_OUT), its task may live; stop the task"),
]  # fmt: skip


def answer(before: Build, decision: Decision) -> str:
    """A decision in words."""
    after, words = decision.build, []
    if decision.ignored:
        assert after == before
        words.append(f"nothing: {decision.ignored}")
    if after.status is not before.status:
        code = f" ({after.failure.code})" if after.failure else ""
        live = ", its task may live" if after.status.final and after.open else ""
        words.append(f"{before.status} → {after.status}{code}{live}")
    elif before.open and not after.open:
        words.append("task seen stopped")
    if after.waiting and after.waiting != before.waiting:
        words.append("waits")
    if after.attempt != before.attempt:
        words.append(f"attempt {after.attempt}")
    if after.cancel_requested_at and not before.cancel_requested_at:
        words.append("cancel requested")
    if after.missing_at and not before.missing_at:
        words.append("missed once")
    if after.task_arn and not before.task_arn:
        words.append("task known")
    if not words:
        words.append("noted")
    words += ["call RunTask"] * decision.run + ["start it"] * decision.start + ["publish"] * decision.publish
    words += ["stop the task"] * bool(decision.stop_task)
    return "; ".join(words)


@pytest.mark.parametrize(("situation", "what", "build", "observation", "expected"), CASES)
def test_table(situation: str, what: str, build: Build, observation: Observation, expected: str) -> None:
    assert answer(build, decide(build, observation)) == expected


def test_doc_shows_the_table() -> None:
    rows = [f"| {situation} | {what} | {expected} |" for situation, what, _, _, expected in CASES]
    assert [line for line in DOC.read_text().splitlines() if line.startswith("| ")][1:] == rows


@pytest.mark.parametrize(
    ("build", "observation", "evidence"),
    [
        (
            replace(QUEUED, waiting="All build slots are taken."),
            Overdue(LATER),
            "All build slots are taken.\nattempt 1, no task known, nothing new since 2026-11-21T07:30:00Z",
        ),
        (
            replace(BUILDING, updated_at=NOW + timedelta(minutes=1)),
            Overdue(LATER),
            "attempt 1, task 0a1b, nothing new since 2026-11-21T07:31:00Z",
        ),
        (UNWANTED, Overdue(LATER), "attempt 1, task 0a1b, nothing new since 2026-11-21T07:30:00Z"),
        (replace(MISSED, faults=2), TaskLost(NOW, 1), "task 0a1b not in ECS since 2026-11-21T07:28:30Z"),
    ],
    ids=["waits", "silent", "does not stop", "lost"],
)
def test_what_was_last_known_is_evidence(build: Build, observation: Observation, evidence: str) -> None:
    after = decide(build, observation).build
    assert after.status is Status.FAILED
    assert after.failure
    assert after.failure.evidence == evidence


COMMIT = "a" * 40
TOLD = Result(ID, 1, ok=False, commit=COMMIT)


@pytest.mark.parametrize(
    ("build", "observation"),
    [
        (BUILDING, stopped(106, result=TOLD)),
        (BUILDING, stopped(137, "Your Spot Task was interrupted.", stop_code="SpotInterruption", result=TOLD)),
        (BUILDING, stopped(0, result=replace(OK, commit=COMMIT))),
        (UNWANTED, stopped(143, "Tidegate: canceled", stop_code="UserInitiated", result=TOLD)),
        (OVERDUE, stopped(137, "Tidegate: late", stop_code="UserInitiated", result=TOLD)),
        (SECOND, StartClaimed(NOW, 1, COMMIT)),
    ],
    ids=["failed", "lost", "made", "canceled", "ended by the clock", "found by the next attempt"],
)
def test_what_was_cloned_is_kept_beside_what_was_asked_for(build: Build, observation: Observation) -> None:
    after = decide(build, observation).build
    assert (after.cloned_commit, after.commit, after.source) == (COMMIT, COMMIT, build.source)
    assert decide(after, observation).build.cloned_commit == COMMIT


BUILDS = st.sampled_from([case[2] for case in CASES])
OBSERVATIONS = st.one_of(
    st.sampled_from([case[3] for case in CASES]),
    st.builds(
        lambda *parts: TaskSeen(
            NOW,
            Task(
                ARN, ID, parts[0], parts[1], parts[2],
                desired_status=parts[3], stop_code=parts[4], stopped_reason=parts[5],
                container_status=parts[6], exit_code=parts[7], container_reason=parts[5],
            ),
            parts[8],
        ),
        st.integers(1, 4),
        st.integers(0, 9),
        st.sampled_from(["PROVISIONING", "PENDING", "RUNNING", "STOPPING", "DEPROVISIONING", "STOPPED", "DELETED", "?"]),
        st.sampled_from(["RUNNING", "STOPPED", ""]),
        st.none() | st.sampled_from(["UserInitiated", "EssentialContainerExited", "SpotInterruption", "New"]),
        st.none() | st.text(max_size=40),
        st.none() | st.sampled_from(["PENDING", "RUNNING", "STOPPED"]),
        st.none() | st.integers(0, 255),
        st.none() | st.sampled_from([OK, replace(OK, ok=False)]),
    ),
)  # fmt: skip


@settings(max_examples=400)
@given(BUILDS, st.lists(OBSERVATIONS, max_size=12))
def test_whatever_is_seen(build: Build, observations: list[Observation]) -> None:
    for observation in observations:
        decision = decide(build, observation)
        after = decision.build
        assert after.status.rank >= build.status.rank
        if build.status.final:
            assert (after.status, after.failure) == (build.status, build.failure)
            assert (decision.run, decision.start, decision.publish) == (False, False, False)
        if decision.ignored:
            assert after == build
        if after.status in (Status.FAILED, Status.CANCELED) and not build.status.final:
            assert after.failure
            assert after.failure.code
            assert after.failure.message
            assert after.failure.fix
            assert after.failure.evidence or after.status is Status.CANCELED or isinstance(observation, TaskRefused)
        if after.status.final and not build.status.final:
            assert after.finished_at
        if after.status is Status.READY:
            assert build.status in (Status.PUBLISHING, Status.READY)
        assert after.attempt - build.attempt in (0, 1)
        assert after.faults < MAX_ATTEMPTS
        assert decide(after, observation).build.status is after.status or isinstance(observation, CancelAsked)
        build = after

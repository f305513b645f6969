"""The one decision: what an observation changes about a build.

Everything that can move a build (task events, DescribeTasks, RunTask's answers, cancel, deadlines, publishing) is an
observation, and `decide` is pure: it reads no clock and calls nothing. docs/decide.md is its table.
"""

from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from tidegate.diagnosis import diagnose_task, failure
from tidegate.model import MAX_ATTEMPTS, Build, Diagnosis, Failure, Task
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
from tidegate.status import Retry, Status

WAIT_LIMIT = timedelta(hours=6)
START_LIMIT = timedelta(minutes=10)
BUILD_GRACE = timedelta(minutes=1)  # the builder ends itself at its time limit; this is what it takes to say so
PUBLISH_LIMIT = timedelta(minutes=5)
STOP_LIMIT = timedelta(minutes=10)
REFUSED_FOR = timedelta(minutes=2)  # in which a task of an unanswered RunTask comes to be seen
MISSED_TWICE = timedelta(seconds=90)  # from the first look that does not find a task to one that is believed


class Decision(Struct, frozen=True):
    """The build as it is from now on, and what must be done once that is written.

    `ignored` says why nothing changed; what is to be done is done all the same. `run`: RunTask may be called now.
    `start`: a new attempt is to be started. `failure`: what ended the attempt, also where the build goes on.
    """

    build: Build
    ignored: str | None = None
    run: bool = False
    start: bool = False
    publish: bool = False
    stop_task: str | None = None
    failure: Failure | None = None


CANCELED = failure("CANCELED")
SUPERSEDED = failure("SUPERSEDED")
_TASK_LOST = Diagnosis(failure("TASK_LOST"), Retry.NEW_ATTEMPT)
_TOKEN_USED_UP = "TOKEN_CONFLICT"
_STOP_TIMED_OUT = failure("STOP_TIMED_OUT")
_OVERDUE = {
    Status.QUEUED: failure("WAIT_TIMED_OUT"),
    Status.STARTING: failure("START_TIMED_OUT"),
    Status.BUILDING: failure("BUILD_TIMED_OUT"),
    Status.PUBLISHING: failure("PUBLISH_TIMED_OUT"),
}


def decide(build: Build, seen: Observation) -> Decision:
    """Say what `seen` changes about `build`; total: every pair has an answer."""
    match seen:
        case TaskSeen():
            return _task_seen(build, seen)
        case TaskLost():
            return _task_lost(build, seen)
        case StartClaimed():
            return _start_claimed(build, seen)
        case TaskAccepted():
            return _task_accepted(build, seen)
        case TaskRefused():
            return _task_refused(build, seen)
        case QueueFull():
            if build.status is not Status.QUEUED:
                return Decision(build, ignored="the build has started")
            return _wait(build, "All build slots are taken.")
        case CancelAsked():
            return _cancel_asked(build, seen)
        case Published():
            if build.status is not Status.PUBLISHING:
                return Decision(build, ignored="not publishing")
            return Decision(_ended(build, seen.at, Status.READY))
        case Overdue():
            return _overdue(build, seen.at)


def _task_seen(build: Build, seen: TaskSeen) -> Decision:
    task = seen.task
    alive = None if task.ended else task.arn
    if build.missing_at and task.attempt == build.attempt and not (build.status.final and task.ended):
        after = _task_seen(replace(build, missing_at=None), seen)
        return replace(after, ignored=None)
    if task.attempt != build.attempt:
        return Decision(build, ignored="another attempt", stop_task=alive)
    if build.status.final:
        if task.ended and build.open:
            return Decision(
                replace(_with_commit(_with_task(build, task), seen.result.commit if seen.result else None), open=None)
            )
        return Decision(build, ignored="the build has ended", stop_task=alive)
    if build.status is Status.PUBLISHING:
        return Decision(build, ignored="the task's end is known", publish=task.ended)
    if task.ended:
        return _task_ended(_with_task(build, task), seen)
    if task.version <= build.task_version:
        stop = task.arn if build.cancel_requested_at else None
        return Decision(build, ignored="an older version", stop_task=stop)
    known = _with_task(build, task)
    if build.cancel_requested_at:
        return Decision(known, stop_task=task.arn)
    if task.running and known.building_at is None:
        return Decision(_building(known, task.started_at or seen.at))
    if build.task_arn is None:
        return Decision(_starting(known, seen.at))
    return Decision(build, ignored="nothing new")


def _task_lost(build: Build, seen: TaskLost) -> Decision:
    if seen.attempt != build.attempt:
        return Decision(build, ignored="another attempt")
    if build.status.final and build.open is None:
        return Decision(build, ignored="the build has ended")
    if build.status is Status.PUBLISHING:
        return Decision(build, ignored="the task's end is known")
    if build.task_arn is None and not build.cancel_requested_at and not build.status.final:
        return Decision(build, ignored="no task was started")
    if build.missing_at is None:
        return Decision(replace(build, missing_at=seen.at))
    if seen.at < build.missing_at + MISSED_TWICE:
        return Decision(build, ignored="missed once")
    if build.status.final:
        return Decision(replace(build, open=None))
    if build.cancel_requested_at:
        return Decision(_canceled(build, seen.at, CANCELED))
    evidence = f"{_task_name(build)} not in ECS since {_time(build.missing_at)}"
    return _retry_or_fail(build, replace(_TASK_LOST, failure=replace(_TASK_LOST.failure, evidence=evidence)), seen.at)


def _start_claimed(build: Build, seen: StartClaimed) -> Decision:
    if build.status.final or build.task_arn is not None:
        return Decision(build, ignored="the build has ended or its task is known")
    if build.cancel_requested_at:
        return Decision(build, ignored="the build is being canceled")
    if build.claimed == build.attempt:
        return Decision(build, ignored="claimed already", run=build.revision == seen.revision)
    if build.status is Status.QUEUED:
        build = _starting(build, seen.at)
    return Decision(replace(_with_commit(build, seen.commit), claimed=build.attempt), run=True)


def _task_ended(build: Build, seen: TaskSeen) -> Decision:
    task, result = seen.task, seen.result
    build = replace(
        build,
        exit_code=task.exit_code,
        stop_code=task.stop_code,
        stopped_reason=(task.stopped_reason or "")[:500] or None,
        framework=(result and result.framework) or build.framework,
    )
    build = _with_commit(build, result.commit if result else None)
    if build.cancel_requested_at:
        return Decision(_canceled(build, seen.at, CANCELED))
    if task.exit_code != 0 or task.stop_code == "UserInitiated" or result is None or not result.ok:
        diagnosis = diagnose_task(task, result, ran=build.building_at is not None)
        return _retry_or_fail(build, diagnosis, seen.at)
    published = replace(
        build,
        status=Status.PUBLISHING,
        building_at=build.building_at or task.started_at,
        publishing_at=seen.at,
        deadline=seen.at + PUBLISH_LIMIT,
        files=result.files,
        bytes=result.bytes,
    )
    return Decision(published, publish=True)


def _task_accepted(build: Build, seen: TaskAccepted) -> Decision:
    if seen.attempt != build.attempt:
        return Decision(build, ignored="another attempt", stop_task=seen.task_arn)
    if build.task_arn is not None:
        return Decision(build, ignored="the task is known")
    build = _with_arn(build, seen.task_arn)
    if build.status.final or build.cancel_requested_at:
        return Decision(build, stop_task=seen.task_arn)
    return Decision(_starting(build, seen.at))


def _task_refused(build: Build, seen: TaskRefused) -> Decision:
    if seen.diagnosis.failure.code == _TOKEN_USED_UP:
        # A call whose answer was lost has used the token up, and made no task: the next attempt waits, as it would.
        seen = replace(seen, diagnosis=replace(seen.diagnosis, retry=Retry.WAIT), doubt=bool(build.cancel_requested_at))
    retry = Retry.SAME_TOKEN if _in_doubt(build, seen) else seen.diagnosis.retry
    if seen.attempt != build.attempt or build.task_arn is not None:
        return Decision(build, ignored="another attempt, or its task is known")
    if build.status.final:
        made_none = retry is not Retry.SAME_TOKEN and build.open is not None
        return Decision(replace(build, open=None)) if made_none else Decision(build, ignored="the build has ended")
    message = seen.diagnosis.failure.message
    if retry is Retry.SAME_TOKEN:
        return _wait(build, message)
    if build.cancel_requested_at:
        return Decision(_canceled(build, seen.at, CANCELED))
    decision = _retry_or_fail(build, seen.diagnosis, seen.at)
    if seen.doubt:
        return replace(decision, build=replace(decision.build, open="open"))
    return decision


def _in_doubt(build: Build, seen: TaskRefused) -> bool:
    """Whether RunTask is to be asked again, since it may have made a task before it refused to.

    A build that had nothing but this refusal for `REFUSED_FOR` has failed for it; whoever asks looks for a task first.
    """
    if not seen.doubt:
        return False
    for_long = build.waiting == seen.diagnosis.failure.message
    for_long = for_long and seen.at - (build.updated_at or build.created_at) >= REFUSED_FOR
    ends = seen.diagnosis.retry is Retry.NO and not build.cancel_requested_at
    return not ends or not for_long


def _cancel_asked(build: Build, seen: CancelAsked) -> Decision:
    if build.status.final:
        return Decision(build, ignored="the build has ended")
    if build.status is Status.PUBLISHING:
        return Decision(build, ignored="the site is being published")
    if build.unstarted and build.waiting != _TASK_LOST.failure.message:  # a lost task may turn up
        return Decision(_canceled(build, seen.at, seen.failure))
    if seen.failure is SUPERSEDED:
        return Decision(build, ignored="the build waits no more")
    if build.cancel_requested_at:
        return Decision(build, ignored="asked already", stop_task=build.task_arn)
    wished = replace(build, cancel_requested_at=seen.at, deadline=seen.at + STOP_LIMIT)
    return Decision(wished, stop_task=build.task_arn)


def _overdue(build: Build, at: datetime) -> Decision:
    if build.status.final or at < build.deadline:
        return Decision(build, ignored="not overdue")
    # Its task may live on, or RunTask's answer may have been lost: the build stays open until that is known.
    live = "open" if build.status.rank in (Status.STARTING.rank, Status.BUILDING.rank) else None
    late = _STOP_TIMED_OUT if build.cancel_requested_at else _OVERDUE[_stage(build, at)]
    ended = _failed(build, at, replace(late, evidence=_last_known(build)))
    return Decision(replace(ended, open=live), stop_task=build.task_arn if live else None)


def _stage(build: Build, at: datetime) -> Status:
    """What took too long: a later attempt starts once more, and a start that AWS has put off waits."""
    if build.waiting and at >= build.created_at + WAIT_LIMIT:
        return Status.QUEUED
    again = build.status is Status.BUILDING and build.building_at is None
    return Status.STARTING if again else build.status


def _last_known(build: Build) -> str:
    """What a build waited for, and since when nothing was heard of it."""
    unchanged = _time(build.updated_at or build.created_at)
    stands = f"attempt {build.attempt}, {_task_name(build)}, nothing new since {unchanged}"
    return "\n".join(filter(None, (build.waiting, stands)))


def _task_name(build: Build) -> str:
    return f"task {build.task_arn.rpartition('/')[2]}" if build.task_arn else "no task known"


def _time(at: datetime) -> str:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")


def _retry_or_fail(build: Build, diagnosis: Diagnosis, at: datetime) -> Decision:
    """Give the build another attempt on on-demand capacity, or end it.

    The status stays where it is: to its user the build has not gone back. A platform's fault is tried again at once, a
    few times; where capacity or quota is short the build waits for the next sweep, as often as its deadline allows.
    """
    waits = diagnosis.retry is Retry.WAIT
    faults = build.faults + (not waits)
    if not waits and (diagnosis.retry is not Retry.NEW_ATTEMPT or faults >= MAX_ATTEMPTS):
        return Decision(_failed(build, at, diagnosis.failure), failure=diagnosis.failure)
    return Decision(
        replace(
            build,
            attempt=build.attempt + 1,
            faults=faults,
            task_arn=None,
            task_version=0,
            missing_at=None,
            building_at=None,
            exit_code=None,
            stop_code=None,
            stopped_reason=None,
            waiting=diagnosis.failure.message,
            deadline=_deadline(build, at) if waits else at + START_LIMIT,
        ),
        start=not waits,
        failure=diagnosis.failure,
    )


def _deadline(build: Build, at: datetime) -> datetime:
    """Until when a build may wait for capacity; one that ran, or was in the queue, for long has a little time more."""
    return max(build.created_at + WAIT_LIMIT, build.deadline if build.waiting else at + START_LIMIT)


def _wait(build: Build, reason: str) -> Decision:
    if build.waiting == reason or build.status.final:
        return Decision(build, ignored="waits already")
    longest = build.deadline if build.cancel_requested_at else build.created_at + WAIT_LIMIT
    return Decision(replace(build, waiting=reason, deadline=max(build.deadline, longest)))


def _starting(build: Build, at: datetime) -> Build:
    return replace(
        build,
        status=_later(build.status, Status.STARTING),
        starting_at=build.starting_at or at,
        deadline=at + START_LIMIT,
        waiting=None,
    )


def _building(build: Build, at: datetime) -> Build:
    return replace(
        build,
        status=_later(build.status, Status.BUILDING),
        building_at=at,
        deadline=at + timedelta(seconds=build.timeout_seconds) + BUILD_GRACE,
        waiting=None,
    )


def _with_task(build: Build, task: Task) -> Build:
    return replace(_with_arn(build, task.arn), task_version=max(task.version, build.task_version))


def _with_arn(build: Build, arn: str) -> Build:
    tasks = build.tasks if arn in build.tasks else (*build.tasks, arn)
    return replace(build, task_arn=arn, tasks=tasks)


def _with_commit(build: Build, commit: str | None) -> Build:
    return replace(build, cloned_commit=commit or build.cloned_commit)


def _later(now: Status, then: Status) -> Status:
    return then if then.rank > now.rank else now


def _failed(build: Build, at: datetime, failure: Failure) -> Build:
    return _ended(replace(build, failure=failure), at, Status.FAILED)


def _canceled(build: Build, at: datetime, failure: Failure) -> Build:
    return _ended(replace(build, failure=failure), at, Status.CANCELED)


def _ended(build: Build, at: datetime, status: Status) -> Build:
    return replace(build, status=status, finished_at=at, waiting=None, open=None)

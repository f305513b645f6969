"""What is counted: of an observation and what it changed, of a build that has ended, of a sweep.

docs/operations.md says what each metric means. Every dimension takes its values from a fixed list, never from outside.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from itertools import pairwise

from tidegate.decision import Decision
from tidegate.model import Build
from tidegate.observations import Observation, Overdue, Published, StartClaimed, TaskLost, TaskRefused, TaskSeen
from tidegate.status import Status

_LATE = timedelta(minutes=2)  # after its deadline, by when every build has ended
_EVENT_IS_LOST = timedelta(minutes=1)  # after the task stopped; before that the event may be on its way


def counts(
    before: Build, after: Build, decision: Decision, seen: Observation, source: str, now: datetime
) -> Iterator[tuple[str, dict[str, str]]]:
    """The metrics to add one to, with their dimensions."""
    failure = seen.diagnosis.failure if isinstance(seen, TaskRefused) else decision.failure
    if isinstance(seen, TaskRefused):
        yield "RunTaskRefused", {"code": seen.diagnosis.failure.code}
    if isinstance(seen, TaskSeen) and source == "event" and decision.ignored:
        yield "EventIgnored", {"reason": decision.ignored}
    if source == "reconciler" and (kind := _repair(before, decision, seen, now)):
        yield "Repair", {"kind": kind}
    if failure and failure.code == "UNCLASSIFIED":
        yield "UnclassifiedReason", {}
    if failure and decision.start:
        yield "BuildRetried", {"code": failure.code}
    if after.status.final and not before.status.final:
        yield "BuildEnded", {"status": after.status.value, "code": after.failure.code if after.failure else "READY"}
        if after.status is Status.FAILED and after.failure:
            yield "BuildFailed", {"blame": after.failure.blame.value}


def _repair(before: Build, decision: Decision, seen: Observation, now: datetime) -> str | None:
    """What the reconciler has put right; what follows from its own look in the same sweep does not count again."""
    left_behind = before.updated_at != now
    match seen:
        case StartClaimed() if decision.ignored and decision.run and left_behind:
            return "unfinished start"
        case _ if decision.ignored:
            return None
        case TaskSeen() if before.task_arn is None:
            return "lost answer"
        case TaskSeen(task=task) if task.ended and task.stopped_at and now - task.stopped_at > _EVENT_IS_LOST:
            return "lost stop"
        case TaskLost() if before.missing_at:
            return "lost task"
        case Published() if left_behind:
            return "stuck publish"
        case Overdue():
            return "overdue"
        case _:
            return None


def seconds(build: Build) -> dict[str, float]:
    """How long an ended build was in each state that it was in."""
    times = {
        "WaitingSeconds": build.created_at,
        "StartingSeconds": build.starting_at,
        "BuildingSeconds": build.building_at,
        "PublishingSeconds": build.publishing_at,
        "": build.finished_at,
    }
    reached = [(name, at) for name, at in times.items() if at]
    # ECS's clock says when a task was running, ours the rest.
    return {name: max((then - at).total_seconds(), 0.0) for (name, at), (_, then) in pairwise(reached)}


def sweep(opened: Iterable[Build], holders: set[str], now: datetime) -> dict[str, float]:
    """How things stand, as a sweep finds them; overdue is also a build whose task still has to be seen stopped."""
    builds = list(opened)
    return {
        "OpenBuilds": len(builds),
        "QueueLength": sum(build.status is Status.QUEUED and build.id not in holders for build in builds),
        "OverdueBuilds": sum(now - (build.finished_at or build.deadline) > _LATE for build in builds),
    }

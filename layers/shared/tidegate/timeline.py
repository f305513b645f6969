"""What was seen of a build, from where, and what it changed: the operator's account of it."""

from datetime import datetime

from msgspec.structs import replace

from tidegate.decision import Decision
from tidegate.model import Build, Entry
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

_FIRST, _LAST = 10, 30  # entries kept of a build that sees very many


def record(before: Build, decision: Decision, seen: Observation, source: str, now: datetime) -> Build:
    """The decided build with the observation in its timeline.

    What changed nothing is recorded too, once each, unless it is the reconciler's look at a build that is as it should
    be: there is one every minute.
    """
    after = decision.build
    entry = Entry(now, source, what(seen), decision.ignored or _change(before, after))
    known = any((old.source, old.seen) == (source, entry.seen) for old in before.timeline)
    if after == before and (known or source == "reconciler" or isinstance(seen, QueueFull | StartClaimed)):
        return after
    entries = (*before.timeline, entry)
    if len(entries) > _FIRST + _LAST:
        entries = entries[:_FIRST] + entries[-_LAST:]
    return replace(after, timeline=entries)


def what(seen: Observation) -> str:
    """An observation in a few words."""
    match seen:
        case TaskSeen(task=task):
            code = "" if task.exit_code is None else f" exit {task.exit_code}"
            return f"task {task.attempt} {task.last_status} v{task.version}{code}"
        case TaskLost():
            return f"task {seen.attempt} not found"
        case StartClaimed():
            return "about to call RunTask"
        case TaskAccepted():
            return f"RunTask {seen.attempt} accepted"
        case TaskRefused():
            return f"RunTask {seen.attempt} refused: {seen.diagnosis.failure.code}"
        case QueueFull():
            return "no free slot"
        case CancelAsked():
            return f"cancel: {seen.failure.code}"
        case Published():
            return "published"
        case Overdue():
            return "deadline passed"


def _change(before: Build, after: Build) -> str:
    """What is different now, in a few words."""
    words = []
    if after.status is not before.status:
        words.append(f"{before.status} to {after.status}")
    if after.attempt != before.attempt:
        words.append(f"attempt {after.attempt}")
    if after.failure is not None and before.failure is None:
        words.append(after.failure.code)
    if after.cancel_requested_at and not before.cancel_requested_at:
        words.append("cancel requested")
    if after.waiting and after.waiting != before.waiting:
        words.append("waits")
    if after.missing_at and not before.missing_at:
        words.append("missed once")
    if after.task_arn and not before.task_arn:
        words.append("task known")
    if before.open and not after.open and before.status.final:
        words.append("task seen stopped")
    return ", ".join(words) or "noted"

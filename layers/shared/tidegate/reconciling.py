"""What events did not say: every open build, slot and task is looked at, and brought forward or put right."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta

from tidegate import builds, lifecycle, metrics, projects, queueing, runner, slots
from tidegate.aws import FAULTS
from tidegate.decision import REFUSED_FOR, SUPERSEDED, CancelAsked, Overdue, Published, TaskLost
from tidegate.exceptions import Unavailable
from tidegate.model import Build, Task
from tidegate.observability import count, logger, measure
from tidegate.status import Status

_SOURCE = "reconciler"
_IN_FLIGHT = timedelta(seconds=60)  # longer than any function that is starting a build may live
_UNKNOWN_YET = timedelta(minutes=2)  # DescribeTasks may not know a task that RunTask has just made


def reconcile(now: datetime) -> None:
    """Bring every open build forward by what ECS says of its task, by the clock, and by what was left undone.

    No fault holds up the rest of the sweep, neither one build's nor one call's; all are raised together at the end.
    """
    faults: list[Exception] = []
    opened, holders = builds.open_builds(), slots.holders()
    arns = [build.task_arn for build in opened if build.task_arn and build.status is not Status.PUBLISHING]
    seen: dict[str, Task | None] = {}
    with _go_on(faults):
        seen = dict(runner.describe(arns))
    for build in opened:
        with _go_on(faults):
            _reconcile(build, seen, now, has_slot=build.id in holders)
    for build in queueing.superseded(opened):
        with _go_on(faults):
            lifecycle.observe(build, CancelAsked(now, SUPERSEDED), now, _SOURCE)
    with _go_on(faults):
        _give_back_leaked(holders - {build.id for build in opened})
    with _go_on(faults):
        queueing.start_waiting(now, "reconciler")
    with _go_on(faults):
        _stop_orphans(set(arns), now)
    if faults:
        raise ExceptionGroup("some of the sweep failed", faults)
    measure(metrics.sweep(opened, holders, now))  # so that a sweep that fails is missed


@contextmanager
def _go_on(faults: list[Exception]) -> Iterator[None]:
    """Keep a fault for later."""
    try:
        yield
    except (*FAULTS, Unavailable) as fault:
        logger.exception("part of the sweep failed")
        faults.append(fault)


def _reconcile(build: Build, seen: Mapping[str, Task | None], now: datetime, *, has_slot: bool) -> None:
    """Bring one build forward by its task, then by the clock, which does not wait for ECS to answer."""
    faults: list[Exception] = []
    if build.status is Status.PUBLISHING:
        untouched = now - (build.updated_at or build.created_at)
        if now >= build.deadline:
            _give_up_publishing(build, now)
        elif untouched > _IN_FLIGHT:
            lifecycle.publish(build, now, _SOURCE)
        return
    with _go_on(faults):
        build = _look(build, seen, now, has_slot=has_slot)
    # A task that was not seen may have ended well: the next sweep looks again, and then decides all the same.
    unseen = build.task_arn is not None and not seen.get(build.task_arn)
    patience = _IN_FLIGHT if faults or unseen else timedelta()
    if now >= build.deadline + patience and not build.status.final and build.status is not Status.PUBLISHING:
        with _go_on(faults):
            if build.status is not Status.QUEUED and build.task_arn is None and (task := runner.find(build)):
                build = lifecycle.see_task(build, task, now, _SOURCE)
        lifecycle.observe(build, Overdue(now), now, _SOURCE)
    if faults:
        raise faults[0]


def _look(build: Build, seen: Mapping[str, Task | None], now: datetime, *, has_slot: bool) -> Build:
    """Bring a build forward by what ECS says of its task; of a task that was not asked for, nothing is known."""
    untouched = now - (build.updated_at or build.created_at)
    if build.task_arn is not None and build.task_arn not in seen:
        return build
    if build.task_arn is not None and (task := seen[build.task_arn]):
        return lifecycle.see_task(build, task, now, _SOURCE)
    if build.task_arn is not None or build.cancel_requested_at or build.status.final:
        return _look_for_task(build, now) if untouched > _UNKNOWN_YET or build.missing_at else build
    if (has_slot or build.status is not Status.QUEUED) and untouched > _IN_FLIGHT and now < build.deadline:
        # What RunTask refuses for so long is believed, unless a call before has made the task.
        if untouched >= REFUSED_FOR and build.claimed == build.attempt and (task := runner.find(build)):
            return lifecycle.see_task(build, task, now, _SOURCE)
        return lifecycle.start(build, now, _SOURCE)
    return build


def _give_up_publishing(build: Build, now: datetime) -> Build:
    """End a build whose site could not be published in time; one that did go live, though nobody heard of it, is ready.

    A function that hangs in `publish` must not make a failed build live later, so the project is told first.
    """
    refused = projects.refuse(build.project_slug, build.id)
    return lifecycle.observe(build, Overdue(now) if refused else Published(now), now, _SOURCE)


def _look_for_task(build: Build, now: datetime) -> Build:
    """Find the task of an attempt whose ARN we never learned; one that ECS does not show under its ARN is lost."""
    if build.task_arn is None and (task := runner.find(build)):
        return lifecycle.see_task(build, task, now, _SOURCE)
    return lifecycle.observe(build, TaskLost(now, build.attempt), now, _SOURCE)


def _give_back_leaked(suspects: set[str]) -> None:
    """Free the slots of builds that have ended; each is read, as the index of open builds may not show a new one."""
    ended = [each for each in sorted(suspects) if (build := builds.get(each)) is None or build.open is None]
    if ended:
        slots.release(*ended)
        count("Repair", kind="leaked slot")
        logger.warning("slots given back", builds=sorted(ended))


def _stop_orphans(known: set[str], now: datetime) -> None:
    """Stop tasks of ours that no open build has, seen by two sweeps and old enough for their build to know them."""
    strangers = runner.describe(sorted(runner.living() - known))
    orphans = {
        task.arn
        for _, task in strangers
        if task and now - (task.created_at or now) > _UNKNOWN_YET and not _wanted(task)
    }
    before = slots.sightings()
    for arn in sorted(orphans & before):
        runner.stop(arn, "Tidegate: no open build has this task")
        count("Repair", kind="orphan task")
        logger.warning("orphan task stopped", task=arn)
    if orphans != before:
        slots.sight(orphans)


def _wanted(task: Task) -> bool:
    """Whether the task is its build's present one, read from the table itself."""
    build = builds.get(task.build_id)
    return build is not None and not build.status.final and task.attempt == build.attempt

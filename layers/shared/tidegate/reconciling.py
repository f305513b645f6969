"""What events did not say: every open build, slot and task is looked at, and brought forward or put right."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from enum import IntEnum
from functools import partial

from msgspec import Struct

from tidegate import builds, lifecycle, metrics, projects, queueing, runner, slots
from tidegate.aws import FAULTS, LONGEST_CALL
from tidegate.decision import REFUSED_FOR, SUPERSEDED
from tidegate.exceptions import Unavailable
from tidegate.model import Build, Task
from tidegate.observability import count, logger, measure
from tidegate.observations import CancelAsked, Overdue, Published, TaskLost, TaskSeen
from tidegate.status import Status

_SOURCE = "reconciler"
_IN_FLIGHT = timedelta(seconds=60)  # longer than any function that is starting a build may live
_UNKNOWN_YET = timedelta(minutes=2)  # DescribeTasks may not know a task that RunTask has just made
_GOLDEN = 0.618033988749895  # of its multiples' fractions each falls into the widest gap between those before


class _Kind(IntEnum):
    """What is asked of ECS, in the order in which it is."""

    STOP, LOOK, ORPHANS, START, QUEUE = range(5)


class _Step(Struct, frozen=True):
    """Something to ask of ECS; `build` is the one that a task is to be started for."""

    kind: _Kind
    do: Callable[[], object]
    build: Build | None = None


def reconcile(now: datetime, seconds_left: Callable[[], float] = lambda: math.inf) -> None:
    """Bring every open build forward by what ECS says of its task, by the clock, and by what was left undone.

    No fault holds up the rest of the sweep, neither one build's nor one call's; all are raised together at the end.
    A call that may hang is only made while the function has the time for that. So the clock comes first, which takes
    DynamoDB alone; then what stops tasks; new tasks come last, as one refusal for want of capacity stands for all.
    What there was no time for has its turn in another sweep.
    """
    faults: list[Exception] = []
    opened, holders = builds.open_builds(), slots.holders()
    measure(metrics.sweep(opened, holders, now))  # before all else, so that a sweep that dies has told it
    opened = _in_turn(opened, now)
    arns = [build.task_arn for build in opened if build.task_arn and build.status is not Status.PUBLISHING]
    seen: dict[str, Task | None] = {}
    with _go_on(faults):
        seen = dict(runner.describe(arns))
    steps: list[_Step] = []
    for build in opened:
        with _go_on(faults, build):
            can_read = seconds_left() >= LONGEST_CALL
            steps += _bring_forward(build, seen, now, has_slot=build.id in holders, can_read=can_read)
    for build in opened:
        if _in_doubt(build) and _overdue(build, now):
            with _go_on(faults, build):
                _end_or_find(build, now, in_time=seconds_left() >= LONGEST_CALL)
    for build in queueing.superseded(opened):
        with _go_on(faults, build):
            lifecycle.observe(build, CancelAsked(now, SUPERSEDED), now, _SOURCE)
    with _go_on(faults):
        _give_back_leaked(holders - {build.id for build in opened}, faults)
    steps += [
        _Step(_Kind.ORPHANS, lambda: _stop_orphans(set(arns), now, seconds_left, faults)),
        _Step(_Kind.QUEUE, lambda: queueing.start_waiting(now, _SOURCE)),
    ]
    _take(steps, seconds_left, faults)
    if faults:
        raise ExceptionGroup("some of the sweep failed", faults)


def _take(steps: list[_Step], seconds_left: Callable[[], float], faults: list[Exception]) -> None:
    """Take the steps while there is time; tasks are started in the order of their builds."""
    refused: set[tuple[int | None, int | None]] = set()
    for step in sorted(steps, key=lambda step: (step.kind, step.build.id if step.build else "")):
        size = (step.build.settings.cpu, step.build.settings.memory) if step.build else (None, None)
        if step.build and size in refused:
            continue
        if seconds_left() < LONGEST_CALL:
            if step.kind < _Kind.START:  # many new tasks are no fault
                faults.append(Unavailable("the sweep has no time left; the next one goes on"))
            logger.warning("no time left", step=step.kind.name)
            break
        with _go_on(faults, step.build):
            after = step.do()
            if step.build and isinstance(after, Build) and after is not step.build and after.waiting:
                refused.add(size)


def _in_turn(some: list[Build], now: datetime) -> list[Build]:
    """The builds, begun at another place each minute, so that none is always the one for which no time is left."""
    first = int(now.timestamp() // 60 * _GOLDEN % 1 * len(some))
    return some[first:] + some[:first]


@contextmanager
def _go_on(faults: list[Exception], build: Build | None = None) -> Iterator[None]:
    """Keep a fault for later."""
    try:
        yield
    except (*FAULTS, Unavailable) as fault:
        logger.exception("part of the sweep failed", build_id=build and build.id)
        faults.append(fault)


def _bring_forward(
    build: Build, seen: Mapping[str, Task | None], now: datetime, *, has_slot: bool, can_read: bool
) -> Iterator[_Step]:
    """Bring one build forward by its task, then by the clock, without ECS; yields what there is to be asked of ECS.

    `can_read`: there is the time to read a result.
    """
    if build.status is Status.PUBLISHING:
        _publish(build, now)
        return
    task = seen.get(build.task_arn) if build.task_arn else None
    faults: list[Exception] = []
    sighting: TaskSeen | None = None
    if task:
        with _go_on(faults, build):
            sighting = lifecycle.sighting(build, task, now, can_read=can_read)
    if sighting:
        # If this cannot be written the clock must not be either: the next sweep sees it again.
        build, decision = lifecycle.settle(build, sighting, now, _SOURCE)
        if decision.publish:
            build = lifecycle.publish(build, now, _SOURCE)
        elif decision.stop_task or decision.start:
            act = partial(lifecycle.follow, build, decision, now, _SOURCE)
            yield _Step(_Kind.STOP, act) if decision.stop_task else _Step(_Kind.START, act, build)
    # A task that was not seen may have ended well: the next sweep looks again, and then decides all the same.
    unseen = task is None and build.task_arn is not None
    patience = _IN_FLIGHT if faults or unseen else timedelta()
    if _in_doubt(build) and _overdue(build, now):
        pass  # a task that is found may have ended well, which is asked before all else
    elif _overdue(build, now - patience):
        build, decision = lifecycle.settle(build, Overdue(now), now, _SOURCE)
        if decision.stop_task:
            yield _Step(_Kind.STOP, partial(lifecycle.follow, build, decision, now, _SOURCE))
    elif task is None and (has_slot or build.status is not Status.QUEUED) and build.task_arn in {None, *seen}:
        yield _ask(build, now)
    if faults:
        raise faults[0]


def _end_or_find(build: Build, now: datetime, *, in_time: bool) -> None:
    """End an overdue build, unless a task of it is found that has ended; who cannot look waits a sweep."""
    faults: list[Exception] = []
    sighting: TaskSeen | None = None
    looked = False
    if in_time:
        with _go_on(faults, build), suppress(runner.NotDescribed):
            task = runner.find(build)
            sighting = lifecycle.sighting(build, task, now) if task else None
            looked = True
    if sighting:
        build = lifecycle.observe(build, sighting, now, _SOURCE)
    if _overdue(build, now if looked else now - _IN_FLIGHT):
        lifecycle.observe(build, Overdue(now), now, _SOURCE)
    if faults:
        raise faults[0]


def _ask(build: Build, now: datetime) -> _Step:
    """What ECS is to be asked of a build whose task it did not show."""
    if build.task_arn is not None or build.cancel_requested_at or build.status.final:
        return _Step(_Kind.LOOK, partial(_look_for_task, build, now))
    return _Step(_Kind.START, partial(_start, build, now), build)


def _start(build: Build, now: datetime) -> Build:
    """Start a build's task, unless somebody is just at it or one is found."""
    untouched = now - (build.updated_at or build.created_at)
    # What RunTask refuses for long is believed, unless a call before has made the task.
    if untouched >= REFUSED_FOR and build.claimed == build.attempt and (found := _find(build, now)):
        return found
    # Nobody is starting an attempt that is not claimed; it waits, for capacity mostly.
    waits = build.unstarted and build.status is not Status.QUEUED
    return lifecycle.start(build, now, _SOURCE) if waits or untouched > _IN_FLIGHT else build


def _publish(build: Build, now: datetime) -> None:
    """Publish a site that nobody is publishing, or end a build whose site could not be published in time.

    One that did go live, though nobody heard of it, is ready. A function that hangs in `publish` must not make a failed
    build live later, so the project is told first.
    """
    if now < build.deadline:
        if now - (build.updated_at or build.created_at) > _IN_FLIGHT:
            lifecycle.publish(build, now, _SOURCE)
        return
    refused = projects.refuse(build.project_slug, build.id)
    lifecycle.observe(build, Overdue(now) if refused else Published(now), now, _SOURCE)


def _look_for_task(build: Build, now: datetime) -> Build:
    """Find the task of an attempt whose ARN we never learned; one that ECS does not show under its ARN is lost."""
    untouched = now - (build.updated_at or build.created_at)
    if untouched <= _UNKNOWN_YET and not build.missing_at:
        return build
    if build.task_arn is None and (found := _find(build, now)):
        return found
    return lifecycle.observe(build, TaskLost(now, build.attempt), now, _SOURCE)


def _find(build: Build, now: datetime) -> Build | None:
    """Look for the task of the build's attempt, and observe it if ECS describes it; `None`: there is none."""
    try:
        task = runner.find(build)
    except runner.NotDescribed:
        return build
    if task is None:
        return None
    build = lifecycle.see_task(build, task, now, _SOURCE)
    return lifecycle.observe(build, Overdue(now), now, _SOURCE) if _overdue(build, now) else build


def _in_doubt(build: Build) -> bool:
    """Whether there may be a task that the build does not know."""
    return build.task_arn is None and build.status is not Status.QUEUED


def _overdue(build: Build, now: datetime) -> bool:
    return now >= build.deadline and not build.status.final and build.status is not Status.PUBLISHING


def _give_back_leaked(suspects: set[str], faults: list[Exception]) -> None:
    """Free the slots of builds that have ended; each is read, as the index of open builds may not show a new one."""
    ended: list[str] = []
    for each in sorted(suspects):
        with _go_on(faults):
            if (build := builds.get(each)) is None or build.open is None:
                ended.append(each)
    if ended:
        slots.release(*ended)
        count("Repair", kind="leaked slot")
        logger.warning("slots given back", builds=ended)


def _stop_orphans(known: set[str], now: datetime, seconds_left: Callable[[], float], faults: list[Exception]) -> None:
    """Stop tasks of ours that no open build has, seen by two sweeps and old enough for their build to know them."""
    orphans: set[str] = set()
    for arn, task in runner.describe(sorted(runner.living() - known)):
        with _go_on(faults):
            if task and now - (task.created_at or now) > _UNKNOWN_YET and not _wanted(task):
                orphans.add(arn)
    before = slots.sightings()
    if orphans != before:
        slots.sight(orphans)
    for arn in sorted(orphans & before):
        if seconds_left() < LONGEST_CALL:
            break
        with _go_on(faults):
            runner.stop(arn, "Tidegate: no open build has this task")
            count("Repair", kind="orphan task")
            logger.warning("orphan task stopped", task=arn)


def _wanted(task: Task) -> bool:
    """Whether the task is its build's present one, read from the table itself."""
    build = builds.get(task.build_id)
    return build is not None and not build.status.final and task.attempt == build.attempt

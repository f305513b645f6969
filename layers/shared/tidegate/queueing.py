"""The builds that wait for a slot: who is next, and who leaves the queue for a newer one."""

from collections import Counter
from collections.abc import Collection, Iterator
from datetime import datetime
from itertools import islice

from tidegate import builds, lifecycle, slots
from tidegate.aws import FAULTS
from tidegate.decision import SUPERSEDED
from tidegate.exceptions import Unavailable
from tidegate.model import Build, Source, Task
from tidegate.observability import count, logger
from tidegate.observations import CancelAsked
from tidegate.settings import settings
from tidegate.status import Status

_SUPERSEDED = 20  # newest builds of a project that are looked through for waiting ones
_STARTS = 10  # of waiting builds by one event; the reconciler goes on


def observe_task(task: Task, now: datetime) -> Build | None:
    """Bring the build of a task forward, and the next waiting one if a slot came free."""
    build = builds.get(task.build_id)
    if build is None:
        logger.warning(
            "task of an unknown build",
            build_id=task.build_id,
            task=task.arn,
            version=task.version,
            status=task.last_status,
            exit_code=task.exit_code,
            stop_code=task.stop_code,
            stopped_reason=task.stopped_reason,
            container_reason=task.container_reason,
        )
        count("EventIgnored", reason="unknown build")
        return None
    was_open = build.open
    build = lifecycle.see_task(build, task, now, "event")
    if was_open and not build.open:
        start_waiting(now, "event")
    return build


def start_waiting(now: datetime, source: str, new: Build | None = None) -> dict[str, Build]:
    """Give free slots to waiting builds: to the project with the fewest running first, then by age.

    `new` waits too, though the index of open builds may not show it yet. Returns the builds that were tried.
    """
    tried: dict[str, Build] = {}
    holders = slots.holders()
    free = settings().max_concurrent_builds - len(holders)
    opened = {build.id: build for build in builds.open_builds()} if free > 0 else {}
    if new is not None:
        opened[new.id] = new
    for each in superseded(opened.values()):
        opened[each.id] = ended = lifecycle.observe(each, CancelAsked(now, SUPERSEDED), now, source)
        if each.id in holders and not ended.open:  # it waited for capacity, with a slot
            holders.remove(each.id)
            free += 1
    while free > 0 and len(tried) < _STARTS and (build := next(_queue([*opened.values()], holders), None)):
        started = tried[build.id] = lifecycle.start(build, now, source)
        if started.status.final:
            del opened[build.id]  # its slot goes to whose turn it is then
        elif started.waiting:
            break
        else:
            holders.add(build.id)
            free -= 1
    return tried


def _queue(opened: list[Build], holders: set[str]) -> Iterator[Build]:
    """The waiting builds in the order they will start in, if no others come."""
    running = Counter(build.project_slug for build in opened if build.id in holders)
    waiting = [build for build in opened if build.status is Status.QUEUED and build.id not in holders]
    while waiting:
        build = min(waiting, key=lambda each: (running[each.project_slug], each.id))
        waiting.remove(build)
        running[build.project_slug] += 1
        yield build


def queue_place(build: Build) -> tuple[int | None, str | None]:
    """The build's position in the queue, counted from 1, and why it waits; no position if it does not wait for a slot.

    Where slots are free, it waits for what those wait for that have taken theirs: one after another is tried.
    """
    if build.status is not Status.QUEUED:
        return None, build.waiting
    opened, holders = builds.open_builds(), slots.holders()
    position = next((place for place, each in enumerate(_queue(opened, holders), 1) if each.id == build.id), None)
    ahead = [each.waiting for each in opened if each.id in holders and each.waiting]
    free = len(holders) < settings().max_concurrent_builds
    return position, ahead[-1] if free and ahead else build.waiting


def supersede(build: Build, now: datetime) -> None:
    """Take the project's older builds of the same ref out of the queue.

    Those that the index does not show yet, or no more, go when the queue moves, at the latest with the next sweep.
    """
    newest = islice(builds.of_project(build.project_slug, build.id), _SUPERSEDED)
    for older in superseded([*newest, build]):
        lifecycle.observe(older, CancelAsked(now, SUPERSEDED), now, "api")


def superseded(some: Collection[Build]) -> list[Build]:
    """The waiting ones of some builds that have a newer one beside them, not ended, of the same project and ref."""
    newest: dict[tuple[str, Source], str] = {}
    for build in some:
        if not build.status.final:
            key = build.project_slug, build.source
            newest[key] = max(build.id, newest.get(key, ""))
    return [
        build
        for build in some
        if build.unstarted
        and not build.status.final
        and build.source.commit is None
        and build.id < newest[build.project_slug, build.source]
    ]


def refill(now: datetime) -> None:
    """Start what waits; if that fails, the reconciler does it."""
    try:
        start_waiting(now, "api")
    except (*FAULTS, Unavailable):
        logger.exception("waiting builds not started")

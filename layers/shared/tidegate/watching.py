"""Watching a build: its viewers get the lines that are stored, as they are stored, and then the end.

Each push sends what a viewer has not got, from the cursor that its subscription keeps. Whatever fails on the way, the
cursor has not moved past a line that was not sent, so the next push, or the sweep, makes it good; what comes twice has
an id that the viewer knows (docs/contract.md, the live log).
"""

import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from tidegate import chunks, connections, frames, logs, notes, reading
from tidegate.aws import FAULTS
from tidegate.connections import Busy, Gone, Subscription
from tidegate.exceptions import FieldError, InvalidRequest, NotFound, TooManySubscriptions, Unavailable
from tidegate.memory import Memory
from tidegate.observability import logger
from tidegate.sheets import Log, Place, look

MAX_BUILDS = 10  # that one connection may follow
_AT_ONCE = 32  # viewers that are sent to side by side
_NEED = timedelta(seconds=5)  # of the lease, to send one frame and to say so
_PEACE = timedelta(seconds=5)  # for a viewer that did not take a frame
_PAUSE = 0.5  # seconds until it is tried again by who has the time

Clock = Callable[[], datetime]

# Of the builds of tasks that wrote while somebody watched, the task among them.
_tasks: Memory[str, list[str]] = Memory()


class _Lost(Exception):
    """Somebody else holds the lease by now."""


class _Late(Exception):
    """The time that there was for sending is over."""


def subscribe(new: Subscription, clock: Clock, until: datetime) -> None:
    """Let a connection follow a build, and send it what there is so far, as much as can be sent until then.

    Raises NotFound, TooManySubscriptions, or InvalidRequest for a wrong cursor; nothing is written then.
    """
    try:
        logs.check_cursor(new.cursor)
    except logs.BadCursor as error:
        raise InvalidRequest(errors=(FieldError("cursor", str(error)),)) from error
    reading.outlook(new.build_id, clock())
    if len({*connections.builds_of(new.connection_id), new.build_id}) > MAX_BUILDS:
        raise TooManySubscriptions(f"A connection may follow {MAX_BUILDS} builds")
    connections.subscribe(new, clock())
    logger.info("viewer subscribed", build_id=new.build_id, connection=new.connection_id)
    _serve(new, look(new.build_id, clock()), clock, until, patient=True)


def leave(connection_id: str) -> None:
    """Forget what a connection that has ended was subscribed to."""
    for build_id in connections.builds_of(connection_id):
        connections.remove(build_id, connection_id)


def push_task(task_id: str, clock: Clock, until: datetime, new: chunks.Delivery | None = None) -> None:
    """Send new lines of a task's log to its build's viewers; a task that is not known yet is left to the sweep.

    `new`: what was just stored of it.
    """
    try:
        origin = notes.known_origin(task_id)
    except FAULTS as fault:
        _tell([fault])
        return
    if origin:
        _tell(_push(origin.build_id, clock, until, task_id, new))


def push(build_id: str, clock: Clock, until: datetime) -> None:
    """Send a build's viewers what they have not got; nothing fails over them, and the sweep makes good what does."""
    _tell(_push(build_id, clock, until))


def sweep(clock: Clock, until: datetime) -> None:
    """Send what pushes have left; faults of the tables are raised together at the end."""
    faults: list[Exception] = []
    watched = connections.watched()
    first = clock().minute % max(1, len(watched))  # so that none is always the one for which no time is left
    for build_id in watched[first:] + watched[:first]:
        if clock() < until:
            faults += _push(build_id, clock, until)
    if faults:
        raise ExceptionGroup("some viewers were not served", faults)


def _tell(faults: Iterable[Exception]) -> None:
    for fault in faults:
        logger.error("viewers not served", exc_info=fault)


def _push(
    build_id: str, clock: Clock, until: datetime, task_id: str = "", new: chunks.Delivery | None = None
) -> list[Exception]:
    """Serve all viewers of a build side by side; returns what failed, save what is a viewer's own trouble.

    Where a task wrote lines the build is not asked again for its tasks: a newer one has batches of its own.
    """
    try:
        viewers = connections.of_build(build_id)
        if not viewers:
            return []
        log = Log(build_id, _tasks[task_id], new=new) if task_id in _tasks else look(build_id, clock())
        if task_id in log.tasks:
            _tasks[task_id] = log.tasks
    except NotFound:
        logger.warning("viewers of an unknown build", build_id=build_id)
        return []
    except (*FAULTS, Unavailable) as fault:
        return [fault]
    viewers.sort(key=lambda viewer: viewer.leased_until)  # who did not take the last frame comes last
    now, faults = clock(), list[Exception]()
    ready = [viewer for viewer in viewers if viewer.leased(now)]
    waiting = [viewer for viewer in viewers if not viewer.leased(now)]
    for make in (log.at_hand, log.first):  # whose lines are at hand does not wait until others' are read
        made = _make({viewer.place for viewer in waiting}, make, clock, until, faults)
        ready += [viewer for viewer in waiting if viewer.place in made]
        faults += _side_by_side(ready, lambda viewer: _served(viewer, log, clock, until))
        ready, waiting = [], [viewer for viewer in waiting if viewer.place not in made]
    return faults


def _make(
    places: set[Place],
    make: Callable[[str | None, str], object],
    clock: Clock,
    until: datetime,
    faults: list[Exception],
) -> set[Place]:
    """Make the first page for each place, once for all who stand there; returns those for which that was possible."""
    made: set[Place] = set()
    for place in places:
        try:
            if clock() < until and make(*place):
                made.add(place)
        except Exception as fault:  # noqa: BLE001  whatever a cursor leads to, the other viewers get their lines
            faults.append(fault)
    return made


def _side_by_side(viewers: list[Subscription], serve: Callable[[Subscription], list[Exception]]) -> list[Exception]:
    if len(viewers) < 2:
        return [fault for viewer in viewers for fault in serve(viewer)]
    from concurrent.futures import ThreadPoolExecutor  # not needed while nobody watches

    connections.prepare()
    with ThreadPoolExecutor(min(len(viewers), _AT_ONCE)) as threads:
        return [fault for faults in threads.map(serve, viewers) for fault in faults]


def _served(viewer: Subscription, log: Log, clock: Clock, until: datetime) -> list[Exception]:
    try:
        _serve(viewer, log, clock, until)
    except Exception as fault:  # noqa: BLE001  as above
        return [fault]
    return []


def _serve(viewer: Subscription, log: Log, clock: Clock, until: datetime, *, patient: bool = False) -> None:
    """Send one viewer what it has not got, unless somebody is at it, who is told that there may be more now."""
    seen: Subscription | None = viewer
    lease = uuid4().hex
    while seen:
        if seen.leased(clock()):
            seen = connections.wish(seen)
            if seen and seen.leased(clock()):
                return
        elif not log.news(*seen.place):
            return
        else:
            seen = connections.take(seen, lease, clock())
            if seen and seen.lease == lease:
                _hold(_Turn(seen, clock, until, patient=patient), log, clock)
                return
        log = look(viewer.build_id, clock())  # what was read may be older than a wish that we answer for now


class _Turn:
    """A viewer for as long as we hold its lease."""

    def __init__(self, held: Subscription, clock: Clock, until: datetime, *, patient: bool) -> None:
        self.held, self.cursor = held, held.cursor
        self._clock, self._until, self._patient = clock, until, patient
        self._ends = clock() + connections.LEASE

    def send(self, log: Log) -> bool:
        """Send all there is; whether that was all for now, so that the lease is given back."""
        for sheet in log.sheets(self.cursor, self.held.encoding):
            for frame in sheet.frames:
                self._post(frame)
            self.cursor = sheet.cursor
        if log.ending:
            self._post(frames.end(self.held.build_id, self.cursor, log.ending))
            connections.end(self.held)
            return True
        left = connections.release(self.held, self.cursor)
        if left is None or left.lease != self.held.lease:
            return True
        self.held = left
        return False

    def _post(self, frame: bytes) -> None:
        while not self._posted(frame):
            time.sleep(_PAUSE)

    def _posted(self, frame: bytes) -> bool:
        now = self._clock()
        if now >= self._until:
            raise _Late
        if now > self._ends - _NEED:
            if not connections.renew(self.held, self.cursor, now):
                raise _Lost
            self._ends = now + connections.LEASE
        try:
            connections.post(self.held.connection_id, frame)
        except Busy:
            if self._patient:
                return False
            raise
        return True


def _hold(turn: _Turn, log: Log, clock: Clock) -> None:
    """Send to a viewer until nothing is left and nobody wishes for more, or it cannot go on."""
    held = turn.held
    keys: dict[str, Any] = {"build_id": held.build_id, "connection": held.connection_id}
    try:
        while not turn.send(log):
            log = look(held.build_id, clock())
    except Gone:
        logger.info("viewer gone", **keys)
        connections.remove(held.build_id, held.connection_id)
    except Busy as busy:
        logger.warning("viewer busy", reason=str(busy), **keys)
        connections.leave(held, turn.cursor, clock() + _PEACE)
    except _Late:
        logger.info("viewer not caught up", **keys)
        connections.leave(held, turn.cursor, clock())
    except _Lost:
        logger.warning("viewer served by another", **keys)

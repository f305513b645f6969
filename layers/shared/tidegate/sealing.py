"""Makes logs whole: fetches what the subscription missed, counts the lines, and seals the log.

CloudWatch may show the last lines a moment late. So a log is sealed at once only where the builder's own last line is
there, and else when two looks agree. In any case the reconciler looks once more, and counts what came meanwhile.
"""

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import groupby

from msgspec import Struct
from msgspec.structs import replace

from tidegate import batches, builds, chunks, cloudwatch, notes, subscription
from tidegate.aws import FAULTS, LONGEST_CALL
from tidegate.exceptions import Unavailable
from tidegate.model import Task
from tidegate.observability import count, logger, measure
from tidegate.settings import settings

_CLOSING = ("==> Ready: ", "==> What to do: ")  # the builder's last line
_SETTLE = timedelta(seconds=10)  # between two looks that agree
_PATIENCE = timedelta(minutes=15)  # with CloudWatch, before a log is sealed as it is
_PAGES = 30  # of CloudWatch's that one look reads, and one sweep before it leaves the rest to the next


class _Fetched(Struct):
    """How far a look came: up to the line `last`, of the time `since`; `whole` if that was all.

    It has stored so many lines as were `missed`.
    """

    since: int
    last: str | None
    whole: bool = True
    pages: int = 0
    missed: int = 0


def see_end(task: Task, now: datetime) -> None:
    """Complete the log of a task that has ended; what cannot be done now is left to the reconciler."""
    if not task.ended or notes.get_seal(task.id):
        return
    watch = notes.get_watch(task.id)
    if watch is None:  # before all else, so that whatever fails the reconciler knows of the log
        build = builds.get(task.build_id)
        watch = notes.Watch(task.id, task.build_id, build.project_slug if build else None)
        notes.watch(watch, now)
    fresh = notes.Watch(task.id, watch.build_id, watch.project_slug, task.stopped_at or now)
    after, _, sealed = _look(fresh, now)
    if not sealed:  # else the seal tells of the look
        notes.watch(after, now)


def sweep(
    now: datetime,
    seconds_left: Callable[[], float] = lambda: math.inf,
    tell: Callable[[str], None] | None = None,
) -> None:
    """Look at the logs that are not whole yet, while there is time; faults are raised together at the end.

    `tell` gets the id of each build whose log is sealed.
    """
    watches = {watch.task_id: watch for watch in notes.watches()}
    living = {build.task_arn.rpartition("/")[2]: build for build in builds.open_builds() if build.task_arn}
    for task_id in sorted(living.keys() - watches.keys()):  # so that a task whose end nobody tells is not forgotten
        notes.name_task(task_id, living[task_id].id, living[task_id].project_slug, now)
    faults: list[Exception] = []
    pages = 0
    for noted in sorted(watches.values(), key=lambda each: (each.looked_at is not None, each.looked_at)):
        if pages >= _PAGES or (noted.task_id in living and noted.ended_at is None):
            continue
        if seconds_left() < LONGEST_CALL:
            faults.append(Unavailable("there is no time left for logs; the next sweep goes on"))
            break
        try:
            pages += _look_again(noted, now, seconds_left, tell)
        except FAULTS as fault:
            logger.exception("log not sealed", task=noted.task_id)
            faults.append(fault)
    if faults:
        raise ExceptionGroup("some logs were not sealed", faults)


def _look_again(
    noted: notes.Watch, now: datetime, seconds_left: Callable[[], float], tell: Callable[[str], None] | None
) -> int:
    """Look at a log that is no longer written; returns how many pages of CloudWatch's that took."""
    seen = notes.look_of_seal(noted.task_id) if noted.ended_at is None else None
    watch = seen or noted
    if watch.looked_at and now - watch.looked_at < _SETTLE and (seen or notes.get_seal(watch.task_id)):
        return 0  # the looks would be too near to each other to agree
    if watch.ended_at is None and _lives(watch):
        return 0
    after, fetched, sealed = _look(watch, now, seconds_left)
    given_up = not fetched.whole and now - (watch.ended_at or now) >= _PATIENCE
    if given_up:
        _seal(after, notes.Seal(after.lines, after.last, "CloudWatch did not show the rest of the log"), now)
    if given_up or _agree(watch, after):
        _hand_over(watch.task_id)
        notes.unwatch(watch.task_id)
    else:
        notes.watch(after, now)
    if tell and watch.build_id and (sealed or given_up):
        tell(watch.build_id)
    return fetched.pages


def _lives(watch: notes.Watch) -> bool:
    """Whether a task still runs for its build, which the index of open builds may not show yet."""
    build = builds.get(watch.build_id) if watch.build_id else None
    return build is not None and build.open is not None and (build.task_arn or "").endswith(f"/{watch.task_id}")


def _hand_over(task_id: str) -> None:
    """Let the log forwarder send what was fetched to the log sink, too.

    At the last look only: until then the subscription may deliver it, and the sink would get it twice.
    """
    for lines in chunks.fetched_lines(task_id) if settings().log_forwarder else []:
        subscription.deliver(cloudwatch.stream_of(task_id), lines)
        logger.info("missed lines handed over", task=task_id, lines=len(lines))


def _look(
    watch: notes.Watch, now: datetime, seconds_left: Callable[[], float] = lambda: math.inf
) -> tuple[notes.Watch, _Fetched, bool]:
    """Compare a log with CloudWatch's and seal it if it is whole; returns what there is to remember, and if it was."""
    known, _ = chunks.stored_ids(watch.task_id)
    fetched = _fetch(watch, known, now, seconds_left)
    if fetched.missed:
        logger.info("missed lines stored", task=watch.task_id, lines=fetched.missed)
        measure({"MissedLines": fetched.missed})
    known, last = chunks.stored_ids(watch.task_id)
    after = replace(
        watch,
        ended_at=watch.ended_at or now,
        looked_at=now,
        lines=len(known),
        whole=fetched.whole,
        since=fetched.since,
        last=fetched.last,
    )
    sealed = fetched.whole and (last.startswith(_CLOSING) or _agree(watch, after))
    if sealed:
        _seal(after, notes.Seal(len(known)), now)
    return after, fetched, sealed


def _agree(one: notes.Watch, other: notes.Watch) -> bool:
    """Whether two looks at a whole log, some time apart, saw the same."""
    if one.looked_at is None or other.looked_at is None or not (one.whole and other.whole):
        return False
    return one.lines == other.lines and other.looked_at - one.looked_at >= _SETTLE


def _fetch(watch: notes.Watch, known: set[str], now: datetime, seconds_left: Callable[[], float]) -> _Fetched:
    """Store the lines that CloudWatch has and the store has not."""
    fetched = _Fetched(watch.since, watch.last)
    try:
        for page in cloudwatch.read(watch.task_id, watch.since):
            # Gap by gap: a chunk that reaches over lines that are there would be read before them.
            for missing, gap in groupby(page, lambda line: line.id not in known):
                if missing:
                    events = tuple(batches.Event(line.id, line.timestamp, line.message) for line in gap)
                    batch = batches.Batch("DATA_MESSAGE", cloudwatch.stream_of(watch.task_id), events)
                    chunks.put(batch, now, fetched=True)
                    fetched.missed += len(events)
            fetched.pages += 1
            if page:
                fetched.since, fetched.last = page[-1].timestamp, page[-1].id
            if fetched.pages >= _PAGES or seconds_left() < LONGEST_CALL:
                logger.info("log compared in part", task=watch.task_id, pages=fetched.pages, last=fetched.last)
                fetched.whole = False
                return fetched
    except FAULTS:
        logger.warning("log not compared with CloudWatch", task=watch.task_id, exc_info=True)
        fetched.whole, fetched.pages = False, _PAGES  # the other logs are not tried for in vain
        return fetched
    fetched.since = watch.since  # the next look repeats this one
    return fetched


def _seal(look: notes.Watch, new: notes.Seal, now: datetime) -> None:
    if notes.get_seal(look.task_id) != new:
        notes.seal(look, new, now)
        logger.info("log sealed", task=look.task_id, lines=new.lines, gap=new.reason)
        if new.reason:
            count("LogGaps")

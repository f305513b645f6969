"""Reading a build's log: its lines, and whether it has ended."""

from datetime import datetime, timedelta

from msgspec import Struct

from tidegate import builds, logs, notes
from tidegate.exceptions import NotFound
from tidegate.model import Build, LogPage

_SEALED_BY = timedelta(minutes=3)  # after a build's end; a log that is not sealed by then is called ended all the same


class BuildLog(Struct, frozen=True):
    """A page of a build's log.

    `end`: the build has ended, no line follows, and none is expected. Lines are counted once the log is sealed; a gap
    is the line after which some are missing, and why.
    """

    page: LogPage
    end: bool
    sealed: bool
    line_count: int | None
    gaps: list[dict[str, str | None]]


class Outlook(Struct, frozen=True):
    """Which tasks write a build's log, and whether lines are still to be expected after those that are stored."""

    build: Build
    tasks: list[str]
    seals: tuple[notes.Seal, ...]
    over: bool

    @property
    def sealed(self) -> bool:
        """Whether the log is whole, and its lines are counted."""
        return self.build.status.final and len(self.seals) == len(self.tasks)

    @property
    def lines(self) -> list[int]:
        """How many lines each task of a sealed log wrote."""
        return [seal.lines for seal in self.seals] if self.sealed else []

    @property
    def line_count(self) -> int | None:
        """How many lines a sealed log has."""
        return sum(self.lines) if self.sealed else None

    @property
    def gaps(self) -> list[dict[str, str | None]]:
        """After which lines some are missing, and why."""
        return [{"after": seal.after, "reason": seal.reason} for seal in self.seals if seal.reason]


def read_log(build_id: str, cursor: str | None, limit: int, now: datetime) -> BuildLog:
    """The next lines of a build's log; raises NotFound, or BadCursor."""
    view = outlook(build_id, now)
    page = logs.read(view.tasks, cursor, limit, view.lines)
    return BuildLog(page, view.over and not page.more, view.sealed, view.line_count, view.gaps)


def outlook(build_id: str, now: datetime) -> Outlook:
    """Look at a build before its lines are read: what a seal counts is then among them; raises NotFound."""
    build = builds.get(build_id)
    if build is None:
        raise NotFound(f"There is no build {build_id}")
    tasks = [arn.rpartition("/")[2] for arn in build.tasks]
    seals = tuple(seal for task in tasks if (seal := notes.get_seal(task))) if build.status.final else ()
    late = build.finished_at is not None and now - build.finished_at >= _SEALED_BY
    return Outlook(build, tasks, seals, build.status.final and (late or len(seals) == len(tasks)))

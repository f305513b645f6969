"""Sends a build's lines on to the log sink, with what is known of the build."""

import re
from datetime import datetime, timedelta

from msgspec import Struct

from tidegate import aws, builds, chunks, jobs, notes, otlp, sink
from tidegate.memory import Memory
from tidegate.model import Build
from tidegate.observability import count, logger
from tidegate.settings import settings

_LOOK_AGAIN = timedelta(seconds=3)  # for the commit of a build that is still being cloned
_REST = timedelta(minutes=1)  # after a fault


class _Commit(Struct, frozen=True):
    """What a task has cloned, or from when on that is asked again."""

    commit: str | None
    ask_at: datetime


known_commits: Memory[str, _Commit] = Memory()  # by task


def forward(new: chunks.Delivery, now: datetime) -> None:
    """Send what a subscription filter delivered and `chunks.store` took; raises where the sink has not taken it.

    A fault of DynamoDB is raised, too: it is better to send lines a minute later than without their build.
    """
    if not new.lines:
        return
    observed = int(now.timestamp() * 1000) * 1_000_000
    try:
        sink.send(otlp.requests(_resource(new.task_id, now), new.events, observed))
    except Exception:  # whatever it is, the sink has not got the lines
        count("LogSinkFailed")
        raise


def _resource(task_id: str, now: datetime) -> dict[str, str | int | None]:
    """Who wrote the lines; in the words of OpenTelemetry's semantic conventions, where they have one."""
    known: dict[str, str | int | None] = {
        "service.name": settings().powertools_service_name,
        "aws.ecs.task.id": task_id,
    }
    origin = notes.known_origin(task_id)
    if origin is None:
        return known
    known |= {"tidegate.project.slug": origin.project_slug, "tidegate.build.id": origin.build_id}
    build = builds.get(origin.build_id)
    return known | _described(build, task_id, now) if build else known


def _described(build: Build, task_id: str, now: datetime) -> dict[str, str | int | None]:
    """The status is the one at the time of sending; the commit is known once it is cloned, if not pinned."""
    of_this_attempt = (build.task_arn or "").rpartition("/")[2] == task_id
    commit = build.commit
    if commit is None and of_this_attempt and not build.status.final:
        commit = _cloned(build, task_id, now)
    return {
        "tidegate.build.status": build.status.value,
        "tidegate.build.attempt": build.attempt if of_this_attempt else None,
        "vcs.repository.url.full": re.sub(r"//[^/@]*@", "//", build.source.url),
        "vcs.ref.head.name": build.source.ref,
        "vcs.ref.head.revision": commit,
    }


def _cloned(build: Build, task_id: str, now: datetime) -> str | None:
    """The commit that the builder has cloned, asked for every few seconds until it is known, and then remembered."""
    known = known_commits.get(task_id)
    if known and (known.commit or now < known.ask_at):
        return known.commit
    commit, wait = _ask(build)
    known_commits[task_id] = _Commit(commit, now + wait)
    return commit


def _ask(build: Build) -> tuple[str | None, timedelta]:
    """The commit, and how long not to ask again; lines are not held back for it."""
    try:
        return jobs.told_commit(build), _LOOK_AGAIN
    except aws.FAULTS:
        logger.warning("commit not read", build_id=build.id, exc_info=True)
        return None, _REST

"""Sends a build's lines on to the log sink, with what is known of the build."""

import re
from datetime import datetime

from tidegate import builds, chunks, notes, otlp, sink
from tidegate.model import Build
from tidegate.settings import settings


def forward(new: chunks.Delivery, now: datetime) -> None:
    """Send what a subscription filter delivered and `chunks.store` took; raises where the sink has not taken it.

    A fault of DynamoDB is raised, too: it is better to send lines a minute later than without their build.
    """
    if new.lines:
        observed = int(now.timestamp() * 1000) * 1_000_000
        sink.send(otlp.requests(_resource(new.task_id), new.events, observed))


def _resource(task_id: str) -> dict[str, str | int | None]:
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
    return known | _described(build, task_id) if build else known


def _described(build: Build, task_id: str) -> dict[str, str | int | None]:
    """The status is the one at the time of sending; the commit is known from the build's end on, if not pinned."""
    of_this_attempt = (build.task_arn or "").rpartition("/")[2] == task_id
    return {
        "tidegate.build.status": build.status.value,
        "tidegate.build.attempt": build.attempt if of_this_attempt else None,
        "vcs.repository.url.full": re.sub(r"//[^/@]*@", "//", build.source.url),
        "vcs.ref.head.name": build.source.ref,
        "vcs.ref.head.revision": build.commit,
    }

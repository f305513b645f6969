"""What Tidegate does, one function a use case; the clock is an argument."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict, replace

from tidegate import builds, jobs, logs, projects, runner, sites, slots
from tidegate.aws import FAULTS
from tidegate.decision import (
    WAIT_LIMIT,
    Observation,
    Overdue,
    Published,
    QueueFull,
    TaskAccepted,
    TaskLost,
    TaskRefused,
    TaskSeen,
    decide,
)
from tidegate.diagnosis import diagnose_start
from tidegate.exceptions import FieldError, InvalidRequest, NotFound, SlugTaken, Unavailable
from tidegate.inputs import BuildDefaults, NewProject
from tidegate.model import Build, BuildSettings, LogPage, Project, Task
from tidegate.observability import count, logger
from tidegate.settings import settings
from tidegate.status import Status

_TRIES = 8  # of a write that others keep overtaking
_STARTS = 10  # of waiting builds by one event; the reconciler goes on
_IN_FLIGHT = timedelta(seconds=60)  # longer than any function that is starting a build may live
_UNKNOWN_YET = timedelta(minutes=2)  # DescribeTasks may not know a task that RunTask has just made


class BuildPage(Struct, frozen=True):
    """Some builds of a project, and the id to go on below (`None` at the end)."""

    builds: list[Build]
    before_id: str | None


class BuildLog(Struct, frozen=True):
    """A page of a build's log; `end` says that the build has ended and these are the last lines stored."""

    page: LogPage
    end: bool


def build_defaults() -> BuildDefaults:
    """What the stack allows a request, and adds to it."""
    config = settings()
    return BuildDefaults(
        protocols=config.git_protocols,
        private_hosts=config.allow_private_git_hosts,
        cpu=config.build_cpu,
        memory=config.build_memory,
    )


def site_url(slug: str) -> str:
    """The address of a project's site."""
    return settings().sites_url.replace("{slug}", slug)


def create_build(new: NewProject, build_id: str, now: datetime) -> Build:
    """Write a build of a new or known project, then start it if a slot is free; raises SlugTaken.

    Once the build is written it is accepted: whatever fails after that is made good by the reconciler.
    """
    project = _project_for(new, now)
    if new.env:
        jobs.put_env(jobs.env_key(build_id), new.env)
    build = Build(
        id=build_id,
        project_slug=project.slug,
        source=replace(new.source, ref=new.source.ref or (None if new.source.commit else project.ref)),
        settings=_merged(project.settings, new.settings),
        created_at=now,
        deadline=now + WAIT_LIMIT,
        timeout_seconds=settings().build_timeout_seconds,
    )
    builds.create(build)
    logger.info("build accepted", build_id=build.id, project=project.slug)
    try:
        build = start(build, now)
    except FAULTS:
        logger.exception("build not started yet", build_id=build.id)
    return build


def start(build: Build, now: datetime) -> Build:
    """Start the task of the build's attempt, if there is a slot; doing it again starts no second task."""
    if not slots.acquire(build.id):
        return observe(build, QueueFull(now), now)
    env: dict[str, str] = {}
    if build.settings.env_names:
        env = jobs.get_env(jobs.project_env_key(build.project_slug)) | jobs.get_env(jobs.env_key(build.id))
    answer = runner.run(build, jobs.grant(build, env))
    if isinstance(answer, str):
        return observe(build, TaskAccepted(now, build.attempt, answer), now)
    diagnosis = diagnose_start(answer.code, answer.message)
    logger.warning("task not started", build_id=build.id, code=answer.code, reason=answer.message)
    return observe(build, TaskRefused(now, build.attempt, diagnosis), now)


def observe(build: Build, seen: Observation, now: datetime) -> Build:
    """Decide what an observation changes, write it, and do what follows; returns the build as it then is.

    A write that somebody overtook is decided again on what they wrote.
    """
    for _ in range(_TRIES):
        decision = decide(build, seen)
        saved = builds.save(build, decision.build, now) if decision.build != build else build
        if saved is not None:
            break
        build = _known(build.id)
    else:
        raise Unavailable(f"build {build.id} changes too fast")
    _log_outcome(build, saved, seen, decision.ignored)
    if decision.stop_task:
        runner.stop(decision.stop_task, "Tidegate: the build no longer needs this task")
    if saved.status.final and not build.status.final:
        slots.release(saved.id)
    if decision.publish:
        return publish(saved, now)
    if decision.start:
        return start(saved, now)
    return saved


def publish(build: Build, now: datetime) -> Build:
    """Make a built site the project's live one, unless a newer one is; doing it again changes nothing."""
    live = projects.publish(build.project_slug, build.id, now)
    logger.info("site published", build_id=build.id, project=build.project_slug, live=live)
    return observe(build, Published(now), now)


def observe_task(task: Task, now: datetime) -> Build | None:
    """Bring the build of a task forward, and the next waiting one if a slot came free."""
    build = builds.get(task.build_id)
    if build is None:
        logger.warning("task of an unknown build", build_id=task.build_id, task=task.arn, status=task.last_status)
        count("EventIgnored", reason="unknown build")
        return None
    had_ended = build.status.final
    build = _observe_task(build, task, now)
    if build.status.final and not had_ended:
        start_waiting(now)
    return build


def _observe_task(build: Build, task: Task, now: datetime) -> Build:
    read = task.ended and task.attempt == build.attempt and build.status.rank < Status.PUBLISHING.rank
    return observe(build, TaskSeen(now, task, jobs.result(build) if read else None), now)


def start_waiting(now: datetime) -> None:
    """Give free slots to waiting builds: to the project with the fewest running first, then by age."""
    limit = settings().max_concurrent_builds
    holders = slots.holders()
    if len(holders) >= limit:
        return
    waiting: list[Build] = []
    running: Counter[str] = Counter()
    for build in builds.open_builds():
        if build.id in holders:
            running[build.project_slug] += 1
        elif build.status is Status.QUEUED:
            waiting.append(build)
    for _ in range(min(_STARTS, len(waiting))):
        build = min(waiting, key=lambda each: (running[each.project_slug], each.id))
        waiting.remove(build)
        started = start(build, now)
        if started.waiting and not started.status.final:
            return
        running[build.project_slug] += 1


def reconcile(now: datetime) -> None:
    """Bring every open build forward by what ECS says of its task, by the clock, and by what was left undone.

    One build's fault does not hold up the others; all faults are raised together at the end.
    """
    faults: list[Exception] = []
    opened, holders = builds.open_builds(), slots.holders()
    arns = [build.task_arn for build in opened if build.task_arn and build.status is not Status.PUBLISHING]
    seen = dict(runner.describe(arns))
    for build in opened:
        try:
            _reconcile(build, seen.get(build.task_arn or ""), now, has_slot=build.id in holders)
        except (*FAULTS, Unavailable) as fault:
            logger.exception("build not reconciled", build_id=build.id)
            faults.append(fault)
    _give_back_leaked(holders - {build.id for build in opened})
    start_waiting(now)
    if faults:
        raise ExceptionGroup("some builds were not reconciled", faults)


def _reconcile(build: Build, task: Task | None, now: datetime, *, has_slot: bool) -> None:
    untouched = now - (build.updated_at or build.created_at)
    if build.status is Status.PUBLISHING:
        if untouched > _IN_FLIGHT:
            build = publish(build, now)
    elif task is not None:
        build = _observe_task(build, task, now)
    elif build.task_arn is not None:
        if untouched > _UNKNOWN_YET:
            build = observe(build, TaskLost(now, build.attempt), now)
    elif has_slot and untouched > _IN_FLIGHT and now < build.deadline:
        build = start(build, now)
    if now >= build.deadline and not build.status.final:
        observe(build, Overdue(now), now)


def _give_back_leaked(suspects: set[str]) -> None:
    """Free the slots of builds that have ended; each is read, as the index of open builds may not show a new one."""
    ended = [each for each in suspects if (build := builds.get(each)) is None or build.status.final]
    if ended:
        slots.release(*ended)
        logger.warning("slots given back", builds=sorted(ended))


def find_build(build_id: str) -> Build:
    """Read a build, or raise NotFound."""
    build = builds.get(build_id)
    if build is None:
        raise NotFound(f"There is no build {build_id}")
    return build


def list_builds(slug: str, status: Status | None, before_id: str | None, limit: int) -> BuildPage:
    """A project's builds, the newest first; raises NotFound if there is no such project."""
    if projects.get(slug) is None:
        raise NotFound(f"There is no project {slug}")
    matching: Iterator[Build] = (
        build for build in builds.of_project(slug, before_id) if status is None or build.status is status
    )
    found = list(islice(matching, limit + 1))
    return BuildPage(found[:limit], found[limit - 1].id if len(found) > limit else None)


def list_projects(after_slug: str | None, limit: int) -> tuple[list[Project], str | None]:
    """Some projects, and the slug to go on after (`None` at the end)."""
    return projects.page(limit, after_slug)


def read_log(build_id: str, cursor: str | None, limit: int) -> BuildLog:
    """The next lines of a build's log; raises NotFound, or InvalidRequest for a wrong cursor."""
    build = find_build(build_id)
    try:
        page = logs.read([arn.rpartition("/")[2] for arn in build.tasks], cursor, limit)
    except logs.BadCursor as error:
        raise InvalidRequest(errors=(FieldError("cursor", str(error)),)) from error
    return BuildLog(page, end=build.status.final and len(page.lines) < limit)


def visit(host: str, request: sites.Request) -> sites.Response:
    """Answer a visitor of a project's site with the live build's files."""
    slug = sites.slug_of(host, settings().sites_url)
    project = projects.get(slug) if slug else None
    if project is None:
        return sites.not_here("There is no site at this address")
    if project.live_build is None:
        return sites.not_here(f"{project.slug} has no live build yet")
    return sites.serve(f"{jobs.prefix(project.slug, project.live_build)}files/", request)


def _project_for(new: NewProject, now: datetime) -> Project:
    """The project that the request names, made if it is new; raises SlugTaken."""
    if new.slug and (project := projects.get(new.slug)):
        return _same_repository(project, new)
    for slug in [new.slug] if new.slug else _new_slugs():
        project = Project(slug, new.source.url, now, ref=new.source.ref, settings=new.settings)
        if projects.create(project):
            if new.env:
                jobs.put_env(jobs.project_env_key(slug), new.env)
            return project
        if new.slug and (other := projects.get(slug)):
            return _same_repository(other, new)
    raise Unavailable("No free name was found for the project")


def _same_repository(project: Project, new: NewProject) -> Project:
    if project.git_url != new.source.url:
        raise SlugTaken(f"{project.slug} builds another repository", (FieldError("slug", "is taken"),))
    return project


def _new_slugs() -> Iterator[str]:
    from coolname import generate_slug  # loads its word lists, which most requests do not need

    return (generate_slug(3) for _ in range(5))


def _merged(base: BuildSettings, over: BuildSettings) -> BuildSettings:
    """The project's settings with those of the request over them."""
    given = {name: value for name, value in asdict(over).items() if value is not None}
    names = tuple(sorted({*base.env_names, *over.env_names}))
    return replace(base, **given | {"env_names": names})


def _known(build_id: str) -> Build:
    build = builds.get(build_id)
    if build is None:
        raise Unavailable(f"build {build_id} is gone")
    return build


def _log_outcome(before: Build, after: Build, seen: Observation, ignored: str | None) -> None:
    keys: dict[str, Any] = {"build_id": after.id, "observation": type(seen).__name__, "status": after.status.value}
    if ignored:
        logger.info("observation ignored", reason=ignored, **keys)
        return
    logger.info("build moved", was=before.status.value, attempt=after.attempt, **keys)
    if after.status.final:
        code = after.failure.code if after.failure else "READY"
        count("BuildEnded", status=after.status.value, code=code)
        if after.failure and code == "UNCLASSIFIED":
            logger.warning("unclassified reason", build_id=after.id, evidence=after.failure.evidence)

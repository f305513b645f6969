"""What the API offers, one function a use case; the clock and new ids are arguments."""

from collections.abc import Callable
from datetime import datetime

from msgspec import Struct
from msgspec.structs import asdict, replace

from tidegate import builds, idempotency, jobs, lifecycle, projects, queueing
from tidegate.aws import FAULTS
from tidegate.decision import CANCELED, WAIT_LIMIT
from tidegate.exceptions import (
    FieldError,
    InvalidRequest,
    KeyInUse,
    KeyReused,
    NotFound,
    Problem,
    SlugTaken,
    TooLate,
    Unavailable,
)
from tidegate.inputs import BuildDefaults, NewProject, size_errors
from tidegate.model import Build, BuildSettings, Project, Source
from tidegate.observability import logger
from tidegate.observations import CancelAsked, QueueFull
from tidegate.settings import settings
from tidegate.status import Status

_NAMES = 8  # that are tried for a new project
_READ_FOR_A_PAGE = 1000  # builds looked through for those of a status; a page may come back short


class BuildPage(Struct, frozen=True):
    """Some builds of a project, and the id to go on below (`None` at the end)."""

    builds: list[Build]
    before_id: str | None


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


def create_project(new: NewProject, build_id: str, now: datetime, name: str | None = None) -> Build:
    """Write a build of a new or known project, as `create_build` does, and keep what it was given for later builds."""
    return create_build(new, build_id, now, name, keep=True)


def create_build(
    new: NewProject, build_id: str, now: datetime, name: str | None = None, *, keep: bool = False
) -> Build:
    """Write a build of a new or known project, then start it if a slot is free; raises SlugTaken.

    A new project without a slug is called `name`, or anything readable.

    Once the build is written it is accepted: whatever fails after that is made good by the reconciler.
    """
    project = _project_for(new if new.slug or not name else replace(new, slug=name), build_id, now)
    merged = _merged(project.settings, new.settings)
    if errors := size_errors(merged.cpu, merged.memory, build_defaults()):
        raise InvalidRequest(errors=tuple(errors))
    if keep and (merged != project.settings or (new.env and project.env != build_id)):
        project = _change(replace(project, settings=merged), new.env, build_id)
    if new.env:
        jobs.put_env(jobs.env_key(build_id), new.env)
    source = replace(new.source, ref=new.source.ref or (None if new.source.commit else project.ref))
    return _accept(_queued(build_id, project.slug, source, merged, project.env, now), now)


def _queued(
    build_id: str, slug: str, source: Source, wanted: BuildSettings, project_env: str | None, now: datetime
) -> Build:
    """A new build, by the stack's limits of today."""
    return Build(
        id=build_id,
        project_slug=slug,
        source=source,
        settings=wanted,
        project_env=project_env,
        created_at=now,
        deadline=now + WAIT_LIMIT,
        timeout_seconds=settings().build_timeout_seconds,
    )


def _accept(build: Build, now: datetime) -> Build:
    if not builds.create(build):
        return lifecycle.known(build.id)
    logger.info("build accepted", build_id=build.id, project=build.project_slug)
    try:
        queueing.supersede(build, now)
        started = queueing.start_waiting(now, "api", build)
        build = started.get(build.id) or lifecycle.observe(build, QueueFull(now), now, "api")
    except (*FAULTS, Unavailable):
        logger.exception("build not started yet", build_id=build.id)
    return build


def once(
    scope: tuple[str, str], request: tuple[str, ...], build_id: str, now: datetime, act: Callable[[str, str], Build]
) -> Build:
    """Let `act` make a build under an idempotency key of a caller, or return the one that the key made before.

    `act` gets the build's id and the name for a new project. Raises KeyReused if the key stands for another request,
    and KeyInUse while the first request runs; a request that is refused leaves the key free.
    """
    key, wanted = idempotency.fingerprint(*scope), idempotency.fingerprint(*request)
    claim = idempotency.claim(key, wanted, build_id, new_slug(), now)
    if claim.fingerprint != wanted:
        raise KeyReused
    if not claim.mine:
        if not claim.done:
            raise KeyInUse
        return find_build(claim.build_id)
    try:
        build = act(claim.build_id, claim.slug)
    except Problem as problem:
        if problem.status < 500:
            idempotency.release(key)
        raise
    try:
        idempotency.finish(key)
    except FAULTS:
        logger.exception("key not finished", build_id=build.id)  # whoever comes back takes it over, and finds the build
    return build


def cancel(build_id: str, now: datetime) -> Build:
    """Ask for a build's end; raises NotFound, or TooLate if it has ended or its site is being published."""
    build = _ask_to_cancel(find_build(build_id), now)
    if build.status is not Status.CANCELED and build.cancel_requested_at is None:
        raise TooLate(f"The build is {build.status} already")
    if build.open is None:
        queueing.refill(now)
    return build


def _ask_to_cancel(build: Build, now: datetime) -> Build:
    """Write the wish and stop the task; a wish that is written counts, and the reconciler does the rest."""
    try:
        return lifecycle.observe(build, CancelAsked(now, CANCELED), now, "api")
    except FAULTS:
        build = find_build(build.id)
        if build.cancel_requested_at is None and build.status is not Status.CANCELED:
            raise
        logger.exception("task not stopped yet", build_id=build.id)
    return build


def retry(old: Build, new_id: str, now: datetime) -> Build:
    """Build the same commit again, with the same settings; one that has cloned nothing yet has only its ref."""
    source = replace(old.source, commit=lifecycle.cloned_commit(old))
    if old.settings.env_names and (values := jobs.get_env(jobs.env_key(old.id))):
        jobs.put_env(jobs.env_key(new_id), values)
    return _accept(_queued(new_id, old.project_slug, source, old.settings, old.project_env, now), now)


def find_build(build_id: str) -> Build:
    """Read a build, or raise NotFound."""
    build = builds.get(build_id)
    if build is None:
        raise NotFound(f"There is no build {build_id}")
    return build


def find_project(slug: str) -> Project:
    """Read a project, or raise NotFound."""
    project = projects.get(slug)
    if project is None:
        raise NotFound(f"There is no project {slug}")
    return project


def list_builds(slug: str, status: Status | None, before_id: str | None, limit: int) -> BuildPage:
    """A project's builds, the newest first; raises NotFound if there is no such project."""
    find_project(slug)
    found: list[Build] = []
    for read, build in enumerate(builds.of_project(slug, before_id)):
        if len(found) == limit or read == _READ_FOR_A_PAGE:
            return BuildPage(found, before_id)
        before_id = build.id
        if status is None or build.status is status:
            found.append(build)
    return BuildPage(found, None)


def list_projects(after_slug: str | None, limit: int) -> tuple[list[Project], str | None]:
    """Some projects, and the slug to go on after (`None` at the end)."""
    return projects.page(limit, after_slug)


def _project_for(new: NewProject, build_id: str, now: datetime) -> Project:
    """The project that the request names, made if it is new; raises SlugTaken."""
    if new.slug and (project := projects.get(new.slug)):
        return _same_repository(project, new)
    for slug in [new.slug] if new.slug else (new_slug() for _ in range(_NAMES)):
        project = Project(slug, new.source.url, now, ref=new.source.ref, settings=new.settings)
        if new.env:
            # Written first, under a name of its own: a project that names its values has them.
            jobs.put_env(jobs.project_env_key(slug, build_id), new.env)
            project = replace(project, env=build_id)
        if projects.create(project):
            return project
        if new.slug and (other := projects.get(slug)):
            return _same_repository(other, new)
    raise Unavailable("No free name was found for the project")


def _change(project: Project, env: dict[str, str], build_id: str) -> Project:
    """Write a project's new settings, and its environment's values under a new name with the new ones over them."""
    if env:
        old = jobs.get_env(jobs.project_env_key(project.slug, project.env)) if project.env else {}
        jobs.put_env(jobs.project_env_key(project.slug, build_id), old | env)
        project = replace(project, env=build_id)
    projects.change(project)
    return project


def _same_repository(project: Project, new: NewProject) -> Project:
    if project.git_url != new.source.url:
        raise SlugTaken(f"{project.slug} builds another repository", (FieldError("slug", "is taken"),))
    return project


def new_slug() -> str:
    """A readable name of three words for a project."""
    from coolname import generate_slug  # loads its word lists, which most requests do not need

    # The library joins some words with a fourth, "of".
    return next(slug for slug in iter(lambda: generate_slug(3), None) if slug.count("-") == 2)


def _merged(base: BuildSettings, over: BuildSettings) -> BuildSettings:
    """The project's settings with those of the request over them."""
    given = {name: value for name, value in asdict(over).items() if value is not None}
    names = tuple(sorted({*base.env_names, *over.env_names}))
    return replace(base, **given | {"env_names": names})

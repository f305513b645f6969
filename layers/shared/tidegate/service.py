"""What Tidegate does, one function a use case; the clock is an argument."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict, replace

from tidegate import builds, idempotency, jobs, logs, metrics, projects, runner, sites, slots
from tidegate.aws import FAULTS
from tidegate.decision import (
    CANCELED,
    REFUSED_FOR,
    SUPERSEDED,
    WAIT_LIMIT,
    CancelAsked,
    Decision,
    Observation,
    Overdue,
    Published,
    QueueFull,
    StartClaimed,
    TaskAccepted,
    TaskLost,
    TaskRefused,
    TaskSeen,
    decide,
)
from tidegate.diagnosis import diagnose_start, failure
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
from tidegate.model import Build, BuildSettings, Diagnosis, Project, Source, Task
from tidegate.observability import MetricUnit, count, logger, measure
from tidegate.settings import settings
from tidegate.status import Retry, Status
from tidegate.timeline import record

_TRIES = 8  # of a write that others keep overtaking
_SUPERSEDED = 20  # newest builds of a project that are looked through for waiting ones
_SWEEP = "reconciler"
_READ_FOR_A_PAGE = 1000  # builds looked through for those of a status; a page may come back short
_STARTS = 10  # of waiting builds by one event; the reconciler goes on
_IN_FLIGHT = timedelta(seconds=60)  # longer than any function that is starting a build may live
_UNKNOWN_YET = timedelta(minutes=2)  # DescribeTasks may not know a task that RunTask has just made


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
    return _accept(
        Build(
            id=build_id,
            project_slug=project.slug,
            source=replace(new.source, ref=new.source.ref or (None if new.source.commit else project.ref)),
            settings=merged,
            project_env=project.env,
            created_at=now,
            deadline=now + WAIT_LIMIT,
            timeout_seconds=settings().build_timeout_seconds,
        ),
        now,
    )


def _accept(build: Build, now: datetime) -> Build:
    if not builds.create(build):
        return _known(build.id)
    logger.info("build accepted", build_id=build.id, project=build.project_slug)
    try:
        _supersede(build, now)
        started = start_waiting(now, "api", build)
        build = started.get(build.id) or observe(build, QueueFull(now), now, "api")
    except (*FAULTS, Unavailable):
        logger.exception("build not started yet", build_id=build.id)
    return build


def _supersede(build: Build, now: datetime) -> None:
    """Take the project's older builds of the same ref out of the queue.

    Those that the index does not show yet, or no more, go when the queue moves, at the latest with the next sweep.
    """
    newest = islice(builds.of_project(build.project_slug, build.id), _SUPERSEDED)
    for older in _superseded([*newest, build]):
        observe(older, CancelAsked(now, SUPERSEDED), now, "api")


def _superseded(some: Collection[Build]) -> list[Build]:
    """The waiting ones of some builds that have a newer one beside them, not ended, of the same project and ref."""
    newest: dict[tuple[str, Source], str] = {}
    for build in some:
        if not build.status.final:
            key = build.project_slug, build.source
            newest[key] = max(build.id, newest.get(key, ""))
    return [
        build
        for build in some
        if build.status is Status.QUEUED
        and build.source.commit is None
        and build.id < newest[build.project_slug, build.source]
    ]


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


def start(build: Build, now: datetime, source: str) -> Build:
    """Start the task of the build's attempt, if there is a slot; doing it again starts no second task."""
    if not slots.acquire(build.id):
        return observe(build, QueueFull(now), now, source)
    build, decision = _settle(build, StartClaimed(now, build.revision), now, source)
    if not decision.run:
        if build.open is None:
            slots.release(build.id)
        return build
    env = _environment(build)
    if env.keys() != set(build.settings.env_names):
        return observe(build, TaskRefused(now, build.attempt, Diagnosis(failure("ENV_EXPIRED"))), now, source)
    answer = runner.run(build, jobs.grant(build, env), repeated=decision.ignored is not None)
    if isinstance(answer, str):
        return observe(build, TaskAccepted(now, build.attempt, answer), now, source)
    diagnosis, doubt = diagnose_start(answer.code, answer.message), answer.uncertain
    if diagnosis.failure.code == "TOKEN_CONFLICT":
        # A call whose answer was lost has used the token up and made no task.
        diagnosis, doubt = replace(diagnosis, retry=Retry.NEW_ATTEMPT), False
    code = diagnosis.failure.code
    evidence = diagnosis.failure.evidence
    logger.warning("task not started", build_id=build.id, code=code, answer=answer.code, evidence=evidence)
    return observe(build, TaskRefused(now, build.attempt, diagnosis, doubt), now, source)


def _environment(build: Build) -> dict[str, str]:
    """The values of the build's environment variables: its own over its project's."""
    if not build.settings.env_names:
        return {}
    of_project = jobs.project_env_key(build.project_slug, build.project_env) if build.project_env else None
    return (jobs.get_env(of_project) if of_project else {}) | jobs.get_env(jobs.env_key(build.id))


def observe(build: Build, seen: Observation, now: datetime, source: str) -> Build:
    """Decide what an observation changes, write it, and do what follows; returns the build as it then is."""
    saved, decision = _settle(build, seen, now, source)
    if decision.stop_task:
        runner.stop(decision.stop_task, "Tidegate: the build no longer needs this task")
    if decision.publish:
        return publish(saved, now, source)
    if decision.start:
        return start(saved, now, source)
    return saved


def _settle(build: Build, seen: Observation, now: datetime, source: str) -> tuple[Build, Decision]:
    """Decide and write; a write that somebody overtook is decided again on what they wrote.

    A build that is done with its task gives its slot back.
    """
    for _ in range(_TRIES):
        decision = decide(build, seen)
        after = record(build, decision, seen, source, now)
        saved = builds.save(build, after, now) if after != build else build
        if saved is not None:
            break
        build = _known(build.id)
    else:
        raise Unavailable(f"build {build.id} changes too fast")
    _tell_outcome(build, saved, decision, seen, source, now)
    if saved.task_arn and saved.task_arn != build.task_arn:
        _name_task(saved, now)
    if build.open and not saved.open:
        slots.release(saved.id)
    return saved, decision


def _name_task(build: Build, now: datetime) -> None:
    """Note whose log the new task writes; if that fails, the reconciler does it."""
    try:
        logs.name_task((build.task_arn or "").rpartition("/")[2], build.id, build.project_slug, now)
    except FAULTS:
        logger.exception("task not named", build_id=build.id, task=build.task_arn)


def publish(build: Build, now: datetime, source: str) -> Build:
    """Make a built site the project's live one, unless a newer one is; doing it again changes nothing."""
    live = projects.publish(build.project_slug, build.id, now)
    if live is None:
        return build  # it has taken too long, and is just being ended for that
    logger.info("site published", build_id=build.id, project=build.project_slug, live=live)
    return observe(build, Published(now), now, source)


def cancel(build_id: str, now: datetime) -> Build:
    """Ask for a build's end; raises NotFound, or TooLate if it has ended or its site is being published."""
    build = observe(find_build(build_id), CancelAsked(now, CANCELED), now, "api")
    if build.status is not Status.CANCELED and build.cancel_requested_at is None:
        raise TooLate(f"The build is {build.status} already")
    if build.open is None:
        _refill(now)
    return build


def retry(old: Build, new_id: str, now: datetime) -> Build:
    """Build the same commit again, with the same settings."""
    if old.settings.env_names and (values := jobs.get_env(jobs.env_key(old.id))):
        jobs.put_env(jobs.env_key(new_id), values)
    return _accept(
        Build(
            id=new_id,
            project_slug=old.project_slug,
            source=old.source,
            settings=old.settings,
            project_env=old.project_env,
            created_at=now,
            deadline=now + WAIT_LIMIT,
            timeout_seconds=settings().build_timeout_seconds,
        ),
        now,
    )


def observe_task(task: Task, now: datetime) -> Build | None:
    """Bring the build of a task forward, and the next waiting one if a slot came free."""
    build = builds.get(task.build_id)
    if build is None:
        logger.warning("task of an unknown build", build_id=task.build_id, task=task.arn, status=task.last_status)
        count("EventIgnored", reason="unknown build")
        return None
    was_open = build.open
    build = _observe_task(build, task, now, "event")
    if was_open and not build.open:
        start_waiting(now, "event")
    return build


def _observe_task(build: Build, task: Task, now: datetime, source: str) -> Build:
    read = task.ended and task.attempt == build.attempt and build.status.rank < Status.PUBLISHING.rank
    return observe(build, TaskSeen(now, task, jobs.result(build) if read else None), now, source)


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
    for each in _superseded(opened.values()):
        opened[each.id] = observe(each, CancelAsked(now, SUPERSEDED), now, source)
    while free > 0 and len(tried) < _STARTS and (build := next(_queue([*opened.values()], holders), None)):
        started = tried[build.id] = start(build, now, source)
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


def queue_position(build: Build) -> int | None:
    """How many waiting builds will start before this one, counted from 1; `None` if it does not wait for a slot."""
    if build.status is not Status.QUEUED:
        return None
    waiting = _queue(builds.open_builds(), slots.holders())
    return next((place for place, each in enumerate(waiting, 1) if each.id == build.id), None)


def _refill(now: datetime) -> None:
    """Start what waits; if that fails, the reconciler does it."""
    try:
        start_waiting(now, "api")
    except (*FAULTS, Unavailable):
        logger.exception("waiting builds not started")


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
    for build in _superseded(opened):
        with _go_on(faults):
            observe(build, CancelAsked(now, SUPERSEDED), now, _SWEEP)
    with _go_on(faults):
        _give_back_leaked(holders - {build.id for build in opened})
    with _go_on(faults):
        start_waiting(now, "reconciler")
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
            publish(build, now, _SWEEP)
        return
    with _go_on(faults):
        build = _look(build, seen, now, has_slot=has_slot)
    # A task that was not seen may have ended well: the next sweep looks again, and then decides all the same.
    unseen = build.task_arn is not None and not seen.get(build.task_arn)
    patience = _IN_FLIGHT if faults or unseen else timedelta()
    if now >= build.deadline + patience and not build.status.final and build.status is not Status.PUBLISHING:
        with _go_on(faults):
            if build.status is not Status.QUEUED and build.task_arn is None and (task := runner.find(build)):
                build = _observe_task(build, task, now, _SWEEP)
        observe(build, Overdue(now), now, _SWEEP)
    if faults:
        raise faults[0]


def _look(build: Build, seen: Mapping[str, Task | None], now: datetime, *, has_slot: bool) -> Build:
    """Bring a build forward by what ECS says of its task; of a task that was not asked for, nothing is known."""
    untouched = now - (build.updated_at or build.created_at)
    if build.task_arn is not None and build.task_arn not in seen:
        return build
    if build.task_arn is not None and (task := seen[build.task_arn]):
        return _observe_task(build, task, now, _SWEEP)
    if build.task_arn is not None or build.cancel_requested_at or build.status.final:
        return _look_for_task(build, now) if untouched > _UNKNOWN_YET or build.missing_at else build
    if (has_slot or build.status is not Status.QUEUED) and untouched > _IN_FLIGHT and now < build.deadline:
        # What RunTask refuses for so long is believed, unless a call before has made the task.
        if untouched >= REFUSED_FOR and build.claimed == build.attempt and (task := runner.find(build)):
            return _observe_task(build, task, now, _SWEEP)
        return start(build, now, _SWEEP)
    return build


def _give_up_publishing(build: Build, now: datetime) -> Build:
    """End a build whose site could not be published in time; one that did go live, though nobody heard of it, is ready.

    A function that hangs in `publish` must not make a failed build live later, so the project is told first.
    """
    refused = projects.refuse(build.project_slug, build.id)
    return observe(build, Overdue(now) if refused else Published(now), now, _SWEEP)


def _look_for_task(build: Build, now: datetime) -> Build:
    """Find the task of an attempt whose ARN we never learned; one that ECS does not show under its ARN is lost."""
    if build.task_arn is None and (task := runner.find(build)):
        return _observe_task(build, task, now, _SWEEP)
    return observe(build, TaskLost(now, build.attempt), now, _SWEEP)


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


def visit(host: str, request: sites.Request) -> sites.Response:
    """Answer a visitor of a project's site with the live build's files."""
    slug = sites.slug_of(host, settings().sites_url)
    project = projects.get(slug) if slug else None
    if project is None:
        return sites.not_here("There is no site at this address")
    if project.live_build is None:
        return sites.not_here(f"{project.slug} has no live build yet")
    return sites.serve(f"{jobs.prefix(project.slug, project.live_build)}files/", request)


def _project_for(new: NewProject, build_id: str, now: datetime) -> Project:
    """The project that the request names, made if it is new; raises SlugTaken."""
    if new.slug and (project := projects.get(new.slug)):
        return _same_repository(project, new)
    for slug in [new.slug] if new.slug else (new_slug() for _ in range(_TRIES)):
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


def _known(build_id: str) -> Build:
    build = builds.get(build_id)
    if build is None:
        raise Unavailable(f"build {build_id} is gone")
    return build


def _tell_outcome(
    before: Build, after: Build, decision: Decision, seen: Observation, source: str, now: datetime
) -> None:
    """Log and count an observation and what it changed."""
    for name, dimensions in metrics.counts(before, after, decision, seen, source, now):
        count(name, **dimensions)
    keys: dict[str, Any] = {"build_id": after.id, "observation": type(seen).__name__, "status": after.status.value}
    if decision.ignored:
        logger.info("observation ignored", reason=decision.ignored, **keys)
        return
    if decision.failure:
        keys |= {"code": decision.failure.code, "evidence": decision.failure.evidence}
    logger.info("build moved", was=before.status.value, attempt=after.attempt, source=source, **keys)
    if after.status.final and not before.status.final:
        measure(metrics.seconds(after), MetricUnit.Seconds)

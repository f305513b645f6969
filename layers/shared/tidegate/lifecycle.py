"""A build's life: what is observed of it is decided, written, and followed by what the decision asks for."""

from datetime import datetime
from typing import Any

from tidegate import builds, jobs, metrics, notes, projects, runner, slots
from tidegate.aws import FAULTS
from tidegate.decision import Decision, decide
from tidegate.diagnosis import diagnose_start, failure
from tidegate.exceptions import Unavailable
from tidegate.model import Build, Diagnosis, Result, Task
from tidegate.observability import MetricUnit, count, logger, measure
from tidegate.observations import Observation, Published, QueueFull, StartClaimed, TaskAccepted, TaskRefused, TaskSeen
from tidegate.status import Status
from tidegate.timeline import record, what

_TRIES = 8  # of a write that others keep overtaking


def start(build: Build, now: datetime, source: str) -> Build:
    """Start the task of the build's attempt, if there is a slot; doing it again starts no second task."""
    if not slots.acquire(build.id):
        return observe(build, QueueFull(now), now, source)
    commit = cloned_commit(build) if build.unstarted and build.tasks else None
    build, decision = settle(build, StartClaimed(now, build.revision, commit), now, source)
    if not decision.run:
        if build.open is None:
            slots.release(build.id)
        return build
    repeated = decision.ignored is not None  # a call for this attempt may have been made before
    env = _environment(build)
    if env.keys() != set(build.settings.env_names):
        expired = Diagnosis(failure("ENV_EXPIRED"))
        return observe(build, TaskRefused(now, build.attempt, expired, doubt=repeated), now, source)
    answer = runner.run(build, jobs.grant(build, env), repeated=repeated)
    if isinstance(answer, str):
        return observe(build, TaskAccepted(now, build.attempt, answer), now, source)
    diagnosis = diagnose_start(answer.code, answer.message, answer.status)
    code = diagnosis.failure.code
    evidence = diagnosis.failure.evidence
    logger.warning("task not started", build_id=build.id, code=code, answer=answer.code, evidence=evidence)
    return observe(build, TaskRefused(now, build.attempt, diagnosis, answer.uncertain), now, source)


def cloned_commit(build: Build) -> str | None:
    """The commit that a task of the build has cloned, also where nobody heard of it; `None` if none is known."""
    return build.commit or (jobs.cloned_commit(build) if build.claimed else None)


def _environment(build: Build) -> dict[str, str]:
    """The values of the build's environment variables: its own over its project's."""
    if not build.settings.env_names:
        return {}
    of_project = jobs.project_env_key(build.project_slug, build.project_env) if build.project_env else None
    return (jobs.get_env(of_project) if of_project else {}) | jobs.get_env(jobs.env_key(build.id))


def observe(build: Build, seen: Observation, now: datetime, source: str) -> Build:
    """Decide what an observation changes, write it, and do what follows; returns the build as it then is."""
    return follow(*settle(build, seen, now, source), now, source)


def see_task(build: Build, task: Task, now: datetime, source: str) -> Build:
    """Observe a task of the build as ECS shows it."""
    return observe(build, sighting(build, task, now), now, source)


def sighting(build: Build, task: Task, now: datetime, *, can_read: bool = True) -> TaskSeen:
    """A task of the build as ECS shows it, with the builder's result where that counts.

    `can_read`: there is the time to read it; raises Unavailable if it is needed and there is not.
    """
    ended = task.ended and task.attempt == build.attempt
    if ended and build.status.rank < Status.PUBLISHING.rank:
        if not can_read:
            raise Unavailable("there is no time to read the result; the next sweep does")
        return TaskSeen(now, task, jobs.result(build))
    late = can_read and ended and build.status.final and build.open
    return TaskSeen(now, task, _late_result(build) if late else None)


def _late_result(build: Build) -> Result | None:
    """What the task of a build has left that had ended before it; its slot does not wait for S3."""
    try:
        return jobs.result(build)
    except FAULTS:
        logger.exception("result not read", build_id=build.id)
    return None


def follow(build: Build, decision: Decision, now: datetime, source: str) -> Build:
    """Do what follows from a decision that is written; returns the build as it then is."""
    if decision.stop_task:
        runner.stop(decision.stop_task, "Tidegate: the build no longer needs this task")
    if decision.publish:
        return publish(build, now, source)
    if decision.start:
        return start(build, now, source)
    return build


def settle(build: Build, seen: Observation, now: datetime, source: str) -> tuple[Build, Decision]:
    """Decide and write; a write that somebody overtook is decided again on what they wrote.

    A build that is done with its task gives its slot back.
    """
    for _ in range(_TRIES):
        decision = decide(build, seen)
        after = record(build, decision, seen, source, now)
        saved = builds.save(build, after, now) if after != build else build
        if saved is not None:
            break
        build = known(build.id)
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
        notes.name_task((build.task_arn or "").rpartition("/")[2], build.id, build.project_slug, now)
    except FAULTS:
        logger.exception("task not named", build_id=build.id, task=build.task_arn)


def publish(build: Build, now: datetime, source: str) -> Build:
    """Make a built site the project's live one, unless a newer one is; doing it again changes nothing."""
    live = projects.publish(build.project_slug, build.id, build.attempt, now)
    if live is None:
        return build  # it has taken too long, and is just being ended for that
    logger.info("site published", build_id=build.id, project=build.project_slug, live=live)
    return observe(build, Published(now), now, source)


def known(build_id: str) -> Build:
    """Read a build that has been written."""
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
    keys: dict[str, Any] = {"build_id": after.id, "observation": what(seen), "status": after.status.value}
    if decision.ignored:
        logger.info("observation ignored", reason=decision.ignored, **keys)
        return
    if decision.failure:
        keys |= {"code": decision.failure.code, "evidence": decision.failure.evidence}
    logger.info("build moved", was=before.status.value, attempt=after.attempt, source=source, **keys)
    if after.status.final and not before.status.final:
        measure(metrics.seconds(after), MetricUnit.Seconds)

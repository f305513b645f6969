"""What projects, builds, tasks and logs are."""

from datetime import datetime

from msgspec import Struct

from tidegate.status import Blame, Retry, Status

MAX_ATTEMPTS = 3


class Model(Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A value object; camel case outside (HTTP, tables, S3), snake case inside."""


class Source(Model, frozen=True):
    """What is asked for of a repository; `commit` is the full id and wins over `ref`."""

    url: str
    ref: str | None = None
    commit: str | None = None


class BuildSettings(Model, frozen=True):
    """How a project is built; `None` leaves it to the builder or to the stack's defaults.

    `cpu` is in CPU units (1024 is one vCPU), `memory` in MiB. Environment values are secrets and live in the
    bucket; only their names are kept here.
    """

    root_directory: str | None = None
    install_command: str | None = None
    build_command: str | None = None
    output_directory: str | None = None
    cpu: int | None = None
    memory: int | None = None
    env_names: tuple[str, ...] = ()


class Failure(Model, frozen=True, omit_defaults=False):
    """Why a build ended without a site, and what to do about it."""

    code: str
    blame: Blame
    message: str
    fix: str
    evidence: str = ""


class Diagnosis(Model, frozen=True):
    """A failure and whether it is worth another try."""

    failure: Failure
    retry: Retry = Retry.NO


class StepTime(Model, frozen=True):
    """How long one step of the builder took."""

    name: str
    seconds: float


class BuilderFailure(Model, frozen=True):
    """What the builder says went wrong (docs/contract.md, the result)."""

    step: str
    code: str
    message: str = ""
    fix: str = ""
    exit_code: int | None = None
    last_lines: tuple[str, ...] = ()


class Result(Model, frozen=True):
    """The builder's own account of a build (docs/contract.md, the result)."""

    build_id: str
    attempt: int
    ok: bool
    commit: str | None = None
    framework: str | None = None
    package_manager: str | None = None
    files: int = 0
    bytes: int = 0
    steps: tuple[StepTime, ...] = ()
    failure: BuilderFailure | None = None


class Task(Model, frozen=True):
    """An ECS task of one attempt, as an event or DescribeTasks shows it; the container is the builder's, by name."""

    arn: str
    build_id: str
    attempt: int
    version: int
    last_status: str
    desired_status: str = ""
    created_at: datetime | None = None
    started_at: datetime | None = None
    stopped_at: datetime | None = None
    stop_code: str | None = None
    stopped_reason: str | None = None
    container_status: str | None = None
    exit_code: int | None = None
    container_reason: str | None = None

    @property
    def id(self) -> str:
        """The last part of the ARN, which also ends the name of the log stream."""
        return self.arn.rpartition("/")[2]

    @property
    def ended(self) -> bool:
        """Whether the builder's end is known, which is before ECS has taken the task down."""
        return self.last_status in {"STOPPED", "DELETED"} or (
            self.container_status == "STOPPED" and self.exit_code is not None
        )

    @property
    def running(self) -> bool:
        """Whether the builder runs or has run."""
        return self.last_status == "RUNNING" or (self.started_at is not None and not self.ended)


class Entry(Model, frozen=True):
    """One observation of a build: where it came from, what was seen, and what it changed."""

    at: datetime
    source: str
    seen: str
    change: str


class Build(Model, frozen=True, omit_defaults=False):
    """One run that turns one commit of a project into a site.

    `attempt` counts the calls of RunTask with a token of their own, `claimed` is the newest of them that somebody has
    set out to make, and `faults` counts those that a fault of the platform ended; `revision` counts the writes;
    `task_version` is ECS's `detail.version` of the newest event of this attempt; `deadline` is when the present state
    is overdue. `missing_at` is when ECS first did not know the build's task; `open` is there while the status is not
    final or a task may live. `cloned_commit` is what an attempt of it has cloned, as far as that was told.
    """

    id: str
    project_slug: str
    source: Source
    created_at: datetime
    deadline: datetime
    timeout_seconds: int
    settings: BuildSettings = BuildSettings()
    status: Status = Status.QUEUED
    attempt: int = 1
    claimed: int = 0
    faults: int = 0
    revision: int = 1
    open: str | None = "open"
    updated_at: datetime | None = None
    starting_at: datetime | None = None
    building_at: datetime | None = None
    publishing_at: datetime | None = None
    finished_at: datetime | None = None
    task_arn: str | None = None
    task_version: int = 0
    tasks: tuple[str, ...] = ()
    project_env: str | None = None
    waiting: str | None = None
    cancel_requested_at: datetime | None = None
    missing_at: datetime | None = None
    exit_code: int | None = None
    stop_code: str | None = None
    stopped_reason: str | None = None
    failure: Failure | None = None
    cloned_commit: str | None = None
    framework: str | None = None
    files: int | None = None
    bytes: int | None = None
    timeline: tuple[Entry, ...] = ()

    @property
    def commit(self) -> str | None:
        """The commit that each further attempt builds; `None`: what `source.ref` then is."""
        return self.source.commit or self.cloned_commit

    @property
    def unstarted(self) -> bool:
        """Whether nobody has set out to start a task of the present attempt."""
        return self.task_arn is None and (self.status is Status.QUEUED or self.claimed < self.attempt)


class Project(Model, frozen=True):
    """A git repository with its settings.

    `env` names its environment's values in the bucket, `live_build` is the build visitors see, made by its
    `live_attempt`.
    """

    slug: str
    git_url: str
    created_at: datetime
    ref: str | None = None
    settings: BuildSettings = BuildSettings()
    env: str | None = None
    live_build: str | None = None
    live_attempt: int | None = None
    live_at: datetime | None = None


class LogLine(Model, frozen=True, omit_defaults=False):
    """One line of a build's log; `id` is CloudWatch's event id, `timestamp` is in milliseconds since 1970."""

    id: str
    timestamp: int
    message: str


class LogPage(Model, frozen=True, omit_defaults=False):
    """Lines after a cursor, in order, and the cursor that follows the last of them."""

    lines: tuple[LogLine, ...] = ()
    cursor: str | None = None

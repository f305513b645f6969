"""What can be seen of a build, or asked of it: everything that `decide` takes."""

from datetime import datetime

from msgspec import Struct

from tidegate.model import Diagnosis, Failure, Result, Task


class TaskSeen(Struct, frozen=True):
    """ECS showed the task, in an event or in DescribeTasks; `result` is the builder's, of this attempt."""

    at: datetime
    task: Task
    result: Result | None = None


class TaskLost(Struct, frozen=True):
    """ECS does not know a task of this attempt, and has had the time to: it was never made, or is gone.

    ECS's reads are not always up to date, so it takes two of these to believe it.
    """

    at: datetime
    attempt: int


class StartClaimed(Struct, frozen=True):
    """The build has a slot, and whoever read it at this revision is about to call RunTask for its attempt.

    `commit` is what an earlier attempt has cloned, if the build does not know of it.
    """

    at: datetime
    revision: int
    commit: str | None = None


class TaskAccepted(Struct, frozen=True):
    """RunTask made (or had already made) the task of this attempt."""

    at: datetime
    attempt: int
    task_arn: str


class TaskRefused(Struct, frozen=True):
    """RunTask made no task, or did not answer; in `doubt`, an earlier call for the attempt may have made one."""

    at: datetime
    attempt: int
    diagnosis: Diagnosis
    doubt: bool = False


class QueueFull(Struct, frozen=True):
    """All slots are taken."""

    at: datetime


class CancelAsked(Struct, frozen=True):
    """Somebody no longer wants the build."""

    at: datetime
    failure: Failure


class Published(Struct, frozen=True):
    """The project's live build has moved on, or a newer one was live already."""

    at: datetime


class Overdue(Struct, frozen=True):
    """The clock has passed a deadline."""

    at: datetime


Observation = (
    TaskSeen | TaskLost | StartClaimed | TaskAccepted | TaskRefused | QueueFull | CancelAsked | Published | Overdue
)

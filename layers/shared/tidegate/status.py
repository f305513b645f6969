"""The states of a build and their order."""

from enum import StrEnum


class Status(StrEnum):
    """What a build is doing; it only ever moves to a higher rank."""

    QUEUED = "queued"
    STARTING = "starting"
    BUILDING = "building"
    PUBLISHING = "publishing"
    READY = "ready"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def rank(self) -> int:
        """The place in the order of states; the three final states share the last one."""
        return _RANK[self]

    @property
    def final(self) -> bool:
        """Whether the build has ended; a final status never changes."""
        return self.rank == _FINAL


_FINAL = 4
_RANK = {
    Status.QUEUED: 0,
    Status.STARTING: 1,
    Status.BUILDING: 2,
    Status.PUBLISHING: 3,
    Status.READY: _FINAL,
    Status.FAILED: _FINAL,
    Status.CANCELED: _FINAL,
}


class Blame(StrEnum):
    """Who can mend a failure: the repository's owner, the account's operator, or nobody but the platform."""

    USER = "user"
    CONFIG = "config"
    PLATFORM = "platform"


class Retry(StrEnum):
    """What the controller does about a fault before it gives up."""

    NO = "no"
    NEW_ATTEMPT = "new attempt"  # a new task, with a new client token
    SAME_TOKEN = "same token"  # the outcome is unknown or nothing happened: the same RunTask again
    WAIT = "wait"  # no capacity or quota now: the build waits, and says why

# ruff: noqa: E501 - a row of the table is one line
"""What a task may come to."""

from typing import NamedTuple


class Outcome(NamedTuple):
    """What a task comes to: how it ends, the failure that means, and whether another attempt is due."""

    name: str
    code: str  # of the failure; empty for success
    exit_code: int | None = None
    again: bool = False
    runs: bool = True
    stop_code: str = "EssentialContainerExited"
    stopped_reason: str = "Essential container in task exited"
    reason: str | None = None  # the container's own
    result: str = "failure"  # what result.json says: ok, failure, or none
    weight: int = 1


_PULL = "CannotPullContainerError: pull image manifest has been retried 5 time(s): dial tcp 52.1.2.3:443: i/o timeout"
_ENI = "Timeout waiting for network interface provisioning to complete."
NO_CAPACITY = "Capacity is unavailable at this time. Please try again later or in a different availability zone"
_SPOT = "Your Spot Task was interrupted."
_RETIRED = "ECS is performing maintenance on the underlying infrastructure hosting the task."
OK = Outcome("ok", "", 0, result="ok", weight=14)
OUTCOMES = (
    OK,
    Outcome("build fails", "BUILD_FAILED", 106, weight=3),
    Outcome("clone fails", "CLONE_FAILED", 102),
    Outcome("install fails", "INSTALL_FAILED", 105, result="none"),
    Outcome("out of time", "BUILD_TIMED_OUT", 109),
    Outcome("upload fails", "UPLOAD_FAILED", 108, result="none"),
    Outcome("builder breaks", "BUILDER_ERROR", 100, result="none"),
    Outcome("unknown exit code", "COMMAND_FAILED", 42, result="none"),
    Outcome("out of memory", "OUT_OF_MEMORY", 137, reason="OutOfMemoryError: Container killed due to memory usage", result="none"),
    Outcome("out of memory, code 1", "OUT_OF_MEMORY", 1, reason="OutOfMemoryError: container killed due to memory usage", result="none"),
    Outcome("no result", "RESULT_MISSING", 0, result="none"),
    Outcome("result says no", "RESULT_MISSING", 0, result="failure"),
    Outcome("result of another build", "RESULT_MISSING", 0, result="forged"),
    Outcome("spot loss", "SPOT_INTERRUPTED", 143, again=True, stop_code="SpotInterruption", stopped_reason=_SPOT, result="none", weight=2),
    Outcome("spot loss, killed", "SPOT_INTERRUPTED", 137, again=True, stop_code="SpotInterruption", stopped_reason=_SPOT, result="none"),
    Outcome("host lost", "HOST_MAINTENANCE", None, again=True, stop_code="TerminationNotice", stopped_reason=_RETIRED, result="none"),
    Outcome("host lost in silence", "TASK_LOST", None, again=True, stop_code="", stopped_reason="", result="none"),
    Outcome("no exit code", "EXIT_CODE_MISSING", None, result="ok"),
    Outcome("cannot pull", "IMAGE_REGISTRY_UNREACHABLE", None, again=True, runs=False, stop_code="TaskFailedToStart", stopped_reason=_PULL, result="none"),
    Outcome("no network interface", "NETWORK_SETUP_FAILED", None, again=True, runs=False, stop_code="TaskFailedToStart", stopped_reason=_ENI, result="none"),
    Outcome("no capacity after all", "CAPACITY_UNAVAILABLE", None, again=True, runs=False, stop_code="TaskFailedToStart", stopped_reason=NO_CAPACITY, result="none"),
    Outcome("secret missing", "SECRET_NOT_FOUND", None, runs=False, stop_code="TaskFailedToStart", stopped_reason="ResourceInitializationError: unable to pull secrets or registry auth: ResourceNotFoundException: Secrets Manager can't find the specified secret.", result="none"),
    Outcome("stopped outside", "STOPPED_OUTSIDE", 143, stop_code="UserInitiated", stopped_reason="Task stopped by user", result="none"),
    Outcome("ends well while stopped outside", "STOPPED_OUTSIDE", 0, stop_code="UserInitiated", stopped_reason="Task stopped by user", result="ok"),
    Outcome("unknown reason", "UNCLASSIFIED", None, stop_code="Whatever", stopped_reason="The moon is in the seventh house", result="none"),
    Outcome("never starts", "START_TIMED_OUT", None, runs=False, result="none"),
    Outcome("never ends", "BUILD_TIMED_OUT", None, result="none"),
)  # fmt: skip

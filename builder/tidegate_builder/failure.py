"""The ways a build can fail, as docs/contract.md names them."""

from dataclasses import dataclass
from enum import StrEnum


class Code(StrEnum):
    """A failure's code."""

    BUILDER_ERROR = "BUILDER_ERROR"
    JOB_UNAVAILABLE = "JOB_UNAVAILABLE"
    CLONE_FAILED = "CLONE_FAILED"
    REF_NOT_FOUND = "REF_NOT_FOUND"
    ROOT_DIRECTORY_MISSING = "ROOT_DIRECTORY_MISSING"
    INSTALL_FAILED = "INSTALL_FAILED"
    BUILD_FAILED = "BUILD_FAILED"
    OUTPUT_MISSING = "OUTPUT_MISSING"
    UPLOAD_FAILED = "UPLOAD_FAILED"
    BUILD_TIMED_OUT = "BUILD_TIMED_OUT"
    SITE_TOO_LARGE = "SITE_TOO_LARGE"
    TOOL_MISSING = "TOOL_MISSING"
    SETTINGS_INVALID = "SETTINGS_INVALID"


EXIT_CODES = {code: 100 + number for number, code in enumerate(Code)}


@dataclass(frozen=True)
class Failure:
    """Why a build failed: what happened and what its owner can do."""

    code: Code
    message: str
    fix: str
    exit_code: int | None = None
    last_lines: tuple[str, ...] = ()


class StepFailed(Exception):
    """A step ended the build."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class OutOfTime(Exception):
    """The job's time limit ran out."""


def failed(
    code: Code, message: str, fix: str, exit_code: int | None = None, last_lines: tuple[str, ...] = ()
) -> StepFailed:
    """Return the exception that ends the build with this failure."""
    return StepFailed(Failure(code, message, fix, exit_code, last_lines))

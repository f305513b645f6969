"""`result.json`: what came of the build, for whoever started it."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tidegate_builder.failure import Failure
from tidegate_builder.job import Job


class Progress:
    """What is known of the build so far."""

    def __init__(self) -> None:
        self.step = "job"
        self.commit: str | None = None
        self.framework: str | None = None
        self.package_manager: str | None = None
        self.files = 0
        self.bytes = 0
        self._seconds: dict[str, float] = {}

    @contextmanager
    def during(self, step: str) -> Iterator[None]:
        """Take the time of a step, and remember that it is the one at work."""
        self.step = step
        started = time.monotonic()
        try:
            yield
        finally:
            self._seconds[step] = round(time.monotonic() - started, 3)

    def document(self, job: Job, failure: Failure | None, *, ended: bool = True) -> bytes:
        """Return the result as JSON, or what is known of it so far."""
        return json.dumps(
            {
                "version": 1,
                "buildId": job.build_id,
                "attempt": job.attempt,
                "ok": ended and failure is None,
                "commit": self.commit,
                "framework": self.framework,
                "packageManager": self.package_manager,
                "files": self.files,
                "bytes": self.bytes,
                "steps": [{"name": name, "seconds": seconds} for name, seconds in self._seconds.items()],
                "failure": failure and self._failure(failure),
            },
            ensure_ascii=False,
        ).encode()

    def _failure(self, failure: Failure) -> dict[str, object]:
        return {
            "step": self.step,
            "code": failure.code,
            "exitCode": failure.exit_code,
            "message": failure.message,
            "fix": failure.fix,
            "lastLines": failure.last_lines,
        }

"""The project's framework, as @netlify/build-info knows it."""

import json
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tidegate_builder.environment import find_program

DETECTOR = Path(__file__).parents[1] / "detect.mjs"
SECONDS = 20.0


@dataclass(frozen=True)
class Framework:
    """What a framework is built with, and where it puts the site."""

    id: str
    name: str
    command: str
    directory: str


class Detection:
    """A detector at work: it takes about as long as Node.js to start, so other steps go on meanwhile."""

    def __init__(self, checkout: Path, project: Path, environment: Mapping[str, str]) -> None:
        node = find_program("node", environment)
        self._process = (
            subprocess.Popen(
                (node, str(DETECTOR), str(checkout), str(project.relative_to(checkout))),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            if node and (DETECTOR.parent / "node_modules").is_dir()
            else None
        )
        self._found: Framework | None = None

    @property
    def pids(self) -> tuple[int, ...]:
        """The detector's process, while there is one."""
        return (self._process.pid,) if self._process else ()

    def result(self, deadline: float) -> Framework | None:
        """Wait for the answer; None when no framework is known or the detector fails: the build may well do without."""
        if self._process:
            self._found = _answer(self._process, min(SECONDS, deadline - time.monotonic()))
            self._process = None
        return self._found


def _answer(process: "subprocess.Popen[bytes]", seconds: float) -> Framework | None:
    with process:
        try:
            found = json.loads(process.communicate(timeout=max(0.0, seconds))[0])
        except (subprocess.TimeoutExpired, ValueError):
            process.kill()
            return None
    return Framework(**found) if found else None

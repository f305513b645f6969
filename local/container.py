"""A task's container as a process: its environment made from scratch, its output as lines, its end complete."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from local.process import MARK

if TYPE_CHECKING:
    import io

FIRST_PROCESS = Path(__file__).with_name("process.py")
TOOLS = ("git", "node", "corepack")
SYSTEM_PATH = {"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}
CHUNK = 1 << 16


@dataclass(frozen=True)
class Spec:
    """What to run, in an environment that has nothing of this process's own."""

    argv: tuple[str, ...]
    folder: Path
    environment: Mapping[str, str]
    stop_seconds: float = 30.0


def search_path() -> str:
    """A PATH with the folders of the tools that builds need, and the system's among this machine's own PATH."""
    tools = [str(Path(tool).parent) for name in TOOLS if (tool := shutil.which(name))]
    system = [folder for folder in os.get_exec_path() if folder in SYSTEM_PATH]
    return os.pathsep.join(dict.fromkeys([*tools, *system]))


class Container:
    """A running task, in the care of its first process."""

    def __init__(self, spec: Spec) -> None:
        home, temporary = spec.folder / "home", spec.folder / "tmp"
        for folder in (home, temporary):
            folder.mkdir(parents=True, exist_ok=True)
        base = {
            "PATH": search_path(),
            "LANG": "C.UTF-8",
            "HOME": str(home),
            "TMPDIR": str(temporary),
            MARK: str(spec.folder),
        }
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(FIRST_PROCESS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={"PATH": base["PATH"]},
            start_new_session=True,
        )
        self._orders = cast("io.BufferedWriter", self._process.stdin)
        self._output = cast("io.BufferedReader", self._process.stdout)
        task = {
            "argv": spec.argv,
            "cwd": str(home),
            "env": {**base, **spec.environment},
            "stopTimeout": spec.stop_seconds,
        }
        self._order(json.dumps(task))

    def lines(self) -> Iterator[bytes]:
        """The output, line by line without the line ends, until every process of the task is gone."""
        rest = b""
        while chunk := self._output.read1(CHUNK):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from lines
            if len(rest) > CHUNK * 4:
                yield rest
                rest = b""
        if rest:
            yield rest
        self._output.close()

    def stop(self) -> None:
        """Ask the builder to end: SIGTERM, and SIGKILL when its time is up."""
        self._order("stop")

    def kill(self) -> None:
        """End every process of the task at once."""
        with contextlib.suppress(BrokenPipeError):
            self._orders.close()

    def wait(self, seconds: float | None = None) -> int:
        """The exit code, once all is over; after ``seconds`` the first process itself is killed."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()
        finally:
            self.kill()

    def _order(self, line: str) -> None:
        with contextlib.suppress(BrokenPipeError, ValueError):
            self._orders.write(line.encode() + b"\n")
            self._orders.flush()

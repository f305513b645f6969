"""Running one command: its output relayed line by line, within the time limit, nothing of it left behind."""

import os
import select
import subprocess
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tidegate_builder.failure import OutOfTime
from tidegate_builder.log import CommandOutput, Log
from tidegate_builder.processes import descendants, end_all

CHUNK_BYTES = 1 << 16
POLL_SECONDS = 0.05
LEFT_OVER_GRACE_SECONDS = 0.5


@dataclass(frozen=True)
class Ended:
    """How a command ended; a negative code is the signal that ended it."""

    exit_code: int
    last_lines: tuple[str, ...]
    advice: str | None


def run(
    arguments: Sequence[str],
    directory: Path,
    environment: Mapping[str, str],
    log: Log,
    deadline: float,
    spare: Collection[int] = (),
) -> Ended:
    """Run a command to its end, relay its output, then end what it left running, but for the processes to `spare`.

    Raises OutOfTime when the deadline (of the monotonic clock) passes, FileNotFoundError when there is no such program.
    """
    output = CommandOutput(log)
    with subprocess.Popen(
        arguments,
        bufsize=0,
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        assert process.stdout  # noqa: S101 - it is a pipe
        pipe = process.stdout.fileno()
        os.set_blocking(pipe, False)
        in_time = _relay(process, pipe, output, deadline)
        if not in_time:
            end_all(process.pid, spare)
        elif descendants() - set(spare) - {process.pid}:
            end_all(None, {*spare, process.pid}, LEFT_OVER_GRACE_SECONDS)
        _drain(pipe, output)
    output.close()
    if not in_time:
        raise OutOfTime
    return Ended(process.returncode, output.last_lines(), output.symptoms.advice())


def _relay(process: "subprocess.Popen[bytes]", pipe: int, output: CommandOutput, deadline: float) -> bool:
    """Relay output until the command itself ends; return False if the deadline came first."""
    poller = select.poll()
    poller.register(pipe, select.POLLIN)
    # Output may go on when the command has ended, and end long before it; so its end is watched for by itself.
    watch = _watch(process.pid)
    if watch is not None:
        poller.register(watch, select.POLLIN)
    try:
        while process.poll() is None:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            for descriptor, _ in poller.poll(1000 * (left if watch is not None else min(left, POLL_SECONDS))):
                if descriptor == pipe and not _read(pipe, output):
                    poller.unregister(pipe)
        return True
    finally:
        if watch is not None:
            os.close(watch)


def _watch(pid: int) -> int | None:
    """Return a descriptor that becomes readable when the process ends; None where the system has no such thing."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None


def _read(pipe: int, output: CommandOutput) -> bool:
    """Relay what is there; return False at the end of the output."""
    try:
        chunk = os.read(pipe, CHUNK_BYTES)
    except BlockingIOError:
        return True
    output.feed(chunk)
    return bool(chunk)


def _drain(pipe: int, output: CommandOutput) -> None:
    """Relay what was written before the end; a process that could not be ended must not hold us up."""
    poller = select.poll()
    poller.register(pipe, select.POLLIN)
    while poller.poll(0) and _read(pipe, output):
        pass

"""Processes of the build: none may outlive its step, and none may look into the builder."""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path

PR_SET_DUMPABLE = 4
PR_SET_CHILD_SUBREAPER = 36
HAS_PROC = Path("/proc/self/stat").exists()
POLL_SECONDS = 0.02
LOOKS = 3  # that must find nothing
LOOK_SECONDS = 0.002
KILL_SECONDS = 3.0


def protect() -> None:
    """Keep the builder's memory from the build's processes, and become the parent of those that detach themselves.

    The build runs as the builder's own user. It could else read the job's URL in the builder's /proc entry, and a
    process that leaves its group and its parent would be found no more.
    """
    if sys.platform == "linux":
        c = ctypes.CDLL(None)
        c.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
        c.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def descendants() -> set[int]:
    """Return the living processes below this one; where there is no /proc, none."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        found = _parent_of(entry)
        if found:
            children.setdefault(found, []).append(int(entry.name))
    below: set[int] = set()
    level = children.get(os.getpid(), [])
    while level:
        below.update(level)
        level = [child for pid in level for child in children.get(pid, [])]
    return below


def _parent_of(entry: Path) -> int | None:
    """Return the parent of a process, or None if it has ended."""
    try:
        stat = (entry / "stat").read_bytes()
    except OSError:
        return None
    state, parent = stat.rpartition(b")")[2].split()[:2]  # the name before may hold anything, brackets too
    return None if state in {b"Z", b"X"} else int(parent)


def end_all(group: int | None = None, spare: Collection[int] = (), grace: float = 5.0) -> None:
    """End the processes below this one, and the group: SIGTERM, then SIGKILL after `grace` seconds."""
    _send(signal.SIGTERM, group, spare)
    if _wait_until_gone(group, spare, grace, lambda: None):
        return
    # Again and again, as one that is just forking is not on the list yet.
    _wait_until_gone(group, spare, KILL_SECONDS, lambda: _send(signal.SIGKILL, group, spare))


def _wait_until_gone(group: int | None, spare: Collection[int], seconds: float, again: Callable[[], None]) -> bool:
    end = time.monotonic() + seconds
    # One look may miss a process: its parent can end, and the process be adopted, while the list is read.
    quiet = 0
    while quiet < LOOKS:
        alive = descendants() - set(spare) or (group is not None and _group_lives(group))
        quiet = 0 if alive else quiet + 1
        if alive:
            if time.monotonic() >= end:
                return False
            again()
        if quiet < LOOKS:
            time.sleep(POLL_SECONDS if alive else LOOK_SECONDS)
    return True


def _group_lives(group: int) -> bool:
    if HAS_PROC:
        return False  # its processes are among the descendants; the group itself lives on in zombies
    try:
        os.killpg(group, 0)
    except OSError:
        return False
    return True


def _send(signal_number: int, group: int | None, spare: Collection[int]) -> None:
    if group is not None:
        _kill(os.killpg, group, signal_number)
    for pid in descendants() - set(spare):
        _kill(os.kill, pid, signal_number)


def _kill(kill: Callable[[int, int], None], target: int, signal_number: int) -> None:
    try:
        kill(target, signal_number)
    except ProcessLookupError:
        return  # it ended in between

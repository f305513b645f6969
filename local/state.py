"""The folder of one run: temporary and gone at its end, or kept for the next run; never used by two at once."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from local.checks import CannotStart
from local.process import kill, marked


@contextlib.contextmanager
def state_folder(home: Path, kept: Path | None) -> Iterator[Path]:
    """Hold the state folder of this run; ``home`` is ``.tidegate``."""
    home.mkdir(parents=True, exist_ok=True)
    with _starting(home):
        _clean_up(home)
        if kept:
            kept.mkdir(parents=True, exist_ok=True)
            kept.chmod(0o700)  # it holds the values of builds' environment variables
            folder = kept.resolve()
        else:
            folder = Path(tempfile.mkdtemp(prefix="run-", dir=home)).resolve()
        lock = _lock(folder)
    if lock is None:
        raise CannotStart(f"another local stack uses {folder}; end it, or choose another STATE_DIR.")
    try:
        kill(marked(str(folder)))
        yield folder
    finally:
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


@contextlib.contextmanager
def _starting(home: Path) -> Iterator[None]:
    """Let one stack at a time look for leftovers, or it might take another's new folder for one."""
    with (home / "starting").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _lock(folder: Path) -> int | None:
    """Lock the folder until the descriptor is closed, or the process ends in whatever way."""
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def _clean_up(home: Path) -> None:
    """Remove what runs that were killed left behind."""
    for folder in home.glob("run-*"):
        with contextlib.suppress(OSError):
            lock = _lock(folder)
            if lock is not None:
                kill(marked(str(folder.resolve())))
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)

"""The first process of a local task: runs the builder and leaves nothing behind, as a container's end does.

Started as a file with ``python -I process.py``. The first line of standard input is the task as JSON
``{"argv", "cwd", "env", "stopTimeout"}``; the line ``stop`` then asks the builder to end (SIGTERM, and SIGKILL
after ``stopTimeout`` seconds); the end of the input means that the local stack is gone, and ends everything at once.
"""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable

import psutil

MARK = "TIDEGATE_TASK"
PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Have children whose parents died handed to this process; Linux only, others rely on the mark."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def marked(value: str) -> Iterable[psutil.Process]:
    """All processes whose environment carries the mark with a value that starts so."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(MARK, "").startswith(value):
                yield process


def kill(processes: Iterable[psutil.Process]) -> int:
    """Kill each process; how many there were."""
    count = 0
    for process in processes:
        count += 1
        with contextlib.suppress(psutil.Error):
            process.kill()
    return count


def sweep(mark: str, seconds: float = 4.0) -> None:
    """Kill whatever the task left behind, until nothing new appears."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        left = kill(psutil.Process().children(recursive=True))
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not left and (sys.platform == "linux" or not kill(marked(mark))):
            return
        time.sleep(0.01)


def follow_orders(child: int, stop_timeout: float, mark: str) -> None:
    """Do what standard input says, in a thread of its own."""
    for line in sys.stdin:
        if line.strip() == "stop":
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGTERM)
            last = threading.Timer(stop_timeout, kill, ([psutil.Process(child)],))
            last.daemon = True
            last.start()
    sweep(mark)
    os._exit(137)


def main() -> int:
    """Run the task to its end; its exit code, 128 and the signal's number if a signal ended it."""
    task = json.loads(sys.stdin.readline())
    mark = task["env"][MARK]
    adopt_orphans()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    child = subprocess.Popen(  # not waited for by Popen: the loop below reaps it among the adopted
        task["argv"],
        cwd=task["cwd"],
        env=task["env"],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ).pid
    threading.Thread(target=follow_orders, args=(child, task["stopTimeout"], mark), daemon=True).start()
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == child:
            break
    sweep(mark)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    os._exit(main())  # the thread may still wait for its next order

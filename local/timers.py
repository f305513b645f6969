"""Things to do later and in the background, on daemon threads that never hold up the end."""

import contextlib
import heapq
import itertools
import queue
import threading
import time
import traceback
from collections.abc import Callable

Work = Callable[[], None]


class Timers:
    """Runs work at its time on a few threads; what is still waiting when it is closed is dropped."""

    def __init__(self, threads: int = 24) -> None:
        self._ready: queue.SimpleQueue[Work] = queue.SimpleQueue()
        self._waiting: list[tuple[float, int, Work]] = []
        self._order = itertools.count()
        self._changed = threading.Condition()
        self._closed = False
        for _ in range(threads):
            threading.Thread(target=self._run, daemon=True).start()
        threading.Thread(target=self._watch, daemon=True).start()

    def soon(self, work: Work) -> None:
        """Do it as soon as a thread is free."""
        self._ready.put(work)

    def later(self, seconds: float, work: Work) -> None:
        """Do it after so many seconds."""
        if seconds <= 0:
            self.soon(work)
            return
        with self._changed:
            heapq.heappush(self._waiting, (time.monotonic() + seconds, next(self._order), work))
            self._changed.notify()

    def every(self, seconds: float, work: Work) -> None:
        """Do it now and again and again, without drift."""
        start = time.monotonic()

        def again() -> None:
            beats = int((time.monotonic() - start) / seconds) + 1
            self.later(start + beats * seconds - time.monotonic(), again)
            work()

        self.soon(again)

    def close(self) -> None:
        """Start nothing more."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify()

    def _watch(self) -> None:
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                while self._waiting and self._waiting[0][0] <= now:
                    self._ready.put(heapq.heappop(self._waiting)[2])
                self._changed.wait(self._waiting[0][0] - now if self._waiting else None)

    def _run(self) -> None:
        while True:
            work = self._ready.get()
            if self._closed:
                return
            with contextlib.suppress(SystemExit):
                try:
                    work()
                except Exception:  # noqa: BLE001  # one failed piece of work must not end the thread
                    if not self._closed:
                        traceback.print_exc()

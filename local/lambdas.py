"""Local Lambda: warm worker processes for each function, invoked in line or in the background."""

import contextlib
import os
import queue
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from local.timers import Timers
from local.worker import Function, Worker, environment_of

PATIENCE_SECONDS = 0.25  # a warm worker that is free soon beats a new one on a machine with few cores
RETRY_SECONDS = 2.0
ORDER_SECONDS = 1.0  # that the next batch of lines waits: a log sink may hold the function for longer


@dataclass(frozen=True)
class Outcome:
    """What an invocation came to: a result, or Lambda's description of the error."""

    request_id: str
    result: Any = None
    error: Mapping[str, Any] | None = None


def failed(request_id: str, kind: str, message: str) -> Outcome:
    """The outcome of an invocation that the platform ended."""
    return Outcome(request_id, error={"errorType": kind, "errorMessage": message})


class Lambdas:
    """All functions of the stack and their workers."""

    def __init__(
        self,
        functions: list[Function],
        settings: Mapping[str, str],
        logs: Path,
        timers: Timers,
        send: Callable[[str, dict[str, Any]], None],
        tell: Callable[[str], None],
    ) -> None:
        """``settings`` is the environment all functions share; ``send`` puts a record into the queue of an ARN.

        It raises ValueError where the record is too large for that.
        """
        self.functions = {function.arn: function for function in functions}
        self._settings = settings
        self._logs = logs
        self._timers = timers
        self._send = send
        self._tell = tell
        self._idle: dict[str, queue.LifoQueue[Worker]] = {arn: queue.LifoQueue() for arn in self.functions}
        self._slots = {arn: threading.Semaphore(function.workers) for arn, function in self.functions.items()}
        self._alive: set[Worker] = set()
        self._lock = threading.Lock()
        self._closed = False

    def warm(self) -> list[str]:
        """Start one worker of each function, all at once; the errors of those that cannot start."""
        workers = [(function, self._start(function)) for function in self.functions.values()]
        errors = []
        for function, worker in workers:
            try:
                error = worker.ready()
            except (EOFError, TimeoutError) as stopped:
                error = {"errorType": "Runtime.ExitError", "errorMessage": str(stopped) or "it did not start in time"}
            if error:
                errors.append(f"{function.logical_id}: {error['errorType']}: {error['errorMessage']}")
                self._end(worker)
            else:
                self._slots[function.arn].acquire()
                self._idle[function.arn].put(worker)
        return errors

    def invoke(self, arn: str, event: Any) -> Outcome:
        """Invoke a function and wait for the outcome."""
        function = self.functions[arn]
        request_id = str(uuid.uuid4())
        try:
            worker = self._take(function)
        except (EOFError, TimeoutError, RuntimeError) as error:
            return failed(request_id, "Runtime.ExitError", str(error))
        call = {"requestId": request_id, "arn": arn, "deadline": time.time() + function.timeout, "event": event}
        try:
            answer = worker.invoke(call, function.timeout)
        except TimeoutError:
            self._drop(function, worker)
            return failed(request_id, "Sandbox.Timedout", f"Task timed out after {function.timeout:.2f} seconds")
        except EOFError:
            self._drop(function, worker)
            return failed(request_id, "Runtime.ExitError", "Runtime exited without providing a reason")
        self._idle[arn].put(worker)
        if answer.get("error"):
            return Outcome(request_id, error=answer["error"])
        return Outcome(request_id, answer["result"])

    def invoke_later(self, arn: str, event: Any, attempt: int = 1, tell: Callable[[], None] = lambda: None) -> None:
        """Invoke a function in the background, again if it fails, and send what failed for good to its queue.

        `tell` is called after the first attempt.
        """
        function = self.functions[arn]

        def work() -> None:
            again = not self._try(function, event, attempt)
            tell()
            if again:
                delay = RETRY_SECONDS * attempt
                self._timers.later(delay, lambda: self.invoke_later(arn, event, attempt + 1))

        self._timers.soon(work)

    def invoke_in_order(self, arn: str, event: Any) -> None:
        """The same, but wait a moment until it is done, so that the caller's next event comes after it."""
        done = threading.Event()
        self.invoke_later(arn, event, tell=done.set)
        done.wait(ORDER_SECONDS)

    def close(self) -> None:
        """End all workers."""
        with self._lock:
            self._closed = True
            alive = list(self._alive)
        for worker in alive:
            worker.kill()
        for idle in self._idle.values():
            with contextlib.suppress(queue.Empty):
                while True:
                    idle.get_nowait().close()

    def _try(self, function: Function, event: Any, attempt: int) -> bool:
        """Invoke once; False if it is to be tried again."""
        outcome = self.invoke(function.arn, event)
        if not outcome.error or self._closed:
            return True
        error = f"{outcome.error['errorType']}: {outcome.error['errorMessage']}"[:500]
        if attempt <= function.retries:
            self._tell(f"{function.logical_id} failed, attempt {attempt} of {function.retries + 1}: {error}")
            return False
        self._tell(f"{function.logical_id} failed for good: {error}")
        if function.on_failure:
            self._keep(function, function.on_failure, failure_record(function, event, outcome, attempt))
        if function.dead_letters:
            self._send(function.dead_letters, event)
        return True

    def _keep(self, function: Function, arn: str, record: dict[str, Any]) -> None:
        """Send the record of a failure; Lambda drops one that is too large, too."""
        try:
            self._send(arn, record)
        except ValueError as error:
            self._tell(f"{function.logical_id}: what it failed on is lost, DestinationDeliveryFailures: {error}")

    def _take(self, function: Function) -> Worker:
        idle = self._idle[function.arn]
        with contextlib.suppress(queue.Empty):
            return idle.get(timeout=PATIENCE_SECONDS)
        if not self._slots[function.arn].acquire(blocking=False):
            return idle.get()
        worker = self._start(function)
        try:
            error = worker.ready()
        except (EOFError, TimeoutError):
            self._drop(function, worker)
            raise
        if error:
            self._drop(function, worker)
            raise EOFError(f"{error['errorType']}: {error['errorMessage']}")
        return worker

    def _start(self, function: Function) -> Worker:
        log = self._logs / f"{function.logical_id}.log"
        with self._lock:
            if self._closed:
                raise RuntimeError("the local stack is ending")
            worker = Worker(function, {"PATH": os.defpath, **self._settings, **environment_of(function)}, log)
            self._alive.add(worker)
        return worker

    def _drop(self, function: Function, worker: Worker) -> None:
        self._end(worker)
        self._slots[function.arn].release()

    def _end(self, worker: Worker) -> None:
        worker.close()
        with self._lock:
            self._alive.discard(worker)


def failure_record(function: Function, event: Any, outcome: Outcome, attempts: int) -> dict[str, Any]:
    """The record Lambda sends to the failure destination of an asynchronous invocation."""
    return {
        "version": "1.0",
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "requestContext": {
            "requestId": outcome.request_id,
            "functionArn": f"{function.arn}:$LATEST",
            "condition": "RetriesExhausted",
            "approximateInvokeCount": attempts,
        },
        "requestPayload": event,
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
        "responsePayload": outcome.error,
    }

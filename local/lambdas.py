"""Local Lambda: warm worker processes for each function, invoked in line or in the background."""

import contextlib
import json
import os
import queue
import selectors
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, cast

from local.timers import Timers

RUNTIME = Path(__file__).with_name("runtime.py")
MOST_WORKERS = 10
PATIENCE_SECONDS = 0.25  # a warm worker that is free soon beats a new one on a machine with few cores
INIT_SECONDS = 60.0
RETRY_SECONDS = 2.0


@dataclass(frozen=True)
class Function:
    """One function of the template, its properties resolved."""

    logical_id: str
    name: str
    arn: str
    handler: str
    code: Path
    layers: tuple[Path, ...]
    environment: Mapping[str, str]
    timeout: float
    memory: int
    workers: int = MOST_WORKERS
    retries: int = 2
    on_failure: str | None = None
    dead_letters: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What an invocation came to: a result, or Lambda's description of the error."""

    request_id: str
    result: Any = None
    error: Mapping[str, Any] | None = None


def failed(request_id: str, kind: str, message: str) -> Outcome:
    """The outcome of an invocation that the platform ended."""
    return Outcome(request_id, error={"errorType": kind, "errorMessage": message})


class Worker:
    """One process with the handler loaded; takes one invocation at a time."""

    def __init__(self, function: Function, environment: Mapping[str, str], log: Path) -> None:
        answers, answer_end = os.pipe()
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-I", str(RUNTIME), str(answer_end), str(function.code), *map(str, function.layers)],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                cwd=function.code,
                pass_fds=[answer_end],
                start_new_session=True,
            )
        os.close(answer_end)
        self._calls = cast("IO[bytes]", self._process.stdin)
        os.set_blocking(answers, False)
        self._answers = answers
        self._closing = threading.Lock()
        self._selector = selectors.DefaultSelector()
        self._selector.register(answers, selectors.EVENT_READ)

    def ready(self) -> Mapping[str, Any] | None:
        """Wait until the handler is loaded; the error if it cannot be."""
        message = self._read(time.monotonic() + INIT_SECONDS)
        return message.get("error")

    def invoke(self, call: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """Hand over a call and wait for its answer; TimeoutError and EOFError mean that the worker is spent."""
        line = json.dumps(call).encode() + b"\n"
        try:
            self._calls.write(line)
            self._calls.flush()
        except (BrokenPipeError, ValueError) as error:
            raise EOFError("the worker has exited") from error
        return self._read(time.monotonic() + seconds)

    def close(self) -> None:
        """End the process."""
        with self._closing:
            self._process.kill()
            self._process.wait()
            if not self._calls.closed:
                with contextlib.suppress(BrokenPipeError):
                    self._calls.close()

    def _read(self, deadline: float) -> dict[str, Any]:
        line = bytearray()
        while not line.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not self._selector.select(left):
                raise TimeoutError
            chunk = os.read(self._answers, 1 << 20)
            if not chunk:
                raise EOFError("the worker has exited")
            line += chunk
        message: dict[str, Any] = json.loads(line)
        return message


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
        """``settings`` is the environment all functions share; ``send`` puts a record into the queue of an ARN."""
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

    def invoke_later(self, arn: str, event: Any, attempt: int = 1) -> None:
        """Invoke a function in the background, again if it fails, and send what failed for good to its queue."""
        self._timers.soon(lambda: self._try(self.functions[arn], event, attempt))

    def report(self, function: Function, outcome: Outcome, what: str) -> None:
        """Say on the console that an invocation failed."""
        if outcome.error and not self._closed:
            error = outcome.error
            self._tell(f"{function.logical_id} {what}: {error['errorType']}: {error['errorMessage']}"[:500])

    def close(self) -> None:
        """End all workers."""
        with self._lock:
            self._closed = True
            alive = list(self._alive)
        for worker in alive:
            worker.close()

    def _try(self, function: Function, event: Any, attempt: int) -> None:
        outcome = self.invoke(function.arn, event)
        if not outcome.error or self._closed:
            return
        if attempt <= function.retries:
            self.report(function, outcome, f"failed, attempt {attempt} of {function.retries + 1}")
            delay = RETRY_SECONDS * attempt
            self._timers.later(delay, lambda: self.invoke_later(function.arn, event, attempt + 1))
            return
        self.report(function, outcome, "failed for good")
        if function.on_failure:
            self._send(function.on_failure, failure_record(function, event, outcome, attempt))
        if function.dead_letters:
            self._send(function.dead_letters, event)

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
            worker = Worker(function, {**self._settings, **self._environment(function)}, log)
            self._alive.add(worker)
        return worker

    def _drop(self, function: Function, worker: Worker) -> None:
        self._end(worker)
        self._slots[function.arn].release()

    def _end(self, worker: Worker) -> None:
        worker.close()
        with self._lock:
            self._alive.discard(worker)

    def _environment(self, function: Function) -> dict[str, str]:
        return {
            "PATH": os.defpath,
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            "_HANDLER": function.handler,
            "LAMBDA_TASK_ROOT": str(function.code),
            "AWS_EXECUTION_ENV": f"AWS_Lambda_python{sys.version_info.major}.{sys.version_info.minor}",
            "AWS_LAMBDA_FUNCTION_NAME": function.name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory),
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
            "AWS_LAMBDA_LOG_STREAM_NAME": f"{datetime.now(UTC):%Y/%m/%d}/[$LATEST]{uuid.uuid4().hex}",
            **function.environment,
        }


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

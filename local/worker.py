"""One local Lambda worker: a process with a function's handler loaded."""

import contextlib
import json
import os
import selectors
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, cast

RUNTIME = Path(__file__).with_name("runtime.py")
MOST_WORKERS = 10
INIT_SECONDS = 60.0


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

    def kill(self) -> None:
        """End the process, from any thread; an invocation that waits for it sees its end."""
        with self._closing:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        """End the process and let go of it; only for the thread that uses the worker."""
        self.kill()
        self._selector.close()
        os.close(self._answers)
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


def environment_of(function: Function) -> dict[str, str]:
    """What Lambda itself tells a function, and what the template does."""
    return {
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

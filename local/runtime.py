"""The loop inside one local Lambda worker: load the handler, then answer invocations until the pipe closes.

Started as a file with ``python -I runtime.py <responses fd> <code directory> <layer directory>...``, so that the
function sees its own folder and its layers and nothing of the local stack. It speaks JSON lines: invocations
``{"requestId", "deadline", "arn", "event"}`` come on standard input, answers ``{"result"}`` or ``{"error"}`` leave
on the given descriptor; standard output and error are the function's log.
"""

import contextlib
import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, TextIO

RESPONSE_LIMIT = 6_291_556


class Context:
    """Lambda's context object."""

    identity = None
    client_context = None

    def __init__(self, request_id: str, arn: str, deadline: float) -> None:
        self.aws_request_id = request_id
        self.invoked_function_arn = arn
        self.function_name = os.environ["AWS_LAMBDA_FUNCTION_NAME"]
        self.function_version = os.environ["AWS_LAMBDA_FUNCTION_VERSION"]
        self.memory_limit_in_mb = os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]
        self.log_group_name = os.environ["AWS_LAMBDA_LOG_GROUP_NAME"]
        self.log_stream_name = os.environ["AWS_LAMBDA_LOG_STREAM_NAME"]
        self._deadline = deadline

    def get_remaining_time_in_millis(self) -> int:
        """The milliseconds left before the function is ended."""
        return max(0, round((self._deadline - time.time()) * 1000))


class ResponseTooLarge(Exception):
    """The answer does not fit Lambda's limit."""


def load(handler: str) -> Callable[[Any, Context], Any]:
    """Import the handler named as ``module.function``."""
    module, _, name = handler.rpartition(".")
    found: Callable[[Any, Context], Any] = getattr(importlib.import_module(module), name)
    return found


def describe(error: BaseException, request_id: str = "") -> dict[str, Any]:
    """The error as Lambda reports it."""
    return {
        "errorMessage": str(error),
        "errorType": type(error).__name__,
        "requestId": request_id,
        "stackTrace": traceback.format_tb(error.__traceback__),
    }


def encode(result: Any) -> str:
    """The result as a line of JSON, if it is one that Lambda takes."""
    line = json.dumps({"result": result})
    if len(line) > RESPONSE_LIMIT:
        raise ResponseTooLarge(f"Response payload size exceeded maximum allowed payload size ({RESPONSE_LIMIT} bytes).")
    return line


def answer(handler: Callable[[Any, Context], Any], call: dict[str, Any]) -> str:
    """Run one invocation; the answer as a line of JSON."""
    request_id = call["requestId"]
    started = time.perf_counter()
    print(f"START RequestId: {request_id} Version: $LATEST", flush=True)
    try:
        result = handler(call["event"], Context(request_id, call["arn"], call["deadline"]))
        line = encode(result)
    except Exception as error:  # noqa: BLE001  # whatever the function raises is its answer
        traceback.print_exc()
        line = json.dumps({"error": describe(error, request_id)})
    duration = (time.perf_counter() - started) * 1000
    sys.stderr.flush()
    print(f"END RequestId: {request_id}\nREPORT RequestId: {request_id} Duration: {duration:.2f} ms", flush=True)
    return line


def serve(calls: TextIO, answers: TextIO) -> None:
    """Load the handler, say so, and answer calls until there are no more."""
    try:
        handler = load(os.environ["_HANDLER"])
    except BaseException as error:  # noqa: BLE001  # also SystemExit: the stack must hear of it
        traceback.print_exc()
        answers.write(json.dumps({"error": describe(error)}) + "\n")
        answers.flush()
        return
    answers.write(json.dumps({"ready": True}) + "\n")
    answers.flush()
    for call in calls:
        answers.write(answer(handler, json.loads(call)) + "\n")
        answers.flush()


def main() -> None:
    """Take the pipes out of the function's sight and serve."""
    calls = os.fdopen(os.dup(0), encoding="utf-8")
    answers = os.fdopen(int(sys.argv[1]), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.path[:0] = sys.argv[2:]
    with contextlib.suppress(BrokenPipeError):  # the stack has ended
        serve(calls, answers)


if __name__ == "__main__":
    main()

"""ECS and viewers' connections as the controller sees them, without a network, and told what to refuse."""

import base64
import gzip
import json
from collections import deque
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import botocore.session
from botocore.exceptions import ClientError
from botocore.validate import validate_parameters

if TYPE_CHECKING:
    from collections.abc import Callable

_SESSION = botocore.session.get_session()
_MODEL = _SESSION.get_service_model("ecs")
_CONNECTIONS = _SESSION.get_service_model("apigatewaymanagementapi")


def client_error(code: str, message: str, operation: str = "RunTask", **more: Any) -> ClientError:
    """An AWS error as botocore raises it."""
    response: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": 400}} | more
    return ClientError(response, operation)


class FakeEcs:
    """Checks each call against botocore's own model; `answers` holds what the next RunTask calls raise or return."""

    def __init__(self, cluster: str) -> None:
        self.cluster = cluster
        self.tasks: dict[str, dict[str, Any]] = {}
        self.calls: list[dict[str, Any]] = []
        self.stopped: list[str] = []
        self.answers: deque[Any] = deque()

    def run_task(self, **wanted: Any) -> dict[str, Any]:
        _check("RunTask", wanted)
        self.calls.append(wanted)
        answer = self.answers.popleft() if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        if answer is not None:
            return dict(answer)
        token = wanted["clientToken"]
        known = self.tasks.get(token)
        if known is not None and known["_wanted"] != wanted:
            raise client_error("ConflictException", "different parameters", resourceIds=[known["taskArn"]])
        arn = f"{self.cluster.replace(':cluster/', ':task/')}/{len(self.tasks):032x}"
        task = {"taskArn": arn, "startedBy": wanted["startedBy"], "lastStatus": "PROVISIONING", "version": 1}
        self.tasks.setdefault(token, {**task, "containers": [], "_wanted": wanted})
        return {"tasks": [self.tasks[token]], "failures": []}

    def describe_tasks(self, **wanted: Any) -> dict[str, Any]:
        _check("DescribeTasks", wanted)
        known = {task["taskArn"]: task for task in self.tasks.values()}
        return {
            "tasks": [known[arn] for arn in wanted["tasks"] if arn in known],
            "failures": [{"arn": arn, "reason": "MISSING"} for arn in wanted["tasks"] if arn not in known],
        }

    def stop_task(self, **wanted: Any) -> dict[str, Any]:
        _check("StopTask", wanted)
        self.stopped.append(wanted["task"])
        return {}

    def list_tasks(self, **wanted: Any) -> dict[str, Any]:
        _check("ListTasks", wanted)
        living = [task for task in self.tasks.values() if task["lastStatus"] != "STOPPED"]
        origin = wanted.get("startedBy")
        return {"taskArns": [task["taskArn"] for task in living if origin in (None, task["startedBy"])]}

    def get_paginator(self, operation: str) -> Any:
        call = getattr(self, operation)
        return SimpleNamespace(paginate=lambda **wanted: [call(**wanted)])

    def change(self, arn: str, **fields: Any) -> dict[str, Any]:
        """Move a task on, as ECS does: its version goes up."""
        [task] = [task for task in self.tasks.values() if task["taskArn"] == arn]
        task |= fields | {"version": task["version"] + 1}
        return task


def _check(operation: str, wanted: dict[str, Any]) -> None:
    validate_parameters(wanted, _MODEL.operation_model(operation).input_shape)


class FakeConnections:
    """The connections of a WebSocket API: keeps what each viewer gets; `troubles` says what befalls posts to it.

    A trouble is what to raise, or what to do before the frame arrives; it stays until it is taken away.
    """

    def __init__(self) -> None:
        self.frames: dict[str, list[dict[str, Any]]] = {}
        self.troubles: dict[str, Exception | Callable[[], None]] = {}
        self.posts = 0

    def post_to_connection(self, **wanted: Any) -> dict[str, Any]:
        validate_parameters(wanted, _CONNECTIONS.operation_model("PostToConnection").input_shape)
        self.posts += 1
        trouble = self.troubles.get(wanted["ConnectionId"])
        if isinstance(trouble, Exception):
            raise trouble
        if trouble:
            trouble()
        assert len(wanted["Data"]) <= 128 * 1024, "API Gateway takes no more"
        self.frames.setdefault(wanted["ConnectionId"], []).append(json.loads(wanted["Data"]))
        return {}


def lines_of(frame: dict[str, Any]) -> list[dict[str, Any]]:
    """A frame's lines, whichever way they came."""
    if "gzip" not in frame:
        return list(frame["lines"])
    return list(json.loads(gzip.decompress(base64.b64decode(frame["gzip"]))))


class Client:
    """A viewer that keeps to docs/contract.md, the live log."""

    def __init__(self, cursor: str | None = None) -> None:
        self.cursor = cursor
        self.lines: dict[str, str] = {}
        self.end: dict[str, Any] | None = None
        self._pieces: dict[int, str] = {}

    def take(self, frame: dict[str, Any]) -> None:
        """Read one frame."""
        if frame["type"] == "end":
            self.end, self.cursor = frame, frame["cursor"]
            return
        assert frame["type"] == "lines", frame
        news = [line for line in lines_of(frame) if line["id"] not in self.lines]
        for line in news:
            if "parts" not in line:
                self.lines[line["id"]] = line["message"]
                continue
            self._pieces[line["part"]] = line["message"]
            if line["part"] == line["parts"]:
                self.lines[line["id"]] = "".join(self._pieces.pop(part) for part in range(1, line["parts"] + 1))
        self.cursor = frame["cursor"]

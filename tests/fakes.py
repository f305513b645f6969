"""ECS as the controller sees it, without a network: idempotent by client token, and told what to refuse."""

from collections import deque
from types import SimpleNamespace
from typing import Any

import botocore.session
from botocore.exceptions import ClientError
from botocore.validate import validate_parameters

_MODEL = botocore.session.get_session().get_service_model("ecs")


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

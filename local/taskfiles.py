"""The tasks that ECS knows, each a file, so that a stack that starts again knows what the last one ran."""

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from local.ecs import EcsError
from local.tasks import Task, lost, short

KEEP_STOPPED_SECONDS = 3600.0
TOKEN_SECONDS = 86400.0


class TaskFiles:
    """Tasks by ARN, and the client tokens they were started with."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tasks: dict[str, Task] = {}
        self._tokens: dict[str, dict[str, Any]] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def load(self) -> list[Task]:
        """Read the tasks of an earlier run; those it left running are lost with it, and returned."""
        self._tokens = {saved["token"]: saved for path in self._folder.glob("*.token") if (saved := _read(path))}
        for path in self._folder.glob("*.json"):
            if task := _read(path):
                self._tasks[task["taskArn"]] = task
            shutil.rmtree(self.home(path.stem), ignore_errors=True)
        ended = [task for task in self._tasks.values() if task["lastStatus"] != "STOPPED"]
        for task in ended:
            lost(task)
            self.save(task)
        return ended

    def __iter__(self) -> Iterator[Task]:
        return iter(self._tasks.values())

    def find(self, name: str) -> Task | None:
        """The task of an ARN or id."""
        return next((task for arn, task in self._tasks.items() if name in {arn, short(arn)}), None)

    def known(self, token: str, request: Mapping[str, Any]) -> list[Task] | None:
        """The tasks that were started with a token; None if there are none, ConflictException if otherwise."""
        saved = self._tokens.get(token)
        if not saved or time.time() - saved["at"] > TOKEN_SECONDS:
            return None
        if saved["parameters"] != _parameters(request):
            raise EcsError(
                "ConflictException",
                "The RunTask request could not be processed due to conflicts. The provided clientToken is already in "
                "use with a different RunTask request. The resourceIds are the existing task ARNs which are already "
                "associated with the clientToken.",
                resourceIds=saved["tasks"],
            )
        return [task for arn in saved["tasks"] if (task := self._tasks.get(arn))]

    def add(self, tasks: list[Task], token: str | None, request: Mapping[str, Any]) -> None:
        """Keep new tasks, and the token they were started with."""
        for task in tasks:
            self._tasks[task["taskArn"]] = task
            self.save(task)
        if token:
            arns = [task["taskArn"] for task in tasks]
            saved = {"token": token, "at": time.time(), "parameters": _parameters(request), "tasks": arns}
            self._tokens[token] = saved
            _write(self._folder / f"{short(arns[0])}.token", saved)

    def save(self, task: Task) -> None:
        """Keep a change."""
        _write(self._folder / f"{short(task['taskArn'])}.json", task)

    def forget_old(self) -> None:
        """Drop the tasks that stopped more than an hour ago, as ECS does."""
        oldest = time.time() - KEEP_STOPPED_SECONDS
        for arn in [arn for arn, task in self._tasks.items() if task.get("stoppedAt", oldest) < oldest]:
            del self._tasks[arn]
            (self._folder / f"{short(arn)}.json").unlink(missing_ok=True)

    def home(self, arn: str) -> Path:
        """The folder a task works in."""
        return self._folder / short(arn)


def _parameters(request: Mapping[str, Any]) -> str:
    return json.dumps({**request, "clientToken": None}, sort_keys=True)


def _write(path: Path, value: Mapping[str, Any]) -> None:
    written = path.with_suffix(".new")
    written.write_text(json.dumps(value), encoding="utf-8")
    written.replace(path)


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found

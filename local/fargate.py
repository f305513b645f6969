"""Local Fargate: runs tasks as processes of this machine and tells of each change as ECS does."""

import json
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from local.container import Container, Spec
from local.ecs import Catalog, invalid, launch
from local.logs import Logs
from local.taskfiles import TaskFiles
from local.tasks import Task, api_view, event_view, new_task, short


class Fargate:
    """All tasks of the local stack, kept on disk so that a restart knows them."""

    def __init__(
        self,
        catalog: Catalog,
        folder: Path,
        logs: Logs,
        program: Callable[[Mapping[str, str], Path], Spec],
        publish: Callable[[dict[str, Any]], None],
    ) -> None:
        self._catalog = catalog
        self._logs = logs
        self._program = program
        self._publish = publish
        self._lock = threading.RLock()
        self._tasks = TaskFiles(folder)
        self._containers: dict[str, Container] = {}
        self._closed = False
        self._recovered = self._tasks.load()

    def announce_recovered(self) -> list[str]:
        """Tell of the tasks that were lost with the last run of the stack; who had started them."""
        for task in self._recovered:
            self._publish(event_view(task))
        return [task["startedBy"] for task in self._recovered if "startedBy" in task]

    def living(self) -> int:
        """How many tasks have not stopped."""
        with self._lock:
            return sum(task["lastStatus"] != "STOPPED" for task in self._tasks)

    def call(self, action: str, request: Mapping[str, Any]) -> dict[str, Any] | None:
        """Answer an API call about tasks; None if it is about something else."""
        match action:
            case "RunTask":
                return self.run(request)
            case "StopTask":
                return self.stop(request)
            case "DescribeTasks":
                return self.describe(request)
            case "ListTasks":
                return self.list_tasks(request)
        return None

    def run(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """RunTask."""
        checked = launch(request, self._catalog)
        token = request.get("clientToken")
        with self._lock:
            known = self._tasks.known(token, request) if token else None
            if known is not None:
                return _copy({"tasks": [api_view(task) for task in known], "failures": []})
            tasks = [new_task(request, checked) for _ in range(checked.count)]
            self._tasks.add(tasks, token, request)
            answer = _copy({"tasks": [api_view(task) for task in tasks], "failures": []})
        for task in tasks:
            threading.Thread(target=self._live, args=(task,), daemon=True).start()
        return answer

    def stop(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """StopTask."""
        self._catalog.cluster(request.get("cluster"))
        with self._lock:
            task = self._tasks.find(request["task"])
            if not task:
                raise invalid("The referenced task was not found.")
            if task["desiredStatus"] != "STOPPED":
                reason = request.get("reason") or "Task stopped by user"
                self._change(
                    task,
                    desiredStatus="STOPPED",
                    stopCode="UserInitiated",
                    stoppedReason=reason,
                    stoppingAt=time.time(),
                )
                container = self._containers.get(task["taskArn"])
                if container:
                    container.stop()
            return _copy({"task": api_view(task)})

    def describe(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """DescribeTasks."""
        cluster = self._catalog.cluster(request.get("cluster"))
        if not 1 <= len(request.get("tasks", [])) <= 100:
            raise invalid("Tasks cannot be empty or more than 100.")
        tags = "TAGS" in request.get("include", [])
        with self._lock:
            self._tasks.forget_old()
            found = {name: self._tasks.find(name) for name in request["tasks"]}
            answer = {
                "tasks": [api_view(task, tags) for task in found.values() if task],
                "failures": [
                    {"arn": name if name.startswith("arn:") else _arn(cluster.arn, name), "reason": "MISSING"}
                    for name, task in found.items()
                    if not task
                ],
            }
            return _copy(answer)

    def list_tasks(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """ListTasks."""
        cluster = self._catalog.cluster(request.get("cluster"))
        desired = request.get("desiredStatus", "RUNNING")
        wanted = {"group": f"family:{request['family']}" if request.get("family") else None}
        wanted.update(startedBy=request.get("startedBy"), launchType=request.get("launchType"))
        with self._lock:
            self._tasks.forget_old()
            arns = sorted(
                task["taskArn"]
                for task in self._tasks
                if task["clusterArn"] == cluster.arn
                and task["desiredStatus"] == desired
                and all(value is None or task.get(key) == value for key, value in wanted.items())
            )
        first = int(request.get("nextToken") or 0)
        last = first + request.get("maxResults", 100)
        return {"taskArns": arns[first:last], **({"nextToken": str(last)} if last < len(arns) else {})}

    def close(self) -> None:
        """End all processes at once; the tasks stay on disk as they are, as if the machine had gone."""
        with self._lock:
            self._closed = True
            containers = list(self._containers.values())
        for container in containers:
            container.kill()
        for container in containers:
            container.wait(3.0)

    def _live(self, task: Task) -> None:
        """Take a task from PROVISIONING to STOPPED."""
        self._publish(event_view(task))
        now = time.time()
        self._change(task, lastStatus="PENDING", connectivity="CONNECTED", connectivityAt=now, pullStartedAt=now)
        definition = self._catalog.definition(task["taskDefinitionArn"])
        container = definition.containers[0]
        folder = self._tasks.home(task["taskArn"])
        code = None
        with self._lock:
            started = None
            if not self._closed and task["desiredStatus"] == "RUNNING":
                spec = self._program(_environment(task, container), folder)
                started = Container(replace(spec, stop_seconds=float(container.get("stopTimeout", 30))))
                self._containers[task["taskArn"]] = started
        if started:
            options = container["logConfiguration"]["options"]
            name = f"{options['awslogs-stream-prefix']}/{container['name']}/{short(task['taskArn'])}"
            stream = self._logs.stream(options["awslogs-group"], name)
            self._change(task, lastStatus="RUNNING", startedAt=time.time(), pullStoppedAt=time.time())
            for line in started.lines():
                stream.write(line)
            code = started.wait()
            if self._closed:
                return
            stream.close()
        self._end(task, code)
        shutil.rmtree(folder, ignore_errors=True)

    def _end(self, task: Task, code: int | None) -> None:
        now = time.time()
        ends = {"desiredStatus": "STOPPED", "executionStoppedAt": now}
        with self._lock:
            self._containers.pop(task["taskArn"], None)
            for container in task["containers"]:
                container["lastStatus"] = "STOPPED"
                if code is not None:
                    container["exitCode"] = code
            for attachment in task["attachments"]:
                attachment["status"] = "DELETED"
            if "stopCode" not in task:
                reason = "Essential container in task exited"
                ends.update(stopCode="EssentialContainerExited", stoppedReason=reason, stoppingAt=now)
            self._change(task, lastStatus="DEPROVISIONING", **ends)
            self._change(task, lastStatus="STOPPED", connectivity="DISCONNECTED", stoppedAt=time.time())

    def _change(self, task: Task, **changes: Any) -> None:
        with self._lock:
            if self._closed:
                return
            task.update(changes, updatedAt=time.time(), version=task["version"] + 1)
            if changes.get("lastStatus") == "RUNNING":
                for attachment in task["attachments"]:
                    attachment["status"] = "ATTACHED"
                for container in task["containers"]:
                    container["lastStatus"] = "RUNNING"
            self._tasks.save(task)
            event = event_view(task)
        self._publish(event)


def _arn(cluster: str, task_id: str) -> str:
    return cluster.replace(":cluster/", ":task/") + f"/{task_id}"


def _environment(task: Task, container: Mapping[str, Any]) -> dict[str, str]:
    """The container's variables: the definition's, then the overrides'."""
    pairs = [*container.get("environment", [])]
    for override in task["overrides"]["containerOverrides"]:
        if override.get("name") == container["name"]:
            pairs += override.get("environment", [])
    return {pair["name"]: pair["value"] for pair in pairs}


def _copy(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer as it is now; the tasks go on changing."""
    copy: dict[str, Any] = json.loads(json.dumps(answer))
    return copy

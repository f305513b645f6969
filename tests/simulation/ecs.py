# ruff: noqa: N803 - boto3 names the arguments
"""ECS on Fargate: tokens, capacity, tasks that live, end and vanish, and the events about them."""

import hashlib
import json
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from botocore.exceptions import ClientError

from tests.simulation.dynamodb import Paginator
from tests.simulation.outcomes import NO_CAPACITY, OK, OUTCOMES, Outcome
from tests.simulation.s3 import SimS3, signed_until
from tests.simulation.world import World, client_error

CLUSTER = "arn:aws:ecs:eu-central-1:123456789012:cluster/builds"
FAMILY = "builder"
_NO_INTERFACE = "Unexpected EC2 error while attempting to Create Network Interface"
_GONE = 3600.0  # a stopped task stays visible for about an hour
_CLONED = 1.5  # seconds after which a builder has cloned and told so; each runs for two at least


class SimTask:
    """One task; `shown` are its states by the time each began."""

    def __init__(self, arn: str, started_by: str, created: datetime) -> None:
        self.arn = arn
        self.started_by = started_by
        self.build_id, _, attempt = started_by.partition("/")
        self.attempt = int(attempt)
        self.created_at = created
        self.at = 0.0
        self.visible_at = 0.0
        self.listed_at = 0.0
        self.gone_at = float("inf")
        self.hidden = self.unlisted = (0.0, 0.0)  # from when to when DescribeTasks and ListTasks do not show it
        self.outcome = OK
        self.job_url = ""
        self.job: Any = None
        self.status = ""
        self.desired = "RUNNING"
        self.version = 0
        self.started: datetime | None = None
        self.running_since: float | None = None
        self.ended_since: float | None = None
        self.stopped: datetime | None = None
        self.exit_code: int | None = None
        self.exited = False
        self.stop_code: str | None = None
        self.stopped_reason: str | None = None
        self.container_reason: str | None = None
        self.success = False
        self.asked_commit: str | None = None  # by its job
        self.commit: str | None = None  # that it has cloned, and told of
        self.told_to_stop = False
        self.shown: list[tuple[float, dict[str, Any]]] = []

    @property
    def alive(self) -> bool:
        """Whether the user's code runs or may still come to run."""
        return not self.exited and self.status != "STOPPED"

    @property
    def stopped_outside(self) -> bool:
        """Whether somebody stopped it, and not the code under test."""
        return self.stop_code == "UserInitiated" and not (self.stopped_reason or "").startswith("Tidegate:")


class SimEcs:
    """The calls that the code under test makes; `emit`, `created`, `stopping` and `cloned` are told what they do."""

    def __init__(
        self,
        world: World,
        s3: SimS3,
        emit: Callable[[dict[str, Any]], None],
        created: Callable[[SimTask], None],
        stopping: Callable[[SimTask], None],
        cloned: Callable[[SimTask], None],
    ) -> None:
        self.world, self.s3 = world, s3
        self.emit, self.created, self.stopping, self.cloned = emit, created, stopping, cloned
        self.tasks: dict[str, SimTask] = {}
        self.tokens: dict[str, tuple[dict[str, Any], SimTask | None]] = {}
        self.failures: dict[str, tuple[str, str]] = {}  # by token: the reason in `failures[]`, and our code for it
        self.shortages: list[tuple[str, float, float]] = []  # what lacks, from, to
        self.refusals: dict[str, list[str]] = {}
        self.pushes: dict[tuple[str, str], int] = {}  # by repository and ref
        self.build_seconds = 300.0
        self.lag = 10.0
        self.hiding = 0.1  # how likely a task is not shown for a while
        self.plain = False  # every life has the same five events
        self.outcomes: Callable[[SimTask], Outcome] = self._any_outcome
        self._weights = [each.weight for each in OUTCOMES]

    def push(self, url: str, ref: str | None) -> None:
        """Let a ref of a repository have a new commit."""
        self.pushes[url, str(ref)] = self.pushes.get((url, str(ref)), 0) + 1

    def _head(self, url: str, ref: str | None) -> str:
        return hashlib.sha1(
            f"{url} {ref} {self.pushes.get((url, str(ref)), 0)}".encode(), usedforsecurity=False
        ).hexdigest()

    def run_task(self, **wanted: Any) -> dict[str, Any]:
        assert wanted["cluster"] == CLUSTER
        try:
            return self.world.call("ecs.run_task", lambda: self._run(wanted), wanted["clientToken"])
        except ClientError as error:
            if error.response["Error"]["Code"] == "AccessDeniedException":
                self.refusals.setdefault(wanted["startedBy"].partition("/")[0], []).append("ACCESS_DENIED")
            raise

    def describe_tasks(self, *, cluster: str, tasks: list[str]) -> dict[str, Any]:
        assert cluster == CLUSTER
        assert 0 < len(tasks) <= 100

        def read() -> dict[str, Any]:
            found = [self._shown(self.tasks[arn]) for arn in tasks if arn in self.tasks]
            known = [task for task in found if task]
            arns = {task["taskArn"] for task in known}
            return {"tasks": known, "failures": [{"arn": a, "reason": "MISSING"} for a in tasks if a not in arns]}

        return self.world.call("ecs.describe_tasks", read, " ".join(arn[-4:] for arn in tasks))

    def list_tasks(
        self,
        *,
        cluster: str,
        startedBy: str | None = None,
        family: str | None = None,
        desiredStatus: str = "RUNNING",
        nextToken: str = "",
    ) -> dict[str, Any]:
        assert cluster == CLUSTER
        assert (startedBy is None) is (family == FAMILY)

        def read() -> dict[str, Any]:
            now = self.world.now
            arns = [
                task.arn
                for task in self.tasks.values()
                if task.desired == desiredStatus
                and task.listed_at <= now < task.gone_at
                and not task.unlisted[0] <= now < task.unlisted[1]
                and startedBy in {None, task.started_by}
            ]
            start = int(nextToken or 0)
            most = start + 100
            if len(arns) > start + 1 and self.world.misfortune(0.1):
                most = start + 1
            return {"taskArns": arns[start:most]} | ({"nextToken": str(most)} if most < len(arns) else {})

        return self.world.call("ecs.list_tasks", read, startedBy or "")

    def get_paginator(self, operation: str) -> Paginator:
        return Paginator({"list_tasks": self.list_tasks}[operation], "nextToken", "nextToken", "maxResults")

    def stop_task(self, *, cluster: str, task: str, reason: str) -> dict[str, Any]:
        assert cluster == CLUSTER
        assert len(reason) <= 255

        def stop() -> dict[str, Any]:
            found = self.tasks.get(task)
            if found is None or found.gone_at <= self.world.now:
                raise client_error("StopTask", "InvalidParameterException", "The referenced task was not found.")
            self.stopping(found)
            self._stop(found, reason)
            return {}

        return self.world.call("ecs.stop_task", stop, task[-4:])

    def _run(self, wanted: dict[str, Any]) -> dict[str, Any]:
        token, started_by = wanted["clientToken"], wanted["startedBy"]
        build_id = started_by.partition("/")[0]
        if token in self.tokens:
            parameters, task = self.tokens[token]
            if parameters != wanted:
                raise client_error(
                    "RunTask", "ConflictException", "different parameters", resourceIds=[task.arn] if task else []
                )
            return self._accepted(task) if task else self._refused(build_id, token)
        provider = wanted["capacityProviderStrategy"][0]["capacityProvider"]
        lacking = next((what for what, start, end in self.shortages if start <= self.world.now < end), "")
        if lacking == "quota":
            self.refusals.setdefault(build_id, []).append("QUOTA_REACHED")
            raise client_error(
                "RunTask", "ClientException", "You've reached the limit on the number of vCPUs you can run concurrently"
            )
        if lacking == "capacity" or (lacking == "spot" and provider == "FARGATE_SPOT"):
            self.tokens[token] = (wanted, None)
            self.failures[token] = NO_CAPACITY, "CAPACITY_UNAVAILABLE"
            return self._refused(build_id, token)
        if lacking == "interfaces":
            self.tokens[token] = (wanted, None)
            self.failures[token] = _NO_INTERFACE, "NETWORK_SETUP_FAILED"
            return self._refused(build_id, token)
        task = self._new_task(wanted)
        self.tokens[token] = (wanted, task)
        return self._accepted(task)

    def _accepted(self, task: SimTask) -> dict[str, Any]:
        return {"tasks": [task.shown[0][1]], "failures": []}

    def _refused(self, build_id: str, token: str) -> dict[str, Any]:
        reason, code = self.failures[token]
        self.refusals.setdefault(build_id, []).append(code)
        self.world.say(f"failures: {reason}")
        return {"tasks": [], "failures": [{"reason": reason}]}

    def _new_task(self, wanted: dict[str, Any]) -> SimTask:
        world = self.world
        task = SimTask(
            f"{CLUSTER.replace(':cluster/', ':task/')}/{len(self.tasks) + 1:032x}", wanted["startedBy"], world.time()
        )
        [override] = wanted["overrides"]["containerOverrides"]
        environment = {each["name"]: each["value"] for each in override["environment"]}
        assert environment["BUILD_ID"] == task.build_id
        task.job_url = environment["JOB_URL"]
        self.tasks[task.arn] = task
        lag = 1.0 if world.calm else self.lag
        task.at = world.now
        task.visible_at = world.now + lag * world.rng.random()
        task.listed_at = world.now + lag * world.rng.random()
        if world.misfortune(self.hiding):
            start = world.now + world.rng.uniform(0, 600)
            task.hidden = (start, start + world.rng.uniform(0, 35))
            task.unlisted = world.rng.choice((task.hidden, (0.0, 0.0)))
        task.outcome = self.outcomes(task)
        world.say(f"new task {task.arn[-4:]} of {task.started_by}, to come to: {task.outcome.name}", "ecs")
        self.created(task)
        self._to(task, "PROVISIONING")
        world.at(world.now + world.rng.uniform(1, 20), self._pending, task)
        return task

    def _any_outcome(self, task: SimTask) -> Outcome:
        return self.world.rng.choices(OUTCOMES, self._weights)[0]

    def _pending(self, task: SimTask) -> None:
        if not task.told_to_stop:
            self._to(task, "PENDING")
            self.world.at(self.world.now + self.world.rng.uniform(3, 60), self._running, task)

    def _running(self, task: SimTask) -> None:
        if task.told_to_stop or task.outcome.name == "never starts":
            return
        if not task.outcome.runs:
            self._end(task)
            return
        if not self.plain and self.world.rng.random() < 0.3:
            self._to(task, "ACTIVATING")
        task.started, task.running_since = self.world.time(), self.world.now
        self._to(task, "RUNNING")
        task.job = self._fetch(task)
        seconds = self.world.rng.uniform(2, self.build_seconds * 0.9)
        if task.outcome.name == "out of time":
            seconds = self.build_seconds + self.world.rng.uniform(0, 20)
        if task.job is None:
            task.outcome = Outcome("job unavailable", "JOB_UNAVAILABLE", 101, again=True, result="none")
            seconds = 1.0
        elif task.outcome.name != "clone fails":
            self.world.at(self.world.now + _CLONED, self._cloned, task)
        if task.outcome.name != "never ends":
            self.world.at(self.world.now + seconds, self._end, task)
        if not self.plain and self.world.rng.random() < 0.2:
            self.world.at(self.world.now + seconds / 2, self._note, task)

    def _fetch(self, task: SimTask) -> Any:
        """The job, as the builder gets it; `None` if it cannot."""
        key, until = signed_until(task.job_url)
        return json.loads(self.s3.objects[key]) if key in self.s3.objects and self.world.now < until else None

    def _note(self, task: SimTask) -> None:
        """A change that is none to us: the version goes up, the status stays."""
        if task.alive and not task.told_to_stop:
            self._to(task, task.status)

    def _end(self, task: SimTask) -> None:
        if task.exited or task.status in {"STOPPED", "DEPROVISIONING"}:
            return
        outcome = task.outcome
        task.stop_code = task.stop_code or outcome.stop_code
        task.stopped_reason = task.stopped_reason or outcome.stopped_reason
        task.container_reason = outcome.reason
        if outcome.runs:
            self._leave_result(task)
            task.exit_code = outcome.exit_code
            task.exited = True
            # A success that ECS takes for a stop, or cannot show the code of, is none by the written rules.
            task.success = outcome.exit_code == 0 and outcome.result == "ok" and task.stop_code != "UserInitiated"
        task.ended_since = self.world.now
        self._down(task)

    def _cloned(self, task: SimTask) -> None:
        """The builder has cloned, and tells so."""
        if task.exited or task.status in {"STOPPED", "DEPROVISIONING"}:
            return
        source = task.job["source"]
        task.asked_commit = source["commit"]
        task.commit = task.asked_commit or self._head(source["url"], source["ref"])
        self.world.say(f"task {task.arn[-4:]} has cloned {task.commit[:7]}, asked for {task.asked_commit}", "ecs")
        self._tell(task, "source", ok=False)
        self._upload(task, f"files/{task.arn[-4:]}.js", task.arn.encode())
        self.cloned(task)

    def _tell(self, task: SimTask, name: str, **told: Any) -> None:
        result = {"buildId": task.build_id, "attempt": task.attempt, "commit": task.commit, "files": 3, **told}
        self._upload(task, f"{name}.json", json.dumps(result).encode())

    def _upload(self, task: SimTask, path: str, content: bytes) -> None:
        self.s3.objects[task.job["upload"]["prefix"] + path] = content

    def _leave_result(self, task: SimTask) -> None:
        kind = task.outcome.result
        if kind == "failure":
            failure = {"step": "build", "code": task.outcome.code, "exitCode": 1, "lastLines": ["no"]}
            self._tell(task, "result", ok=False, failure=failure)
        elif kind == "forged":
            self._tell(task, "result", ok=True, buildId="0" * 26)
        elif kind == "ok":
            self._tell(task, "result", ok=True)

    def _stop(self, task: SimTask, reason: str) -> None:
        if task.told_to_stop or task.status in {"STOPPED", "DEPROVISIONING"}:
            return
        task.told_to_stop, task.desired = True, "STOPPED"
        task.stop_code, task.stopped_reason = "UserInitiated", reason
        self._to(task, task.status)
        wait = self.world.rng.uniform(0.1, 30)
        self.world.at(self.world.now + wait, self._obey, task)

    def _obey(self, task: SimTask) -> None:
        if task.exited or task.status in {"STOPPED", "DEPROVISIONING"}:
            return
        if task.status == "RUNNING":
            task.exited, task.exit_code = True, self.world.rng.choice((143, 137))
        task.ended_since = self.world.now
        self._down(task)

    def _down(self, task: SimTask) -> None:
        task.desired = "STOPPED"
        if not self.plain and task.exited and self.world.rng.random() < 0.3:
            self._stopped(task)
            return
        self._to(task, "DEPROVISIONING")
        self.world.at(self.world.now + self.world.rng.uniform(1, 30), self._stopped, task)

    def _stopped(self, task: SimTask) -> None:
        task.stopped, task.gone_at = self.world.time(), self.world.now + _GONE
        self._to(task, "STOPPED")

    def _to(self, task: SimTask, status: str) -> None:
        task.status = status
        task.version += 1
        builder: dict[str, Any] = {
            "name": "builder",
            "lastStatus": "STOPPED" if task.exited or status == "STOPPED" else status,
        }
        if task.exit_code is not None:
            builder["exitCode"] = task.exit_code
        if task.container_reason:
            builder["reason"] = task.container_reason
        sidecar = {"name": "aws-guardduty-agent", "lastStatus": status, "exitCode": 0}
        shown: dict[str, Any] = {
            "taskArn": task.arn,
            "startedBy": task.started_by,
            "lastStatus": status,
            "desiredStatus": task.desired,
            "version": task.version,
            "createdAt": task.created_at,
            "containers": [sidecar, builder] if len(self.tasks) % 2 else [builder],
        }
        more = {
            "startedAt": task.started,
            "stoppedAt": task.stopped,
            "stopCode": task.stop_code,
            "stoppedReason": task.stopped_reason,
        }
        shown |= {name: value for name, value in more.items() if value}
        task.shown.append((self.world.now, shown))
        self.world.say(f"task {task.arn[-4:]} {status} v{task.version}", "ecs")
        self.emit(shown)

    def _shown(self, task: SimTask) -> dict[str, Any] | None:
        """What DescribeTasks knows of a task: a little behind, and nothing of a very new or very old one."""
        now = self.world.now
        if not task.visible_at <= now < task.gone_at or task.hidden[0] <= now < task.hidden[1]:
            return None
        seen = now - (3 * self.world.rng.random() if not self.world.calm else 0)
        return next((shown for at, shown in reversed(task.shown) if at <= seen), task.shown[0][1])


def as_event(shown: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The fields of an event's detail: times are text there."""
    for name, value in shown.items():
        yield name, value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value

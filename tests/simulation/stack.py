"""A stack of its own: the functions on the simulated AWS, their events, and their users."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest import mock

from tests.simulation.dynamodb import Index, SimDynamo, Table
from tests.simulation.ecs import CLUSTER, SimEcs, as_event
from tests.simulation.invariants import BUILDS, ENDS, LOGS, ONE_BUILD, PROJECTS, Invariants
from tests.simulation.s3 import SimS3, SimSts
from tests.simulation.world import EPOCH, Violation, World
from tidegate import aws, builds, jobs, lifecycle, queueing, reconciling, service
from tidegate.events import task_of
from tidegate.inputs import NewProject
from tidegate.model import BuildSettings, Source
from tidegate.settings import settings

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_API_SECONDS, _FUNCTION_SECONDS = 29.0, 50.0  # template.yaml
_RESERVED = 15.0  # functions/reconciler
SWEEP = 60.0
_FINAL_ANSWERS = {"TOO_LATE", "SLUG_TAKEN"}  # after which a user does not ask again
_LONGEST = 12 * 3600.0
ENVIRONMENT = {
    "BUILDS_TABLE": BUILDS,
    "PROJECTS_TABLE": PROJECTS,
    "LOGS_TABLE": LOGS,
    "CONNECTIONS_TABLE": "ConnectionsTable",
    "ARTIFACTS_BUCKET": "artifacts",
    "CLUSTER": CLUSTER,
    "TASK_DEFINITION": "arn:aws:ecs:eu-central-1:123456789012:task-definition/builder:1",
    "BUILDER_CONTAINER": "builder",
    "BUILDER_LOG_GROUP": "/tidegate/builder",
    "SUBNETS": "subnet-0a1b2c3d",
    "SECURITY_GROUPS": "sg-0a1b2c3d",
    "BUILDER_ACCESS_ROLE": "arn:aws:iam::123456789012:role/builder-access",
    "SITES_URL": "http://{slug}.localhost:8000",
    "MAX_CONCURRENT_BUILDS": "2",
    "BUILD_TIMEOUT_SECONDS": "300",
    "SPOT_SHARE": "0",
    "BUILD_CPU": "2048",
    "BUILD_MEMORY": "4096",
    "LOG_RETENTION_DAYS": "30",
    "GIT_PROTOCOLS": "https",
    "ALLOW_PRIVATE_GIT_HOSTS": "false",
}


class Silence:
    """Takes the place of the logger; the trace says what a simulated run did."""

    def info(self, *_: Any, **__: Any) -> None: ...

    warning = exception = error = debug = info


class Stack:
    """A stack of its own: the simulated AWS, its events, and its users."""

    def __init__(self, world: World, limit: int = 2) -> None:
        self.world, self.limit = world, limit
        self.s3 = SimS3(world)
        self.sts = SimSts(world)
        self.ecs = SimEcs(world, self.s3, self._emit, self._task_created, self._task_stopping, self._task_cloned)
        tables = {
            BUILDS: Table("id", {"byProject": Index("projectSlug", "id"), "open": Index("open", "id")}),
            PROJECTS: Table("slug", {}),
            LOGS: Table("taskId", {}, "firstEventId"),
        }
        self.dynamo = SimDynamo(world, tables, self._written)
        self.invariants = Invariants(world, self.ecs, self.dynamo, limit)
        self.invariants.position = lambda each: queueing.queue_place(service.find_build(each))[0]
        world.after = self.invariants.function_ended
        self.event_loss = self.event_doubling = self.sweep_loss = self.worst_moment = 0.0
        self.event_delay: tuple[float, ...] = (0.3,)
        self.deliver: Callable[[dict[str, Any]], None] = self._to_event_bridge
        self.reconciling = True
        self.dead_letters: list[dict[str, Any]] = []
        self.events: dict[str, list[dict[str, Any]]] = {}
        self.patience = 0.7  # how likely a user asks again
        self.intentions = 0  # what users are still going to do
        self.builds_left = 0
        self.keys: dict[str, str] = {}
        self.numbers: dict[str, int] = {}
        self._ids = 0

    @contextmanager
    def installed(self, **environment: str) -> Iterator[None]:
        """Put the simulated AWS where the code looks its clients up."""
        values = ENVIRONMENT | {"MAX_CONCURRENT_BUILDS": str(self.limit)} | environment
        clients: dict[str, Any] = {
            "dynamodb": lambda: self.dynamo,
            "ecs": lambda: self.ecs,
            "s3": lambda: self.s3,
            "sts": lambda: self.sts,
            "s3_as": lambda credentials: self.s3,
        }
        quiet: dict[str, Any] = {"logger": Silence(), "count": _nothing, "measure": _nothing}
        with (
            ExitStack() as patched,
            mock.patch.dict(os.environ, values),
            mock.patch.multiple(aws, **clients),
            mock.patch.object(builds, "_build", self._once(builds._build)),
            mock.patch.object(builds, "time", SimpleNamespace(sleep=self.world.sleep)),
            mock.patch.object(service, "new_slug", return_value="new-slug-name"),
        ):
            for module in (jobs, lifecycle, queueing, reconciling, service):
                own = {name: value for name, value in quiet.items() if hasattr(module, name)}
                patched.enter_context(mock.patch.multiple(module, **own))
            settings.cache_clear()
            try:
                yield
            finally:
                settings.cache_clear()

    def _once(self, read: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Read each version of an item once only: that is a fifth of the time."""
        known: dict[int, tuple[Any, Any]] = {}  # with the item, so that its id stays its own

        def build_of(item: Any) -> Any:
            if id(item) not in known:
                known[id(item)] = item, read(item)
            return known[id(item)][1]

        return build_of

    def _name(self, kind: str) -> str:
        self.numbers[kind] = self.numbers.get(kind, 0) + 1
        return f"{kind} {self.numbers[kind]}"

    def _written(self, table: str, key: str, before: dict[str, Any], after: dict[str, Any]) -> None:
        self.invariants.written(table, key, before, after)
        if table == PROJECTS:
            for each in after.get("refused", {"SS": []})["SS"]:
                self._strike(each)
        elif table == BUILDS and "projectSlug" in after:
            self._strike(key)

    def _task_created(self, task: Any) -> None:
        self.invariants.task_created(task)

    def _task_stopping(self, task: Any) -> None:
        self.invariants.task_stopping(task)

    def _task_cloned(self, task: Any) -> None:
        self.invariants.task_cloned(task)

    # EventBridge and Lambda

    def _emit(self, shown: dict[str, Any]) -> None:
        build_id, detail = shown["startedBy"].partition("/")[0], dict(as_event(shown))
        self.events.setdefault(build_id, []).append(detail)
        self.deliver(detail)
        self._strike(build_id)

    def _to_event_bridge(self, detail: dict[str, Any]) -> None:
        world = self.world
        if world.misfortune(self.event_loss):
            world.say(f"event lost: {detail['lastStatus']} v{detail['version']}", "events")
            return
        for _ in range(2 if world.misfortune(self.event_doubling) else 1):
            delay = 0.3 if world.calm else world.rng.choice(self.event_delay)
            world.at(world.now + delay * world.rng.random(), self.event, detail)

    def event(self, detail: dict[str, Any], tried: int = 0) -> None:
        """Run the function for an event; Lambda tries again twice, then it is a dead letter."""
        world = self.world

        def handle() -> None:
            task = task_of(detail, settings().builder_container)
            if task is not None:
                queueing.observe_task(task, world.time())

        def ended(end: Any) -> None:
            if not isinstance(end, BaseException):
                return
            if tried < 2:
                world.at(world.now + 60 * (tried + 1) * (1 + world.rng.random()), self.event, detail, tried + 1)
                return
            self.dead_letters.append(detail)
            if world.rng.random() < 0.3:  # the operator plays it again
                world.at(world.now + 3000 * world.rng.random(), self.event, detail)

        name = self._name("event")
        world.say(f"task {detail['taskArn'][-4:]} {detail['lastStatus']} v{detail['version']}", name)
        world.start(name, _FUNCTION_SECONDS, handle, ended)

    def tick(self) -> None:
        """The reconciler's minute."""
        self.world.at(self.world.now + SWEEP, self.tick)
        if self.reconciling and not self.world.misfortune(self.sweep_loss):
            now = self.world.time()
            self.world.start(self._name("sweep"), _FUNCTION_SECONDS, lambda: reconciling.reconcile(now, self._left))

    def _left(self) -> float:
        """The seconds that the function has for builds."""
        function = self.world.current
        assert function
        left = function.limit - self.world.now - _RESERVED
        if left < aws.LONGEST_CALL and function.waited:  # else it is the code that takes its time
            function.troubles.add("time")
        return left

    # Users

    def new_id(self) -> str:
        """A ULID of this moment."""
        self._ids += 1
        number = ((int(EPOCH.timestamp() * 1000) + int(self.world.now * 1000)) << 80) + self._ids
        return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))

    def create(
        self,
        slug: str,
        ref: str | None = "main",
        *,
        env: bool = False,
        key: str = "",
        keep: bool = False,
        repository: str = "",
    ) -> None:
        """POST /project; a user who gets no answer may ask again, with an idempotency key for the same build."""
        new = NewProject(
            Source(f"https://git.example.com/{repository or slug}.git", ref),
            slug,
            BuildSettings(env_names=("A",) if env else ()),
            {"A": "1"} if env else {},
        )
        build_id, now = self.new_id(), self.world.time()
        self.ecs.push(new.source.url, ref)
        make = service.create_project if keep else service.create_build

        def request() -> Any:
            if not key:
                return make(new, build_id, now)
            wanted = ("POST", slug, str(ref))
            return service.once(("caller", key), wanted, build_id, now, lambda own, name: make(new, own, now, name))

        def ended(build: Any) -> None:
            first = self.keys.setdefault(key, build.id) if key else build.id
            if build.id != first:
                raise Violation(ONE_BUILD, f"the key {key} made {first[-4:]} and {build.id[-4:]}")

        again = partial(self.create, slug, ref, env=env, key=key, keep=keep, repository=repository)
        self._api("create", request, f"{build_id[-4:]} of {slug}@{ref} {key}", ended, again)

    def cancel(self, build_id: str) -> None:
        """POST .../cancel."""
        now = self.world.time()
        self.invariants.cancels.add(build_id)
        again = partial(self.cancel, build_id)
        self._api(
            "cancel",
            lambda: service.cancel(build_id, now),
            build_id[-4:],
            lambda build: self.invariants.promised.add(build_id),
            again,
        )

    def retry(self, build_id: str) -> None:
        """POST .../retry."""
        new_id, now = self.new_id(), self.world.time()

        def request() -> Any:
            return service.retry(service.find_build(build_id), new_id, now)

        cloned = self.invariants.cloned(build_id)
        self._api(
            "retry",
            request,
            f"{build_id[-4:]} as {new_id[-4:]}",
            lambda build: self.invariants.retried(build.source.commit, cloned, build_id),
            partial(self.retry, build_id),
        )

    def look(self, build_id: str) -> None:
        """GET, as a page does that waits for the build."""

        def read() -> None:
            build = service.find_build(build_id)
            queueing.queue_place(build)
            service.list_builds(build.project_slug, None, None, 5)

        self._api("look", read, build_id[-4:])

    def _api(
        self,
        name: str,
        do: Callable[[], Any],
        what: str,
        ended: Callable[[Any], None] = lambda value: None,
        again: Callable[[], None] | None = None,
    ) -> None:
        rng = self.world.rng
        name = self._name(name)

        def answered(end: Any) -> None:
            if not isinstance(end, BaseException):
                ended(end)
            elif again and getattr(end, "code", "") not in _FINAL_ANSWERS and rng.random() < self.patience:
                self.later(2 + 90 * rng.random() ** 3, again)

        self.world.say(what, name)
        self.world.start(name, _API_SECONDS, do, answered)

    def later(self, seconds: float, do: Callable[[], None]) -> None:
        """Let a user do something after a while."""

        def act() -> None:
            self.intentions -= 1
            do()

        self.intentions += 1
        self.world.at(self.world.now + seconds, act)

    def _strike(self, build_id: str) -> None:
        """At this very moment a user wants something of the build, or an old event of it comes once more."""
        rng = self.world.rng
        if not self.world.misfortune(self.worst_moment):
            return
        item = self.dynamo.tables[BUILDS].items.get(build_id)
        choice, soon = rng.random(), 0.1 * rng.random()
        if item is None:
            return
        if choice < 0.4:
            self.later(soon, partial(self.cancel, build_id))
        elif choice < 0.6 and build_id in self.events:
            self.world.at(self.world.now + soon, self.event, rng.choice(self.events[build_id]))
        elif choice < 0.7:
            self.later(soon, partial(self.look, build_id))
        elif self.builds_left > 0:
            self.builds_left -= 1
            slug = item["projectSlug"]["S"]
            self.later(soon, partial(self.retry, build_id) if choice < 0.8 else partial(self.create, slug))

    def run(self) -> None:
        """Let time pass until nothing is under way, then a little longer, and check what must hold then."""
        world = self.world

        def quiet() -> bool:
            return world.calm and not self.intentions and not world.active and self.invariants.at_rest()

        if not world.run(quiet, _LONGEST):
            raise Violation(ENDS, f"not by {world.now:.0f}: {self.invariants.unfinished()}")
        world.run(lambda: False, world.now + 5 * SWEEP)
        self.invariants.ended()


def _nothing(*_: Any, **__: Any) -> None:
    pass

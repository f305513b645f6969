"""A log that is written while viewers come, go and come back: the functions run interleaved, and fail as they may.

Forwarders store batches and push, whoever ends the task seals, a sweep runs each minute. The viewers keep to
docs/contract.md, the live log.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest import mock

from msgspec.structs import replace

from scripts.events import BUILD, TASK
from tests.fakes import Client
from tests.integration.test_logs import batch, delivery, event_id
from tests.simulation.dynamodb import Index, Paginator, SimDynamo, Table, _all_used, _expression, condition
from tests.simulation.stack import ENVIRONMENT, Silence
from tests.simulation.world import EPOCH, World, client_error
from tidegate import aws, builds, chunks, notes, watching
from tidegate.connections import Subscription
from tidegate.settings import settings
from tidegate.status import Status

SWEEP = 60.0
_FORWARDER, _VIEWERS = 50.0, 29.0  # seconds, template.yaml
_LONGEST = 3600.0


class Story(NamedTuple):
    """What happens: batches as (seconds before it, lines), and each viewer's times of coming, and of what it does."""

    batches: list[tuple[float, int]]
    viewers: list[tuple[float, list[tuple[float, str]]]]


class LogDynamo(SimDynamo):
    """With queries of tables themselves and scans, which the log's store and its viewers need."""

    def query(self, **wanted: Any) -> dict[str, Any]:
        if "IndexName" in wanted:
            return super().query(**wanted)
        table = self.tables[wanted["TableName"]]
        chosen = _expression(condition, wanted, "KeyConditionExpression")
        assert chosen is not None
        assert wanted["ConsistentRead"]
        _all_used(wanted, chosen)
        values = wanted["ExpressionAttributeValues"]

        def read() -> dict[str, Any]:
            found = [item for item in table.items.values() if chosen.apply(item, values)]
            found.sort(key=lambda item: item[table.sort]["S"])
            if start := wanted.get("ExclusiveStartKey"):
                found = [item for item in found if item[table.sort]["S"] > start[table.sort]["S"]]
            most = self.world.rng.randrange(1, len(found)) if len(found) > 1 and self.world.misfortune(0.1) else None
            if wanted.get("Select") == "COUNT":
                return {"Count": len(found[: wanted["Limit"]])}
            page = {"Items": found[:most]}
            return page | ({"LastEvaluatedKey": found[most - 1]} if most else {})

        return self.world.call("dynamodb.query", read, wanted["TableName"])

    def scan(self, **wanted: Any) -> dict[str, Any]:
        items = self.tables[wanted["TableName"]].items
        return self.world.call("dynamodb.scan", lambda: {"Items": [*items.values()]})

    def get_paginator(self, operation: str) -> Paginator:
        call = {"query": self.query, "scan": self.scan}[operation]
        return Paginator(call, "LastEvaluatedKey", "ExclusiveStartKey", "Limit")


class Viewer:
    """A client, the connection it has just now, and what it keeps over connections."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.client = Client()
        self.connection = ""
        self.connections = 0
        self.chain: list[dict[str, Any]] = []  # what came over the present connection
        self.subscribed_at = 0.0


class Show:
    """One story, told in a world."""

    def __init__(self, world: World, story: Story) -> None:
        self.world, self.story = world, story
        tables = {
            "BuildsTable": Table("id", {}),
            "LogsTable": Table("taskId", {}, "firstEventId"),
            "ConnectionsTable": Table("buildId", {"byConnection": Index("connectionId", "buildId")}, "connectionId"),
        }
        self.dynamo = LogDynamo(world, tables, lambda *_: None)
        self.viewers = [Viewer(f"viewer {number}") for number in range(len(story.viewers))]
        self.open: dict[str, Viewer] = {}
        self.lines: dict[str, str] = {}
        self.repeated = 0
        self.stored: list[int] = []  # the first number of each batch, as they were stored
        self.behind: list[str] = []  # who watches, and has not got all before the end

    # AWS

    def post_to_connection(self, ConnectionId: str, Data: bytes) -> dict[str, Any]:  # noqa: N803  botocore's names
        import json

        def arrive() -> dict[str, Any]:
            viewer = self.open.get(ConnectionId)
            if viewer is None:
                raise client_error("PostToConnection", "GoneException", "")
            frame = json.loads(Data)
            if frame["type"] == "lines":
                self.repeated += sum(line["id"] in viewer.client.lines for line in frame["lines"])
            viewer.client.take(frame)
            viewer.chain.append(frame)
            return {}

        return self.world.call("connections.post", arrive, ConnectionId)

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Put the simulated AWS where the code looks its clients up."""
        values = ENVIRONMENT | {"BUILDS_TABLE": "BuildsTable", "LOGS_TABLE": "LogsTable"}
        one_by_one = {"_side_by_side": lambda viewers, serve: [each for viewer in viewers for each in serve(viewer)]}
        with (
            mock.patch.dict(os.environ, values),
            mock.patch.multiple(aws, dynamodb=lambda: self.dynamo, connections=lambda: self),
            mock.patch.multiple(watching, logger=Silence(), time=SimpleNamespace(sleep=self.world.sleep), **one_by_one),
        ):
            settings.cache_clear()
            notes.known_origins.clear()
            watching._tasks.clear()
            try:
                yield
            finally:
                settings.cache_clear()
                notes.known_origins.clear()
                watching._tasks.clear()

    # the story

    def tell(self) -> bool:
        """Play the story to its end; whether it comes to one."""
        builds.create(replace(BUILD, deadline=EPOCH + timedelta(hours=1)))
        notes.name_task(TASK, BUILD.id, BUILD.project_slug, EPOCH)
        at = number = 0.0
        for gap, size in self.story.batches:
            at += gap
            lines = [(int(number) + each, f"line {int(number) + each}") for each in range(size)]
            number += size
            self.lines |= {event_id(each): text for each, text in lines}
            self.world.at(at, self.forward, lines)
        self.world.at(at + 4, self.look)
        self.world.at(at + 5, self.end)
        self.world.calm_from = at + 50
        self.world.at(at + SWEEP, self.sweep)
        for viewer, (comes, acts) in zip(self.viewers, self.story.viewers, strict=True):
            self.world.at(comes, self.connect, viewer)
            for when, act in acts:
                self.world.at(comes + when, self.cut if act == "cut" else self.subscribe, viewer)
        return self.world.run(lambda: all(viewer.client.end for viewer in self.viewers), _LONGEST)

    def forward(self, lines: list[tuple[int, str]]) -> None:
        """A batch comes; Lambda tries again after a failure, and the operator after that."""

        def do() -> None:
            new = chunks.store(delivery(lines), self.world.time())
            self.stored.append(lines[0][0])
            watching.push_task(TASK, self.world.time, self.world.time() + timedelta(seconds=5), new)

        self._run("forwarder", _FORWARDER, do, lambda: self.world.at(self.world.now + 3, self.forward, lines))

    def look(self) -> None:
        """See whether all who have been there for a while have all there is; no sweep has helped them."""
        for viewer in self.viewers:
            if viewer.connection in self.open and viewer.subscribed_at < self.world.now - 2:
                self.behind += [viewer.name] * (viewer.client.lines != self.lines)

    def end(self) -> None:
        """The task stops: the build ends, its log is made whole and sealed."""
        build = builds.get(BUILD.id)
        assert build
        if not build.status.final:
            now = self.world.time()
            builds.save(build, replace(build, status=Status.READY, finished_at=now, open=None), now)

        def do() -> None:
            known, _ = chunks.stored_ids(TASK)
            missing = [(number, f"line {number}") for number in range(len(self.lines)) if event_id(number) not in known]
            chunks.put(batch(missing), self.world.time())
            notes.seal(notes.Watch(TASK), notes.Seal(len(self.lines)), self.world.time())
            watching.push(BUILD.id, self.world.time, self.world.time() + timedelta(seconds=10))

        self._run("end", _FORWARDER, do, lambda: self.world.at(self.world.now + 5, self.end))

    def sweep(self) -> None:
        """The reconciler's minute."""
        self.world.at(self.world.now + SWEEP, self.sweep)
        self._run("sweep", _FORWARDER, lambda: watching.sweep(self._now, self._now() + timedelta(seconds=10)), _nothing)

    def connect(self, viewer: Viewer) -> None:
        """A viewer opens a connection and subscribes with the cursor that it has."""
        viewer.connections += 1
        viewer.connection = f"{viewer.name}, connection {viewer.connections}"
        viewer.chain, viewer.subscribed_at = [], self.world.now
        self.open[viewer.connection] = viewer
        self.subscribe(viewer)

    def subscribe(self, viewer: Viewer) -> None:
        """A viewer asks for the log; if the function fails, it asks again."""
        connection, cursor = viewer.connection, viewer.client.cursor

        def do() -> None:
            until = self._now() + timedelta(seconds=15)
            watching.subscribe(Subscription(BUILD.id, connection, cursor), self._now, until)

        def again() -> None:
            if connection in self.open:
                self.world.at(self.world.now + 3, self.subscribe, viewer)

        if connection in self.open:
            self._run("subscribe", _VIEWERS, do, again)

    def cut(self, viewer: Viewer) -> None:
        """A connection breaks off; API Gateway mostly tells the function, and the viewer comes back."""
        connection = viewer.connection
        if self.open.pop(connection, None) and not viewer.client.end:
            if self.world.rng.random() < 0.7:
                self._run("disconnect", _VIEWERS, lambda: watching.leave(connection), _nothing)
            self.world.at(self.world.now + 2, self.connect, viewer)

    def _now(self) -> Any:
        return self.world.time()

    def _run(self, name: str, seconds: float, do: Callable[[], None], again: Callable[[], None]) -> None:
        self.world.start(name, seconds, do, lambda end: again() if isinstance(end, BaseException) else None)


def _nothing() -> None: ...

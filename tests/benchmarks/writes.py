"""DynamoDB write units of one build, from `POST /project` to the sealed log, with 1,000 lines in 15 batches.

    python -m tests.benchmarks.writes

The real handlers against moto; the units are computed from the items' sizes before and after each write, in the table
and in its indexes, https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html.
The task goes through all nine of ECS's states; its function hears of those that the rule in template.yaml lets through.
The lines are those of `tests.benchmarks.forwarder`.
"""

import base64
import gzip
import io
import itertools
import json
import logging
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
import pytest
from samtranslator.yaml_helper import yaml_parse

from functions.log_forwarder.app import handler as log_forwarder
from functions.reconciler.app import handler as reconciler
from functions.task_state_change.app import handler as task_state_change
from tests.benchmarks import forwarder
from tests.calls import CONTEXT, call
from tests.conftest import stack_in
from tests.fakes import FakeEcs
from tidegate import aws, builds, jobs, sealing
from tidegate.model import Result
from tidegate.settings import settings

LINES, BATCHES = 1000, 15
CLOSING = "==> Ready: 412 files in 41.3 s"
_URL = "https://github.com/vitejs/vite-plugin-vue.git"
_RULE = yaml_parse((forwarder.ROOT / "template.yaml").read_text())["Resources"]["TaskStateChangeRule"]["Properties"]
_TOLD = _RULE["EventPattern"]["detail"]["lastStatus"]
_EARLY = ("PROVISIONING", "PENDING", "ACTIVATING")
_LATE = ("DEACTIVATING", "STOPPING", "DEPROVISIONING")


class Meter:
    """Counts the write units of all that one client writes, by table and key."""

    def __init__(self) -> None:
        self.units: Counter[str] = Counter()
        self.writes: Counter[str] = Counter()
        self._client: Any = aws.dynamodb()
        self._real = self._client._make_api_call

    @contextmanager
    def running(self) -> Iterator["Meter"]:
        with mock.patch.object(self._client, "_make_api_call", self._call):
            yield self

    def _call(self, operation: str, words: Any) -> Any:
        if operation not in {"PutItem", "UpdateItem", "DeleteItem"}:
            assert "Write" not in operation, f"{operation} is not counted"
            return self._real(operation, words)
        table = words["TableName"]
        described = self._real("DescribeTable", {"TableName": table})["Table"]
        names = [each["AttributeName"] for each in described["KeySchema"]]
        key = {name: (words.get("Key") or words["Item"])[name] for name in names}
        before = self._item(table, key)
        try:
            return self._real(operation, words)
        finally:  # a condition that fails costs as much
            after = self._item(table, key)
            units = max(1, _units(before), _units(after))
            for index in described.get("GlobalSecondaryIndexes", []):
                held = {*names, *(each["AttributeName"] for each in index["KeySchema"])}
                units += _index_units(before, after, held)
            self.units[_what(table, key)] += units
            self.writes[_what(table, key)] += 1

    def _item(self, table: str, key: Any) -> Any:
        return self._real("GetItem", {"TableName": table, "Key": key, "ConsistentRead": True}).get("Item", {})


def _what(table: str, key: Any) -> str:
    """What an item is, by its key."""
    names = [value["S"] for value in key.values()]
    if table == "LogsTable":
        [note] = [name for name in names if name.startswith("~")] or ["lines"]
        return f"log: {note.removeprefix('~')}"
    return {"BuildsTable": "build", "ProjectsTable": "project"}[table] if names != ["slots"] else "slots"


def _units(item: Any) -> int:
    return -(-size(item) // 1024)


def _index_units(before: Any, after: Any, names: set[str]) -> int:
    """What an index that holds these keys only costs."""
    old, new = ({name: item[name] for name in names} if names <= set(item) else {} for item in (before, after))
    return 0 if old == new else bool(old) + bool(new)


def size(attributes: Any) -> int:
    """An item's or attribute's size as DynamoDB counts it."""
    match attributes:
        case {"S": str(text)}:
            return len(text.encode())
        case {"N": str(number)}:
            return len(number.strip("-").replace(".", "")) // 2 + 2
        case {"B": bytes(data)}:
            return len(data)
        case {"BOOL": _}:
            return 1
        case {"SS": list(texts)}:
            return sum(len(text.encode()) for text in texts)
        case {"L": list(parts)}:
            return 3 + sum(1 + size(part) for part in parts)
        case {"M": dict(parts)}:
            return 3 + sum(1 + len(name) + size(part) for name, part in parts.items())
        case dict():
            return sum(len(name) + size(part) for name, part in attributes.items())
    raise AssertionError(attributes)


def build_once(ecs: FakeEcs, lines: Sequence[str], batches: int) -> Meter:
    """One build from the first request to the sealed log, with all of its events and four sweeps."""
    meter = Meter()
    with meter.running():
        _, body, _ = call("POST", "/project", {"gitURL": _URL, "slug": "callous-tender-dog"})
        build_id = body["data"]["buildId"]
        build = builds.get(build_id)
        assert build
        assert build.task_arn
        for status in _EARLY:
            _happen(ecs, build.task_arn, status)
        _happen(ecs, build.task_arn, "RUNNING", startedAt=datetime.now(UTC))
        reconciler({}, CONTEXT)
        events = _events(lines)
        step = -(-len(events) // batches)
        for start in range(0, len(events), step):
            log_forwarder({"awslogs": {"data": _delivery(build.task_arn, events[start : start + step])}}, CONTEXT)
        result = Result(
            build_id, 1, ok=True, commit="4b825dc642cb6eb9a060e54bf8d69288fbee4904", framework="vite", files=412
        )
        aws.s3().put_object(
            Bucket=settings().artifacts_bucket,
            Key=f"{jobs.prefix(build.project_slug, build_id, 1)}result.json",
            Body=msgspec.json.encode(result),
        )
        with mock.patch.object(aws, "logs", return_value=_CloudWatch(events)):
            for status in _LATE:
                _happen(ecs, build.task_arn, status, 0, stopCode="EssentialContainerExited")
            _happen(ecs, build.task_arn, "STOPPED", 0, stopCode="EssentialContainerExited", stoppedAt=datetime.now(UTC))
            reconciler({}, CONTEXT)
            for minute in (1, 2):
                sealing.sweep(datetime.now(UTC) + timedelta(minutes=minute))
    after = builds.get(build_id)
    assert after
    assert after.status == "ready"
    return meter


class _CloudWatch:
    """FilterLogEvents that shows the whole stream."""

    def __init__(self, events: list[dict[str, Any]]) -> None:
        self._page = {"events": [{**event, "eventId": event["id"]} for event in events]}

    def get_paginator(self, _: str) -> "_CloudWatch":
        return self

    def paginate(self, **_: Any) -> Iterator[dict[str, Any]]:
        yield self._page


def _happen(ecs: FakeEcs, arn: str, last_status: str, exit_code: int | None = None, **more: Any) -> None:
    status = "STOPPED" if exit_code is not None else last_status
    container = {"name": "builder", "lastStatus": status} | ({} if exit_code is None else {"exitCode": exit_code})
    task = ecs.change(arn, lastStatus=last_status, containers=[container], **more)
    if last_status in _TOLD:
        detail = {key: value for key, value in task.items() if not key.startswith("_")}
        task_state_change({"detail": detail}, CONTEXT)  # type: ignore[arg-type]


def _events(lines: Sequence[str]) -> list[dict[str, Any]]:
    data = forwarder.delivery([*lines[:-1], CLOSING], len(lines))
    events: list[dict[str, Any]] = json.loads(gzip.decompress(base64.b64decode(data)))["logEvents"]
    return events


def _delivery(arn: str, events: list[dict[str, Any]]) -> str:
    body = {
        "messageType": "DATA_MESSAGE",
        "owner": "123456789012",
        "logGroup": settings().builder_log_group,
        "logStream": f"build/{settings().builder_container}/{arn.rpartition('/')[2]}",
        "subscriptionFilters": ["tidegate-LogSubscription"],
        "logEvents": events,
    }
    return base64.b64encode(gzip.compress(msgspec.json.encode(body), mtime=0)).decode()


def main() -> None:
    """Measure and print the table."""
    with tempfile.TemporaryDirectory() as folder:
        printed = forwarder.build_output(Path(folder) / "site")
    lines = list(itertools.islice(itertools.cycle(printed), LINES))
    with pytest.MonkeyPatch.context() as patch, stack_in(patch) as found:
        ecs = FakeEcs(found.cluster)
        patch.setattr(aws, "ecs", lambda: ecs)
        logging.disable()  # what the functions log, and print as metrics
        with redirect_stdout(io.StringIO()):
            meter = build_once(ecs, lines, BATCHES)
    print("| what | writes | units |")
    print("|---|---|---|")
    for name, units in meter.units.items():
        print(f"| {name} | {meter.writes[name]} | {units} |")
    print(f"| all | {meter.writes.total()} | {meter.units.total()} |")


if __name__ == "__main__":
    main()

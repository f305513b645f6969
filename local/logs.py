"""Local CloudWatch Logs for tasks: streams on disk, subscription batches, and the calls that read them."""

import base64
import gzip
import json
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from local.account import ACCOUNT, REGION

BATCH_SECONDS = 0.2
BATCH_EVENTS = 1000
BATCH_BYTES = 200_000
MOST_BYTES = 262_118  # of one event; awslogs splits longer lines

Event = dict[str, Any]


def event_id(timestamp: int, put: int, number: int) -> str:
    """An event's id as CloudWatch makes them: its time, which write it came with, and its number in that.

    `put` has 128 bits: 64 of when CloudWatch took the write, in milliseconds, then 64 of chance. The id has 56 digits.
    """
    return str(timestamp << 144 | put << 16 | number)


@dataclass(frozen=True)
class Subscription:
    """A subscription filter: which group's events go to which function."""

    name: str
    group: str
    arn: str


class LogError(Exception):
    """A call that CloudWatch Logs refuses; ``code`` is its error type."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Logs:
    """Log groups with their streams, each a file of JSON lines ``[id, timestamp, message]``."""

    def __init__(
        self, folder: Path, groups: set[str], subscriptions: list[Subscription], deliver: Callable[[str, Any], None]
    ) -> None:
        """``deliver`` invokes the function of an ARN with a batch, and again if it fails."""
        self._folder = folder
        self._groups = groups
        self._subscriptions = subscriptions
        self._deliver = deliver
        self._lock = threading.Lock()
        self._put = 0
        self._recent: tuple[Path | None, int, list[tuple[str, int, str]]] = (None, 0, [])  # the stream read last

    def stream(self, group: str, name: str) -> "Stream":
        """Open a stream for writing."""
        return Stream(self, group, name)

    def put(self, group: str, stream: str, lines: list[tuple[int, str]]) -> list[Event]:
        """Store lines ``(timestamp, message)``; the events they became."""
        with self._lock:
            self._put = max(self._put + 1, (time.time_ns() // 1_000_000) << 64 | secrets.randbits(64))  # it grows
            events = [
                {"id": event_id(at, self._put, number), "timestamp": at, "message": message}
                for number, (at, message) in enumerate(lines)
            ]
            path = self._path(group, stream)
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps([e["id"], e["timestamp"], e["message"]]) + "\n" for e in events)
        return events

    def deliver(self, group: str, stream: str, events: list[Event]) -> None:
        """Send a batch to the group's subscriptions."""
        for subscription in self._subscriptions:
            if subscription.group == group:
                payload = {
                    "messageType": "DATA_MESSAGE",
                    "owner": ACCOUNT,
                    "logGroup": group,
                    "logStream": stream,
                    "subscriptionFilters": [subscription.name],
                    "logEvents": events,
                }
                data = base64.b64encode(
                    gzip.compress(json.dumps(payload, separators=(",", ":")).encode(), compresslevel=1)
                ).decode()
                self._deliver(subscription.arn, {"awslogs": {"data": data}})

    def call(self, action: str, request: Mapping[str, Any]) -> dict[str, Any] | None:
        """Answer an API call about a task's log group; None if it is another's."""
        group = (
            request.get("logGroupName") or str(request.get("logGroupIdentifier", "")).removesuffix(":*").split(":")[-1]
        )
        if group not in self._groups:
            return None
        match action:
            case "FilterLogEvents":
                return self._filter(group, request)
            case "GetLogEvents":
                return self._get(group, request)
            case "DescribeLogStreams":
                return self._describe(group, request)
        return None

    def _filter(self, group: str, request: Mapping[str, Any]) -> dict[str, Any]:
        if request.get("filterPattern"):
            raise LogError("InvalidParameterException", "The local stack does not filter by pattern.")
        names = request.get("logStreamNames") or self._names(group, request.get("logStreamNamePrefix", ""))
        found = [
            (event_id, name, at, message)
            for name in names
            for event_id, at, message in self._read(group, name)
            if request.get("startTime", 0) <= at < request.get("endTime", 1 << 62)
        ]
        found.sort()
        first = int(request.get("nextToken", "0"))
        last = first + request.get("limit", 10_000)
        more = {"nextToken": str(last)} if last < len(found) else {}
        events = [
            {"logStreamName": name, "timestamp": at, "message": message, "ingestionTime": at, "eventId": event_id}
            for event_id, name, at, message in found[first:last]
        ]
        return {"events": events, "searchedLogStreams": [], **more}

    def _get(self, group: str, request: Mapping[str, Any]) -> dict[str, Any]:
        events = [
            {"timestamp": at, "message": message, "ingestionTime": at}
            for _, at, message in self._read(group, request["logStreamName"])
            if request.get("startTime", 0) <= at < request.get("endTime", 1 << 62)
        ]
        limit = request.get("limit", 10_000)
        direction, _, number = str(request.get("nextToken", "")).partition("/")
        if direction == "b" or (not direction and not request.get("startFromHead")):
            last = int(number) if number else len(events)
            first = max(0, last - limit)
        else:
            first = int(number or 0)
            last = min(len(events), first + limit)
        return {"events": events[first:last], "nextForwardToken": f"f/{last}", "nextBackwardToken": f"b/{first}"}

    def _describe(self, group: str, request: Mapping[str, Any]) -> dict[str, Any]:
        streams = []
        for name in self._names(group, request.get("logStreamNamePrefix", "")):
            times = [at for _, at, _ in self._read(group, name)]
            arn = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{group}:log-stream:{name}"
            streams.append(
                {
                    "logStreamName": name,
                    "arn": arn,
                    "creationTime": times[0],
                    "firstEventTimestamp": times[0],
                    "lastEventTimestamp": times[-1],
                    "lastIngestionTime": times[-1],
                    "storedBytes": 0,
                }
            )
        return {"logStreams": streams}

    def _names(self, group: str, prefix: str) -> list[str]:
        folder = self._path(group, "x").parent
        names = sorted(unquote(path.stem) for path in folder.glob("*.jsonl"))
        return [name for name in names if name.startswith(prefix)]

    def _read(self, group: str, stream: str) -> list[tuple[str, int, str]]:
        path = self._path(group, stream)
        if not path.exists():
            raise LogError("ResourceNotFoundException", "The specified log stream does not exist.")
        with self._lock:
            known, end, lines = self._recent
            if known != path:
                end, lines = 0, []
            with path.open("rb") as file:
                file.seek(end)
                new = file.read()
            new = new[: new.rfind(b"\n") + 1]  # a line cut off by a kill has no end
            lines = lines + [tuple(json.loads(line)) for line in new.splitlines()]
            self._recent = (path, end + len(new), lines)
        return lines

    def _path(self, group: str, stream: str) -> Path:
        return self._folder / quote(group, safe="") / f"{quote(stream, safe='')}.jsonl"


class Stream:
    """What the awslogs driver does with a container's output: whole lines, sent in small batches, in order."""

    def __init__(self, logs: Logs, group: str, name: str) -> None:
        self._logs = logs
        self._group = group
        self._name = name
        self._lines: list[tuple[int, str]] = []
        self._bytes = 0
        self._ended = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> None:
        """Take a line; an empty one is dropped, as awslogs does."""
        now = time.time_ns() // 1_000_000
        for start in range(0, len(line), MOST_BYTES):
            message = line[start : start + MOST_BYTES].decode("utf-8", "replace")
            with self._changed:
                self._lines.append((now, message))
                self._bytes += len(message)
                if len(self._lines) >= BATCH_EVENTS or self._bytes >= BATCH_BYTES:
                    self._changed.notify()

    def close(self, seconds: float = 20.0) -> None:
        """Send the rest, and wait a moment until it has arrived."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._thread.join(seconds)

    def _send(self) -> None:
        while True:
            with self._changed:
                if not self._ended:
                    self._changed.wait(BATCH_SECONDS)
                lines, self._lines = self._lines[:BATCH_EVENTS], self._lines[BATCH_EVENTS:]
                self._bytes = sum(len(message) for _, message in self._lines)
                ended = self._ended and not self._lines
            if lines:
                events = self._logs.put(self._group, self._name, lines)
                self._logs.deliver(self._group, self._name, events)
            if ended:
                return

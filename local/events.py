"""Local EventBridge and Scheduler: hands events to the functions whose rules match, and calls others by the clock."""

import json
import re
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from moto.events.models import EventPattern

from local.chaos import Chaos
from local.timers import Timers

UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}


@dataclass(frozen=True)
class Target:
    """Where a rule or a schedule sends its events: the ARN of a function, and of a queue for what cannot be sent."""

    arn: str
    dead_letters: str | None = None
    text: str | None = None


@dataclass(frozen=True)
class Rule:
    """An EventBridge rule on the default bus."""

    name: str
    pattern: Mapping[str, Any]
    targets: tuple[Target, ...]

    def matches(self, event: Mapping[str, Any]) -> bool:
        """Whether the rule wants this event."""
        return EventPattern(None, dict(self.pattern)).matches_event(event)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Schedule:
    """A schedule with a rate."""

    name: str
    arn: str
    seconds: float
    target: Target


class Bus:
    """Delivers events to functions, as well as ``chaos`` lets it."""

    def __init__(
        self,
        rules: list[Rule],
        schedules: list[Schedule],
        chaos: Chaos,
        timers: Timers,
        invoke: Callable[[str, Any], None],
        send: Callable[[str, dict[str, Any]], None],
    ) -> None:
        self._rules = rules
        self._schedules = schedules
        self._chaos = chaos
        self._timers = timers
        self._invoke = invoke
        self._send = send
        self._seen: dict[str, int] = {}
        self._lock = threading.Lock()

    def publish(self, event: Mapping[str, Any]) -> None:
        """Take an event from a service."""
        for delay in self._chaos.deliveries(self._key(event)):
            self._timers.later(delay, lambda: self._deliver(event))

    def start_clock(self, seconds: float | None = None) -> None:
        """Begin the schedules; ``seconds`` overrides their own rates."""
        for schedule in self._schedules:
            self._timers.every(seconds or schedule.seconds, lambda due=schedule: self._tick(due))  # type: ignore[misc]

    def _deliver(self, event: Mapping[str, Any]) -> None:
        for rule in self._rules:
            if rule.matches(event):
                for target in rule.targets:
                    self._hand(target, json.loads(target.text) if target.text else event)

    def _tick(self, schedule: Schedule) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        if schedule.target.text:
            text = schedule.target.text.replace("<aws.scheduler.scheduled-time>", now)
            text = text.replace("<aws.scheduler.schedule-arn>", schedule.arn)
            self._hand(schedule.target, json.loads(text))
            return
        self._hand(
            schedule.target,
            {
                "version": "0",
                "id": str(uuid.uuid4()),
                "detail-type": "Scheduled Event",
                "source": "aws.scheduler",
                "account": schedule.arn.split(":")[4],
                "time": now,
                "region": schedule.arn.split(":")[3],
                "resources": [schedule.arn],
                "detail": "{}",
            },
        )

    def _hand(self, target: Target, event: Any) -> None:
        try:
            self._invoke(target.arn, event)
        except KeyError:
            if target.dead_letters:
                self._send(target.dead_letters, event)

    def _key(self, event: Mapping[str, Any]) -> str:
        """The event's name that is the same in each run: which task it was, and its version."""
        detail = event["detail"]
        with self._lock:
            number = self._seen.setdefault(detail.get("taskArn", ""), len(self._seen))
        return f"{number}/{detail.get('version')}"


def seconds_of(expression: str) -> float:
    """The seconds of a schedule expression such as ``rate(1 minute)``."""
    match = re.fullmatch(r"rate\((\d+) (second|minute|hour|day)s?\)", expression)
    if not match:
        raise ValueError(f"the local stack runs schedules with a rate, not {expression!r}")
    return float(match[1]) * UNITS[match[2]]

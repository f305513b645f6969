"""A task's five events in every order, with every loss, once and doubled: the same end."""

from collections.abc import Iterator
from itertools import combinations, permutations

import pytest

from tests.simulation.ecs import SimTask
from tests.simulation.invariants import BUILDS
from tests.simulation.outcomes import OUTCOMES
from tests.simulation.stack import Stack
from tests.simulation.world import World

LIFE = ("PROVISIONING", "PENDING", "RUNNING", "DEPROVISIONING", "STOPPED")
BY_NAME = {outcome.name: outcome for outcome in OUTCOMES}
# What the first task comes to, the status and the failure code that follow, and the attempts it takes.
ENDS = {
    "ok": ("ready", "", "1"),
    "build fails": ("failed", "BUILD_FAILED", "1"),
    "out of memory, code 1": ("failed", "OUT_OF_MEMORY", "1"),
    "no exit code": ("failed", "EXIT_CODE_MISSING", "1"),
    "no result": ("failed", "RESULT_MISSING", "1"),
    "host lost": ("ready", "", "2"),
    "never ends": ("canceled", "CANCELED", "1"),
}
DOUBLINGS = ("once", "each twice", "all again")


def orders() -> Iterator[tuple[int, ...]]:
    """Every order of every part of the five: 120 of all, down to none at all."""
    for size in range(len(LIFE) + 1):
        for part in combinations(range(len(LIFE)), size):
            yield from permutations(part)


def doubled(order: tuple[int, ...], doubling: str) -> list[int]:
    if doubling == "each twice":
        return [each for each in order for _ in range(2)]
    return [*order, *order] if doubling == "all again" else [*order]


class Held(Stack):
    """One build whose first task's events are held back; those of a later task arrive as they come."""

    def __init__(self, outcome: str) -> None:
        super().__init__(World(3, script={}))
        self.ecs.plain = True
        self.ecs.outcomes = lambda task: BY_NAME[outcome if len(self.ecs.tasks) == 1 else "ok"]
        self.deliver = self.hold
        self.held: list[dict[str, object]] = []
        self.wants_cancel = outcome == "never ends"

    @property
    def first(self) -> SimTask:
        return next(iter(self.ecs.tasks.values()))

    def hold(self, detail: dict[str, object]) -> None:
        if detail["taskArn"] != self.first.arn:
            self._to_event_bridge(detail)
        elif detail["lastStatus"] not in [each["lastStatus"] for each in self.held]:
            self.held.append(detail)

    def begin(self) -> None:
        self.later(0, lambda: self.create("harbour"))
        if self.wants_cancel:
            self.later(150, lambda: self.cancel(self.first.build_id))

    def end(self) -> tuple[str, str, str]:
        self.run()
        [item] = [item for item in self.dynamo.tables[BUILDS].items.values() if "projectSlug" in item]
        code = item.get("failure", {}).get("M", {}).get("code", {}).get("S", "")
        return item["status"]["S"], code, item["attempt"]["N"]


def late(outcome: str, order: list[int]) -> tuple[str, str, str]:
    """The end if the events come after the task has stopped, and the reconciler after them."""
    stack = Held(outcome)
    with stack.installed():
        stack.begin()
        stack.world.run(lambda: len(stack.held) == len(LIFE) and not stack.world.active, 600)
        assert [each["lastStatus"] for each in stack.held] == [*LIFE]
        for place, number in enumerate(order, 1):
            stack.world.at(stack.world.now + place, stack.event, stack.held[number])
        stack.world.at(stack.world.now + len(order) + 2, stack.tick)
        return stack.end()


def in_time(outcome: str, order: list[int]) -> tuple[str, str, str]:
    """The end if the events that are not lost come as they happen, beside the reconciler."""
    stack = Held(outcome)

    def deliver(detail: dict[str, object]) -> None:
        stack.hold(detail)
        for _ in range(order.count(len(stack.held) - 1) if stack.held[-1] is detail else 0):
            stack._to_event_bridge(detail)

    stack.deliver = deliver
    with stack.installed():
        stack.begin()
        stack.world.at(40, stack.tick)
        return stack.end()


@pytest.mark.parametrize("outcome", ENDS)
def test_every_order_of_late_events_comes_to_the_same_end(outcome: str) -> None:
    found = {
        (order, doubling): end
        for order in orders()
        for doubling in DOUBLINGS
        if (end := late(outcome, doubled(order, doubling))) != ENDS[outcome]
    }
    assert found == {}


@pytest.mark.parametrize("outcome", ENDS)
def test_every_loss_comes_to_the_same_end(outcome: str) -> None:
    parts = [part for size in range(len(LIFE) + 1) for part in combinations(range(len(LIFE)), size)]
    assert len(parts) == 32
    found = {
        (part, doubling): end
        for part in parts
        for doubling in DOUBLINGS[:2]
        if (end := in_time(outcome, doubled(part, doubling))) != ENDS[outcome]
    }
    assert found == {}

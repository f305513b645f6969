"""Every call to AWS of every use case, failed in every way, one by one: the build ends as it would have."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import pytest

from tests.simulation.ecs import SimTask
from tests.simulation.invariants import BUILDS
from tests.simulation.outcomes import OUTCOMES, Outcome
from tests.simulation.stack import Stack
from tests.simulation.world import (
    CRASH_AFTER,
    CRASH_BEFORE,
    DENIED,
    HIDDEN_THROTTLE,
    LATE,
    SERVER_ERROR,
    THROTTLE,
    TIMEOUT_AFTER,
    TIMEOUT_BEFORE,
    Fault,
    Violation,
    World,
)

FAULTS = (
    Fault(THROTTLE),
    Fault(HIDDEN_THROTTLE),
    Fault(SERVER_ERROR),
    Fault(TIMEOUT_BEFORE),
    Fault(TIMEOUT_AFTER, 1),
    Fault(TIMEOUT_AFTER),
    Fault(LATE),
    Fault(DENIED),
    Fault(CRASH_BEFORE),
    Fault(CRASH_AFTER),
)
BY_NAME = {outcome.name: outcome for outcome in OUTCOMES}


class Scenario(NamedTuple):
    """What users do, what the tasks come to in turn (the last for all others), and the ends that follow."""

    name: str
    act: Callable[[Stack], None]
    ends: set[str]
    outcomes: tuple[str, ...] = ("ok",)
    limit: int = 2
    deaf: bool = False  # no event arrives


def of_newest(stack: Stack, act: Callable[[str], None]) -> None:
    """Do something with the newest build, once there is one."""
    builds = [key for key, item in stack.dynamo.tables[BUILDS].items.items() if "projectSlug" in item]
    if builds:
        act(max(builds))
    else:
        stack.later(10, partial(of_newest, stack, act))


def create(stack: Stack) -> None:
    stack.create("harbour")


def create_with_key(stack: Stack) -> None:
    stack.create("harbour", key="key")


def create_with_environment(stack: Stack) -> None:
    stack.create("harbour", env=True)


def create_two(stack: Stack) -> None:
    stack.create("harbour")
    stack.later(1, partial(stack.create, "lantern"))


def create_three_of_one(stack: Stack) -> None:
    stack.create("harbour")
    stack.later(2, partial(stack.create, "harbour"))
    stack.later(4, partial(stack.create, "harbour"))


def cancel_after(seconds: float, stack: Stack) -> None:
    stack.create("harbour")
    stack.later(seconds, partial(of_newest, stack, stack.cancel))


def cancel_the_second(stack: Stack) -> None:
    create_two(stack)
    stack.later(20, partial(of_newest, stack, stack.cancel))


def retry_later(stack: Stack) -> None:
    stack.create("harbour")
    stack.later(400, partial(of_newest, stack, stack.retry))


def create_without_capacity(stack: Stack) -> None:
    stack.ecs.shortages.append(("capacity", 0, 90))
    stack.create("harbour")


SCENARIOS = (
    Scenario("success", create, {"READY"}),
    Scenario("success with a key", create_with_key, {"READY"}),
    Scenario("success with an environment", create_with_environment, {"READY"}),
    Scenario("success, no events", create, {"READY"}, deaf=True),
    Scenario("the build fails", create, {"BUILD_FAILED"}, ("build fails",)),
    Scenario("the build fails, no events", create, {"BUILD_FAILED"}, ("build fails",), deaf=True),
    Scenario("a platform fault first", create, {"READY"}, ("spot loss", "ok")),
    Scenario("three platform faults", create, {"NETWORK_SETUP_FAILED"}, ("no network interface",)),
    Scenario("no capacity at first", create_without_capacity, {"READY"}),
    Scenario("the task never starts", create, {"START_TIMED_OUT"}, ("never starts",)),
    Scenario("the build never ends", create, {"BUILD_TIMED_OUT"}, ("never ends",)),
    Scenario("cancel while it starts", partial(cancel_after, 0.065), {"CANCELED"}, ("never ends",)),
    Scenario("cancel while it builds", partial(cancel_after, 100), {"CANCELED"}, ("never ends",)),
    Scenario("one waits", create_two, {"READY"}, limit=1),
    Scenario("one waits and is canceled", cancel_the_second, {"READY", "CANCELED"}, limit=1),
    Scenario("one waits and is superseded", create_three_of_one, {"READY", "SUPERSEDED"}, limit=1),
    Scenario("retry", retry_later, {"BUILD_FAILED", "READY"}, ("build fails", "ok")),
)


def run(scenario: Scenario, script: dict[tuple[str, int], Fault]) -> Stack:
    stack = Stack(World(1, script=dict(script)), scenario.limit)
    stack.patience = 1.0
    stack.ecs.plain = True
    if scenario.deaf:
        stack.deliver = lambda detail: None

    def outcome(task: SimTask) -> Outcome:
        number = len(stack.ecs.tasks) - 1
        return BY_NAME[scenario.outcomes[min(number, len(scenario.outcomes) - 1)]]

    stack.ecs.outcomes = outcome
    with stack.installed():
        stack.later(1, partial(scenario.act, stack))
        stack.world.at(31, stack.tick)
        stack.run()
    return stack


def sites(stack: Stack) -> Iterator[tuple[str, int, str]]:
    """The calls of a run, without those of sweeps that did what the sweep before did."""
    calls: dict[str, list[tuple[str, int, str]]] = {}
    for call in stack.world.calls:
        calls.setdefault(call[0], []).append(call)
    last: list[str] = []
    for name, own in calls.items():
        operations = [operation for _, _, operation in own]
        if not name.startswith("sweep") or operations != last:
            yield from own
        if name.startswith("sweep"):
            last = operations


def wrong(scenario: Scenario, plain: Stack, site: tuple[str, int, str], fault: Fault) -> str:
    """What is wrong with the end, if anything."""
    name, number, operation = site
    try:
        stack = run(scenario, {(name, number): fault})
    except Violation as violation:
        return str(violation)
    allowed = set(scenario.ends)
    # A user who got no answer asks again, and then there may be two builds.
    asked_again = any(stack.numbers.get(kind, 0) > plain.numbers.get(kind, 0) for kind in ("create", "retry"))
    if asked_again:
        allowed |= {"SUPERSEDED", "READY"} | {BY_NAME[name].code or "READY" for name in scenario.outcomes}
    if (operation, fault.kind) == ("ecs.run_task", DENIED):
        allowed.add("ACCESS_DENIED")
        return "" if set(stack.invariants.ends) <= allowed else str(stack.invariants.ends)
    ends = set(stack.invariants.ends)
    return (
        ""
        if ends <= allowed and (scenario.ends - {"SUPERSEDED"} <= ends or asked_again)
        else str(stack.invariants.ends)
    )


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_every_call_failed_in_every_way(scenario: Scenario) -> None:
    plain = run(scenario, {})
    assert set(plain.invariants.ends) == scenario.ends
    found = []
    for site in sites(plain):
        for fault in FAULTS:
            if fault.kind == HIDDEN_THROTTLE and site[2] != "ecs.run_task":
                continue
            if what := wrong(scenario, plain, site, fault):
                found.append(f"{site[0]}, call {site[1]}, {site[2]}, {fault.kind} x{fault.tries}: {what}")
    assert found == []

"""Every call to AWS of every use case, failed in every way, one by one: the build ends as it would have.

The plain scenarios start with nothing and fail each call. The repairs start from what a first fault, a race or a table
that somebody has touched left behind, and fail each call that no plain scenario makes on the same way through the code.
"""

import ast
import sys
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

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
    Function,
    Violation,
    World,
)
from tidegate import builds, slots

if TYPE_CHECKING:
    from types import CodeType, FrameType

T = TypeVar("T")
LAYER = Path(builds.__file__).parent

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


class Before(NamedTuple):
    """What happens first to calls below a function: a fault, or what somebody does at that very moment."""

    below: str  # the function, as module.function
    what: "Fault | Callable[[Stack], None]"
    times: int = 1
    by: str = ""  # the kind of function that runs: create, event, sweep ...; any, if empty
    until: float = float("inf")


class Scenario(NamedTuple):
    """What users do, what the tasks come to in turn (the last for all others), and the ends that follow."""

    name: str
    act: Callable[[Stack], None]
    ends: set[str]
    outcomes: tuple[str, ...] = ("ok",)
    limit: int = 2
    deaf: bool = False  # no event arrives
    before: tuple[Before, ...] = ()
    may: frozenset[str] = frozenset()  # ends that one more fault may bring
    patient: bool = True  # users who get no answer ask again


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
    stack.create("harbour", env=True, keep=True)


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


# What leads to a repair


def cancel_soon(stack: Stack) -> None:
    stack.later(0.005, partial(of_newest, stack, stack.cancel))


def leave_a_slot(stack: Stack) -> None:
    """A slot is held for a build that is gone."""
    slots.acquire("0" * 26)
    stack.create("harbour")


def delete_after(seconds: float, stack: Stack) -> None:
    """The build's item vanishes, and its task lives on."""
    stack.create("harbour")
    delete = lambda key: stack.dynamo.delete_item(TableName=BUILDS, Key={"id": {"S": key}})  # noqa: E731
    stack.later(seconds, partial(of_newest, stack, delete))


def lose_the_task(stack: Stack) -> None:
    stack.create("harbour")
    stack.later(200, stack.ecs.tasks.clear)


def conceal(stack: Stack) -> None:
    """ECS lists the tasks, and does not describe them for a moment."""
    now = stack.world.now
    for task in stack.ecs.tasks.values():
        task.hidden = (now, now + 5)


def lose_the_environment(stack: Stack) -> None:
    """The values of a waiting build's environment expire before it starts."""

    def lose(key: str) -> None:
        for name in [name for name in stack.s3.objects if name.endswith(".env.json")]:
            del stack.s3.objects[name]
        stack.ecs.refusals[key] = ["ENV_EXPIRED"]  # the end that is true

    stack.create("lantern")
    stack.later(1, partial(stack.create, "harbour", env=True, keep=True))
    stack.later(20, partial(of_newest, stack, lose))


def create_two_at_once(stack: Stack) -> None:
    stack.later(0.001, partial(stack.create, "harbour", "next"))
    stack.create("harbour")


def create_anew_with_settings(stack: Stack) -> None:
    stack.create("harbour", env=True, keep=True)
    stack.later(500, partial(stack.create, "harbour", env=True, keep=True))


def take_a_slug_that_is_taken(stack: Stack) -> None:
    stack.create("harbour")
    stack.later(1, partial(stack.create, "harbour", key="key", repository="lantern"))


def take_it_twice_at_once(stack: Stack) -> None:
    take_a_slug_that_is_taken(stack)
    stack.later(1.015, partial(stack.create, "harbour", key="key", repository="lantern"))


def retry_with_environment(stack: Stack) -> None:
    stack.create("harbour", env=True, keep=True)
    stack.later(400, partial(of_newest, stack, stack.retry))


def look_at_the_second(stack: Stack) -> None:
    create_two(stack)
    stack.later(20, partial(of_newest, stack, stack.look))


OFTEN = 99
UNSEEN_UNTIL_LATE = (
    Before("runner.run", Fault(CRASH_AFTER)),
    Before("lifecycle.start", Fault(DENIED), OFTEN, "sweep"),
    Before("runner.find", Fault(DENIED), OFTEN, "sweep", until=600),
)
REPAIRS = (
    Scenario(
        "a publish that is denied for too long",
        create,
        {"PUBLISH_TIMED_OUT"},
        before=(Before("projects.publish", Fault(DENIED), OFTEN),),
        may=frozenset({"READY"}),  # where the fault lets a publish take effect
    ),
    Scenario(
        "a publish that nobody heard of",
        create,
        {"READY"},
        before=(
            Before("projects.publish", Fault(TIMEOUT_AFTER)),
            Before("projects.publish", Fault(DENIED), OFTEN),
        ),
    ),
    Scenario(
        "a publish that stuck", create, {"READY"}, deaf=True, before=(Before("projects.publish", Fault(CRASH_BEFORE)),)
    ),
    Scenario(
        "a slot that was not given back", create, {"READY"}, before=(Before("slots.release", Fault(CRASH_BEFORE)),)
    ),
    Scenario("a slot of nobody", leave_a_slot, {"READY"}),
    Scenario(
        "canceled while its slot is taken",
        create_two,
        {"READY", "CANCELED"},
        limit=1,
        before=(Before("builds.open_builds", cancel_soon, by="event"),),
    ),
    Scenario(
        "an unanswered start, then denied",
        create,
        {"ACCESS_DENIED"},
        deaf=True,
        before=(Before("runner.run", Fault(TIMEOUT_BEFORE)), Before("runner.run", Fault(DENIED), OFTEN)),
    ),
    Scenario(
        "a task nobody heard of, then denied",
        create,
        {"READY"},
        deaf=True,
        before=(Before("runner.run", Fault(TIMEOUT_AFTER)), Before("runner.run", Fault(DENIED), OFTEN)),
    ),
    Scenario(
        "a task nobody heard of, found when it is late",
        create,
        {"READY"},
        deaf=True,
        before=UNSEEN_UNTIL_LATE,
        patient=False,
    ),
    Scenario(
        "a task nobody heard of, listed when it is late",
        create,
        {"READY"},
        deaf=True,
        before=(*UNSEEN_UNTIL_LATE, Before("runner.find", conceal, by="sweep")),
        may=frozenset({"START_TIMED_OUT"}),  # who sees nothing in two sweeps has only the clock
        patient=False,
    ),
    Scenario(
        "canceled, and a task nobody heard of is listed",
        partial(cancel_after, 30),
        {"CANCELED"},
        ("never ends",),
        deaf=True,
        before=(Before("runner.run", Fault(TIMEOUT_AFTER)), Before("runner.find", conceal, 6, "sweep")),
    ),
    Scenario(
        "canceled, and a task nobody heard of",
        partial(cancel_after, 30),
        {"CANCELED"},
        ("never ends",),
        deaf=True,
        before=(Before("runner.run", Fault(TIMEOUT_AFTER)),),
    ),
    Scenario(
        "canceled, and no task was made",
        partial(cancel_after, 30),
        {"CANCELED"},
        deaf=True,
        before=(Before("runner.run", Fault(TIMEOUT_BEFORE)),),
    ),
    Scenario(
        "canceled, and the stop is denied",
        partial(cancel_after, 100),
        {"CANCELED"},
        ("never ends",),
        before=(Before("runner.stop", Fault(DENIED), OFTEN, "cancel"),),
    ),
    Scenario("a task whose build is gone", partial(delete_after, 100), set(), ("never ends",)),
    Scenario("a task that is gone", lose_the_task, {"READY"}, ("never ends", "ok"), deaf=True),
    Scenario(
        "capacity is short, and the answer is lost",
        create_without_capacity,
        {"READY"},
        before=(Before("runner.run", Fault(TIMEOUT_AFTER)),),
    ),
    Scenario(
        "superseded by the sweep",
        create_three_of_one,
        {"READY", "SUPERSEDED"},
        limit=1,
        before=(Before("queueing.supersede", Fault(DENIED), OFTEN),),
    ),
    Scenario("the environment has expired", lose_the_environment, {"READY", "ENV_EXPIRED"}, limit=1),
    Scenario("a project made twice at once", create_two_at_once, {"READY"}),
    Scenario("a project's settings change", create_anew_with_settings, {"READY"}),
    Scenario(
        "a key of a request that crashed",
        create_with_key,
        {"READY"},
        before=(Before("projects.create", Fault(CRASH_BEFORE)),),
    ),
    Scenario(
        "a key of a request that crashed late",
        create_with_key,
        {"READY"},
        before=(Before("slots.holders", Fault(CRASH_BEFORE)),),
    ),
    Scenario("a key of a refused request", take_a_slug_that_is_taken, {"READY"}),
    Scenario("a key that comes free just then", take_it_twice_at_once, {"READY"}),
    Scenario("retry with an environment", retry_with_environment, {"BUILD_FAILED", "READY"}, ("build fails", "ok")),
    Scenario("somebody looks", look_at_the_second, {"READY"}, limit=1),
)

# Running them

Way = tuple[str | tuple[str, int], ...]  # the operation, and the functions and lines that led to it


def frames() -> Iterator[tuple[str, int]]:
    """The product's functions that run, the innermost first, each with its line."""
    frame: FrameType | None = sys._getframe(1)
    while frame:
        if name := name_of(frame.f_code):
            yield name, frame.f_lineno
        frame = frame.f_back


@cache
def name_of(code: "CodeType") -> str:
    """The function as module.function, also for what stands within it; empty for what is not the product's."""
    path = Path(code.co_filename)
    return f"{path.stem}.{code.co_qualname.partition('.')[0]}" if path.parent == LAYER else ""


class Scripted(World):
    """A world that knows from where in the code each call comes."""

    def __init__(self, script: dict[Any, Fault], before: tuple[Before, ...]) -> None:
        super().__init__(1, script=script)
        self.before = before
        self.plain = not script
        self.left = [each.times for each in before]
        self.ways: list[Way] = []  # to each call
        self.edges: set[tuple[str, int, str]] = set()  # function, line, and what is called there
        self.stack: Stack

    def call(self, operation: str, effect: Callable[[], T], detail: str = "") -> T:
        if self.current is not None and self.plain:
            way = [*frames()]
            name = operation.partition(" ")[0]
            self.ways.append((name, *way))
            self.edges.update(
                (*caller, called)
                for caller, called in zip(way, [name, *(function for function, _ in way)], strict=False)
            )
        return super().call(operation, effect, detail)

    def _fault(self, function: Function, operation: str, detail: str) -> Fault | None:
        if fault := super()._fault(function, operation, detail):
            return fault
        way = {name for name, _ in frames()} if any(self.left) else set()
        for number, each in enumerate(self.before):
            meant = each.below in way and function.name.startswith(each.by) and self.now < each.until
            if self.left[number] and meant:
                self.left[number] -= 1
                if isinstance(each.what, Fault):
                    return each.what
                each.what(self.stack)
        return None


def run(scenario: Scenario, script: dict[tuple[str, int], Fault]) -> tuple[Stack, Scripted]:
    world = Scripted(dict(script), scenario.before)
    stack = world.stack = Stack(world, scenario.limit)
    stack.patience = float(scenario.patient)
    stack.ecs.plain = True
    if scenario.deaf:
        stack.deliver = lambda detail: None
    made = 0

    def outcome(task: SimTask) -> Outcome:
        nonlocal made
        made += 1
        return BY_NAME[scenario.outcomes[min(made, len(scenario.outcomes)) - 1]]

    stack.ecs.outcomes = outcome
    with stack.installed():
        stack.later(1, partial(scenario.act, stack))
        stack.world.at(31, stack.tick)
        stack.run()
    return stack, world


Site = tuple[str, int, str]


def sites(world: Scripted) -> Iterator[tuple[Site, Way]]:
    """The calls of a run and the ways to them, without those of sweeps that did what the sweep before did."""
    calls: dict[str, list[tuple[Site, Way]]] = {}
    for call, way in zip(world.calls, world.ways, strict=True):
        calls.setdefault(call[0], []).append((call, way))
    last: list[Way] = []
    for name, own in calls.items():
        ways = [way for _, way in own]
        if not name.startswith("sweep") or ways != last:
            yield from own
        if name.startswith("sweep"):
            last = ways


@cache
def plain_ways() -> frozenset[Way]:
    """The ways that the plain scenarios take, whose every call is failed there."""
    return frozenset(way for scenario in SCENARIOS for way in run(scenario, {})[1].ways)


def wrong(scenario: Scenario, plain: Stack, site: Site, fault: Fault) -> str:
    """What is wrong with the end, if anything."""
    name, number, operation = site
    try:
        stack, _ = run(scenario, {(name, number): fault})
    except Violation as violation:
        return str(violation)
    allowed = scenario.ends | scenario.may
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
        if ends <= allowed and (scenario.ends - {"SUPERSEDED"} <= ends or asked_again or ends & scenario.may)
        else str(stack.invariants.ends)
    )


def failed(scenario: Scenario, but: frozenset[Way] = frozenset()) -> list[str]:
    """Fail each call in every way, but those on some ways; returns what went wrong."""
    plain, world = run(scenario, {})
    assert set(plain.invariants.ends) == scenario.ends
    assert not any(left for left, each in zip(world.left, scenario.before, strict=True) if each.times < OFTEN)
    found = []
    for site, way in sites(world):
        for fault in FAULTS if way not in but else ():
            if fault.kind == HIDDEN_THROTTLE and site[2] != "ecs.run_task":
                continue
            if what := wrong(scenario, plain, site, fault):
                found.append(f"{site[0]}, call {site[1]}, {site[2]}, {fault.kind} x{fault.tries}: {what}")
    return found


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_every_call_failed_in_every_way(scenario: Scenario) -> None:
    assert failed(scenario) == []


@pytest.mark.parametrize("scenario", REPAIRS, ids=lambda scenario: scenario.name)
def test_every_call_of_a_repair_failed_in_every_way(scenario: Scenario) -> None:
    assert failed(scenario, plain_ways()) == []


# What there is to reach

USE_CASES = ("service", "lifecycle", "queueing", "reconciling")
ADAPTERS = ("builds", "slots", "idempotency", "projects", "runner", "jobs", "aws", "notes")
OF_NOTES = {"name_task", "watch"}  # the log and its viewers have simulations of their own
NEVER = {
    ("projects.page", "dynamodb.scan"): "a list that the API reads, and nothing else",
    ("service.list_projects", "projects.page"): "a list that the API reads, and nothing else",
}


class CallSite(NamedTuple):
    """A place in the source that calls AWS, itself or by a function that does."""

    function: str
    called: str
    lines: range | None  # `None`: what is called runs only where its pages or items are read


def parsed() -> dict[str, ast.FunctionDef]:
    """The functions of use cases and adapters, as module.function."""
    return {
        f"{module}.{node.name}": node
        for module in USE_CASES + ADAPTERS
        for node in ast.parse((LAYER / f"{module}.py").read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and (module != "notes" or node.name in OF_NOTES)
    }


def operations(function: str, node: ast.FunctionDef) -> Iterator[CallSite]:
    """The calls of clients in a function: `aws.ecs().run_task(...)`, and within `aws` without its name."""
    for each in ast.walk(node):
        match each:
            case ast.Call(func=ast.Attribute(value=ast.Call(func=source, args=[]), attr=method), args=arguments):
                client = ast.unparse(source).removeprefix("aws.")
                lines = range(each.lineno, (each.end_lineno or each.lineno) + 1)
                if method == "get_paginator":
                    [name] = arguments
                    assert isinstance(name, ast.Constant)
                    yield CallSite(function, f"{client}.{name.value}", None)
                elif client in {"dynamodb", "ecs", "s3", "sts"}:
                    yield CallSite(function, f"{client}.{method}", lines)


def calls(function: str, node: ast.FunctionDef, functions: dict[str, ast.FunctionDef]) -> Iterator[CallSite]:
    """The calls in a function of functions of use cases and adapters."""
    for each in ast.walk(node):
        match each:
            case ast.Call(func=ast.Attribute(value=ast.Name(module), attr=name)):
                called = f"{module}.{name}"
            case ast.Call(func=ast.Name(name)):
                called = f"{function.partition('.')[0]}.{name}"
            case _:
                continue
        if called in functions:
            later = any(isinstance(part, ast.Yield | ast.YieldFrom) for part in ast.walk(functions[called]))
            lines = range(each.lineno, (each.end_lineno or each.lineno) + 1)
            yield CallSite(function, called, None if later else lines)


def call_sites() -> set[CallSite]:
    """All places where a use case or an adapter calls AWS, or an adapter that comes to call it."""
    functions = parsed()
    found = {site for function, node in functions.items() for site in operations(function, node)}
    between = {site for function, node in functions.items() for site in calls(function, node, functions)}
    calling = {site.function for site in found}
    while more := {s.function for s in between if s.called in calling and _module(s.function) in ADAPTERS} - calling:
        calling |= more
    return found | {site for site in between if site.called in calling and _module(site.called) in ADAPTERS}


def _module(function: str) -> str:
    return function.partition(".")[0]


def test_every_call_in_the_source_is_reached() -> None:
    """No call of AWS is without a scenario that comes to it, and so fails it there."""
    edges = set[tuple[str, int, str]]().union(*(run(scenario, {})[1].edges for scenario in SCENARIOS + REPAIRS))
    reached = {
        site
        for site in call_sites()
        if any(
            function == site.function and called == site.called and (site.lines is None or line in site.lines)
            for function, line, called in edges
        )
    }
    missing = {(site.function, site.called) for site in call_sites() - reached}
    assert missing == NEVER.keys(), "add a scenario, or say in NEVER why there is none"


def test_calls_are_found() -> None:
    """The reader of the source sees plain calls, pages, helpers below and each of two calls in one function."""
    found = [(site.function, site.called) for site in call_sites()]
    assert {
        ("runner.run", "ecs.run_task"),
        ("runner.living", "ecs.list_tasks"),
        ("aws.create", "dynamodb.put_item"),
        ("builds.create", "aws.create"),
        ("idempotency._existing", "idempotency._take_over"),
        ("service.retry", "jobs.put_env"),
        ("notes.watch", "dynamodb.put_item"),
    } <= {*found}
    assert found.count(("service._project_for", "projects.get")) == 2

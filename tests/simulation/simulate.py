"""One seed, one schedule: who does what, and all that goes wrong, by the dice."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from tests.simulation.stack import SWEEP, Stack
from tests.simulation.world import Violation, World

_PROJECTS = ("harbour", "lantern", "quay")
_OPERATIONS = (
    "dynamodb",
    "dynamodb.update_item",
    "dynamodb.put_item",
    "dynamodb.query open",
    "ecs",
    "ecs.run_task",
    "ecs.describe_tasks",
    "ecs.list_tasks",
    "ecs.stop_task",
    "s3",
    "sts",
)


class Report(NamedTuple):
    """What came of a seed."""

    seed: int
    violation: str
    invariant: str
    misfortunes: int
    steps: int
    ends: dict[str, int]
    trace: list[str]


def simulate(
    seed: int,
    *,
    tracing: bool = False,
    spared: frozenset[int] = frozenset(),
    change: Callable[[Stack], Any] | None = None,
) -> Report:
    """Run one seed; `spared` are the numbers of misfortunes that are not to happen, `change` may alter the stack."""
    world = World(seed, tracing=tracing, spared=spared)
    stack = Stack(world, limit=world.rng.choice((1, 2, 3, 12)))
    violation = invariant = ""
    environment = prepare(stack)
    if change:
        change(stack)
    with stack.installed(**environment):
        try:
            stack.run()
        except Violation as found:
            violation, invariant = str(found), found.invariant
            world.say(f"VIOLATION {found}")
    return Report(seed, violation, invariant, world.misfortunes, world.steps, stack.invariants.ends, world.trace)


def shrink(seed: int, change: Callable[[Stack], Any] | None = None) -> Report:
    """The trace of a seed's violation, with as few misfortunes as it takes; without one, the whole trace."""
    first = simulate(seed, change=change)
    spared: frozenset[int] = frozenset()
    size = first.misfortunes
    while first.violation and size:
        for start in range(1, first.misfortunes + 1, size):
            some = spared | frozenset(range(start, start + size))
            if some != spared and simulate(seed, spared=some, change=change).invariant == first.invariant:
                spared = some
        size //= 2
    return simulate(seed, tracing=True, spared=spared, change=change)


def prepare(stack: Stack) -> dict[str, str]:
    """Choose by the dice who does what, and what goes wrong until when; returns the functions' environment."""
    world, rng = stack.world, stack.world.rng
    world.calm_from = rng.choice((0.0, 600.0, 1200.0, 2400.0))
    world.fault_rate = rng.choice((0.0, 0.0, 0.01, 0.05, 0.2))
    if rng.random() < 0.5:  # few kinds of faults, but more of them
        world.kinds = tuple(rng.sample(world.kinds, 2))
    if rng.random() < 0.3:
        world.hot = rng.choice(_OPERATIONS), 0.4
    world.slow_rate = rng.choice((0.0, 0.0, 0.02, 0.2))
    stack.event_loss = rng.choice((0.0, 0.0, 0.1, 0.5, 1.0))
    stack.event_doubling = rng.choice((0.0, 0.2, 0.8))
    stack.event_delay = rng.choice(((0.3,), (0.3, 30.0), (1.0, 60.0, 600.0)))
    stack.sweep_loss = rng.choice((0.0, 0.0, 0.1, 0.5, 0.95))
    stack.worst_moment = rng.choice((0.0, 0.01, 0.05, 0.3))
    stack.dynamo.index_lag = rng.choice((0.05, 1.0, 8.0))
    stack.ecs.lag = rng.choice((0.5, 10.0, 60.0))
    for _ in range(2):
        if world.misfortune(0.2):
            start = rng.uniform(0, world.calm_from)
            end = min(world.calm_from, start + rng.choice((10, 120, 700)))
            world.denied.append((rng.choice(_OPERATIONS), start, end))
    if world.misfortune(0.05):  # nothing can be published for longer than it may take
        world.denied += [(f"dynamodb.update_item {slug}", 0.0, world.calm_from) for slug in _PROJECTS]
    if world.misfortune(0.25):
        start = rng.uniform(0, 600)
        what = rng.choice(("capacity", "quota", "spot", "interfaces"))
        stack.ecs.shortages.append((what, start, start + rng.choice((60, 600, 1800, 1800, 7 * 3600))))
    projects = _PROJECTS[: rng.randrange(1, 4)]
    for each in range(rng.choice((1, 1, 2, 3, 4, 7))):
        slug, ref, env = rng.choice(projects), rng.choice(("main", "main", "next")), rng.random() < 0.1
        key = f"key {each}" if rng.random() < 0.3 else ""
        request = partial(stack.create, slug, ref, env=env, key=key)
        when = rng.choice((0.0, 1.0, 60.0, 600.0)) * rng.random()
        stack.later(when, request)
        if key and rng.random() < 0.3:
            stack.later(when + rng.random(), request)
    stack.builds_left = 3
    world.at(SWEEP * rng.random(), stack.tick)
    return {"SPOT_SHARE": str(rng.choice((0, 50, 100)))}

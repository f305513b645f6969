"""The misbehaving mode: events and log batches doubled, dropped, delayed and so re-ordered, as the seed says."""

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from local.timers import Timers

Deliver = Callable[[str, Any], None]


@dataclass(frozen=True)
class Chaos:
    """How the network between AWS services misbehaves; shares are between 0 and 1, delays in seconds."""

    seed: int = 0
    drop: float = 0.0
    double: float = 0.0
    delay: float = 0.0
    longest: float = 5.0

    def deliveries(self, key: str) -> list[float]:
        """After how many seconds the event of this key arrives, once for each arrival; empty if it is lost."""
        dice = random.Random(f"{self.seed}/{key}")  # noqa: S311
        if dice.random() < self.drop:
            return []
        copies = 2 if dice.random() < self.double else 1
        return [dice.uniform(0, self.longest) if dice.random() < self.delay else 0.0 for _ in range(copies)]


CALM = Chaos()


class Batches:
    """Delivers log batches to functions as well as ``chaos`` lets it."""

    def __init__(self, chaos: Chaos, timers: Timers, in_order: Deliver, later: Deliver) -> None:
        """``in_order`` waits until the function is done; ``later`` does not."""
        self._chaos = chaos
        self._timers = timers
        self._in_order = in_order
        self._later = later
        self._count = itertools.count()

    def deliver(self, arn: str, event: Any) -> None:
        """Take a batch for the function of an ARN."""
        delays = self._chaos.deliveries(f"batch/{next(self._count)}")
        if delays == [0.0]:
            self._in_order(arn, event)
            return
        for delay in delays:
            self._timers.later(delay, lambda: self._later(arn, event))


def parse(text: str) -> Chaos:
    """Read ``CHAOS``: a seed, or ``seed=7,drop=0.2,double=0.3,delay=0.5,longest=5``; nothing means calm."""
    if not text:
        return CALM
    wild = {"drop": 0.2, "double": 0.3, "delay": 0.5}
    if text.isdigit():
        return Chaos(seed=int(text), **wild)
    known = {field.name: field.type for field in fields(Chaos)}
    values: dict[str, float] = dict(wild)
    for pair in text.split(","):
        name, _, value = pair.partition("=")
        if name not in known:
            raise ValueError(f"CHAOS knows {', '.join(known)}; not {name!r}")
        values[name] = float(value)
    return Chaos(int(values.pop("seed", 0)), **values)

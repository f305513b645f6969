"""The misbehaving mode: which events are doubled, dropped, delayed and so re-ordered, the same for the same seed."""

import random
from dataclasses import dataclass, fields


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

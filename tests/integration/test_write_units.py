"""What a build writes to DynamoDB, in write units."""

import base64
import random

from tests.benchmarks.writes import BATCHES, LINES, build_once
from tests.fakes import FakeEcs


def printed(count: int) -> list[str]:
    """What Vite prints with colours for many small modules: the smallest first, and a new hash in each name."""
    chance = random.Random(7)
    lines = ["\x1b[36mvite v7.1.2 \x1b[32mbuilding for production...\x1b[36m\x1b[39m", "transforming..."]
    for number in range(count - len(lines)):
        name = f"page-{number}-{base64.urlsafe_b64encode(chance.randbytes(6)).decode()}.js"
        size = 0.07 + number // 45 * 0.08
        file = f"\x1b[2mdist/\x1b[22m\x1b[2massets/\x1b[22m\x1b[36m{name:<20}  \x1b[39m"
        sizes = f"\x1b[1m\x1b[2m {size:.2f} kB\x1b[22m\x1b[1m\x1b[22m\x1b[2m │ gzip: {size / 1.2:.2f} kB\x1b[22m"
        lines.append(file + sizes)
    return lines


def test_write_units_of_a_build(ecs: FakeEcs) -> None:
    """The goal of docs/benchmarks.md: what costs more, each build of each user pays for."""
    meter = build_once(ecs, printed(LINES), BATCHES)
    assert meter.units == {
        "project": 2,
        "build": 10,
        "slots": 2,
        "log: unsealed": 2,
        "log: lines": BATCHES,
        "log: seal": 1,
    }
    assert meter.units.total() <= 32

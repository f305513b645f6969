"""What a build writes to DynamoDB, in write units."""

from tests.benchmarks.writes import build_once
from tests.fakes import FakeEcs


def test_write_units_of_a_build(ecs: FakeEcs) -> None:
    """The numbers of docs/benchmarks.md: what costs more, each build of each user pays for."""
    meter = build_once(ecs, [f"line {number}" for number in range(30)], batches=3)
    assert meter.units.pop("log: lines") == 3
    assert meter.units.total() <= 19
    assert set(meter.units) == {"project", "build", "slots", "log: build", "log: unsealed", "log: seal"}

"""5,000 seeds of everything that goes wrong at once; `make simulate SEEDS=1000000` runs more."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.simulate import shrink, simulate

ROOT = Path(__file__).parents[2]
SEEDS, BATCH = 5000, 100
# Ends that so many seeds must come to, or they say little.
ENDS = {
    "READY", "CANCELED", "SUPERSEDED", "WAIT_TIMED_OUT", "START_TIMED_OUT", "BUILD_TIMED_OUT", "STOPPED_OUTSIDE",
    "ACCESS_DENIED", "BUILD_FAILED", "OUT_OF_MEMORY", "RESULT_MISSING", "EXIT_CODE_MISSING", "NETWORK_SETUP_FAILED",
    "SPOT_INTERRUPTED", "UNCLASSIFIED",
}  # fmt: skip


@pytest.mark.parametrize("first", range(0, SEEDS, BATCH))
def test_seeds(first: int) -> None:
    for seed in range(first, first + BATCH):
        report = simulate(seed)
        if report.violation:
            trace = "\n".join(shrink(seed).trace[-120:])
            pytest.fail(f"seed {seed}: {report.violation}; again with: make simulate SEED={seed}\n{trace}")


def test_seeds_come_to_every_end() -> None:
    seen: set[str] = set()
    for seed in range(SEEDS):
        seen |= simulate(seed).ends.keys()
        if seen >= ENDS:
            return
    pytest.fail(f"never seen: {ENDS - seen}")


def test_a_seed_is_one_schedule() -> None:
    def traces(hash_seed: str) -> str:
        code = "from tests.simulation.test_seeds import digest; print(digest(range(7, 27)))"
        return subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={"PYTHONPATH": f"{ROOT}:{ROOT / 'layers/shared'}", "PYTHONHASHSEED": hash_seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    assert traces("1") == traces("2") == f"{digest(range(7, 27))}\n"


def digest(seeds: range) -> str:
    """A digest of some seeds' traces."""
    lines = (line for seed in seeds for line in simulate(seed, tracing=True).trace)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()

"""`make simulate`: many seeds on all cores, or the trace of one."""

import argparse
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

from tests.simulation.simulate import Report, shrink, simulate

_BATCH = 250


def main() -> int:
    """Run the seeds, print each violation and what was run; 1 if there was a violation."""
    parser = argparse.ArgumentParser(prog="make simulate")
    parser.add_argument("--seeds", type=int, default=100_000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument(
        "--seed", type=int, help="print the trace of this one, with as few faults as its violation takes"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    wanted = parser.parse_args()
    if wanted.seed is not None:
        report = shrink(wanted.seed)
        print(*report.trace, f"seed {wanted.seed}: {report.violation or 'no violation'}", sep="\n")
        return bool(report.violation)
    return many(range(wanted.first, wanted.first + wanted.seeds), wanted.jobs)


def many(seeds: range, jobs: int) -> int:
    """Run the seeds in batches, and sum up."""
    began = last = time.monotonic()
    done = steps = violations = 0
    ends: Counter[str] = Counter()
    batches = [seeds[start : start + _BATCH] for start in range(0, len(seeds), _BATCH)]
    with ProcessPoolExecutor(jobs) as pool:
        for reports in pool.map(batch, batches):
            for report in reports:
                done += 1
                steps += report.steps
                ends.update(report.ends)
                if report.violation:
                    violations += 1
                    print(f"seed {report.seed}: {report.violation}", flush=True)
            if time.monotonic() - last > 10:
                last = time.monotonic()
                print(f"{done:,} schedules, {done / (last - began):,.0f}/s", file=sys.stderr, flush=True)
    seconds = time.monotonic() - began
    print(f"{done:,} schedules, {steps:,} AWS calls, {sum(ends.values()):,} builds in {seconds:,.0f} s on {jobs} cores")
    print(f"{done / seconds:,.0f} schedules/s, {violations:,} violations")
    print("builds ended:", ", ".join(f"{end} {count:,}" for end, count in ends.most_common()))
    return bool(violations)


def batch(seeds: range) -> list[Report]:
    """Run some seeds."""
    return [simulate(seed) for seed in seeds]


if __name__ == "__main__":
    sys.exit(main())

"""The whole pipeline against the bare commands it runs, in turn, as a ratio.

    python -m tests.benchmarks.pipeline [ROUNDS]

Pipeline: from `POST /project` on the local stack to `ready`. Bare: `git clone`, `npm ci`, `npm run build` of the same
commit. Both have warm package caches of their own.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from tests.e2e.local_stack import ROOT, LocalStack, local_stack
from tests.e2e.repositories import commit

EXAMPLE = "examples/harbour"


def main() -> None:
    """Measure and print the table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    with tempfile.TemporaryDirectory() as folder, local_stack() as stack:
        repository = _repository(Path(folder) / "site")
        bare_seconds, pipeline_seconds = [], []
        for number in range(rounds + 1):
            bare, pipeline = _bare(repository, Path(folder), number), _pipeline(repository, stack)
            if number > 0:  # the first round fills the caches
                bare_seconds.append(bare)
                pipeline_seconds.append(pipeline)
    print(f"| {rounds} rounds in turn | bare | pipeline | ratio |\n|---|---|---|---|")
    for name, pick in (("median", median), ("best", min)):
        bare, pipeline = pick(bare_seconds), pick(pipeline_seconds)
        print(f"| {name} | {bare:.2f} s | {pipeline:.2f} s | {pipeline / bare:.2f} |")


def _repository(folder: Path) -> Path:
    """The example as a repository of its own."""
    listed = subprocess.run(["git", "ls-files", EXAMPLE], cwd=ROOT, check=True, capture_output=True, text=True)
    files = [Path(name) for name in listed.stdout.split()]
    commit(folder, {str(file.relative_to(EXAMPLE)): (ROOT / file).read_bytes() for file in files})
    return folder


def _bare(repository: Path, folder: Path, number: int) -> float:
    clone = folder / f"bare-{number}"
    environment = {**os.environ, "npm_config_cache": str(folder / "npm-cache"), "CI": "true"}
    started = time.monotonic()
    for command, where in (
        (["git", "clone", "--quiet", f"file://{repository}", str(clone)], folder),
        (["npm", "ci"], clone),
        (["npm", "run", "build"], clone),
    ):
        subprocess.run(command, cwd=where, env=environment, check=True, capture_output=True)
    return time.monotonic() - started


def _pipeline(repository: Path, stack: LocalStack) -> float:
    started = time.monotonic()
    build = stack.start_build(f"file://{repository}")
    while (status := stack.get(build["buildId"])["status"]) not in {"ready", "failed", "canceled"}:
        time.sleep(0.02)
    assert status == "ready"
    return time.monotonic() - started


if __name__ == "__main__":
    main()

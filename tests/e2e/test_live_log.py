"""The log of a real build, live: each viewer gets every line once and in order, whatever happens to its connection."""

import contextlib
import random
import threading
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.e2e.local_stack import LocalStack, local_stack, wait_until
from tests.e2e.repositories import repository, script
from tests.e2e.viewer import Viewer

pytestmark = [pytest.mark.xdist_group("viewers"), pytest.mark.timeout(180)]
LINES = 52_000
HALF = 25_000
MOST_BYTES = 262_118  # of a line, before awslogs splits it
FIRST, LAST = "the first of them", "the last of them"
WEIGHTS = (8, 8, 8, 8, 4, 1, 4, 4)
# Prints half of its lines, and the rest when it is told to.
PRINT = f"""
import {{ existsSync, mkdirSync, readFileSync, writeFileSync, writeSync }} from 'node:fs'
const print = (lines) => {{
  let bytes = Buffer.from(lines.join('\\n') + '\\n')
  while (bytes.length) {{
    try {{ bytes = bytes.subarray(writeSync(1, bytes)) }} catch (error) {{ if (error.code !== 'EAGAIN') throw error }}
  }}
}}
const lines = readFileSync('lines.txt', 'utf8').split('\\n')
print(lines.slice(0, {HALF}))
while (!existsSync(process.env.GATE)) await new Promise((done) => setTimeout(done, 50))
print(lines.slice({HALF}))
mkdirSync('dist')
writeFileSync('dist/index.html', 'done')
"""


def printed(seed: int) -> list[str]:
    """What the build prints: like a package manager's output, with all that makes lines hard."""
    dice = random.Random(seed)
    kinds = [
        lambda n: f"npm warn deprecated left-pad@1.{n % 7}.0: use String.prototype.padStart()",
        lambda n: "npm warn the same line again and again",
        lambda n: f"\x1b[32m✓\x1b[0m {n} modules transformed. \x1b[2mdist/assets/index-{n:08x}.js\x1b[0m",
        lambda n: f'  {n}\ttab, "quotes", \\backslash\\, ünïcödé 日本語 👩‍👩‍👧 \x07\x08',
        lambda n: " " * (n % 5 + 1),
        lambda n: "",
        lambda n: f"10 %\r50 %\r100 % of package {n}",
        lambda n: "x" * (n % 400 + 1),
    ]
    lines = [FIRST, *(dice.choices(kinds, WEIGHTS)[0](number) for number in range(LINES - 2)), LAST]
    for place, long in (
        (9_000, "y" * 5_000),
        (12_000, "日" * 60_000),
        (30_000, "\x1b" * 90_000),
        (40_000, "z" * 300_000),
    ):
        lines[place] = long
    return lines


def logged(lines: list[str]) -> list[str]:
    """The lines as they are in the log: of a progress bar its last state, a space if empty, too long ones in parts."""
    found = []
    for line in lines:
        data = (line.rpartition("\r")[2] or " ").encode()
        found += [data[start : start + MOST_BYTES].decode() for start in range(0, len(data), MOST_BYTES)]
    return found


def own(messages: list[str]) -> list[str]:
    """The lines that the build itself printed."""
    return messages[messages.index(FIRST) : messages.index(LAST) + 1]


def subscriptions(stack: LocalStack) -> list[Any]:
    """What the stack has kept of its viewers."""
    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "us-east-1"}
    with contextlib.closing(boto3.client("dynamodb", endpoint_url=stack.endpoint, **keys)) as dynamodb:
        items: list[Any] = dynamodb.scan(TableName="tidegate-ConnectionsTable")["Items"]
    return items


def watch_build(stack: LocalStack, folder: Path, seed: int) -> tuple[str, list[str], list[Viewer]]:
    """Build with two viewers: one is cut off twice, one joins in the middle; both follow to the end.

    A third one does not read what it asks for, which is nothing to the others.
    """
    lines = printed(seed)
    gate = folder / "gate"
    url = repository(folder / "site", {**script(PRINT), "lines.txt": "\n".join(lines)})
    build_id = stack.start_build(url, env={"GATE": str(gate)})["buildId"]
    early, late, asleep = (Viewer(stack.logs_port, build_id, encoding) for encoding in ("identity", None, None))
    asleep.connect()
    early.connect()
    early.follow(8_000)
    early.cut()
    early.connect()
    early.follow(11_000)
    late.connect()
    gate.touch()
    watching = threading.Thread(target=late.follow)
    watching.start()
    early.follow(40_000)
    early.cut()
    early.connect()
    early.follow()
    watching.join()
    asleep.cut()
    for viewer in (early, late, asleep):
        viewer.close()
    assert stack.wait_for(build_id, "ready")
    return build_id, logged(lines), [early, late]


def check(viewer: Viewer, lines: int) -> None:
    """What each viewer has in the end."""
    assert viewer.end
    assert (viewer.end["status"], viewer.end["sealed"], viewer.end["gaps"]) == ("ready", True, [])
    assert viewer.end["lineCount"] == len(viewer.lines) == lines


def test_viewers_of_a_long_log_get_each_line_once(tmp_path: Path) -> None:
    with local_stack(SCHEDULE_SECONDS=10) as stack:
        build_id, lines, viewers = watch_build(stack, tmp_path, seed=1)
        log = stack.log(build_id, limit=1000)
        assert own(log) == lines
        assert len(log) > 50_000
        for viewer in viewers:
            assert viewer.messages == log
            check(viewer, len(log))
        wait_until(lambda: not subscriptions(stack), 60)


def test_log_is_whole_where_batches_are_lost_doubled_and_late(tmp_path: Path) -> None:
    chaos = "seed=4,drop=0.2,double=0.4,delay=0.4,longest=3"
    with local_stack(CHAOS=chaos, SCHEDULE_SECONDS=10) as stack:
        build_id, lines, viewers = watch_build(stack, tmp_path, seed=4)
        log = stack.log(build_id, limit=1000)
        assert own(log) == lines
        for viewer in viewers:
            assert [message for _, message in sorted(viewer.lines)] == log
            check(viewer, len(log))
        wait_until(lambda: not subscriptions(stack), 60)

"""The log forwarder's handler against the floor, `json.loads(gzip.decompress(base64.b64decode(data)))`, as ratios.

    python -m tests.benchmarks.forwarder

The lines are what npm and Vite print for the example with some hundred modules more; longer logs repeat them with other
digits. Instructions are counted by cachegrind, as the difference between one call and some; DynamoDB is a server in
another process. Memory is what one call adds at most to the resident memory of a process that has handled one line.
"""

import base64
import gzip
import itertools
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from multiprocessing import Process, Queue
from pathlib import Path
from typing import Any

import msgspec

from local.logs import event_id
from tests.context import context

ROOT = Path(__file__).parents[2]
SIZES = {100: 21, 1_000: 11, 10_000: 3, 20_000: 3}  # lines, and how often they are handled
APART = 1_000  # so many once more, each with a time of its own
TASK = "8db93fcc24098c3a4f93a028a506eb35"
FIRST_TIME = 1795246200000
PUT = (FIRST_TIME + 430) << 64 | 0x5C93_DA93_6AF8_FBC6
MODULES = 400
CONTEXT = context("log-forwarder")


def main() -> None:
    """Measure and print the table."""
    addresses: Queue[str] = Queue()
    sink = Process(target=_sink, args=(addresses,), daemon=True)
    sink.start()
    environment = _environment(addresses.get())
    with tempfile.TemporaryDirectory() as folder:
        lines = build_output(Path(folder) / "site")
        print("| lines | floor, M instructions | handler, M instructions | ratio | floor, MB | handler, MB | ratio |")
        print("|---|---|---|---|---|---|---|")
        for count, calls, apart in rows(SIZES):
            file = Path(folder) / f"{count}.txt"
            file.write_text(delivery(lines, count, apart=apart))
            (Path(folder) / "small.txt").write_text(delivery(lines, 1))
            floor, handler = (_instructions(side, file, calls, environment) for side in ("floor", "handler"))
            less, more = (_measured("memory", side, file, environment) for side in ("floor", "handler"))
            print(
                f"| {count:,}{' apart' * apart} | {floor / 1e6:.1f} | {handler / 1e6:.1f} | {handler / floor:.2f} "
                f"| {less / 1e6:.1f} | {more / 1e6:.1f} | {more / less:.2f} |",
                flush=True,
            )
    sink.terminate()


def rows(sizes: dict[int, int]) -> list[tuple[int, int, bool]]:
    """How many lines, how often, and whether each has a time of its own."""
    return [(count, calls, apart) for count, calls in sizes.items() for apart in (False, True)[: 1 + (count == APART)]]


def build_output(folder: Path) -> list[str]:
    """What npm and Vite print."""
    shutil.copytree(ROOT / "examples/harbour", folder, ignore=shutil.ignore_patterns("node_modules", "dist"))
    for number in range(MODULES):
        text = random.Random(number).randbytes(40 * (number % 9) + 20).hex()
        (folder / f"page-{number}.js").write_text(f"export default {text!r}")
    pages = (f"import('./page-{number}.js').then(page => console.log(page.default))" for number in range(MODULES))
    (folder / "pages.js").write_text("\n".join(pages))
    index = folder / "index.html"
    index.write_text(index.read_text().replace("</body>", '<script type="module" src="/pages.js"></script></body>'))
    printed = [
        subprocess.run(command, cwd=folder, env={**os.environ, "FORCE_COLOR": "1"}, check=True, capture_output=True)
        for command in (["npm", "ci", "--foreground-scripts"], ["npm", "run", "build"])
    ]
    return [line for each in printed for line in (each.stdout + each.stderr).decode().splitlines()]


def delivery(lines: list[str], count: int, batch: int = 0, *, apart: bool = False) -> str:
    """A batch as CloudWatch sends it: ids and times that grow, no blanks, UTF-8.

    Programs print many lines at once: 406 of the build's 418 come in the same millisecond as the one before, and here
    nineteen of twenty do. `apart`: each has a time of its own, nearly.
    """
    chance, time, events = random.Random(7), FIRST_TIME + batch * 1_000_000, []
    for number, line in enumerate(itertools.islice(itertools.cycle(lines), count)):
        time += chance.randrange(15) if apart else chance.randrange(300) * (number % 20 == 0)
        text = line if number < len(lines) else re.sub(r"(?<!\[)\d", lambda _: str(chance.randrange(10)), line)
        events.append({"id": event_id(time, PUT + batch, number), "timestamp": time, "message": text})
    body = {
        "messageType": "DATA_MESSAGE",
        "owner": "123456789012",
        "logGroup": "/tidegate/builder",
        "logStream": f"build/builder/{TASK}",
        "subscriptionFilters": ["tidegate-LogSubscription"],
        "logEvents": events,
    }
    return base64.b64encode(gzip.compress(msgspec.json.encode(body), mtime=0)).decode()


def _instructions(side: str, file: Path, calls: int, environment: dict[str, str]) -> float:
    """Instructions of one call, once warm."""
    once, often = (_count(side, file, number, environment) for number in (1, calls))
    return (often - once) / (calls - 1)


def _count(
    side: str, file: Path, calls: int, environment: dict[str, str], module: str = "tests.benchmarks.forwarder"
) -> int:
    command = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
    command += [sys.executable, "-m", module, side, str(file), str(calls)]
    done = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    found = re.search(r"I\s+refs:\s+([\d,]+)", done.stderr)
    assert found, done.stderr
    return int(found[1].replace(",", ""))


def _measured(what: str, side: str, file: Path, environment: dict[str, str]) -> int:
    command = [sys.executable, "-m", "tests.benchmarks.forwarder", side, str(file), what]
    done = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    return int(done.stdout.splitlines()[-1])


def _side(name: str) -> Callable[[Any], Any]:
    if name == "floor":
        return lambda event: json.loads(gzip.decompress(base64.b64decode(event["awslogs"]["data"])))
    sys.modules["awscrt"] = None  # type: ignore[assignment]  # which the layer does not have, and which gathers noise
    from functions.log_forwarder.app import handler

    return lambda event: handler(event, CONTEXT)  # type: ignore[arg-type]


def _run(side: str, file: str, what: str) -> None:
    """One side of the comparison, in a process of its own."""
    act, event = _side(side), {"awslogs": {"data": Path(file).read_text()}}
    if what == "memory":
        act({"awslogs": {"data": Path(file).with_name("small.txt").read_text()}})
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        before = _resident("VmRSS")
        act(event)
        print(_resident("VmHWM") - before)
        return
    for _ in range(int(what)):
        act(event)


def _resident(what: str) -> int:
    """A line of the process's status, in bytes."""
    [found] = re.findall(rf"^{what}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(found) * 1024


class _Sink(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: Any) -> None: ...


def _sink(addresses: "Queue[str]") -> None:
    server = HTTPServer(("127.0.0.1", 0), _Sink)
    addresses.put(f"http://127.0.0.1:{server.server_port}")
    server.serve_forever()


def _environment(endpoint: str) -> dict[str, str]:
    values = dict.fromkeys(
        ("BUILDS_TABLE", "PROJECTS_TABLE", "LOGS_TABLE", "CONNECTIONS_TABLE", "ARTIFACTS_BUCKET"), "benchmark"
    )
    values |= dict.fromkeys(("CLUSTER", "TASK_DEFINITION"), "benchmark")
    values |= dict.fromkeys(("BUILDER_CONTAINER", "BUILDER_LOG_GROUP", "BUILDER_ACCESS_ROLE", "SITES_URL"), "benchmark")
    values |= dict.fromkeys(("SUBNETS", "SECURITY_GROUPS"), "benchmark")
    values |= dict.fromkeys(
        ("MAX_CONCURRENT_BUILDS", "BUILD_TIMEOUT_SECONDS", "SPOT_SHARE", "BUILD_CPU", "BUILD_MEMORY"), "10"
    )
    values |= {"LOG_RETENTION_DAYS": "30", "GIT_PROTOCOLS": "https", "ALLOW_PRIVATE_GIT_HOSTS": "false"}
    values |= {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "eu-central-1"}
    values |= {"AWS_ENDPOINT_URL": endpoint, "PYTHONPATH": "layers/shared:.", "PYTHONHASHSEED": "0"}
    return {**os.environ, **values}


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _run(*sys.argv[1:])
    else:
        main()

"""The local stack as a user starts it: ``python -m local`` in a process of its own, and a user's calls to it."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[2]
FINAL = {"ready", "failed", "canceled"}
PORTS = ("API_PORT", "SITES_PORT", "LOGS_PORT")


@dataclass(frozen=True)
class Answer:
    """An HTTP answer; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class LocalStack:
    """A running local stack."""

    process: subprocess.Popen[str]
    api_port: int
    sites_port: int
    logs_port: int
    printed: list[str] = field(default_factory=list)

    def api(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        """Call the API."""
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        given = {"content-type": "application/json"} if data is not None else {}
        return call(self.api_port, method, path, data, given | (headers or {}))

    def visit(self, slug: str, path: str = "/", method: str = "GET", headers: dict[str, str] | None = None) -> Answer:
        """Visit a site."""
        host = {"host": f"{slug}.localhost:{self.sites_port}"}
        return call(self.sites_port, method, path, None, host | (headers or {}))

    def start_build(self, url: str, **options: Any) -> dict[str, Any]:
        """Ask for a build; the ``data`` of the answer."""
        answer = self.api("POST", "/project", {"gitURL": url, **options})
        assert answer.status == 200, answer.body
        assert answer.json["status"] == "queued"
        data: dict[str, Any] = answer.json["data"]
        return data

    def get(self, build_id: str) -> dict[str, Any]:
        """The build as it is now."""
        build: dict[str, Any] = self.api("GET", f"/v1/builds/{build_id}").json
        return build

    def wait_for(self, build_id: str, *statuses: str, seconds: float = 120) -> dict[str, Any]:
        """Wait until the build has one of the statuses."""
        deadline = time.monotonic() + seconds
        while (build := self.get(build_id))["status"] not in statuses:
            assert build["status"] not in FINAL, build
            assert time.monotonic() < deadline, build
            time.sleep(0.2)
        return build

    def build(self, url: str, seconds: float = 120, **options: Any) -> dict[str, Any]:
        """Build to the end."""
        return self.wait_for(self.start_build(url, **options)["buildId"], *FINAL, seconds=seconds)

    def log(self, build_id: str, limit: int = 50) -> list[str]:
        """All lines of a build's log, page by page."""
        lines: list[str] = []
        cursor = ""
        for _ in range(1000):
            page = self.api(
                "GET", f"/v1/builds/{build_id}/logs?limit={limit}" + (f"&cursor={cursor}" if cursor else "")
            ).json
            lines += [line["message"] for line in page["lines"]]
            cursor = page["cursor"] or cursor
            if page["end"]:
                return lines
        raise AssertionError("the log does not end")

    @property
    def endpoint(self) -> str:
        """The address of the stack's AWS endpoint."""
        return next(line.split()[1] for line in self.printed if line.startswith("AWS"))

    def end(self, signal_number: int = signal.SIGINT) -> float:
        """End the stack by a signal; the seconds it took."""
        started = time.monotonic()
        self.process.send_signal(signal_number)
        self.process.wait(20)
        return time.monotonic() - started


def call(port: int, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer:
    """One HTTP request to a port of this machine."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(connection):
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return Answer(answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read())


def free_ports(count: int = len(PORTS)) -> list[int]:
    """Ports that nobody uses now."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def command(*arguments: str) -> list[str]:
    """The command line of the local stack."""
    return [sys.executable, "-m", "local", *arguments]


def environment(**variables: Any) -> dict[str, str]:
    """This process's environment with a canary that no build may see, and settings of the local stack."""
    own = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST", "COV"))}
    return {
        **own,
        "HOST_SECRET": "canary",
        "AWS_PROFILE": "canary",
        **{key: str(value) for key, value in variables.items()},
    }


@contextlib.contextmanager
def local_stack(seconds: float = 60, **variables: Any) -> Iterator[LocalStack]:
    """Start a local stack without a first build, and end it."""
    ports = dict(zip(PORTS, free_ports(), strict=True))
    settings = {**ports, "SCHEDULE_SECONDS": 2, **variables}
    process = subprocess.Popen(
        command("--no-build"),
        cwd=ROOT,
        env=environment(**settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    stack = LocalStack(process, *ports.values())
    ready = threading.Event()
    reader = threading.Thread(target=_read, args=(stack, ready), daemon=True)
    reader.start()
    try:
        assert ready.wait(seconds), "".join(stack.printed)
        assert process.poll() is None, "".join(stack.printed)
        yield stack
    finally:
        try:
            if process.poll() is None:
                stack.end()
        finally:
            process.kill()
            process.wait()
        reader.join(5)
        assert process.stdout
        process.stdout.close()


def _read(stack: LocalStack, ready: threading.Event) -> None:
    assert stack.process.stdout
    for line in stack.process.stdout:
        stack.printed.append(line)
        if "Ctrl-C" in line:
            ready.set()
    ready.set()


def descendants(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """All processes below the stack."""
    return psutil.Process(process.pid).children(recursive=True)


def living(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run."""
    return [each for each in processes if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


def wait_until(condition: Any, seconds: float = 10) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)

"""The log forwarder with a log sink, and with a viewer besides, against the floor of `tests.benchmarks.forwarder`.

    python -m tests.benchmarks.sending

DynamoDB is moto, the sink and the viewers' API are a server that takes everything, each in another process. Each call
brings new lines of a build that is known; so a viewer is sent them.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import ThreadingHTTPServer
from multiprocessing import Process, Queue
from pathlib import Path
from typing import Any

from tests.benchmarks import forwarder
from tests.benchmarks.forwarder import ROOT

SIZES = {100: 6, 1_000: 4}  # lines, and how often they are handled
SIDES = ("floor", "handler", "sink", "gzip", "identity")  # the last two with a sink and a viewer, by its encoding
CONNECTION = "benchmark="


def main() -> None:
    """Measure and print the table."""
    ports: Queue[int] = Queue()
    addresses: Queue[str] = Queue()
    servers = [Process(target=_tables, args=(ports,)), Process(target=_taker, args=(addresses,))]
    for server in servers:
        server.daemon = True
        server.start()
    environment = _environment(f"http://127.0.0.1:{ports.get()}", addresses.get())
    with tempfile.TemporaryDirectory() as folder:
        lines = forwarder.build_output(Path(folder) / "site")
        print("| lines | floor | handler | ratio | with a sink | ratio | and a viewer | ratio | of identity | ratio |")
        print("|---|---|---|---|---|---|---|---|---|---|")
        for count, calls, apart in forwarder.rows(SIZES):
            data = Path(folder) / f"{count}.txt"
            deliveries = (forwarder.delivery(lines, count, number, apart=apart) for number in range(calls + 1))
            data.write_text("\n".join(deliveries))
            floor, *others = (_instructions(side, data, calls, environment) for side in SIDES)
            cells = (f"{each / 1e6:.1f} | {each / floor:.2f}" for each in others)
            print(f"| {count:,}{' apart' * apart} | {floor / 1e6:.1f} | {' | '.join(cells)} |", flush=True)
    for server in servers:
        server.terminate()


def _tables(ports: "Queue[int]") -> None:
    import logging

    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    ports.put(server.get_host_and_port()[1])
    server._thread.join()


def _taker(addresses: "Queue[str]") -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), forwarder._Sink)  # the handler keeps a connection of each kind open
    addresses.put(f"http://127.0.0.1:{server.server_port}")
    server.serve_forever()


def _environment(endpoint: str, taker: str) -> dict[str, str]:
    tables = {f"{name}_TABLE": f"{name.title()}Table" for name in ("BUILDS", "PROJECTS", "LOGS", "CONNECTIONS")}
    return (
        forwarder._environment(endpoint) | tables | {"AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI": taker, "TAKER": taker}
    )


def _instructions(side: str, data: Path, calls: int, environment: dict[str, str]) -> float:
    """Instructions of one call, once warm."""
    own = {"LOG_SINK_URL": environment["TAKER"] + "/v1/logs"} if side in {"sink", "gzip", "identity"} else {}
    counts = []
    for number in (1, calls):
        command = [sys.executable, "-m", "tests.benchmarks.sending", "prepare", side]
        subprocess.run(command, cwd=ROOT, env=environment, check=True)
        counts.append(forwarder._count(side, data, number, environment | own, "tests.benchmarks.sending"))
    return (counts[1] - counts[0]) / (calls - 1)


def _prepare(side: str) -> None:
    """Empty tables, a build that runs, and one who watches it where somebody is to."""
    from msgspec.structs import replace

    from scripts.events import BUILD, TASK
    from tests.conftest import TABLES, _resources
    from tidegate import aws, builds, connections, notes
    from tidegate.connections import Subscription
    from tidegate.status import Status

    now = datetime.now(UTC)
    for name in TABLES:
        if name in aws.dynamodb().list_tables()["TableNames"]:
            aws.dynamodb().delete_table(TableName=name)
        properties = _resources()[name]["Properties"]
        wanted = ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "BillingMode")
        aws.dynamodb().create_table(TableName=name, **{key: properties[key] for key in wanted if key in properties})
    # The commit is known, as the forwarder knows it from the first seconds of a build on.
    builds.create(
        replace(BUILD, status=Status.BUILDING, deadline=now + timedelta(hours=1), cloned_commit="4b825dc6" * 5)
    )
    notes.name_task(TASK, BUILD.id, BUILD.project_slug, now)
    if side in {"gzip", "identity"}:
        connections.subscribe(Subscription(BUILD.id, CONNECTION, encoding=side), now)


def _side(name: str) -> Callable[[Any], Any]:
    return forwarder._side("floor" if name == "floor" else "handler")


def _run(side: str, data: str, calls: str) -> None:
    """One side of the comparison, in a process of its own."""
    act = _side(side)
    for line in Path(data).read_text().splitlines()[: int(calls)]:
        act({"awslogs": {"data": line}})


if __name__ == "__main__":
    match sys.argv[1:]:
        case []:
            main()
        case ["prepare", side]:
            _prepare(side)
        case [side, data, calls]:
            _run(side, data, calls)

"""Runs every function with each of its events in `sam local invoke`, and the API in `sam local start-api`.

The functions run in containers of Docker's own architecture, against the local AWS endpoint with the stack in it.
With `--stay` nothing is run: the endpoint stays up for `sam local` commands of your own.
"""

import contextlib
import ipaddress
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from msgspec import Struct
from samtranslator.yaml_helper import yaml_parse
from werkzeug.serving import make_server

from local.account import REGION
from local.aws import Endpoint
from local.container import Spec
from local.fargate import Fargate
from local.logs import Logs
from local.options import NO_AWS_FILES, ROOT
from local.stack import Stack, create
from local.template import translated
from local.viewers import Viewers
from scripts.events import BUILD, SITES_URL, Case, cases, set_up

SOURCE = ROOT / ".aws-sam" / "local.json"
BUILT = ROOT / ".aws-sam" / "local"
TEMPLATE = str((BUILT / "template.yaml").relative_to(ROOT))
SAM = str(Path(sys.executable).with_name("sam"))
HOST = "aws"  # what containers call this machine
AT_ONCE = os.cpu_count() or 1
START_SECONDS = 60


class Outcome(Struct, frozen=True):
    """What one run came to; `told` is what to read if it failed."""

    function: str
    what: str
    answer: str
    ok: bool
    told: str = ""


def main() -> int:
    """Prepare everything, then run all events or stay up."""
    architecture = docker("version", "--format", "{{.Server.Arch}}").replace("amd64", "x86_64")
    # Credentials of the user's own must not reach the containers.
    os.environ |= {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_SESSION_TOKEN": "local"}
    os.environ |= {"AWS_REGION": REGION, "AWS_DEFAULT_REGION": REGION, "SAM_CLI_TELEMETRY": "0"}
    os.environ |= NO_AWS_FILES
    os.environ.pop("AWS_PROFILE", None)
    with aws(bridge_address()) as (stack, port):
        build(stack, architecture, port)
        if "--stay" in sys.argv[1:]:
            print(f"sam local invoke ApiFunction -t {TEMPLATE} -e events/api-get-build.json")
            print(f"sam local start-api -t {TEMPLATE}", flush=True)
            signal.pause()
        return report([*invoke_all(), *start_api()])


def docker(*words: str) -> str:
    """What a docker command says; the end, with one line, if there is no Docker."""
    try:
        return subprocess.run(["docker", *words], check=True, capture_output=True, text=True).stdout.strip()
    except FileNotFoundError:
        sys.exit("sam-local: needs Docker, which is not installed; `make run` needs none")
    except subprocess.CalledProcessError as error:
        sys.exit(f"sam-local: needs Docker, which does not answer; `make run` needs none\n{error.stderr.strip()}")


def bridge_address() -> str:
    """Where containers reach this machine: Docker's bridge, or loopback where Docker runs in a machine of its own."""
    bridge = docker("network", "inspect", "bridge", "-f", "{{with index .IPAM.Config 0}}{{or .Gateway .Subnet}}{{end}}")
    address = str(next(iter(ipaddress.ip_network(bridge).hosts())))
    try:
        with socket.socket() as probe:
            probe.bind((address, 0))
    except OSError:
        return "127.0.0.1"
    return address


@contextlib.contextmanager
def aws(address: str) -> Iterator[tuple[Stack, int]]:
    """The local AWS endpoint with the stack and the story of the events in it; yields its port at this address."""
    endpoint = Endpoint()
    template = translated(ROOT / "template.yaml", REGION, ROOT / ".tidegate" / "cache")
    stack = create(template, {"SitesUrl": SITES_URL}, ROOT)
    variables = {**stack.functions[0].environment, "AWS_ENDPOINT_URL": endpoint.url}
    os.environ |= variables
    set_up()
    for name in variables:  # `sam local` prefers the shell's to the template's
        del os.environ[name]

    def from_containers(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Pass a request on as one from this machine, with its bucket in the path."""
        bucket, _, _ = environ["HTTP_HOST"].rpartition(f"{HOST}:")
        if bucket:
            environ["PATH_INFO"] = f"/{bucket.rstrip('.')}{environ['PATH_INFO']}"
        return endpoint({**environ, "HTTP_HOST": f"127.0.0.1:{endpoint.port}"}, start_response)

    with TemporaryDirectory() as folder, make_server(address, 0, from_containers, threaded=True) as server:
        endpoint.logs = Logs(Path(folder, "logs"), stack.log_groups, [], lambda *_: None)
        endpoint.fargate = Fargate(stack.catalog, Path(folder, "tasks"), endpoint.logs, nothing, lambda _: None)
        endpoint.viewers = Viewers()  # whom nobody can reach here: sam local serves no WebSocket API
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield stack, server.server_port
        finally:
            server.shutdown()
            endpoint.fargate.close()


def nothing(environment: Mapping[str, str], folder: Path) -> Spec:
    """What tasks run instead of the builder."""
    return Spec(("true",), folder, environment)


def build(stack: Stack, architecture: str, port: int) -> None:
    """Build the functions for this architecture, with the environment of the stack that is there."""
    template = yaml_parse((ROOT / "template.yaml").read_text(encoding="utf-8"))
    resources = template["Resources"]
    for function in stack.functions:
        # `--env-vars` would drop the endpoint, as the template does not name it.
        variables = {**function.environment, "AWS_ENDPOINT_URL": f"http://{HOST}:{port}"}
        properties = {"Architectures": [architecture], "Environment": {"Variables": variables}}
        resources[function.logical_id]["Properties"] |= properties
    resources["SharedLayer"]["Properties"]["CompatibleArchitectures"] = [architecture]
    resources["SharedLayer"]["Metadata"]["BuildArchitecture"] = architecture
    # Both APIs have a $default route, and start-api serves only the last.
    del resources["SitesFunction"]["Properties"]["Events"]
    SOURCE.parent.mkdir(exist_ok=True)
    SOURCE.write_text(json.dumps(template), encoding="utf-8")
    command = [SAM, "build", "-t", str(SOURCE), "--base-dir", str(ROOT), "--build-dir", str(BUILT), "--no-cached"]
    if subprocess.run(["python3.13", "-c", ""], check=False, capture_output=True).returncode:
        command.append("--use-container")
    built = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    if built.returncode:
        sys.exit(f"sam-local: `sam build` failed\n{built.stderr.strip()}")
    # botocore puts the bucket's name before the host's.
    hosts = [f"{name}:host-gateway" for name in (HOST, f"{stack.functions[0].environment['ARTIFACTS_BUCKET']}.{HOST}")]
    config = f"version = 0.1\n[default.global.parameters]\nadd_host = {json.dumps(hosts)}\n"
    (BUILT / "samconfig.toml").write_text(config, encoding="utf-8")


def invoke_all() -> Iterator[Outcome]:
    """Run all events; the first one alone, as it pulls the image."""
    first, *others = cases()
    yield shown(invoke(first))
    os.environ["SAM_SKIP_PULL_IMAGE"] = "1"
    with ThreadPoolExecutor(AT_ONCE) as threads:
        yield from map(shown, threads.map(invoke, others))


def invoke(case: Case) -> Outcome:
    """Run one event in `sam local invoke` and hold its answer against the README's."""
    logical_id = "".join(word.title() for word in case.function.split("-")) + "Function"
    command = [SAM, "local", "invoke", logical_id, "-t", TEMPLATE, "-e", str(case.path)]
    run = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    try:
        answer: Any = json.loads(run.stdout.strip().splitlines()[-1])
    except (IndexError, json.JSONDecodeError):
        return Outcome(case.function, case.name, "no answer", ok=False, told=run.stderr)
    if isinstance(answer, dict) and "errorType" in answer:
        return Outcome(case.function, case.name, answer["errorType"], ok=False, told=run.stderr + run.stdout)
    if isinstance(answer, dict):
        status = str(answer.get("statusCode"))
        return Outcome(case.function, case.name, status, status == case.answer.split()[0], run.stdout)
    return Outcome(case.function, case.name, "done", run.returncode == 0, run.stderr)


def start_api() -> Iterator[Outcome]:
    """Ask the API in `sam local start-api`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [SAM, "local", "start-api", "-t", TEMPLATE, "-p", str(port), "--warm-containers", "LAZY"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        try:
            wait_for(port)
            body = json.dumps({"gitURL": BUILD.source.url})
            yield shown(ask(port, "GET", "/healthz"))
            yield shown(ask(port, "GET", f"/v1/builds/{BUILD.id}"))
            yield shown(ask(port, "POST", "/project", body))
        finally:
            server.send_signal(signal.SIGINT)


def wait_for(port: int) -> None:
    """Wait until somebody listens."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.2)


def ask(port: int, method: str, path: str, body: str | None = None) -> Outcome:
    """Send one request, which is to be answered with 200."""
    connection = HTTPConnection("127.0.0.1", port, timeout=START_SECONDS)
    try:
        connection.request(method, path, body, {"content-type": "application/json"} if body else {})
        response = connection.getresponse()
        told = response.read().decode()
    except OSError as error:
        return Outcome("start-api", f"{method} {path}", "no answer", ok=False, told=str(error))
    finally:
        connection.close()
    return Outcome("start-api", f"{method} {path}", str(response.status), response.status == 200, told)


def shown(outcome: Outcome) -> Outcome:
    """Print a row of the table."""
    print(f"{outcome.function:18} {outcome.what:62} {outcome.answer:10} {'ok' if outcome.ok else 'FAILED'}", flush=True)
    return outcome


def report(outcomes: list[Outcome]) -> int:
    """Print what failed, with what it said; the exit code."""
    failed = [outcome for outcome in outcomes if not outcome.ok]
    for outcome in failed:
        print(f"\n{outcome.function} {outcome.what}: {outcome.answer}\n{outcome.told.strip()}")
    print(f"\n{len(outcomes) - len(failed)} of {len(outcomes)} ok")
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)

"""Cold start of each function against a plain boto3 handler: instructions and seconds to the first answer.

    python -m tests.benchmarks.cold_start [ROUNDS]

Both sides run under `awslambdaric` with Python 3.13, compiled, and answer one event with one DynamoDB call or two over
TLS. Plain: two boto3 clients as the Lambda runtime brings them. Ours: what `make build` left in `.aws-sam/build`, with
this machine's binaries in place of Lambda's. The endpoint's certificate is added to the roots each side trusts itself.
Instructions are counted by `valgrind --tool=cachegrind`; seconds are those of the Lambda runtime interface emulator.
"""

import datetime as dt
import ipaddress
import json
import os
import platform
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

ROOT = Path(__file__).parents[2]
BUILT = ROOT / ".aws-sam" / "build"
PYTHON = "python3.13"
WARM_CALLS = 20
LISTS = {"Query", "Scan", "ListTasks"}
PROJECT = {  # the one item that is there, so that a visitor gets a page
    "slug": {"S": "callous-tender-dog"},
    "gitUrl": {"S": "https://git.example.com/you/site.git"},
    "createdAt": {"S": "2026-11-21T07:30:00.000Z"},
    "liveBuild": {"S": "01JD6Q2V8W3M4N5P6R7S8T9VAB"},
    "liveAttempt": {"N": "1"},
}
PAGE = b"<!doctype html><title>A page</title>"
FUNCTIONS = {
    "ApiFunction": ("api-get-build.json", 0.70),
    "LogForwarderFunction": ("log-forwarder-first-batch.json", 0.60),
    "TaskStateChangeFunction": ("task-state-change-running.json", 0.60),
    "ReconcilerFunction": ("reconciler-tick.json", 0.60),
    "SitesFunction": ("sites-page.json", 0.60),
    "ViewersFunction": ("viewers-subscribe.json", 0.60),
}
PLAIN = """\
import boto3

dynamodb = boto3.client("dynamodb")
ecs = boto3.client("ecs")


def handler(event, context):
    item = dynamodb.get_item(TableName="BuildsTable", Key={"id": {"S": "01JD6Q2V8W3M4N5P6R7S8T9VAB"}}).get("Item")
    return {"statusCode": 404 if item is None else 200}
"""
ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "LANG": "en_US.UTF-8",
    "TZ": ":UTC",
    "PYTHONHASHSEED": "0",  # else the counts differ from run to run
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONNOUSERSITE": "1",
    "_HANDLER": "app.handler",
    "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
    "AWS_LAMBDA_FUNCTION_NAME": "function",
    "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
    "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
    "AWS_LAMBDA_LOG_FORMAT": "JSON",
    "AWS_REGION": "eu-central-1",
    "AWS_DEFAULT_REGION": "eu-central-1",
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_SESSION_TOKEN": "testing",
    "BUILDS_TABLE": "BuildsTable",
    "PROJECTS_TABLE": "ProjectsTable",
    "LOGS_TABLE": "LogsTable",
    "CONNECTIONS_TABLE": "ConnectionsTable",
    "ARTIFACTS_BUCKET": "artifacts",
    "CLUSTER": "arn:aws:ecs:eu-central-1:123456789012:cluster/builds",
    "TASK_DEFINITION": "arn:aws:ecs:eu-central-1:123456789012:task-definition/builder:1",
    "BUILDER_CONTAINER": "builder",
    "BUILDER_LOG_GROUP": "/aws/ecs/tidegate",
    "SUBNETS": "subnet-0a1b2c3d",
    "SECURITY_GROUPS": "sg-0a1b2c3d",
    "BUILDER_ACCESS_ROLE": "arn:aws:iam::123456789012:role/builder-access",
    "SITES_URL": "https://{slug}.sites.example.com",
    "MAX_CONCURRENT_BUILDS": "2",
    "BUILD_TIMEOUT_SECONDS": "1200",
    "SPOT_SHARE": "0",
    "BUILD_CPU": "2048",
    "BUILD_MEMORY": "4096",
    "LOG_RETENTION_DAYS": "30",
    "GIT_PROTOCOLS": "https",
    "ALLOW_PRIVATE_GIT_HOSTS": "false",
    "POWERTOOLS_SERVICE_NAME": "tidegate",
}


@dataclass(frozen=True)
class Side:
    """A handler and what it finds on its path, in Lambda's order."""

    name: str
    code: Path
    path: tuple[Path, ...]
    event: bytes
    environment: dict[str, str]


def main() -> None:
    """Measure and print the table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    _check_tools()
    with tempfile.TemporaryDirectory() as name, _endpoint(Path(name)) as (url, certificate):
        folder = Path(name)
        plain, ours = _sides(folder, url, certificate)
        seconds = _seconds([plain, *ours], rounds)
        floor = _instructions(plain)
        floor_warm = (_instructions(plain, 1 + WARM_CALLS) - floor) / WARM_CALLS
        floor_seconds = seconds[plain.name]
        print(
            f"| {platform.machine()} | M instructions | ratio | goal | warm, ratio | seconds in the emulator | ratio |"
        )
        print("|---|---|---|---|---|---|---|")
        print(f"| plain boto3 | {floor / 1e6:.0f} | 1.00 | | 1.00 | {floor_seconds:.2f} | 1.00 |", flush=True)
        for side in ours:
            count, goal = _instructions(side), FUNCTIONS[side.name][1]
            warm = (_instructions(side, 1 + WARM_CALLS) - count) / WARM_CALLS / floor_warm
            print(
                f"| {side.name} | {count / 1e6:.0f} | {count / floor:.2f} | {goal:.2f} | {warm:.2f} "
                f"| {seconds[side.name]:.2f} | {seconds[side.name] / floor_seconds:.2f} |",
                flush=True,
            )
        sizes = {path.name: _size(path) for path in sorted(BUILT.iterdir()) if path.is_dir()}
        print("\nUnpacked: " + ", ".join(f"{name} {size / 1e6:.2f} MB" for name, size in sizes.items()))


def _check_tools() -> None:
    if subprocess.run([PYTHON, "-c", ""], check=False, capture_output=True).returncode:
        sys.exit(f"cold_start: {PYTHON} is not here, and it is what the functions run with")
    if shutil.which("valgrind") is None:
        sys.exit("cold_start: valgrind is not here, and it is what counts instructions")
    if not (BUILT / "SharedLayer").is_dir():
        subprocess.run(["make", "build"], cwd=ROOT, check=True, stdout=sys.stderr)
    check_build(BUILT)


def check_build(built: Path) -> None:
    """End with what to do if the build is not one of these sources."""
    if found := sorted(differences(built)):
        sys.exit(f"cold_start: {built} is of other sources, run `make build`: {', '.join(found)}")


def differences(built: Path) -> Iterator[str]:
    """The files of the functions and of the layer that are others in the build, or only there, or only here."""
    resources = _read_template()["Resources"]
    folders = {name: each["Properties"]["CodeUri"] for name, each in resources.items() if name.endswith("Function")}
    folders["SharedLayer/python"] = resources["SharedLayer"]["Properties"]["ContentUri"]
    for name, source in folders.items():
        for pattern in ("app.py", "requirements.txt", "tidegate/*.py"):
            here, there = (
                {path.relative_to(each): path.read_bytes() for path in each.glob(pattern)}
                for each in (ROOT / source, built / name)
            )
            for file in here.keys() | there.keys():
                if here.get(file) != there.get(file):
                    yield f"{name}/{file}"


def _sides(folder: Path, url: str, certificate: str) -> tuple[Side, list[Side]]:
    """The plain handler, and our functions."""
    runtime, layer, plain = folder / "runtime", folder / "layer", folder / "plain"
    _install(runtime, ROOT / "tests" / "benchmarks" / "requirements.txt")
    plain.mkdir()
    (plain / "app.py").write_text(PLAIN, encoding="utf-8")
    shutil.copytree(BUILT / "SharedLayer" / "python", layer)
    native = folder / "native"
    _install(native, ROOT / "layers" / "shared" / "requirements.txt")
    for binary in native.rglob("*.so"):
        shutil.copy(binary, layer / binary.relative_to(native))
    for compiled in (runtime, plain):
        compile_all = [PYTHON, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", str(compiled)]
        subprocess.run(compile_all, check=True)
    for trusted in (runtime, layer):
        for bundle in trusted.rglob("cacert.pem"):
            bundle.write_text(bundle.read_text(encoding="ascii") + certificate, encoding="ascii")
    variables = {**ENVIRONMENT, "AWS_ENDPOINT_URL": url}
    baseline = Side("plain boto3", plain, (plain, runtime), b"{}", variables)
    ours = []
    for name, (event, _) in FUNCTIONS.items():
        own = {**variables, **_own_variables()}
        path = (BUILT / name, layer, runtime)
        ours.append(Side(name, BUILT / name, path, (ROOT / "events" / event).read_bytes(), own))
    return baseline, ours


def _own_variables() -> dict[str, str]:
    """What the template sets to plain text, e.g. to turn things of the AWS SDK off."""
    template = json.loads(json.dumps(_read_template()))
    variables = template["Globals"]["Function"]["Environment"]["Variables"]
    return {name: str(value) for name, value in variables.items() if isinstance(value, str | int)}


def _read_template() -> Any:
    from samtranslator.yaml_helper import yaml_parse

    return yaml_parse((ROOT / "template.yaml").read_text(encoding="utf-8"))


def _install(target: Path, requirements: Path) -> None:
    command = [str(Path(sys.executable).with_name("uv")), "pip", "install", "--quiet", "--python", _real_python()]
    words = ["--no-deps", "--require-hashes", "--target", str(target), "-r", str(requirements)]
    subprocess.run([*command, *words], check=True)


def _real_python() -> str:
    """The interpreter itself: a pyenv shim would be counted, too."""
    shown = subprocess.run([PYTHON, "-c", "import sys; print(sys.executable)"], check=True, capture_output=True)
    return shown.stdout.decode().strip()


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _instructions(side: Side, calls: int = 1) -> int:
    """Instructions from process start until the last of some answers."""
    with tempfile.NamedTemporaryFile(mode="r") as log, _runtime_api(side.event, calls) as (address, answers):
        valgrind = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
        process = _start(side, [*valgrind, f"--log-file={log.name}"], {"AWS_LAMBDA_RUNTIME_API": address})
        try:
            if not answers.wait(timeout=120):
                raise TimeoutError(f"{side.name}: {log.read()}")
        finally:
            process.terminate()
            output = process.communicate()[0]
        counted = re.search(r"I\s+refs:\s+([\d,]+)", log.read())
    if counted is None or b'"errorMessage"' in output:
        raise RuntimeError(f"{side.name}: {output.decode()}")
    return int(counted[1].replace(",", ""))


def _seconds(sides: list[Side], rounds: int) -> dict[str, float]:
    """Median seconds from the start of the runtime interface emulator to the first answer, the sides in turn."""
    import samcli

    machine = "arm64" if platform.machine() in {"arm64", "aarch64"} else "x86_64"
    emulator = Path(samcli.__file__).parent / "local" / "rapid" / f"aws-lambda-rie-{machine}"
    program = Path(tempfile.mkdtemp(), "rie")
    shutil.copy(emulator, program)
    program.chmod(0o755)
    taken: dict[str, list[float]] = {side.name: [] for side in sides}
    for _ in range(rounds):
        for side in sides:
            taken[side.name].append(_seconds_once(side, program))
    shutil.rmtree(program.parent)
    return {name: median(each) for name, each in taken.items()}


def _seconds_once(side: Side, program: Path) -> float:
    port, inner = _free_ports()
    words = [f"--runtime-interface-emulator-address=127.0.0.1:{port}", f"--runtime-api-address=127.0.0.1:{inner}"]
    started = time.monotonic()
    process = _start(side, [str(program), *words], {})
    try:
        answer = _invoke(port, side.event)
        taken = time.monotonic() - started
    finally:
        process.terminate()
        process.communicate()
    if b'"errorMessage"' in answer:
        raise RuntimeError(f"{side.name}: {answer.decode()}")
    return taken


def _invoke(port: int, event: bytes) -> bytes:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/2015-03-31/functions/function/invocations", event)
    for _ in range(3000):
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return bytes(answer.read())
        except urllib.error.URLError as error:
            if not isinstance(error.reason, ConnectionRefusedError):
                raise
            time.sleep(0.002)
    raise TimeoutError


def _start(side: Side, words: list[str], more: dict[str, str]) -> subprocess.Popen[bytes]:
    path = os.pathsep.join(map(str, side.path))
    environment = {**side.environment, **more, "PYTHONPATH": path, "LAMBDA_TASK_ROOT": str(side.code)}
    command = [*words, _real_python(), "-m", "awslambdaric", "app.handler"]
    return subprocess.Popen(command, cwd=side.code, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def _free_ports() -> tuple[int, int]:
    """Two free ports, not twice the same."""
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


@contextmanager
def _runtime_api(event: bytes, calls: int) -> Iterator[tuple[str, threading.Event]]:
    """Lambda's Runtime API that hands out an event some times; set once all are answered."""
    answered, left = threading.Event(), [calls]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # an answer in one packet: a second one waits for what the client's kernel delays

        def do_GET(self) -> None:
            if answered.wait(timeout=0 if left[0] else 300):
                return
            self.send_response(200)
            self.send_header("Content-Type", "application/json")  # awslambdaric ends without one
            self.send_header("Lambda-Runtime-Aws-Request-Id", "8476a536-e9f4-11e8-9739-2dfe598c3fcd")
            self.send_header("Lambda-Runtime-Deadline-Ms", str(int(time.time() * 1000) + 300_000))
            self.send_header(
                "Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:eu-central-1:123456789012:function:function"
            )
            self.send_header("Content-Length", str(len(event)))
            self.end_headers()
            self.wfile.write(event)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            left[0] -= 1
            if left[0] == 0 or "/error" in self.path:
                answered.set()
            self.send_response(202)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with _served(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as port:
        yield f"127.0.0.1:{port}", answered


@contextmanager
def _endpoint(folder: Path) -> Iterator[tuple[str, str]]:
    """AWS over TLS, which has a project and a page of its site, and nothing else; its address and its certificate."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # an answer in one packet: a second one waits for what the client's kernel delays

        def do_GET(self) -> None:
            modified = "Sat, 21 Nov 2026 07:30:00 GMT"
            self._answer(PAGE, {"Content-Type": "text/html", "ETag": '"1"', "Last-Modified": modified})

        def do_POST(self) -> None:
            wanted = self.rfile.read(int(self.headers["Content-Length"]))
            asked = self.headers.get("X-Amz-Target", "").partition(".")[2]  # none where a viewer is sent to
            found: dict[str, Any] = (
                {"Items": [], "Count": 0, "ScannedCount": 0, "taskArns": []} if asked in LISTS else {}
            )
            if asked == "GetItem" and b'"ProjectsTable"' in wanted:
                found = {"Item": PROJECT}
            self._answer(json.dumps(found).encode(), {"Content-Type": "application/x-amz-json-1.0"})

        def _answer(self, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(200)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    certificate, key = _certificate()
    (folder / "endpoint.pem").write_text(certificate + key, encoding="ascii")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "endpoint.pem")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    with _served(server) as port:
        yield f"https://127.0.0.1:{port}", certificate


@contextmanager
def _served(server: ThreadingHTTPServer) -> Iterator[int]:
    server.daemon_threads = True
    server.block_on_close = False
    server.handle_error = lambda *_: None  # a function that was ended resets its connections
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


def _certificate() -> tuple[str, str]:
    """A self-signed certificate for the loopback address, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Tidegate benchmark")])
    now = dt.datetime.now(dt.UTC)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    usage = dict.fromkeys(
        ["content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only"], False
    )
    signs = x509.KeyUsage(digital_signature=True, key_cert_sign=True, crl_sign=True, decipher_only=False, **usage)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(signs, critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode(), secret.decode()


if __name__ == "__main__":
    main()

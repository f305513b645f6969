"""The local stack in motion: every part started in order and wired to the others, and ended in the reverse order."""

import contextlib
import itertools
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from moto.sqs.models import sqs_backends

from local.account import ACCOUNT, REGION
from local.aws import Endpoint
from local.chaos import Batches, Chaos
from local.checks import CannotLoad
from local.container import Spec
from local.events import Bus
from local.fargate import Fargate
from local.gateway import Gateway, api_check, sites_check
from local.journal import Journal
from local.lambdas import Lambdas, Outcome
from local.logs import Logs
from local.options import NO_AWS_FILES, ROOT, Options
from local.stack import create
from local.template import translated
from local.timers import Timers
from local.viewers import Viewers
from local.websocket import WebSocketGateway

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "AKIALOCALLOCALLOCAL1", "AWS_SECRET_ACCESS_KEY": "local"}
# How this machine reaches the network, which on AWS is the subnet's matter. Builds need it where there is a proxy.
NETWORK = (
    "NODE_EXTRA_CA_CERTS",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAINFO",
    *(name for lower in ("http_proxy", "https_proxy", "no_proxy") for name in (lower, lower.upper())),
)
Tell = Callable[[str], None]
LookAt = Callable[[dict[str, Any], Outcome], None]


@contextlib.contextmanager
def running(options: Options, state: Path, cache: Path, look_at: LookAt, tell: Tell) -> Iterator[Endpoint]:
    """Start everything and end it again; ``look_at`` sees each event and outcome of the API."""
    with contextlib.ExitStack() as ends:
        timers = Timers()
        ends.callback(timers.close)
        endpoint = Endpoint()
        template = translated(ROOT / "template.yaml", REGION, cache)
        stack = create(template, options.parameters, ROOT)
        functions = state / "functions"
        functions.mkdir(exist_ok=True)
        region = {"AWS_REGION": REGION, "AWS_DEFAULT_REGION": REGION}
        shared = {**CREDENTIALS, **NO_AWS_FILES, **region, "AWS_ENDPOINT_URL": endpoint.url}
        lambdas = Lambdas(stack.functions, shared, functions, timers, send_to_queue, tell)
        ends.callback(lambdas.close)
        errors: list[str] = []
        warming = threading.Thread(target=lambda: errors.extend(lambdas.warm()), daemon=True)
        warming.start()

        batches = Batches(options.chaos, timers, lambdas.invoke_in_order, lambdas.invoke_later)
        logs = Logs(state / "logs", stack.log_groups, stack.subscriptions, batches.deliver)
        bus = Bus(stack.rules, stack.schedules, options.chaos, timers, lambdas.invoke_later, send_to_queue)
        fargate = Fargate(stack.catalog, state / "tasks", logs, builder(cache), bus.publish)
        ends.callback(fargate.close)
        viewers = Viewers()
        endpoint.logs, endpoint.fargate, endpoint.lambdas, endpoint.viewers = logs, fargate, lambdas, viewers
        if options.state:
            endpoint.replay(Journal(state / "journal"))
        warming.join()
        if errors:
            raise CannotLoad("functions cannot be loaded:\n" + "\n".join(errors))
        apis = {api.logical_id: api for api in stack.apis}

        def invoke_api(arn: str, event: dict[str, Any]) -> Outcome:
            outcome = lambdas.invoke(arn, event)
            look_at(event, outcome)
            return outcome

        Gateway(apis["Api"], options.api_port, invoke_api, api_check(options.api_port))
        Gateway(apis["SitesApi"], options.sites_port, lambdas.invoke, sites_check)
        for api in stack.web_sockets:
            WebSocketGateway(api, options.logs_port, forgetful(options.chaos, lambdas.invoke), api_check, viewers)
        endpoint.resumed = [started_by.partition("/")[0] for started_by in fargate.announce_recovered()]
        if lost := len(endpoint.resumed):
            cut_off = "build was" if lost == 1 else "builds were"
            tell(f"{lost} {cut_off} cut off when the last run ended, now to go on or end")
        bus.start_clock(options.schedule_seconds)
        yield endpoint


def forgetful(chaos: Chaos, invoke: Callable[[str, Any], Outcome]) -> Callable[[str, Any], Outcome]:
    """Invoke functions for a WebSocket API, which promises no event of a connection that is closed."""
    ends = itertools.count()

    def try_to(arn: str, event: dict[str, Any]) -> Outcome:
        told = event["requestContext"]["eventType"] != "DISCONNECT" or chaos.deliveries(f"disconnect/{next(ends)}")
        return invoke(arn, event) if told else Outcome("")

    return try_to


def builder(cache: Path) -> Callable[[Mapping[str, str], Path], Spec]:
    """The builder of this checkout as the program of tasks."""
    own = {"PYTHONPATH": str(ROOT / "builder"), "TIDEGATE_CACHE_DIR": str(cache / "builds")}
    network = {name: os.environ[name] for name in NETWORK if name in os.environ}

    def program(environment: Mapping[str, str], folder: Path) -> Spec:
        argv = (sys.executable, "-P", "-m", "tidegate_builder")
        return Spec(argv, folder, {**network, **own, **environment})

    return program


def send_to_queue(arn: str, record: Any) -> None:
    """Put a record into an SQS queue of the stack; raises ValueError if it is too large for it."""
    queues, name, body = sqs_backends[ACCOUNT][REGION], arn.rpartition(":")[2], json.dumps(record)
    most = int(queues.get_queue(name).attributes["MaximumMessageSize"])
    if len(body) > most:
        raise ValueError(f"{len(body)} bytes are more than the {most} that {name} takes")
    queues.send_message(name, body)

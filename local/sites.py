"""The sites of a deployed stack, served on this machine: ``python -m local sites --stack NAME``.

The same function answers as in the local stack, with the settings of the deployed one and your own AWS credentials.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from local.checks import CannotStart, check_port
from local.gateway import Gateway, HttpApi, Route, sites_check
from local.lambdas import Lambdas
from local.options import ROOT
from local.timers import Timers
from local.worker import Function
from scripts.samconfig import stack_name

OWN = ("HOME", "PATH", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy")


def serve(arguments: Sequence[str]) -> NoReturn:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m local sites", description="Serve the sites of a deployed stack.")
    parser.add_argument("--stack", default=os.environ.get("STACK") or stack_name(), help="name of the stack [STACK]")
    parser.add_argument(
        "--sites-port", type=int, default=int(os.environ.get("SITES_PORT", "8000")), help="[SITES_PORT]"
    )
    given = parser.parse_args(arguments)
    check_port(given.sites_port, "SITES_PORT")
    function = _function(_deployed(given.stack), given.sites_port)
    own = {name: value for name, value in os.environ.items() if name.startswith("AWS_") or name in OWN}
    with tempfile.TemporaryDirectory(prefix="tidegate-") as logs:
        lambdas = Lambdas([function], own, Path(logs), Timers(), lambda _arn, _record: None, print)
        try:
            if errors := lambdas.warm():
                raise CannotStart("the function cannot be loaded: " + "; ".join(errors))
            api = HttpApi("SitesApi", (Route(None, "$default", function.arn),))
            Gateway(api, given.sites_port, lambdas.invoke, sites_check)
            print(f"sites of {given.stack}: http://<slug>.localhost:{given.sites_port}    (Ctrl-C ends)", flush=True)
            while True:
                time.sleep(0.2)  # not longer: a signal that reaches another thread does not wake this one
        finally:
            lambdas.close()


def _deployed(stack: str) -> dict[str, Any]:
    """The configuration of the stack's SitesFunction."""
    import boto3  # only this command needs it
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        resources = boto3.client("cloudformation").describe_stack_resource(
            StackName=stack, LogicalResourceId="SitesFunction"
        )
        name = resources["StackResourceDetail"]["PhysicalResourceId"]
        return dict(boto3.client("lambda").get_function_configuration(FunctionName=name))
    except (BotoCoreError, ClientError) as error:
        raise CannotStart(f"the stack {stack} cannot be read: {error}") from error


def _function(deployed: dict[str, Any], port: int) -> Function:
    settings = {**deployed["Environment"]["Variables"], "SITES_URL": f"http://{{slug}}.localhost:{port}"}
    return Function(
        logical_id="SitesFunction",
        name=deployed["FunctionName"],
        arn=deployed["FunctionArn"],
        handler=deployed["Handler"],
        code=ROOT / "functions" / "sites",
        layers=(ROOT / "layers" / "shared",),
        environment=settings,
        timeout=float(deployed["Timeout"]),
        memory=int(deployed["MemorySize"]),
    )

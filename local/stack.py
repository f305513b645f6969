"""The stack: created from the template by moto's CloudFormation, and read back for what is served here."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moto.cloudformation import parsing
from moto.cloudformation.models import cloudformation_backends

from local.account import ACCOUNT, REGION
from local.ecs import Catalog, Cluster, TaskDefinition
from local.events import Rule, Schedule, Target, seconds_of
from local.gateway import HttpApi, Route
from local.logs import Subscription
from local.standins import name_of, stand_in
from local.websocket import WebSocketApi, path_of
from local.worker import Function

NAME = "tidegate"


@dataclass(frozen=True)
class Stack:
    """What the local stack serves itself, all references resolved."""

    functions: list[Function]
    apis: list[HttpApi]
    web_sockets: list[WebSocketApi]
    rules: list[Rule]
    schedules: list[Schedule]
    subscriptions: list[Subscription]
    catalog: Catalog
    log_groups: set[str]


class Created:
    """A stack that CloudFormation has made, to be read by type and by logical id."""

    def __init__(self, template: dict[str, Any], parameters: Mapping[str, str]) -> None:
        self._resources = template["Resources"]
        stand_in({resource["Type"] for resource in self._resources.values()})
        parsing.generate_resource_name = name_of
        backend = cloudformation_backends[ACCOUNT][REGION]
        self._map: Any = backend.create_stack(NAME, json.dumps(template), dict(parameters)).resource_map
        made = {name: resource for name, resource in self._resources.items() if self._map[name] is not None}
        self._resources = made
        # moto's DescribeStackResource fails over resources that a condition left out.
        self._map._resource_json_map = made  # noqa: SLF001

    def of(self, kind: str) -> dict[str, dict[str, Any]]:
        """The resources of a type with their properties, by logical id."""
        return {
            name: parsing.clean_json(resource.get("Properties", {}), self._map)
            for name, resource in self._resources.items()
            if resource["Type"] == kind
        }

    def ref(self, name: str) -> str:
        """What ``!Ref`` gives."""
        return str(self._map[name].physical_resource_id)

    def attribute(self, name: str, attribute: str) -> str:
        """What ``!GetAtt`` gives."""
        return str(self._map[name].get_cfn_attribute(attribute))


def create(template: dict[str, Any], parameters: Mapping[str, str], root: Path) -> Stack:
    """Create the stack in moto and read back what the local stack serves itself."""
    known = template.get("Parameters", {})
    created = Created(template, {key: value for key, value in parameters.items() if key in known})
    functions = [_function(created, name, of, root) for name, of in created.of("AWS::Lambda::Function").items()]
    subscriptions = [
        Subscription(of["FilterName"], of["LogGroupName"], of["DestinationArn"])
        for of in created.of("AWS::Logs::SubscriptionFilter").values()
    ]
    apis = created.of("AWS::ApiGatewayV2::Api")
    catalog = _catalog(created)
    groups = {
        container["logConfiguration"]["options"]["awslogs-group"]
        for definition in catalog.definitions
        for container in definition.containers
    }
    return Stack(
        functions=functions,
        apis=[_api(name, of) for name, of in apis.items() if of.get("ProtocolType") != "WEBSOCKET"],
        web_sockets=[
            _web_socket(created, name, of) for name, of in apis.items() if of.get("ProtocolType") == "WEBSOCKET"
        ],
        rules=[rule for name, of in created.of("AWS::Events::Rule").items() for rule in _rule(name, of)],
        schedules=_schedules(created),
        subscriptions=subscriptions,
        catalog=catalog,
        log_groups=groups,
    )


def _function(created: Created, name: str, of: dict[str, Any], root: Path) -> Function:
    layers = created.of("AWS::Lambda::LayerVersion")
    by_arn = {created.ref(layer): properties["Content"]["S3Key"] for layer, properties in layers.items()}
    invoke = next(
        (c for c in created.of("AWS::Lambda::EventInvokeConfig").values() if c["FunctionName"] == created.ref(name)), {}
    )
    return Function(
        logical_id=name,
        name=created.ref(name),
        arn=created.attribute(name, "Arn"),
        handler=of["Handler"],
        code=root / of["Code"]["S3Key"],
        layers=tuple(root / by_arn[arn] for arn in of.get("Layers", []) if arn in by_arn),
        environment=_environment(of),
        timeout=float(of.get("Timeout", 3)),
        memory=int(of.get("MemorySize", 128)),
        retries=int(invoke.get("MaximumRetryAttempts", 2)),
        on_failure=invoke.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination"),
        dead_letters=of.get("DeadLetterConfig", {}).get("TargetArn"),
        **({"workers": int(of["ReservedConcurrentExecutions"])} if "ReservedConcurrentExecutions" in of else {}),
    )


def _environment(of: dict[str, Any]) -> dict[str, str]:
    """A function's variables, without endpoints of its own on AWS: here one endpoint answers for all services."""
    variables = of.get("Environment", {}).get("Variables", {}).items()
    return {key: str(value) for key, value in variables if not key.startswith("AWS_ENDPOINT_URL")}


def _api(name: str, of: dict[str, Any]) -> HttpApi:
    routes = []
    for path, methods in of["Body"]["paths"].items():
        for method, operation in methods.items():
            integration = operation.get("x-amazon-apigateway-integration") if isinstance(operation, dict) else None
            if integration:
                verb = None if method == "x-amazon-apigateway-any-method" else method.upper()
                routes.append(Route(verb, path, _invoked(integration["uri"])))
    return HttpApi(name, tuple(routes))


def _web_socket(created: Created, name: str, of: dict[str, Any]) -> WebSocketApi:
    functions = {
        f"integrations/{created.ref(integration)}": _invoked(properties["IntegrationUri"])
        for integration, properties in created.of("AWS::ApiGatewayV2::Integration").items()
    }
    api = created.ref(name)
    routes = [each for each in created.of("AWS::ApiGatewayV2::Route").values() if each["ApiId"] == api]
    stages = [each for each in created.of("AWS::ApiGatewayV2::Stage").values() if each["ApiId"] == api]
    return WebSocketApi(
        name,
        stages[0]["StageName"],
        path_of(of["RouteSelectionExpression"]),
        {route["RouteKey"]: functions[route["Target"]] for route in routes},
    )


def _invoked(uri: str) -> str:
    """The ARN of the function that an integration invokes."""
    arn = re.search(r"functions/(arn:[^/]+)/invocations", uri)
    return arn[1] if arn else ""


def _rule(name: str, of: dict[str, Any]) -> list[Rule]:
    if "EventPattern" not in of or of.get("State") == "DISABLED":
        return []
    return [Rule(of.get("Name", name), of["EventPattern"], tuple(_target(target) for target in of["Targets"]))]


def _target(of: dict[str, Any]) -> Target:
    return Target(of["Arn"], of.get("DeadLetterConfig", {}).get("Arn"), of.get("Input"))


def _schedules(created: Created) -> list[Schedule]:
    found = [
        Schedule(name, created.attribute(name, "Arn"), seconds_of(of["ScheduleExpression"]), _target(of["Target"]))
        for name, of in created.of("AWS::Scheduler::Schedule").items()
        if of.get("State") != "DISABLED"
    ]
    for name, of in created.of("AWS::Events::Rule").items():
        if "ScheduleExpression" in of and of.get("State") != "DISABLED":
            arn = created.attribute(name, "Arn")
            found += [Schedule(name, arn, seconds_of(of["ScheduleExpression"]), _target(t)) for t in of["Targets"]]
    return found


def _catalog(created: Created) -> Catalog:
    providers = {
        of["Cluster"]: tuple(of["CapacityProviders"])
        for of in created.of("AWS::ECS::ClusterCapacityProviderAssociations").values()
    }
    clusters = [
        Cluster(
            created.attribute(name, "Arn"),
            tuple(of.get("CapacityProviders", ())) or providers.get(created.ref(name), ()),
        )
        for name, of in created.of("AWS::ECS::Cluster").items()
    ]
    definitions = [
        TaskDefinition(
            arn=created.ref(name),
            cpu=str(of["Cpu"]),
            memory=str(of["Memory"]),
            containers=tuple(api_case(container) for container in of["ContainerDefinitions"]),
            architecture=str(of.get("RuntimePlatform", {}).get("CpuArchitecture", "X86_64")).lower(),
            storage=int(of.get("EphemeralStorage", {}).get("SizeInGiB", 20)),
        )
        for name, of in created.of("AWS::ECS::TaskDefinition").items()
    ]
    return Catalog(
        tuple(clusters),
        tuple(definitions),
        frozenset(created.ref(name) for name in created.of("AWS::EC2::Subnet")),
        frozenset(created.attribute(name, "GroupId") for name in created.of("AWS::EC2::SecurityGroup")),
    )


def api_case(container: dict[str, Any]) -> dict[str, Any]:
    """A container definition as the API spells it: ``LogConfiguration`` becomes ``logConfiguration``."""
    return {
        _lower(key): (
            {_lower(k): v for k, v in value.items()}
            if key == "LogConfiguration"
            else [{_lower(k): v for k, v in pair.items()} for pair in value]
            if key == "Environment"
            else value
        )
        for key, value in container.items()
    }


def _lower(key: str) -> str:
    return key[:1].lower() + key[1:]

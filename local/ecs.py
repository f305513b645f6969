"""What ECS checks before it starts a task, with its own errors and words."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

OVERRIDES_LIMIT = 8192
FARGATE_MEMORY = {
    256: {512, 1024, 2048},
    512: set(range(1024, 4096 + 1, 1024)),
    1024: set(range(2048, 8192 + 1, 1024)),
    2048: set(range(4096, 16384 + 1, 1024)),
    4096: set(range(8192, 30720 + 1, 1024)),
    8192: set(range(16384, 61440 + 1, 4096)),
    16384: set(range(32768, 122880 + 1, 8192)),
}


class EcsError(Exception):
    """A call that ECS refuses: the exception's name, its message, and further members of the answer."""

    def __init__(self, code: str, message: str, **extra: Any) -> None:
        super().__init__(message)
        self.code = code
        self.extra = extra


@dataclass(frozen=True)
class TaskDefinition:
    """A registered task definition; ``containers`` in the API's own shape."""

    arn: str
    cpu: str
    memory: str
    containers: tuple[Mapping[str, Any], ...]
    architecture: str = "x86_64"
    storage: int = 20

    @property
    def family(self) -> str:
        """The name without the revision."""
        return self.arn.rpartition("/")[2].rpartition(":")[0]


@dataclass(frozen=True)
class Cluster:
    """A cluster and the capacity providers it may use."""

    arn: str
    providers: tuple[str, ...] = ("FARGATE", "FARGATE_SPOT")

    @property
    def name(self) -> str:
        """The short name."""
        return self.arn.rpartition("/")[2]


@dataclass(frozen=True)
class Catalog:
    """What there is to run tasks with: the stack's clusters, task definitions and network."""

    clusters: tuple[Cluster, ...]
    definitions: tuple[TaskDefinition, ...]
    subnets: frozenset[str] = frozenset()
    security_groups: frozenset[str] = frozenset()

    def cluster(self, name: str | None) -> Cluster:
        """The cluster of a name or ARN."""
        for cluster in self.clusters:
            if (name or "default") in {cluster.arn, cluster.name}:
                return cluster
        raise EcsError("ClusterNotFoundException", "Cluster not found.")

    def definition(self, name: str) -> TaskDefinition:
        """The task definition of an ARN, ``family:revision`` or ``family``."""
        for definition in self.definitions:
            if name in {definition.arn, definition.arn.rpartition("/")[2], definition.family}:
                return definition
        raise EcsError("ClientException", "TaskDefinition not found.")


@dataclass(frozen=True)
class Launch:
    """A checked RunTask request."""

    cluster: Cluster
    definition: TaskDefinition
    count: int
    cpu: str
    memory: str
    provider: str | None
    subnet: str
    overrides: Mapping[str, Any] = field(default_factory=dict)


def invalid(message: str) -> EcsError:
    """ECS's most used refusal."""
    return EcsError("InvalidParameterException", message)


def launch(request: Mapping[str, Any], catalog: Catalog) -> Launch:
    """Check a RunTask request as ECS does."""
    cluster = catalog.cluster(request.get("cluster"))
    definition = catalog.definition(request["taskDefinition"])
    count = request.get("count", 1)
    if not 1 <= count <= 10:
        raise invalid("Tasks count must be between 1 and 10.")
    overrides = request.get("overrides") or {}
    _check_overrides(overrides, definition)
    cpu, memory = _size(overrides, definition)
    return Launch(
        cluster, definition, count, cpu, memory, _provider(request, cluster), _subnet(request, catalog), overrides
    )


def _check_overrides(overrides: Mapping[str, Any], definition: TaskDefinition) -> None:
    names = {container["name"] for container in definition.containers}
    for container in overrides.get("containerOverrides", []):
        if container.get("name") not in names:
            raise invalid(
                f"Override for container named {container.get('name')} is not a container in the TaskDefinition."
            )
    if len(json.dumps(overrides, separators=(",", ":"))) > OVERRIDES_LIMIT:
        raise invalid(f"Container Overrides length must be at most {OVERRIDES_LIMIT}")


def _size(overrides: Mapping[str, Any], definition: TaskDefinition) -> tuple[str, str]:
    cpu = _units(overrides.get("cpu") or definition.cpu, "vcpu")
    memory = _units(overrides.get("memory") or definition.memory, "gb")
    if memory not in FARGATE_MEMORY.get(cpu, set()):
        raise invalid(f"No Fargate configuration exists for given values: {cpu} CPU, {memory} memory.")
    return str(cpu), str(memory)


def _units(text: Any, unit: str) -> int:
    """CPU units of ``1 vCPU`` and mebibytes of ``2 GB``, or the bare number."""
    match = re.fullmatch(rf"\s*(\d*\.?\d+)\s*({unit})?\s*", str(text).lower())
    if not match:
        raise invalid(f"Invalid 'cpu' or 'memory' setting for task: {text}")
    return round(float(match[1]) * (1024 if match[2] else 1))


def _provider(request: Mapping[str, Any], cluster: Cluster) -> str | None:
    strategy = request.get("capacityProviderStrategy") or []
    if strategy and request.get("launchType"):
        raise invalid(
            "Specifying both a launch type and capacity provider strategy is not supported. Remove one and try again."
        )
    for entry in strategy:
        if entry["capacityProvider"] not in cluster.providers:
            raise invalid(f"The specified capacity provider '{entry['capacityProvider']}' was not found.")
    if not strategy:
        if request.get("launchType", "FARGATE") != "FARGATE":
            raise invalid("No Container Instances were found in your cluster.")
        return None
    chosen = max(strategy, key=lambda entry: (entry.get("base", 0), entry.get("weight", 0)))
    return str(chosen["capacityProvider"])


def _subnet(request: Mapping[str, Any], catalog: Catalog) -> str:
    network = (request.get("networkConfiguration") or {}).get("awsvpcConfiguration")
    if not network:
        raise invalid("Network Configuration must be provided when networkMode 'awsvpc' is specified.")
    if not network.get("subnets"):
        raise invalid("subnets can not be empty.")
    for kind, given, known in (
        ("subnet", network["subnets"], catalog.subnets),
        ("security group", network.get("securityGroups", []), catalog.security_groups),
    ):
        for name in given:
            if known and name not in known:
                raise invalid(
                    f"Error retrieving {kind} information for [{name}]: The {kind} ID '{name}' does not exist"
                )
    return str(network["subnets"][0])

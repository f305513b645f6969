"""ECS tasks as ECS shows them: the task of the API (times in seconds) and of the event (times in ISO 8601)."""

import copy
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from local.ecs import Launch

Task = dict[str, Any]
TIMES = {
    "connectivityAt",
    "createdAt",
    "executionStoppedAt",
    "pullStartedAt",
    "pullStoppedAt",
    "startedAt",
    "stoppedAt",
    "stoppingAt",
    "updatedAt",
}
ONLY_API = {"healthStatus", "platformFamily", "tags"}


def short(arn: str) -> str:
    """The id at the end of an ARN."""
    return arn.rpartition("/")[2]


def new_task(request: Mapping[str, Any], launch: Launch) -> Task:
    """A task just accepted by RunTask."""
    task_id = uuid.uuid4().hex
    prefix, _, cluster = launch.cluster.arn.partition(":cluster/")
    arn = f"{prefix}:task/{cluster}/{task_id}"
    number = int(task_id[:4], 16)
    address = f"10.0.{number >> 8}.{number & 255}"
    attachment = str(uuid.uuid4())
    region = prefix.split(":")[3]
    task = {
        "attachments": [
            {
                "id": attachment,
                "type": "ElasticNetworkInterface",
                "status": "PRECREATED",
                "details": [
                    {"name": "subnetId", "value": launch.subnet},
                    {"name": "networkInterfaceId", "value": f"eni-{uuid.uuid4().hex[:17]}"},
                    {"name": "privateIPv4Address", "value": address},
                ],
            }
        ],
        "attributes": [{"name": "ecs.cpu-architecture", "value": launch.definition.architecture}],
        "availabilityZone": f"{region}a",
        "clusterArn": launch.cluster.arn,
        "connectivity": "CONNECTING",
        "containers": [
            {
                "containerArn": f"{prefix}:container/{cluster}/{task_id}/{uuid.uuid4()}",
                "taskArn": arn,
                "name": container["name"],
                "image": container.get("image", ""),
                "lastStatus": "PENDING",
                "networkInterfaces": [{"attachmentId": attachment, "privateIpv4Address": address}],
                "cpu": str(container.get("cpu", 0)),
            }
            for container in launch.definition.containers
        ],
        "cpu": launch.cpu,
        "createdAt": time.time(),
        "desiredStatus": "RUNNING",
        "enableExecuteCommand": False,
        "ephemeralStorage": {"sizeInGiB": launch.definition.storage},
        "group": request.get("group") or f"family:{launch.definition.family}",
        "healthStatus": "UNKNOWN",
        "lastStatus": "PROVISIONING",
        "launchType": "FARGATE",
        "memory": launch.memory,
        "overrides": {"containerOverrides": [], "inferenceAcceleratorOverrides": [], **copy.deepcopy(launch.overrides)},
        "platformFamily": "Linux",
        "platformVersion": "1.4.0",
        "tags": request.get("tags", []),
        "taskArn": arn,
        "taskDefinitionArn": launch.definition.arn,
        "updatedAt": time.time(),
        "version": 1,
    }
    if launch.provider:
        task["capacityProviderName"] = launch.provider
    if request.get("startedBy"):
        task["startedBy"] = request["startedBy"]
    return task


def api_view(task: Task, tags: bool = False) -> Task:
    """The task as the API shows it."""
    hidden = {"updatedAt"} if tags else {"updatedAt", "tags"}
    return {key: value for key, value in task.items() if key not in hidden}


def event_view(task: Task) -> dict[str, Any]:
    """The ECS Task State Change event about the task as it is now."""
    detail = copy.deepcopy({key: value for key, value in task.items() if key not in ONLY_API})
    detail["overrides"].pop("inferenceAcceleratorOverrides", None)
    for attachment in detail["attachments"]:
        attachment["type"] = "eni"
    for key in TIMES & detail.keys():
        detail[key] = iso(detail[key])
    prefix = task["taskArn"].split(":")
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": "ECS Task State Change",
        "source": "aws.ecs",
        "account": prefix[4],
        "time": datetime.fromtimestamp(task["updatedAt"], UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": prefix[3],
        "resources": [task["taskArn"]],
        "detail": detail,
    }


def iso(seconds: float) -> str:
    """A time as ECS events write it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def lost(task: Task) -> None:
    """End a task whose machine is gone: no exit code, and ECS's words for it."""
    now = time.time()
    task.update(
        lastStatus="STOPPED",
        desiredStatus="STOPPED",
        connectivity="DISCONNECTED",
        stopCode="TerminationNotice",
        stoppedReason="ECS is performing maintenance on the underlying infrastructure hosting the task.",
        stoppingAt=now,
        stoppedAt=now,
        executionStoppedAt=now,
        updatedAt=now,
        version=task["version"] + 2,
    )
    for container in task["containers"]:
        if container["lastStatus"] != "STOPPED":
            container.update(lastStatus="STOPPED")

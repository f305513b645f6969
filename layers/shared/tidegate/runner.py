"""The builder's tasks on ECS Fargate."""

import zlib
from collections.abc import Iterator
from typing import Any, Literal

from botocore.exceptions import BotoCoreError, ClientError
from msgspec import Struct

from tidegate import aws
from tidegate.events import client_token, started_by, task_of
from tidegate.model import Build, Task
from tidegate.settings import settings

_DESCRIBE = 100  # what DescribeTasks takes


class NotDescribed(Exception):
    """ECS lists a task and does not describe it yet, as it does for seconds after it was made."""


class Refusal(Struct, frozen=True):
    """RunTask made no task: the exception's code and HTTP status, or the reason in `failures[]`.

    `uncertain`: another request for the attempt was sent before, so that there may be a task all the same.
    """

    code: str
    message: str
    uncertain: bool = False
    status: int = 0


def run(build: Build, job_url: str, *, repeated: bool = False) -> str | Refusal:
    """Start the task of the build's attempt and return its ARN; calling it again makes no second task.

    `repeated`: it may have been called for this attempt before.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/ECS_Idempotency.html
    """
    config = settings()
    overrides: dict[str, Any] = {
        "containerOverrides": [
            {
                "name": config.builder_container,
                "environment": [
                    {"name": "GIT_REPOSITORY_URL", "value": build.source.url},
                    {"name": "PROJECT_ID", "value": build.project_slug},
                    {"name": "BUILD_ID", "value": build.id},
                    {"name": "JOB_URL", "value": job_url},
                ],
            }
        ],
        "cpu": str(build.settings.cpu or config.build_cpu),
        "memory": str(build.settings.memory or config.build_memory),
    }
    try:
        answer = aws.ecs().run_task(
            cluster=config.cluster,
            taskDefinition=config.task_definition,
            clientToken=client_token(build.id, build.attempt),
            startedBy=started_by(build.id, build.attempt),
            count=1,
            capacityProviderStrategy=[{"capacityProvider": _capacity_provider(build), "weight": 1}],
            networkConfiguration={
                "awsvpcConfiguration": {
                    "subnets": list(config.subnets),
                    "securityGroups": list(config.security_groups),
                    "assignPublicIp": config.assign_public_ip,
                }
            },
            overrides=overrides,  # type: ignore[arg-type]
        )
    except ClientError as error:
        # The token is known with other parameters (a new signature in JOB_URL): the task is there already.
        existing: Any = error.response.get("resourceIds")
        if aws.failed_with(error, "ConflictException") and existing:
            return str(existing[0])
        told = error.response["Error"]
        uncertain = repeated or aws.tried_before(error)
        return Refusal(told["Code"], told.get("Message", ""), uncertain, aws.http_status(error))
    except BotoCoreError as error:
        return Refusal("ServerException", f"{type(error).__name__}: {error}", uncertain=repeated)
    for task in answer.get("tasks", []):
        return task["taskArn"]
    for failure in answer.get("failures", []):
        return Refusal(failure.get("reason", ""), failure.get("detail", ""))
    return Refusal("", "RunTask returned neither a task nor a failure")


def stop(task_arn: str, reason: str) -> None:
    """Ask ECS to stop a task; one that is gone is fine."""
    try:
        aws.ecs().stop_task(cluster=settings().cluster, task=task_arn, reason=reason[:255])
    except ClientError as error:
        if not (aws.failed_with(error, "InvalidParameterException") and "not found" in str(error)):
            raise


def describe(task_arns: list[str]) -> Iterator[tuple[str, Task | None]]:
    """What ECS knows of each task; `None` if it does not know it (yet, or any more).

    A task that it fails to describe for another reason is left out: that says nothing of the task.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/api_failures_messages.html
    """
    config = settings()
    for start in range(0, len(task_arns), _DESCRIBE):
        some = task_arns[start : start + _DESCRIBE]
        answer = aws.ecs().describe_tasks(cluster=config.cluster, tasks=some)
        found = {task["taskArn"]: task_of(task, config.builder_container) for task in answer["tasks"]}
        missing = {failure.get("arn") for failure in answer["failures"] if failure.get("reason") == "MISSING"}
        yield from ((arn, found.get(arn)) for arn in some if arn in found or arn in missing)


def find(build: Build) -> Task | None:
    """The task of the build's attempt, found by who started it: the living one, or one told to stop or stopped.

    Raises NotDescribed if there is one, and nothing more can be said of it yet.
    """
    config = settings()
    origin = started_by(build.id, build.attempt)
    wanted: tuple[Literal["RUNNING", "STOPPED"], ...] = ("RUNNING", "STOPPED")
    for desired in wanted:
        pages = aws.ecs().get_paginator("list_tasks")
        listed = pages.paginate(cluster=config.cluster, startedBy=origin, desiredStatus=desired)
        arn = next((arn for page in listed for arn in page["taskArns"]), None)  # a page may be empty before the last
        if arn:
            task = next((task for _, task in describe([arn])), None)
            if task is None:
                raise NotDescribed(arn)
            return task
    return None


def living() -> set[str]:
    """The ARNs of all tasks of the builder's family that have not been told to stop."""
    config = settings()
    family = config.task_definition.rpartition("/")[2].partition(":")[0]
    pages = aws.ecs().get_paginator("list_tasks").paginate(cluster=config.cluster, family=family)
    return {arn for page in pages for arn in page["taskArns"]}


def _capacity_provider(build: Build) -> str:
    """Spot for the wanted share of builds, chosen by the build's id so that a repeated call chooses the same.

    ECS spreads weights over the tasks of one call only, and each call here starts one. Later attempts are on demand.
    """
    spot = build.attempt == 1 and zlib.crc32(build.id.encode()) % 100 < settings().spot_share
    return "FARGATE_SPOT" if spot else "FARGATE"

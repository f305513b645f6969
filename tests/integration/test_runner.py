"""The calls to ECS: what is asked for, and what each answer means."""

from collections import Counter
from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import botocore.session
import pytest
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
)
from msgspec.structs import replace

from tests.fakes import FakeEcs, client_error
from tidegate import jobs, runner
from tidegate.model import Build, BuildSettings, Source
from tidegate.runner import Refusal
from tidegate.settings import Settings

NOW = datetime(2026, 11, 21, 7, 30, tzinfo=UTC)
BUILD = Build(
    id="01JD6Q2V8W3M4N5P6R7S8T9VAB",
    project_slug="callous-tender-dog",
    source=Source("https://git.example.com/you/site.git", ref="main"),
    created_at=NOW,
    deadline=NOW + timedelta(hours=6),
    timeout_seconds=1200,
)
JOB_URL = "https://artifacts.s3.eu-central-1.amazonaws.com/jobs/01JD6Q2V8W3M4N5P6R7S8T9VAB-1.json?X-Amz-Signature=a"
ARN = "arn:aws:ecs:eu-central-1:123456789012:task/builds/8db93fcc24098c3a4f93a028a506eb35"


def test_run_task_asks_for_exactly_this(ecs: FakeEcs) -> None:
    arn = runner.run(BUILD, JOB_URL)
    assert [arn] == [task["taskArn"] for task in ecs.tasks.values()]
    assert ecs.calls == [
        {
            "cluster": "arn:aws:ecs:eu-central-1:123456789012:cluster/builds",
            "taskDefinition": "arn:aws:ecs:eu-central-1:123456789012:task-definition/builder:1",
            "clientToken": "01JD6Q2V8W3M4N5P6R7S8T9VAB-1",
            "startedBy": "01JD6Q2V8W3M4N5P6R7S8T9VAB/1",
            "count": 1,
            "capacityProviderStrategy": [{"capacityProvider": "FARGATE", "weight": 1}],
            "networkConfiguration": {
                "awsvpcConfiguration": {
                    "subnets": ["subnet-0a1b2c3d"],
                    "securityGroups": ["sg-0a1b2c3d"],
                    "assignPublicIp": "ENABLED",
                }
            },
            "overrides": {
                "containerOverrides": [
                    {
                        "name": "builder",
                        "environment": [
                            {"name": "GIT_REPOSITORY_URL", "value": "https://git.example.com/you/site.git"},
                            {"name": "PROJECT_ID", "value": "callous-tender-dog"},
                            {"name": "BUILD_ID", "value": "01JD6Q2V8W3M4N5P6R7S8T9VAB"},
                            {"name": "JOB_URL", "value": JOB_URL},
                        ],
                    }
                ],
                "cpu": "2048",
                "memory": "4096",
            },
        }
    ]
    assert len(ecs.calls[0]["clientToken"]) <= 64
    assert len(ecs.calls[0]["startedBy"]) <= 128


def test_a_builds_own_settings_and_the_stacks_network(ecs: FakeEcs, set_environment: Any) -> None:
    set_environment("ASSIGN_PUBLIC_IP", "DISABLED")
    set_environment("SUBNETS", "subnet-1,subnet-2")
    set_environment("BUILDER_CONTAINER", "maker")
    runner.run(replace(BUILD, attempt=12, settings=BuildSettings(cpu=512, memory=1024)), JOB_URL)
    [call] = ecs.calls
    assert (call["overrides"]["cpu"], call["overrides"]["memory"]) == ("512", "1024")
    assert (call["clientToken"], call["startedBy"]) == (f"{BUILD.id}-12", f"{BUILD.id}/12")
    assert call["overrides"]["containerOverrides"][0]["name"] == "maker"
    assert call["networkConfiguration"]["awsvpcConfiguration"] == {
        "subnets": ["subnet-1", "subnet-2"],
        "securityGroups": ["sg-0a1b2c3d"],
        "assignPublicIp": "DISABLED",
    }


def test_nothing_of_the_settings_or_secrets_is_in_the_call(ecs: FakeEcs) -> None:
    build = replace(BUILD, settings=BuildSettings(build_command="make s3cret", env_names=("TOKEN",)))
    runner.run(build, jobs.grant(build, {"TOKEN": "t0psecret"}))
    asked = str(ecs.calls)
    assert "s3cret" not in asked
    assert "t0psecret" not in asked
    assert len(asked) < 8192


def test_one_attempt_never_runs_two_tasks(ecs: FakeEcs) -> None:
    first = runner.run(BUILD, JOB_URL)
    assert runner.run(BUILD, JOB_URL) == first
    assert runner.run(BUILD, JOB_URL + "another-signature") == first, "the token is known with other parameters"
    assert len(ecs.tasks) == 1
    assert runner.run(replace(BUILD, attempt=2), JOB_URL) != first


def test_a_conflict_without_a_task_is_a_refusal(ecs: FakeEcs) -> None:
    ecs.answers.append(client_error("ConflictException", "different parameters"))
    assert runner.run(BUILD, JOB_URL) == Refusal("ConflictException", "different parameters", status=400)


def test_a_refusal_of_a_call_sent_before_is_uncertain(ecs: FakeEcs) -> None:
    ecs.answers.append(client_error("AccessDeniedException", "no", ResponseMetadata={"RetryAttempts": 1}))
    assert runner.run(BUILD, JOB_URL) == Refusal("AccessDeniedException", "no", uncertain=True)
    ecs.answers.append(client_error("AccessDeniedException", "no"))
    refusal = Refusal("AccessDeniedException", "no", uncertain=True, status=400)
    assert runner.run(BUILD, JOB_URL, repeated=True) == refusal


MODELED = botocore.session.get_session().get_service_model("ecs").operation_model("RunTask").error_shapes
COMMON = {"ThrottlingException", "UnrecognizedClientException", "ExpiredTokenException", "InternalFailure", "Unknown"}
CODES = sorted({shape.name for shape in MODELED} - {"ConflictException"} | COMMON)


@pytest.mark.parametrize("code", CODES)
def test_each_of_ecs_errors_is_a_refusal(ecs: FakeEcs, code: str) -> None:
    ecs.answers.append(client_error(code, "what it says"))
    assert runner.run(BUILD, JOB_URL) == Refusal(code, "what it says", status=400)


@pytest.mark.parametrize(
    "error",
    [
        ConnectTimeoutError(endpoint_url="https://ecs"),
        EndpointConnectionError(endpoint_url="https://ecs"),
        ReadTimeoutError(endpoint_url="https://ecs"),
        NoCredentialsError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_no_answer_is_a_refusal_that_keeps_the_token(ecs: FakeEcs, error: Exception) -> None:
    ecs.answers.append(error)
    answer = runner.run(BUILD, JOB_URL)
    assert isinstance(answer, Refusal)
    assert answer.code == "ServerException"
    assert type(error).__name__ in answer.message


@pytest.mark.parametrize(
    ("answer", "refusal"),
    [
        ({"tasks": [], "failures": [{"reason": "RESOURCE:FARGATE"}]}, Refusal("RESOURCE:FARGATE", "")),
        (
            {"failures": [{"arn": "a", "reason": "Capacity is unavailable at this time.", "detail": "d"}, {}]},
            Refusal("Capacity is unavailable at this time.", "d"),
        ),
        ({"tasks": [], "failures": [{}]}, Refusal("", "")),
        ({"tasks": [], "failures": []}, Refusal("", "RunTask returned neither a task nor a failure")),
        ({"tasks": []}, Refusal("", "RunTask returned neither a task nor a failure")),
    ],
)
def test_a_failure_is_no_success(ecs: FakeEcs, answer: Any, refusal: Refusal) -> None:
    ecs.answers.append(answer)
    assert runner.run(BUILD, JOB_URL) == refusal


def providers(ecs: FakeEcs, attempt: int = 1) -> list[str]:
    ecs.calls.clear()
    for number in range(400):
        runner.run(replace(BUILD, id=f"01JD6Q2V8W3M4N5P6R7S8T{number:04}", attempt=attempt), JOB_URL)
    return [call["capacityProviderStrategy"][0]["capacityProvider"] for call in ecs.calls]


@pytest.mark.parametrize(("share", "least", "most"), [("0", 0, 0), ("100", 400, 400), ("50", 160, 240), ("10", 20, 70)])
def test_the_share_of_spot(ecs: FakeEcs, set_environment: Any, share: str, least: int, most: int) -> None:
    set_environment("SPOT_SHARE", share)
    chosen = providers(ecs)
    assert least <= Counter(chosen)["FARGATE_SPOT"] <= most
    assert providers(ecs) == chosen, "the same call asks for the same"
    assert set(providers(ecs, attempt=2)) == {"FARGATE"}


def test_stop(ecs: FakeEcs) -> None:
    asked: list[Any] = []
    real = ecs.stop_task
    ecs.stop_task = lambda **wanted: asked.append(wanted) or real(**wanted)  # type: ignore[method-assign]
    runner.stop(ARN, "x" * 1000)
    assert asked == [{"cluster": ecs.cluster, "task": ARN, "reason": "x" * 255}]


def test_stop_of_a_task_that_is_gone_is_fine_and_nothing_else(ecs: FakeEcs, monkeypatch: pytest.MonkeyPatch) -> None:
    def raising(error: Exception) -> None:
        def stop_task(**_: Any) -> Any:
            raise error

        monkeypatch.setattr(ecs, "stop_task", stop_task)

    raising(client_error("InvalidParameterException", "The referenced task was not found.", "StopTask"))
    runner.stop(ARN, "x")
    for error in (
        client_error("InvalidParameterException", "taskId length should be one of [32,36]", "StopTask"),
        client_error("ClusterNotFoundException", "Cluster not found.", "StopTask"),
        client_error("ThrottlingException", "Rate exceeded", "StopTask"),
    ):
        raising(error)
        with pytest.raises(ClientError):
            runner.stop(ARN, "x")


def test_describe_in_pages_with_the_missing_ones(ecs: FakeEcs, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(230):
        runner.run(replace(BUILD, id=f"01JD6Q2V8W3M4N5P6R7S8T{number:04}"), JOB_URL)
    known = [task["taskArn"] for task in ecs.tasks.values()]
    missing = [ARN[:-4] + f"{number:04x}" for number in range(5)]
    pages: list[int] = []
    real = ecs.describe_tasks
    monkeypatch.setattr(ecs, "describe_tasks", lambda **wanted: pages.append(len(wanted["tasks"])) or real(**wanted))
    arns = [*missing[:2], *known, *missing[2:]]
    found = list(runner.describe(arns))
    assert [arn for arn, _ in found] == arns
    assert pages == [100, 100, 35]
    assert {arn for arn, task in found if task is None} == set(missing)
    assert all(task.arn == arn for arn, task in found if task)
    pages.clear()
    assert list(runner.describe([])) == []
    assert pages == []


def test_described_times_are_utc(ecs: FakeEcs) -> None:
    arn = runner.run(BUILD, JOB_URL)
    assert isinstance(arn, str)
    there = datetime(2026, 11, 21, 8, 30, tzinfo=timezone(timedelta(hours=1)))
    ecs.change(arn, lastStatus="RUNNING", startedAt=there)
    [(_, task)] = runner.describe([arn])
    assert task
    assert (task.started_at, task.started_at and task.started_at.tzinfo) == (NOW, UTC)
    assert (task.version, task.last_status, task.build_id, task.attempt) == (2, "RUNNING", BUILD.id, 1)


def test_find_by_who_started_it(ecs: FakeEcs) -> None:
    arn = runner.run(BUILD, JOB_URL)
    runner.run(replace(BUILD, attempt=2), JOB_URL)
    found = runner.find(BUILD)
    assert found
    assert (found.arn, found.attempt) == (arn, 1)
    assert runner.find(replace(BUILD, attempt=3)) is None


def test_task_that_is_listed_and_not_described_is_not_taken_for_none(
    ecs: FakeEcs, monkeypatch: pytest.MonkeyPatch
) -> None:
    arn = runner.run(BUILD, JOB_URL)
    monkeypatch.setattr(
        ecs, "describe_tasks", lambda **_: {"tasks": [], "failures": [{"arn": arn, "reason": "MISSING"}]}
    )
    with pytest.raises(runner.NotDescribed, match=str(arn)):
        runner.find(BUILD)


def test_find_reads_all_pages(ecs: FakeEcs, monkeypatch: pytest.MonkeyPatch) -> None:
    arn = runner.run(BUILD, JOB_URL)
    pages = [{"taskArns": []}, {"taskArns": [arn]}]
    monkeypatch.setattr(ecs, "list_tasks", lambda **_: pages[0])
    monkeypatch.setattr(ecs, "get_paginator", lambda _: SimpleNamespace(paginate=lambda **_: pages))
    found = runner.find(BUILD)
    assert found
    assert found.arn == arn


def test_task_that_ecs_fails_to_describe_is_not_taken_for_gone(ecs: FakeEcs, monkeypatch: pytest.MonkeyPatch) -> None:
    arn, gone = runner.run(BUILD, JOB_URL), ARN
    assert dict(runner.describe([str(arn), gone])).keys() == {arn, gone}
    failures = [{"arn": arn, "reason": "INTERNAL"}, {"arn": gone, "reason": "MISSING"}]
    monkeypatch.setattr(ecs, "describe_tasks", lambda **_: {"tasks": [], "failures": failures})
    assert dict(runner.describe([str(arn), gone])) == {gone: None}
    with pytest.raises(runner.NotDescribed, match=str(arn)):
        runner.find(BUILD)


def test_living_tasks_of_the_family(stack: Settings, ecs: FakeEcs, monkeypatch: pytest.MonkeyPatch) -> None:
    arn = runner.run(BUILD, JOB_URL)
    other = runner.run(replace(BUILD, attempt=2), JOB_URL)
    asked: list[Any] = []
    real = ecs.list_tasks
    monkeypatch.setattr(ecs, "list_tasks", lambda **wanted: asked.append(wanted) or real(**wanted))
    assert runner.living() == {arn, other}
    assert asked == [{"cluster": ecs.cluster, "family": "builder"}]
    assert isinstance(arn, str)
    ecs.change(arn, lastStatus="STOPPED")
    assert runner.living() == {other}

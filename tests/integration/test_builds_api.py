"""Queue, cancel, retry, timeline and idempotency keys, through the API function against moto."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ReadTimeoutError
from msgspec.structs import replace

from functions.task_state_change.app import handler as task_state_change
from tests.calls import CONTEXT, JSON, URL, call
from tests.fakes import FakeEcs, client_error
from tidegate import aws, builds, idempotency, jobs, lifecycle, reconciling, service, slots
from tidegate.status import Status

OTHER = "https://git.example.com/you/other.git"


def post(url: str = URL, **more: Any) -> str:
    status, body, _ = call("POST", "/project", {"gitURL": url} | more)
    assert status == 200
    build_id: str = body["data"]["buildId"]
    return build_id


def get(build_id: str) -> dict[str, Any]:
    status, body, _ = call("GET", f"/v1/builds/{build_id}")
    assert status == 200
    view: dict[str, Any] = body
    return view


def happen(ecs: FakeEcs, build_id: str, last_status: str, exit_code: int | None = None, **more: Any) -> None:
    """Let the build's task move on, and its event arrive."""
    build = builds.get(build_id)
    assert build
    assert build.task_arn
    container = {"name": "builder", "lastStatus": last_status} | ({} if exit_code is None else {"exitCode": exit_code})
    task = ecs.change(build.task_arn, lastStatus=last_status, containers=[container], **more)
    detail = {key: value for key, value in task.items() if not key.startswith("_")}
    task_state_change({"detail": detail}, CONTEXT)  # type: ignore[arg-type]


def test_waits_in_line_and_starts_by_the_event(ecs: FakeEcs) -> None:
    first, second = post(slug="a"), post(slug="a", ref="x")
    third, fourth = post(OTHER, slug="b"), post(slug="a", ref="y")
    assert [get(each)["status"] for each in (first, second, third, fourth)] == ["starting"] * 2 + ["queued"] * 2
    assert get(third)["waiting"] == "All build slots are taken."
    assert (get(third)["queuePosition"], get(fourth)["queuePosition"]) == (1, 2)
    assert get(first)["queuePosition"] is None
    happen(ecs, first, "STOPPED", 106, stopCode="EssentialContainerExited")
    assert (get(first)["status"], get(first)["failure"]["code"]) == ("failed", "BUILD_FAILED")
    # Project b has nothing running, so it comes before an older project's next build.
    assert [get(each)["status"] for each in (third, fourth)] == ["starting", "queued"]
    assert get(fourth)["queuePosition"] == 1
    assert slots.holders() == {second, third}


def test_queued_build_beside_a_free_slot_says_what_those_before_it_wait_for(ecs: FakeEcs, set_environment: Any) -> None:
    set_environment("MAX_CONCURRENT_BUILDS", "1")
    post(slug="a")
    second, third = post(slug="b"), post(slug="c")
    set_environment("MAX_CONCURRENT_BUILDS", "3")
    ecs.answers.append({"tasks": [], "failures": [{"reason": "Capacity is unavailable at this time."}]})
    reconciling.reconcile(datetime.now(UTC))
    assert [get(each)["waiting"] for each in (second, third)] == ["AWS has no capacity for the task now."] * 2
    assert (get(second)["queuePosition"], get(third)["queuePosition"]) == (None, 1)
    set_environment("MAX_CONCURRENT_BUILDS", "2")
    assert get(third)["waiting"] == "All build slots are taken."


def test_newer_build_of_the_same_ref_takes_the_place_in_line(ecs: FakeEcs) -> None:
    post(OTHER, slug="b")
    running = post(slug="a")
    waiting, other_ref = post(slug="a"), post(slug="a", ref="x")
    newer = post(slug="a")
    assert get(waiting)["status"] == "canceled"
    assert get(waiting)["failure"]["code"] == "SUPERSEDED"
    assert get(running)["status"] == "starting"
    assert [get(each)["status"] for each in (other_ref, newer)] == ["queued", "queued"]


def test_older_build_that_the_index_hid_leaves_the_line_later(ecs: FakeEcs, monkeypatch: pytest.MonkeyPatch) -> None:
    post(slug="a"), post(slug="b")
    with monkeypatch.context() as behind:
        behind.setattr(builds, "of_project", lambda slug, before_id: iter(()))
        older, newer = post(slug="c"), post(slug="c")
    assert [get(each)["status"] for each in (older, newer)] == ["queued", "queued"]
    reconciling.reconcile(datetime.now(UTC))
    assert (get(older)["status"], get(older)["failure"]["code"]) == ("canceled", "SUPERSEDED")
    assert get(newer)["queuePosition"] == 1


def test_cancel_of_a_waiting_build_is_at_once(ecs: FakeEcs) -> None:
    post(slug="a"), post(slug="b")
    waiting = post(slug="c")
    status, body, _ = call("POST", f"/v1/builds/{waiting}/cancel")
    assert (status, body["status"], body["failure"]["code"]) == (200, "canceled", "CANCELED")
    assert len(ecs.calls) == 2


def test_cancel_of_a_running_build_waits_for_its_task(ecs: FakeEcs) -> None:
    build_id = post()
    happen(ecs, build_id, "RUNNING")
    status, body, _ = call("POST", f"/v1/builds/{build_id}/cancel")
    assert (status, body["status"]) == (202, "building")
    assert ecs.stopped == [get(build_id)["taskArn"]]
    assert slots.holders() == {build_id}
    happen(ecs, build_id, "STOPPED", 143, stopCode="UserInitiated")
    assert get(build_id)["status"] == "canceled"
    assert slots.holders() == set()
    status, body, _ = call("POST", f"/v1/builds/{build_id}/cancel")
    assert (status, body["status"]) == (200, "canceled")


def test_wish_to_cancel_counts_though_the_task_cannot_be_stopped(ecs: FakeEcs, monkeypatch: pytest.MonkeyPatch) -> None:
    build_id = post()
    with monkeypatch.context() as patch:
        patch.setattr(ecs, "stop_task", throttled)
        for _ in range(2):
            status, body, _ = call("POST", f"/v1/builds/{build_id}/cancel")
            assert (status, body["status"]) == (202, "starting")
    assert ecs.stopped == []
    reconciling.reconcile(datetime.now(UTC) + timedelta(minutes=1))
    assert ecs.stopped == [get(build_id)["taskArn"]]


def test_wish_to_cancel_that_is_not_written_is_refused(ecs: FakeEcs, monkeypatch: pytest.MonkeyPatch) -> None:
    build_id = post()
    with monkeypatch.context() as patch:
        patch.setattr(builds, "save", throttled)
        status, body, _ = call("POST", f"/v1/builds/{build_id}/cancel")
    assert (status, body["code"]) == (503, "UNAVAILABLE")
    build = builds.get(build_id)
    assert build
    assert (build.cancel_requested_at, ecs.stopped) == (None, [])


def throttled(*args: Any, **wanted: Any) -> None:
    raise client_error("ThrottlingException", "Rate exceeded", "Any")


def test_cancel_of_an_ended_build_is_too_late(ecs: FakeEcs) -> None:
    build_id = post()
    happen(ecs, build_id, "STOPPED", 105)
    status, body, _ = call("POST", f"/v1/builds/{build_id}/cancel")
    assert (status, body["code"]) == (409, "TOO_LATE")
    assert call("POST", "/v1/builds/01JD6Q2V8W3M4N5P6R7S8T9VAB/cancel")[0] == 404


def test_retry_builds_the_same_commit_with_the_same_settings(ecs: FakeEcs) -> None:
    old_id = post(ref="main", rootDirectory="site", env={"TOKEN": "s3cr3t-value"})
    happen(ecs, old_id, "STOPPED", 106)
    old = builds.get(old_id)
    assert old
    assert builds.save(old, replace(old, cloned_commit="a" * 40), datetime.now(UTC))
    assert get(old_id)["commit"] == "a" * 40
    status, body, headers = call("POST", f"/v1/builds/{old_id}/retry")
    assert status == 202
    assert headers["Location"] == f"/v1/builds/{body['id']}"
    assert body["id"] != old_id
    assert (body["commit"], body["ref"], body["settings"]["rootDirectory"]) == ("a" * 40, "main", "site")
    assert jobs.get_env(jobs.env_key(body["id"])) == {"TOKEN": "s3cr3t-value"}


def tell_commit(build_id: str, commit: str, attempt: int = 1) -> None:
    """What the builder uploads once it has cloned."""
    build = builds.get(build_id)
    assert build
    told = {"buildId": build_id, "attempt": attempt, "ok": False, "commit": commit}
    key = f"{jobs.prefix(build.project_slug, build_id, build.attempt)}source.json"
    aws.s3().put_object(Bucket="artifacts", Key=key, Body=json.dumps(told).encode())


def asked_for(build_id: str, attempt: int) -> Any:
    """The source in the job of an attempt."""
    job = aws.s3().get_object(Bucket="artifacts", Key=f"jobs/{build_id}-{attempt}.json")
    return json.loads(job["Body"].read())["source"]


def test_retry_of_a_build_that_runs_has_the_commit_it_cloned(ecs: FakeEcs) -> None:
    old_id = post(ref="main")
    happen(ecs, old_id, "RUNNING")
    _, early, _ = call("POST", f"/v1/builds/{old_id}/retry")
    assert (early["ref"], early["commit"]) == ("main", None), "nothing is cloned yet"
    tell_commit(old_id, "a" * 40)
    _, body, _ = call("POST", f"/v1/builds/{old_id}/retry")
    assert (body["ref"], body["commit"]) == ("main", "a" * 40)


def test_retry_that_cannot_learn_the_commit_starts_nothing(ecs: FakeEcs, monkeypatch: pytest.MonkeyPatch) -> None:
    old_id = post(ref="main")
    happen(ecs, old_id, "RUNNING")
    tell_commit(old_id, "a" * 40)
    with monkeypatch.context() as denied:
        denied.setattr(aws.s3(), "get_object", throttled)
        status, body, _ = call("POST", f"/v1/builds/{old_id}/retry")
    assert (status, body["code"]) == (503, "UNAVAILABLE")
    assert [build.id for build in builds.open_builds()] == [old_id]


def test_build_that_the_clock_ended_keeps_its_commit(ecs: FakeEcs, monkeypatch: pytest.MonkeyPatch) -> None:
    old_id, unread = post(ref="main"), post(OTHER, slug="other")
    for each in (old_id, unread):
        happen(ecs, each, "RUNNING")
        tell_commit(each, "a" * 40)
    reconciling.reconcile(datetime.now(UTC) + timedelta(hours=1))
    assert get(old_id)["failure"]["code"] == "BUILD_TIMED_OUT"
    happen(ecs, old_id, "STOPPED", 137, stopCode="UserInitiated")
    assert get(old_id)["commit"] == "a" * 40
    with monkeypatch.context() as denied:
        denied.setattr(aws.s3(), "get_object", throttled)
        happen(ecs, unread, "STOPPED", 137, stopCode="UserInitiated")
    assert slots.holders() == set(), "a slot does not wait for S3"
    assert call("POST", f"/v1/builds/{unread}/retry")[1]["commit"] == "a" * 40


def test_attempt_after_a_lost_task_has_its_commit(ecs: FakeEcs) -> None:
    build_id = post(ref="main")
    happen(ecs, build_id, "RUNNING")
    tell_commit(build_id, "a" * 40)
    ecs.tasks.clear()
    for minutes in (3, 5):
        reconciling.reconcile(datetime.now(UTC) + timedelta(minutes=minutes))
    view = get(build_id)
    assert (view["attempt"], view["commit"], view["ref"]) == (2, "a" * 40, "main")
    assert asked_for(build_id, 2)["commit"] == "a" * 40


def test_build_that_waits_after_its_clone_leaves_for_a_newer_one(ecs: FakeEcs) -> None:
    old = post(slug="a", ref="main")
    happen(ecs, old, "RUNNING")
    tell_commit(old, "a" * 40)
    short = {"tasks": [], "failures": [{"reason": "Capacity is unavailable at this time."}]}
    ecs.answers.append(short)
    happen(ecs, old, "STOPPED", 137, stopCode="SpotInterruption", stoppedReason="Your Spot Task was interrupted.")
    view = get(old)
    assert (view["attempt"], view["commit"], view["waiting"]) == (3, "a" * 40, "AWS has no capacity for the task now.")
    new = post(slug="a", ref="main")
    assert (get(old)["status"], get(old)["failure"]["code"]) == ("canceled", "SUPERSEDED")
    assert (get(new)["status"], get(new)["commit"]) == ("starting", None)


def test_build_of_a_known_project(ecs: FakeEcs) -> None:
    post(slug="site")
    status, body, headers = call("POST", "/v1/projects/site/builds", {"ref": "next"})
    assert status == 202
    assert headers["Location"] == f"/v1/builds/{body['id']}"
    assert (body["projectSlug"], body["ref"], body["gitURL"]) == ("site", "next", URL)
    assert call("POST", "/v1/projects/nobody/builds", {})[0] == 404
    status, body, _ = call("POST", "/v1/projects/site/builds", {"gitURL": OTHER})
    assert (status, [error["field"] for error in body["errors"]]) == (400, ["gitURL"])


def test_settings_are_kept_for_later_builds(ecs: FakeEcs) -> None:
    post(slug="site", buildCommand="false", env={"A": "a-value"})
    changed = post(slug="site", buildCommand="true", env={"B": "b-value"})
    _, once, _ = call("POST", "/v1/projects/site/builds", {"buildCommand": "make"})
    _, later, _ = call("POST", "/v1/projects/site/builds", {"ref": "x"})
    commands = [get(each)["settings"]["buildCommand"] for each in (changed, once["id"], later["id"])]
    assert commands == ["true", "make", "true"]
    stored = builds.get(later["id"])
    assert stored
    assert lifecycle._environment(stored) == {"A": "a-value", "B": "b-value"}


def test_size_must_fit_with_the_projects_own(ecs: FakeEcs) -> None:
    post(slug="site", cpu=1024, memory=2048)
    status, body, _ = call("POST", "/project", {"gitURL": URL, "slug": "site", "cpu": 2048})
    assert (status, [error["field"] for error in body["errors"]]) == (400, ["memory"])
    assert len(ecs.calls) == 1


def test_timeline_tells_the_story(ecs: FakeEcs) -> None:
    build_id = post()
    happen(ecs, build_id, "RUNNING")
    happen(ecs, build_id, "STOPPED", 106)
    items = call("GET", f"/v1/builds/{build_id}/timeline")[1]["items"]
    assert [(item["source"], item["seen"], item["change"]) for item in items] == [
        ("api", "about to call RunTask", "queued to starting"),
        ("api", "RunTask 1 accepted", "task known"),
        ("event", "task 1 RUNNING v2", "starting to building"),
        ("event", "task 1 STOPPED v3 exit 106", "building to failed, BUILD_FAILED"),
    ]


def with_key(key: str, body: dict[str, Any], path: str = "/project") -> tuple[int, Any]:
    return call("POST", path, body, headers=JSON | {"idempotency-key": key})[:2]


def test_event_of_an_unknown_build_is_kept_in_the_log(ecs: FakeEcs, caplog: pytest.LogCaptureFixture) -> None:
    build_id = post()
    arn = get(build_id)["taskArn"]
    aws.dynamodb().delete_item(TableName="BuildsTable", Key={"id": {"S": build_id}})
    container = {"name": "builder", "lastStatus": "STOPPED", "exitCode": 137, "reason": "OutOfMemoryError: no"}
    more = {"stopCode": "EssentialContainerExited", "stoppedReason": "Essential container in task exited"}
    task = ecs.change(arn, lastStatus="STOPPED", containers=[container], **more)
    task_state_change({"detail": task}, CONTEXT)  # type: ignore[arg-type]
    [told] = [vars(record) for record in caplog.records if record.message == "task of an unknown build"]
    known = {
        "build_id": build_id,
        "task": arn,
        "version": 2,
        "status": "STOPPED",
        "exit_code": 137,
        "stop_code": "EssentialContainerExited",
        "stopped_reason": "Essential container in task exited",
        "container_reason": "OutOfMemoryError: no",
    }
    assert told | known == told


def test_same_key_and_body_give_the_same_build(ecs: FakeEcs) -> None:
    first = with_key("k1", {"gitURL": URL})
    assert with_key("k1", {"gitURL": URL}) == first
    assert with_key("k2", {"gitURL": URL})[1]["data"]["buildId"] != first[1]["data"]["buildId"]
    assert len(ecs.calls) == 2


def test_same_key_gives_the_same_answer_when_the_build_has_failed(ecs: FakeEcs) -> None:
    first = with_key("k", {"gitURL": URL})
    happen(ecs, first[1]["data"]["buildId"], "STOPPED", 106)
    assert get(first[1]["data"]["buildId"])["status"] == "failed"
    assert with_key("k", {"gitURL": URL}) == first
    ecs.answers.append(client_error("ClusterNotFoundException", "Cluster not found."))
    refused = [with_key("other", {"gitURL": URL}) for _ in range(2)]
    assert [(status, body["code"]) for status, body in refused] == [(503, "CLUSTER_NOT_FOUND")] * 2
    assert refused[0][1]["buildId"] == refused[1][1]["buildId"]
    assert len(ecs.calls) == 2


def test_same_key_gives_the_same_answer_when_the_start_was_refused_later(ecs: FakeEcs) -> None:
    ecs.answers.append(client_error("ThrottlingException", "Rate exceeded"))
    first = with_key("k", {"gitURL": URL})
    ecs.answers.extend([client_error("ClusterNotFoundException", "Cluster not found.")] * 3)
    for minutes in (2, 3, 4):
        reconciling.reconcile(datetime.now(UTC) + timedelta(minutes=minutes))
    assert get(first[1]["data"]["buildId"])["failure"]["code"] == "CLUSTER_NOT_FOUND"
    assert (with_key("k", {"gitURL": URL}), first[0]) == (first, 200)


def test_same_key_for_another_request_is_refused(ecs: FakeEcs) -> None:
    with_key("k", {"gitURL": URL, "slug": "site"})
    assert with_key("k", {"gitURL": OTHER})[0] == 422
    assert with_key("k", {}, "/v1/projects/site/builds")[1]["code"] == "IDEMPOTENCY_KEY_REUSED"
    assert len(ecs.calls) == 1


def test_key_of_a_running_request_is_in_use(ecs: FakeEcs) -> None:
    answers = []
    act = service.create_project

    def meanwhile(*args: Any) -> Any:
        if not answers:
            answers.append(None)
            answers.append(with_key("k", {"gitURL": URL}))
        return act(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service, "create_project", meanwhile)
        assert with_key("k", {"gitURL": URL})[0] == 200
    assert answers[1][0] == 409
    assert answers[1][1]["code"] == "IDEMPOTENCY_KEY_IN_USE"
    assert len(ecs.calls) == 1


def test_key_is_free_again_after_a_refusal(ecs: FakeEcs) -> None:
    post(slug="site")
    assert with_key("k", {"gitURL": OTHER, "slug": "site"})[0] == 409
    assert with_key("k", {"gitURL": OTHER, "slug": "other"})[0] == 200
    status, body = with_key("bad key", {"gitURL": URL})
    assert (status, body["errors"][0]["field"]) == (400, "Idempotency-Key")


def test_key_survives_a_crash_and_makes_one_build(ecs: FakeEcs, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*args: Any) -> None:
        raise KeyboardInterrupt

    for module, where in ((lifecycle, "start"), (builds, "create"), (service, "_accept")):
        key = f"k-{where}"
        with monkeypatch.context() as patch:
            patch.setattr(module, where, die)
            with pytest.raises(KeyboardInterrupt):
                with_key(key, {"gitURL": URL})
        assert with_key(key, {"gitURL": URL})[0] == 409
        later = datetime.now(UTC) + timedelta(seconds=70)
        with monkeypatch.context() as patch:
            patch.setattr("functions.api.app._now", lambda later=later: later)
            status, body = with_key(key, {"gitURL": URL})
        assert status == 200
        found = list(builds.of_project(body["data"]["projectSlug"], None))
        assert [build.id for build in found] == [body["data"]["buildId"]]
    assert {build.status for build in builds.open_builds()} <= {Status.STARTING, Status.QUEUED}


def test_claims_expire(ecs: FakeEcs) -> None:
    now = datetime.now(UTC)
    assert idempotency.claim("k", "print", "one", "slug", now).mine
    idempotency.finish("k")
    assert not idempotency.claim("k", "print", "two", "slug", now + timedelta(hours=23)).mine
    assert idempotency.claim("k", "other", "three", "slug", now + timedelta(hours=25)).mine


def test_lost_answer_of_runtask_is_asked_again_with_the_same_token(ecs: FakeEcs) -> None:
    ecs.answers.append(client_error("ThrottlingException", "Rate exceeded"))
    build_id = post()
    view = get(build_id)
    assert view["status"] == "starting"
    assert view["waiting"]
    reconciling.reconcile(datetime.now(UTC) + timedelta(minutes=2))
    assert get(build_id)["taskArn"]
    assert len({wanted["clientToken"] for wanted in ecs.calls}) == 1


def test_refusal_after_a_lost_answer_is_believed_when_no_task_is_found(ecs: FakeEcs) -> None:
    denied = client_error("AccessDeniedException", "not authorized to perform: ecs:RunTask")
    ecs.answers += [ReadTimeoutError(endpoint_url="ecs"), *[denied] * 9]
    build_id, now = post(), datetime.now(UTC)
    for minutes in (2, 3):
        reconciling.reconcile(now + timedelta(minutes=minutes))
        assert get(build_id)["status"] == "starting"
        assert get(build_id)["waiting"] == "The controller may not start tasks."
    reconciling.reconcile(now + timedelta(minutes=4))
    assert get(build_id)["failure"]["code"] == "ACCESS_DENIED"
    assert slots.holders() == {build_id}  # a task may still come up
    for minutes in (7, 9):
        reconciling.reconcile(now + timedelta(minutes=minutes))
    assert slots.holders() == set()
    assert len({wanted["clientToken"] for wanted in ecs.calls}) == 1


def test_refusal_after_a_lost_answer_finds_the_task(ecs: FakeEcs) -> None:
    build_id, now = post(), datetime.now(UTC)
    build = builds.get(build_id)
    assert build
    unanswered = replace(build, task_arn=None, tasks=(), task_version=0)
    builds.save(build, unanswered, now)
    ecs.answers += [client_error("AccessDeniedException", "not authorized to perform: ecs:RunTask")] * 9
    for minutes in (2, 4, 6):
        reconciling.reconcile(now + timedelta(minutes=minutes))
    assert get(build_id)["status"] == "starting"
    assert get(build_id)["taskArn"] == build.task_arn


def test_refusal_that_nobody_knows_ends_the_build_with_its_text(ecs: FakeEcs) -> None:
    ecs.answers.append(client_error("TaskDefinitionRetiredException", "The revision is retired."))
    status, body, _ = call("POST", "/project", {"gitURL": URL})
    assert (status, body["code"]) == (503, "UNCLASSIFIED")
    view = get(body["buildId"])
    assert (view["status"], view["failure"]["code"]) == ("failed", "UNCLASSIFIED")
    assert view["failure"]["evidence"] == "TaskDefinitionRetiredException: The revision is retired."
    assert slots.holders() == set()
    assert len(ecs.calls) == 1


def test_addresses_are_signed_for_the_buckets_own_region(ecs: FakeEcs) -> None:
    build_id = post()
    [override] = ecs.calls[0]["overrides"]["containerOverrides"]
    [job_url] = [each["value"] for each in override["environment"] if each["name"] == "JOB_URL"]
    job = json.loads(aws.s3().get_object(Bucket="artifacts", Key=f"jobs/{build_id}-1.json")["Body"].read())
    assert {urlsplit(job_url).hostname, urlsplit(job["upload"]["url"]).hostname} == {
        "artifacts.s3.eu-central-1.amazonaws.com"
    }


def test_build_whose_values_are_gone_says_so(ecs: FakeEcs) -> None:
    post(slug="a"), post(slug="b")
    waiting = post(slug="c", env={"TOKEN": "a-value"})
    build = builds.get(waiting)
    assert build
    assert build.project_env
    for key in (jobs.env_key(waiting), jobs.project_env_key("c", build.project_env)):
        aws.s3().delete_object(Bucket="artifacts", Key=key)
    for each in list(slots.holders()):
        happen(ecs, each, "STOPPED", 106)
    assert get(waiting)["failure"]["code"] == "ENV_EXPIRED"
    assert len(ecs.calls) == 2


def test_build_of_a_newer_version_is_left_out(ecs: FakeEcs, caplog: pytest.LogCaptureFixture) -> None:
    strange, other = post(slug="a"), post(slug="a", ref="x")
    aws.dynamodb().update_item(
        TableName="BuildsTable",
        Key={"id": {"S": strange}},
        UpdateExpression="SET #status = :paused",
        ExpressionAttributeNames={"#status": "status"},
        ExpressionAttributeValues={":paused": {"S": "paused"}},
    )
    assert [build.id for build in builds.open_builds()] == [other]
    assert [each["id"] for each in call("GET", "/v1/projects/a/builds")[1]["items"]] == [other]
    told = [line for line in caplog.records if line.getMessage() == "build not readable"]
    assert {(line.levelname, getattr(line, "build_id", None)) for line in told} == {("ERROR", strange)}
    status, body, _ = call("GET", f"/v1/builds/{strange}")
    assert (status, body["code"]) == (503, "UNAVAILABLE")
    assert body["detail"] == f"Build {strange} cannot be read: Invalid enum value 'paused' - at `$.status`"
    waiting = post(slug="c")
    happen(ecs, other, "STOPPED", 106)
    assert get(waiting)["status"] == "starting"
    # It keeps its slot, and the rest of the sweep goes on; that it is there is raised at the sweep's end.
    with pytest.raises(ExceptionGroup):
        reconciling.reconcile(datetime.now(UTC) + timedelta(minutes=12))
    assert get(waiting)["failure"]["code"] == "START_TIMED_OUT"
    assert slots.holders() == {strange, waiting}


@pytest.mark.parametrize("call_", ["describe_tasks", "list_tasks"])
def test_no_failing_call_stops_a_sweep(ecs: FakeEcs, call_: str, monkeypatch: pytest.MonkeyPatch) -> None:
    late, other = post(slug="a"), post(slug="b")
    waiting = post(slug="c")
    happen(ecs, other, "RUNNING")

    def fail(**wanted: Any) -> None:
        raise client_error("ThrottlingException", "Rate exceeded", call_)

    monkeypatch.setattr(ecs, call_, fail)
    with pytest.raises(ExceptionGroup):
        reconciling.reconcile(datetime.now(UTC) + timedelta(minutes=12))
    assert get(late)["failure"]["code"] == "START_TIMED_OUT"
    assert get(other)["status"] == "building"
    assert get(waiting)["status"] == "queued"  # the slot is not free before the task is seen stopped
    assert ecs.stopped == [get(late)["taskArn"]]

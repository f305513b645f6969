"""The builder's papers against moto: what it is told, what it may do, and what is believed of what it says."""

import base64
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
import requests
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.fakes import client_error
from tidegate import aws, jobs
from tidegate.model import Build, BuildSettings, Result, Source
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
PREFIX = "sites/callous-tender-dog/01JD6Q2V8W3M4N5P6R7S8T9VAB/1/"
JOB_KEY = "jobs/01JD6Q2V8W3M4N5P6R7S8T9VAB-1.json"
SECRET = "s3cret-value"
CONTRACT = (Path(__file__).parents[2] / "docs" / "contract.md").read_text(encoding="utf-8")


def example(number: int) -> Any:
    """One of the JSON documents in docs/contract.md."""
    return json.loads(re.findall(r"```json\n(.*?)```", CONTRACT, re.DOTALL)[number])


def stored(key: str) -> Any:
    return aws.s3().get_object(Bucket="artifacts", Key=key)


def shape(value: Any) -> Any:
    """The names in a document, and the kinds of its values; `env` and `fields` have names of their own."""
    match value:
        case dict():
            return {name: "..." if name in ("env", "fields") else shape(part) for name, part in value.items()}
        case list():
            return [shape(part) for part in value[:1]]
    return type(value).__name__


@pytest.fixture
def sessions(stack: Settings) -> Iterator[list[dict[str, Any]]]:
    """The AssumeRole calls."""
    sent: list[dict[str, Any]] = []
    events = aws.sts().meta.events
    events.register("provide-client-params.sts.AssumeRole", lambda params, **_: sent.append(params), unique_id="sent")
    yield sent
    events.unregister("provide-client-params.sts.AssumeRole", unique_id="sent")


def job(attempt: int = 1) -> Any:
    return json.loads(stored(JOB_KEY.replace("-1.", f"-{attempt}."))["Body"].read())


def test_job_is_the_contracts(stack: Settings) -> None:
    jobs.grant(BUILD, {"API_BASE": "https://api.example.com"})
    written, wanted = job(), example(0)
    assert shape(written) == shape(wanted)
    same = ("version", "buildId", "projectSlug", "attempt", "source", "settings", "env", "timeoutSeconds", "limits")
    assert {name: written[name] for name in same} == {name: wanted[name] for name in same}
    assert written["upload"]["prefix"] == wanted["upload"]["prefix"]
    assert stored(JOB_KEY)["ContentType"] == "application/json"


def test_job_holds_the_settings(stack: Settings, set_environment: Any) -> None:
    set_environment("GIT_PROTOCOLS", "https,file")
    build = replace(
        BUILD,
        attempt=3,
        source=Source("file:///srv/site", commit="4b825dc642cb6eb9a060e54bf8d69288fbee4904"),
        settings=BuildSettings("web", "npm ci", "make", "out", cpu=1024, memory=2048, env_names=("A",)),
    )
    jobs.grant(build, {"A": "1"})
    written = job(3)
    assert written["attempt"] == 3
    assert written["source"] == {
        "url": "file:///srv/site",
        "ref": None,
        "commit": "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
        "protocols": ["https", "file"],
    }
    assert written["settings"] == {
        "rootDirectory": "web",
        "installCommand": "npm ci",
        "buildCommand": "make",
        "outputDirectory": "out",
    }


def test_session_may_do_this_and_nothing_else(sessions: list[dict[str, Any]]) -> None:
    jobs.grant(BUILD, {})
    [session] = sessions
    assert session["RoleArn"] == "arn:aws:iam::123456789012:role/builder-access"
    assert session["RoleSessionName"] == BUILD.id
    assert session["DurationSeconds"] == 3600
    assert json.loads(session["Policy"]) == {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::artifacts/{JOB_KEY}"},
            {"Effect": "Allow", "Action": "s3:PutObject", "Resource": f"arn:aws:s3:::artifacts/{PREFIX}*"},
        ],
    }
    assert len(session["Policy"]) <= 2048


def test_session_is_of_the_roles_own_partition(sessions: list[dict[str, Any]], set_environment: Any) -> None:
    set_environment("BUILDER_ACCESS_ROLE", "arn:aws-cn:iam::123456789012:role/builder-access")
    jobs.grant(BUILD, {})
    resources = [each["Resource"] for each in json.loads(sessions[0]["Policy"])["Statement"]]
    assert all(resource.startswith("arn:aws-cn:s3:::artifacts/") for resource in resources)


def test_upload_admits_key_type_caching_and_size_and_no_more(stack: Settings) -> None:
    before = datetime.now(UTC)
    jobs.grant(BUILD, {})
    upload = job()["upload"]
    assert "key" not in upload["fields"]
    policy = json.loads(base64.b64decode(upload["fields"]["policy"]))
    signed = {name: value for name, value in upload["fields"].items() if name not in ("policy", "x-amz-signature")}
    assert set(signed) == {"x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-security-token"}
    # S3 refuses a form with a field that no condition names
    conditions = sorted(json.dumps(each) for each in policy["conditions"])
    assert conditions == sorted(
        json.dumps(each)
        for each in [
            {"bucket": "artifacts"},
            ["starts-with", "$key", PREFIX],
            ["starts-with", "$Content-Type", ""],
            ["starts-with", "$Cache-Control", ""],
            ["content-length-range", 0, 104857600],
            *({name: value} for name, value in signed.items()),
        ]
    )
    expires = datetime.fromisoformat(policy["expiration"])
    assert timedelta(minutes=34) < expires - before <= timedelta(minutes=36)


def test_upload_works_as_the_builder_does_it(stack: Settings) -> None:
    jobs.grant(BUILD, {})
    upload = job()["upload"]
    form = {**upload["fields"], "key": PREFIX + "files/a b/ü.html", "Content-Type": "text/html; charset=utf-8"}
    form["Cache-Control"] = "public, max-age=0, must-revalidate"
    answer = requests.post(upload["url"], data=form, files={"file": ("ü.html", b"<h1>hello</h1>")}, timeout=5)
    assert answer.status_code in {200, 201, 204}
    found = stored(PREFIX + "files/a b/ü.html")
    assert found["Body"].read() == b"<h1>hello</h1>"
    assert found["ContentType"] == "text/html; charset=utf-8"


def test_job_url_is_a_presigned_get_of_the_job_alone(stack: Settings) -> None:
    url = urlsplit(jobs.grant(BUILD, {"A": SECRET}))
    query = parse_qs(url.query)
    assert url.path.endswith(JOB_KEY)
    assert query["X-Amz-Expires"] == ["900"]
    assert query["X-Amz-SignedHeaders"] == ["host"]
    assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    assert SECRET not in url.geturl()
    assert len(url.geturl()) < 4096
    answer = requests.get(url.geturl(), timeout=5)
    assert answer.json()["env"] == {"A": SECRET}


def test_each_attempt_has_a_job_of_its_own(stack: Settings) -> None:
    for attempt in (1, 2, 1):  # an answer that got lost may take effect after the next attempt's
        jobs.grant(replace(BUILD, attempt=attempt), {})
        assert job(attempt)["attempt"] == attempt
    assert job(2)["attempt"] == 2


def test_env_comes_back_as_it_was(stack: Settings) -> None:
    values = {"A": "", "B": "ü\n\0'\"" * 1000, "C": "x" * 400_000}
    jobs.put_env(jobs.env_key(BUILD.id), values)
    assert jobs.get_env(jobs.env_key(BUILD.id)) == values
    assert jobs.get_env(jobs.project_env_key("callous-tender-dog", BUILD.id)) == {}
    assert jobs.env_key(BUILD.id) == "jobs/01JD6Q2V8W3M4N5P6R7S8T9VAB.env.json"
    assert jobs.project_env_key("site", BUILD.id) == "projects/site/01JD6Q2V8W3M4N5P6R7S8T9VAB.env.json"


# --- the result ---


def write_result(content: Any, name: str = "result.json", attempt: int = 1) -> None:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    key = jobs.prefix(BUILD.project_slug, BUILD.id, attempt) + name
    aws.s3().put_object(Bucket="artifacts", Key=key, Body=body)


def told(**more: Any) -> dict[str, Any]:
    return example(1) | more


def failure(**more: Any) -> dict[str, Any]:
    base = {"step": "install", "code": "INSTALL_FAILED", "exitCode": 1, "message": "m", "fix": "f", "lastLines": ["l"]}
    return told(ok=False, failure=base | more)


def test_result_of_the_contract(stack: Settings) -> None:
    assert jobs.result(BUILD) is None
    write_result(example(1))
    found = jobs.result(BUILD)
    assert found
    assert json.loads(msgspec.json.encode(found)) == {
        name: value for name, value in example(1).items() if name not in ("version", "failure")
    }
    write_result(failure())
    found = jobs.result(BUILD)
    assert found
    assert found.failure
    assert (found.ok, found.failure.exit_code, found.failure.last_lines) == (False, 1, ("l",))


@pytest.mark.parametrize("left", [None, told(attempt=2), b"{"], ids=["no result", "another attempt's", "half of one"])
def test_of_a_killed_builder_only_the_commit_is_known(stack: Settings, left: Any) -> None:
    write_result(told(), "source.json")  # whatever it claims
    if left:
        write_result(left)
    commit = example(1)["commit"]
    assert jobs.result(BUILD) == Result(BUILD.id, BUILD.attempt, ok=False, commit=commit)
    write_result(told(attempt=2), "source.json")
    assert jobs.result(BUILD) is None


def test_end_of_a_killed_builder_counts_though_its_commit_cannot_be_read(
    stack: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_result(told(), "source.json")
    real = aws.s3().get_object

    def denied(**wanted: Any) -> Any:
        if wanted["Key"].endswith("source.json"):
            raise client_error("AccessDenied", "no", "GetObject")
        return real(**wanted)

    monkeypatch.setattr(aws.s3(), "get_object", denied)
    assert jobs.result(BUILD) is None
    with pytest.raises(ClientError):
        jobs.cloned_commit(BUILD)


def test_commit_is_that_of_the_newest_attempt_that_told_one(stack: Settings) -> None:
    second = replace(BUILD, attempt=2)
    assert jobs.cloned_commit(second) is None
    write_result(told(commit="3" * 40, attempt=3), attempt=3)
    write_result(told(commit="3" * 40, attempt=3), attempt=1)
    assert jobs.cloned_commit(second) is None, "no attempt of this build"
    write_result(told(commit="1" * 40), "source.json")
    assert jobs.cloned_commit(second) == "1" * 40
    write_result(told(commit=None, attempt=2), attempt=2)
    assert jobs.cloned_commit(second) == "1" * 40
    write_result(told(commit="2" * 40, attempt=2), "source.json", attempt=2)
    assert jobs.cloned_commit(second) == "2" * 40


def test_attempts_have_places_of_their_own(stack: Settings) -> None:
    prefixes = []
    for attempt in (1, 2, 11):
        jobs.grant(replace(BUILD, attempt=attempt), {})
        prefixes.append(job(attempt)["upload"]["prefix"])
    assert prefixes[0] == PREFIX
    assert not [prefix for prefix in prefixes if any(prefix in other for other in prefixes if other is not prefix)]


def test_job_asks_for_the_commit_that_was_cloned(stack: Settings) -> None:
    jobs.grant(replace(BUILD, cloned_commit="a" * 40), {})
    assert (job()["source"]["ref"], job()["source"]["commit"]) == ("main", "a" * 40)
    jobs.grant(replace(BUILD, source=replace(BUILD.source, commit="b" * 40), cloned_commit="a" * 40), {})
    assert job()["source"]["commit"] == "b" * 40, "what was asked for wins"


def test_result_counts_before_what_was_known_so_far(stack: Settings) -> None:
    write_result(told(commit="0" * 40), "source.json")
    write_result(told())
    found = jobs.result(BUILD)
    assert found
    assert (found.ok, found.commit) == (True, example(1)["commit"])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b'"result"',
        b"{",
        b"\xff\xfe",
        b'{"buildId": "\xff"}',
        b'{"commit": "\\ud800", "buildId": "01JD6Q2V8W3M4N5P6R7S8T9VAB", "attempt": 1, "ok": true}',
        b"[" * 200_000,
        b'{"steps":' + b"[" * 100_000,
        b'{"x":' * 30_000,
        b" " * (256 * 1024 + 1),
        told(buildId="01JD6Q2V8W3M4N5P6R7S8T9VAC"),
        told(attempt=2),
        told(attempt="1"),
        told(attempt=True),
        told(ok="true"),
        told(ok=1),
        told(files=-1),
        told(files=20_001),
        told(files=1.5),
        told(files="12"),
        told(bytes=-1),
        told(bytes=1024**3 + 1),
        told(bytes=10**400),
        told(steps=None),
        told(steps=[{"name": "clone"}]),
        told(steps=[{"name": "clone", "seconds": "1"}]),
        told(commit=7),
        told(framework=["vite"]),
        failure(lastLines="no list"),
        failure(exitCode="1"),
        told(ok=False, failure="install"),
        {"ok": True},
    ],
    ids=lambda content: repr(content)[:40],
)
def test_what_is_no_result_is_none(stack: Settings, content: Any) -> None:
    write_result(content)
    assert jobs.result(BUILD) is None


def test_what_cannot_be_true_is_left_out(stack: Settings) -> None:
    steps = [{"name": "n" * 2000, "seconds": 1}, {"name": "a", "seconds": -1}, {"name": "b", "seconds": 1e300}]
    write_result(told(commit="main; rm -rf /", framework="v" * 50_000, packageManager="p" * 50_000, steps=steps * 50))
    found = jobs.result(BUILD)
    assert found
    assert found.commit is None
    assert (len(found.framework or ""), len(found.package_manager or "")) == (100, 100)
    assert {(len(step.name), step.seconds) for step in found.steps} == {(100, 1)}
    assert len(found.steps) <= 20


def test_a_failures_words_are_cut(stack: Settings) -> None:
    long = "x" * 20_000
    write_result(failure(step=long, code=long, message=long, fix=long, exitCode=2**70, lastLines=["y" * 20_000] * 3))
    found = jobs.result(BUILD)
    assert found
    assert found.failure
    assert len(msgspec.json.encode(found)) < 12_000
    assert found.failure.exit_code is None
    write_result(failure(lastLines=[str(number) for number in range(1000)]))
    found = jobs.result(BUILD)
    assert found
    assert found.failure
    assert found.failure.last_lines == tuple(str(number) for number in range(900, 1000))


def test_a_failed_builds_numbers_do_not_hide_its_failure(stack: Settings) -> None:
    write_result(failure() | {"files": 10**9, "bytes": -5})
    found = jobs.result(BUILD)
    assert found
    assert found.failure
    assert (found.files, found.bytes) == (0, 0)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = sorted(example(1))


@given(changed=st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4))
@hypothesis_settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_result_is_none_or_can_be_kept(stack: Settings, changed: dict[str, Any]) -> None:
    write_result(told(**changed))
    found = jobs.result(BUILD)
    assert found is None or 0 < len(repr(aws.to_item(aws.plain(found)))) < 20_000


def test_other_faults_are_raised(stack: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(**_: Any) -> Any:
        raise client_error("AccessDenied", "no", "GetObject")

    monkeypatch.setattr(aws.s3(), "get_object", forbidden)
    for call in (lambda: jobs.result(BUILD), lambda: jobs.get_env("jobs/x")):
        with pytest.raises(ClientError, match="AccessDenied"):
            call()

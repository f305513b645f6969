"""POST /project against moto: what clients send, what they get, and what is written and started."""

import base64
import io
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.calls import BUILD_ID, JSON, NOTHING, URL, assert_problem, call, fields_of, world
from tests.fakes import FakeEcs, client_error
from tidegate import aws, builds, inputs, service, slots
from tidegate.observability import logger
from tidegate.status import Status


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What the function prints."""
    stream = io.StringIO()
    for each in logger.handlers:
        monkeypatch.setattr(each, "stream", stream)
    return stream


def test_first_contract_to_the_letter(ecs: FakeEcs) -> None:
    status, body, headers = call("POST", "/project", {"gitURL": URL})
    slug = body["data"]["projectSlug"]
    assert status == 200
    assert headers["Content-Type"] == "application/json"
    assert re.fullmatch(r"[a-z]+-[a-z]+-[a-z]+", slug)
    assert body == {
        "status": "queued",
        "data": {"projectSlug": slug, "url": f"http://{slug}.localhost:8000", "buildId": body["data"]["buildId"]},
    }
    build = builds.get(body["data"]["buildId"])
    assert build
    assert (build.status, build.project_slug, build.source.url) == ("starting", slug, URL)
    assert slots.holders() == {build.id}
    assert [build.task_arn] == [task["taskArn"] for task in ecs.tasks.values()]


ALL_OPTIONS = {
    "gitURL": URL,
    "slug": "my-site",
    "ref": "main",
    "rootDirectory": "./packages/web/",
    "installCommand": "npm ci",
    "buildCommand": "npm run build",
    "outputDirectory": "dist",
    "env": {"API_KEY": "s3cret-value", "OTHER": "s3cret-too"},
    "cpu": 1024,
    "memory": 2048,
}


def test_all_options_reach_the_builder_and_secrets_go_nowhere_else(ecs: FakeEcs, log: io.StringIO) -> None:
    status, body, _ = call("POST", "/project", ALL_OPTIONS)
    assert (status, body["data"]["projectSlug"]) == (200, "my-site")
    build_id = body["data"]["buildId"]
    _, told, _ = call("GET", f"/v1/builds/{build_id}")
    settings = {
        "rootDirectory": "packages/web",
        "installCommand": "npm ci",
        "buildCommand": "npm run build",
        "outputDirectory": "dist",
        "cpu": 1024,
        "memory": 2048,
        "envNames": ["API_KEY", "OTHER"],
    }
    assert (told["gitURL"], told["ref"], told["commit"], told["settings"]) == (URL, "main", None, settings)
    job = json.loads(aws.s3().get_object(Bucket="artifacts", Key=f"jobs/{build_id}-1.json")["Body"].read())
    assert job["env"] == ALL_OPTIONS["env"]
    overrides = ecs.calls[0]["overrides"]
    assert (overrides["cpu"], overrides["memory"]) == ("1024", "2048")
    seen = [told, body, ecs.calls, world(ecs)[0], log.getvalue(), call("GET", "/v1/projects")[1]]
    assert build_id in log.getvalue()
    assert "s3cret" not in str(seen)


def test_a_full_commit_id_is_built_as_such(ecs: FakeEcs) -> None:
    commit = "4B825DC642CB6EB9A060E54BF8D69288FBEE4904"
    _, body, _ = call("POST", "/project", {"gitURL": URL, "ref": commit})
    _, told, _ = call("GET", f"/v1/builds/{body['data']['buildId']}")
    assert (told["ref"], told["commit"]) == (None, commit.lower())


JSON_TYPES = [
    "application/json",
    "Application/JSON",
    "application/json; charset=utf-8",
    'application/json;charset="UTF-8"',
    "application/json ; x=y",
    "application/json;",
]


def test_media_types_that_are_json(ecs: FakeEcs, subtests: pytest.Subtests) -> None:
    for kind in JSON_TYPES:
        for name in ("content-type", "Content-Type", "CONTENT-TYPE"):
            with subtests.test(f"{name}: {kind}"):
                headers = {name: kind, "Content-Encoding": "Identity"}
                assert call("POST", "/project", {"gitURL": URL}, headers=headers)[0] == 200


def test_a_base64_body_is_decoded(ecs: FakeEcs) -> None:
    body = base64.b64encode(json.dumps({"gitURL": URL, "buildCommand": "echo ü"}, ensure_ascii=False).encode()).decode()
    status, told, _ = call("POST", "/project", body, isBase64Encoded=True)
    build = builds.get(told["data"]["buildId"])
    assert (status, build and build.settings.build_command) == (200, "echo ü")


def test_the_largest_body_is_taken_and_one_byte_more_is_not(ecs: FakeEcs) -> None:
    body = json.dumps({"gitURL": URL})
    full = body + " " * (inputs.MAX_BODY_BYTES - len(body))
    assert call("POST", "/project", full)[0] == 200
    before = world(ecs)
    assert_problem(call("POST", "/project", full + " "), 413, "BODY_TOO_LARGE")
    coded = base64.b64encode((full + " ").encode()).decode()
    assert_problem(call("POST", "/project", coded, isBase64Encoded=True), 413, "BODY_TOO_LARGE")
    assert_problem(call("POST", "/project", " " * 5_000_000), 413, "BODY_TOO_LARGE")
    assert_problem(call("POST", "/project", '"' + "é" * inputs.MAX_BODY_BYTES + '"'), 413, "BODY_TOO_LARGE")
    assert world(ecs) == before


OTHER_HEADERS = [
    {},
    {"content-type": ""},
    {"content-type": "text/plain"},
    {"content-type": "application/x-www-form-urlencoded"},
    {"content-type": "multipart/form-data; boundary=application/json"},
    {"content-type": "application/jsonx"},
    {"content-type": "application/json-patch+json"},
    {"content-type": "application/json,application/json"},
    {"content-type": "text/plain; application/json"},
    {"content-type": "application/json; charset=latin-1"},
    {"content-type": "application/json; charset=utf-16"},
    JSON | {"content-encoding": "gzip"},
    JSON | {"Content-Encoding": "br"},
    JSON | {"content-encoding": "identity, gzip"},
]


def test_other_media_types_and_encodings_are_refused(ecs: FakeEcs, subtests: pytest.Subtests) -> None:
    for headers in OTHER_HEADERS:
        with subtests.test(ascii(headers)[:80]):
            answer = call("POST", "/project", {"gitURL": URL}, headers=headers)
            assert "errors" not in assert_problem(answer, 415, "UNSUPPORTED_MEDIA_TYPE")
            assert world(ecs) == NOTHING


BROKEN = [
    None,
    "",
    "  ",
    "{",
    "[]",
    "null",
    "1",
    '"x"',
    '{"gitURL":',
    "gitURL=x",
    '{"gitURL":"x",}',
    "{'gitURL':'x'}",
    "\ufeff{}",
    '{"gitURL":"x","gitURL":"x"}',
    '{"env":{"A":"1","A":"2"}}',
    r'{"gitURL":"\ud800"}',
    r'{"\udc00":"x"}',
    '{"gitURL":"\ud800"}',
    r'{"env":{"A":"\ud800"}}',
    r'{"env":{"\ud800":"A"}}',
    '{"a":NaN}',
    "[" * 60000,
    '{"a":' * 20000,
    '{"a":' + "[" * 9000 + "]" * 9000 + "}",
    '{"a":' + "9" * 5000 + "}",
]


def test_bodies_that_are_no_json_objects(ecs: FakeEcs, subtests: pytest.Subtests) -> None:
    for body in BROKEN:
        with subtests.test(ascii(body)[:80]):
            answer = call("POST", "/project", body)
            assert_problem(answer, 400, "MALFORMED_BODY")
            assert world(ecs) == NOTHING


NO_TEXT = [b"\xff", b'{"gitURL":"\xff"}', b'{"gitURL":"\xed\xa0\x80"}', b"", b"\x1f\x8b", '{"a":1}'.encode("utf-16")]


def test_coded_bodies_that_are_no_text(ecs: FakeEcs, subtests: pytest.Subtests) -> None:
    for data in NO_TEXT:
        with subtests.test(ascii(data)[:80]):
            coded = base64.b64encode(data).decode()
            assert_problem(call("POST", "/project", coded, isBase64Encoded=True), 400, "MALFORMED_BODY")
            assert world(ecs) == NOTHING


NO_BASE64 = ["é", "e", "ey", "{}", "eyJ=", "=====", "e30=e30=", "e 3 0 ="]


def test_bodies_that_are_not_even_base64(ecs: FakeEcs, subtests: pytest.Subtests) -> None:
    for body in NO_BASE64:
        with subtests.test(ascii(body)[:80]):
            assert_problem(call("POST", "/project", body, isBase64Encoded=True), 400, "MALFORMED_BODY")
            assert world(ecs) == NOTHING


WRONG: list[tuple[Any, set[str]]] = [
    ({}, {"gitURL"}),
    ({"gitURL": None}, {"gitURL"}),
    ({"giturl": URL}, {"gitURL", "giturl"}),
    ({"gitURL": "https://127.0.0.1/a"}, {"gitURL"}),
    ({"gitURL": "https://169.254.169.254/latest/meta-data"}, {"gitURL"}),
    ({"gitURL": "https://[::ffff:10.0.0.1]/a"}, {"gitURL"}),
    ({"gitURL": "https://2130706433/a"}, {"gitURL"}),
    ({"gitURL": "git@github.com:you/site.git"}, {"gitURL"}),
    ({"gitURL": "file:///etc"}, {"gitURL"}),
    ({"gitURL": "-x"}, {"gitURL"}),
    ({"gitURL": 1}, {"gitURL"}),
    ({"gitURL": URL, "slug": "A"}, {"slug"}),
    ({"gitURL": URL, "slug": ["a"]}, {"slug"}),
    ({"gitURL": URL, "ref": "--upload-pack=x"}, {"ref"}),
    ({"gitURL": URL, "ref": {}}, {"ref"}),
    ({"gitURL": URL, "rootDirectory": "../x"}, {"rootDirectory"}),
    ({"gitURL": URL, "outputDirectory": "/etc"}, {"outputDirectory"}),
    ({"gitURL": URL, "installCommand": "a\nb"}, {"installCommand"}),
    ({"gitURL": URL, "buildCommand": ""}, {"buildCommand"}),
    ({"gitURL": URL, "env": []}, {"env"}),
    ({"gitURL": URL, "env": {"A-B": "1", "C": 1}}, {"env.A-B", "env.C"}),
    ({"gitURL": URL, "cpu": 0}, {"cpu"}),
    ({"gitURL": URL, "cpu": 0, "memory": 0}, {"cpu"}),
    ({"gitURL": URL, "cpu": "1024"}, {"cpu"}),
    ({"gitURL": URL, "cpu": 256}, {"memory"}),
    ({"gitURL": URL, "memory": 4097}, {"memory"}),
    ({"gitURL": URL, "cpu": 2**80, "memory": -(2**80)}, {"cpu"}),
    ({"gitURL": URL, "branch": "main"}, {"branch"}),
    ({"gitURL": URL, "__class__": "x", "": ""}, {"__class__", ""}),
    (dict.fromkeys(ALL_OPTIONS, 1.5) | {"x": 1}, {*ALL_OPTIONS, "x"}),
    (dict.fromkeys(ALL_OPTIONS, "\0") | {"x": 1}, {*ALL_OPTIONS, "x"}),
]


def test_wrong_fields_are_named_and_nothing_is_written(ecs: FakeEcs, subtests: pytest.Subtests) -> None:
    for body, fields in WRONG:
        with subtests.test(ascii(body)[:80]):
            told = assert_problem(call("POST", "/project", body), 400, "INVALID_REQUEST")
            assert fields_of(told) == fields
            assert told["errors"][0]["message"] in told["detail"]
            assert world(ecs) == NOTHING


SECRETS: list[Any] = [
    {"gitURL": "https://you:s3cret@git.example.com/a"},
    {"gitURL": "https://s3cret@git.example.com/a"},
    {"gitURL": "https://git.example.com/a?private_token=s3cret"},
    {"gitURL": "https://git.example.com/a#s3cret"},
    {"gitURL": "https://git.example.com:s3cret/a"},
    {"gitURL": "ssh://you:s3cret@git.example.com/a"},
    {"gitURL": "you:s3cret@git.example.com:a"},
    {"gitURL": "https://you:s3cret%zz@git.example.com/\ud800"},
    {"gitURL": URL, "env": {"A": "s3cret\0"}},
    {"gitURL": URL, "env": {"A": ["s3cret"], "1": "s3cret"}},
    {"gitURL": URL, "env": {"A": "s3cret" * 2000}},
    {"gitURL": URL, "env": {f"A{number}": "s3cret" * 200 for number in range(60)}},
    {"gitURL": URL, "env": "s3cret"},
    {"gitURL": URL, "env": {"A": "s3cret"}, "cpu": 1},
    {"gitURL": URL, "buildCommand": "TOKEN=s3cret\nmake"},
    {"gitURL": URL, "ref": "s3cret:x"},
    '{"gitURL": "https://you:s3cret@git.example.com/a"',
    '{"env": {"A": "s3cret", "A": "s3cret"}}',
]


def test_refused_secrets_are_neither_told_nor_logged(
    ecs: FakeEcs, log: io.StringIO, capfd: pytest.CaptureFixture[str], subtests: pytest.Subtests
) -> None:
    for body in SECRETS:
        with subtests.test(ascii(body)[:80]):
            answer = call("POST", "/project", body)
            assert_problem(answer, 400, answer[1]["code"])
            printed = capfd.readouterr()
            assert "s3cret" not in str(answer) + log.getvalue() + printed.out + printed.err
            assert world(ecs) == NOTHING


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=10)
    | st.sampled_from([URL, "a", "../", "s"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
bodies = st.dictionaries(st.sampled_from([*ALL_OPTIONS]) | st.text(max_size=4), values, max_size=5)
in_this_world = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@in_this_world
@given(bodies | bodies.map(lambda body: {"gitURL": URL} | body) | values)
def test_any_json_is_taken_or_refused_without_a_trace(ecs: FakeEcs, body: Any) -> None:
    before = world(ecs)
    status, told, _ = answer = call("POST", "/project", json.dumps(body))
    if status == 200:
        assert told["status"] == "queued"
        assert world(ecs) != before
        assert call("GET", f"/v1/builds/{told['data']['buildId']}")[0] == 200
    else:
        assert_problem(answer, status, told["code"])
        assert status in {400, 409}
        assert world(ecs) == before


def test_what_only_a_local_stack_takes(ecs: FakeEcs, set_environment: Callable[[str, str], None]) -> None:
    local = ["file:///srv/site", "http://127.0.0.1:3000/a", "https://localhost/a"]
    for url in local:
        assert_problem(call("POST", "/project", {"gitURL": url}), 400, "INVALID_REQUEST")
    set_environment("GIT_PROTOCOLS", "https,http,file")
    set_environment("ALLOW_PRIVATE_GIT_HOSTS", "true")
    assert [call("POST", "/project", {"gitURL": url})[0] for url in local] == [200] * 3


def test_the_same_slug_again(ecs: FakeEcs) -> None:
    first = call("POST", "/project", {"gitURL": URL, "slug": "my-site"})[1]["data"]
    second = call("POST", "/project", {"gitURL": URL.replace("git.example.com", "GIT.Example.com"), "slug": "my-site"})
    assert (second[0], second[1]["data"]["projectSlug"]) == (200, "my-site")
    assert first["buildId"] != second[1]["data"]["buildId"]
    before = world(ecs)
    other = call("POST", "/project", {"gitURL": "https://git.example.com/other", "slug": "my-site"})
    assert fields_of(assert_problem(other, 409, "SLUG_TAKEN")) == {"slug"}
    assert world(ecs) == before
    assert [each["id"] for each in call("GET", "/v1/projects/my-site/builds")[1]["items"]] == [
        second[1]["data"]["buildId"],
        first["buildId"],
    ]


@pytest.mark.parametrize("action", ["/v1/projects/my-site/builds", "/v1/builds/{}/cancel", "/v1/builds/{}/retry"])
def test_other_requests_are_as_strict(ecs: FakeEcs, action: str, subtests: pytest.Subtests) -> None:
    path = action.format(call("POST", "/project", {"gitURL": URL, "slug": "my-site"})[1]["data"]["buildId"])
    before = world(ecs)
    for body in BROKEN[1:]:
        if body:
            with subtests.test(ascii(body)[:80]):
                assert_problem(call("POST", path, body), 400, "MALFORMED_BODY", path)
    for field, value in {"gitURL": URL, "slug": "x", "x": 1, "env": [], "cpu": 0, "ref": "-x"}.items():
        with subtests.test(field):
            assert fields_of(assert_problem(call("POST", path, {field: value}), 400, "INVALID_REQUEST", path)) == {
                field
            }
    for headers in OTHER_HEADERS:
        with subtests.test(ascii(headers)[:80]):
            answer = call("POST", path, {}, headers=headers)
            assert_problem(answer, 415, "UNSUPPORTED_MEDIA_TYPE", path)
    assert_problem(call("POST", path, " " * inputs.MAX_BODY_BYTES + "{}"), 413, "BODY_TOO_LARGE", path)
    assert world(ecs) == before


def test_a_build_of_a_known_project_has_a_size_that_goes_with_the_projects(ecs: FakeEcs) -> None:
    call("POST", "/project", {"gitURL": URL, "slug": "my-site", "cpu": 4096, "memory": 30720})
    path = "/v1/projects/my-site/builds"
    assert fields_of(assert_problem(call("POST", path, {"cpu": 2048}), 400, "INVALID_REQUEST", path)) == {"memory"}
    assert fields_of(assert_problem(call("POST", path, {"memory": 4096}), 400, "INVALID_REQUEST", path)) == {"memory"}
    assert call("POST", path, {"memory": 8192})[0] == 202
    assert [(each["overrides"]["cpu"], each["overrides"]["memory"]) for each in ecs.calls] == [
        ("4096", "30720"),
        ("4096", "8192"),
    ]


def test_idempotency_keys_that_are_none(ecs: FakeEcs, subtests: pytest.Subtests) -> None:
    for key in ("", " ", "a b", "a\tb", "é", "x" * 256, "\x00", "a\n"):
        with subtests.test(ascii(key)[:80]):
            told = assert_problem(
                call("POST", "/project", {"gitURL": URL}, headers=JSON | {"Idempotency-Key": key}),
                400,
                "INVALID_REQUEST",
            )
            assert fields_of(told) == {"Idempotency-Key"}
    assert world(ecs) == NOTHING


# --- RunTask's answers ---


def failures(reason: str, detail: str = "") -> dict[str, Any]:
    return {"tasks": [], "failures": [{"reason": reason, "detail": detail}]}


FORBIDDEN = [
    (
        client_error("AccessDeniedException", "User is not authorized to perform: iam:PassRole on resource"),
        "PASS_ROLE_DENIED",
        "config",
    ),
    (client_error("ClusterNotFoundException", "Cluster not found."), "CLUSTER_NOT_FOUND", "config"),
    (client_error("InvalidParameterException", "TaskDefinition is inactive"), "TASK_DEFINITION_MISSING", "config"),
    (failures("ATTRIBUTE"), "PLACEMENT_IMPOSSIBLE", "config"),
    (failures("The subnet ID 'subnet-1' does not exist"), "NETWORK_CONFIG_INVALID", "config"),
]


def test_a_task_that_config_forbids_fails_the_build(ecs: FakeEcs, subtests: pytest.Subtests) -> None:
    for answer, code, blame in FORBIDDEN:
        with subtests.test(ascii(answer)[:80]):
            ecs.answers.append(answer)
            body = assert_problem(call("POST", "/project", {"gitURL": URL}), 503, code)
            _, told, _ = call("GET", f"/v1/builds/{body['buildId']}")
            assert (told["status"], told["failure"]["code"], told["failure"]["blame"]) == ("failed", code, blame)
            assert set(told["failure"]) == {"code", "blame", "message", "fix", "evidence"}
            assert told["failure"]["fix"] in body["detail"]
            assert told["finishedAt"]
            assert told["deadline"] is None
            assert (ecs.tasks, slots.holders()) == ({}, set())


def test_a_task_that_is_refused_for_an_unknown_reason_is_tried_again_and_then_fails(ecs: FakeEcs) -> None:
    ecs.answers.extend([failures("Something new")] * 3)
    body = assert_problem(call("POST", "/project", {"gitURL": URL}), 503, "UNCLASSIFIED")
    build = builds.get(body["buildId"])
    assert build
    assert (build.status, build.task_arn) == (Status.FAILED, None)
    assert len({each["clientToken"] for each in ecs.calls}) == len(ecs.calls) == 3


NOT_NOW = [
    failures("Capacity is unavailable at this time. Please try again later or in a different availability zone"),
    client_error("ClientException", "Capacity is unavailable at this time."),
    client_error("ThrottlingException", "Rate exceeded."),
    client_error("ServerException", "Service Unavailable. Please try again later."),
    client_error("LimitExceededException", "You've reached the limit on the number of tasks you can run."),
    failures("You've reached the limit on the number of vCPUs you can run concurrently"),
    EndpointConnectionError(endpoint_url="https://ecs.eu-central-1.amazonaws.com"),
]


def test_a_task_that_cannot_start_now_waits_and_says_why(ecs: FakeEcs, subtests: pytest.Subtests) -> None:
    for answer in NOT_NOW:
        with subtests.test(ascii(answer)[:80]):
            ecs.answers.append(answer)
            status, body, _ = call("POST", "/project", {"gitURL": URL})
            assert (status, body["status"]) == (200, "queued")
            _, told, _ = call("GET", f"/v1/builds/{body['data']['buildId']}")
            assert told["status"] in {"queued", "starting"}
            assert (told["failure"], told["taskArn"]) == (None, None)
            assert told["waiting"]


def test_a_build_without_a_slot_waits_and_says_why(ecs: FakeEcs) -> None:
    told = [call("POST", "/project", {"gitURL": f"{URL}{number}"})[1]["data"]["buildId"] for number in range(3)]
    answers = [call("GET", f"/v1/builds/{each}")[1] for each in told]
    assert [each["status"] for each in answers] == ["starting", "starting", "queued"]
    assert [bool(each["waiting"]) for each in answers] == [False, False, True]
    assert len(ecs.calls) == 2


class Down:
    """An AWS service that nobody can reach."""

    def __getattr__(self, name: str) -> Any:
        raise EndpointConnectionError(endpoint_url="https://s3cret.amazonaws.com")


@pytest.mark.parametrize("name", ["dynamodb", "s3"])
def test_aws_down_before_the_build_is_written(ecs: FakeEcs, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(aws, name, Down)
        answer = call("POST", "/project", {"gitURL": URL, "env": {"A": "1"}})
    assert_problem(answer, 503, "UNAVAILABLE")
    assert "s3cret" not in str(answer)
    tables, _, started, _ = world(ecs)
    assert (tables[0], started) == ([], 0)


@pytest.mark.parametrize("name", ["sts", "s3"])
def test_aws_down_after_the_build_is_written(ecs: FakeEcs, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(aws, name, Down)
        status, body, _ = call("POST", "/project", {"gitURL": URL})
    assert (status, body["status"]) == (200, "queued")
    build = builds.get(body["data"]["buildId"])
    assert build
    assert not build.status.final
    assert ecs.calls == []


def test_aws_down_while_reading(ecs: FakeEcs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aws, "dynamodb", Down)
    for path in ("/v1/projects", "/v1/projects/a/builds", f"/v1/builds/{BUILD_ID}", f"/v1/builds/{BUILD_ID}/logs"):
        assert_problem(call("GET", path), 503, "UNAVAILABLE", path)


def test_a_fault_of_ours_keeps_its_inside(ecs: FakeEcs, monkeypatch: pytest.MonkeyPatch, log: io.StringIO) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("inside")

    monkeypatch.setattr(service, "create_build", broken)
    answer = call("POST", "/project", {"gitURL": URL})
    assert_problem(answer, 500, "INTERNAL")
    assert "inside" not in str(answer)
    assert "inside" in log.getvalue()

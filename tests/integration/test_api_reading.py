# ruff: noqa: RUF001  digits that only look like ASCII are what some tests are about
"""What can be read through the API, page by page, and what is not there."""

import base64
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from functions.api import app
from tests.calls import BUILD_ID, NOTHING, URL, assert_problem, call, respond, world
from tests.fakes import FakeEcs
from tidegate import batches, builds, chunks, notes, projects
from tidegate.model import Build, Failure, Project, Source
from tidegate.settings import Settings
from tidegate.status import Blame, Status

NOW = datetime(2026, 11, 21, 7, 30, tzinfo=UTC)
FAILURE = Failure("INSTALL_FAILED", Blame.USER, "It failed.", "Mend it.", "npm error")

in_this_world = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def build_of(slug: str, number: int, status: Status = Status.READY, **more: Any) -> Build:
    """The `number`th build of a project."""
    build_id = f"01JD6Q2V8W3M4N5P6R7S8T{number:04}"
    made = NOW + timedelta(minutes=number)
    build = Build(build_id, slug, Source(URL, ref="main"), made, deadline=made, timeout_seconds=60, status=status)
    return replace(build, open=None if status.final else "open", **more)


@pytest.fixture
def history(stack: Settings) -> list[Build]:
    """A project with 104 builds, newest first, every third of them failed, and a project with one."""
    projects.create(Project("my-site", URL, NOW))
    projects.create(Project("other", URL, NOW))
    made = [
        build_of("my-site", number, Status.FAILED, failure=FAILURE) if number % 3 == 0 else build_of("my-site", number)
        for number in range(104)
    ]
    for build in [*made, build_of("other", 999)]:
        builds.create(build)
    return made[::-1]


def pages(path: str) -> Iterator[list[Any]]:
    cursor = ""
    while True:
        status, body, _ = call("GET", path + (f"&cursor={cursor}" if cursor else ""))
        assert (status, set(body)) == (200, {"items", "cursor"})
        yield body["items"]
        cursor = body["cursor"]
        if not cursor:
            return


def test_a_projects_builds_page_by_page(history: list[Build], subtests: pytest.Subtests) -> None:
    ids = [build.id for build in history]
    for limit in (13, 52, 100):
        with subtests.test(f"each once, newest first, {limit} at a time"):
            found = list(pages(f"/v1/projects/my-site/builds?limit={limit}"))
            assert [each["id"] for page in found for each in page] == ids
            assert {len(page) for page in found[:-1]} == {limit}
            assert found[-1]
    for status in Status:
        with subtests.test(status.value):
            found = list(pages(f"/v1/projects/my-site/builds?limit=30&status={status}"))
            wanted = [build.id for build in history if build.status is status]
            assert [each["id"] for page in found for each in page] == wanted
            assert {each["status"] for page in found for each in page} <= {status}
    with subtests.test("20 unless asked otherwise"):
        assert [each["id"] for each in call("GET", "/v1/projects/my-site/builds")[1]["items"]] == ids[:20]
    with subtests.test("one"):
        assert [each["id"] for each in call("GET", "/v1/projects/my-site/builds?limit=1")[1]["items"]] == ids[:1]
    with subtests.test("builds that are made meanwhile do not disturb"):
        seen = []
        for number, page in enumerate(pages("/v1/projects/my-site/builds?limit=40")):
            seen += [each["id"] for each in page]
            builds.create(build_of("my-site", 200 + number))
        assert seen == ids


def test_all_projects_are_each_listed_once(stack: Settings) -> None:
    slugs = {f"site-{number}" for number in range(45)}
    for slug in slugs:
        projects.create(Project(slug, URL, NOW))
    found = [each["slug"] for page in pages("/v1/projects?limit=7") for each in page]
    assert (len(found), set(found)) == (45, slugs)
    assert len(call("GET", "/v1/projects")[1]["items"]) == 20


def test_lists_of_nothing(stack: Settings) -> None:
    assert call("GET", "/v1/projects")[1] == {"items": [], "cursor": None}
    projects.create(Project("my-site", URL, NOW))
    assert call("GET", "/v1/projects/my-site/builds")[1] == {"items": [], "cursor": None}


def keys_of(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from keys_of(inner)


def test_names_are_camel_case_and_times_have_milliseconds_everywhere(ecs: FakeEcs) -> None:
    options = {
        "rootDirectory": "a",
        "installCommand": "b",
        "buildCommand": "c",
        "outputDirectory": "d",
        "env": {"A": "1"},
    }
    call("POST", "/project", {"gitURL": URL, "slug": "new", "cpu": 1024, "memory": 2048} | options)
    projects.create(Project("my-site", URL, NOW))
    failed, ready = build_of("my-site", 0, Status.FAILED, failure=FAILURE, finished_at=NOW), build_of("my-site", 1)
    for build in (failed, ready):
        builds.create(build)
    projects.publish("my-site", ready.id, 1, NOW + timedelta(microseconds=123456))
    answers = [
        call("GET", path)[1] for path in ("/v1/projects", "/v1/projects/my-site/builds", "/v1/projects/new/builds")
    ]
    names = set(keys_of(answers))
    assert {"liveBuild", "liveAt", "gitURL", "failure", "blame", "settings", "envNames", "rootDirectory"} <= names
    assert [name for name in names if not re.fullmatch("[a-z]+([A-Z][a-z]*)*|gitURL", name)] == []
    items = [item for answer in answers for item in answer["items"]]
    times = [value for item in items for name, value in item.items() if name.endswith("At") or name == "deadline"]
    assert any(times)
    assert [each for each in times if each and not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", each)] == []
    [site] = [item for item in answers[0]["items"] if item["slug"] == "my-site"]
    assert (site["liveBuild"], site["liveAt"]) == (ready.id, "2026-11-21T07:30:00.123Z")
    assert site["url"] == "http://my-site.localhost:8000"


def test_contract_lists_what_a_build_shows(stack: Settings) -> None:
    builds.create(replace(build_of("my-site", 0), id=BUILD_ID))
    contract = (Path(__file__).parents[2] / "docs" / "contract.md").read_text(encoding="utf-8")
    section = contract.partition("## A build, as the API shows it")[2].partition("## ")[0]
    fields = [
        name for row in re.findall(r"^\| (`.+?) \|", section, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    ]
    assert sorted(fields) == sorted(call("GET", f"/v1/builds/{BUILD_ID}")[1])


def test_all_wrong_parameters_are_named() -> None:
    for path, names in (
        (f"/v1/builds/{BUILD_ID}/logs?cursor=x&wait=21&limit=0", ["limit", "wait", "cursor"]),
        ("/v1/projects/my-site/builds?status=done&cursor=x&limit=x", ["limit", "cursor", "status"]),
        ("/v1/projects?cursor=x&limit=x", ["limit", "cursor"]),
        ("/v1/projects?page=2&limit=x&Limit=1", ["Limit", "page", "limit"]),
        (f"/v1/builds/{BUILD_ID}/logs?since=1", ["since"]),
    ):
        body = assert_problem(call("GET", path), 400, "INVALID_REQUEST", path)
        assert [error["field"] for error in body["errors"]] == names


WRONG_PARAMETERS = [
    *(
        (f"{path}?limit={limit}", "limit")
        for path in ("/v1/projects", "/v1/projects/my-site/builds", f"/v1/builds/{BUILD_ID}/logs")
        for limit in ("", "0", "-1", "x", "1.5", "%2B1", "1,2", "5001", "99999999999999999999", "%31%0A", "١")
    ),
    *(
        (f"{path}?cursor={cursor}", "cursor")
        for path in ("/v1/projects", "/v1/projects/my-site/builds")
        for cursor in ("", "x", "%00", "é", "====", "QQ==QQ", "Li4", "*", "AAAA", "a" * 5000, "%F0%9F%92%A9")
    ),
    *(
        (f"/v1/projects/my-site/builds?status={status}", "status")
        for status in ("", "READY", "done", "ready,failed", "%00", "ready%0A")
    ),
    *(
        (f"/v1/builds/{BUILD_ID}/logs?cursor={cursor}", "cursor")
        for cursor in ("x", "%00", "é", "====", "*", "a" * 9000)
    ),
]


def test_wrong_parameters_are_named(stack: Settings, subtests: pytest.Subtests) -> None:
    projects.create(Project("my-site", URL, NOW))
    builds.create(replace(build_of("my-site", 0), id=BUILD_ID))
    for path, field in WRONG_PARAMETERS:
        with subtests.test(ascii(path)[:80]):
            [error] = assert_problem(call("GET", path), 400, "INVALID_REQUEST", path)["errors"]
            assert error["field"] == field
            assert error["message"].startswith("must be ")


NOWHERE = [
    f"/v1/builds/{BUILD_ID}",
    f"/v1/builds/{BUILD_ID}/logs",
    "/v1/builds/x",
    "/v1/builds/slots",
    "/v1/builds/slots/logs",
    f"/v1/builds/{BUILD_ID.lower()}",
    f"/v1/builds/{BUILD_ID}%00",
    f"/v1/builds/%30{BUILD_ID[1:]}",
    "/v1/builds/..",
    f"/v1/builds/{BUILD_ID} ",
    f"/v1/builds/{'0' * 5000}",
    "/v1/builds/é",
    "/v1/builds/\u0661",
    "/v1/builds/",
    "/v1/builds",
    "/v1/projects/unknown/builds",
    "/v1/projects/My-Site/builds",
    "/v1/projects/my site/builds",
    "/v1/projects/my%2Dsite/builds",
    "/v1/projects/../builds",
    "/v1/projects/%2e%2e/builds",
    f"/v1/projects/{'a' * 5000}/builds",
    "/v1/projects/é/builds",
    "/v1/projects//builds",
    "/v1/projects/a/b/builds",
    "/v1/projects/a\x00/builds",
    "/",
    "",
    "/projects",
    "/project/",
    "/PROJECT",
    "/v1",
    "/healthz/",
    "/openapi.yaml",
    "/%70roject",
    "//project",
    "/v1/projects/my-site\n/builds",
    "/v1/builds/\ud800",
]


def test_addresses_of_nothing(stack: Settings, subtests: pytest.Subtests) -> None:
    for path in NOWHERE:
        with subtests.test(ascii(path)[:80]):
            body = assert_problem(call("GET", path), 404, "NOT_FOUND", path)
            assert len(body["detail"]) < 200


@in_this_world
@given(st.sampled_from(["/v1/builds/{}", "/v1/builds/{}/logs", "/v1/projects/{}/builds", "/v1/{}", "/{}"]), st.text())
def test_any_path_is_found_or_a_problem(stack: Settings, path: str, text: str) -> None:
    path = path.format(text)
    status, told, _ = answer = call("GET", path)
    if status != 200:
        assert_problem(answer, status, told["code"], path)
        assert status in {400, 404, 405}


@in_this_world
@given(
    st.sampled_from(["/v1/projects", "/v1/projects/my-site/builds", f"/v1/builds/{BUILD_ID}/logs"]),
    st.dictionaries(st.sampled_from(["limit", "cursor", "status", "wait"]), st.text() | st.binary().map(
        lambda data: base64.urlsafe_b64encode(data).decode().rstrip("="))),
)  # fmt: skip
def test_any_parameters_are_taken_or_a_problem(stack: Settings, path: str, parameters: dict[str, str]) -> None:
    projects.create(Project("my-site", URL, NOW))
    builds.create(replace(build_of("my-site", 0), id=BUILD_ID, tasks=("arn:aws:ecs:x:1:task/builds/1",)))
    status, told, _ = answer = call("GET", path, queryStringParameters=parameters)
    if status != 200:
        assert_problem(answer, status, told["code"], path)
        assert (status, told["code"]) == (400, "INVALID_REQUEST")


def lines(task: str, first: int, count: int) -> None:
    events = [
        {"id": f"{number:056}", "timestamp": 1795246200000 + number, "message": f"line {number}"}
        for number in range(first, first + count)
    ]
    batch = {"messageType": "DATA_MESSAGE", "logStream": f"build/builder/{task}", "logEvents": events}
    chunks.put(msgspec.convert(batch, batches.Batch), datetime.now(UTC))


def test_a_log_by_cursor_while_it_grows(stack: Settings) -> None:
    task = f"{1:032x}"
    build = replace(
        build_of("my-site", 0, Status.BUILDING), id=BUILD_ID, tasks=(f"arn:aws:ecs:x:1:task/builds/{task}",)
    )
    builds.create(build)
    assert call("GET", f"/v1/builds/{BUILD_ID}/logs")[1]["lines"] == []
    lines(task, 0, 25)
    seen: list[str] = []
    cursor = ""
    for step in range(6):
        status, body, _ = call("GET", f"/v1/builds/{BUILD_ID}/logs?limit=10" + (f"&cursor={cursor}" if cursor else ""))
        assert status == 200
        assert body["end"] is False
        assert all(set(line) == {"id", "timestamp", "message"} for line in body["lines"])
        seen += [line["message"] for line in body["lines"]]
        cursor = body["cursor"]
        if step == 3:
            lines(task, 25, 5)
    assert seen == [f"line {number}" for number in range(30)]
    now = datetime.now(UTC)
    builds.save(build, replace(build, status=Status.READY, finished_at=now), now)
    rest = {"lines": [], "cursor": cursor, "gaps": []}
    path = f"/v1/builds/{BUILD_ID}/logs?cursor={cursor}"
    assert call("GET", path)[1] == rest | {"end": False, "sealed": False, "lineCount": None}
    notes.seal(notes.Watch(task), notes.Seal(30), now)
    assert call("GET", path)[1] == rest | {"end": True, "sealed": True, "lineCount": 30}
    notes.seal(notes.Watch(task), notes.Seal(30, "29", "lost"), now)
    assert call("GET", path)[1]["gaps"] == [{"after": "29", "reason": "lost"}]


def test_a_log_that_is_never_sealed_ends_all_the_same(stack: Settings) -> None:
    now = datetime.now(UTC)
    build = replace(build_of("my-site", 0, Status.READY), id=BUILD_ID, tasks=("arn:aws:ecs:x:1:task/builds/1",))
    builds.create(replace(build, finished_at=now - timedelta(minutes=3)))
    assert call("GET", f"/v1/builds/{BUILD_ID}/logs")[1]["end"] is True


@pytest.fixture
def growing(stack: Settings, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A build's log that gets a line when somebody has waited for three seconds; the waits."""
    task, waits = f"{1:032x}", list[float]()
    builds.create(
        replace(build_of("my-site", 0, Status.BUILDING), id=BUILD_ID, tasks=(f"arn:aws:ecs:x:1:task/builds/{task}",))
    )

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if sum(waits) >= 3:
            lines(task, 0, 2)

    monkeypatch.setattr(app, "time", SimpleNamespace(monotonic=lambda: sum(waits), sleep=sleep))
    return waits


@pytest.mark.parametrize(
    ("wait", "waited", "found"), [("", 0, 0), ("?wait=0", 0, 0), ("?wait=2", 2, 0), ("?wait=20", 3, 2)]
)
def test_waiting_for_lines(growing: list[float], wait: str, waited: int, found: int) -> None:
    body = call("GET", f"/v1/builds/{BUILD_ID}/logs{wait}")[1]
    assert (sum(growing), len(body["lines"])) == (waited, found)


@pytest.mark.parametrize("wait", ["-1", "21", "x", ""])
def test_waits_that_are_refused(growing: list[float], wait: str) -> None:
    status, body, _ = call("GET", f"/v1/builds/{BUILD_ID}/logs?wait={wait}")
    assert (status, body["errors"][0]["field"], growing) == (400, "wait", [])


def test_nobody_waits_for_a_log_that_has_ended(growing: list[float]) -> None:
    build = builds.get(BUILD_ID)
    assert build is not None
    now = datetime.now(UTC)
    builds.save(build, replace(build, status=Status.READY, finished_at=now), now)
    notes.seal(notes.Watch(f"{1:032x}"), notes.Seal(0), now)
    assert call("GET", f"/v1/builds/{BUILD_ID}/logs?wait=20")[1]["end"] is True
    assert growing == []


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/html, */*;q=0.8", "application/json"),
        ("image/png", "application/json"),
        ("text/plain", "text/plain; charset=utf-8"),
        ("text/*;q=0.5", "text/plain; charset=utf-8"),
        ("Application/X-NDJSON, text/plain;q=0.5", "application/x-ndjson; charset=utf-8"),
        ("application/json;q=0, text/plain", "text/plain; charset=utf-8"),
        ("text/plain;q=x", "application/json"),
        ("application/json;q=0.1,application/x-ndjson", "application/x-ndjson; charset=utf-8"),
    ],
)
def test_formats_of_a_log(growing: list[float], accept: str, kind: str) -> None:
    task, now = f"{1:032x}", datetime.now(UTC)
    lines(task, 0, 2)
    build = builds.get(BUILD_ID)
    assert build is not None
    builds.save(build, replace(build, status=Status.READY, finished_at=now), now)
    notes.seal(notes.Watch(task), notes.Seal(2, f"{1:056}", "lost"), now)
    answer = respond("GET", f"/v1/builds/{BUILD_ID}/logs", headers={"accept": accept})
    assert answer["headers"]["Content-Type"] == kind
    assert answer["headers"]["Tidegate-End"] == "true"
    cursor = answer["headers"]["Tidegate-Cursor"]
    body = answer["body"]
    if "plain" in kind:
        assert body == "line 0\nline 1\n[gap: lost]\n"
    elif "ndjson" in kind:
        parts = [json.loads(line) for line in body.splitlines()]
        assert [part.get("message") for part in parts] == ["line 0", "line 1", None]
        assert parts[2] == {"gap": {"after": f"{1:056}", "reason": "lost"}}
    else:
        assert json.loads(body)["cursor"] == cursor
    assert call("GET", f"/v1/builds/{BUILD_ID}/logs?cursor={cursor}")[1]["lines"] == []


def test_health_asks_nobody() -> None:
    status, body, _ = call("GET", "/healthz")
    assert (status, body) == (200, {"status": "ok"})


# --- methods ---

PATHS = {
    "/project": "OPTIONS, POST",
    "/healthz": "GET, HEAD, OPTIONS",
    "/v1/projects": "GET, HEAD, OPTIONS",
    "/v1/projects/a/builds": "GET, HEAD, OPTIONS, POST",
    f"/v1/builds/{BUILD_ID}": "GET, HEAD, OPTIONS",
    f"/v1/builds/{BUILD_ID}/logs": "GET, HEAD, OPTIONS",
    f"/v1/builds/{BUILD_ID}/timeline": "GET, HEAD, OPTIONS",
    f"/v1/builds/{BUILD_ID}/cancel": "OPTIONS, POST",
    f"/v1/builds/{BUILD_ID}/retry": "OPTIONS, POST",
}


def test_other_methods_are_told_which_are_allowed(ecs: FakeEcs, subtests: pytest.Subtests) -> None:
    for path, allow in PATHS.items():
        with subtests.test(path):
            for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "BREW"):
                if method not in allow:
                    answer = call(method, path, {"gitURL": URL})
                    assert_problem(answer, 405, "METHOD_NOT_ALLOWED", path)
                    assert answer[2]["Allow"] == allow
            status, body, headers = call("OPTIONS", path)
            assert (status, body, headers["Allow"]) == (204, None, allow)
            assert "Access-Control-Allow-Origin" not in headers
            assert world(ecs) == NOTHING


def test_head_is_get_without_the_body(stack: Settings) -> None:
    projects.create(Project("a", URL, NOW))
    for path in [*PATHS, "/nowhere"]:
        status, body, headers = call("HEAD", path)
        got = call("GET", path)
        assert (status, body, headers) == (got[0], None, got[2])
    assert {call("HEAD", path)[0] for path in PATHS} == {200, 404, 405}


def test_no_method_finds_what_is_not_there(ecs: FakeEcs) -> None:
    for method in ("GET", "POST", "HEAD", "OPTIONS", "DELETE"):
        assert call(method, "/nowhere", {"gitURL": URL})[0] == 404
    assert world(ecs) == NOTHING


def test_a_named_stage_is_no_part_of_the_path(ecs: FakeEcs) -> None:
    event = {"requestContext": {"http": {"method": "POST"}, "stage": "prod", "requestId": "JKJaXmPLvHcESHA="}}
    assert_problem(call("POST", "/prod/project", {}, **event), 400, "INVALID_REQUEST")

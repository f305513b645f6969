"""The API of the local stack: the first contract, what is refused, and who may ask."""

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.local_stack import LocalStack, wait_until
from tests.e2e.repositories import repository

pytestmark = [pytest.mark.xdist_group("e2e"), pytest.mark.timeout(120)]
GOOD = {"gitURL": "https://git.example.invalid/you/site"}


def test_health(stack: LocalStack) -> None:
    assert stack.api("GET", "/healthz").json == {"status": "ok"}


def test_slug_of_the_request_is_kept(stack: LocalStack, tmp_path: Path) -> None:
    data = stack.start_build(repository(tmp_path / "site", {"index.html": "x"}), slug="my-very-site")
    assert data["projectSlug"] == "my-very-site"
    assert data["url"] == f"http://my-very-site.localhost:{stack.sites_port}"
    stack.wait_for(data["buildId"], "ready")
    listed = stack.api("GET", "/v1/projects/my-very-site/builds").json
    assert [build["id"] for build in listed["items"]] == [data["buildId"]]


def test_console_says_how_a_build_ended(stack: LocalStack, tmp_path: Path) -> None:
    good = stack.build(repository(tmp_path / "good", {"index.html": "x"}))
    bad = stack.build((tmp_path / "nowhere").as_uri())
    wait_until(lambda: f"{good['projectSlug']}: {good['url']} is live\n" in stack.printed)
    wait_until(lambda: f"{bad['projectSlug']}: the build failed: CLONE_FAILED" in "".join(stack.printed))


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"gitURL": "--upload-pack=touch /tmp/x"},
        {"gitURL": "ext::sh -c touch"},
        {"gitURL": "https://user:password@git.example.com/a/b"},
        {"gitURL": "ssh://git@example.com/a/b"},
        {"gitURL": 7},
        {**GOOD, "slug": "Not A Slug"},
        {**GOOD, "rootDirectory": "../.."},
        {**GOOD, "ref": "--exec"},
        {**GOOD, "cpu": 1000},
        {**GOOD, "unknown": 1},
        b"{",
        b"\xff\xfe",
    ],
)
def test_bad_input_is_told_and_starts_nothing(stack: LocalStack, body: Any) -> None:
    projects = stack.api("GET", "/v1/projects?limit=100").json["items"]
    answer = stack.api("POST", "/project", body)
    assert 400 <= answer.status < 500, answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    assert stack.api("GET", "/v1/projects?limit=100").json["items"] == projects


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://some-site.localhost:8000"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"host": "rebound.example.com"}, 421),
    ],
)
def test_no_web_page_can_start_a_build(stack: LocalStack, headers: dict[str, str], status: int) -> None:
    projects = stack.api("GET", "/v1/projects?limit=100").json["items"]
    assert stack.api("POST", "/project", GOOD, headers).status == status
    assert stack.api("GET", "/v1/projects?limit=100").json["items"] == projects


def test_other_addresses_and_methods(stack: LocalStack) -> None:
    assert stack.api("GET", "/nothing/here").status == 404
    assert stack.api("GET", "/v1/builds/01JD6Q2V8W3M4N5P6R7S8T9VAB").status == 404
    assert stack.api("GET", "/v1/builds/not-an-id").status in {400, 404}
    assert stack.api("DELETE", "/project").status in {404, 405}

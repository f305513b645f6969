"""Sites as visitors see them: addresses, types, conditions, ranges."""

import tempfile
from pathlib import Path

import pytest

from tests.e2e.local_stack import LocalStack, call
from tests.e2e.repositories import repository

pytestmark = [pytest.mark.xdist_group("e2e"), pytest.mark.timeout(120)]
BIG = bytes(range(256)) * 20_000  # 5 MB: more than a function may answer with


@pytest.fixture(scope="module")
def app(stack: LocalStack) -> str:
    """A one-page application; its slug."""
    files: dict[str, str | bytes] = {
        "index.html": "<h1>home</h1>",
        "about.html": "about",
        "docs/index.html": "docs",
        "style.css": "p{}",
        "code.js": "1",
        "data.json": "{}",
        "picture.svg": "<svg/>",
        "archive.wasm": b"\0asm",
        "100%.txt": "per cent",
        "digits.txt": "0123456789",
        "big.bin": BIG,
    }
    return _publish(stack, files)


@pytest.fixture(scope="module")
def pages(stack: LocalStack) -> str:
    """A site with a 404 page of its own; its slug."""
    return _publish(stack, {"index.html": "home", "404.html": "<h1>not here</h1>"})


def _publish(stack: LocalStack, files: dict[str, str | bytes]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        build = stack.build(repository(Path(folder) / "site", files))
        assert build["status"] == "ready", stack.log(build["id"])
        slug: str = build["projectSlug"]
        return slug


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/", "text/html"),
        ("/style.css", "text/css"),
        ("/code.js", "text/javascript"),
        ("/data.json", "application/json"),
        ("/picture.svg", "image/svg+xml"),
        ("/archive.wasm", "application/wasm"),
    ],
)
def test_content_types(stack: LocalStack, app: str, path: str, content_type: str) -> None:
    answer = stack.visit(app, path)
    assert answer.status == 200
    assert answer.headers["content-type"].partition(";")[0] == content_type


def test_directory_index_and_clean_addresses(stack: LocalStack, app: str) -> None:
    assert stack.visit(app, "/docs/").body == b"docs"
    moved = stack.visit(app, "/docs")
    assert moved.status in {301, 302, 307, 308}
    assert moved.headers["location"].endswith("docs/")
    assert stack.visit(app, "/about").body == b"about"


def test_one_page_application_answers_its_pages_only(stack: LocalStack, app: str) -> None:
    page = stack.visit(app, "/users/7", headers={"accept": "text/html,*/*"})
    assert (page.status, page.body) == (200, b"<h1>home</h1>")
    assert stack.visit(app, "/missing.js", headers={"accept": "*/*"}).status == 404


def test_own_404_page(stack: LocalStack, pages: str) -> None:
    answer = stack.visit(pages, "/users/7", headers={"accept": "text/html"})
    assert (answer.status, answer.body) == (404, b"<h1>not here</h1>")


def test_conditional_requests(stack: LocalStack, app: str) -> None:
    first = stack.visit(app, "/style.css")
    again = stack.visit(app, "/style.css", headers={"if-none-match": first.headers["etag"]})
    assert (again.status, again.body) == (304, b"")
    other = stack.visit(app, "/style.css", headers={"if-none-match": '"another"'})
    assert (other.status, other.body) == (200, b"p{}")
    since = stack.visit(app, "/style.css", headers={"if-modified-since": first.headers["last-modified"]})
    assert since.status == 304


def test_ranges(stack: LocalStack, app: str) -> None:
    part = stack.visit(app, "/digits.txt", headers={"range": "bytes=2-4"})
    assert (part.status, part.body) == (206, b"234")
    assert part.headers["content-range"] == "bytes 2-4/10"
    assert stack.visit(app, "/digits.txt", headers={"range": "bytes=-3"}).body == b"789"
    assert stack.visit(app, "/digits.txt", headers={"range": "bytes=50-"}).status == 416


def test_head_has_the_length_and_no_body(stack: LocalStack, app: str) -> None:
    answer = stack.visit(app, "/digits.txt", method="HEAD")
    assert (answer.status, answer.headers["content-length"], answer.body) == (200, "10", b"")


def test_percent_sign_in_a_name(stack: LocalStack, app: str) -> None:
    assert stack.visit(app, "/100%25.txt").body == b"per cent"


def test_large_file(stack: LocalStack, app: str) -> None:
    answer = stack.visit(app, "/big.bin")
    if answer.status in {302, 303, 307}:
        host, _, path = answer.headers["location"].removeprefix("http://").partition("/")
        address, _, port = host.partition(":")
        assert address == "127.0.0.1"
        answer = call(int(port), "GET", "/" + path, None, {"sec-fetch-site": "cross-site"})
    assert answer.status == 200
    assert answer.body == BIG


@pytest.mark.parametrize("path", ["/../../jobs", "/..%2f..%2fresult.json", "/%2e%2e/result.json", "/a%00b", "/%5c.."])
def test_nothing_outside_the_site(stack: LocalStack, pages: str, path: str) -> None:
    assert stack.visit(pages, path).status == 404


def test_result_and_other_names_are_not_served(stack: LocalStack, pages: str) -> None:
    assert stack.visit(pages, "/result.json").status == 404
    assert stack.visit("no-such-site").status == 404
    assert stack.visit(pages, "/", headers={"host": "example.com"}).status == 421
    assert stack.visit(pages, "/", method="POST").status == 405

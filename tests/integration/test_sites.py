"""Published sites against moto: what is found, how it is told, and what can never be reached."""

import base64
import posixpath
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any
from urllib.parse import unquote, urljoin

import pytest
import requests
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from functions.sites.app import handler
from scripts.events import Case, cases
from tests.context import context
from tests.fakes import client_error
from tidegate import aws, projects, sites
from tidegate.model import Project
from tidegate.settings import Settings
from tidegate.sites import Request, Response

NOW = datetime(2026, 11, 21, 7, 30, tzinfo=UTC)
SLUG = "callous-tender-dog"
LIVE = "01JD6Q2V8W3M4N5P6R7S8T9VAB"
PREFIX = f"sites/{SLUG}/{LIVE}/2/files/"
HOME = b"<h1>home</h1>"
FILES: dict[str, tuple[bytes, str]] = {
    "index.html": (HOME, "text/html; charset=utf-8"),
    "about.html": (b"about", "text/html; charset=utf-8"),
    "docs/index.html": (b"docs", "text/html; charset=utf-8"),
    "both.html": (b"both, the file", "text/html; charset=utf-8"),
    "both/index.html": (b"both, the folder", "text/html; charset=utf-8"),
    "LICENSE": (b"MIT", "text/plain; charset=utf-8"),
    "style.css": (b"p{}", "text/css; charset=utf-8"),
    "digits.txt": (b"0123456789", "text/plain; charset=utf-8"),
    "empty.txt": (b"", "text/plain; charset=utf-8"),
    "v1.2/index.html": (b"version", "text/html; charset=utf-8"),
    "100%.txt": (b"per cent", "text/plain; charset=utf-8"),
    "a%20b.txt": (b"escaped", "text/plain; charset=utf-8"),
    "a b/\u00fc.html": (b"umlaut", "text/html; charset=utf-8"),
    "https:evil.example/index.html": (b"evil", "text/html; charset=utf-8"),
}
CONTEXT = context("sites")
quickly = hypothesis_settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def put(name: str, content: bytes, content_type: str = "text/plain", caching: str = "public, max-age=60") -> None:
    aws.s3().put_object(
        Bucket="artifacts", Key=PREFIX + name, Body=content, ContentType=content_type, CacheControl=caching
    )


@pytest.fixture
def site(stack: Settings) -> None:
    for name, (content, content_type) in FILES.items():
        put(name, content, content_type)
    others = ("1/files/x.html", "../01JD6Q2V8W3M4N5P6R7S8T9VAC/1/files/x.html", "../../../jobs/x.json")
    for secret in ("2/result.json", *others):
        place = f"sites/{SLUG}/{LIVE}/{secret}"
        aws.s3().put_object(Bucket="artifacts", Key=posixpath.normpath(place), Body=b"SECRET")


@pytest.fixture
def keys(stack: Settings) -> Iterator[list[str]]:
    """The keys that S3 is asked for."""
    asked: list[str] = []
    events = aws.s3().meta.events
    for name in ("GetObject", "HeadObject"):
        events.register(
            f"provide-client-params.s3.{name}", lambda params, **_: asked.append(params["Key"]), unique_id=name
        )
    yield asked
    for name in ("GetObject", "HeadObject"):
        events.unregister(f"provide-client-params.s3.{name}", unique_id=name)


def get(path: str, **more: Any) -> Response:
    return sites.serve(PREFIX, Request(path, **more))


# --- what is found ---


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/", "index.html"),
        ("", "index.html"),
        ("/index.html", "index.html"),
        ("/about", "about.html"),
        ("/about.html", "about.html"),
        ("/docs/", "docs/index.html"),
        ("/docs/index.html", "docs/index.html"),
        ("/docs/index", "docs/index.html"),
        ("/both", "both.html"),
        ("/both/", "both/index.html"),
        ("/LICENSE", "LICENSE"),
        ("/style.css", "style.css"),
        ("//style.css", "style.css"),
        ("/docs//index.html", "docs/index.html"),
        ("/./docs/../style.css", "style.css"),
        ("/../../style.css", "style.css"),
        ("/v1.2/", "v1.2/index.html"),
        ("/100%25.txt", "100%.txt"),
        ("/100%.txt", "100%.txt"),
        ("/a%20b.txt", "a%20b.txt"),
        ("/a%2520b.txt", "a%20b.txt"),
        ("/a b/\u00fc.html", "a b/\u00fc.html"),
        ("/a%20b/%C3%BC", "a b/\u00fc.html"),
    ],
)
def test_a_file_is_found_and_told_as_it_is(site: None, path: str, name: str) -> None:
    answer = get(path)
    content, content_type = FILES[name]
    assert (answer.status, answer.body) == (200, content)
    assert answer.headers["content-type"] == content_type
    assert answer.headers["cache-control"] == "public, max-age=60"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["etag"].startswith('"')
    assert abs(parsedate_to_datetime(answer.headers["last-modified"]) - datetime.now(UTC)) < timedelta(minutes=5)


@pytest.mark.parametrize(
    ("path", "query", "location"),
    [
        ("/docs", "", "/docs/"),
        ("/docs", "a=1&b=%20x", "/docs/?a=1&b=%20x"),
        ("/docs/.", "", "/docs/"),
        ("//docs", "", "/docs/"),
        ("/%2f%2fdocs", "", "/docs/"),
        ("///../docs", "", "/docs/"),
        ("/v1.2", "", "/v1.2/"),
        ("/https:evil.example", "", "/https%3Aevil.example/"),
        ("/docs", "x\r\nset-cookie: a=b", "/docs/?x%0D%0Aset-cookie:%20a=b"),
    ],
)
def test_a_folder_is_at_its_slash(site: None, path: str, query: str, location: str) -> None:
    answer = get(path, query=query)
    assert (answer.status, answer.headers["location"], answer.body) == (308, location, b"")


@given(st.text("/\\.:%2fdocshtpevilx@?#\r\n\t ", max_size=30).map(lambda text: "/" + text), st.text(max_size=10))
@hypothesis_settings(quickly, max_examples=200)
def test_a_redirect_never_leaves_the_site(stack: Settings, path: str, query: str) -> None:
    assume(sites._clean(unquote(path)))  # the root has no redirect
    for base in ("http://dog.localhost:8000/x/y", "https://dog.example.com" + path):
        location = sites._redirect(f"/{sites.quote(sites._clean(unquote(path)))}/", query).headers["location"]
        assert urljoin(base, location).startswith(base[: base.index("/", 8)] + "/")
        assert location[:2] != "//"
        assert "\\" not in location
        assert location.isprintable()


# --- what is not there ---


def test_a_one_page_application_answers_its_pages(site: None) -> None:
    for path in ("/users/7", "/users/", "/a/b/c"):
        assert get(path, html=True).body == HOME
        assert get(path, html=True).status == 200
        assert get(path).status == 404
    for path in ("/missing.js", "/users/jane.png"):
        answer = get(path, html=True)
        assert (answer.status, answer.body) == (404, b"Not found\n")
        assert answer.headers["cache-control"] == "no-store"


def test_a_site_with_a_404_page_knows_its_pages(site: None) -> None:
    put("404.html", b"not here", "text/html; charset=utf-8")
    for path in ("/users/7", "/missing.js", "/docs/x/"):
        for html in (True, False):
            answer = get(path, html=html)
            assert (answer.status, answer.body) == (404, b"not here")
            assert answer.headers["content-type"] == "text/html; charset=utf-8"


def test_a_404_page_is_whole_whatever_was_asked(site: None) -> None:
    put("404.html", b"not here", "text/html")
    etag = get("/404.html").headers["etag"]
    answer = get("/x", html=True, if_none_match=etag, range="bytes=0-1")
    assert (answer.status, answer.body) == (404, b"not here")
    assert get("/x", head=True).status == 404
    assert get("/x", head=True).body == b""


def test_a_huge_404_page_is_no_redirect(site: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sites, "MAX_BODY", 3)
    put("404.html", b"not here", "text/html")
    answer = get("/x", html=True)
    assert (answer.status, answer.body) == (404, b"Not found\n")


def test_a_site_without_anything(stack: Settings) -> None:
    for path in ("/", "/x", "/x.js"):
        assert get(path, html=True).status == 404


# --- how it is told ---


def test_conditions(site: None) -> None:
    fresh = get("/digits.txt")
    etag, modified = fresh.headers["etag"], fresh.headers["last-modified"]
    later = format_datetime(parsedate_to_datetime(modified) + timedelta(seconds=1), usegmt=True)
    before = format_datetime(parsedate_to_datetime(modified) - timedelta(days=1), usegmt=True)
    for head in (False, True):
        for same in (etag, f"W/{etag}", f'"other", {etag}', f'{etag}, W/"other"', "*"):
            answer = get("/digits.txt", if_none_match=same, head=head)
            assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", etag), same
        assert get("/digits.txt", if_modified_since=later, head=head).status == 304
        for stale in ('"other"', 'W/"other"', '"a", "b"', "", "nonsense", '"' + "x" * 9000, '"\r\nx: y"', "\u2603"):
            assert get("/digits.txt", if_none_match=stale, head=head).status == 200, stale
            assert get("/digits.txt", if_none_match=stale, if_modified_since=later, head=head).status == 200, stale
        for date in (before, "", "nonsense", "0", "Wed, 99 Nov 2026 99:99:99 GMT", "Wed, 21 Oct 99999 07:28:00 GMT"):
            assert get("/digits.txt", if_modified_since=date, head=head).status == 200, date
        assert get("/digits.txt", if_none_match=etag, if_modified_since=before, head=head).status == 304


def test_conditions_of_an_application_page(site: None) -> None:
    etag = get("/users/7", html=True).headers["etag"]
    assert get("/users/8", html=True, if_none_match=etag).status == 304
    assert get("/docs", if_none_match=get("/docs/").headers["etag"]).status == 308


@pytest.mark.parametrize(
    ("wanted", "status", "body", "part"),
    [
        ("bytes=0-0", 206, b"0", "bytes 0-0/10"),
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=8-99", 206, b"89", "bytes 8-9/10"),
        ("bytes=10-", 416, b"", "bytes */10"),
        ("bytes=99-100", 416, b"", "bytes */10"),
        ("bytes=0-1,3-4", 200, b"0123456789", None),
        ("bytes=-", 200, b"0123456789", None),
        ("bytes=4-2", 200, b"0123456789", None),
        ("lines=0-1", 200, b"0123456789", None),
        ("bytes=a-b", 200, b"0123456789", None),
        ("bytes=0-" + "9" * 5000, 200, b"0123456789", None),
        ("bytes=0-1\r\nx: y", 200, b"0123456789", None),
    ],
)
def test_ranges(site: None, wanted: str, status: int, body: bytes, part: str | None) -> None:
    answer = get("/digits.txt", range=wanted)
    assert (answer.status, answer.body, answer.headers.get("content-range")) == (status, body, part)
    whole = get("/digits.txt", range=wanted, head=True)
    assert (whole.status, whole.headers["content-length"]) == (200, "10")


def test_head(site: None) -> None:
    whole, head = get("/digits.txt"), get("/digits.txt", head=True)
    assert (head.status, head.body, head.headers.pop("content-length")) == (200, b"", "10")
    assert head.headers == whole.headers
    assert get("/docs", head=True).status == 308
    assert get("/missing.js", head=True).status == 404


def test_a_big_file_comes_from_the_bucket(site: None) -> None:
    big = bytes(range(256)) * 256 * 65
    put("big.bin", big, "application/octet-stream")
    answer = get("/big.bin")
    assert (answer.status, answer.body, answer.headers["cache-control"]) == (307, b"", "no-store")
    link = answer.headers["location"]
    assert f"/{PREFIX}big.bin?" in link
    assert "X-Amz-Expires=300" in link
    assert requests.get(link, timeout=5).content == big
    assert get("/big.bin", head=True).headers["content-length"] == str(len(big))
    part = get("/big.bin", range="bytes=5-9")
    assert (part.status, part.body) == (206, big[5:10])
    assert get("/big.bin", range="bytes=5-").status == 307


def test_faults_are_raised_not_hidden(site: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(**_: Any) -> Any:
        error: Any = client_error("AccessDenied", "no", "GetObject")
        error.response["ResponseMetadata"]["HTTPStatusCode"] = 403
        raise error

    monkeypatch.setattr(aws.s3(), "get_object", forbidden)
    with pytest.raises(ClientError, match="AccessDenied"):
        get("/")


# --- what can never be reached ---

TRICKS = [
    "/../result.json",
    "/..%2fresult.json",
    "/%2e%2e/result.json",
    "/%2e%2e%2fresult.json",
    "/%252e%252e/result.json",
    "/..;/result.json",
    "/.../result.json",
    "/x/../../result.json",
    "/..\\result.json",
    "/..%5cresult.json",
    "/%2e%2e%5c%2e%2e%5cresult.json",
    "//../result.json",
    "/./../result.json",
    "/%00/../result.json",
    "/index.html%00.js",
    "/../../../01JD6Q2V8W3M4N5P6R7S8T9VAC/1/files/x.html",
    "/../../1/files/x.html",
    "/../../../../jobs/x.json",
    "/%c0%ae%c0%ae/result.json",
    "/\u2024\u2024/result.json",
    "/\uff0e\uff0e/result.json",
    "/\ud800/../result.json",
    "/" + "../" * 500 + "result.json",
    "/" + "a" * 2000,
    "/" + "\u00fc" * 600,
    "/" + "%C3%BC" * 600,
    "/?/../result.json",
    "../result.json",
    "..",
    ".",
    "/..",
    "/../",
    "/result.json",
]


@pytest.mark.parametrize("path", TRICKS, ids=lambda path: path.encode("unicode_escape").decode()[:40])
def test_tricks_with_paths(site: None, keys: list[str], path: str) -> None:
    for html in (True, False):
        answer = get(path, html=html)
        assert b"SECRET" not in answer.body
        assert answer.status in {200, 404}
        assert answer.status == 404 or answer.body == HOME
    check(keys)


def check(keys: list[str]) -> None:
    for key in keys:
        assert key.startswith(PREFIX)
        assert len(key.encode()) <= 1024
        assert not {"", ".", ".."} & set(key.removeprefix(PREFIX).split("/"))
        assert "\0" not in key
        assert "\\" not in key


@given(st.text(st.sampled_from("/\\.%2eE5cCfF0ab\0\u00fc\ud800;?#"), max_size=40) | st.text(max_size=40))
@hypothesis_settings(quickly, max_examples=100)
def test_any_path_stays_below_the_prefix(stack: Settings, keys: list[str], path: str) -> None:
    keys.clear()
    assert get(path, html=True).status == 404
    check(keys)


# --- how often S3 is asked ---


@pytest.mark.parametrize(
    ("path", "first", "then"),
    [
        ("/", 1, 1),
        ("/style.css", 1, 1),
        ("/docs/", 1, 1),
        ("/about", 1, 1),
        ("/docs", 2, 1),
        ("/missing.js", 4, 0),
        ("/users/7", 5, 1),
    ],
)
def test_s3_is_asked_seldom(site: None, keys: list[str], path: str, first: int, then: int) -> None:
    for most in (first, then, then):
        keys.clear()
        get(path, html=True)
        assert len(keys) == most


def test_what_is_remembered_is_bounded(site: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sites, "_MOST_MISSING", 10)
    for number in range(30):
        get(f"/{number}.js")
        assert len(sites.missing) <= 10
    assert get("/style.css").status == 200


# --- hosts ---


@pytest.mark.parametrize(
    ("host", "slug"),
    [
        ("dog.localhost:8000", "dog"),
        ("dog.localhost", "dog"),
        ("dog.localhost:9999", "dog"),
        ("Callous-Tender-DOG.LocalHost:8000", "callous-tender-dog"),
        ("dog.localhost.", "dog"),
        ("dog.localhost.:8000", "dog"),
        ("localhost:8000", None),
        (".localhost", None),
        ("a.b.localhost", None),
        ("dog.localhost.evil.example", None),
        ("dog.evil.example", None),
        ("doglocalhost", None),
        ("dog.notlocalhost", None),
        ("-dog.localhost", None),
        ("dog-.localhost", None),
        ("d_g.localhost", None),
        ("d\u00f6g.localhost", None),
        ("a" * 63 + ".localhost", "a" * 63),
        ("a" * 64 + ".localhost", None),
        ("", None),
        (":8000", None),
        (".", None),
        ("[::1]:8000", None),
        ("127.0.0.1:8000", None),
        ("dog\0.localhost", None),
        ("dog.localhost/x", None),
        ("user@dog.localhost", None),
    ],
)
def test_a_host_names_a_project(host: str, slug: str | None) -> None:
    assert sites.slug_of(host, "http://{slug}.localhost:8000") == slug


@pytest.mark.parametrize(
    ("url", "host", "slug"),
    [
        ("https://{slug}.sites.example.com", "dog.sites.example.com", "dog"),
        ("https://{slug}.Sites.Example.com/", "dog.sites.example.com:443", "dog"),
        ("https://{slug}.sites.example.com", "sites.example.com", None),
        ("https://{slug}.sites.example.com", "a.dog.sites.example.com", None),
        ("https://{slug}-preview.example.com", "dog-preview.example.com", "dog"),
        ("https://{slug}-preview.example.com", "dog.example.com", None),
        ("https://www-{slug}.example.com", "www-dog.example.com", "dog"),
        ("https://www-{slug}.example.com", "www-.example.com", None),
        ("https://sites.example.com/{slug}", "sites.example.com", None),
        ("http://{slug}", "dog", "dog"),
    ],
)
def test_the_address_of_sites_may_be_any(url: str, host: str, slug: str | None) -> None:
    assert sites.slug_of(host, url) == slug


@given(st.text(max_size=80))
def test_any_host_is_a_label_or_none(host: str) -> None:
    slug = sites.slug_of(host, "http://{slug}.localhost:8000")
    assert slug is None or (slug.isascii() and slug.replace("-", "a").isalnum() and slug == slug.lower())


# --- the function ---


def event(path: str = "/", method: str = "GET", query: str = "", **headers: str) -> dict[str, Any]:
    """A request as API Gateway hands it over."""
    [case] = [case for case in cases() if case.name == "sites-page"]
    payload = case.event()
    payload["rawPath"] = payload["requestContext"]["http"]["path"] = path
    payload["requestContext"]["http"]["method"] = method
    payload["rawQueryString"] = query
    payload["cookies"] = ["session=abc", "slug=other"]
    payload["headers"] |= {"host": f"{SLUG}.localhost:8000"}
    payload["headers"] |= {name.replace("_", "-"): value for name, value in headers.items()}
    return payload


def visit(*arguments: Any, **more: Any) -> tuple[int, dict[str, str], bytes]:
    answer = handler(event(*arguments, **more), CONTEXT)
    assert answer["isBase64Encoded"] is True
    assert all(isinstance(value, str) for value in answer["headers"].values())
    return answer["statusCode"], answer["headers"], base64.b64decode(answer["body"])


@pytest.fixture
def live(site: None) -> None:
    projects.create(Project(SLUG, "https://git.example.com/you/site.git", NOW))
    projects.publish(SLUG, LIVE, 2, NOW)


def test_a_visit(live: None) -> None:
    status, headers, body = visit()
    assert (status, headers["content-type"], body) == (200, "text/html; charset=utf-8", HOME)
    assert visit("/digits.txt", range="bytes=0-1")[::2] == (206, b"01")
    assert visit("/digits.txt", method="HEAD")[::2] == (200, b"")
    assert visit("/digits.txt", if_none_match=visit("/digits.txt")[1]["etag"])[0] == 304
    assert visit("/digits.txt", if_modified_since=visit("/digits.txt")[1]["last-modified"])[0] == 304
    assert visit("/docs", query="a=1")[1]["location"] == "/docs/?a=1"


def test_a_part_of_another_version_is_never_mixed_in(live: None) -> None:
    assert visit("/digits.txt", range="bytes=5-", if_range='"old"')[::2] == (200, b"0123456789")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}, 200),
        ({"accept": "*/*"}, 200),
        ({"accept": "*/*", "sec_fetch_dest": "empty"}, 404),
        ({"accept": "*/*", "sec_fetch_dest": "script"}, 404),
        ({"accept": "image/avif,image/webp,*/*;q=0.8"}, 404),
        ({"accept": "application/json"}, 404),
        ({"accept": "application/json, text/plain, */*"}, 404),
    ],
)
def test_who_gets_the_applications_page(live: None, headers: dict[str, str], status: int) -> None:
    assert visit("/users/7", **headers)[0] == status


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "get"])
def test_a_site_is_only_read(live: None, keys: list[str], method: str) -> None:
    status, headers, body = visit(method=method)
    assert (status, headers["allow"], body) == (405, "GET, HEAD", b"")
    assert keys == []


def test_no_site_and_no_live_build(site: None, keys: list[str]) -> None:
    for host in ("unknown.localhost", "localhost", "", "[::1]", "a.b.localhost"):
        status, headers, body = visit(host=host)
        assert (status, headers["content-type"]) == (404, "text/plain; charset=utf-8")
        assert headers["cache-control"] == "no-store"
        assert body == b"There is no site at this address\n"
    projects.create(Project(SLUG, "https://git.example.com/you/site.git", NOW))
    assert visit()[::2] == (404, f"{SLUG} has no live build yet\n".encode())
    assert keys == []


def test_a_request_without_a_host(live: None) -> None:
    bare = event()
    bare["headers"] = {}
    assert handler(bare, CONTEXT)["statusCode"] == 404


def test_a_new_live_build_is_seen_at_once(live: None) -> None:
    newer = f"sites/{SLUG}/01JD6Q2V8W3M4N5P6R7S8T9VAC/1/files/index.html"
    aws.s3().put_object(Bucket="artifacts", Key=newer, Body=b"newer")
    assert visit()[2] == HOME
    projects.publish(SLUG, "01JD6Q2V8W3M4N5P6R7S8T9VAC", 1, NOW)
    assert visit()[2] == b"newer"


def test_site_of_before_attempts_had_places_of_their_own(live: None) -> None:
    aws.s3().put_object(Bucket="artifacts", Key=f"sites/{SLUG}/{LIVE}/files/index.html", Body=b"old")
    aws.dynamodb().update_item(
        TableName="ProjectsTable", Key={"slug": {"S": SLUG}}, UpdateExpression="REMOVE liveAttempt"
    )
    assert visit()[2] == b"old"


@pytest.mark.parametrize("case", [case for case in cases() if case.function == "sites"], ids=str)
def test_event_files_name_no_site_here(live: None, case: Case) -> None:
    """With another address of sites each of the events asks for a site that is not there."""
    assert handler(case.event(), CONTEXT)["statusCode"] == (405 if case.name == "sites-post" else 404)

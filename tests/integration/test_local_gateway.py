"""Local API Gateway: the payload functions get, and what becomes of their answers."""

import http.client
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from local.gateway import Gateway, HttpApi, Refusal, Route
from local.lambdas import Outcome

API = HttpApi(
    "Api",
    (
        Route(None, "$default", "any"),
        Route("GET", "/v1/builds/{id}", "one"),
        Route("GET", "/v1/builds/latest", "latest"),
        Route("POST", "/files/{path+}", "files"),
    ),
)


class Recorder:
    """A function that records its events and gives a set answer."""

    def __init__(self) -> None:
        self.answer: Any = {"statusCode": 200, "body": "ok"}
        self.error: dict[str, str] | None = None
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, arn: str, event: dict[str, Any]) -> Outcome:
        self.calls.append((arn, event))
        return Outcome("id", error=self.error) if self.error else Outcome("id", self.answer)


@pytest.fixture
def function() -> Recorder:
    return Recorder()


@pytest.fixture
def ask(function: Recorder) -> Iterator[Callable[..., tuple[http.client.HTTPResponse, bytes]]]:
    refuse = Refusal(403, "NO", "not so")
    gateway = Gateway(API, 0, function, lambda method, _headers: refuse if method == "PATCH" else None)
    connection = http.client.HTTPConnection("127.0.0.1", gateway.server_port, timeout=10)

    def call(method: str, path: str, body: Any = None, headers: Any = None) -> tuple[http.client.HTTPResponse, bytes]:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response, response.read()

    yield call
    connection.close()
    gateway.shutdown()
    gateway.server_close()


def test_event_has_the_shape_of_a_recorded_one(
    function: Recorder, ask: Callable[..., tuple[http.client.HTTPResponse, bytes]]
) -> None:
    file = Path(__file__).parents[2] / "events" / "api-post-project.json"
    recorded = json.loads(file.read_text())
    ask("POST", "/project", recorded["body"], {"Content-Type": "application/json", "User-Agent": "curl/8.7.1"})
    arn, event = function.calls[0]
    assert arn == "any"
    assert event.keys() == recorded.keys()
    assert event["requestContext"].keys() == recorded["requestContext"].keys()
    assert event["requestContext"]["http"].keys() == recorded["requestContext"]["http"].keys()
    for key in ("version", "routeKey", "rawPath", "rawQueryString", "body", "isBase64Encoded"):
        assert event[key] == recorded[key]
    assert event["headers"]["content-type"] == "application/json"


def test_parameters_query_cookies_and_headers(
    function: Recorder, ask: Callable[..., tuple[http.client.HTTPResponse, bytes]]
) -> None:
    ask("GET", "/v1/builds/a%20b?x=1&x=2&y=%2F&z", headers={"Cookie": "a=1; b=2", "X-Twice": "one"})
    arn, event = function.calls[0]
    assert arn == "one"
    assert event["routeKey"] == "GET /v1/builds/{id}"
    assert event["pathParameters"] == {"id": "a b"}
    assert event["rawPath"] == "/v1/builds/a b"
    assert event["rawQueryString"] == "x=1&x=2&y=%2F&z"
    assert event["queryStringParameters"] == {"x": "1,2", "y": "/", "z": ""}
    assert event["cookies"] == ["a=1", "b=2"]
    assert "cookie" not in event["headers"]


def test_most_exact_route_wins(function: Recorder, ask: Callable[..., tuple[http.client.HTTPResponse, bytes]]) -> None:
    for method, path in (("GET", "/v1/builds/latest"), ("POST", "/files/a/b"), ("DELETE", "/v1/builds/7")):
        ask(method, path)
    assert [arn for arn, _ in function.calls] == ["latest", "files", "any"]
    assert function.calls[1][1]["pathParameters"] == {"path": "a/b"}


def test_binary_body_is_encoded(function: Recorder, ask: Callable[..., tuple[http.client.HTTPResponse, bytes]]) -> None:
    ask("POST", "/x", b"\xff\0", {"content-type": "application/octet-stream"})
    assert function.calls[0][1]["isBase64Encoded"] is True
    assert function.calls[0][1]["body"] == "/wA="


def test_answers(function: Recorder, ask: Callable[..., tuple[http.client.HTTPResponse, bytes]]) -> None:
    function.answer = {
        "statusCode": 201,
        "headers": {"Location": "/ü\r\nx: y"},
        "cookies": ["a=1", "b=2"],
        "body": "/wA=",
        "isBase64Encoded": True,
    }
    response, body = ask("GET", "/")
    assert (response.status, body) == (201, b"\xff\0")
    assert response.headers.get_all("set-cookie") == ["a=1", "b=2"]
    assert "x" not in response.headers
    function.answer = {"any": "thing"}
    response, body = ask("GET", "/")
    assert (response.status, json.loads(body)) == (200, {"any": "thing"})
    function.answer = {"statusCode": 304, "headers": {"etag": '"x"'}}
    response, body = ask("GET", "/")
    assert (response.status, body, response.headers["content-length"]) == (304, b"", None)
    function.error = {"errorType": "ValueError", "errorMessage": "secret"}
    response, body = ask("GET", "/")
    assert (response.status, json.loads(body)) == (500, {"message": "Internal Server Error"})
    function.error = {"errorType": "Sandbox.Timedout", "errorMessage": ""}
    assert ask("GET", "/")[0].status == 503


def test_refused_and_malformed_requests_reach_no_function(
    function: Recorder, ask: Callable[..., tuple[http.client.HTTPResponse, bytes]]
) -> None:
    response, body = ask("PATCH", "/x", b"{}")
    assert response.status == 403
    assert json.loads(body)["code"] == "NO"
    assert ask("POST", "/x", None, {"content-length": "99999999999"})[0].status == 413
    assert function.calls == []


def test_many_at_once(function: Recorder, ask: Callable[..., tuple[http.client.HTTPResponse, bytes]]) -> None:
    ask("GET", "/")
    threads = [threading.Thread(target=ask, args=("GET", "/")) for _ in range(1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(function.calls) == 2

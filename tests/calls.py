"""Requests to the API function, and what every answer must be."""

import json
from typing import Any
from urllib.parse import unquote

from functions.api.app import handler
from tests.context import context
from tests.fakes import FakeEcs
from tidegate import aws

URL = "https://git.example.com/you/site.git"
BUILD_ID = "01JD6Q2V8W3M4N5P6R7S8T9VAB"
JSON = {"content-type": "application/json", "host": "api.example.com"}
CONTEXT = context("api")


def call(method: str, path: str, body: Any = None, **extra: Any) -> tuple[int, Any, dict[str, str]]:
    """An answer's status, its body as JSON, and its headers."""
    answer = respond(method, path, body, **extra)
    return answer["statusCode"], json.loads(answer["body"]) if answer["body"] else None, answer["headers"]


def respond(method: str, path: str, body: Any = None, **extra: Any) -> Any:
    """The function's answer as it is."""
    path, _, query = path.partition("?")
    event = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "headers": JSON,
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "a1b2c3d4e5",
            "domainName": "api.example.com",
            "http": {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "x"},
            "requestId": "JKJaXmPLvHcESHA=",
            "routeKey": "$default",
            "stage": "$default",
            "time": "21/Nov/2026:07:30:00 +0000",
            "timeEpoch": 1795246200000,
        },
        "isBase64Encoded": False,
    } | extra
    if query:
        pairs = [part.partition("=") for part in query.split("&")]
        event["queryStringParameters"] = {unquote(name): unquote(value) for name, _, value in pairs}
    if body is not None:
        event["body"] = body if isinstance(body, str) else json.dumps(body)
    answer = json.loads(json.dumps(handler(event, CONTEXT)))
    assert answer["isBase64Encoded"] is False
    return answer


def world(ecs: FakeEcs) -> Any:
    """All that is written and started."""
    tables = [aws.dynamodb().scan(TableName=name)["Items"] for name in ("BuildsTable", "ProjectsTable", "LogsTable")]
    objects = aws.s3().list_objects_v2(Bucket="artifacts").get("Contents", [])
    return tables, [(each["Key"], each["ETag"]) for each in objects], len(ecs.calls), list(ecs.stopped)


NOTHING: Any = ([[], [], []], [], 0, [])


def assert_problem(answer: tuple[int, Any, dict[str, str]], status: int, code: str, path: str = "/project") -> Any:
    """The answer is problem details (RFC 9457), on `/project` with the first clients' keys, too."""
    told, body, headers = answer
    assert (told, body["status"], body["code"]) == (status, status, code), body
    assert headers["Content-Type"] == "application/problem+json"
    assert headers["Cache-Control"] == "no-store"
    assert {"type", "title", "status", "code", "detail", "requestId"} <= set(body)
    assert (body["type"], body["requestId"]) == ("about:blank", "JKJaXmPLvHcESHA=")
    assert body["title"]
    assert body["detail"]
    for error in body.get("errors", []):
        assert set(error) == {"field", "message"}
    if path == "/project":
        assert (body["error"], body["details"]) == (body["title"], body.get("errors", body["detail"]))
    else:
        assert not {"error", "details"} & set(body)
    return body


def fields_of(body: Any) -> set[str]:
    return {error["field"] for error in body["errors"]}

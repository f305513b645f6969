"""The API function against moto: what clients send, what they get, and what is written."""

import json
from types import SimpleNamespace
from typing import Any

from functions.api.app import handler
from tests.fakes import FakeEcs
from tidegate import builds, slots

URL = "https://git.example.com/you/site.git"
CONTEXT = SimpleNamespace(
    function_name="api",
    memory_limit_in_mb=512,
    invoked_function_arn="arn:aws:lambda:eu-central-1:123456789012:function:api",
    aws_request_id="6d3b5a6e-3b5e-4d0f-9f0b-0c2f5d1f0a11",
)


def call(method: str, path: str, body: Any = None, **extra: Any) -> tuple[int, Any, dict[str, str]]:
    path, _, query = path.partition("?")
    event = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "headers": {"content-type": "application/json", "host": "api.example.com"},
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
        event["queryStringParameters"] = dict(part.split("=", 1) for part in query.split("&"))
    if body is not None:
        event["body"] = body if isinstance(body, str) else json.dumps(body)
    answer = handler(event, CONTEXT)
    return answer["statusCode"], json.loads(answer["body"]), answer["headers"]


def test_first_contract_to_the_letter(ecs: FakeEcs) -> None:
    status, body, headers = call("POST", "/project", {"gitURL": URL})
    slug = body["data"]["projectSlug"]
    assert status == 200
    assert headers["Content-Type"] == "application/json"
    assert len(slug.split("-")) >= 3
    assert body == {
        "status": "queued",
        "data": {"projectSlug": slug, "url": f"http://{slug}.localhost:8000", "buildId": body["data"]["buildId"]},
    }
    build = builds.get(body["data"]["buildId"])
    assert build and (build.status, build.project_slug, build.source.url) == ("starting", slug, URL)
    assert slots.holders() == {build.id}
    assert [build.task_arn] == [task["taskArn"] for task in ecs.tasks.values()]

"""The payloads of API Gateway: requests to HTTP APIs (version 2.0) and to WebSocket APIs, and functions' answers."""

import base64
import json
import re
import secrets
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl, unquote

from local.account import ACCOUNT
from local.lambdas import Outcome
from local.viewers import Viewer

TEXT = re.compile(r"^(text/|application/(json|xml|javascript)\b|application/[\w.+-]+\+json\b)")


def event_of(
    request: BaseHTTPRequestHandler, route_key: str, parameters: Mapping[str, str], path: str, query: str, body: bytes
) -> dict[str, Any]:
    """The request as an HTTP API hands it to a function."""
    headers: dict[str, str] = {}
    for key, value in request.headers.items():
        headers[key.lower()] = f"{headers[key.lower()]},{value}" if key.lower() in headers else value
    cookies = [cookie.strip() for cookie in headers.pop("cookie", "").split(";") if cookie.strip()]
    now = datetime.now(UTC)
    host = headers.get("host", "")
    headers |= {"x-forwarded-for": "127.0.0.1", "x-forwarded-proto": "http"}
    headers |= {"x-forwarded-port": host.rpartition(":")[2] if ":" in host else "80"}
    text = bool(TEXT.match(headers.get("content-type", "")))
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": route_key,
        "rawPath": unquote(path),  # HTTP APIs decode the path, and leave the query as it is
        "rawQueryString": query,
        "headers": headers,
        "requestContext": {
            "accountId": ACCOUNT,
            "apiId": "local",
            "domainName": host,
            "domainPrefix": host.split(".")[0],
            "http": {
                "method": request.command,
                "path": unquote(path),
                "protocol": request.request_version,
                "sourceIp": "127.0.0.1",
                "userAgent": headers.get("user-agent", ""),
            },
            "requestId": _request_id(),
            "routeKey": route_key,
            "stage": "$default",
            "time": now.strftime("%d/%b/%Y:%H:%M:%S +0000"),
            "timeEpoch": int(time.time() * 1000),
        },
        "isBase64Encoded": bool(body) and not text,
    }
    values: dict[str, str] = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        values[key] = f"{values[key]},{value}" if key in values else value
    if values:
        event["queryStringParameters"] = values
    if parameters:
        event["pathParameters"] = dict(parameters)
    if cookies:
        event["cookies"] = cookies
    if body:
        event["body"] = body.decode("utf-8", "replace") if text else base64.b64encode(body).decode()
    return event


def answer_of(outcome: Outcome) -> tuple[int, dict[str, Any], bytes]:
    """Status, headers and body of a function's answer, as an HTTP API makes them of it."""
    if outcome.error:
        late = outcome.error["errorType"] == "Sandbox.Timedout"
        status, message = (503, "Service Unavailable") if late else (500, "Internal Server Error")
        return status, {"content-type": "application/json"}, json.dumps({"message": message}).encode()
    result = outcome.result
    if not isinstance(result, dict) or "statusCode" not in result:
        return 200, {"content-type": "application/json"}, json.dumps(result).encode()
    headers: dict[str, Any] = {str(key).lower(): value for key, value in (result.get("headers") or {}).items()}
    headers.setdefault("content-type", "text/plain;charset=UTF-8")
    if result.get("cookies"):
        headers["set-cookie"] = list(result["cookies"])
    body = result.get("body") or ""
    data = base64.b64decode(body) if result.get("isBase64Encoded") else str(body).encode()
    return int(result["statusCode"]), headers, data


def connect_event(viewer: Viewer, headers: list[tuple[str, str]], query: str) -> dict[str, Any]:
    """A WebSocket API's event of a client that wants to connect."""
    port = viewer.host.partition(":")[2] or "80"
    forwarded = [("X-Forwarded-For", "127.0.0.1"), ("X-Forwarded-Port", port), ("X-Forwarded-Proto", "http")]
    given = _lists([*headers, *forwarded])
    event = {"headers": {key: values[-1] for key, values in given.items()}, "multiValueHeaders": given}
    values = _lists(parse_qsl(query, keep_blank_values=True))
    if values:
        event["queryStringParameters"] = {key: each[-1] for key, each in values.items()}
        event["multiValueQueryStringParameters"] = values
    return {**event, **_socket_event(viewer, "$connect", "CONNECT")}


def message_event(viewer: Viewer, route_key: str, body: str) -> dict[str, Any]:
    """A WebSocket API's event of a message."""
    return {**_socket_event(viewer, route_key, "MESSAGE", messageId=_request_id()), "body": body}


def disconnect_event(viewer: Viewer, code: int, reason: str) -> dict[str, Any]:
    """A WebSocket API's event of a connection that is closed."""
    headers = {"Host": viewer.host, "x-api-key": "", "X-Forwarded-For": "", "x-restapi": ""}
    event = _socket_event(viewer, "$disconnect", "DISCONNECT", disconnectStatusCode=code, disconnectReason=reason)
    return {"headers": headers, "multiValueHeaders": _lists(list(headers.items())), **event}


def _socket_event(viewer: Viewer, route_key: str, kind: str, **more: str | int) -> dict[str, Any]:
    request_id = _request_id()
    context = {
        "routeKey": route_key,
        **more,
        "eventType": kind,
        "extendedRequestId": request_id,
        "requestTime": datetime.now(UTC).strftime("%d/%b/%Y:%H:%M:%S +0000"),
        "messageDirection": "IN",
        "stage": viewer.stage,
        "connectedAt": int(viewer.connected_at * 1000),
        "requestTimeEpoch": int(time.time() * 1000),
        "identity": viewer.identity,
        "requestId": request_id,
        "domainName": viewer.host,
        "connectionId": viewer.id,
        "apiId": "local",
    }
    return {"requestContext": context, "isBase64Encoded": False}


def _request_id() -> str:
    return secrets.token_urlsafe(11) + "="


def _lists(pairs: list[tuple[str, str]]) -> dict[str, list[str]]:
    lists: dict[str, list[str]] = {}
    for key, value in pairs:
        lists.setdefault(key, []).append(value)
    return lists

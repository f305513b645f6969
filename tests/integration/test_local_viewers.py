"""The local WebSocket API: what functions get, who may connect, its limits, and the management API by botocore."""

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from local import viewers
from local.aws import Endpoint
from local.gateway import api_check
from local.lambdas import Outcome
from local.viewers import Viewers
from local.websocket import WebSocketApi, WebSocketGateway, path_of
from tests.e2e.local_stack import wait_until

KEYS = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "us-east-1"}
ROUTES = {key: key.lstrip("$") for key in ("$connect", "$disconnect", "$default", "subscribe")}
EVENTS = Path(__file__).parents[2] / "events"
SECONDS = 10


class Functions:
    """Functions that record their events and give set answers."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self._changed = threading.Condition()

    def __call__(self, arn: str, event: dict[str, Any]) -> Outcome:
        with self._changed:
            self.calls.append((arn, event))
            self._changed.notify_all()
        answer = self.answers.get(arn, {"statusCode": 200})
        if callable(answer):
            answer = answer(event)
        return answer if isinstance(answer, Outcome) else Outcome("id", answer)

    def event(self, arn: str) -> dict[str, Any]:
        """The first event of a function, once it is there."""

        def found() -> list[dict[str, Any]]:
            return [event for name, event in self.calls if name == arn]

        with self._changed:
            assert self._changed.wait_for(found, SECONDS), self.calls
        return found()[0]


class Api:
    """A WebSocket API beside an AWS endpoint, and botocore's client for its connections."""

    def __init__(self, routes: dict[str, str]) -> None:
        self.functions = Functions()
        self.endpoint = Endpoint()
        self.viewers = self.endpoint.viewers = Viewers()
        api = WebSocketApi("ViewersApi", "live", ("action",), routes)
        self.gateway = WebSocketGateway(api, 0, self.functions, api_check, self.viewers)
        self.url = f"ws://127.0.0.1:{self.gateway.port}"
        once = Config(retries={"total_max_attempts": 1})
        self.client: Any = boto3.client("apigatewaymanagementapi", endpoint_url=self.endpoint.url, config=once, **KEYS)

    def dial(self, path: str = "/live", **more: Any) -> ClientConnection:
        return connect(self.url + path, compression=None, proxy=None, **more)

    def connection_id(self, number: int = 0) -> str:
        """The id of a connection, once it can be reached."""
        connects = [event for arn, event in self.functions.calls if arn == "connect"]
        connection_id = str(connects[number]["requestContext"]["connectionId"])
        wait_until(lambda: connection_id in self.viewers._open)
        return connection_id

    def code(self, call: str, **arguments: Any) -> str:
        """The error code that a call ends with."""
        with pytest.raises(ClientError) as caught:
            getattr(self.client, call)(**arguments)
        return str(caught.value.response["Error"]["Code"])

    def close(self) -> None:
        self.client.close()
        self.gateway.close()
        self.endpoint.close()


@pytest.fixture
def api() -> Iterator[Api]:
    made = Api(ROUTES)
    yield made
    made.close()


def closed_with(client: ClientConnection) -> int | None:
    """The code that the server closes the connection with."""
    try:
        while True:
            client.recv(SECONDS)
    except ConnectionClosed:
        return client.close_code


def test_events_are_those_of_api_gateway(api: Api) -> None:
    with api.dial("/live?a=1&a=2", user_agent_header="viewer/1") as client:
        client.send('{"action": "subscribe", "buildId": "ü"}')
        message = api.functions.event("subscribe")
    connected, left = api.functions.event("connect"), api.functions.event("disconnect")
    assert connected["queryStringParameters"] == {"a": "2"}
    assert connected["multiValueQueryStringParameters"] == {"a": ["1", "2"]}
    assert connected["headers"]["Sec-WebSocket-Version"] == "13"
    assert connected["multiValueHeaders"]["X-Forwarded-For"] == ["127.0.0.1"]
    assert message["body"] == '{"action": "subscribe", "buildId": "ü"}'
    assert left["headers"]["Host"] == f"127.0.0.1:{api.gateway.port}"
    events = {"CONNECT": connected, "MESSAGE": message, "DISCONNECT": left}
    for kind, event in events.items():
        context = event["requestContext"]
        assert event["isBase64Encoded"] is False
        assert context["eventType"] == kind
        assert context["identity"] == {"sourceIp": "127.0.0.1", "userAgent": "viewer/1"}
        assert (context["stage"], context["messageDirection"]) == ("live", "IN")
        assert context["connectedAt"] <= context["requestTimeEpoch"]
        file = {"CONNECT": "connect-signed", "MESSAGE": "subscribe", "DISCONNECT": "disconnect"}[kind]
        recorded = json.loads((EVENTS / f"viewers-{file}.json").read_text())
        assert event.keys() == recorded.keys()
        assert context.keys() == recorded["requestContext"].keys()
        assert context["routeKey"] == recorded["requestContext"]["routeKey"]
    assert left["headers"].keys() == json.loads((EVENTS / "viewers-disconnect.json").read_text())["headers"].keys()
    assert len({event["requestContext"]["connectionId"] for event in events.values()}) == 1
    assert len({event["requestContext"]["requestId"] for event in events.values()}) == 3


@pytest.mark.parametrize(
    ("message", "route"),
    [
        ('{"action": "subscribe"}', "subscribe"),
        ('{"action": "else"}', "default"),
        ('{"action": "$connect"}', "default"),
        ('{"action": ["subscribe"]}', "default"),
        ("[1]", "default"),
        ("subscribe", "default"),
        ("", "default"),
    ],
)
def test_messages_find_their_route(api: Api, message: str, route: str) -> None:
    with api.dial() as client:
        client.send(message)
        event = api.functions.event(route)
    assert event["body"] == message
    assert event["requestContext"]["routeKey"].lstrip("$") == route


def test_where_routes_stand() -> None:
    assert path_of("$request.body.action") == ("action",)
    assert path_of("${request.body.a.b}") == ("a", "b")
    with pytest.raises(ValueError, match="header"):
        path_of("$request.header.x")


@pytest.mark.parametrize(
    "answer", [Outcome("id", error={"errorType": "ValueError", "errorMessage": "secret"}), None, {"body": "x"}]
)
def test_client_is_told_of_an_error(api: Api, answer: Any) -> None:
    api.functions.answers["default"] = answer
    with api.dial() as client:
        client.send("x")
        told = json.loads(client.recv(SECONDS))
        context = api.functions.event("default")["requestContext"]
        ids = {"connectionId": context["connectionId"], "requestId": context["requestId"]}
        assert told == {"message": "Internal server error", **ids}


def test_message_without_a_route_is_forbidden() -> None:
    api = Api({"subscribe": "subscribe"})
    with api.dial() as client:
        client.send("x")
        assert json.loads(client.recv(SECONDS))["message"] == "Forbidden"
    api.close()
    assert api.functions.calls == []


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (Outcome("id", error={"errorType": "ValueError", "errorMessage": "secret"}), 502),
        ("text", 502),
        ({"statusCode": 401}, 401),
        ({"statusCode": 500}, 500),
    ],
)
def test_connect_may_refuse(api: Api, answer: Any, status: int) -> None:
    api.functions.answers["connect"] = answer
    with pytest.raises(InvalidStatus) as caught:
        api.dial()
    assert caught.value.response.status_code == status
    assert b"secret" not in caught.value.response.body
    assert [name for name, _ in api.functions.calls] == ["connect"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://some-site.localhost:8000"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Host": "rebound.example.com"}, 421),
    ],
)
def test_no_web_page_can_connect(api: Api, headers: dict[str, str], status: int) -> None:
    with socket.create_connection(("127.0.0.1", api.gateway.port), SECONDS) as raw:
        fields = {"Host": f"127.0.0.1:{api.gateway.port}", "Upgrade": "websocket", "Connection": "Upgrade"}
        fields |= {"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", **headers}
        raw.sendall("\r\n".join(["GET / HTTP/1.1", *(f"{k}: {v}" for k, v in fields.items()), "\r\n"]).encode())
        assert raw.recv(1000).startswith(f"HTTP/1.1 {status} ".encode())
    assert api.functions.calls == []


def test_other_paths_and_plain_requests_reach_no_function(api: Api) -> None:
    with pytest.raises(InvalidStatus, match="403"):
        api.dial("/other")
    with socket.create_connection(("127.0.0.1", api.gateway.port), SECONDS) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert raw.recv(1000).startswith(b"HTTP/1.1 426 ")
    assert api.functions.calls == []


@pytest.mark.parametrize(
    ("message", "code"),
    [("x" * (32 * 1024 + 1), 1009), (["x" * 32 * 1024] * 4 + ["x"], 1009), (b"binary", 1003)],
)
def test_too_large_and_binary_messages_close_the_connection(api: Api, message: Any, code: int) -> None:
    with api.dial() as client:
        with contextlib.suppress(ConnectionClosed):  # it may be closed before all of the message is sent
            client.send(message)
        assert closed_with(client) == code
    assert api.functions.event("disconnect")["requestContext"]["disconnectStatusCode"] == code
    assert "default" not in dict(api.functions.calls)


def test_large_message_comes_in_frames(api: Api) -> None:
    with api.dial() as client:
        client.send(["x" * 32 * 1024] * 4)
        assert len(api.functions.event("default")["body"]) == 128 * 1024
        text = "ü" * 64 * 1024
        api.client.post_to_connection(ConnectionId=api.connection_id(), Data=text)
        frames = list(client.recv_streaming(decode=False))
    assert max(len(frame) for frame in frames) == 32 * 1024
    assert b"".join(frames).decode() == text


def test_management_api(api: Api) -> None:
    with api.dial(user_agent_header="viewer/1") as client:
        connection_id = api.connection_id()
        for number in range(100):
            api.client.post_to_connection(ConnectionId=connection_id, Data=f"{number}")
        assert [client.recv(SECONDS) for _ in range(100)] == [f"{number}" for number in range(100)]
        api.client.post_to_connection(ConnectionId=connection_id, Data=b"")
        assert client.recv(SECONDS) == ""
        found = api.client.get_connection(ConnectionId=connection_id)
        assert found["Identity"] == {"SourceIp": "127.0.0.1", "UserAgent": "viewer/1"}
        assert found["ConnectedAt"] <= found["LastActiveAt"]
        large = api.code("post_to_connection", ConnectionId=connection_id, Data=b"x" * (128 * 1024 + 1))
        assert large == "PayloadTooLargeException"
        api.client.post_to_connection(ConnectionId=connection_id, Data="last")
        api.client.delete_connection(ConnectionId=connection_id)
        assert api.code("post_to_connection", ConnectionId=connection_id, Data="x") == "GoneException"
        assert client.recv(SECONDS) == "last"
        assert closed_with(client) == 1000
    left = api.functions.event("disconnect")["requestContext"]
    assert (left["disconnectStatusCode"], left["connectionId"]) == (1000, connection_id)
    for call in ("get_connection", "delete_connection"):
        assert api.code(call, ConnectionId=connection_id) == "GoneException"
    assert api.code("post_to_connection", ConnectionId="un/known+=", Data="x") == "GoneException"


def test_connection_is_not_there_before_it_is_accepted(api: Api) -> None:
    def post(event: dict[str, Any]) -> dict[str, int]:
        connection_id = event["requestContext"]["connectionId"]
        codes.append(api.code("post_to_connection", ConnectionId=connection_id, Data="x"))
        return {"statusCode": 200}

    codes: list[str] = []
    api.functions.answers["connect"] = post
    with api.dial():
        pass
    assert codes == ["GoneException"]


def test_client_that_does_not_read_holds_up_nobody(api: Api) -> None:
    with api.dial(max_queue=1) as slow:  # which reads nothing before it is asked to
        slow_id = api.connection_id()
        codes = []
        while not codes:
            try:
                api.client.post_to_connection(ConnectionId=slow_id, Data=b"x" * 128 * 1024)
            except ClientError as error:
                codes.append(error.response["Error"]["Code"])
        assert codes == ["LimitExceededException"]
        with api.dial() as quick:
            api.client.post_to_connection(ConnectionId=api.connection_id(1), Data="for you")
            assert quick.recv(SECONDS) == "for you"
        api.client.delete_connection(ConnectionId=slow_id)
        assert api.code("post_to_connection", ConnectionId=slow_id, Data="x") == "GoneException"
        assert api.viewers._open[slow_id]._waiting
        api.viewers._open[slow_id].cut()
        assert closed_with(slow) == 1006


@pytest.mark.parametrize("limit", ["IDLE_SECONDS", "LIFE_SECONDS"])
def test_idle_and_old_connections_are_closed(api: Api, limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewers, limit, 0.2)
    with api.dial() as client:
        assert closed_with(client) == 1001
    left = api.functions.event("disconnect")["requestContext"]
    assert (left["disconnectStatusCode"], left["disconnectReason"]) == (1001, "Going away")


def test_function_hears_how_a_connection_ended(api: Api) -> None:
    with api.dial() as client:
        client.close(4000, "enough")
    left = api.functions.event("disconnect")["requestContext"]
    assert (left["disconnectStatusCode"], left["disconnectReason"]) == (4000, "enough")
    api.functions.calls.clear()
    with api.dial() as client:
        client.socket.shutdown(socket.SHUT_RDWR)
        assert api.functions.event("disconnect")["requestContext"]["disconnectStatusCode"] == 1006


def test_messages_of_one_connection_are_handled_side_by_side(api: Api) -> None:
    met = threading.Barrier(2)

    def meet(_event: dict[str, Any]) -> dict[str, int]:
        met.wait(SECONDS)
        return {"statusCode": 200}

    api.functions.answers["default"] = meet
    with api.dial() as client:
        client.send("one")
        client.send("two")
        api.functions.event("default")
    api.functions.event("disconnect")
    assert not met.broken

"""Short requests to AWS: signed as botocore signs, and made again by botocore where they are not answered well."""

import base64
import json
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import quote

import botocore.session
import pytest
from botocore import auth
from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.config import Config
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, ParamValidationError
from hypothesis import given
from hypothesis import strategies as st

from tidegate import aws, direct

KEY = {"id": {"S": "a"}}
UNMET = {"__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException", "message": "no", "Item": KEY}
THROTTLED = {
    "__type": "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException",
    "message": "slow down",
}


class Server(ThreadingHTTPServer):
    """Gives the answers it was told, in turn, the last one for ever; None is no answer at all."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[tuple[int, Any, dict[str, str]] | None] = []
        self.asked: list[tuple[str, dict[str, str], bytes]] = []

    def say(self, *answers: tuple[int, Any] | tuple[int, Any, dict[str, str]] | None) -> None:
        self.answers = [each if each is None or len(each) == 3 else (*each, {}) for each in answers]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        server: Any = self.server
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server.asked.append((self.path, dict(self.headers), body))
        answer = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
        if answer is None:
            self.close_connection = True
            return
        status, given, headers = answer
        content = given if isinstance(given, bytes) else json.dumps(given).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def client(server: Server, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """A client of the layer's, of that server."""
    monkeypatch.setattr(direct, "_PAUSE", 0)

    def make(service: str) -> Any:
        url = f"http://127.0.0.1:{server.server_port}" + ("/live" if service != "dynamodb" else "")
        config = Config(connect_timeout=1, read_timeout=1, retries={"mode": "standard", "total_max_attempts": 2})
        return aws._create(service, config, endpoint_url=url, region_name="eu-central-1", **KEYS)

    return make


KEYS = {"aws_access_key_id": "AKID", "aws_secret_access_key": "secret", "aws_session_token": "token"}
names = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1).map(lambda name: f"X-{name}")
texts = st.text(st.characters(min_codepoint=33, max_codepoint=126))


@given(
    st.tuples(texts.filter(bool), texts.filter(bool), st.none() | texts.filter(bool)),
    st.text(max_size=20).filter(lambda name: name not in {".", ".."}),  # API Gateway's ids have no dots
    st.dictionaries(names, texts, max_size=4),
    st.binary(max_size=100),
    st.sampled_from(
        [
            "https://dynamodb.eu-central-1.amazonaws.com",
            "http://127.0.0.1:4566",
            "https://Api.example:443",
            "http://api.example:80",
            "https://api.example:80",
            "https://user:word@api.example",
            "http://[::1]:4566",
        ]
    ),
)
def test_signature_is_botocores(
    keys: tuple[str, str, str | None], name: str, headers: dict[str, str], body: bytes, host: str
) -> None:
    credentials, url = ReadOnlyCredentials(*keys), f"{host}/live/@connections/{quote(name, safe='-._~')}"
    ours = {"Content-Type": "x/y", "User-Agent": "Tidegate", **headers}
    theirs = AWSRequest("POST", url, headers=dict(ours), data=body)
    direct.sign(credentials, "eu-central-1", "execute-api", url, ours, body)
    moment = datetime.strptime(ours["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(auth, "get_current_datetime", lambda: moment)
        auth.SigV4Auth(credentials, "execute-api", "eu-central-1").add_auth(theirs)
    assert ours == dict(theirs.headers)


@pytest.mark.parametrize("dual_stack", [False, True])
@pytest.mark.parametrize("fips", [False, True])
def test_requests_go_where_botocore_sends_them(fips: bool, dual_stack: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "_PAUSE", 0)
    plain = botocore.session.Session()
    config = Config(use_fips_endpoint=fips, use_dualstack_endpoint=dual_stack)
    loader = plain.get_component("data_loader")
    partitions = loader.load_data("partitions")["partitions"]
    regions = [region for each in partitions for region in each["regions"] if not region.endswith("-global")]
    assert {"eu-central-1", "us-gov-west-1", "cn-north-1", "us-iso-east-1", "eusc-de-east-1"} <= set(regions)
    places = set()
    for region in regions:
        given = {"config": config, "region_name": region, **KEYS}
        ours = places_of(lambda given=given: aws._create("dynamodb", **given))
        assert ours == places_of(lambda given=given: plain.create_client("dynamodb", **given)), region
        places.add(str(ours))
    assert len(places) > len(regions) / 2


def places_of(make: Callable[[], Any]) -> Any:
    """Where requests of the client's went, or why there is no such client."""
    try:
        client = make()
        got = sent(client, "get_item", {"TableName": "T", "Key": KEY})
        return got + sent(client, "batch_get_item", {"RequestItems": {"T": {"Keys": [KEY]}}})
    except BotoCoreError as error:
        return type(error)


@pytest.mark.parametrize(
    "url",
    [
        "https://abc.execute-api.eu-central-1.amazonaws.com/live",
        "https://abc.execute-api.eu-central-1.amazonaws.com:443/live/",
        "http://127.0.0.1:4566",
    ],
)
def test_requests_go_to_the_endpoint_that_is_given(url: str) -> None:
    plain, given = botocore.session.Session(), {"endpoint_url": url, "region_name": "eu-central-1", **KEYS}
    for service, method, words in (
        ("dynamodb", "get_item", {"TableName": "T", "Key": KEY}),
        ("apigatewaymanagementapi", "post_to_connection", {"ConnectionId": "a/b=", "Data": b"x"}),
    ):
        theirs = sent(plain.create_client(service, **given), method, words)
        assert sent(aws._create(service, Config(), **given), method, words) == theirs
        assert len(theirs) == 1


def test_account_of_the_credentials_is_part_of_the_host_as_botocore_has_it() -> None:
    plain, given = botocore.session.Session(), {"region_name": "eu-central-1", "aws_account_id": "123456789012", **KEYS}
    words = {"TableName": "T", "Key": KEY}
    theirs = sent(plain.create_client("dynamodb", **given), "get_item", words)
    assert sent(aws._create("dynamodb", Config(), **given), "get_item", words) == theirs
    assert "123456789012" in theirs[0][0]


def sent(client: Any, method: str, words: dict[str, Any]) -> list[tuple[str, str]]:
    """Where the requests of a call went, and the scope they were signed for; the first is answered well."""
    requests = []

    def answer(request: Any, **_: Any) -> AWSResponse:
        scope = str(request.headers["Authorization"]).partition("Credential=")[2].partition(",")[0]
        requests.append((request.url, scope.partition("/")[2].partition("/")[2]))
        return AWSResponse(request.url, 200, {}, Raw())  # type: ignore[arg-type]

    client.meta.events.register("before-send", answer)
    getattr(client, method)(**words)
    client.meta.events.unregister("before-send", answer)
    return requests


class Raw:
    """An answer's body, as urllib3 gives it."""

    def stream(self) -> Iterator[bytes]:
        yield b"{}"


def test_client_without_credentials_says_so(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "_PAUSE", 0)
    for service, method, words in (
        ("dynamodb", "get_item", {"TableName": "T", "Key": KEY}),
        ("apigatewaymanagementapi", "post_to_connection", {"ConnectionId": "a", "Data": b"x"}),
    ):
        url = f"http://127.0.0.1:{server.server_port}"
        client = aws._create(service, Config(), endpoint_url=url, region_name="eu-central-1", **KEYS)
        monkeypatch.setattr(client, "_get_credentials", lambda: None)
        client._request_signer._credentials = None
        with pytest.raises(NoCredentialsError):
            getattr(client, method)(**words)
    assert not server.asked


def test_call_is_one_request(server: Server, client: Callable[[str], Any]) -> None:
    server.say((200, {"Item": {"id": {"S": "a"}, "B": {"M": {"x": {"B": base64.b64encode(b"\x00\xff").decode()}}}}}))
    found = client("dynamodb").get_item(TableName="T", Key={"id": {"B": b"\x00\xff"}}, ConsistentRead=True)
    assert found == {"Item": {"id": {"S": "a"}, "B": {"M": {"x": {"B": b"\x00\xff"}}}}}
    [(path, headers, body)] = server.asked
    assert (path, headers["X-Amz-Target"], headers["Content-Type"], headers["X-Amz-Security-Token"]) == (
        "/",
        "DynamoDB_20120810.GetItem",
        "application/x-amz-json-1.0",
        "token",
    )
    assert json.loads(body) == {"TableName": "T", "Key": {"id": {"B": "AP8="}}, "ConsistentRead": True}


def test_pages_are_requests_of_the_same_kind(server: Server, client: Callable[[str], Any]) -> None:
    server.say((200, {"Items": [KEY], "LastEvaluatedKey": KEY}), (200, {"Items": [KEY]}))
    pages = client("dynamodb").get_paginator("scan").paginate(TableName="T")
    assert [item for page in pages for item in page["Items"]] == [KEY, KEY]
    assert [json.loads(body).get("ExclusiveStartKey") for _, _, body in server.asked] == [None, KEY]


def test_condition_that_is_not_met_is_an_answer(server: Server, client: Callable[[str], Any]) -> None:
    server.say((400, UNMET))
    with pytest.raises(ClientError) as caught:
        client("dynamodb").put_item(TableName="T", Item=KEY)
    assert aws.failed_with(caught.value, "ConditionalCheckFailedException")
    assert aws.met_itself(caught.value, KEY)
    assert not aws.tried_before(caught.value)
    assert aws.http_status(caught.value) == 400
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "first",
    [
        None,
        (500, {}),
        (503, b"<html>"),
        (400, THROTTLED),
        (200, {}, {"x-amz-crc32": "1"}),
        (200, {}, {"x-amz-crc32": "none"}),
        (200, b""),
        (200, b"<html>"),
        (200, b"[]"),
        (200, b'{"Item":'),
        (200, {"Item": {"id": {"B": "*"}}}),
        (400, b"\xff"),
        (400, b'"ConditionalCheckFailedException"'),
        (400, UNMET, {"x-amz-crc32": "1"}),
    ],
    ids=lambda answer: repr(answer)[:60],
)
def test_what_is_not_answered_is_asked_again(
    server: Server, client: Callable[[str], Any], first: tuple[int, Any] | None
) -> None:
    answer = json.dumps({"Item": KEY}).encode()
    server.say(first, (200, answer, {"x-amz-crc32": str(zlib.crc32(answer))}))
    assert client("dynamodb").get_item(TableName="T", Key=KEY)["Item"] == KEY
    assert len(server.asked) == 2
    assert server.asked[0][2] == server.asked[1][2].replace(b": ", b":").replace(b", ", b",")


@pytest.mark.parametrize("answer", [(200, b""), (200, b"<html>"), (404, b"<html>")])
def test_what_no_answer_can_be_made_of_is_what_botocore_makes_of_it(
    server: Server, client: Callable[[str], Any], answer: Any
) -> None:
    server.say(answer)
    outcomes = []
    for asked in (client("dynamodb"), plain_client(server)):
        try:
            outcomes.append(asked.get_item(TableName="T", Key=KEY).get("Item"))
        except aws.FAULTS as error:
            outcomes.append(type(error))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("answer", [(200, {}, {"x-amz-crc32": "none"}), (200, b"[]"), (400, b"\xff"), (400, b"[]")])
def test_what_botocore_cannot_read_is_a_fault_of_aws(server: Server, client: Callable[[str], Any], answer: Any) -> None:
    server.say(answer)
    with pytest.raises(aws.FAULTS):
        client("dynamodb").get_item(TableName="T", Key=KEY)


def plain_client(server: Server) -> Any:
    """A client by botocore alone, of that server."""
    config = Config(retries={"mode": "standard", "total_max_attempts": 2})
    url = f"http://127.0.0.1:{server.server_port}"
    session = botocore.session.Session()
    return session.create_client("dynamodb", config=config, endpoint_url=url, region_name="eu-central-1", **KEYS)


def test_refusal_of_a_repeated_call_says_that_it_was_repeated(server: Server, client: Callable[[str], Any]) -> None:
    server.say(None, (400, UNMET))
    with pytest.raises(ClientError) as caught:
        client("dynamodb").put_item(TableName="T", Item=KEY)
    assert aws.tried_before(caught.value)
    assert aws.met_itself(caught.value, KEY)


def test_three_tries_are_made(server: Server, client: Callable[[str], Any]) -> None:
    server.say((500, {}))
    with pytest.raises(ClientError) as caught:
        client("dynamodb").get_item(TableName="T", Key=KEY)
    assert caught.value.response["ResponseMetadata"]["RetryAttempts"] == 2
    server.say(None)
    with pytest.raises(BotoCoreError):
        client("dynamodb").get_item(TableName="T", Key=KEY)
    assert len(server.asked) == 6


def test_wrong_parameters_are_told_by_botocore(server: Server, client: Callable[[str], Any]) -> None:
    server.say((400, {"__type": "ValidationException", "message": "no such parameter"}))
    with pytest.raises(ParamValidationError, match="Tablename"):
        client("dynamodb").get_item(Tablename="T", Key=KEY)


def test_half_a_surrogate_pair_is_refused_by_dynamodb(server: Server, client: Callable[[str], Any]) -> None:
    server.say((400, {"__type": "SerializationException"}))
    with pytest.raises(ClientError, match="SerializationException"):
        client("dynamodb").get_item(TableName="T", Key={"id": {"S": "\ud800"}})
    assert len(server.asked) == 1


def test_frame_is_one_request(server: Server, client: Callable[[str], Any]) -> None:
    server.say((200, b""))
    client("apigatewaymanagementapi").post_to_connection(ConnectionId="a/b=", Data=b"\xc3\xa9")
    [(path, headers, body)] = server.asked
    assert (path, body) == ("/live/@connections/a%2Fb%3D", b"\xc3\xa9")
    assert "/execute-api/aws4_request" in headers["Authorization"]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ((410, b"", {"x-amzn-ErrorType": "GoneException:"}), "GoneException"),
        ((413, {"message": "too large"}, {"x-amzn-ErrorType": "PayloadTooLargeException"}), "PayloadTooLargeException"),
        ((429, {"message": "x"}, {"x-amzn-ErrorType": "LimitExceededException"}), "LimitExceededException"),
        ((500, b"<html>"), "500"),
        ((403, b"\xff"), "403"),
        ((403, b"[1]"), "403"),
        ((403, b'"Forbidden"'), "403"),
    ],
)
def test_frame_that_is_refused_is_not_sent_again(
    server: Server, client: Callable[[str], Any], answer: Any, code: str
) -> None:
    server.say(answer)
    with pytest.raises(ClientError) as caught:
        client("apigatewaymanagementapi").post_to_connection(ConnectionId="a", Data=b"x")
    assert aws.failed_with(caught.value, code)
    assert len(server.asked) == 1


def test_frame_that_is_not_answered_is_not_sent_again(server: Server, client: Callable[[str], Any]) -> None:
    server.say(None)
    with pytest.raises(BotoCoreError):
        client("apigatewaymanagementapi").post_to_connection(ConnectionId="a", Data=b"x")
    assert len(server.asked) == 1


def test_proxy_is_asked_where_there_is_one(
    server: Server, client: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{server.server_port}")
    server.say((200, {"Item": KEY}))
    far = aws._create("dynamodb", Config(), endpoint_url="http://dynamodb.example", region_name="eu-central-1", **KEYS)
    assert far.get_item(TableName="T", Key=KEY)["Item"] == KEY
    [(path, headers, _)] = server.asked
    assert (path, headers["Host"]) == ("http://dynamodb.example/", "dynamodb.example")

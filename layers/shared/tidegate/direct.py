"""Requests to AWS without most of what botocore does around each, at half the cost (docs/decisions.md).

Credentials, endpoint, connections, time-outs and errors are botocore's own. A DynamoDB call that is not answered as it
should be is made by botocore itself then, with its retries.
"""

# ruff: noqa: SLF001  # botocore's session does not show its connections
import hashlib
import hmac
import random
import time
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import botocore
import msgspec
from botocore.auth import _host_from_url  # type: ignore[attr-defined]  # not public
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.client import BaseClient
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, NoCredentialsError
from urllib3.exceptions import HTTPError

from tidegate.responses import respond_with

if TYPE_CHECKING:
    from botocore.credentials import ReadOnlyCredentials

USER_AGENT = f"Tidegate Botocore/{botocore.__version__}"  # botocore makes its own, long one twice for each request
_PAUSE = 0.1  # seconds at most before botocore tries again
_OBJECT = msgspec.json.Decoder(dict[str, Any])


class _Client(BaseClient):
    """What a class that botocore makes for a service has."""

    if TYPE_CHECKING:
        _endpoint: Any
        _request_signer: Any
        _response_parser: Any

        def _get_credentials(self) -> Any: ...
        def _make_api_call(self, operation_name: str, api_params: dict[str, Any]) -> Any: ...
        def _resolve_endpoint_ruleset(self, model: Any, params: Mapping[str, Any], context: dict[str, Any]) -> Any: ...

    @cached_property
    def _place(self) -> str:
        """The URL that requests' paths are added to."""
        return self.meta.endpoint_url.removesuffix("/")

    def _send(self, operation: str, path: str, headers: dict[str, str], body: bytes) -> AWSResponse:
        """Sign and send a POST over the client's own connections; raises BotoCoreError if it is not answered."""
        url = self._place + path
        headers["User-Agent"] = USER_AGENT
        credentials, signer = self._get_credentials(), self._request_signer
        if credentials is None:
            raise NoCredentialsError
        sign(credentials.get_frozen_credentials(), signer.region_name, signer.signing_name, url, headers, body)
        request: Any = AWSPreparedRequest("POST", url, headers, body, False)  # type: ignore[arg-type]  # any mapping will do
        events: Any = self.meta.events
        # botocore's way to answer in a service's place
        _, answer = events.emit_until_response(f"before-send.{self._service}.{operation}", request=request)
        return answer or self._exchange(request)

    @cached_property
    def _service(self) -> str:
        return self.meta.service_model.service_id.hyphenize()

    @cached_property
    def _pool(self) -> Any:
        """The connections that botocore's session keeps to the endpoint, which it looks for at each request."""
        session, url = self._endpoint.http_session, self._place
        if session._proxy_config.proxy_url_for(url):
            return None
        pool = session._get_connection_manager(url).connection_from_url(url)
        session._setup_ssl_cert(pool, url, session._verify)
        respond_with(pool)
        return pool

    def _exchange(self, request: Any) -> AWSResponse:
        if not self._pool:  # but a proxy
            answer: AWSResponse = self._endpoint.http_session.send(request)
            return answer
        _, path = _parts(request.url)
        try:
            raw = self._pool.urlopen(
                request.method,
                path,
                request.body,
                request.headers,
                retries=False,
                assert_same_host=False,
                decode_content=False,
                preload_content=False,
            )
            answer = AWSResponse(request.url, raw.status, raw.headers, raw)
            answer.content  # noqa: B018  # read now, so that the connection is free again
        except HTTPError as error:
            raise HTTPClientError(error=error) from error
        return answer

    def _told(self, answer: AWSResponse) -> Any:
        """An error as botocore reads it, which fails where the body is no JSON object."""
        body = answer.content if _is_object(answer.content) else b""
        raw = {"headers": answer.headers, "body": body, "status_code": answer.status_code}
        told = self._response_parser.parse(raw, None)
        told["ResponseMetadata"]["RetryAttempts"] = 0
        return told


class Dynamo(_Client):
    """A DynamoDB client that makes the first try of each call by a short request.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.LowLevelAPI.html
    """

    def _make_api_call(self, operation_name: str, api_params: dict[str, Any]) -> Any:
        match self._ask(operation_name, api_params):
            case dict() as values:
                return values
            case ClientError() as unmet:
                raise unmet
        time.sleep(random.uniform(0, _PAUSE))  # noqa: S311  # no secret
        try:
            return super()._make_api_call(operation_name, api_params)
        except ClientError as error:
            error.response["ResponseMetadata"]["RetryAttempts"] += 1  # ours was the first
            raise
        except (AttributeError, ValueError) as error:  # a checksum that is no number, a body that is a list
            raise HTTPClientError(error=error) from error

    @cached_property
    def _place(self) -> str:
        """Where botocore sends requests that name tables by their names; `meta` has what its older rules say."""
        model = self.meta.service_model.operation_model("GetItem")
        url, _, _ = self._resolve_endpoint_ruleset(model, {}, {})
        return url if urlsplit(url).path else f"{url}/"

    def _ask(self, operation: str, wanted: Mapping[str, Any]) -> dict[str, Any] | ClientError | None:
        """What a request is answered, be it that its condition is not met; `None` if no answer can be believed."""
        headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": f"DynamoDB_20120810.{operation}"}
        try:
            answer = self._send(operation, "", headers, msgspec.json.encode(wanted))
            values = _values(answer)
        except (BotoCoreError, ValueError):  # half a surrogate pair, a page of HTML: botocore tells what is said of it
            return None
        if answer.status_code == 200:
            return values
        if values and (told := self._told(answer))["Error"]["Code"] == "ConditionalCheckFailedException":
            return ClientError(told | values, operation)
        return None


class Connections(_Client):
    """A client of the viewers' connections that posts by one short request, tried once."""

    def _make_api_call(self, operation_name: str, api_params: dict[str, Any]) -> Any:
        if operation_name != "PostToConnection":
            return super()._make_api_call(operation_name, api_params)
        path = f"/@connections/{quote(api_params['ConnectionId'], safe='-._~')}"
        headers = {"Content-Type": "application/octet-stream"}
        answer = self._send(operation_name, path, headers, api_params["Data"])
        if answer.status_code >= 300:
            raise ClientError(self._told(answer), operation_name)
        return {}


def sign(
    credentials: "ReadOnlyCredentials", region: str, service: str, url: str, headers: dict[str, str], body: bytes
) -> None:
    """Add Signature Version 4 to a POST's headers, as botocore's SigV4Auth does in eight times the instructions.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
    """
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    headers["X-Amz-Date"] = now
    if credentials.token:
        headers["X-Amz-Security-Token"] = credentials.token
    host, path = _parts(url)
    path = quote(path, safe="/~")
    signed = sorted((name.lower(), value) for name, value in headers.items() if name != "User-Agent")
    signed = sorted([*signed, ("host", host)])
    names = ";".join([name for name, _ in signed])
    values = "".join([f"{name}:{value}\n" for name, value in signed])
    request = f"POST\n{path}\n\n{values}\n{names}\n{hashlib.sha256(body).hexdigest()}"
    scope = f"{now[:8]}/{region}/{service}/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    signature = hmac.digest(_key(credentials.secret_key, now[:8], region, service), text.encode(), "sha256").hex()
    headers["Authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={credentials.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
    )


@lru_cache(maxsize=8)
def _key(secret: str, *scope: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (*scope, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


@lru_cache(maxsize=256)
def _parts(url: str) -> tuple[str, str]:
    """The host to sign, which is without the scheme's own port, and the path."""
    return _host_from_url(url), urlsplit(url).path


def _values(answer: AWSResponse) -> dict[str, Any] | None:
    """What a body holds, `None` if it has another checksum; raises ValueError if it is no JSON object."""
    content, checksum = answer.content, answer.headers.get("x-amz-crc32")
    if checksum is not None and int(checksum) != zlib.crc32(content):
        return None
    found = _OBJECT.decode(content)
    return _read(found) if b'"B"' in content else found


def _is_object(content: bytes) -> bool:
    try:
        _OBJECT.decode(content)
    except ValueError:
        return False
    return True


def _read(value: Any) -> Any:
    """The value with bytes for each `{"B": base64}`."""
    match value:
        case {"B": str(data), **others} if not others:
            return {"B": msgspec.convert(data, bytes)}
        case dict():
            return {name: _read(part) for name, part in value.items()}
        case list():
            return [_read(part) for part in value]
    return value

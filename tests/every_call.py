"""Makes each of some calls in several regions, without a network, and prints what was sent and returned, as JSON.

Reads `{service: [operation, ...]}` from its standard input; the packages are those that the path shows first.
"""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import botocore
import botocore.session
from botocore import xform_name
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import ClientError

REGIONS = ["eu-central-1", "us-east-1", "us-gov-west-1", "cn-north-1"]
TEXT = "a-word-that-is-long-enough"
CHANGING = {"authorization", "x-amz-date", "amz-sdk-invocation-id", "x-amz-signature", "policy"}  # by clock or chance
GOOD = {"s3": b"", "sts": b"<AssumeRoleResponse><AssumeRoleResult/></AssumeRoleResponse>"}
BAD = {"sts": b"<ErrorResponse><Error><Code>Refused</Code><Message>why</Message></Error></ErrorResponse>"}
BAD["s3"] = b"<Error><Code>Refused</Code><Message>why</Message></Error>"


class _Raw:
    """The rest of an answer, as urllib3 gives it."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self) -> Iterator[bytes]:
        yield self._content

    def read(self) -> bytes:
        return self._content


def main() -> None:
    """Make the calls and print them."""
    services: dict[str, list[str]] = json.load(sys.stdin)
    made = []
    for region in REGIONS:
        session = botocore.session.Session()
        session.set_credentials("key", "secret", "token")
        for service, operations in services.items():
            config = Config(signature_version="s3v4" if service == "s3" else "v4")
            client = session.create_client(service, region_name=region, config=config)
            for operation in operations:
                made += list(_calls(client, service, operation))
    folder = str(Path(botocore.__file__).parent)
    json.dump({"botocore": folder, "regions": REGIONS, "calls": made, "loaded": sorted(sys.modules)}, sys.stdout)


def _calls(client: Any, service: str, operation: str) -> Iterator[dict[str, Any]]:
    method, given = xform_name(operation), _value(client.meta.service_model.operation_model(operation).input_shape)
    answers = [
        (200, {}, GOOD.get(service, b"{}")),
        (400, {}, BAD.get(service, b'{"__type":"a#Refused","message":"why"}')),
    ]
    if service == "s3":
        answers.append((301, {"x-amz-bucket-region": "eu-west-1"}, b""))
    for answer in answers:
        yield _call(client, answer, lambda: getattr(client, method)(**given))
    if client.can_paginate(method):
        yield _call(client, answers[0], lambda: list(client.get_paginator(method).paginate(**given)))
    if service == "s3":
        signed = urlsplit(client.generate_presigned_url(method, given))
        yield {"sent": [signed.netloc, signed.path], "returned": _lasting(parse_qs(signed.query))}
        post = client.generate_presigned_post("bucket", "key", Conditions=[["content-length-range", 1, 2]])
        yield {"sent": post["url"], "returned": _lasting(post["fields"])}


def _call(client: Any, answer: tuple[int, dict[str, str], bytes], make: Callable[[], Any]) -> dict[str, Any]:
    sent = []

    def send(request: Any, **_: Any) -> AWSResponse:
        headers = {name: str(value) for name, value in request.headers.items()}
        body = request.body.read() if hasattr(request.body, "read") else request.body
        sent.append([request.method, request.url, _lasting(headers), repr(body)])
        status, more, content = answer
        return AWSResponse(request.url, status, more, _Raw(content))

    client.meta.events.register("before-send", send)
    try:
        returned = repr(make())
    except ClientError as error:
        returned = repr((type(error).__name__, error.response))
    finally:
        client.meta.events.unregister("before-send", send)
    return {"sent": sent, "returned": returned.partition("<botocore.response.StreamingBody")[0]}


def _lasting(values: dict[str, Any]) -> dict[str, Any]:
    """Without what is another one each time."""
    return {name: value for name, value in values.items() if name.lower() not in CHANGING}


def _value(shape: Any) -> Any:
    """The least that a shape takes."""
    match shape.type_name:
        case "structure":
            named = [
                *shape.required_members,
                *(name for name, each in shape.members.items() if each.metadata.get("idempotencyToken")),
            ]
            return {name: _value(shape.members[name]) for name in named}
        case "list":
            return [_value(shape.member)]
        case "map":
            return {_value(shape.key): _value(shape.value)}
        case "string":
            return shape.enum[0] if shape.enum else TEXT
        case "blob":
            return b"bytes"
        case "boolean":
            return True
        case _:
            return 20


if __name__ == "__main__":
    main()

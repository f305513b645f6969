"""A visitor's request -> the live build's files."""

import base64
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from tidegate import visiting
from tidegate.observability import logger
from tidegate.sites import Request, Response


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer one request of API Gateway's HTTP API (payload 2.0) with a site's file."""
    method = event["requestContext"]["http"]["method"]
    if method not in ("GET", "HEAD"):
        return _write(Response(405, {"allow": "GET, HEAD"}))
    headers = event["headers"]
    request = Request(
        path=event["rawPath"],
        query=event.get("rawQueryString", ""),
        head=method == "HEAD",
        html=_wants_page(headers),
        range=None if "if-range" in headers else headers.get("range"),  # the whole file is always right
        if_none_match=headers.get("if-none-match"),
        if_modified_since=headers.get("if-modified-since"),
    )
    return _write(visiting.visit(headers.get("host", ""), request))


def _wants_page(headers: dict[str, str]) -> bool:
    """Whether a page will do: not for a browser's scripts and pictures, but for tools that take anything."""
    accept = headers.get("accept", "*/*")
    return "text/html" in accept or (accept.strip() == "*/*" and "sec-fetch-dest" not in headers)


def _write(response: Response) -> dict[str, Any]:
    return {
        "statusCode": response.status,
        "headers": response.headers,
        "body": base64.b64encode(response.body).decode(),
        "isBase64Encoded": True,
    }

"""A published site's files, found as web servers find them."""

import posixpath
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from botocore.exceptions import ClientError
from msgspec import Struct

from tidegate import aws
from tidegate.settings import settings

# A Lambda function may answer with 6 MB, of which base64 takes a quarter; larger files come from the bucket itself.
MAX_BODY = 4 * 1024 * 1024
MAX_KEY = 1024  # bytes
_LINK_SECONDS = 300
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_RANGE = re.compile(r"bytes=(?:\d{1,18}-\d{0,18}|-\d{1,18})")
_ETAG = re.compile(r'"[\x21\x23-\x7e]*"')

# Files that are not there. A live build's files never change, so this holds; it spares most of the looking around.
missing: set[str] = set()
_MOST_MISSING = 10_000


class Request(Struct, frozen=True):
    """What a visitor asks a site for; `path` may be percent-encoded, `html` says that a page is wanted."""

    path: str
    query: str = ""
    head: bool = False
    html: bool = False
    range: str | None = None
    if_none_match: str | None = None
    if_modified_since: str | None = None


class Response(Struct, frozen=True):
    """What the visitor gets."""

    status: int
    headers: dict[str, str]
    body: bytes = b""


def slug_of(host: str, sites_url: str) -> str | None:
    """The project that a Host header names, by the pattern of the sites' addresses; `None` if it names none."""
    before, placeholder, after = (urlsplit(sites_url).hostname or "").partition("{slug}")
    name = host.strip().lower().partition(":")[0].removesuffix(".")
    if not (placeholder and name.startswith(before) and name.endswith(after)):
        return None
    slug = name[len(before) : len(name) - len(after)]
    return slug if _LABEL.fullmatch(slug) else None


def candidates(path: str) -> Iterator[str]:
    """The files that a decoded path may mean, the likeliest first; `x/index.html` for `x` means: redirect to `x/`."""
    clean = _clean(path)
    if not clean or path.endswith("/"):
        yield posixpath.join(clean, "index.html")
        return
    plain = [clean, f"{clean}.html", f"{clean}/index.html"]
    yield from plain if "." in posixpath.basename(clean) else plain[1:] + plain[:1]


def serve(prefix: str, request: Request) -> Response:
    """Answer from the files below `prefix`: file, directory index, the site's 404 page, or the one-page application.

    A site with its own 404.html knows its pages; one without it is taken for a single-page application, whose
    index.html answers every page address.
    """
    as_it_came = request.path.encode("utf-8", "replace").decode()
    decoded = unquote(as_it_came, errors="replace")
    if "\0" in decoded or "\\" in decoded:
        return not_here("Not found")
    for path in dict.fromkeys((as_it_came, decoded)):  # API Gateway has decoded it, others may not have
        if (answer := _page(prefix, path, request)) is not None:
            return answer
    whole = Request(request.path, head=request.head)
    if (answer := _file(prefix, "404.html", whole)) is not None and answer.status == 200:
        return Response(404, answer.headers, answer.body)
    if answer is None and request.html and "." not in posixpath.basename(decoded):
        return _file(prefix, "index.html", request) or not_here("Not found")
    return not_here("Not found")


def not_here(message: str) -> Response:
    """The answer where there is no site, or no such file."""
    headers = {"content-type": "text/plain; charset=utf-8", "cache-control": "no-store"}
    return Response(404, headers, f"{message}\n".encode())


def _clean(path: str) -> str:
    """The path without `.`, `..` and double slashes, below the site's root whatever it was."""
    return posixpath.normpath("/" + path).lstrip("/")


def _page(prefix: str, path: str, request: Request) -> Response | None:
    for name in candidates(path):
        if (answer := _file(prefix, name, request)) is None:
            continue
        if name == f"{_clean(path)}/index.html" and not path.endswith("/"):
            return _redirect(f"/{quote(_clean(path))}/", request.query)
        return answer
    return None


def _redirect(path: str, query: str) -> Response:
    """To an address of the same host: the path begins with one slash."""
    location = path + (f"?{quote(query, safe='%/:?@!$&()*+,;=~-._')}" if query else "")
    return Response(308, {"location": location, "cache-control": "no-cache"})


def _file(prefix: str, name: str, request: Request) -> Response | None:
    """One file with its own headers, whole or in part; `None` if it is not there."""
    key = prefix + name
    if key in missing or len(key.encode("utf-8", "replace")) > MAX_KEY:
        return None
    place: dict[str, Any] = {"Bucket": settings().artifacts_bucket, "Key": key}
    etags = _ETAG.findall(request.if_none_match or "")
    given: dict[str, Any] = place | _conditions(request, etags)
    try:
        answer: Any = aws.s3().head_object(**given) if request.head else aws.s3().get_object(**given)
    except ClientError as error:
        return _refused(error, key)
    headers = _headers(answer)
    if answer["ETag"] in etags or (request.if_none_match or "").strip() == "*":
        return _not_modified(headers)
    if request.head:
        return Response(200, headers | {"content-length": str(answer["ContentLength"])})
    if answer["ContentLength"] > MAX_BODY:
        answer["Body"].close()
        link = aws.s3().generate_presigned_url("get_object", Params=place, ExpiresIn=_LINK_SECONDS)
        return Response(307, {"location": link, "cache-control": "no-store"})
    return Response(206 if "ContentRange" in answer else 200, headers, answer["Body"].read())


def _conditions(request: Request, etags: list[str]) -> dict[str, Any]:
    """What S3 itself may decide: it knows one ETag and one range, and botocore refuses a date that is none."""
    conditions: dict[str, Any] = {}
    if etags:
        conditions["IfNoneMatch"] = etags[0]
    if request.if_modified_since and request.if_none_match is None:
        with suppress(ValueError):
            conditions["IfModifiedSince"] = parsedate_to_datetime(request.if_modified_since)
    if request.range and not request.head and _RANGE.fullmatch(request.range):
        conditions["Range"] = request.range
    return conditions


def _headers(answer: Any) -> dict[str, str]:
    headers = {
        "content-type": answer.get("ContentType", "application/octet-stream"),
        "cache-control": answer.get("CacheControl", "public, max-age=0, must-revalidate"),
        "etag": answer["ETag"],
        "last-modified": format_datetime(answer["LastModified"].astimezone(UTC), usegmt=True),
        "accept-ranges": "bytes",
        "x-content-type-options": "nosniff",
    }
    return headers | ({"content-range": answer["ContentRange"]} if "ContentRange" in answer else {})


def _refused(error: ClientError, key: str) -> Response | None:
    status = error.response["ResponseMetadata"]["HTTPStatusCode"]
    if status == 304:
        return _not_modified(error.response["ResponseMetadata"]["HTTPHeaders"])
    if status == 416:
        size = error.response["Error"].get("ActualObjectSize")
        return Response(416, {"content-range": f"bytes */{size}"} if size else {})
    if status == 404:
        if len(missing) >= _MOST_MISSING:
            missing.clear()
        missing.add(key)
        return None
    raise error


def _not_modified(headers: Mapping[str, str]) -> Response:
    return Response(
        304, {name: headers[name] for name in ("etag", "last-modified", "cache-control") if name in headers}
    )

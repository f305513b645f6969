"""A published site's files, found as web servers find them."""

import posixpath
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

from botocore.exceptions import ClientError
from msgspec import Struct

from tidegate import aws
from tidegate.settings import settings

# A Lambda function may answer with 6 MB, of which base64 takes a quarter; larger files come from the bucket itself.
MAX_BODY = 4 * 1024 * 1024
_LINK_SECONDS = 300


class Request(Struct, frozen=True):
    """What a visitor asks a site for; `path` is as it came, percent-encoded."""

    path: str
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
    pattern = urlsplit(sites_url.replace("{slug}", "slug")).hostname or ""
    name = host.lower().partition(":")[0].removesuffix(".")
    slug, _, rest = name.partition(".")
    return slug if slug and rest == pattern.partition(".")[2] else None


def candidates(path: str) -> Iterator[str]:
    """The files that a decoded path may mean, the likeliest first; `x/index.html` for `x` means: redirect to `x/`."""
    clean = posixpath.normpath("/" + path).lstrip("/")
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
    path = unquote(request.path, errors="replace")
    if "\0" in path or "\\" in path or len(path) > 1024:
        return _plain(404, "Not found")
    for name in candidates(path):
        if (answer := _file(prefix, name, request)) is None:
            continue
        if name.endswith("/index.html") and not path.endswith(("/", "/index.html")):
            return Response(308, {"location": posixpath.basename(request.path) + "/", "cache-control": "no-cache"})
        return answer
    whole = Request(request.path, head=request.head)
    if (answer := _file(prefix, "404.html", whole)) is not None:
        return Response(404, answer.headers, answer.body)
    if request.html and "." not in posixpath.basename(path):
        return _file(prefix, "index.html", request) or _plain(404, "Not found")
    return _plain(404, "Not found")


def not_here(message: str) -> Response:
    """The answer where there is no site."""
    return _plain(404, message)


def _file(prefix: str, name: str, request: Request) -> Response | None:
    """One file with its own headers, whole or in part; `None` if it is not there."""
    wanted: dict[str, Any] = {"Bucket": settings().artifacts_bucket, "Key": prefix + name}
    conditions = {
        "Range": request.range,
        "IfNoneMatch": request.if_none_match,
        "IfModifiedSince": request.if_modified_since if not request.if_none_match else None,
    }
    given: dict[str, Any] = wanted | {key: value for key, value in conditions.items() if value}
    try:
        answer: Any = aws.s3().head_object(**given) if request.head else aws.s3().get_object(**given)
    except ClientError as error:
        return _refused(error)
    headers = {
        "content-type": answer.get("ContentType", "application/octet-stream"),
        "cache-control": answer.get("CacheControl", "public, max-age=0, must-revalidate"),
        "etag": answer["ETag"],
        "last-modified": answer["ResponseMetadata"]["HTTPHeaders"].get("last-modified", ""),
        "accept-ranges": "bytes",
        "x-content-type-options": "nosniff",
    }
    if "ContentRange" in answer:
        headers["content-range"] = answer["ContentRange"]
    if request.head:
        return Response(200, headers | {"content-length": str(answer["ContentLength"])})
    if answer["ContentLength"] > MAX_BODY:
        link = aws.s3().generate_presigned_url("get_object", Params=wanted, ExpiresIn=_LINK_SECONDS)
        return Response(307, {"location": link, "cache-control": "no-store"})
    return Response(206 if "ContentRange" in answer else 200, headers, answer["Body"].read())


def _refused(error: ClientError) -> Response | None:
    status = error.response["ResponseMetadata"]["HTTPStatusCode"]
    if status == 304:
        headers = error.response["ResponseMetadata"]["HTTPHeaders"]
        return Response(304, {name: headers[name] for name in ("etag", "cache-control") if name in headers})
    if status == 416:
        return Response(416, {"content-range": f"bytes */{error.response['Error'].get('ActualObjectSize', '*')}"})
    if status == 404:
        return None
    raise error


def _plain(status: int, message: str) -> Response:
    body = f"{message}\n".encode()
    return Response(status, {"content-type": "text/plain; charset=utf-8", "cache-control": "no-store"}, body)

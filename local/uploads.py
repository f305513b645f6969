"""S3's browser uploads: the form of a presigned POST, checked against its policy as S3 does."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from xml.sax.saxutils import escape

from werkzeug.datastructures import FileStorage
from werkzeug.wrappers import Request, Response

SIGNED = {"policy", "x-amz-signature", "x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-security-token"}
FREE = {"x-amz-signature", "file", "policy"}
META = "x-amz-meta-"


class UploadRefused(Exception):
    """A form that S3 does not take."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code

    def response(self) -> Response:
        """S3's answer."""
        text = (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f"<Error><Code>{self.code}</Code><Message>{escape(str(self))}</Message></Error>"
        )
        return Response(text, self.status, content_type="application/xml")


@dataclass(frozen=True)
class Upload:
    """A checked upload: where it goes, its headers, and the status to answer with."""

    key: str
    headers: Mapping[str, str]
    body: bytes
    status: int


def read_upload(request: Request, bucket: str, now: datetime) -> Upload:
    """Read the form of a browser upload and check it against its policy; the signature is trusted."""
    file = request.files.get("file")
    fields = {name.lower(): value for name, value in request.form.items()}
    if file is None and "file" not in fields:
        raise UploadRefused(400, "InvalidArgument", "POST requires exactly one file upload per request.")
    body = file.read() if isinstance(file, FileStorage) else fields.pop("file").encode()
    if not fields.get("key"):
        raise UploadRefused(400, "InvalidArgument", "Bucket POST must contain a field named 'key'.")
    if missing := SIGNED - {"x-amz-security-token"} - fields.keys():
        raise UploadRefused(403, "AccessDenied", f"Access Denied: the form lacks {', '.join(sorted(missing))}.")
    if file is not None and file.filename:
        fields["key"] = fields["key"].replace("${filename}", file.filename)
    _check(_policy(fields["policy"]), {**fields, "bucket": bucket}, len(body), now)
    headers = {name: value for name, value in fields.items() if name.startswith(META)}
    for name in ("content-type", "cache-control", "content-disposition", "content-encoding"):
        if name in fields:
            headers[name] = fields[name]
    status = int(fields.get("success_action_status", "204"))
    return Upload(fields["key"], headers, body, status if status in {200, 201} else 204)


def _policy(text: str) -> dict[str, Any]:
    try:
        policy: dict[str, Any] = json.loads(base64.b64decode(text))
        policy["expiration"] = datetime.strptime(policy["expiration"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        policy["conditions"] = [
            ["eq", f"${next(iter(c))}", next(iter(c.values()))] if isinstance(c, dict) else c
            for c in policy["conditions"]
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UploadRefused(400, "InvalidPolicyDocument", f"Invalid Policy: {error}") from error
    return policy


def _check(policy: Mapping[str, Any], fields: Mapping[str, str], size: int, now: datetime) -> None:
    if now >= policy["expiration"]:
        raise UploadRefused(403, "AccessDenied", "Invalid according to Policy: Policy expired.")
    covered = set()
    for condition in policy["conditions"]:
        kind, name, value = condition
        if str(kind).lower() == "content-length-range":
            if size < int(name):
                raise UploadRefused(
                    400, "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size"
                )
            if size > int(value):
                raise UploadRefused(400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size")
            continue
        field = str(name).removeprefix("$").lower()
        covered.add(field)
        given = fields.get(field, "")
        good = given == value if str(kind).lower() == "eq" else given.startswith(value)
        if not good:
            raise UploadRefused(
                403, "AccessDenied", f"Invalid according to Policy: Policy Condition failed: {json.dumps(condition)}"
            )
    for name in fields.keys() - covered - FREE - {"bucket"}:
        if not name.startswith("x-ignore-"):
            raise UploadRefused(403, "AccessDenied", f"Invalid according to Policy: Extra input fields: {name}")

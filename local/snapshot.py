"""All tables and objects as the requests that would make them, so that a journal does not grow for ever."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC
from typing import Any

from moto.dynamodb.models import dynamodb_backends
from moto.s3.models import s3_backends

from local.account import ACCOUNT, REGION
from local.journal import Entry

JSON = "application/x-amz-json-1.0"


def snapshot(ask: Callable[[Entry], bytes]) -> Iterator[Entry]:
    """The requests that put every item and object that is there now; ``ask`` answers a request."""
    for table in dynamodb_backends[ACCOUNT][REGION].tables:
        scan: dict[str, Any] = {"TableName": table}
        while True:
            page = json.loads(ask(_dynamodb("Scan", scan)))
            for item in page["Items"]:
                yield _dynamodb("PutItem", {"TableName": table, "Item": item})
            if "LastEvaluatedKey" not in page:
                break
            scan["ExclusiveStartKey"] = page["LastEvaluatedKey"]
    for name, bucket in s3_backends[ACCOUNT]["aws"].buckets.items():
        for key in bucket.keys.values():
            headers = {f"HTTP_{k.upper().replace('-', '_')}": str(v) for k, v in key.metadata.items()}
            headers["CONTENT_TYPE"] = headers.pop("HTTP_CONTENT_TYPE", "binary/octet-stream")
            path = f"/{name}/{key.name}".encode().decode("latin-1")
            yield Entry("PUT", path, "", headers, key.value, key.last_modified.replace(tzinfo=UTC).timestamp())


def _dynamodb(action: str, request: dict[str, Any]) -> Entry:
    scope = f"20260101/{REGION}/dynamodb/aws4_request"
    headers = {
        "CONTENT_TYPE": JSON,
        "HTTP_X_AMZ_TARGET": f"DynamoDB_20120810.{action}",
        "HTTP_AUTHORIZATION": f"AWS4-HMAC-SHA256 Credential=local/{scope}, SignedHeaders=host, Signature=none",
    }
    return Entry("POST", "/", "", headers, json.dumps(request).encode(), time.time())

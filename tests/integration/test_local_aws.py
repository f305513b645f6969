"""The AWS endpoint: uploads by policy, presigned addresses, the journal, and who may ask."""

import http.client
import json
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from moto.dynamodb.models import dynamodb_backends
from moto.s3.models import s3_backends

from local.aws import Endpoint
from local.journal import Journal

KEYS = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "us-east-1"}
SIGNED = Config(signature_version="s3v4")
BUCKET = "artifacts"


class Account:
    """An endpoint with a bucket and a table, and clients for it."""

    def __init__(self, journal: Path | None = None) -> None:
        self.endpoint = Endpoint()
        self.s3: Any = boto3.client("s3", endpoint_url=self.endpoint.url, config=SIGNED, **KEYS)
        self.dynamodb: Any = boto3.client("dynamodb", endpoint_url=self.endpoint.url, **KEYS)
        self.s3.create_bucket(Bucket=BUCKET)
        self.dynamodb.create_table(
            TableName="builds",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        )
        if journal:
            self.endpoint.replay(Journal(journal))

    def put(self, build_id: str, **values: Any) -> None:
        self.dynamodb.put_item(TableName="builds", Item={"id": {"S": build_id}, **values})

    def close(self) -> None:
        self.s3.close()
        self.dynamodb.close()
        self.endpoint.close()
        if self.endpoint.journal:
            self.endpoint.journal.close()
        dynamodb_backends.reset()
        s3_backends.reset()


@pytest.fixture
def account() -> Iterator[Account]:
    made = Account()
    yield made
    made.close()


def error_of(error: urllib.error.HTTPError) -> str:
    """The code in S3's answer."""
    with error:
        return error.read().decode().partition("<Code>")[2].partition("</Code>")[0]


def post(account: Account, fields: dict[str, str], content: bytes = b"text", expires: int = 60) -> tuple[int, str]:
    """Upload by a policy for sites/one/, and some content types; the status and the error's code."""
    form = account.s3.generate_presigned_post(
        BUCKET,
        "sites/one/${filename}",
        Conditions=[
            ["starts-with", "$key", "sites/one/"],
            ["starts-with", "$Content-Type", ""],
            ["eq", "$Cache-Control", "no-cache"],
            ["content-length-range", 1, 1000],
        ],
        ExpiresIn=expires,
    )
    given = {**form["fields"], "Content-Type": "text/plain", "Cache-Control": "no-cache", **fields}
    parts = [f'--b\r\ncontent-disposition: form-data; name="{key}"\r\n\r\n{value}\r\n' for key, value in given.items()]
    head = '--b\r\ncontent-disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
    body = "".join(parts).encode() + head.encode() + content + b"\r\n--b--\r\n"
    request = urllib.request.Request(form["url"], body, {"content-type": "multipart/form-data; boundary=b"})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, ""
    except urllib.error.HTTPError as error:
        return error.code, error_of(error)


def test_upload_by_policy(account: Account) -> None:
    assert post(account, {"key": "sites/one/deep/ü +%.txt"}) == (204, "")
    found = account.s3.get_object(Bucket=BUCKET, Key="sites/one/deep/ü +%.txt")
    assert found["Body"].read() == b"text"
    assert (found["ContentType"], found["CacheControl"]) == ("text/plain", "no-cache")


@pytest.mark.parametrize(
    ("fields", "content", "expires", "answer"),
    [
        ({"key": "sites/two/x"}, b"x", 60, (403, "AccessDenied")),
        ({"key": "sites/one/x", "Cache-Control": "max-age=1"}, b"x", 60, (403, "AccessDenied")),
        ({"key": "sites/one/x", "x-amz-meta-extra": "1"}, b"x", 60, (403, "AccessDenied")),
        ({"key": "sites/one/x"}, b"x", -1, (403, "AccessDenied")),
        ({"key": "sites/one/x"}, b"x" * 1001, 60, (400, "EntityTooLarge")),
        ({"key": "sites/one/x"}, b"", 60, (400, "EntityTooSmall")),
        ({"key": "sites/one/x", "policy": "e30="}, b"x", 60, (400, "InvalidPolicyDocument")),
        ({"key": ""}, b"x", 60, (400, "InvalidArgument")),
    ],
)
def test_upload_against_policy(
    account: Account, fields: dict[str, str], content: bytes, expires: int, answer: tuple[int, str]
) -> None:
    assert post(account, fields, content, expires) == answer
    assert "Contents" not in account.s3.list_objects_v2(Bucket=BUCKET)


def test_presigned_address_runs_out(account: Account) -> None:
    account.s3.put_object(Bucket=BUCKET, Key="job.json", Body=b"{}")
    url = account.s3.generate_presigned_url("get_object", {"Bucket": BUCKET, "Key": "job.json"}, ExpiresIn=60)
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == b"{}"
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(re.sub(r"X-Amz-Date=\d{4}", "X-Amz-Date=2020", url))
    assert error_of(caught.value) == "AccessDenied"


@pytest.mark.parametrize(
    "headers", [{"origin": "https://x.example"}, {"sec-fetch-site": "cross-site"}, {"host": "x.example"}]
)
def test_web_pages_are_refused(account: Account, headers: dict[str, str]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", account.endpoint.port)
    connection.request("GET", f"/{BUCKET}", headers=headers)
    assert connection.getresponse().status == 403
    connection.close()


def test_one_of_many_conditional_writers_wins(account: Account) -> None:
    account.put("b", n={"N": "0"})
    wins: list[int] = []

    def write(number: int) -> None:
        try:
            account.dynamodb.update_item(
                TableName="builds",
                Key={"id": {"S": "b"}},
                UpdateExpression="SET n = :new",
                ConditionExpression="n = :old",
                ExpressionAttributeValues={":new": {"N": str(number + 1)}, ":old": {"N": "0"}},
            )
        except account.dynamodb.exceptions.ConditionalCheckFailedException:
            return
        wins.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wins) == 1


def test_journal_brings_everything_back(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    first = Account(path)
    first.put("one", n={"N": "1"}, data={"B": b"\0\xff"})
    first.put("two", text={"S": "x\ny"})
    first.dynamodb.update_item(
        TableName="builds",
        Key={"id": {"S": "one"}},
        UpdateExpression="ADD n :one",
        ExpressionAttributeValues={":one": {"N": "1"}},
    )
    first.dynamodb.delete_item(TableName="builds", Key={"id": {"S": "two"}})
    with pytest.raises(ClientError):
        first.dynamodb.put_item(
            TableName="builds", Item={"id": {"S": "one"}}, ConditionExpression="attribute_not_exists(id)"
        )
    first.s3.put_object(
        Bucket=BUCKET, Key="a/ü %+.txt", Body=b"\0\n\xff", ContentType="text/x", CacheControl="no-cache"
    )
    first.s3.put_object(Bucket=BUCKET, Key="gone", Body=b"")
    first.s3.delete_object(Bucket=BUCKET, Key="gone")
    assert post(first, {"key": "sites/one/x"}) == (204, "")
    written = first.s3.head_object(Bucket=BUCKET, Key="a/ü %+.txt")["LastModified"]
    first.close()

    with path.open("ab") as file:
        file.write(json.dumps({"method": "PUT", "path": f"/{BUCKET}/cut", "length": 100}).encode() + b"\nhalf of it")
    for _ in range(3):
        again = Account(path)
        items = again.dynamodb.scan(TableName="builds")["Items"]
        assert items == [{"id": {"S": "one"}, "n": {"N": "2"}, "data": {"B": b"\0\xff"}}]
        found = again.s3.get_object(Bucket=BUCKET, Key="a/ü %+.txt")
        assert (found["Body"].read(), found["ContentType"], found["CacheControl"]) == (
            b"\0\n\xff",
            "text/x",
            "no-cache",
        )
        assert found["LastModified"] == written
        keys = [each["Key"] for each in again.s3.list_objects_v2(Bucket=BUCKET)["Contents"]]
        assert keys == ["a/ü %+.txt", "sites/one/x"]
        again.close()

"""S3 and STS, as much as the code under test needs."""

import io
from typing import Any

from tests.simulation.world import World, client_error


class SimS3:
    """Objects by key; `now` is when a URL is signed."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.objects: dict[str, bytes] = {}
        self.signed = 0

    def put_object(self, *, Bucket: str, Key: str, Body: bytes, ContentType: str) -> dict[str, Any]:  # noqa: N803
        def put() -> dict[str, Any]:
            self.objects[Key] = bytes(Body)
            return {}

        return self.world.call("s3.put_object", put, Key)

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803
        def get() -> dict[str, Any]:
            if Key not in self.objects:
                raise client_error("GetObject", "NoSuchKey", "The specified key does not exist.")
            body = self.objects[Key]
            return {"Body": io.BytesIO(body), "ContentLength": len(body)}

        return self.world.call("s3.get_object", get, Key)

    def generate_presigned_post(self, **wanted: Any) -> dict[str, Any]:
        return {"url": "https://artifacts", "fields": {"policy": "signed", "key": wanted["Key"]}}

    def generate_presigned_url(self, operation: str, *, Params: dict[str, str], ExpiresIn: int) -> str:  # noqa: N803
        assert operation == "get_object"
        self.signed += 1  # no two signatures are the same, as each has its own session
        return f"https://artifacts/{Params['Key']}?until={self.world.now + ExpiresIn:.3f}&signature={self.signed}"


class SimSts:
    """Sessions for the asking."""

    def __init__(self, world: World) -> None:
        self.world = world

    def assume_role(self, **wanted: Any) -> dict[str, Any]:
        session = {"AccessKeyId": "id", "SecretAccessKey": "key", "SessionToken": "token"}
        answer: dict[str, Any] = self.world.call("sts.assume_role", lambda: {"Credentials": session})
        return answer


def signed_until(url: str) -> tuple[str, float]:
    """The key that a presigned URL fetches, and when it ends."""
    address, _, query = url.partition("?")
    return address.removeprefix("https://artifacts/"), float(query.partition("until=")[2].partition("&")[0])

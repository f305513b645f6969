"""The builder's papers: its job, the right to fetch it and to upload below its own prefix, and its result."""

import json
import math
import re
from typing import Any

import msgspec
from botocore.exceptions import ClientError
from msgspec.structs import replace

from tidegate import aws
from tidegate.model import Build, BuilderFailure, Result, StepTime
from tidegate.observability import logger
from tidegate.settings import settings

MAX_FILES = 20_000
MAX_FILE_BYTES = 100 * 1024 * 1024
MAX_SITE_BYTES = 1024 * 1024 * 1024
MAX_RESULT_BYTES = 256 * 1024
_SESSION_SECONDS = 3600  # the most that a role assumed by a role gets
_MAX_STEPS = 20
_MAX_STEP_SECONDS = 24 * 3600
_MAX_NAME = 100
_MAX_TEXT = 2000
_MAX_LINES = 100
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_JOB_URL_SECONDS = 900  # the task must start within START_LIMIT, and fetches its job first


def prefix(slug: str, build_id: str, attempt: int | None) -> str:
    """Where the result and the files of a build's attempt are, and the only place its builder can write to.

    No attempt: where builds had them before each attempt had a place of its own.
    """
    return f"sites/{slug}/{build_id}/{f'{attempt}/' if attempt else ''}"


def put_env(key: str, values: dict[str, str]) -> None:
    """Keep environment values; they are secrets, so they go to the encrypted bucket and nowhere else."""
    aws.s3().put_object(
        Bucket=settings().artifacts_bucket,
        Key=key,
        Body=msgspec.json.encode(values),
        ContentType="application/json",
    )


def get_env(key: str) -> dict[str, str]:
    """Read environment values that were kept; none if they have expired."""
    body = _get(key)
    return msgspec.json.decode(body, type=dict[str, str]) if body else {}


def env_key(build_id: str) -> str:
    """Where a build's environment values are."""
    return f"jobs/{build_id}.env.json"


def project_env_key(slug: str, name: str) -> str:
    """Where the environment values are that a project was created with."""
    return f"projects/{slug}/{name}.env.json"


def grant(build: Build, env: dict[str, str]) -> str:
    """Write the job of the build's attempt and return a URL that fetches it for a quarter of an hour.

    The URLs are signed by a session of their own, which can do nothing else and lives as long as any build may: the
    functions' own credentials could end in the middle of a build.
    """
    config = settings()
    bucket, own = config.artifacts_bucket, prefix(build.project_slug, build.id, build.attempt)
    key = f"jobs/{build.id}-{build.attempt}.json"
    partition = config.builder_access_role.split(":")[1]
    arn = f"arn:{partition}:s3:::{bucket}"
    session = aws.sts().assume_role(
        RoleArn=config.builder_access_role,
        RoleSessionName=build.id,
        DurationSeconds=_SESSION_SECONDS,
        Policy=json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": [
                    {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"{arn}/{key}"},
                    {"Effect": "Allow", "Action": "s3:PutObject", "Resource": f"{arn}/{own}*"},
                ],
            }
        ),
    )
    signer = aws.s3_as(session["Credentials"])
    upload = signer.generate_presigned_post(
        Bucket=bucket,
        Key=own + "${filename}",  # which becomes a condition: any key that starts like this
        Conditions=[
            ["starts-with", "$Content-Type", ""],
            ["starts-with", "$Cache-Control", ""],
            ["content-length-range", 0, MAX_FILE_BYTES],
        ],
        ExpiresIn=min(_SESSION_SECONDS, _JOB_URL_SECONDS + build.timeout_seconds),
    )
    job: dict[str, Any] = {
        "version": 1,
        "buildId": build.id,
        "projectSlug": build.project_slug,
        "attempt": build.attempt,
        "source": {
            "url": build.source.url,
            "ref": build.source.ref,
            "commit": build.commit,
            "protocols": config.git_protocols,
        },
        "settings": {
            "rootDirectory": build.settings.root_directory,
            "installCommand": build.settings.install_command,
            "buildCommand": build.settings.build_command,
            "outputDirectory": build.settings.output_directory,
        },
        "env": env,
        "timeoutSeconds": build.timeout_seconds,
        "limits": {"files": MAX_FILES, "fileBytes": MAX_FILE_BYTES, "siteBytes": MAX_SITE_BYTES},
        "upload": {
            "url": upload["url"],
            "fields": {name: value for name, value in upload["fields"].items() if name != "key"},
            "prefix": own,
        },
    }
    aws.s3().put_object(Bucket=bucket, Key=key, Body=msgspec.json.encode(job), ContentType="application/json")
    return signer.generate_presigned_url(
        "get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=_JOB_URL_SECONDS
    )


def result(build: Build) -> Result | None:
    """The builder's result for the build's attempt; `None` if there is none, or it is not one.

    A builder that was killed has left no more than the commit it cloned: no success, and no failure that it knows of.
    The builder runs hostile code, so what it wrote is checked like any other input, and cut to what fits into a build.
    """
    if found := _account(build, build.attempt, "result.json"):
        return found
    commit = None if build.commit else _left_commit(build)
    return Result(build.id, build.attempt, ok=False, commit=commit) if commit else None


def _left_commit(build: Build) -> str | None:
    """What a killed builder cloned; that it was killed counts without it, and who builds again looks again."""
    try:
        left = _account(build, build.attempt, "source.json")
    except aws.FAULTS:
        logger.exception("commit not read", build_id=build.id)
        return None
    return left.commit if left else None


def cloned_commit(build: Build) -> str | None:
    """The commit that the attempt or the one before it has cloned, the newest first; `None` if neither tells of one.

    What came before, the build has known since the attempt was claimed.
    """
    attempts = range(build.attempt, max(0, build.attempt - 2), -1)
    accounts = (_account(build, attempt, name) for attempt in attempts for name in ("source.json", "result.json"))
    return next((account.commit for account in accounts if account and account.commit), None)


def told_commit(build: Build) -> str | None:
    """The commit that the builder of the build's attempt says it has cloned; `None` if it does not say so (yet).

    Asked briefly, and by a function that may not list the bucket: S3 then refuses an object that is not there.
    """
    key = prefix(build.project_slug, build.id, build.attempt) + "source.json"
    try:
        answer = aws.s3_briefly().get_object(Bucket=settings().artifacts_bucket, Key=key)
    except ClientError as error:
        if aws.failed_with(error, "NoSuchKey", "AccessDenied"):
            return None
        raise
    found = _read_account(build, build.attempt, _body(answer, MAX_RESULT_BYTES))
    return found.commit if found else None


def _account(build: Build, attempt: int, name: str) -> Result | None:
    """What the builder of an attempt has told."""
    body = _get(prefix(build.project_slug, build.id, attempt) + name, MAX_RESULT_BYTES)
    return _read_account(build, attempt, body)


def _read_account(build: Build, attempt: int, body: bytes | None) -> Result | None:
    try:
        found = msgspec.json.decode(body, type=Result) if body else None
    except (ValueError, RecursionError):
        return None
    if found is None or (found.build_id, found.attempt) != (build.id, attempt):
        return None
    sizes_are_true = 0 <= found.files <= MAX_FILES and 0 <= found.bytes <= MAX_SITE_BYTES
    return _cut(found) if sizes_are_true or not found.ok else None


def _cut(found: Result) -> Result:
    """The result without what cannot be true, its texts cut to a size that can be kept."""
    return replace(
        found,
        commit=found.commit if found.commit and _COMMIT.fullmatch(found.commit) else None,
        framework=found.framework and found.framework[:_MAX_NAME],
        package_manager=found.package_manager and found.package_manager[:_MAX_NAME],
        files=found.files if found.ok else 0,
        bytes=found.bytes if found.ok else 0,
        steps=tuple(
            StepTime(step.name[:_MAX_NAME], step.seconds)
            for step in found.steps[:_MAX_STEPS]
            if 0 <= step.seconds <= _MAX_STEP_SECONDS
        ),
        failure=found.failure and _cut_failure(found.failure),
    )


def _cut_failure(failure: BuilderFailure) -> BuilderFailure:
    return BuilderFailure(
        step=failure.step[:_MAX_NAME],
        code=failure.code[:_MAX_NAME],
        message=failure.message[:_MAX_TEXT],
        fix=failure.fix[:_MAX_TEXT],
        exit_code=failure.exit_code if failure.exit_code in range(-255, 256) else None,
        last_lines=tuple(line[-_MAX_TEXT:] for line in failure.last_lines[-_MAX_LINES:]),
    )


def _get(key: str, most: float = math.inf) -> bytes | None:
    """The object's bytes; `None` if it is not there or larger than it can rightly be."""
    try:
        answer = aws.s3().get_object(Bucket=settings().artifacts_bucket, Key=key)
    except ClientError as error:
        if aws.failed_with(error, "NoSuchKey"):
            return None
        raise
    return _body(answer, most)


def _body(answer: Any, most: float) -> bytes | None:
    body: bytes | None = answer["Body"].read() if answer["ContentLength"] <= most else None
    return body

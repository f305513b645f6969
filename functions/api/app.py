"""HTTP API -> use case -> HTTP."""

import base64
import re
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response
from aws_lambda_powertools.utilities.typing import LambdaContext

from tidegate import fields, inputs, logs, queueing, reading, service
from tidegate.aws import FAULTS
from tidegate.exceptions import (
    BodyTooLarge,
    FieldError,
    InvalidRequest,
    MalformedBody,
    MethodNotAllowed,
    NotFound,
    NotStarted,
    Problem,
    Unavailable,
    UnsupportedMediaType,
)
from tidegate.model import Build, Project
from tidegate.observability import logger
from tidegate.status import Status

LONGEST_WAIT = 20  # seconds, of the 29 that API Gateway gives
_POLL = 1.0

app = APIGatewayHttpResolver()


@app.post("/project")
def create_project() -> Response[bytes]:
    """Accept a repository and start its build; the first clients' contract."""
    new = inputs.parse_new_project(inputs.parse_json_object(_body()), service.build_defaults())
    build = _once(lambda build_id, name, now: service.create_project(new, build_id, now, name))
    # A repeated Idempotency-Key gets the answer of the first request, however the build has ended since.
    if build.failure and build.status is Status.FAILED and build.finished_at == build.created_at:
        raise NotStarted(build.failure.code, f"{build.failure.message} {build.failure.fix}", build.id)
    slug = build.project_slug
    return _json(
        {"status": "queued", "data": {"projectSlug": slug, "url": service.site_url(slug), "buildId": build.id}}
    )


@app.get("/v1/projects")
def list_projects() -> Response[bytes]:
    """Some projects and the cursor to the next ones."""
    limit, after = _query(
        limit=lambda value: fields.limit(value, 20, 100),
        cursor=lambda value: _read_cursor(value, fields.slug),
    )
    found, last = service.list_projects(after, limit)
    return _json({"items": [_project_view(project) for project in found], "cursor": _cursor(last)})


@app.get("/v1/projects/<slug>/builds")
def list_builds(slug: str) -> Response[bytes]:
    """A project's builds, the newest first."""
    limit, before, status = _query(
        limit=lambda value: fields.limit(value, 20, 100),
        cursor=lambda value: _read_cursor(value, fields.build_id),
        status=_read_status,
    )
    page = service.list_builds(_named("project", fields.slug, slug), status, before, limit)
    return _json({"items": [_build_view(build) for build in page.builds], "cursor": _cursor(page.before_id)})


@app.post("/v1/projects/<slug>/builds")
def create_build(slug: str) -> Response[bytes]:
    """Start a build of a known project."""
    project = service.find_project(_named("project", fields.slug, slug))
    new = inputs.parse_new_build(_optional_fields(), project, service.build_defaults())
    return _accepted(_once(lambda build_id, _, now: service.create_build(new, build_id, now)))


@app.get("/v1/builds/<build_id>")
def get_build(build_id: str) -> Response[bytes]:
    """One build, as it is now, its place in the queue, and why it waits."""
    build = service.find_build(_named("build", fields.build_id, build_id))
    position, waiting = queueing.queue_place(build)
    return _json(_build_view(build) | {"queuePosition": position, "waiting": waiting})


@app.post("/v1/builds/<build_id>/cancel")
def cancel_build(build_id: str) -> Response[bytes]:
    """Ask for a build's end; it is `canceled` once its task is seen stopped."""
    inputs.parse_nothing(_optional_fields())
    build = service.cancel(_named("build", fields.build_id, build_id), _now())
    return _json(_build_view(build), 200 if build.status.final else 202)


@app.post("/v1/builds/<build_id>/retry")
def retry_build(build_id: str) -> Response[bytes]:
    """Build the same commit again, with the same settings."""
    inputs.parse_nothing(_optional_fields())
    old = service.find_build(_named("build", fields.build_id, build_id))
    return _accepted(_once(lambda new_id, _, now: service.retry(old, new_id, now)))


@app.get("/v1/builds/<build_id>/timeline")
def read_timeline(build_id: str) -> Response[bytes]:
    """What was seen of a build, from where, and what it changed."""
    build = service.find_build(_named("build", fields.build_id, build_id))
    entries = [
        {"at": _time(entry.at), "source": entry.source, "seen": entry.seen, "change": entry.change}
        for entry in build.timeline
    ]
    return _json({"items": entries})


@app.get("/v1/builds/<build_id>/logs")
def read_log(build_id: str) -> Response[bytes]:
    """The next lines of a build's log, in order; with `wait`, as soon as there are any or the log has ended."""
    limit, wait, cursor = _query(
        limit=lambda value: fields.limit(value, 500, 5000),
        wait=lambda value: fields.limit(value, 0, LONGEST_WAIT, least=0),
        cursor=logs.check_cursor,
    )
    build_id = _named("build", fields.build_id, build_id)
    until = time.monotonic() + wait
    while True:
        log = reading.read_log(build_id, cursor, limit, _now())
        left = until - time.monotonic()
        if log.page.lines or log.end or left <= 0:
            return _log_view(log)
        time.sleep(min(_POLL, left))


@app.get("/healthz")
def healthz() -> Response[bytes]:
    """Whether the function answers; it asks nobody else."""
    return _json({"status": "ok"})


@app.exception_handler(Problem)  # type: ignore[untyped-decorator]
def problem(error: Problem) -> Response[bytes]:
    """Tell a broken rule; one that is not the client's fault is in the log, too."""
    if error.status >= 500:
        logger.warning("request not served", code=error.code, detail=error.detail)
    return _problem(error)


@app.exception_handler(list(FAULTS))  # type: ignore[untyped-decorator]
def aws_fault(error: Exception) -> Response[bytes]:
    """Tell a fault of AWS as a passing one; its cause is in the log."""
    logger.exception("AWS call failed")
    return _problem(Unavailable("AWS did not answer as needed; try again"))


@app.exception_handler(Exception)  # type: ignore[untyped-decorator]
def unexpected(error: Exception) -> Response[bytes]:
    """Tell a fault of ours without its inside."""
    logger.exception("request failed")
    return _problem(Problem())


@app.not_found
def not_found(error: Exception) -> Response[Any]:
    """Answer an address that is none of ours, or that knows other methods."""
    event = app.current_event
    allow = _allowed(event.path)
    if not allow:
        return _problem(NotFound("There is nothing at this address"))
    if event.http_method == "OPTIONS":
        return Response(204, body="", headers={"Allow": allow})
    return _problem(MethodNotAllowed(allow))


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer one request of API Gateway's HTTP API (payload 2.0); HEAD is GET without the body."""
    request = event["requestContext"]
    if request["http"]["method"] != "HEAD":
        return app.resolve(event, context)
    get = {**event, "requestContext": {**request, "http": {**request["http"], "method": "GET"}}}
    return app.resolve(get, context) | {"body": ""}


def _allowed(path: str) -> str:
    """The methods that a path answers to; empty if there is no such path."""
    routes = app._static_routes + app._dynamic_routes  # noqa: SLF001  the resolver shows them nowhere else
    methods = {route.method for route in routes if route.rule.match(path)}
    if not methods:
        return ""
    return ", ".join(sorted(methods | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())))


def _problem(error: Problem) -> Response[bytes]:
    """Write a broken rule as problem details (RFC 9457), on `/project` with the first clients' keys, too."""
    event = app.current_event
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": error.title,
        "status": error.status,
        "code": error.code,
        "detail": error.detail,
        "requestId": event.request_context.request_id,
    }
    if error.errors:
        body["errors"] = error.errors
    if isinstance(error, NotStarted):
        body["buildId"] = error.build_id
    if event.path == "/project":
        body |= {"error": error.title, "details": error.errors or error.detail}
    response = _json(body, error.status, "application/problem+json")
    if isinstance(error, MethodNotAllowed):
        response.headers["Allow"] = error.allow
    return response


def _json(value: Any, status: int = 200, content_type: str = "application/json") -> Response[bytes]:
    body = msgspec.json.encode(value).decode()
    return Response(status, content_type, body, headers={"Cache-Control": "no-store"})  # type: ignore[arg-type]


def _log_view(log: reading.BuildLog) -> Response[bytes]:
    """A page of a log in the format that the client asks for; a line that says of a gap comes last."""
    lines, kind = log.page.lines, _preferred(("application/json", "application/x-ndjson", "text/plain"))
    if kind == "application/json":
        answer = _json(
            {
                "lines": lines,
                "cursor": log.page.cursor,
                "end": log.end,
                "sealed": log.sealed,
                "lineCount": log.line_count,
                "gaps": log.gaps,
            }
        )
    else:
        marks = log.gaps if log.end else []
        if kind == "text/plain":
            texts = [line.message for line in lines] + [f"[gap: {gap['reason']}]" for gap in marks]
        else:
            texts = [msgspec.json.encode(each).decode() for each in (*lines, *({"gap": gap} for gap in marks))]
        body: Any = "".join(f"{text}\n" for text in texts)
        answer = Response(200, f"{kind}; charset=utf-8", body, headers={"Cache-Control": "no-store"})
    answer.headers |= {"Tidegate-End": str(log.end).lower(), "Vary": "Accept"}
    if log.page.cursor:
        answer.headers["Tidegate-Cursor"] = log.page.cursor
    return answer


def _preferred(kinds: tuple[str, ...]) -> str:
    """The media type that the request's Accept prefers, or the first."""
    wanted = []
    for part in (app.current_event.headers.get("accept") or "").lower().split(","):
        kind, *parameters = [piece.strip() for piece in part.split(";")]
        weight = next((each[2:] for each in parameters if each.startswith("q=")), "1")
        pattern = re.compile(re.escape(kind).replace(r"\*", ".*"))
        found = next((each for each in kinds if pattern.fullmatch(each)), None)
        if found and re.fullmatch(r"[01](\.\d*)?", weight) and float(weight) > 0:
            wanted.append((float(weight), found))
    return max(wanted, key=lambda each: each[0], default=(0.0, kinds[0]))[1]


def _now() -> datetime:
    """The time in whole milliseconds, which is what clients see and what build ids hold."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def _body() -> bytes:
    """The request's body, after a look at what it says it is."""
    event = app.current_event
    headers = {name.lower(): value.lower() for name, value in event.headers.items()}
    kind, _, parameters = headers.get("content-type", "").partition(";")
    charset = re.search(r"charset\s*=\s*\"?([^\s;\"]*)", parameters)
    if kind.strip() != "application/json" or (charset and charset[1] not in ("utf-8", "utf8", "us-ascii")):
        raise UnsupportedMediaType
    if headers.get("content-encoding", "").strip() not in ("", "identity"):
        raise UnsupportedMediaType("The body must be sent without Content-Encoding")
    text = event.body or ""
    try:
        body = base64.b64decode(text, validate=True) if event.is_base64_encoded else text.encode()
    except ValueError as error:
        raise MalformedBody("The body is not readable as text") from error
    if len(body) > inputs.MAX_BODY_BYTES:
        raise BodyTooLarge(f"The body must not be larger than {inputs.MAX_BODY_BYTES} bytes")
    return body


def _optional_fields() -> dict[str, Any]:
    return inputs.parse_json_object(_body()) if app.current_event.body else {}


def _once(act: Callable[[str, str | None, datetime], Build]) -> Build:
    """Make a build with a new id, or with an Idempotency-Key the one that the key stands for.

    A key belongs to its caller. `act` gets the build's id, a name in case the project is new, and the time.
    """
    from ulid import ULID  # brings package metadata along, which who only reads does not need

    event, now = app.current_event, _now()
    key, build_id = event.headers.get("idempotency-key"), str(ULID.from_datetime(now))
    if key is None:
        return act(build_id, None, now)
    _check({"Idempotency-Key": key}, {"Idempotency-Key": fields.idempotency_key})
    caller = event.request_context.authorizer.iam.user_arn
    request = (event.http_method, event.path, event.body or "")
    return service.once((caller, key), request, build_id, now, lambda own_id, name: act(own_id, name, now))


def _accepted(build: Build) -> Response[bytes]:
    answer = _json(_build_view(build), 202)
    answer.headers["Location"] = f"/v1/builds/{build.id}"
    return answer


def _query(**rules: Callable[[str | None], Any]) -> list[Any]:
    """The parameters by their rules, in the rules' order; one without a rule is refused."""
    given = app.current_event.query_string_parameters or {}
    unknown = [FieldError(name[:100], "is not a known parameter") for name in sorted(given.keys() - rules)]
    return _check(given, rules, unknown[: inputs.MAX_ERRORS])


def _check(
    values: Mapping[str, str], rules: Mapping[str, Callable[[Any], Any]], wrong: Sequence[FieldError] = ()
) -> list[Any]:
    """Apply each value's rule, or raise InvalidRequest with all that is wrong."""
    checked, errors = [], [*wrong]
    for name, rule in rules.items():
        try:
            checked.append(rule(values.get(name)))
        except ValueError as error:
            errors.append(FieldError(name, str(error)))
    if errors:
        raise InvalidRequest(errors=tuple(errors))
    return checked


def _named(what: str, rule: Callable[[str], str], value: str) -> str:
    """A name in a path, in the form such names have; anything else cannot be found."""
    try:
        return rule(value)
    except ValueError as error:
        raise NotFound(f"There is no such {what}") from error


def _cursor(last: str | None) -> str | None:
    return base64.urlsafe_b64encode(last.encode()).decode().rstrip("=") if last else None


def _read_cursor(value: str | None, rule: Callable[[str], str]) -> str | None:
    if value is None:
        return None
    try:
        return rule(base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True).decode("ascii"))
    except ValueError as error:
        raise ValueError("must be a cursor that an earlier page gave") from error


def _read_status(value: str | None) -> Status | None:
    if value is None:
        return None
    if value not in list(Status):
        raise ValueError(f"must be one of {', '.join(Status)}")
    return Status(value)


def _time(value: datetime | None) -> str | None:
    return value.isoformat(timespec="milliseconds").replace("+00:00", "Z") if value else None


def _project_view(project: Project) -> dict[str, Any]:
    return {
        "slug": project.slug,
        "url": service.site_url(project.slug),
        "gitURL": project.git_url,
        "ref": project.ref,
        "settings": project.settings,
        "createdAt": _time(project.created_at),
        "liveBuild": project.live_build,
        "liveAt": _time(project.live_at),
    }


def _build_view(build: Build) -> dict[str, Any]:
    return {
        "id": build.id,
        "projectSlug": build.project_slug,
        "url": service.site_url(build.project_slug),
        "status": build.status,
        "waiting": build.waiting,
        "failure": build.failure,
        "gitURL": build.source.url,
        "ref": build.source.ref,
        "commit": build.commit,
        "settings": build.settings,
        "framework": build.framework,
        "files": build.files,
        "bytes": build.bytes,
        "attempt": build.attempt,
        "createdAt": _time(build.created_at),
        "startingAt": _time(build.starting_at),
        "buildingAt": _time(build.building_at),
        "publishingAt": _time(build.publishing_at),
        "finishedAt": _time(build.finished_at),
        "cancelRequestedAt": _time(build.cancel_requested_at),
        "deadline": None if build.status.final else _time(build.deadline),
        "taskArn": build.task_arn,
        "exitCode": build.exit_code,
        "stopCode": build.stop_code,
        "stoppedReason": build.stopped_reason,
    }

"""The AWS endpoint: answers for ECS tasks, their logs, viewers and uploads itself, and leaves the rest to moto."""

import json
import logging
import re
import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from moto.s3.models import s3_backends
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

from local.account import ACCOUNT
from local.ecs import EcsError
from local.journal import Entry, Journal, changes, entry_of
from local.lambdas import Lambdas
from local.logs import LogError, Logs
from local.snapshot import snapshot
from local.uploads import UploadRefused, read_upload
from local.viewers import CallRefused, Viewers
from local.worker import Function

if TYPE_CHECKING:
    from local.fargate import Fargate

ECS = "AmazonEC2ContainerServiceV20141113."
LOGS = "Logs_20140328."
FUNCTION = re.compile(r"/2015-03-31/functions/([^/]+)/configuration")
INVOCATION = re.compile(r"/2015-03-31/functions/([^/]+)/invocations")
CONNECTION = re.compile(r"/@connections/(.+)")
SERVICES = {"DynamoDB_20120810": "dynamodb", "AmazonSQS": "sqs"}
Answer = Iterable[bytes]


class Connection(MotoRequestHandler):
    """One connection; it prints nothing and stays open between requests."""

    protocol_version = "HTTP/1.1"

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002
        """Print nothing."""


class Endpoint:
    """The WSGI application behind AWS_ENDPOINT_URL."""

    def __init__(self, port: int = 0) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._locks: dict[str, threading.RLock] = {}
        self._making = threading.Lock()
        self._server = make_server("127.0.0.1", port, self, threaded=True, request_handler=Connection)
        self._server.daemon_threads = True  # type: ignore[attr-defined]
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        self.journal: Journal | None = None
        self.fargate: Fargate | None = None
        self.logs: Logs | None = None
        self.lambdas: Lambdas | None = None
        self.viewers: Viewers | None = None
        self.resumed: list[str] = []  # builds whose tasks the end of the last run has cut off
        threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True).start()

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()

    def replay(self, journal: Journal) -> int:
        """Make the changes of an earlier run again, and write down those to come; how many there were."""
        count = 0
        for entry in journal.entries():
            if self._ask(entry.environ()).status_code < 300 and entry.method == "PUT":
                _date_back(entry)
            count += 1
        journal.replace(snapshot(lambda entry: self._ask(entry.environ()).data))
        self.journal = journal
        return count

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Answer:
        """Answer one request."""
        if not self._is_local(environ):
            return Response("The local AWS endpoint takes no requests from web pages.", 403)(environ, start_response)
        target = environ.get("HTTP_X_AMZ_TARGET", "")
        if target.startswith(ECS) and self.fargate:
            answer = _json_call(environ, self.fargate.call, target.removeprefix(ECS))
        elif target.startswith(LOGS) and self.logs:
            answer = _json_call(environ, self.logs.call, target.removeprefix(LOGS))
        elif environ["REQUEST_METHOD"] == "POST" and environ.get("CONTENT_TYPE", "").startswith("multipart/form-data"):
            answer = self._upload(environ)
        elif self.lambdas and (name := FUNCTION.fullmatch(environ.get("PATH_INFO", ""))):
            answer = _configuration(self.lambdas, name[1])
        elif self.lambdas and (name := INVOCATION.fullmatch(environ.get("PATH_INFO", ""))):
            answer = _invocation(self.lambdas, name[1], environ)
        elif self.viewers and (connection := CONNECTION.fullmatch(environ.get("PATH_INFO", ""))):
            answer = _connection_call(environ, self.viewers, connection[1])
        elif _expired(environ):
            answer = UploadRefused(403, "AccessDenied", "Request has expired").response()
        else:
            answer = None
        return (answer or self._change(environ))(environ, start_response)

    def _is_local(self, environ: dict[str, Any]) -> bool:
        # Sites hand visitors on to presigned addresses of their larger files.
        reads = environ["REQUEST_METHOD"] in {"GET", "HEAD"} and "X-Amz-Signature=" in environ.get("QUERY_STRING", "")
        page = not reads and ("HTTP_ORIGIN" in environ or environ.get("HTTP_SEC_FETCH_SITE", "none") != "none")
        hosts = {f"127.0.0.1:{self.port}", f"localhost:{self.port}"}
        inside = environ.get("PATH_INFO", "").startswith("/moto-api")
        return not page and not inside and environ.get("HTTP_HOST", "").lower() in hosts

    def _upload(self, environ: dict[str, Any]) -> Response:
        """Store a browser upload as the PUT it stands for."""
        request = Request(environ)
        request.max_form_memory_size = None
        bucket = request.path.strip("/").split("/")[0]
        try:
            with request:
                upload = read_upload(request, bucket, datetime.now(UTC))
        except UploadRefused as error:
            return error.response()
        headers = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in upload.headers.items()}
        headers["CONTENT_TYPE"] = headers.pop("HTTP_CONTENT_TYPE", "binary/octet-stream")
        headers["HTTP_HOST"] = environ["HTTP_HOST"]
        path = f"/{bucket}/{upload.key}".encode().decode("latin-1")  # as WSGI spells paths
        answer = self._change(Entry("PUT", path, "", headers, upload.body, time.time()).environ())
        return (
            Response(status=upload.status, headers={"etag": answer.headers["etag"]})
            if answer.status_code < 300
            else answer
        )

    def _change(self, environ: dict[str, Any]) -> Response:
        """Have moto answer, one request of a service at a time, and write down what changed something.

        moto checks a condition and writes in two steps, so without the lock two writers could both meet it.
        """
        service = _service(environ)
        with self._lock(service):
            if not self.journal or not changes(service, environ):
                return self._ask(environ)
            body = _body(environ)
            entry = entry_of(environ, body, time.time())
            answer = self._ask(environ)
            if answer.status_code < 300:
                self.journal.append(entry)
            return answer

    def _ask(self, environ: dict[str, Any]) -> Response:
        return Response.from_app(self._moto, environ, buffered=True)

    def _lock(self, service: str) -> threading.RLock:
        with self._making:
            return self._locks.setdefault(service, threading.RLock())


def _service(environ: dict[str, Any]) -> str:
    """Which service a request is for: by its target, or by the scope of its signature."""
    target = str(environ.get("HTTP_X_AMZ_TARGET", "")).partition(".")[0]
    if target:
        return SERVICES.get(target, target)
    scope = str(environ.get("HTTP_AUTHORIZATION", "")).partition("Credential=")[2].partition(",")[0].split("/")
    return scope[3] if len(scope) == 5 else "s3"


def _json_call(
    environ: dict[str, Any], call: Callable[[str, dict[str, Any]], dict[str, Any] | None], action: str
) -> Response | None:
    """Answer a call of AWS's JSON protocol; None if it is not for this stack to answer."""
    try:
        answer = call(action, json.loads(_body(environ) or b"{}"))
    except EcsError as error:
        status, answer = 400, {"__type": error.code, "message": str(error), **error.extra}
    except LogError as error:
        status, answer = 400, {"__type": error.code, "message": str(error)}
    else:
        if answer is None:
            return None
        status = 200
    return Response(json.dumps(answer), status, content_type="application/x-amz-json-1.1")


def _connection_call(environ: dict[str, Any], viewers: Viewers, connection_id: str) -> Response:
    """Answer a call of API Gateway's management API."""
    method = environ["REQUEST_METHOD"]
    try:
        answer = viewers.call(method, connection_id, _body(environ))
    except CallRefused as error:
        return Response(
            json.dumps({"message": str(error)}),
            error.status,
            {"x-amzn-errortype": error.code},
            content_type="application/json",
        )
    status = 204 if method == "DELETE" else 200
    return Response(json.dumps(answer) if answer else None, status, content_type="application/json")


def _function(lambdas: Lambdas, name: str) -> Function | None:
    return next((each for each in lambdas.functions.values() if name in {each.name, each.arn}), None)


def _configuration(lambdas: Lambdas, name: str) -> Response | None:
    """GetFunctionConfiguration; moto does not know the functions."""
    function = _function(lambdas, name)
    if function is None:
        return None
    return Response(
        json.dumps(
            {
                "FunctionName": function.name,
                "FunctionArn": function.arn,
                "Handler": function.handler,
                "Timeout": int(function.timeout),
                "MemorySize": function.memory,
                "Environment": {"Variables": dict(function.environment)},
            }
        ),
        content_type="application/json",
    )


def _invocation(lambdas: Lambdas, name: str, environ: dict[str, Any]) -> Response | None:
    """Invoke."""
    function = _function(lambdas, name)
    if function is None:
        return None
    event = json.loads(_body(environ) or b"{}")
    if environ.get("HTTP_X_AMZ_INVOCATION_TYPE") == "Event":
        lambdas.invoke_later(function.arn, event)
        return Response(status=202)
    outcome = lambdas.invoke(function.arn, event)
    headers = {"X-Amz-Function-Error": "Unhandled"} if outcome.error else {}
    return Response(json.dumps(outcome.error or outcome.result), headers=headers, content_type="application/json")


def _body(environ: dict[str, Any]) -> bytes:
    """Read the request's body, and leave it there for the next reader."""
    chunked = environ.get("wsgi.input_terminated")
    body: bytes = environ["wsgi.input"].read(*([] if chunked else [int(environ.get("CONTENT_LENGTH") or 0)]))
    environ["wsgi.input"] = BytesIO(body)
    environ["CONTENT_LENGTH"] = str(len(body))
    return body


def _expired(environ: dict[str, Any]) -> bool:
    """Whether a presigned address is past its time, which moto does not look at."""
    query = parse_qs(environ.get("QUERY_STRING", ""))
    if "X-Amz-Expires" not in query:
        return False
    signed = datetime.strptime(query["X-Amz-Date"][0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return datetime.now(UTC) >= signed + timedelta(seconds=int(query["X-Amz-Expires"][0]))


def _date_back(entry: Entry) -> None:
    """Give a replayed object the time it was first written at."""
    bucket, _, key = entry.path.encode("latin-1").decode().strip("/").partition("/")
    found = s3_backends[ACCOUNT]["aws"].buckets[bucket].keys.get(key)
    if found:
        found.last_modified = datetime.fromtimestamp(entry.at, UTC).replace(tzinfo=None)

"""The log forwarder with a log sink: what reaches the sink, and what a sink that fails comes to."""

import base64
import json
import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError
from msgspec.structs import replace
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse

from functions.log_forwarder.app import handler
from scripts.events import BUILD, TASK
from tests.collector import Answer, Clock, Collector
from tests.fakes import client_error
from tests.integration.test_logs import CONTEXT, EVENTS, event_id, pack
from tidegate import aws, batches, builds, forwarding, jobs, logs, notes, sink
from tidegate.settings import settings
from tidegate.status import Status

NOW = datetime(2026, 11, 21, 7, 30, tzinfo=UTC)
COMMIT = "4b82" * 10
KEY = "a-key-that-nobody-may-see"
TEMPORARY = [429, 502, 503, 504]
PERMANENT = [301, 302, 307, 308, 400, 401, 403, 404, 408, 413, 500, 501]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(sink, "time", clock)
    return clock


@pytest.fixture
def collector(set_environment: Any, clock: Clock) -> Iterator[Collector]:
    fake = Collector()
    set_environment("LOG_SINK_URL", fake.url)
    forget()
    yield fake
    fake.close()
    forget()


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """What the forwarder takes for now; to be changed in place."""
    moment = [NOW]
    monkeypatch.setattr("functions.log_forwarder.app._now", lambda: moment[0])
    return moment


@pytest.fixture
def secret(collector: Collector, set_environment: Any) -> str:
    """The ARN of a secret with a key in it."""
    arn: str = aws.secrets().create_secret(Name="sink", SecretString=json.dumps({"Api-Key": f" {KEY}\n"}))["ARN"]
    set_environment("LOG_SINK_SECRET", arn)
    return arn


def forget() -> None:
    """Be a new container."""
    if sink._link.cache_info().currsize:
        sink._link().pool.clear()
    sink._link.cache_clear()
    notes.known_origins.clear()
    forwarding.known_commits.clear()


def deliver(*messages: str, task: str = TASK, first: int = 0) -> None:
    """Call the handler as the subscription does."""
    events = [
        {"id": event_id(first + number), "timestamp": 1_000 + first + number, "message": message}
        for number, message in enumerate(messages)
    ]
    body = {
        "messageType": "DATA_MESSAGE",
        "owner": "123456789012",
        "logGroup": "/tidegate/builder",
        "logStream": f"build/builder/{task}",
        "subscriptionFilters": ["LogSubscription"],
        "logEvents": events,
    }
    handler({"awslogs": {"data": pack(body)}}, CONTEXT)  # type: ignore[arg-type]


def tell_commit(**told: Any) -> None:
    """Be the builder that has cloned."""
    key = jobs.prefix(BUILD.project_slug, BUILD.id, BUILD.attempt) + "source.json"
    body = {"buildId": BUILD.id, "attempt": BUILD.attempt, "ok": False, "commit": COMMIT} | told
    aws.s3().put_object(Bucket=settings().artifacts_bucket, Key=key, Body=json.dumps(body).encode())


def stored(task: str = TASK) -> list[str]:
    return [line.message for line in logs.read([task], None, 5000).lines]


# what is sent


def test_lines_reach_the_sink_with_what_is_known_of_their_build(
    collector: Collector, set_environment: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_environment("POWERTOOLS_SERVICE_NAME", "my-stack")
    source = replace(BUILD.source, url="https://me:pass@git.example.com/you/site.git", ref="main", commit="4b82" * 10)
    builds.create(replace(BUILD, source=source, status=Status.BUILDING, attempt=2))
    notes.name_task(TASK, BUILD.id, BUILD.project_slug, NOW)
    before = datetime.now(UTC)
    deliver("one", "\x1b[32m✓\x1b[0m two", "")
    [request] = collector.requests
    assert request.headers["content-type"] == "application/x-protobuf"
    assert "content-encoding" not in request.headers
    assert request.path == "/v1/logs"
    assert collector.resource() == {
        "service.name": "my-stack",
        "aws.ecs.task.id": TASK,
        "tidegate.project.slug": "callous-tender-dog",
        "tidegate.build.id": BUILD.id,
        "tidegate.build.status": "building",
        "tidegate.build.attempt": 2,
        "vcs.repository.url.full": "https://git.example.com/you/site.git",
        "vcs.ref.head.name": "main",
        "vcs.ref.head.revision": "4b82" * 10,
    }
    assert collector.lines() == ["one", "\x1b[32m✓\x1b[0m two", ""] == stored()
    for number, record in enumerate(collector.records()):
        assert record.time_unix_nano == (1_000 + number) * 1_000_000
        seen = datetime.fromtimestamp(record.observed_time_unix_nano / 1e9, UTC)
        assert before - timedelta(seconds=1) < seen < datetime.now(UTC) + timedelta(seconds=1)
        [uid] = record.attributes
        assert (uid.key, uid.value.string_value) == ("log.record.uid", event_id(number))


def test_a_secret_that_cannot_be_read_is_counted(
    collector: Collector, secret: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def denied(**_: Any) -> None:
        raise client_error("AccessDeniedException", "not yours", "GetSecretValue")

    monkeypatch.setattr(aws.secrets(), "get_secret_value", denied)
    with pytest.raises(Exception, match="not yours"):
        deliver("one")
    assert '"LogSinkFailed":[1' in capsys.readouterr().out
    assert stored() == ["one"]


def test_status_and_commit_are_those_of_now_and_the_task_is_asked_for_once(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    builds.create(BUILD)
    deliver("one")
    assert collector.resource() == {"service.name": "tidegate", "aws.ecs.task.id": TASK}, "nobody knows the task yet"
    notes.name_task(TASK, BUILD.id, BUILD.project_slug, NOW)
    deliver("two", first=1)
    assert collector.resource()["tidegate.build.status"] == "starting"
    assert "vcs.ref.head.revision" not in collector.resource()
    monkeypatch.setattr(notes, "origin", lambda _: pytest.fail("a task never changes its build"))
    builds.save(BUILD, replace(BUILD, status=Status.READY, cloned_commit="4b82" * 10), NOW)
    deliver("three", first=2)
    assert collector.resource()["tidegate.build.status"] == "ready"
    assert collector.resource()["vcs.ref.head.revision"] == "4b82" * 10


def test_commit_is_told_once_the_builder_has_cloned_it(
    collector: Collector, now: list[datetime], monkeypatch: pytest.MonkeyPatch
) -> None:
    builds.create(replace(BUILD, status=Status.BUILDING))
    notes.name_task(TASK, BUILD.id, BUILD.project_slug, NOW)
    deliver("cloning")
    assert "vcs.ref.head.revision" not in collector.resource()
    tell_commit()
    now[0] += timedelta(seconds=2.9)
    deliver("a moment later", first=1)
    assert "vcs.ref.head.revision" not in collector.resource(), "not asked for at each batch"
    now[0] += timedelta(seconds=0.1)
    deliver("installing", first=2)
    assert collector.resource()["vcs.ref.head.revision"] == COMMIT
    monkeypatch.setattr(jobs, "told_commit", lambda _: pytest.fail("it never changes"))
    now[0] += timedelta(hours=1)
    deliver("building", first=3)
    assert collector.resource()["vcs.ref.head.revision"] == COMMIT


@pytest.mark.parametrize(
    "told",
    [
        {"commit": None},
        {"commit": "main"},
        {"commit": f"{COMMIT}\n"},
        {"commit": COMMIT.upper()},
        {"commit": [COMMIT]},
        {"attempt": 2},
        {"buildId": "01JD6Q2V8W3M4N5P6R7S8T9VAC"},
        {"more": "x" * jobs.MAX_RESULT_BYTES},
    ],
)
def test_what_no_builder_would_tell_is_no_commit(collector: Collector, told: dict[str, Any]) -> None:
    builds.create(BUILD)
    notes.name_task(TASK, BUILD.id, BUILD.project_slug, NOW)
    tell_commit(**told)
    deliver("one")
    assert collector.resource()["tidegate.build.status"] == "starting"
    assert "vcs.ref.head.revision" not in collector.resource()


@pytest.mark.parametrize(
    "change",
    [{"task_arn": "arn:aws:ecs:x:1:task/builds/another"}, {"status": Status.FAILED}],
    ids=["of another attempt", "over"],
)
def test_commit_is_asked_of_who_writes_it_only(
    collector: Collector, change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    builds.create(replace(BUILD, **change))
    notes.name_task(TASK, BUILD.id, BUILD.project_slug, NOW)
    monkeypatch.setattr(jobs, "told_commit", lambda _: pytest.fail("not its own"))
    deliver("one")
    assert "vcs.ref.head.revision" not in collector.resource()


@pytest.mark.parametrize(
    ("fault", "rest", "warned"),
    [
        (client_error("AccessDenied", "no s3:ListBucket", "GetObject"), 3, False),
        (client_error("SlowDown", "later", "GetObject"), 60, True),
        (ReadTimeoutError(endpoint_url="s3"), 60, True),
    ],
)
def test_commit_that_cannot_be_read_holds_no_line_back(
    collector: Collector,
    now: list[datetime],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fault: Exception,
    rest: float,
    warned: bool,
) -> None:
    def refuse(**_: Any) -> None:
        asked.append(now[0])
        raise fault

    asked: list[datetime] = []
    monkeypatch.setattr(aws.s3_briefly(), "get_object", refuse)
    builds.create(BUILD)
    notes.name_task(TASK, BUILD.id, BUILD.project_slug, NOW)
    for number in range(3):
        deliver("line", first=number)
    now[0] += timedelta(seconds=rest)
    deliver("line", first=3)
    assert collector.lines() == ["line"] * 4
    assert len(asked) == 2
    assert bool([record for record in caplog.records if record.msg == "commit not read"]) is warned


def test_commits_kept_are_not_without_end(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwarding.known_commits, "most", 2)
    for number in range(5):
        task = f"{number:032x}"
        own = replace(BUILD, id=f"01JD6Q2V8W3M4N5P6R7S8T9VA{number}", task_arn=f"arn:aws:ecs:x:1:task/builds/{task}")
        builds.create(own)
        notes.name_task(task, own.id, own.project_slug, NOW)
        deliver("line", task=task)
    assert len(forwarding.known_commits) == 1


def test_lines_of_an_earlier_attempts_task_name_no_attempt(collector: Collector) -> None:
    builds.create(replace(BUILD, attempt=2, task_arn="arn:aws:ecs:x:1:task/builds/another"))
    notes.name_task(TASK, BUILD.id, BUILD.project_slug, NOW)
    deliver("one")
    assert collector.resource()["tidegate.build.id"] == BUILD.id
    assert "tidegate.build.attempt" not in collector.resource()


def test_task_of_a_build_that_is_gone_keeps_its_name(collector: Collector) -> None:
    notes.name_task(TASK, BUILD.id, BUILD.project_slug, NOW)
    deliver("one")
    assert collector.resource()["tidegate.build.id"] == BUILD.id
    assert "tidegate.build.status" not in collector.resource()


def test_all_event_files_reach_the_sink_as_they_are_stored(collector: Collector) -> None:
    for case in EVENTS.values():
        handler(case.event(), CONTEXT)  # type: ignore[arg-type]
    sent = {record.attributes[0].value.string_value: record.body.string_value for record in collector.records()}
    tasks = {str(collector.resource(number)["aws.ecs.task.id"]) for number in range(len(collector.requests))}
    assert sent == {line.id: line.message for task in tasks for line in logs.read([task], None, 5000).lines}
    assert len(collector.requests) == len(EVENTS) - 1, "one a batch, none for the control message"
    assert len(collector.records()) > len(sent) > 20, "what is delivered twice is sent twice, and can be told by its id"


def test_a_line_that_fits_no_request_is_cut(collector: Collector) -> None:
    noise = base64.b64encode(random.Random(7).randbytes(batches.MAX_LINE_BYTES // 4 * 3)).decode()
    deliver("before", noise, "after")
    pages = logs.pages([TASK], None, 10, logs.MAX_PAGE_BYTES)
    assert [line.message for page in pages for line in page.lines] == ["before", noise, "after"]
    before, cut, after = collector.lines()
    kept, _, mark = cut.partition("… [")
    assert (before, after, mark) == ("before", "after", "cut by Tidegate: the line has 1048576 bytes]")
    assert noise.startswith(kept)
    assert 999_000 < len(kept) < 1_000_000
    assert max(each.body.ByteSize() for each in collector.requests) < 1_000_000


def test_a_longer_line_is_cut_as_the_store_cuts_it(collector: Collector) -> None:
    deliver("\x1b" * batches.MAX_LINE_BYTES)
    assert collector.lines() == stored()
    assert "cut by Tidegate" in collector.lines()[0]


def test_a_large_batch_goes_in_several_requests(collector: Collector) -> None:
    messages = [f"{number} " + "é" * 300 for number in range(4000)]
    deliver(*messages)
    assert len(collector.requests) == 3
    assert {each.headers["content-encoding"] for each in collector.requests} == {"gzip"}
    assert collector.lines() == messages


def test_control_messages_are_not_sent(collector: Collector) -> None:
    handler({"awslogs": {"data": pack({"messageType": "CONTROL_MESSAGE", "logEvents": []})}}, CONTEXT)  # type: ignore[arg-type]
    assert collector.requests == []


def test_without_a_sink_nothing_of_it_is_loaded(stack: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tidegate.forwarding", None)  # to import it would fail
    deliver("one")
    assert stored() == ["one"]


# the secret


def test_headers_come_from_the_secret_which_is_read_once(
    collector: Collector, secret: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver("one")
    assert collector.requests[-1].headers["api-key"] == KEY
    aws.secrets().put_secret_value(SecretId=secret, SecretString='{"api-key": "another-key"}')
    clock.now += 299
    deliver("two", first=1)
    assert collector.requests[-1].headers["api-key"] == KEY
    clock.now += 2
    deliver("three", first=2)
    assert collector.requests[-1].headers["api-key"] == "another-key"


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_is_refused_is_read_again_once(collector: Collector, secret: str, status: int) -> None:
    deliver("one")
    aws.secrets().put_secret_value(SecretId=secret, SecretString='{"api-key": "another-key"}')
    collector.answers.append(Answer(status))
    deliver("two", first=1)
    assert [each.headers["api-key"] for each in collector.requests] == [KEY, KEY, "another-key"]
    collector.answers.extend([Answer(status), Answer(status)])
    with pytest.raises(sink.Unsent, match=str(status)):
        deliver("three", first=2)
    assert len(collector.requests) == 5


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (f'"{KEY}"', "JSON object"),
        (KEY, "JSON object"),
        (f'{{"api-key": ["{KEY}"]}}', "JSON object"),
        (f'{{"api key": "{KEY}"}}', "api key"),
        (f'{{"Host": "{KEY}"}}', "host"),
        (f'{{"content-length": "{KEY}"}}', "content-length"),
        (f'{{"api-key": "{KEY}\\r\\nX: y"}}', "api-key"),
        (f'{{"api-key": "{KEY}é"}}', "api-key"),
        ('{"api-key": ""}', "api-key"),
    ],
)
def test_a_wrong_secret_is_told_by_name_and_never_by_value(
    collector: Collector, secret: str, value: str, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    aws.secrets().put_secret_value(SecretId=secret, SecretString=value)
    with pytest.raises(ValueError, match=named) as raised:
        deliver("one")
    assert KEY not in str(raised.value)
    assert raised.value.__suppress_context__ or raised.value.__context__ is None
    out = capsys.readouterr().out
    assert KEY not in out
    assert '"LogSinkFailed":[1' in out
    assert collector.requests == []
    assert stored() == ["one"]


def test_headers_of_ours_are_not_the_secrets_to_give(collector: Collector, secret: str) -> None:
    aws.secrets().put_secret_value(SecretId=secret, SecretString='{"Content-Type": "text/plain", "x": "y"}')
    deliver("one")
    assert collector.requests[0].headers["content-type"] == "application/x-protobuf"
    assert collector.requests[0].headers["x"] == "y"


# a sink that fails


@pytest.mark.parametrize("answer", [*(Answer(status) for status in TEMPORARY), Answer(0)])
def test_what_is_temporary_is_tried_again(collector: Collector, clock: Clock, answer: Answer) -> None:
    collector.answers.extend([answer, answer])
    deliver("one")
    assert collector.lines() == ["one"] * 3
    assert clock.slept == [0.5, 1.0]


@pytest.mark.parametrize("status", PERMANENT)
def test_what_is_permanent_is_told_and_not_tried_again(collector: Collector, clock: Clock, status: int) -> None:
    collector.answers.append(Answer(status, b"no such thing " * 100, {"Location": collector.url}))
    with pytest.raises(sink.Unsent, match=f"answered {status}: no such thing") as raised:
        deliver("one")
    assert len(str(raised.value)) < 250
    assert (len(collector.requests), clock.slept) == (1, [])
    deliver("two", first=1)
    assert collector.lines() == ["one", "two"], "the next batch is none the worse for it"


def test_trying_ends_and_the_sink_is_then_left_alone_for_a_while(
    collector: Collector, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    collector.answers.extend([Answer(503)] * 5)
    with pytest.raises(sink.Away, match="503"):
        deliver("one")
    assert sum(clock.slept) <= 8
    tries = len(collector.requests)
    assert 2 < tries < 6
    collector.answers.clear()
    with pytest.raises(sink.Unsent, match="left alone"):
        deliver("two", first=1)
    assert len(collector.requests) == tries
    assert stored() == ["one", "two"], "a broken sink does not hold back the store"
    clock.now += 31
    deliver("one")
    deliver("two", first=1)
    assert collector.lines()[tries:] == ["one", "two"], "Lambda's retry, or a replay, sends them"
    assert stored() == ["one", "two"]
    assert capsys.readouterr().out.count('"LogSinkFailed":[1') == 2


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_kept_within_bounds(collector: Collector, clock: Clock, form: str) -> None:
    def after(seconds: int) -> dict[str, str]:
        moment = datetime.now(UTC) + timedelta(seconds=seconds)
        return {"Retry-After": str(seconds) if form == "seconds" else format_datetime(moment, usegmt=True)}

    collector.answers.append(Answer(429, headers=after(4)))
    deliver("one")
    [slept] = clock.slept
    assert 2.5 <= slept <= 4
    collector.answers.append(Answer(503, headers=after(600)))
    with pytest.raises(sink.Away):
        deliver("two", first=1)
    assert clock.slept == [slept], "it comes back when Lambda tries again"


def test_a_hanging_sink_is_given_up(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sink, "_READ", 0.05)
    monkeypatch.setattr(sink, "_TRYING", 0.0)
    collector.answers.append(Answer(-1, seconds=60))
    with pytest.raises(sink.Away, match="ReadTimeoutError"):
        deliver("one")
    assert stored() == ["one"]


@pytest.mark.parametrize("at_once", [0, 20, 60], ids=["status", "headers", "last header"])
@pytest.mark.parametrize("status", [200, 503])
def test_an_answer_that_drips_is_given_up(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, status: int, at_once: int
) -> None:
    monkeypatch.setattr(sink, "time", time)
    monkeypatch.setattr(sink, "_READ", 0.1)
    monkeypatch.setattr(sink, "_TRYING", 0.0)
    collector.answers.append(Answer(status, headers={"X-Long": "x" * 500}, at_once=at_once))
    with pytest.raises(sink.Away, match="ReadTimeoutError"):
        deliver("one")
    assert collector.cut_off.wait(30)
    with pytest.raises(sink.Unsent, match="left alone"):
        deliver("two", first=1)
    assert stored() == ["one", "two"]


def test_an_answer_without_end_is_given_up(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is always more to read, so no socket's time-out ends it."""
    monkeypatch.setattr(sink, "time", time)
    monkeypatch.setattr(sink, "_READ", 0.1)
    monkeypatch.setattr(sink, "_TRYING", 0.0)
    collector.answers.append(Answer(100))
    with pytest.raises(sink.Away, match="ReadTimeoutError"):
        deliver("one")
    assert collector.cut_off.wait(30)


def test_a_body_that_drips_is_not_waited_for(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """The status has said that the lines are taken."""
    monkeypatch.setattr(sink, "time", time)
    monkeypatch.setattr(sink, "_READ", 0.1)
    collector.answers.append(Answer(200, b"x" * 1000, {"Content-Type": "application/json"}, at_once=100))
    deliver("one")
    assert collector.cut_off.wait(30)
    collector.answers.append(Answer(400, b"x" * 1000, at_once=100))
    with pytest.raises(sink.Unsent, match="answered 400"):
        deliver("two", first=1)
    deliver("three", first=2)
    assert collector.lines() == ["one", "two", "three"]


def test_time_of_an_answer_is_not_taken_from_the_next_request(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink, "time", time)
    collector.answers.extend(Answer(200, b"x" * 20, at_once=60) for _ in range(2))
    for number in range(2):
        deliver("line", first=number)
    assert not collector.cut_off.is_set()
    assert sink._link().connections.num_connections == 1, "and the connection is kept"
    [kept] = [each for each in sink._link().connections.pool.queue if each]  # type: ignore[union-attr]
    assert kept.sock.gettimeout() == sink._READ


def test_all_that_a_sink_can_take_fits_into_the_functions_time() -> None:
    from tests.unit.test_template import properties

    last_try = sink._CONNECT + sink._READ
    before = aws.LONGEST_CALL + 5 + 2  # DynamoDB, the viewers, the commit
    assert max(sink._TRYING, sink._SENDING) + last_try < properties("LogForwarderFunction")["Timeout"] - before


def test_a_slow_sink_is_not_waited_for_without_end(
    collector: Collector, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = sink._post

    def slow(*given: Any) -> Any:
        clock.now += 6
        return real(*given)

    monkeypatch.setattr(sink, "_post", slow)
    with pytest.raises(sink.Away, match="too slow"):
        deliver(*("x" * 250_000 for _ in range(30)))
    assert 3 <= len(collector.requests) <= 4


def test_no_sink_at_all(collector: Collector, clock: Clock) -> None:
    collector.close()
    with pytest.raises(sink.Away, match="NewConnectionError"):
        deliver("one")
    assert stored() == ["one"]


def test_the_key_is_in_no_log_and_no_error(
    collector: Collector, secret: str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    aws.secrets().put_secret_value(SecretId=secret, SecretString=json.dumps({"Authorization": f"Bearer {KEY}"}))
    collector.answers.extend([Answer(503, f"your Bearer {KEY} and {KEY}".encode()), Answer(400, KEY.encode())])
    with pytest.raises(sink.Unsent) as raised:
        deliver("one")
    assert collector.requests[0].headers["authorization"] == f"Bearer {KEY}"
    told = [str(vars(record)) for record in caplog.records]
    assert KEY not in "".join([str(raised.value), *told, *capsys.readouterr()])
    assert [line for line in told if "answered 503: your *** and ***" in line]


def test_the_key_is_not_told_with_rejected_lines(
    collector: Collector, secret: str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    answer = ExportLogsServiceResponse()
    answer.partial_success.error_message = f"the quota of {KEY} is nearly used up"
    headers = {"Content-Type": "application/x-protobuf"}
    collector.answers.append(Answer(200, answer.SerializeToString(), headers))
    deliver("one")
    [warning] = [vars(record) for record in caplog.records if record.levelname == "WARNING"]
    assert warning["reason"] == "the quota of *** is nearly used up"
    assert KEY not in "".join([str(warning), *capsys.readouterr()])


def test_a_large_answer_is_not_read_to_its_end(collector: Collector) -> None:
    collector.answers.append(Answer(400, b"x" * 10_000_000))
    with pytest.raises(sink.Unsent, match="400"):
        deliver("one")
    deliver("two", first=1)
    assert collector.lines() == ["one", "two"]


def test_rejected_lines_are_told_and_not_sent_again(
    collector: Collector, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    answer = ExportLogsServiceResponse()
    answer.partial_success.rejected_log_records = 2
    answer.partial_success.error_message = "too old"
    headers = {"Content-Type": "application/x-protobuf"}
    collector.answers.append(Answer(200, answer.SerializeToString(), headers))
    deliver("one", "two", "three")
    assert len(collector.requests) == 1
    [warning] = [vars(record) for record in caplog.records if record.levelname == "WARNING"]
    assert (warning["msg"], warning["lines"], warning["reason"]) == ("log sink rejected lines", 2, "too old")
    assert '"LogSinkRejectedLines":[2' in capsys.readouterr().out


@pytest.mark.parametrize("status", [200, 202, 204])
def test_any_success_will_do(collector: Collector, status: int) -> None:
    collector.answers.append(Answer(status))
    deliver("one")
    assert collector.lines() == ["one"]


def test_a_throttled_look_up_is_raised_after_the_lines_are_stored(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def throttled(_: str) -> None:
        raise client_error("ThrottlingException", "slow down", "GetItem")

    monkeypatch.setattr(notes, "origin", throttled)
    with pytest.raises(Exception, match="slow down"):
        deliver("one")
    assert (stored(), collector.requests) == (["one"], [])
    assert capsys.readouterr().out.count('"LogSinkFailed":[1') == 1


def test_https_is_checked_against_the_systems_roots(collector: Collector) -> None:
    import ssl

    context = sink._link().pool.connection_pool_kw["ssl_context"]
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.cert_store_stats() == ssl.create_default_context().cert_store_stats()

"""The live log against moto and viewers that are told what to do."""

import json
import random
import threading
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError
from msgspec.structs import replace

from functions.log_forwarder.app import handler
from scripts.events import BUILD, TASK
from tests.fakes import Client, FakeConnections, client_error
from tests.integration.test_logs import CONTEXT, batch, cursor_of, event_id, million, pack
from tests.integration.test_logs import send as store
from tidegate import aws, builds, chunks, connections, frames, logs, notes, reading, watching
from tidegate.connections import Subscription
from tidegate.exceptions import InvalidRequest, NotFound, TooManySubscriptions
from tidegate.model import LogLine
from tidegate.settings import Settings
from tidegate.sheets import Log
from tidegate.status import Status

NOW = datetime(2026, 11, 21, 7, 30, tzinfo=UTC)
SECOND = timedelta(seconds=1)
GONE = client_error("GoneException", "gone", "PostToConnection")
FULL = client_error("LimitExceededException", "the client's buffer is full", "PostToConnection")


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock(stack: Settings) -> Clock:
    builds.create(BUILD)
    notes.name_task(TASK, BUILD.id, BUILD.project_slug, NOW)
    return Clock()


@pytest.fixture
def viewers(stack: Settings, monkeypatch: pytest.MonkeyPatch) -> FakeConnections:
    fake = FakeConnections()
    monkeypatch.setattr(aws, "connections", lambda: fake)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    return fake


def put(numbers: Iterable[int]) -> None:
    chunks.put(batch([(number, f"line {number}") for number in numbers]), NOW)


def end(status: Status = Status.READY) -> None:
    build = builds.get(BUILD.id)
    assert build
    builds.save(build, replace(build, status=status, finished_at=NOW, open=None), NOW)


def subscribe(clock: Clock, name: str = "a", cursor: str | None = None, encoding: str = "identity") -> None:
    watching.subscribe(Subscription(BUILD.id, name, cursor, encoding=encoding), clock, clock() + 15 * SECOND)


def push(clock: Clock) -> None:
    watching.push_task(TASK, clock, clock() + 5 * SECOND)


def client(viewers: FakeConnections, name: str = "a", cursor: str | None = None) -> Client:
    found = Client(cursor)
    for frame in viewers.frames.get(name, []):
        found.take(frame)
    return found


def lines(viewers: FakeConnections, name: str = "a", cursor: str | None = None) -> list[str]:
    return [*client(viewers, name, cursor).lines.values()]


def subscriptions() -> list[dict[str, Any]]:
    return [aws.from_item(item) for item in aws.dynamodb().scan(TableName="ConnectionsTable")["Items"]]


def expect(*numbers: int) -> list[str]:
    return [f"line {number}" for number in numbers]


# the way it goes


def test_lines_so_far_then_each_batch_then_the_end(clock: Clock, viewers: FakeConnections) -> None:
    put([1, 2])
    subscribe(clock)
    assert lines(viewers) == expect(1, 2)
    put([3])
    push(clock)
    put([4, 5])
    push(clock)
    push(clock)
    end()
    push(clock)
    assert lines(viewers) == expect(1, 2, 3, 4, 5)
    assert client(viewers).end is None, "the log is not sealed yet"
    notes.seal(notes.Watch(TASK), notes.Seal(5), NOW)
    watching.push(BUILD.id, clock, clock() + 5 * SECOND)
    last = viewers.frames["a"][-1]
    assert {name: last[name] for name in ("type", "buildId", "status", "sealed", "lineCount", "gaps")} == {
        "type": "end",
        "buildId": BUILD.id,
        "status": "ready",
        "sealed": True,
        "lineCount": 5,
        "gaps": [],
    }
    assert last["cursor"] == viewers.frames["a"][-2]["cursor"]
    assert subscriptions() == []
    push(clock)
    assert len(viewers.frames["a"]) == 4


def test_frames_are_a_chain_of_cursors(clock: Clock, viewers: FakeConnections) -> None:
    put([1])
    subscribe(clock)
    put([2])
    push(clock)
    put([3])
    push(clock)
    first, second, third = viewers.frames["a"]
    assert [first["after"], second["after"], third["after"]] == [None, first["cursor"], second["cursor"]]
    assert set(first) == {"type", "buildId", "after", "cursor", "lines"}
    assert first["lines"] == [{"id": event_id(1), "timestamp": 1, "message": "line 1"}]
    page = reading.read_log(BUILD.id, second["cursor"], 10, NOW)
    assert [line.message for line in page.page.lines] == expect(3), "the same cursors as GET /logs has"


def test_viewer_that_comes_back_goes_on_where_it_was(clock: Clock, viewers: FakeConnections) -> None:
    put([1, 2])
    subscribe(clock, "before")
    watching.leave("before")
    put([3])
    push(clock)
    cursor = client(viewers, "before").cursor
    subscribe(clock, "after", cursor)
    assert lines(viewers, "before") == expect(1, 2)
    assert lines(viewers, "after", cursor) == expect(3)


def test_subscribing_again_starts_from_the_cursor(clock: Clock, viewers: FakeConnections) -> None:
    put([1])
    subscribe(clock)
    cursor = viewers.frames["a"][0]["cursor"]
    put([2])
    push(clock)
    subscribe(clock, cursor=cursor)
    assert [frame["after"] for frame in viewers.frames["a"]] == [None, cursor, cursor]
    assert lines(viewers) == expect(1, 2)
    assert len(subscriptions()) == 1


def test_build_that_has_ended_is_told_at_once(clock: Clock, viewers: FakeConnections) -> None:
    put([1])
    end(Status.FAILED)
    notes.seal(notes.Watch(TASK), notes.Seal(3, event_id(1), "CloudWatch did not show the rest of the log"), NOW)
    subscribe(clock)
    found = client(viewers)
    assert [*found.lines.values()] == expect(1)
    assert found.end
    assert (found.end["status"], found.end["lineCount"]) == ("failed", 3)
    assert found.end["gaps"] == [{"after": event_id(1), "reason": "CloudWatch did not show the rest of the log"}]
    assert subscriptions() == []


def test_build_that_never_had_a_task_ends_too(clock: Clock, viewers: FakeConnections) -> None:
    waiting = replace(BUILD, id="01JD6Q2V8W3M4N5P6R7S8T9VAC", tasks=(), task_arn=None, status=Status.QUEUED)
    builds.create(waiting)
    watching.subscribe(Subscription(waiting.id, "a"), clock, clock() + SECOND)
    assert viewers.frames == {}
    builds.save(waiting, replace(waiting, status=Status.CANCELED, finished_at=NOW, open=None), NOW)
    watching.sweep(clock, clock() + SECOND)
    [only] = viewers.frames["a"]
    assert (only["type"], only["status"], only["lineCount"]) == ("end", "canceled", 0)


def test_log_without_a_seal_ends_after_three_minutes(clock: Clock, viewers: FakeConnections) -> None:
    put([1])
    end()
    subscribe(clock)
    assert client(viewers).end is None
    clock.now += timedelta(minutes=3)
    watching.sweep(clock, clock() + SECOND)
    found = client(viewers).end
    assert found
    assert (found["sealed"], found["lineCount"]) == (False, None)


def test_long_log_comes_in_frames_that_fit(clock: Clock, viewers: FakeConnections) -> None:
    texts = [f"{number} " + "é\x1b[31m" * 60 for number in range(1200)]
    chunks.put(batch(enumerate(texts)), NOW)
    subscribe(clock)
    assert len(viewers.frames["a"]) > 3
    assert lines(viewers) == texts


def test_line_longer_than_a_frame_comes_in_pieces(clock: Clock, viewers: FakeConnections) -> None:
    texts = ["before", "\x1b" * 100_000, "x" * 200_000, million("base64"), "after"]
    chunks.put(batch(enumerate(texts)), NOW)
    subscribe(clock)
    assert lines(viewers) == texts
    long = [frame for frame in viewers.frames["a"] if "part" in frame["lines"][0]]
    assert len(long) > 8
    assert all(
        frame["after"] == frame["cursor"] for frame in long if frame["lines"][0]["part"] < frame["lines"][0]["parts"]
    )


def test_late_lines_come_late(clock: Clock, viewers: FakeConnections) -> None:
    put([1])
    put([5])
    subscribe(clock)
    put([3])
    push(clock)
    assert lines(viewers) == expect(1, 5, 3)


def forward(messages: Iterable[tuple[int, str]], clock: Clock) -> None:
    new = store(messages)
    watching.push_task(TASK, clock, clock() + 5 * SECOND, new)


def calls_of(client: Any, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The calls that a client makes from now on, and what they select."""
    real, calls = client._make_api_call, []

    def call(name: str, wanted: dict[str, Any]) -> Any:
        calls.append((name, wanted.get("Select", "")))
        return real(name, wanted)

    monkeypatch.setattr(client, "_make_api_call", call)
    return calls


def test_who_has_the_rest_is_sent_a_batch_without_reading_it_from_the_store(
    clock: Clock, viewers: FakeConnections, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscribe(clock)
    forward([(1, "line 1")], clock)
    subscribe(clock, "b")
    calls = calls_of(aws.dynamodb(), monkeypatch)
    forward([(2, "line 2"), (3, 'a "quote", é and \x1b')], clock)
    counted, updates = ("Query", "COUNT"), [("UpdateItem", "")] * 4
    assert sorted(calls) == sorted([("PutItem", ""), ("Query", ""), counted, *updates])
    for name in "ab":
        assert lines(viewers, name) == ["line 1", "line 2", 'a "quote", é and \x1b']
        cursor = viewers.frames[name][-1]["cursor"]
        assert reading.read_log(BUILD.id, cursor, 10, NOW).page.lines == ()
    assert viewers.frames["a"][1]["after"] == viewers.frames["a"][0]["cursor"]


def test_batch_of_many_frames_can_be_left_at_each(clock: Clock, viewers: FakeConnections) -> None:
    forward([(0, "line 0")], clock)
    for name in "ab":
        subscribe(clock, name)
    texts = [f"{number} " + 'é\x1b,{"id":"' * 60 for number in range(1, 700)]
    forward(enumerate(texts, 1), clock)
    for name in "ab":
        assert lines(viewers, name) == ["line 0", *texts]
        _, *sent = viewers.frames[name]
        assert len(sent) > 3
        for before, frame in pairwise(sent):
            assert frame["after"] == before["cursor"]
            [first, *_] = reading.read_log(BUILD.id, before["cursor"], 1000, NOW).page.lines
            assert first.id == frame["lines"][0]["id"]


def test_many_lines_come_compressed_and_few_as_they_are(clock: Clock, viewers: FakeConnections) -> None:
    texts = [f"{number} " + 'é\x1b,{"id":"' * 60 for number in range(300)]
    forward(enumerate(texts[:60]), clock)
    subscribe(clock, "a", encoding="gzip")
    subscribe(clock, "b")
    forward(enumerate(texts[60:65], 60), clock)
    forward(enumerate(texts[65:], 65), clock)
    assert lines(viewers, "a") == lines(viewers, "b") == texts
    stored, few, new = viewers.frames["a"]
    assert stored.keys() == new.keys() == {"type", "buildId", "after", "cursor", "gzip"}
    assert few == viewers.frames["b"][-4]
    assert (few["after"], new["after"]) == (stored["cursor"], few["cursor"])
    assert new["cursor"] == viewers.frames["b"][-1]["cursor"]
    end()
    notes.seal(notes.Watch(TASK), notes.Seal(300), NOW)
    watching.push(BUILD.id, clock, clock() + 5 * SECOND)
    assert client(viewers, "a").end == client(viewers, "b").end


def test_lines_that_do_not_get_smaller_come_as_they_are(clock: Clock, viewers: FakeConnections) -> None:
    chance = random.Random(7)
    texts = ["".join(map(chr, chance.choices(range(0x4E00, 0x9FFF), k=20_000))) for _ in range(4)]
    subscribe(clock, encoding="gzip")
    forward(enumerate(texts[:2]), clock)
    forward(enumerate(texts[2:], 2), clock)
    assert lines(viewers) == texts
    assert all("lines" in frame or len(frame["gzip"]) <= frames.LARGEST for frame in viewers.frames["a"])


def test_lines_between_long_cursors_come_in_frames_of_which_the_last_moves_the_cursor() -> None:
    found = [LogLine(event_id(number), number, "x" * 1000) for number in range(90)]
    after, cursor = "a" * 20_000, "c" * 20_000
    sent = [json.loads(frame) for frame in frames.lines(BUILD.id, after, cursor, found) if len(frame) <= frames.LARGEST]
    assert [line["id"] for frame in sent for line in frame["lines"]] == [line.id for line in found]
    assert {frame["after"] for frame in sent} == {after}
    assert [frame["cursor"] for frame in sent] == [*[after] * (len(sent) - 1), cursor]
    assert len(sent) > 1


@pytest.mark.parametrize(
    ("before", "new"),
    [([3, 4], [1, 2]), ([2, 3], [1, 2]), ([1, 2], [2, 3]), ([1, 4], [2, 3]), ([1, 2], [1, 2])],
    ids=["late", "late and overlapping", "overlapping", "within", "again"],
)
def test_batch_that_is_not_behind_all_others_repeats_nothing(
    clock: Clock, viewers: FakeConnections, before: list[int], new: list[int]
) -> None:
    forward([(number, f"line {number}") for number in before], clock)
    subscribe(clock)
    forward([(number, f"line {number}") for number in new], clock)
    sent = [line["message"] for frame in viewers.frames["a"] for line in frame["lines"]]
    assert sent == expect(*before, *sorted({*new} - {*before}))


def test_batch_does_not_overtake_one_that_was_stored_before(clock: Clock, viewers: FakeConnections) -> None:
    forward([(1, "line 1")], clock)
    subscribe(clock)
    store([(2, "line 2")])
    forward([(3, "line 3")], clock)
    assert lines(viewers) == expect(1, 2, 3)


def test_line_of_a_new_batch_that_is_longer_than_a_frame_comes_in_pieces(
    clock: Clock, viewers: FakeConnections
) -> None:
    forward([(1, "line 1")], clock)
    subscribe(clock)
    texts = ["before", "\x1b" * 100_000, "x" * 300_000, million("wide"), "after"]
    forward(enumerate(texts, 2), clock)
    assert lines(viewers) == ["line 1", *texts]


def test_line_later_than_can_be_noticed_comes_before_the_end(
    clock: Clock, viewers: FakeConnections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "WINDOW", 3)
    put([1])
    subscribe(clock)
    for number in range(3, 12):
        forward([(number, f"line {number}")], clock)
    store([(2, "line 2")])
    end()
    push(clock)
    assert "line 2" not in lines(viewers)
    notes.seal(notes.Watch(TASK), notes.Seal(11), NOW)
    watching.push(BUILD.id, clock, clock() + 5 * SECOND)
    assert sorted(lines(viewers)) == sorted(expect(*range(1, 12)))
    assert [frame["type"] for frame in viewers.frames["a"]].index("end") == len(viewers.frames["a"]) - 1


def test_cursor_of_a_long_log_stays_short(
    clock: Clock, viewers: FakeConnections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "WINDOW", 3)
    forward([(0, "line 0")], clock)
    subscribe(clock)
    for number in range(1, 30):
        forward([(number, f"line {number}")], clock)
    assert lines(viewers) == expect(*range(30))
    assert len(client(viewers).cursor or "") < 400


# what is refused


def test_unknown_build_wrong_cursor_and_too_many_builds_write_nothing(clock: Clock, viewers: FakeConnections) -> None:
    until = clock() + SECOND
    with pytest.raises(NotFound):
        watching.subscribe(Subscription("01JD6R00000000000000000000", "a"), clock, until)
    with pytest.raises(InvalidRequest) as refused:
        watching.subscribe(Subscription(BUILD.id, "a", "x"), clock, until)
    assert refused.value.errors[0].field == "cursor"
    assert subscriptions() == []
    for number in range(watching.MAX_BUILDS):
        build = replace(BUILD, id=f"01JD6Q2V8W3M4N5P6R7S8T9V{number:02}")
        builds.create(build)
        watching.subscribe(Subscription(build.id, "a"), clock, until)
    with pytest.raises(TooManySubscriptions):
        subscribe(clock)
    assert len(subscriptions()) == watching.MAX_BUILDS
    watching.leave("a")
    assert subscriptions() == []


# viewers in trouble


def test_connection_that_is_gone_is_forgotten(clock: Clock, viewers: FakeConnections) -> None:
    subscribe(clock)
    subscribe(clock, "b")
    viewers.troubles["a"] = GONE
    put([1])
    push(clock)
    assert lines(viewers, "b") == expect(1)
    assert [each["connectionId"] for each in subscriptions()] == ["b"]


@pytest.mark.parametrize(
    "trouble",
    [FULL, client_error("ForbiddenException", "no", "PostToConnection"), ReadTimeoutError(endpoint_url="x")],
    ids=["full", "denied", "silent"],
)
def test_viewer_that_does_not_take_a_frame_is_left_in_peace_and_misses_nothing(
    clock: Clock, viewers: FakeConnections, trouble: Exception
) -> None:
    subscribe(clock)
    subscribe(clock, "b")
    viewers.troubles["a"] = trouble
    put([1])
    push(clock)
    posts = viewers.posts
    put([2])
    push(clock)
    assert viewers.posts == posts + 1, "only b is sent to so soon"
    viewers.troubles.clear()
    clock.now += 6 * SECOND
    put([3])
    push(clock)
    assert lines(viewers) == lines(viewers, "b") == expect(1, 2, 3)


def test_new_viewer_that_is_slow_at_first_is_waited_for(clock: Clock, viewers: FakeConnections) -> None:
    put([1])
    tries = iter([FULL, ReadTimeoutError(endpoint_url="x"), None])

    def stumble() -> None:
        if trouble := next(tries):
            raise trouble

    viewers.troubles["a"] = stumble
    subscribe(clock)
    assert lines(viewers) == expect(1)


def test_viewers_that_do_not_answer_come_last(
    clock: Clock, viewers: FakeConnections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_AT_ONCE", 1)

    def hang() -> None:
        clock.now += 2 * SECOND
        raise ReadTimeoutError(endpoint_url="https://viewers.example.com")

    for name in ("a", "b", "c", "d", "z"):
        subscribe(clock, name)
    viewers.troubles |= dict.fromkeys("abcd", hang)
    put([1])
    push(clock)
    assert lines(viewers, "z") == [], "there was no time left"
    clock.now += 10 * SECOND
    push(clock)
    assert lines(viewers, "z") == expect(1)


def test_time_for_sending_is_bounded_and_the_rest_comes_later(clock: Clock, viewers: FakeConnections) -> None:
    chunks.put(batch((number, f"line {number} " + "x" * 1000) for number in range(1000)), NOW)

    def pass_time() -> None:
        clock.now += 2 * SECOND

    viewers.troubles["a"] = pass_time
    subscribe(clock)
    assert len(viewers.frames["a"]) == 8, "fifteen seconds"
    viewers.troubles.clear()
    watching.sweep(clock, clock() + 5 * SECOND)
    found = client(viewers)
    assert len(found.lines) == 1000
    assert sum(len(frame["lines"]) for frame in viewers.frames["a"]) == 1000, "nothing came twice"


@pytest.mark.usefixtures("atomic")
def test_slow_viewer_keeps_no_other_from_its_lines(clock: Clock, viewers: FakeConnections) -> None:
    names = ["slow", "b", "c", "dead"]
    for name in names:
        subscribe(clock, name)
    others = threading.Event()
    viewers.troubles["slow"] = lambda: None if others.wait(20) else pytest.fail("the others wait for the slow one")
    viewers.troubles["dead"] = GONE
    put([1])

    def watch() -> None:
        while not all(viewers.frames.get(name) for name in ("b", "c")):
            others.wait(0.001)
        others.set()

    watcher = threading.Thread(target=watch)
    watcher.start()
    push(clock)
    watcher.join()
    for name in ("slow", "b", "c"):
        assert lines(viewers, name) == expect(1)
    assert "dead" not in viewers.frames


@pytest.mark.parametrize("trouble", [GONE, FULL, ReadTimeoutError(endpoint_url="x")], ids=["gone", "full", "silent"])
def test_forwarder_succeeds_when_every_viewer_fails(clock: Clock, viewers: FakeConnections, trouble: Exception) -> None:
    for name in "abc":
        subscribe(clock, name)
        viewers.troubles[name] = trouble
    handler({"awslogs": {"data": pack(body([1, 2]))}}, CONTEXT)
    assert [line.message for line in logs.read([TASK], None, 10).lines] == expect(1, 2)


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
@pytest.mark.parametrize(
    "places", [[[]] * 7000, [["", "", b"", 10**9, b"", "", 10**9, 10**9]], [["9" * 200, "9" * 100]]]
)
def test_cursor_that_was_made_up_is_nothing_to_the_other_viewers(
    clock: Clock, viewers: FakeConnections, places: list[Any], encoding: str
) -> None:
    forward([(1, "line 1")], clock)
    subscribe(clock, "a", cursor_of(*places), encoding)
    subscribe(clock, "b")
    forward([(2, "line 2")], clock)
    watching.sweep(clock, clock() + 5 * SECOND)
    assert lines(viewers, "b") == expect(1, 2)
    assert all(len(frame["cursor"]) < 1000 for frame in viewers.frames.get("a", []))


@pytest.mark.parametrize("method", ["at_hand", "first", "sheets"])
def test_viewer_whose_lines_cannot_be_made_is_nothing_to_the_others(
    clock: Clock, viewers: FakeConnections, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward([(1, "line 1")], clock)
    subscribe(clock, "a", encoding="gzip")
    subscribe(clock, "b")
    real = getattr(Log, method)

    def broken(log: Log, cursor: str | None, encoding: str) -> Any:
        if encoding == "gzip":
            raise OverflowError("a fault of ours")
        return real(log, cursor, encoding)

    monkeypatch.setattr(Log, method, broken)
    forward([(2, "line 2")], clock)
    assert (lines(viewers, "a"), lines(viewers, "b")) == (expect(1), expect(1, 2))
    clock.now += 20 * SECOND
    forward([(3, "line 3")], clock)
    clock.now += 20 * SECOND
    with pytest.raises(ExceptionGroup, match="some viewers were not served"):
        watching.sweep(clock, clock() + 5 * SECOND)
    assert lines(viewers, "b") == expect(1, 2, 3)
    monkeypatch.undo()


def test_those_who_are_up_to_date_are_served_where_there_is_no_time_to_read(
    clock: Clock, viewers: FakeConnections, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward([(1, "line 1")], clock)
    subscribe(clock, "a")
    forward([(2, "line 2")], clock)
    connections.subscribe(Subscription(BUILD.id, "b"), clock())
    real = Log.first

    def slow(log: Log, cursor: str | None, encoding: str) -> Any:
        clock.now += 10 * SECOND * (cursor is None)
        return real(log, cursor, encoding)

    monkeypatch.setattr(Log, "first", slow)
    forward([(3, "line 3")], clock)
    assert (lines(viewers, "a"), lines(viewers, "b")) == (expect(1, 2, 3), [])


def test_forwarder_succeeds_when_the_table_of_viewers_fails(
    clock: Clock, viewers: FakeConnections, set_environment: Any
) -> None:
    set_environment("CONNECTIONS_TABLE", "gone")
    handler({"awslogs": {"data": pack(body([1, 2]))}}, CONTEXT)
    assert len(logs.read([TASK], None, 10).lines) == 2
    with pytest.raises(aws.FAULTS):
        watching.sweep(clock, clock() + SECOND)


def test_build_that_cannot_be_read_keeps_no_other_from_its_viewers(clock: Clock, viewers: FakeConnections) -> None:
    other = replace(BUILD, id=f"{BUILD.id[:-1]}9", tasks=(), task_arn=None)
    builds.create(other)
    subscribe(clock, "a")
    watching.subscribe(Subscription(other.id, "b"), clock, clock() + 15 * SECOND)
    builds.save(other, replace(other, status=Status.CANCELED, finished_at=NOW, open=None), NOW)
    strange = aws.to_item(aws.plain(BUILD)) | {"status": {"S": "paused"}}
    aws.dynamodb().put_item(TableName="BuildsTable", Item=strange)
    watching.push(BUILD.id, clock, clock() + SECOND)
    for _ in range(2):
        with pytest.raises(ExceptionGroup):
            watching.sweep(clock, clock() + SECOND)
        clock.now += timedelta(minutes=1)
    assert client(viewers, "b").end
    assert "a" not in viewers.frames


def body(numbers: Iterable[int]) -> dict[str, Any]:
    return {
        "messageType": "DATA_MESSAGE",
        "logStream": f"build/builder/{TASK}",
        "logEvents": [{"id": event_id(n), "timestamp": n, "message": f"line {n}"} for n in numbers],
    }


# whose turn it is


def test_who_finds_the_lease_taken_leaves_it_to_the_holder(clock: Clock, viewers: FakeConnections) -> None:
    subscribe(clock)
    put([1])

    def meanwhile() -> None:
        viewers.troubles.clear()
        put([2])
        push(clock)
        assert "a" not in viewers.frames, "a second one would mix up the order"

    viewers.troubles["a"] = meanwhile
    push(clock)
    assert [len(frame["lines"]) for frame in viewers.frames["a"]] == [1, 1]
    assert lines(viewers) == expect(1, 2)


def test_lease_of_one_that_died_is_taken_over(clock: Clock, viewers: FakeConnections) -> None:
    subscribe(clock)
    put([1])

    def die() -> None:
        raise KeyboardInterrupt

    viewers.troubles["a"] = die
    with pytest.raises(KeyboardInterrupt):
        push(clock)
    viewers.troubles.clear()
    push(clock)
    assert lines(viewers) == []
    clock.now += connections.LEASE
    push(clock)
    assert lines(viewers) == expect(1)


def test_one_that_lost_its_lease_stops(clock: Clock, viewers: FakeConnections) -> None:
    chunks.put(batch((number, f"line {number} " + "x" * 1000) for number in range(1000)), NOW)

    def hang() -> None:
        viewers.troubles.clear()
        clock.now += connections.LEASE
        watching.push(BUILD.id, clock, clock() + 5 * SECOND)

    viewers.troubles["a"] = hang
    watching.subscribe(Subscription(BUILD.id, "a"), clock, clock() + timedelta(minutes=5))
    found = client(viewers)
    assert len(found.lines) == 1000
    assert sum(len(frame["lines"]) for frame in viewers.frames["a"]) < 1000 + 200, "the frame under way, and no more"
    [left] = subscriptions()
    assert "lease" not in left


# what it costs when nobody watches


def test_batch_that_nobody_watches_costs_one_query(
    clock: Clock, stack: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aws, "connections", lambda: pytest.fail("nobody is there to be sent to"))
    client: Any = aws.dynamodb()
    real, calls = client._make_api_call, []
    monkeypatch.setattr(client, "_make_api_call", lambda name, wanted: calls.append(name) or real(name, wanted))
    for number in range(3):
        put([number])
        push(clock)
    assert calls == ["PutItem", "GetItem", "Query", "PutItem", "Query", "PutItem", "Query"]


def test_task_that_is_not_known_yet_is_left_to_the_sweep(clock: Clock, viewers: FakeConnections) -> None:
    subscribe(clock)
    store([(1, "line 1")], task="0" * 32)
    watching.push_task("0" * 32, clock, clock() + SECOND)
    notes.name_task("0" * 32, BUILD.id, BUILD.project_slug, NOW)
    put([2])
    watching.sweep(clock, clock() + SECOND)
    assert lines(viewers) == expect(2)


def test_frames_leave_room_for_cursors() -> None:
    longest = "c" * 10_000
    [frame] = frames.lines(BUILD.id, longest, longest, [logs.LogLine(event_id(1), 1, "x" * (frames.LINES - 200))])
    assert len(frame) <= frames.LARGEST

"""The log store against moto: each line once and in order, however batches come and however pages are cut."""

import base64
import gzip
import json
import random
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from functions.log_forwarder.app import handler
from local.logs import event_id as cloudwatch_id
from scripts.events import TASK, cases
from tests.benchmarks.writes import size
from tests.context import context
from tests.integration.test_write_units import printed
from tidegate import aws, batches, chunks, logs
from tidegate import items as module
from tidegate.settings import Settings

NOW = datetime(2026, 11, 21, 7, 30, tzinfo=UTC)
OTHER = "6a027701619b280c8a5b03413659d315"
EVENTS = {case.name.removeprefix("log-forwarder-"): case for case in cases() if case.function == "log-forwarder"}
CONTEXT = context("log-forwarder")
quickly = hypothesis_settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def event_id(number: int) -> str:
    """As CloudWatch makes them of lines that are written a millisecond apart."""
    return cloudwatch_id(1795246200000 + number, (1795246200430 << 64) + 0x5C93_DA93_6AF8_FBC6, number % (1 << 16))


def batch(messages: Iterable[tuple[int, str]], task: str = TASK) -> batches.Batch:
    events = [{"id": event_id(number), "timestamp": number, "message": message} for number, message in messages]
    body = {"messageType": "DATA_MESSAGE", "logStream": f"build/builder/{task}", "logEvents": events}
    return msgspec.convert(body, batches.Batch)


def put(numbers: Iterable[int], task: str = TASK) -> None:
    chunks.put(batch([(number, f"line {number}") for number in numbers], task), NOW)


def pack(body: Any) -> str:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return base64.b64encode(gzip.compress(data, mtime=0)).decode()


def delivery(messages: Iterable[tuple[int, str]], task: str = TASK) -> str:
    """What CloudWatch sends."""
    body = {
        "messageType": "DATA_MESSAGE",
        "owner": "123456789012",
        "logGroup": "/tidegate/builder",
        "logStream": f"build/builder/{task}",
        "subscriptionFilters": ["LogSubscription"],
        "logEvents": msgspec.to_builtins(batch(messages, task).log_events),
    }
    return base64.b64encode(gzip.compress(msgspec.json.encode(body), mtime=0)).decode()


def send(messages: Iterable[tuple[int, str]], task: str = TASK) -> chunks.Delivery:
    """Deliver lines as CloudWatch does."""
    return chunks.store(delivery(messages, task), NOW)


def limit_puts(monkeypatch: pytest.MonkeyPatch, count: int) -> list[int]:
    """Let that many items be written; what is returned holds how many are left."""
    real, left = aws.dynamodb().put_item, [count]

    def put_item(**words: Any) -> Any:
        if not left[0]:
            raise TimeoutError
        left[0] -= 1
        return real(**words)

    monkeypatch.setattr(aws.dynamodb(), "put_item", put_item)
    return left


def items() -> list[Any]:
    pages = aws.dynamodb().get_paginator("scan").paginate(TableName="LogsTable")
    return [item for page in pages for item in page["Items"]]


def numbers(page: logs.Page) -> list[int]:
    return [line.timestamp for line in page.lines]


def follow(tasks: list[str], limit: int, cursor: str | None = None) -> tuple[list[int], str | None]:
    """Read page by page until nothing more is stored."""
    found: list[int] = []
    while True:
        page = logs.read(tasks, cursor, limit)
        assert len(page.lines) <= limit
        found += numbers(page)
        if not page.more:
            return found, page.cursor
        assert page.cursor != cursor
        cursor = page.cursor


# --- what CloudWatch sends ---


@pytest.mark.parametrize("name", EVENTS)
def test_event_files(stack: Settings, name: str) -> None:
    handler(EVENTS[name].event(), CONTEXT)
    page = logs.read([TASK], None, 100)
    answer = EVENTS[name].answer
    assert f"{len(page.lines)} lines" == answer or (answer, page.lines) == ("nothing", ())
    body = json.loads(gzip.decompress(base64.b64decode(EVENTS[name].event()["awslogs"]["data"])))
    if page.lines:
        assert [msgspec.to_builtins(line) for line in page.lines] == body["logEvents"]


def test_redelivery_and_overlap_change_nothing(stack: Settings) -> None:
    for name in ("first-batch", "next-batch", "last-batch"):
        handler(EVENTS[name].event(), CONTEXT)
    before, stored = logs.read([TASK], None, 100).lines, items()
    for name in ("redelivered", "next-batch", "last-batch", "control-message"):
        handler(EVENTS[name].event(), CONTEXT)
    assert items() == stored
    handler(EVENTS["overlapping"].event(), CONTEXT)
    assert logs.read([TASK], None, 100).lines == before


def test_a_batch_is_one_item_that_expires(stack: Settings) -> None:
    put(range(1000))
    [item] = items()
    assert item["taskId"] == {"S": TASK}
    assert int(item["expiresAt"]["N"]) == int(NOW.timestamp()) + 30 * 24 * 3600
    chunks.put(batch([]), NOW)
    assert len(items()) == 1


def test_cloudwatchs_own_block_is_stored(stack: Settings) -> None:
    told = '}]},{"id":"12","timestamp":1,"message":"no event","logStream":"x/y/z"'
    messages = [(1, told), (2, ""), (3, "\x1b[32m✓\x1b[0m \\ \r")]
    stored = send(messages)
    assert (stored.message_type, stored.task_id, stored.lines) == ("DATA_MESSAGE", TASK, 3)
    [item] = items()
    assert item["lines"]["B"] == base64.b64decode(delivery(messages))
    assert item["firstEventId"]["S"].startswith(f"{event_id(1)}.")
    assert item["lastEventId"] == {"S": event_id(3)}
    assert [line.message for line in logs.read([TASK], None, 10).lines] == [text for _, text in messages]
    chunks.put(batch(messages), NOW)
    assert numbers(logs.read([TASK], None, 10)) == [1, 2, 3], "fetched again, it is the same log"


def test_a_small_batch_is_condensed_where_that_saves_a_write_unit(stack: Settings) -> None:
    chance = random.Random(7)
    messages = [(number, f"dist/assets/index-{chance.randbytes(5).hex()}.js  1.{number} kB") for number in range(60)]
    send(messages[:9])
    send(messages)
    chunks.put(batch(messages[:50]), NOW, fetched=True)
    send([(number, chance.randbytes(60).hex()) for number in range(100, 130)])
    found = sorted(items(), key=lambda item: (item["firstEventId"]["S"], len(item["lines"]["B"])))
    assert ["lastEventId" in item for item in found] == [True, False, False, False]
    assert [-(-size(item) // 1024) for item in found] == [1, 1, 1, 3]
    before = items()
    send(messages)
    assert items() == before
    assert [line.message for line in logs.read([TASK], None, 60).lines] == [text for _, text in messages]


@pytest.mark.parametrize(("count", "most"), [(100, 2), (200, 3), (1000, 13), (5000, 80)])
def test_larger_batches_are_condensed_too(stack: Settings, count: int, most: int) -> None:
    """Where each line has a time of its own, and so an id that repeats little of the one before."""
    messages = [*enumerate(printed(count))]
    send(messages)
    assert sum(-(-size(item) // 1024) for item in items()) <= most
    assert most < len(base64.b64decode(delivery(messages))) / 1024
    assert read_all() == [text for _, text in messages]


def test_what_cannot_be_condensed_is_stored_as_it_came(stack: Settings) -> None:
    messages = [(1, "a\n" + random.Random(7).randbytes(1500).hex()), (2, "b")]
    send(messages)
    [item] = items()
    assert item["lines"]["B"] == base64.b64decode(delivery(messages))
    assert [line.message for line in logs.read([TASK], None, 10).lines] == [text for _, text in messages]


@pytest.mark.parametrize("messages", [[(2, "b"), (1, "a")], [(1, "a"), (1, "a")]])
def test_what_is_out_of_order_is_written_anew(stack: Settings, messages: list[tuple[int, str]]) -> None:
    send(messages)
    [item] = items()
    assert item["lines"]["B"] != base64.b64decode(delivery(messages))
    assert numbers(logs.read([TASK], None, 10)) == sorted({number for number, _ in messages})


@pytest.mark.parametrize("tail", ["}", ', "more": [{"x": 1}]}', ', "more": 1, "log": []}'])
def test_a_large_block_in_another_spelling(stack: Settings, monkeypatch: pytest.MonkeyPatch, tail: str) -> None:
    monkeypatch.setattr(module, "LARGEST", 200)
    monkeypatch.setattr(chunks, "_PART", 800)
    body = gzip.decompress(base64.b64decode(delivery([(number, f'{number}"}}]}}') for number in range(50)])))
    for spelled in (json.dumps(json.loads(body))[:-1] + tail, body.decode()[:-1] + tail):
        assert chunks.store(pack(spelled.encode()), NOW).lines == 50
        assert len(items()) > 3
        assert numbers(logs.read([TASK], None, 100)) == list(range(50))


def test_a_block_in_several_pieces(stack: Settings) -> None:
    whole = gzip.decompress(base64.b64decode(delivery([(1, "a"), (2, "b")])))
    block = gzip.compress(whole[:100]) + gzip.compress(whole[100:])
    chunks.store(base64.b64encode(block).decode(), NOW)
    assert numbers(logs.read([TASK], None, 10)) == [1, 2]


@pytest.mark.parametrize(
    "event",
    [
        '{"id":"%s"}',
        '{"id":"%s","timestamp":"1","message":"b"}',
        '{"id":"%s","timestamp":1,"message":null}',
        '{"id":"%s","timestamp":1e99,"message":"b"}',
    ],
)
def test_a_line_that_cannot_be_read_hides_no_other(stack: Settings, event: str) -> None:
    body = gzip.decompress(base64.b64decode(delivery([(1, "a"), (3, "c")])))
    first, comma, second = body.partition(b',{"id"')
    strange = (event % event_id(2)).encode()
    data = pack(first + b"," + strange + comma + second)
    handler({"awslogs": {"data": data}}, CONTEXT)
    assert len(chunks.store(data, NOW).events) == 3
    found = logs.read([TASK], None, 10).lines
    assert [line.message for line in found] == ["a", "[Tidegate cannot read this line]", "c"]
    assert found[1].id == event_id(2)


@given(st.data())
@hypothesis_settings(quickly, max_examples=300)
def test_what_was_stored_can_be_read(stack: Settings, monkeypatch: pytest.MonkeyPatch, data: st.DataObject) -> None:
    """Whatever happens to a batch's bytes: it is refused as a whole, or all lines that were counted are there."""
    memory = Memory()
    monkeypatch.setattr(aws, "dynamodb", lambda: memory)
    messages = [(1, 'a"}]},\\{"id":"'), (2, "\x1b[0m\r\n\u2028"), (3, "\U0001f600 é"), (4, "")]
    body = bytearray(gzip.decompress(base64.b64decode(delivery(messages))))
    start = data.draw(st.sampled_from([0, body.index(b'{"id"')]))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(start, len(body) - 1))
        change = data.draw(st.sampled_from([b"", b'"', b"\\", b"{", b"}", b",", b"\xff", b"\0", b"0", b"u", b"null"]))
        body[place : place + data.draw(st.integers(0, 2))] = change
    try:
        stored = chunks.store(pack(bytes(body)), NOW)
    except ValueError:
        assert memory.items == {}
        return
    if stored.message_type == "DATA_MESSAGE":
        page = logs.read([stored.task_id], None, 100)
        assert len({line.id for line in page.lines}) == len(page.lines) <= stored.lines
        assert page.lines or not stored.lines


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        (b'"caf\xc3\xa9"', "café"),
        (b'"caf\xe9"', "caf\ufffd"),
        (b'"\xf0\x9f"', "\ufffd"),
        (b'"\\ud83d"', "?"),
        (b'"\\udc00 \\ud83d\\ude00"', "? \U0001f600"),
        (b'"a\\u0000b\\u001b[0m"', "a\0b\x1b[0m"),
    ],
)
def test_text_that_is_no_utf_8(stack: Settings, message: bytes, kept: str) -> None:
    body = b'{"messageType": "DATA_MESSAGE", "logStream": "build/builder/%s", "logEvents": [%s]}' % (
        TASK.encode(),
        b'{"id": "%s", "timestamp": 1, "message": %s}' % (event_id(1).encode(), message),
    )
    handler({"awslogs": {"data": pack(body)}}, CONTEXT)
    assert [line.message for line in logs.read([TASK], None, 10).lines] == [kept]


@pytest.mark.parametrize(
    "data",
    ["", "?", "aGVsbG8=", pack(b"no json"), pack(b"[]"), pack({"logEvents": []}), pack([1] * 99)[:20]],
    ids=["empty", "no base64", "no gzip", "no JSON", "a list", "no type", "cut"],
)
def test_what_is_no_batch_is_raised(stack: Settings, data: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        handler({"awslogs": {"data": data}}, CONTEXT)
    assert items() == []


def test_faults_are_raised(stack: Settings, set_environment: Any) -> None:
    set_environment("LOGS_TABLE", "gone")
    with pytest.raises(Exception, match="ResourceNotFoundException"):
        put([1])


# --- large ones ---


def test_ten_thousand_lines(stack: Settings) -> None:
    put(range(10_000))
    assert follow([TASK], 3000)[0] == list(range(10_000))


def test_a_batch_that_fits_no_item_becomes_several(stack: Settings) -> None:
    noise = random.Random(7)
    messages = [(number, noise.randbytes(500).hex()) for number in range(2000)]
    chunks.put(batch(messages), NOW)
    stored = items()
    assert 1 < len(stored) < 8
    chunks.put(batch(messages), NOW)
    assert len(items()) == len(stored)
    found: list[str] = []
    cursor, more = None, True
    while more:
        page = logs.read([TASK], cursor, 5000)
        assert len(msgspec.json.encode(page)) < 1.2 * logs.MAX_PAGE_BYTES + batches.MAX_LINE_BYTES
        cursor, more = page.cursor, page.more
        found += [line.message for line in page.lines]
    assert found == [message for _, message in messages]


@pytest.mark.parametrize("entropy", ["build", "noise", "flood"])
def test_twenty_thousand_lines(stack: Settings, monkeypatch: pytest.MonkeyPatch, entropy: str) -> None:
    """A block that fits no item is cut between lines; what a crash left in the middle of it does no harm."""
    chance = random.Random(7)
    text = {
        "build": lambda number: f"dist/assets/page-{number % 400}-{chance.randbytes(6).hex()}.js  \x1b[1m0.{number} kB",
        "noise": lambda _: chance.randbytes(30).hex() + '"}]},{"id":"\\',
        "flood": lambda _: "y" * 900,
    }[entropy]
    messages = [(number, text(number)) for number in range(20_000)]
    left = limit_puts(monkeypatch, 1)
    with pytest.raises(TimeoutError):
        send(messages)
    assert len(items()) == 1
    left[0] = 100
    assert send(messages).lines == 20_000
    stored = items()
    assert 2 <= len(stored) <= 40
    send(messages)
    assert items() == stored
    send(messages[9_000:11_000])
    found: list[str] = []
    page = logs.Page(more=True)
    while page.more:
        page = logs.read([TASK], page.cursor, 5000)
        found += [line.message for line in page.lines]
    assert found == [message for _, message in messages]


def million(kind: str) -> str:
    """A line of 1 MB that is hardly compressible."""
    noise, count = random.Random(7), 1024 * 1024
    return {
        "base64": lambda: base64.b64encode(noise.randbytes(count // 4 * 3)).decode(),
        "wide": lambda: "".join(chr(noise.randrange(0x1F300, 0x1F600)) for _ in range(count // 4)),
        "quotes": lambda: "".join(noise.choices('"\\\\', k=count)),
        "controls": lambda: "".join(chr(noise.randrange(32)) for _ in range(count)),
    }[kind]()


def read_all() -> list[str]:
    return [line.message for page in logs.pages([TASK], None, 10, logs.MAX_PAGE_BYTES) for line in page.lines]


@pytest.mark.parametrize("way", ["sent", "fetched"])
@pytest.mark.parametrize("kind", ["base64", "wide", "quotes"])
def test_a_line_of_a_megabyte_is_whole(stack: Settings, kind: str, way: str) -> None:
    messages = [(1, "before"), (2, million(kind)), (3, "after")]
    for _ in range(2):
        if way == "sent":
            send(messages)
        else:
            chunks.put(batch(messages), NOW)
        assert read_all() == [text for _, text in messages]
    assert max(size(item) for item in items()) < 400_000
    page = logs.read([TASK], logs.read([TASK], None, 1).cursor, 1)
    assert page.lines[0].message == messages[1][1]
    assert len(json.dumps({"body": msgspec.json.encode(page).decode()}, ensure_ascii=False).encode()) < 6_000_000


def test_a_line_of_a_megabyte_is_not_there_by_halves(stack: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    messages = [(2, million("base64"))]
    left = limit_puts(monkeypatch, 0)
    for written in range(3):
        left[0] = written
        with pytest.raises(TimeoutError):
            chunks.put(batch(messages), NOW)
        assert len(items()) == written
        assert read_all() == []
    left[0] = 10
    put([1])
    put([3])
    assert read_all() == ["line 1", "line 3"]
    chunks.put(batch(messages), NOW)
    assert read_all() == ["line 1", messages[0][1], "line 3"]
    [first] = [item for item in items() if "pieces" in item]
    key = {"taskId": first["taskId"], "firstEventId": {"S": f"{first['firstEventId']['S']}.1"}}
    aws.dynamodb().delete_item(TableName="LogsTable", Key=key)
    assert read_all() == ["line 1", "line 3"], "one that has begun to expire"


@pytest.mark.parametrize(("kind", "count"), [("base64", 0), ("base64", 1), ("wide", 1), ("controls", 0)])
def test_a_longer_line_is_cut_with_a_mark(stack: Settings, kind: str, count: int) -> None:
    """So is one that is longer than 2 MB as JSON."""
    message = million(kind) * (1 + count) + "x"
    chunks.put(batch([(1, "before"), (2, message), (3, "after")]), NOW)
    found = read_all()
    assert (found[0], found[2]) == ("before", "after")
    cut, _, mark = found[1].partition("… [")
    assert message.startswith(cut)
    assert mark == f"cut by Tidegate: the line has {len(message.encode())} bytes]"
    if kind == "controls":
        assert 2 * batches.MAX_LINE_BYTES - 80 < len(msgspec.json.encode(found[1])) <= 2 * batches.MAX_LINE_BYTES
    else:
        assert batches.MAX_LINE_BYTES - 68 < len(cut.encode()) <= batches.MAX_LINE_BYTES - 64


def test_a_line_as_long_as_awslogs_sends_is_whole(stack: Settings) -> None:
    message = random.Random(7).randbytes(131_059).hex()
    assert len(message) == 262_118
    chunks.put(batch([(1, message)]), NOW)
    assert logs.read([TASK], None, 1).lines[0].message == message


def test_a_page_of_long_lines_fits_into_an_answer(stack: Settings) -> None:
    for number in range(12):
        chunks.put(batch([(number, "\x1b" * 200_000)]), NOW)
    found: list[int] = []
    page = logs.Page(more=True)
    while page.more:
        page = logs.read([TASK], page.cursor, 5000)
        assert len(json.dumps(msgspec.json.encode(page).decode())) < 6 * 1024 * 1024
        found += numbers(page)
    assert found == list(range(12))


# --- reading on ---


def test_an_empty_log(stack: Settings) -> None:
    assert logs.read([], None, 10) == logs.read([TASK], None, 10) == logs.Page((), None)


def test_reading_on_while_lines_come(stack: Settings) -> None:
    cursor = None
    for start in range(0, 30, 3):
        put(range(start, start + 3))
        page = logs.read([TASK], cursor, 100)
        assert numbers(page) == list(range(start, start + 3))
        again = logs.read([TASK], page.cursor, 100)
        assert (again.lines, again.cursor, again.more) == ((), page.cursor, False)
        cursor = page.cursor


def test_a_batch_that_comes_late_is_not_missed(stack: Settings) -> None:
    put(range(3))
    put(range(6, 9))
    page = logs.read([TASK], None, 100)
    assert numbers(page) == [0, 1, 2, 6, 7, 8]
    put(range(2, 7))
    late = logs.read([TASK], page.cursor, 2)
    assert (numbers(late), late.more) == ([3, 4], True)
    put(range(9, 11))
    rest = logs.read([TASK], late.cursor, 100)
    assert (numbers(rest), rest.more) == ([5, 9, 10], False)
    assert numbers(logs.read([TASK], None, 100)) == list(range(11))


def test_a_page_is_in_order_with_what_came_late(stack: Settings) -> None:
    put([10, 11, 12])
    cursor = logs.read([TASK], None, 1).cursor
    put([1, 2])
    assert numbers(logs.read([TASK], cursor, 10)) == [1, 2, 11, 12]


def test_a_place_does_not_depend_on_the_way_there(stack: Settings) -> None:
    put(range(5))
    put(range(5, 9))
    assert follow([TASK], 2)[1] == follow([TASK], 9)[1] == follow([TASK], 100)[1]


def test_the_base_never_passes_what_was_not_read(stack: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "WINDOW", 1)
    put([100, 101])
    cursor = logs.read([TASK], None, 10).cursor
    put([110, 111, 112])
    page = logs.read([TASK], cursor, 1)
    put([90, 91])
    rest = logs.read([TASK], page.cursor, 2)
    assert (numbers(page), numbers(rest), rest.more) == ([110], [111, 112], True)
    assert follow([TASK], 10, rest.cursor)[0] == [90, 91]


def test_a_line_later_than_can_be_noticed_comes_with_the_whole_log_once_it_is_sealed(
    stack: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "WINDOW", 2)
    put([0, 1], OTHER)
    found, cursor = follow([OTHER, TASK], 10)
    for number in (10, 12, 13, 14):
        put([number])
        some, cursor = follow([OTHER, TASK], 10, cursor)
        found += some
    put([11])
    assert follow([OTHER, TASK], 10, cursor) == ([], cursor), "too late"
    one = logs.read([OTHER, TASK], cursor, 3, [2, 5])
    two = logs.read([OTHER, TASK], one.cursor, 3, [2, 5])
    assert (found, numbers(one), numbers(two)) == ([0, 1, 10, 12, 13, 14], [10, 11, 12], [13, 14])
    assert (one.more, two.more) == (True, False)
    assert logs.read([OTHER, TASK], two.cursor, 3, [2, 5]) == logs.Page((), two.cursor)
    assert logs.read([OTHER, TASK], two.cursor, 3, [2, 7]).lines, "a newer seal"
    wrong, _ = follow([OTHER, TASK], 10, logs.read([OTHER, TASK], two.cursor, 10, [2, 9]).cursor)
    assert wrong == [], "a number that cannot be had is tried for once"


def test_late_lines_of_an_earlier_attempt_are_not_missed(stack: Settings) -> None:
    put([0, 1], OTHER)
    first = logs.read([OTHER], None, 100)
    put([10, 11], TASK)
    second = logs.read([OTHER, TASK], first.cursor, 100)
    put([2, 3], OTHER)
    third = logs.read([OTHER, TASK], second.cursor, 100)
    assert (numbers(first), numbers(second), numbers(third)) == ([0, 1], [10, 11], [2, 3])
    assert numbers(logs.read([OTHER, TASK], None, 100)) == [0, 1, 2, 3, 10, 11]


def test_another_batch_with_the_same_beginning_replaces_nothing(stack: Settings) -> None:
    put(range(8))
    cursor = logs.read([TASK], None, 100).cursor
    put(range(3))
    assert logs.read([TASK], cursor, 100).lines == ()
    put(range(10))
    assert numbers(logs.read([TASK], cursor, 100)) == [8, 9]
    assert numbers(logs.read([TASK], None, 100)) == list(range(10))


def test_lines_of_a_batch_are_put_in_order(stack: Settings) -> None:
    put([5, 3, 4, 3])
    assert numbers(logs.read([TASK], None, 100)) == [3, 4, 5]


@pytest.mark.parametrize("limit", [33, 250])
def test_more_chunks_than_a_cursor_names(stack: Settings, limit: int) -> None:
    for number in range(0, 500, 2):
        put([number, number + 1])
    found, cursor = follow([TASK], limit)
    assert found == list(range(500))
    assert cursor
    assert len(cursor) < 1200
    put([490, 491, 492, 493])
    put([498, 499, 500])
    assert follow([TASK], 10, cursor)[0] == [500]
    # of a chunk far back only new readers learn
    put([100, 101, 102, 103])
    assert follow([TASK], 10, cursor)[0] == [500]


def test_a_reader_reads_little(stack: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(300):
        put([number])
    _, cursor = follow([TASK], 50)
    seen: list[int] = []
    real = chunks.Chunk.lines
    monkeypatch.setattr(chunks.Chunk, "lines", lambda chunk: seen.append(1) or real(chunk))
    put([300])
    assert numbers(logs.read([TASK], cursor, 100)) == [300]
    assert len(seen) == 1, "chunks that were read are not unpacked again"


class Memory:
    """DynamoDB as far as the log store uses it, in memory: moto would take minutes for what follows."""

    def __init__(self) -> None:
        self.items: dict[tuple[str, str], Any] = {}

    def put_item(self, TableName: str, Item: Any) -> None:  # noqa: N803
        self.items[Item["taskId"]["S"], Item["firstEventId"]["S"]] = Item

    def get_paginator(self, _: str) -> Any:
        return SimpleNamespace(paginate=self.query)

    def query(self, ExpressionAttributeValues: Any, **_: Any) -> Any:  # noqa: N803
        task = ExpressionAttributeValues[":task"]["S"]
        base = ExpressionAttributeValues.get(":base", {"S": ""})["S"]
        keys = sorted(key for key in self.items if key[0] == task and key[1] > base)
        return ({"Items": [self.items[key]]} for key in keys)


SLICES = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 12)), max_size=12)


@given(st.data())
@hypothesis_settings(quickly, max_examples=150)
def test_any_batching_redelivery_and_page_size_gives_each_line_once(
    stack: Settings, monkeypatch: pytest.MonkeyPatch, data: st.DataObject
) -> None:
    memory = Memory()
    window = data.draw(st.sampled_from([100, 100, 3, 1, 0]))
    monkeypatch.setattr(logs, "WINDOW", window)
    monkeypatch.setattr(aws, "dynamodb", lambda: memory)
    monkeypatch.setattr(module, "LARGEST", data.draw(st.sampled_from([60, 250, 400, 380 * 1024])))
    monkeypatch.setattr(chunks, "_PART", data.draw(st.sampled_from([300, 1024 * 1024])))
    monkeypatch.setattr(module, "_WRITE_UNIT", data.draw(st.sampled_from([1, 50, 1024])))  # so that some are condensed
    total = data.draw(st.integers(1, 40))
    cuts = sorted(data.draw(st.sets(st.integers(1, total))) | {0, total})
    batches = [range(start, end) for start, end in pairwise(cuts)]
    batches += [range(min(start, total - 1), min(start + length, total)) for start, length in data.draw(SLICES)]
    tasks = [OTHER, TASK]
    sent = [(task, numbers) for task in tasks for numbers in batches]
    found: dict[str, list[int]] = {task: [] for task in tasks}
    cursor: str | None = None

    def read_page(*sealed: int) -> bool:
        nonlocal cursor
        page = logs.read(tasks, cursor, data.draw(st.integers(1, 15)), sealed)
        cursor = page.cursor
        for line in page.lines:
            owner, _, number = line.message.partition(" ")
            found[owner].append(int(number))
        return page.more

    for task, part in data.draw(st.permutations(sent)):
        messages = [(number, f"{task} {number}") for number in part]
        if data.draw(st.booleans()):
            send(messages, task)
        else:
            chunks.put(batch(messages, task), NOW)
        for _ in range(data.draw(st.integers(0, 2))):
            read_page()
    while read_page(total, total):
        pass
    assert {task: sorted({*lines}) for task, lines in found.items()} == {task: list(range(total)) for task in tasks}
    if window == 100:
        assert {task: len(lines) for task, lines in found.items()} == dict.fromkeys(tasks, total), "each once"
    assert not logs.read(tasks, cursor, 10, [total, total]).lines
    again = logs.read(tasks, None, 1000)
    assert [line.message for line in again.lines] == [f"{task} {number}" for task in tasks for number in range(total)]
    monkeypatch.setattr(logs, "WINDOW", data.draw(st.integers(0, 5)))
    whole: list[str] = []
    page, limit = logs.Page(more=True), data.draw(st.integers(1, 50))
    while page.more:
        page = logs.read(tasks, page.cursor, limit)
        whole += [line.message for line in page.lines]
    assert whole == [line.message for line in again.lines], "in order, by any pages"


# --- cursors ---


HUGE = 2**64 - 1


def cursor_of(*places: Any) -> str:
    """A cursor that nobody was given."""
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(places)).decode()


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "0",
        "é",
        "A" * 10_000,
        "../../etc/passwd",
        base64.urlsafe_b64encode(b"0..").decode(),
        base64.urlsafe_b64encode(msgspec.msgpack.encode({})).decode(),
        cursor_of(["", "", b"", -1, b""]),
        cursor_of(["x" * 2000, "", b"", 0, b""]),
        cursor_of(["", 7, b"", 0, b""]),
        cursor_of(["", "9" * 101, b"", 0, b""]),
        cursor_of(["", "", b"", 0, b"", "9" * 101]),
        cursor_of(["", "", b"", 0, "x"]),
        cursor_of(["", "", b"x" * 7, 0, b""]),
        cursor_of(["", "", b"", HUGE]),
        cursor_of(["", "", b"", 0, b"", "", HUGE]),
        cursor_of(["", "", b"", 0, b"", "", 0, HUGE]),
    ],
)
def test_bad_cursors(stack: Settings, cursor: str) -> None:
    put(range(3))
    if cursor == "":
        assert numbers(logs.read([TASK], cursor, 10)) == [0, 1, 2]
        return
    with pytest.raises(logs.BadCursor):
        logs.read([TASK], cursor, 10)


@given(st.text(max_size=40) | st.binary(max_size=60).map(lambda data: base64.urlsafe_b64encode(data).decode()))
@quickly
def test_any_cursor_is_read_or_refused(stack: Settings, cursor: str) -> None:
    if not items():
        put(range(3))
    with suppress(logs.BadCursor):
        logs.read([TASK], cursor, 10)


NUMBERS = st.integers(0, 10**9)
TEXTS = st.sampled_from(["", "9" * 100, event_id(1), f"{event_id(1)}/"]) | st.text(max_size=20)
PLACES = st.tuples(TEXTS, TEXTS, st.binary(max_size=6), NUMBERS, st.binary(max_size=40), TEXTS, NUMBERS, NUMBERS)


def test_cursor_is_short_where_many_attempts_wrote_nothing(stack: Settings) -> None:
    """Each wait for capacity may have made a task; a gateway takes 10 KB of headers, a viewer's message 10,000."""
    tasks = [f"{number:032x}" for number in range(360)]
    put(range(3), tasks[100])
    put(range(3, 6), tasks[359])
    first = logs.read(tasks, None, 2)
    assert len(first.cursor or "") < 1000
    rest = logs.read(tasks, first.cursor, 10)
    assert numbers(first) + numbers(rest) == list(range(6))
    assert logs.read(tasks, rest.cursor, 10).lines == ()


@given(st.lists(PLACES, min_size=1, max_size=3), st.sampled_from([1, 1000]))
@quickly
def test_cursor_that_was_made_up_leads_to_a_short_one(stack: Settings, places: list[Any], times: int) -> None:
    if not items():
        put(range(3))
    with suppress(logs.BadCursor):
        page = logs.read([TASK], cursor_of(*places * times), 10)
        assert page.cursor
        assert len(page.cursor) < 1000
        logs.read([TASK], page.cursor, 10)


def test_a_cursor_of_another_log_does_no_harm(stack: Settings) -> None:
    put(range(5), OTHER)
    cursor = logs.read([OTHER, OTHER, OTHER], None, 3).cursor
    put(range(4), TASK)
    assert numbers(logs.read([TASK], cursor, 10)) == [0, 1, 2, 3]

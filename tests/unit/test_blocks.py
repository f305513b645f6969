"""Blocks of lines: what goes in comes out, in either form, also of what was written long ago."""

import base64
import hashlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.logs import event_id
from tidegate import batches, blocks, phrases
from tidegate.batches import Event

TIME = 1795246200000
PUT = (TIME + 430) << 64 | 0x5C93_DA93_6AF8_FBC6
IDS = {
    "CloudWatch": lambda time, number: int(event_id(time, PUT, number)),
    "two writes": lambda time, number: int(event_id(time, PUT + number // 7, number % 7)),
    "by time alone": lambda time, _: 3 * 10**55 + time * 10**20,
    "counted": lambda _, number: 3 * 10**55 + number,
    "short": lambda _, number: number,
    "gaps": lambda _, number: 3 * 10**55 + number**5,
}


def line(number: int, time: int, message: str, kind: str = "CloudWatch") -> Event:
    return Event(f"{IDS[kind](time, number):056}", time, message)


def vite(count: int, kind: str = "CloudWatch") -> list[Event]:
    """What Vite prints, at times of its own."""
    chance, time, found = random.Random(7), TIME, []
    for number in range(count):
        time += chance.choice([0, 0, 0, 1, 7, 200])
        name = base64.urlsafe_b64encode(chance.randbytes(6)).decode()
        size = chance.randrange(100, 9999) / 100
        found.append(line(number, time, f"dist/assets/page-{name}.js  {size} kB │ gzip: {size / 3:.2f} kB", kind))
    return found


@pytest.mark.parametrize("kind", IDS)
def test_condensed(kind: str) -> None:
    events = sorted({event.id: event for event in vite(60, kind)}.values(), key=lambda event: event.id)
    block = blocks.condense(events)
    assert block
    assert blocks.events(block, events[0].id) == tuple(events)
    assert blocks.last_id(block, events[0].id) == events[-1].id


def test_ids_as_cloudwatch_makes_them_cost_nothing() -> None:
    sizes = {kind: len(blocks.condense(vite(60, kind)) or b"") for kind in ("CloudWatch", "two writes", "counted")}
    assert sizes["CloudWatch"] - sizes["counted"] < 30
    assert sizes["two writes"] - sizes["CloudWatch"] < 20 * (60 // 7 + 1)
    assert sizes["CloudWatch"] < len(batches.deflate(batches.encode(vite(60)))) * 0.7


def in_bursts(bursts: list[tuple[int, int, int]]) -> list[Event]:
    """Lines that come many at once: each burst with the milliseconds before it, the write's number, how many."""
    events, time, numbers = [], TIME, dict.fromkeys(range(9), 0)
    for later, put, count in bursts:
        time += later
        for _ in range(count):
            events.append(Event(event_id(time, PUT + (put << 64), numbers[put]), time, f"line {len(events)}"))
            numbers[put] += 1
    return sorted({event.id: event for event in events}.values(), key=lambda event: event.id)


@given(
    st.lists(st.tuples(st.integers(0, 3) | st.integers(0, 1 << 20), st.integers(0, 3), st.integers(1, 30)), min_size=1)
)
def test_bursts_come_back(bursts: list[tuple[int, int, int]]) -> None:
    events = in_bursts(bursts)
    block = blocks.condense(events)
    assert block
    assert blocks.events(block, events[0].id) == tuple(events)
    assert blocks.last_id(block, events[0].id) == events[-1].id


@pytest.mark.parametrize("bursts", [[(0, 0, 500), (9, 0, 500)], [(0, 0, 500), (9, 1, 500)], [(1, 0, 1)] * 1000])
def test_ids_of_bursts_cost_nothing(bursts: list[tuple[int, int, int]]) -> None:
    events = in_bursts(bursts)
    ids = len(blocks.condense(events) or b"")
    without = len(
        blocks.condense([Event(str(number), TIME, event.message) for number, event in enumerate(events, 1000)]) or b""
    )
    assert ids - without < 300


@pytest.mark.parametrize("count", [200, 300, 3000])
def test_much_text_comes_back(count: int) -> None:
    """What zlib does not compress but isal does."""
    events = vite(count)
    block = blocks.condense(events)
    assert block
    assert blocks.events(block, events[0].id) == tuple(events)
    assert len(block) < sum(len(event.message) for event in events) / 3


@given(
    st.lists(st.tuples(st.integers(1, 1 << 90), st.integers(-1, 1 << 40) | st.just(0), st.text()), min_size=1),
    st.sampled_from([0, 1, 56, 57, 200]),
)
def test_any_lines_come_back(found: list[tuple[int, int, str]], width: int) -> None:
    number, time, events = 0, TIME, []
    for by, later, message in found:
        number, time = number + by, time + later
        events.append(Event(f"{number:0{width}}", time, message))
    block = blocks.condense(events)
    if block is not None:
        assert blocks.events(block, events[0].id) == tuple(events)
        assert blocks.last_id(block, events[0].id) == events[-1].id
    else:
        assert (
            len({len(event.id) for event in events}) > 1
            or width == 200
            or any(later < 0 for _, later, _ in found)
            or any("\n" in message for *_, message in found)
        )


@pytest.mark.parametrize(
    "events",
    [
        [Event("x", 0, "")],
        [Event("", 0, "")],
        [Event("1", 0, ""), Event("²", 0, "")],
        [Event("1", 0, ""), Event("٢", 0, "")],
        [Event("1", 0, ""), Event("02", 0, "")],
        [Event("1" * 5000, 0, "")],
        [Event("1", -1, "")],
        [Event("1", 1 << 80, "")],
        [Event("1", 1, ""), Event("2", 0, "")],
        [Event("1", 0, "a\nb"), Event("2", 0, "")],
        [Event("1", 0, "\ud83d")],
    ],
)
def test_what_cannot_be_condensed_is_refused(events: list[Event]) -> None:
    assert blocks.condense(events) is None


def test_a_long_line_and_empty_ones() -> None:
    events = [line(0, TIME, ""), line(1, TIME, "x" * 1024 * 1024), line(2, TIME + 86_400_000, ""), line(3, TIME, "\r")]
    block = blocks.condense(events[:3])
    assert block
    assert blocks.events(block, events[0].id) == tuple(events[:3])
    assert blocks.condense(events) is None


def test_both_forms_are_read() -> None:
    events = tuple(vite(20))
    assert blocks.events(batches.deflate(batches.encode(events)), events[0].id) == events


def test_dictionaries_never_change() -> None:
    """What is stored would be lost; a better one gets the next number."""
    assert {number: hashlib.sha256(found).hexdigest() for number, found in phrases.BY_NUMBER.items()} == {
        1: "73070b0f1bd39c93d37a375e9af5d0979fd6fb6dc034ce016d9a9a0ee9cdba40"
    }


def test_what_was_written_with_the_first_dictionary_is_read() -> None:
    block = base64.b64decode(
        "mAHEFAXcAAAAAAAAAAAAAAAAAAAAAAAEzwAAAaH9AxTAxACBAsQBAQjEBMANuQDEGcMzSoxW9JgYWGAvVA6vVPgwf0aDQowCLwA="
    )
    events = blocks.events(block, f"{(TIME << 144) + 7:056}")
    assert [(event.timestamp - TIME, event.message) for event in events] == [
        (0, "==> Installing with npm ci"),
        (0, ""),
        (1500, "\x1b[32m✓\x1b[39m 408 modules transformed."),
        (1500, "é \U0001f600 \\ \r"),
    ]
    assert [int(event.id) - (event.timestamp << 144) for event in events] == [7, 8, 9, 11]

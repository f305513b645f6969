"""The build slots against moto: never more than the limit, and none lost."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tidegate import aws, slots
from tidegate.settings import Settings

LIMIT = 2
NAMES = ("a", "b", "c", "d")
STEPS = st.lists(st.tuples(st.sampled_from(["take", "give"]), st.sets(st.sampled_from(NAMES), min_size=1)), max_size=25)


@given(steps=STEPS)
@hypothesis_settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_order_of_taking_and_giving_back(stack: Settings, steps: list[tuple[str, set[str]]]) -> None:
    slots.release(*NAMES)
    held: set[str] = set()
    for step, names in steps:
        if step == "give":
            slots.release(*names)
            held -= names
            continue
        name = min(names)
        free = name in held or len(held) < LIMIT
        assert slots.acquire(name) is free
        held |= {name} if free else set()
    assert slots.holders() == held


def test_many_at_once_never_take_more_than_the_limit(atomic: None) -> None:
    with ThreadPoolExecutor(8) as pool:
        taken = [name for name, got in zip("abcdefghijkl", pool.map(slots.acquire, "abcdefghijkl"), strict=True) if got]
    assert len(taken) == LIMIT
    assert slots.holders() == set(taken)


def test_taking_and_giving_at_once_never_passes_the_limit(atomic: None) -> None:
    seen: list[int] = []

    def turn(name: str) -> None:
        for _ in range(5):
            if slots.acquire(name):
                seen.append(len(slots.holders()))
                slots.release(name)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(turn, "abcdef"))
    assert seen
    assert max(seen) <= LIMIT
    assert slots.holders() == set()


def test_a_slot_is_kept_and_given_back_again_and_again(stack: Settings) -> None:
    assert slots.holders() == set()
    slots.release("a")
    assert [slots.acquire(name) for name in ("a", "a", "b", "a", "c")] == [True, True, True, True, False]
    slots.release("a")
    slots.release("a", "unknown")
    assert slots.holders() == {"b"}
    slots.release("b")
    assert slots.holders() == set()
    assert slots.acquire("c")


def test_the_limit_may_move(stack: Settings, set_environment: Any) -> None:
    assert slots.acquire("a")
    assert slots.acquire("b")
    set_environment("MAX_CONCURRENT_BUILDS", "1")
    assert slots.acquire("a")
    assert not slots.acquire("c")
    slots.release("a")
    assert not slots.acquire("c")
    set_environment("MAX_CONCURRENT_BUILDS", "3")
    assert slots.acquire("c")


def test_sightings_are_those_of_the_last_sweep(stack: Settings) -> None:
    assert slots.sightings() == set()
    slots.sight({"arn:1", "arn:2"})
    assert slots.sightings() == {"arn:1", "arn:2"}
    slots.sight({"arn:3"})
    assert slots.sightings() == {"arn:3"}
    slots.sight(set())
    assert slots.sightings() == set()
    assert slots.acquire("a")


def test_no_slot_is_a_build(stack: Settings) -> None:
    slots.acquire("a")
    slots.sight({"arn:1"})
    for index in ("open", "byProject"):
        assert aws.dynamodb().scan(TableName="BuildsTable", IndexName=index)["Items"] == []


def test_other_faults_are_raised(set_environment: Any) -> None:
    set_environment("BUILDS_TABLE", "gone")
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        slots.acquire("a")

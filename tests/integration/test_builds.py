"""The build table against moto: conditional writes, what they cost, and what the indexes give."""

import string
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from msgspec.structs import asdict, fields, replace

from tests.fakes import client_error
from tidegate import aws, builds
from tidegate.model import Build, BuildSettings, Entry, Failure, Source
from tidegate.settings import Settings
from tidegate.status import Blame, Status

NOW = datetime(2026, 11, 21, 7, 30, tzinfo=UTC)
LATER = NOW + timedelta(seconds=2)
TASK = "arn:aws:ecs:eu-central-1:123456789012:task/tidegate/8db93fcc24098c3a4f93a028a506eb35"
BUILD = Build(
    id="01JD6Q2V8W3M4N5P6R7S8T9VAB",
    project_slug="callous-tender-dog",
    source=Source("https://git.example.com/you/site.git", ref="main"),
    created_at=NOW,
    deadline=NOW + timedelta(hours=6),
    timeout_seconds=1200,
)


def item(build_id: str = BUILD.id) -> dict[str, Any]:
    return aws.dynamodb().get_item(TableName="BuildsTable", Key={"id": {"S": build_id}})["Item"]


def size(attributes: Any) -> int:
    """An item's size as DynamoDB counts it."""
    match attributes:
        case {"S": str(text)}:
            return len(text.encode())
        case {"N": str(number)}:
            return len(number.strip("-").replace(".", "")) // 2 + 2
        case {"B": bytes(data)}:
            return len(data)
        case {"BOOL": _}:
            return 1
        case {"L": list(parts)}:
            return 3 + sum(1 + size(part) for part in parts)
        case {"M": dict(parts)}:
            return 3 + sum(1 + len(name) + size(part) for name, part in parts.items())
        case dict():
            return sum(len(name) + size(part) for name, part in attributes.items())
    raise AssertionError(attributes)


@pytest.fixture
def updates(stack: Settings, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Every request to DynamoDB that updates an item."""
    client: Any = aws.dynamodb()
    real, sent = client._make_api_call, []

    def call(name: str, wanted: dict[str, Any]) -> Any:
        if name == "UpdateItem":
            sent.append(wanted)
        return real(name, wanted)

    monkeypatch.setattr(client, "_make_api_call", call)
    return sent


def test_create_is_conditional(stack: Settings) -> None:
    assert builds.create(BUILD)
    other = replace(BUILD, project_slug="another")
    assert not builds.create(other)
    assert builds.get(BUILD.id) == BUILD
    assert builds.get("01JD6R00000000000000000000") is None


def test_times_are_as_in_the_contract(stack: Settings) -> None:
    builds.create(replace(BUILD, created_at=datetime.fromisoformat("2026-11-21T08:30:00.000999+01:00")))
    assert item()["createdAt"] == {"S": "2026-11-21T07:30:00.000Z"}
    builds.save(BUILD, replace(BUILD, building_at=NOW + timedelta(microseconds=123456)), LATER)
    assert item()["buildingAt"] == {"S": "2026-11-21T07:30:00.123Z"}


def test_save_writes_only_what_changed_in_one_conditional_update(updates: list[dict[str, Any]]) -> None:
    builds.create(BUILD)
    wanted = replace(BUILD, status=Status.STARTING, starting_at=NOW, task_arn=TASK, tasks=(TASK,))
    after = builds.save(BUILD, wanted, LATER)
    assert after == replace(wanted, revision=2, updated_at=LATER)
    assert builds.get(BUILD.id) == after
    [update] = updates
    written = set(update["UpdateExpression"].removeprefix("SET ").split(", "))
    assert written == {f"#{name} = :{name}" for name in ("status", "startingAt", "taskArn", "revision", "updatedAt")}
    assert update["ConditionExpression"] == (
        "#attempt = :beforeAttempt AND #revision = :beforeRevision AND #taskVersion = :beforeVersion"
    )


def test_save_removes_what_became_none(updates: list[dict[str, Any]]) -> None:
    before = replace(BUILD, waiting="All build slots are taken.", task_arn=TASK, exit_code=1)
    builds.create(before)
    after = builds.save(before, replace(before, waiting=None, task_arn=None, exit_code=None, open=None), LATER)
    assert not {"waiting", "taskArn", "exitCode", "open"} & set(item())
    assert builds.get(BUILD.id) == after
    assert len(updates) == 1


@pytest.mark.parametrize("field", ["attempt", "revision", "task_version"])
def test_save_loses_to_whoever_was_first(stack: Settings, field: str) -> None:
    builds.create(replace(BUILD, **{field: 7}))
    kept = builds.get(BUILD.id)
    assert builds.save(BUILD, replace(BUILD, status=Status.STARTING), LATER) is None
    assert builds.get(BUILD.id) == kept


def test_save_of_a_build_that_is_gone_makes_none(stack: Settings) -> None:
    assert builds.save(BUILD, replace(BUILD, status=Status.STARTING), LATER) is None
    assert builds.get(BUILD.id) is None


def test_one_of_many_concurrent_saves_wins(atomic: None) -> None:
    builds.create(BUILD)

    def save(number: int) -> Build | None:
        return builds.save(BUILD, replace(BUILD, waiting=f"writer {number}"), LATER)

    with ThreadPoolExecutor(8) as pool:
        saved = [each for each in pool.map(save, range(24)) if each]
    assert saved == [builds.get(BUILD.id)]


def test_a_write_whose_answer_got_lost_knows_itself(stack: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    # botocore sends it again as it was
    assert builds.create(BUILD)
    assert builds.create(BUILD)
    wanted = replace(BUILD, status=Status.STARTING, task_arn=TASK)
    first = builds.save(BUILD, wanted, LATER)
    assert first
    assert builds.save(BUILD, wanted, LATER) is None, "another function that wants the same at the same time"
    monkeypatch.setattr(aws, "tried_before", lambda error: True)
    assert builds.save(BUILD, wanted, LATER) == first
    assert builds.save(BUILD, wanted, LATER + timedelta(milliseconds=1)) is None
    assert builds.save(first, replace(first, waiting="x"), LATER)
    assert builds.save(BUILD, wanted, LATER) is None


def test_other_faults_are_raised(set_environment: Any) -> None:
    set_environment("BUILDS_TABLE", "gone")
    for call in (lambda: builds.create(BUILD), lambda: builds.get("x"), lambda: builds.save(BUILD, BUILD, NOW)):
        with pytest.raises(ClientError, match="ResourceNotFoundException"):
            call()


def usual(number: int = 0, **more: Any) -> Build:
    """A build as it usually is in the end."""
    step = timedelta(seconds=20)
    lines = "\n".join("src/pages/index.astro:14:7 - error TS2322: Type 'string' is not assignable" for _ in range(3))
    build = replace(
        BUILD,
        id=f"01JD6Q2V8W3M4N5P6R7S8T{number:04}",
        cloned_commit="4b825dc642cb6eb9a060e54bf8d69288fbee4904",
        status=Status.FAILED,
        revision=6,
        open=None,
        task_arn=TASK,
        task_version=6,
        tasks=(TASK,),
        exit_code=106,
        stop_code="EssentialContainerExited",
        stopped_reason="Essential container in task exited",
        framework="astro",
        failure=Failure("BUILD_FAILED", Blame.USER, "The build command ended with exit code 1.", "Mend it.", lines),
        updated_at=NOW + 4 * step,
        starting_at=NOW,
        building_at=NOW + step,
        finished_at=NOW + 4 * step,
    )
    return replace(build, **more)


STORY = (
    ("api", "about to call RunTask", "queued to starting"),
    ("api", "RunTask 1 accepted", "task known"),
    ("event", "task 1 PROVISIONING v1", "nothing new"),
    ("event", "task 1 PENDING v2", "nothing new"),
    ("event", "task 1 ACTIVATING v3", "nothing new"),
    ("event", "task 1 RUNNING v4", "starting to building"),
    ("event", "task 1 DEACTIVATING v5 exit 106", "building to failed, BUILD_FAILED"),
    ("event", "task 1 STOPPING v6 exit 106", "the build has ended"),
    ("event", "task 1 DEPROVISIONING v7 exit 106", "the build has ended"),
    ("event", "task 1 STOPPED v8 exit 106", "task seen stopped"),
)
TIMELINE = tuple(Entry(NOW + number * timedelta(milliseconds=2345), *words) for number, words in enumerate(STORY))


def test_a_build_is_one_write_unit(stack: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    written = {
        "new": BUILD,
        "ready": usual(failure=None, status=Status.READY, exit_code=0, files=12, bytes=45678, timeline=TIMELINE),
        "failed": usual(timeline=TIMELINE),
    }
    sizes = {}
    for name, build in written.items():
        builds.create(replace(build, id=name))
        sizes[name] = size(item(name))
    with capsys.disabled():
        print(f"\nbytes of a build's item: {sizes}")
    assert sizes["new"] < 320
    assert sizes["ready"] < 1024
    assert sizes["failed"] < 2048


def test_a_timeline_written_by_this_or_an_older_version_is_read(stack: Settings) -> None:
    build = usual(timeline=TIMELINE[:2])
    pressed = bytes.fromhex("78f9c9f9121c03e9b33435323133320001728c00facdd8c49468a7c60200d3832417")
    for timeline in ({}, {"timeline": pressed}):
        written = aws.to_item(aws.plain(build) | timeline)
        aws.dynamodb().put_item(TableName="BuildsTable", Item=written)
        assert builds.get(build.id) == build


def test_builds_of_a_project_come_newest_first(stack: Settings) -> None:
    written = [usual(number, failure=None) for number in range(30)]
    for build in (*written[::2], *written[1::2], usual(99, project_slug="another")):
        builds.create(build)
    found = [build.id for build in builds.of_project(BUILD.project_slug, None)]
    assert found == [build.id for build in reversed(written)]
    assert [build.id for build in builds.of_project(BUILD.project_slug, found[9])] == found[10:]
    assert list(builds.of_project("unknown", None)) == []


def test_a_short_list_reads_few_builds(stack: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(60):
        builds.create(usual(number))
    read: list[int] = []
    real = aws.dynamodb().batch_get_item
    monkeypatch.setattr(
        aws.dynamodb(), "batch_get_item", lambda **wanted: read.append(keys_of(wanted)) or real(**wanted)
    )
    assert len([build for build, _ in zip(builds.of_project(BUILD.project_slug, None), range(20), strict=False)]) == 20
    assert sum(read) < 30


def keys_of(wanted: Any) -> int:
    return len(wanted["RequestItems"]["BuildsTable"]["Keys"])


def test_open_builds_are_read_as_they_are_now(stack: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(130):
        builds.create(usual(number, open="open" if number % 10 else None, failure=None))
    found = [build.id for build in builds.open_builds()]
    assert found == sorted(found)
    assert len(found) == 117
    # the index still shows a build that has ended meanwhile
    real = aws.dynamodb().batch_get_item
    last = builds.get(found[-1])
    assert last

    def end_first(**wanted: Any) -> Any:
        builds.save(last, replace(last, open=None), LATER)
        return real(**wanted)

    monkeypatch.setattr(aws.dynamodb(), "batch_get_item", end_first)
    assert [build.id for build in builds.open_builds()] == found[:-1]


def test_what_dynamodb_had_no_capacity_for_is_asked_again(stack: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(10):
        builds.create(usual(number, open="open", failure=None))
    real, asked, pauses = aws.dynamodb().batch_get_item, [], []

    def stingy(RequestItems: Any) -> Any:  # noqa: N803
        keys = RequestItems["BuildsTable"]["Keys"]
        asked.append(len(keys))
        answer = real(RequestItems={"BuildsTable": {"Keys": keys[-4:], "ConsistentRead": True}})
        left = {"BuildsTable": {"Keys": keys[:-4], "ConsistentRead": True}} if keys[:-4] else {}
        return answer | {"UnprocessedKeys": left}

    monkeypatch.setattr(aws.dynamodb(), "batch_get_item", stingy)
    monkeypatch.setattr(builds.time, "sleep", pauses.append)
    found = [build.id for build in builds.open_builds()]
    assert found == sorted(found)
    assert len(found) == 10
    assert asked == [10, 6, 2]
    assert pauses == [builds._PAUSE, 2 * builds._PAUSE]


# --- any build comes back as it was ---

TEXTS = st.text(st.characters(exclude_categories=()), max_size=40)  # lone surrogates, too
TIMES = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)).map(  # noqa: DTZ001
    lambda time: time.replace(microsecond=time.microsecond // 1000 * 1000)
)
NUMBERS = st.integers(-(10**15), 10**15)
SLUGS = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=63)


def some(strategy: Any) -> Any:
    return st.none() | strategy


SETTINGS = st.builds(
    BuildSettings,
    **{name: some(TEXTS) for name in ("root_directory", "install_command", "build_command", "output_directory")},
    cpu=some(NUMBERS),
    memory=some(NUMBERS),
    env_names=st.lists(TEXTS, max_size=3).map(tuple),
)
TIMED = [field.name for field in fields(Build) if field.name.endswith("_at") and field.name != "created_at"]
NUMBERED = ("attempt", "faults", "revision", "task_version", "timeout_seconds")
BUILDS = st.builds(
    Build,
    id=SLUGS,
    project_slug=SLUGS,
    source=st.builds(Source, TEXTS, some(TEXTS), some(TEXTS)),
    created_at=TIMES,
    deadline=TIMES,
    settings=SETTINGS,
    status=st.sampled_from(Status),
    open=st.sampled_from(["open", None]),
    tasks=st.lists(TEXTS, max_size=3).map(tuple),
    failure=some(st.builds(Failure, TEXTS, st.sampled_from(Blame), TEXTS, TEXTS, TEXTS)),
    timeline=st.lists(st.builds(Entry, TIMES, TEXTS, TEXTS, TEXTS), max_size=3).map(tuple),
    **{name: some(TIMES) for name in TIMED},
    **dict.fromkeys(NUMBERED, NUMBERS),
    **{name: some(TEXTS) for name in ("task_arn", "waiting", "stop_code", "stopped_reason", "framework")},
    **{name: some(NUMBERS) for name in ("exit_code", "files", "bytes")},
)


def storable(value: Any) -> Any:
    """The value with what UTF-8 cannot hold replaced."""
    match value:
        case str() if type(value) is str:
            return value.encode("utf-8", "replace").decode()
        case tuple():
            return tuple(storable(part) for part in value)
        case Build() | Source() | BuildSettings() | Failure() | Entry():
            return type(value)(**{name: storable(part) for name, part in asdict(value).items()})
    return value


@given(before=BUILDS, after=BUILDS)
@hypothesis_settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_build_comes_back_as_it_was(stack: Settings, before: Build, after: Build) -> None:
    aws.dynamodb().delete_item(TableName="BuildsTable", Key={"id": {"S": before.id}})
    assert builds.create(before)
    assert builds.get(before.id) == storable(before)
    saved = builds.save(before, replace(after, id=before.id), NOW)
    assert saved
    assert builds.get(before.id) == storable(saved)


def test_a_fault_that_is_none_of_the_condition_is_no_lost_race(
    stack: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def throttled(**_: Any) -> Any:
        raise client_error("ThrottlingException", "slow down", "UpdateItem")

    monkeypatch.setattr(aws.dynamodb(), "update_item", throttled)
    with pytest.raises(ClientError, match="ThrottlingException"):
        builds.save(BUILD, BUILD, NOW)

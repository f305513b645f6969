# ruff: noqa: E501 - a row of the table is one line
"""The simulation bites: each rule of the code, broken on purpose, is found broken within some seeds.

docs/simulation.md shows the table; `.venv/bin/pytest tests/simulation/test_mutations.py -s` prints it as it is now.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import pytest
from msgspec.structs import replace

from tests.simulation import invariants, simulate
from tests.simulation import stack as stack_module
from tests.simulation.outcomes import OK, OUTCOMES
from tests.simulation.stack import Stack
from tests.simulation.world import CRASH_AFTER, DENIED, LATE, TIMEOUT_AFTER, TIMEOUT_BEFORE, Fault
from tidegate import (
    aws,
    builds,
    decision,
    diagnosis,
    events,
    idempotency,
    jobs,
    lifecycle,
    projects,
    queueing,
    reconciling,
    runner,
    service,
    slots,
)
from tidegate.aws import FAULTS
from tidegate.decision import CANCELED, Decision
from tidegate.model import Build, Result, Source
from tidegate.observations import CancelAsked, Overdue, StartClaimed, TaskSeen
from tidegate.settings import settings
from tidegate.status import Retry, Status

DOC = Path(__file__).parents[2] / "docs" / "simulation.md"
SEEDS = 500  # at most; most breaks show within a few
Patch = tuple[Any, str, Any]


class Mutation(NamedTuple):
    """A broken rule, how it is broken, and the invariants that may find it."""

    rule: str
    patches: Callable[[], list[Patch]]
    invariants: set[str]
    change: Callable[[Stack], None] | None = None


def decided(change: Callable[[Build, Any, Decision], Decision]) -> list[Patch]:
    """Let something else be decided."""
    real = decision.decide
    return [(lifecycle, "decide", lambda build, seen: change(build, seen, real(build, seen)))]


def status_by_arrival() -> list[Patch]:
    return [(decision, "_later", lambda now, then: then)]


def order_by_status() -> list[Patch]:
    """Write whatever has no lower status, whoever wrote in between."""

    def save(before: Build, after: Build, now: Any) -> Build | None:
        known = builds.get(before.id)
        if known is None or known.status.rank > after.status.rank:
            return None
        after = replace(after, revision=known.revision + 1, updated_at=now)
        put(after)
        return after

    return [(builds, "save", save)]


def read_then_write() -> list[Patch]:
    def save(before: Build, after: Build, now: Any) -> Build | None:
        known = builds.get(before.id)
        if known is None or known.revision != before.revision:
            return None
        after = replace(after, revision=before.revision + 1, updated_at=now)
        put(after)
        return after

    return [(builds, "save", save)]


def put(build: Build) -> None:
    aws.dynamodb().put_item(TableName=settings().builds_table, Item=aws.to_item(aws.plain(build)))


def token_per_call() -> list[Patch]:
    calls = count()
    return [(runner, "client_token", lambda build_id, attempt: f"{build_id}-{next(calls)}")]


def token_per_build() -> list[Patch]:
    return [(runner, "client_token", lambda build_id, attempt: build_id)]


def first_container() -> list[Patch]:
    real = events.task_of

    def task_of(detail: Any, container: str) -> Any:
        first = {**detail["containers"][0], "name": container}
        return real({**detail, "containers": [first]}, container)

    return [(runner, "task_of", task_of), (stack_module, "task_of", task_of)]


def missing_exit_code_is_success() -> list[Patch]:
    real = decision._task_ended

    def ended(build: Build, seen: TaskSeen) -> Decision:
        return real(build, replace(seen, task=replace(seen.task, exit_code=seen.task.exit_code or 0)))

    return [(decision, "_task_ended", ended)]


def result_is_not_needed() -> list[Patch]:
    real = decision._task_ended

    def ended(build: Build, seen: TaskSeen) -> Decision:
        result = seen.result or Result(build.id, build.attempt, ok=True)
        return real(build, replace(seen, result=result))

    return [(decision, "_task_ended", ended)]


def slot_given_back_at_the_deadline() -> list[Patch]:
    real = decision._overdue

    def overdue(build: Build, at: Any) -> Decision:
        made = real(build, at)
        return made if made.ignored else replace(made, build=replace(made.build, open=None))

    return [(decision, "_overdue", overdue)]


def slots_without_limit() -> list[Patch]:
    def acquire(build_id: str) -> bool:
        aws.dynamodb().update_item(
            TableName=settings().builds_table,
            Key={"id": {"S": "slots"}},
            UpdateExpression="ADD holders :build",
            ExpressionAttributeValues={":build": {"SS": [build_id]}},
        )
        return True

    return [(slots, "acquire", acquire)]


def slots_not_given_back() -> list[Patch]:
    return [(slots, "release", lambda *build_ids: None)]


def leaks_not_repaired() -> list[Patch]:
    return [(reconciling, "_give_back_leaked", lambda *more: None)]


def no_claim() -> list[Patch]:
    def settle(build: Build, seen: Any, *more: Any) -> tuple[Build, Decision]:
        if isinstance(seen, StartClaimed):
            return build, Decision(build, run=True)
        return real(build, seen, *more)

    real = lifecycle.settle
    return [(lifecycle, "settle", settle)]


def claim_not_exclusive() -> list[Patch]:
    def change(build: Build, seen: Any, made: Decision) -> Decision:
        return replace(made, run=True) if made.ignored == "claimed already" else made

    return decided(change)


def refusals_always_certain() -> list[Patch]:
    real = runner.run

    def run(build: Build, job_url: str, **more: Any) -> Any:
        answer = real(build, job_url, **more)
        return answer if isinstance(answer, str) else replace(answer, uncertain=False)

    return [(runner, "run", run)]


def unconditional_publish() -> list[Patch]:
    def publish(slug: str, build_id: str, attempt: int, now: Any) -> bool:
        aws.dynamodb().update_item(
            TableName=settings().projects_table,
            Key={"slug": {"S": slug}},
            UpdateExpression="SET liveBuild = :build, liveAttempt = :attempt",
            ExpressionAttributeValues={":build": {"S": build_id}, ":attempt": aws.to_attribute(attempt)},
        )
        return True

    return [(projects, "publish", publish)]


def late_publish_not_refused() -> list[Patch]:
    return [(projects, "refuse", lambda slug, build_id: True)]


def publishing_is_slow(stack: Stack) -> None:
    """Nothing can be published until about the deadline, and then answers are late."""
    world = stack.world
    stack.limit = stack.invariants.limit = 3
    world.calm_from = 1200.0
    world.denied = [("dynamodb.update_item harbour", 0.0, 390.0), ("dynamodb.update_item lantern", 0.0, 390.0)]
    world.hot, world.kinds = ("dynamodb.update_item harbour", 0.5), (LATE, TIMEOUT_AFTER)
    world.fault_rate, world.slow_rate = 0.0, 0.3
    stack.worst_moment, stack.event_loss = 0.3, 0.0
    stack.ecs.build_seconds = 60.0


def run_task_answers_badly(stack: Stack) -> None:
    """Several builds at once, and RunTask works without saying so, or is denied."""
    world = stack.world
    world.calm_from = 1200.0
    world.hot, world.kinds = ("ecs.run_task", 0.6), (LATE, TIMEOUT_AFTER, CRASH_AFTER, DENIED)
    for place, slug in enumerate(("harbour", "lantern", "quay")):
        stack.later(0.01 * place, partial(stack.create, slug))


def builds_are_deleted(stack: Stack) -> None:
    """Somebody deletes the builds' items while their tasks live; there are slots for all."""
    stack.limit = stack.invariants.limit = 9
    stack.worst_moment = 0.0

    def delete() -> None:
        for build_id in {task.build_id for task in stack.ecs.tasks.values() if task.status == "RUNNING"}:
            stack.dynamo.tables[invariants.BUILDS].items.pop(build_id, None)

    stack.world.at(130, delete)


def stop_overwrites_final() -> list[Patch]:
    def change(build: Build, seen: Any, made: Decision) -> Decision:
        if isinstance(seen, TaskSeen) and seen.task.ended and seen.task.attempt == build.attempt and build.status.final:
            return decision._task_ended(build, seen)
        return made

    return decided(change)


def user_faults_tried_again() -> list[Patch]:
    real = diagnosis.diagnose_task
    return [(decision, "diagnose_task", lambda *seen, **more: replace(real(*seen, **more), retry=Retry.NEW_ATTEMPT))]


def platform_faults_not_tried_again() -> list[Patch]:
    real = diagnosis.diagnose_task
    return [(decision, "diagnose_task", lambda *seen, **more: replace(real(*seen, **more), retry=Retry.NO))]


def endless_attempts() -> list[Patch]:
    return [(decision, "MAX_ATTEMPTS", 9)]


def orphans_stopped_at_first_sight() -> list[Patch]:
    def stop_orphans(known: set[str], *more: Any) -> None:
        for arn in sorted(runner.living() - known):
            runner.stop(arn, "unknown")

    return [(reconciling, "_stop_orphans", stop_orphans)]


def orphans_left_alone() -> list[Patch]:
    return [(reconciling, "_stop_orphans", lambda *more: None)]


def missing_task_is_lost_at_once() -> list[Patch]:
    return [(reconciling, "_UNKNOWN_YET", timedelta(seconds=-60)), *missed_once_is_lost()]


def missed_once_is_lost() -> list[Patch]:
    real = decision._task_lost

    def lost(build: Build, seen: Any) -> Decision:
        return real(replace(build, missing_at=seen.at - decision.MISSED_TWICE), seen)

    return [(decision, "_task_lost", lost)]


def reads_are_behind(stack: Stack) -> None:
    """ECS often does not show a task for some seconds."""
    stack.ecs.hiding = 1.0
    stack.world.calm_from = 2400.0
    stack.world.denied = []


def ecs_before_the_clock() -> list[Patch]:
    def bring_forward(*wanted: Any, **flags: Any) -> Iterator[Any]:
        for step in real(*wanted, **flags):
            step.do()
        return iter(())

    real = reconciling._bring_forward
    return [(reconciling, "_bring_forward", bring_forward)]


def clock_though_seen() -> list[Patch]:
    def bring_forward(build: Build, seen: Any, now: Any, **flags: Any) -> Iterator[Any]:
        try:
            yield from real(build, seen, now, **flags)
        except FAULTS:
            if reconciling._overdue(build, now):
                lifecycle.observe(build, Overdue(now), now, "reconciler")
            raise

    real = reconciling._bring_forward
    return [(reconciling, "_bring_forward", bring_forward)]


def writes_fail(stack: Stack) -> None:
    """No event comes, few sweeps do, and writes often fail."""
    stack.event_loss, stack.sweep_loss = 1.0, 0.9
    stack.world.hot = "dynamodb.update_item", 0.4


def all_ask_for_capacity() -> list[Patch]:
    """Start each waiting build in each sweep, before all else."""

    def take(steps: list[Any], seconds_left: Callable[[], float], faults: list[Exception]) -> None:
        for step in sorted(steps, key=lambda step: step.build is None):
            if seconds_left() < aws.LONGEST_CALL:
                break
            with reconciling._go_on(faults):
                step.do()

    return [(reconciling, "_take", take)]


def crowd_waits(stack: Stack) -> None:
    """Forty builds wait for capacity, beside some that run and whose items are deleted."""
    builds_are_deleted(stack)
    stack.limit = stack.invariants.limit = 60
    stack.sweep_loss, stack.world.calm_from = 0.0, 0.0
    stack.ecs.shortages[:] = [("capacity", 60.0, 1200.0)]
    for number in range(40):
        stack.later(61 + number, partial(stack.create, f"crowd-{number}"))


def results_read_without_time() -> list[Patch]:
    real = reconciling._bring_forward
    return [(reconciling, "_bring_forward", lambda *wanted, **flags: real(*wanted, **flags | {"can_read": True}))]


def s3_hangs(stack: Stack) -> None:
    """S3 shows no results to sweeps for a quarter of an hour, and no event tells of an end."""
    world = stack.world
    stack.limit = stack.invariants.limit = 12
    stack.event_loss, stack.worst_moment, stack.sweep_loss, stack.patience = 1.0, 0.0, 0.0, 0.0
    world.calm_from, world.slow_rate = 3600.0, 0.0
    stack.ecs.outcomes, stack.ecs.hiding = lambda task: OK, 0.0
    stack.ecs.shortages.clear()
    for number in range(10):
        stack.later(10.0 * number, partial(stack.create, f"crowd-{number}"))

    def fault(function: Any, operation: str, detail: str) -> Fault | None:
        return Fault(TIMEOUT_AFTER) if operation == "s3.get_object" and 100 <= world.now < 1500 else None

    world._fault = fault  # type: ignore[method-assign]


def run_task_hangs(stack: Stack) -> None:
    """RunTask hangs for the first eight of a dozen builds; the others end well, and no event tells of it."""
    world, new_id = stack.world, stack.new_id
    stack.limit = stack.invariants.limit = 12
    stack.event_loss, stack.worst_moment, stack.sweep_loss, stack.builds_left = 1.0, 0.0, 0.0, 0
    world.calm_from, world.slow_rate = 3600.0, 0.0
    stack.ecs.outcomes, stack.ecs.hiding = lambda task: OK, 0.0
    stack.ecs.shortages.clear()
    ids: list[str] = []

    def known_id() -> str:
        ids.append(new_id())
        return ids[-1]

    def fault(function: Any, operation: str, detail: str) -> Fault | None:
        hangs = operation == "ecs.run_task" and detail[:26] in ids[:8] and world.now < world.calm_from
        return Fault(TIMEOUT_BEFORE, 3) if hangs else None

    stack.new_id = known_id  # type: ignore[method-assign]
    world._fault = fault  # type: ignore[method-assign]
    for place in range(12):
        stack.later(1 + 0.5 * place, partial(stack.create, f"pier-{place}"))


def older_ones_stay() -> list[Patch]:
    return [(queueing, "superseded", lambda some: [])]


def stopped_task_not_looked_for() -> list[Patch]:
    return [(runner, "find", lambda build: None)]


def canceled_at_once() -> list[Patch]:
    def change(build: Build, seen: Any, made: Decision) -> Decision:
        if isinstance(seen, CancelAsked) and not made.ignored and not made.build.status.final:
            return replace(made, build=decision._canceled(build, seen.at, CANCELED))
        return made

    return decided(change)


def cancel_forgotten() -> list[Patch]:
    def change(build: Build, seen: Any, made: Decision) -> Decision:
        if isinstance(seen, CancelAsked) and made.build.cancel_requested_at:
            return replace(made, stop_task=None)
        return made

    def bring_forward(build: Build, *more: Any, **flags: Any) -> Iterator[Callable[[], object]]:
        return iter(()) if build.cancel_requested_at else real(build, *more, **flags)

    real = reconciling._bring_forward
    return [*decided(change), (reconciling, "_bring_forward", bring_forward)]


def supersede_what_runs() -> list[Patch]:
    def change(build: Build, seen: Any, made: Decision) -> Decision:
        if made.ignored == "the build waits no more":
            return decision.decide(build, replace(seen, failure=CANCELED))
        return made

    return decided(change)


def pushes_race(stack: Stack) -> None:
    """Users push to a project between any two calls, and some calls take long."""
    stack.world.calm_from, stack.world.slow_rate = 2400.0, 0.2
    stack.worst_moment, stack.builds_left = 0.3, 12


def only_queued_ones_superseded() -> list[Patch]:
    real = queueing.superseded
    return [(queueing, "superseded", lambda some: [each for each in real(some) if each.status is Status.QUEUED])]


def learned_commit_taken_for_a_wish() -> list[Patch]:
    real = queueing.superseded
    return [(queueing, "superseded", lambda some: [each for each in real(some) if each.commit is None])]


def cloned_commit_not_looked_for() -> list[Patch]:
    return [(jobs, "cloned_commit", lambda build: None)]


def source_json_not_read() -> list[Patch]:
    real = jobs._account

    def account(build: Build, attempt: int, name: str) -> Any:
        return None if name == "source.json" else real(build, attempt, name)

    return [(jobs, "_account", account)]


def attempts_upload_to_one_place() -> list[Patch]:
    return [(jobs, "prefix", lambda slug, build_id, attempt: f"sites/{slug}/{build_id}/")]


def attempt_forgets_the_commit() -> list[Patch]:
    real = jobs.grant
    return [(jobs, "grant", lambda build, env: real(replace(build, cloned_commit=None), env))]


def retry_forgets_the_commit() -> list[Patch]:
    real = service._queued

    def queued(build_id: str, slug: str, source: Source, *more: Any) -> Build:
        return real(build_id, slug, replace(source, commit=None), *more)

    return [(service, "_queued", queued)]


def machines_are_lost(stack: Stack) -> None:
    """Whatever runs loses its machine, some without a word, while users push and retry; then AWS is short for a while."""
    world = stack.world
    lost = [each for each in OUTCOMES if each.code in {"SPOT_INTERRUPTED", "TASK_LOST"}]
    stack.ecs.outcomes = lambda task: world.rng.choice(lost) if task.attempt == 1 else OK
    stack.ecs.shortages = [("capacity", 200.0, 1500.0)]
    stack.event_loss = stack.sweep_loss = world.fault_rate = 0.0
    world.denied, world.hot, world.calm_from = [], ("", 0.0), 2400.0
    stack.worst_moment, stack.builds_left = 0.05, 9


def newest_first() -> list[Patch]:
    def queue(opened: list[Build], holders: set[str]) -> Iterator[Build]:
        waiting = [build for build in opened if build.status is Status.QUEUED and build.id not in holders]
        return iter(sorted(waiting, key=lambda build: build.id, reverse=True))

    return [(queueing, "_queue", queue)]


def newcomers_first() -> list[Patch]:
    def start_waiting(now: Any, source: str, new: Build | None = None) -> dict[str, Build]:
        return {new.id: lifecycle.start(new, now, source)} if new else real(now, source)

    real = queueing.start_waiting
    return [(queueing, "start_waiting", start_waiting)]


def queue_only_by_the_minute() -> list[Patch]:
    def start_waiting(now: Any, source: str, new: Build | None = None) -> dict[str, Build]:
        return {} if source == "event" else real(now, source, new)

    real = queueing.start_waiting
    return [(queueing, "start_waiting", start_waiting)]


def deadlines_ignored() -> list[Patch]:
    def change(build: Build, seen: Any, made: Decision) -> Decision:
        return Decision(build, ignored="no hurry") if isinstance(seen, Overdue) else made

    return decided(change)


def task_started_before_the_record() -> list[Patch]:
    def save(before: Build, after: Build, now: Any) -> Build:
        return replace(after, revision=before.revision + 1)

    return [(builds, "create", lambda build: True), (builds, "save", save)]


def failure_without_fix() -> list[Patch]:
    def change(build: Build, seen: Any, made: Decision) -> Decision:
        failure = made.build.failure
        if failure is None or build.failure is not None:
            return made
        return replace(made, build=replace(made.build, failure=replace(failure, fix="")))

    return decided(change)


def keys_claimed_by_all() -> list[Patch]:
    def claim(key: str, wanted: str, build_id: str, slug: str, now: Any) -> idempotency.Claim:
        return idempotency.Claim(wanted, build_id, slug, mine=True)

    return [(idempotency, "claim", claim)]


def no_reconciler(stack: Stack) -> None:
    stack.reconciling = False


I = invariants  # noqa: E741 - the table is wide
MUTATIONS = (
    Mutation("The status follows the order of arrival", status_by_arrival, {I.FORWARD}),
    Mutation("Writes are ordered by status alone", order_by_status, {I.FORWARD, I.ONE_TASK, I.CANCEL, I.LIMIT, I.TRUTH}),
    Mutation("Read, then write without a condition", read_then_write, {I.FORWARD, I.ONE_TASK, I.CANCEL, I.LIMIT, I.TRUTH}),
    Mutation("A client token for every call", token_per_call, {I.ONE_TASK, I.LIMIT, I.ATTEMPTS, I.CANCEL, I.TRUTH}, run_task_answers_badly),
    Mutation("One client token for all attempts", token_per_build, {I.TRUTH, I.ENDS}),
    Mutation("`containers[0]` instead of the name", first_container, {I.TRUTH}),
    Mutation("A missing exit code is 0", missing_exit_code_is_success, {I.TRUTH}),
    Mutation("Success without `result.json`", result_is_not_needed, {I.TRUTH}),
    Mutation("A stop overwrites a final status", stop_overwrites_final, {I.FORWARD}),
    Mutation("No reconciler", list, {I.ENDS}, no_reconciler),
    Mutation("Deadlines are ignored", deadlines_ignored, {I.DEADLINE}),
    Mutation("The slot comes back at the deadline", slot_given_back_at_the_deadline, {I.LIMIT, I.ORPHANS}),
    Mutation("Slots without a limit", slots_without_limit, {I.LIMIT}),
    Mutation("Slots are not given back", slots_not_given_back, {I.SLOTS, I.QUEUE}),
    Mutation("Leaked slots are not repaired", leaks_not_repaired, {I.SLOTS}),
    Mutation("No claim before RunTask", no_claim, {I.ONE_TASK, I.LIMIT, I.CANCEL, I.ORPHANS, I.TRUTH}),
    Mutation("Two functions may start one attempt", claim_not_exclusive, {I.LIMIT, I.TRUTH, I.ONE_TASK, I.CANCEL}, run_task_answers_badly),
    Mutation("A refusal counts though an earlier call may have worked", refusals_always_certain, {I.LIMIT, I.TRUTH, I.ONE_TASK, I.CANCEL}, run_task_answers_badly),
    Mutation("Publish without comparing", unconditional_publish, {I.LIVE}),
    Mutation("Attempts of a build upload to one place", attempts_upload_to_one_place, {I.WHOLE}, machines_are_lost),
    Mutation("A late publish is not refused", late_publish_not_refused, {I.LIVE}, publishing_is_slow),
    Mutation("The user's faults are tried again", user_faults_tried_again, {I.ATTEMPTS}),
    Mutation("The platform's faults are not tried again", platform_faults_not_tried_again, {I.ATTEMPTS}),
    Mutation("Attempts without end", endless_attempts, {I.ATTEMPTS}),
    Mutation("Orphans are stopped at first sight", orphans_stopped_at_first_sight, {I.KEPT}),
    Mutation("Orphans are left alone", orphans_left_alone, {I.ORPHANS, I.ENDS}, builds_are_deleted),
    Mutation("A task that ECS does not show yet is lost", missing_task_is_lost_at_once, {I.ONE_TASK, I.LIMIT}),
    Mutation("A task that is missed once is lost", missed_once_is_lost, {I.ONE_TASK, I.LIMIT, I.TRUTH, I.CANCEL}, reads_are_behind),
    Mutation("A task of unknown ARN is not looked for", stopped_task_not_looked_for, {I.CANCEL, I.TRUTH, I.LIMIT, I.ORPHANS, I.ONE_TASK}, run_task_answers_badly),
    Mutation("Canceled before the task has stopped", canceled_at_once, {I.CANCEL, I.LIMIT, I.ONE_TASK}),
    Mutation("A canceled build's task is not stopped", cancel_forgotten, {I.ORPHANS, I.DEADLINE, I.CANCEL}),
    Mutation("A newer build ends one that has started", supersede_what_runs, {I.CANCEL}, pushes_race),
    Mutation("A sweep asks ECS before the clock counts", ecs_before_the_clock, {I.DEADLINE, I.ENDS}, run_task_hangs),
    Mutation("Each build that waits asks for capacity in each sweep", all_ask_for_capacity, {I.ORPHANS}, crowd_waits),
    Mutation("A sweep reads results without the time for it", results_read_without_time, {I.DEADLINE}, s3_hangs),
    Mutation("The clock counts, though what was seen was not written", clock_though_seen, {I.TRUTH}, writes_fail),
    Mutation("A newer build leaves the older ones in the queue", older_ones_stay, {I.NEWEST}),
    Mutation("Only queued builds leave for newer ones", only_queued_ones_superseded, {I.NEWEST}, machines_are_lost),
    Mutation("A commit that was cloned is taken for one that was asked for", learned_commit_taken_for_a_wish, {I.NEWEST}, machines_are_lost),
    Mutation("`source.json` is not read", source_json_not_read, {I.COMMIT}),
    Mutation("Nobody looks for the commit of a task that was not seen to end", cloned_commit_not_looked_for, {I.COMMIT}, machines_are_lost),
    Mutation("Another attempt forgets the commit", attempt_forgets_the_commit, {I.COMMIT}, machines_are_lost),
    Mutation("A retry forgets the commit", retry_forgets_the_commit, {I.COMMIT}, machines_are_lost),
    Mutation("The newest waiting build first", newest_first, {I.FAIR}),
    Mutation("A new build before those that wait", newcomers_first, {I.FAIR}),
    Mutation("The queue moves by the minute only", queue_only_by_the_minute, {I.QUEUE}),
    Mutation("RunTask before the record", task_started_before_the_record, {I.RECORDED}),
    Mutation("A failure without its fix", failure_without_fix, {I.FAILURE}),
    Mutation("An idempotency key that is never taken", keys_claimed_by_all, {I.ONE_BUILD}),
)  # fmt: skip


def hunt(mutation: Mutation) -> tuple[int, str]:
    """The seed that finds the break, and the invariant that shows it."""
    with ExitStack() as stack:
        for target, name, value in mutation.patches():
            stack.enter_context(mock.patch.object(target, name, value))
        for seed in range(SEEDS):
            report = simulate.simulate(seed, change=mutation.change)
            if report.violation:
                return seed, report.invariant
    pytest.fail(f"{mutation.rule}: not found in {SEEDS} seeds")


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.rule)
def test_a_broken_rule_is_found(mutation: Mutation) -> None:
    seed, invariant = hunt(mutation)
    print(f"\n| {mutation.rule} | {invariant} | {seed + 1} |")
    assert invariant in mutation.invariants


@pytest.mark.parametrize(
    "change",
    [
        pushes_race,
        machines_are_lost,
        writes_fail,
        publishing_is_slow,
        run_task_answers_badly,
        builds_are_deleted,
        reads_are_behind,
        run_task_hangs,
        crowd_waits,
        s3_hangs,
    ],
)
def test_the_harder_stacks_break_no_rule_by_themselves(change: Callable[[Stack], None]) -> None:
    found = [report for seed in range(100) if (report := simulate.simulate(seed, change=change)).violation]
    assert found == []


def test_doc_shows_the_table() -> None:
    rows = [line.strip("| ").split(" | ") for line in DOC.read_text().splitlines() if line.count(" | ") == 2]
    shown = {rule: invariant for rule, invariant, _ in rows}
    assert [*shown] == ["broken rule", *(mutation.rule for mutation in MUTATIONS)]
    assert [mutation.rule for mutation in MUTATIONS if shown[mutation.rule] not in mutation.invariants] == []

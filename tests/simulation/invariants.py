"""What must always hold, checked at each write, each new task and each undisturbed sweep, and once more at the end."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from tests.simulation.dynamodb import Item, SimDynamo
from tests.simulation.ecs import SimEcs, SimTask
from tests.simulation.world import EPOCH, Crash, Function, Violation, World
from tidegate import jobs
from tidegate.decision import BUILD_GRACE, MISSED_TWICE, PUBLISH_LIMIT, START_LIMIT, STOP_LIMIT, WAIT_LIMIT
from tidegate.failures import FAILURES
from tidegate.model import MAX_ATTEMPTS
from tidegate.status import Blame, Status

if TYPE_CHECKING:
    from collections.abc import Callable

BUILDS, PROJECTS, LOGS = "BuildsTable", "ProjectsTable", "LogsTable"
FORWARD = "status only moves forward, and a final one never changes"
ONE_TASK = "an attempt, and a build, has one living task at most"
LIMIT = "never more builds run than MaxConcurrentBuilds"
RECORDED = "a build is written before anything is started for it"
ORPHANS = "a task that no open build wants is stopped within two sweeps"
KEPT = "a task that its build wants is never stopped"
LIVE = "the live build is the newest ready one and never goes back"
WHOLE = "a live site is what one task has made"
DEADLINE = "every build ends within its deadline and two minutes"
TRUTH = "a build ends as its task truly did"
SLOTS = "no slot leaks"
QUEUE = "waiting builds start as soon as there is a slot"
FAIR = "waiting builds start in fair order"
NEWEST = "of a project's waiting builds of one ref only the newest stays"
POSITION = "the waiting builds have the positions 1 to n"
FAILURE = "every end but ready has code, blame, message and fix"
ATTEMPTS = "only the platform's faults are tried again, up to three times"
CANCEL = "a build is canceled when asked to, and once its task has stopped"
COMMIT = "another attempt and a retry build the commit that was cloned"
ENDS = "everything comes to rest"
LIMITS = "every state has its time limit"
ONE_BUILD = "one idempotency key makes one build"
ERRORS = "no unexpected exception"

_FINAL = {Status.READY, Status.FAILED, Status.CANCELED}
_SEEN = 5.0  # seconds that DescribeTasks may be behind, and a function under way
_SWEEP = 60.0
_ASKED_AGAIN = 400.0  # seconds after which a shortage that is over holds nothing up
_INDEXED = 15.0  # seconds after which the indexes show a build
_LOST = FAILURES["TASK_LOST"].message  # what waits for that may have a task yet


class Invariants:
    """The rules, with what they must remember."""

    def __init__(self, world: World, ecs: SimEcs, dynamo: SimDynamo, limit: int) -> None:
        self.world, self.ecs, self.dynamo, self.limit = world, ecs, dynamo, limit
        self.position: Callable[[str], int | None]
        self.holders: set[str] = set()
        self.held_since: dict[str, float] = {}
        self.full_until = 0.0
        self.closed_at: dict[str, float] = {}
        self.created_at: dict[str, float] = {}
        self.cancels: set[str] = set()  # builds that a user asked to cancel
        self.promised: set[str] = set()  # those of them whose cancel was accepted
        self.unwanted: dict[str, tuple[float, int]] = {}  # living task: since when, clean sweeps since
        self.ends: dict[str, int] = {}
        self.commits: dict[str, str] = {}  # by build: what a task of it has cloned and told
        self.put_off: dict[str, float] = {}  # builds that wait for AWS: since when
        self.outdated: dict[str, int] = {}  # those of them with a newer one beside them: clean sweeps since

    # Each write

    def written(self, table: str, key: str, before: Item, after: Item) -> None:
        if table == PROJECTS:
            self._project_written(before, after)
        elif table == LOGS:
            return
        elif key == "slots":
            self._slots_written(after)
        elif "projectSlug" in after:
            self._build_written(key, before, after)

    def _build_written(self, key: str, before: Item, after: Item) -> None:
        new = _status(after)
        if self.world.tracing:
            self.world.say(f"    build {key[-4:]} {_status(before) if before else '-'} -> {_brief(after)}")
        if not before:
            self.created_at[key] = self.world.now
            return
        old = _status(before)
        if old is not new and (old.final or new.rank < old.rank):
            raise Violation(FORWARD, f"build {key[-4:]} went from {old} to {new}")
        if int(after["attempt"]["N"]) < int(before["attempt"]["N"]) or after["revision"] == before["revision"]:
            raise Violation(FORWARD, f"build {key[-4:]}: attempt or revision did not move forward")
        if not new.final and _time(after["deadline"]) > self._latest(key, after):
            raise Violation(LIMITS, f"build {key[-4:]} is {_brief(after)}")
        if "open" in before and "open" not in after:
            self.closed_at[key] = self.world.now
        self._note_put_off(key, after)
        if old.final:
            if before.get("failure") != after.get("failure") or before.get("finishedAt") != after.get("finishedAt"):
                raise Violation(FORWARD, f"build {key[-4:]} has ended, and its failure changed")
        elif new.final:
            self._ended(key, before, after)

    def _latest(self, key: str, item: Item) -> float:
        """The latest deadline that a build may have in its state."""
        now = self.world.now + 1
        if "cancelRequestedAt" in item:
            return now + STOP_LIMIT.total_seconds()
        if _status(item) is Status.PUBLISHING:
            return now + PUBLISH_LIMIT.total_seconds()
        if "buildingAt" in item:
            return _time(item["buildingAt"]) + int(item["timeoutSeconds"]["N"]) + BUILD_GRACE.total_seconds() + 1
        waits = _status(item) is Status.QUEUED or "waiting" in item
        longest = self.created_at[key] + WAIT_LIMIT.total_seconds() if waits else 0
        return max(now + START_LIMIT.total_seconds(), longest)

    def _slots_written(self, after: Item) -> None:
        now = self.world.now
        holders = set(after.get("holders", {"SS": []})["SS"])
        for each in holders - self.holders:
            self.held_since[each] = now
            self._acquired(each)
        if len(self.holders) >= self.limit:
            self.full_until = now
        freed = len(holders) < len(self.holders)
        self.holders = holders
        if len(holders) > self.limit:
            raise Violation(LIMIT, f"{len(holders)} builds hold a slot")
        function = self.world.current
        undisturbed = self.world.calm and function is not None and function.started >= self.world.calm_from
        if freed and undisturbed and self.world.script is None:
            self.world.at(now + 8, self._refilled, now)

    def _refilled(self, freed_at: float) -> None:
        """When nothing goes wrong, a free slot goes to a waiting build at once."""
        if len(self.holders) < self.limit and self.full_until <= freed_at:
            waits = [key for key in self._waiting() if self.created_at[key] < freed_at - _INDEXED]
            if waits and not self._short():
                raise Violation(QUEUE, f"a slot came free at {freed_at:.3f}, and {waits[0][-4:]} still waits")

    def _project_written(self, before: Item, after: Item) -> None:
        old, new = (item.get("liveBuild", {"S": ""})["S"] for item in (before, after))
        if old == new:
            return
        if new < old:
            raise Violation(LIVE, f"{old[-4:]} was live, and the older {new[-4:]} replaced it")
        status = _status(self.dynamo.tables[BUILDS].items[new])
        if status not in {Status.PUBLISHING, Status.READY}:
            raise Violation(LIVE, f"build {new[-4:]} goes live, but is {status}")
        site = jobs.prefix(after["slug"]["S"], new, int(after["liveAttempt"]["N"])) + "files/"
        makers = {content for key, content in self.ecs.s3.objects.items() if key.startswith(site)}
        if len(makers) != 1:
            raise Violation(WHOLE, f"the site of build {new[-4:]} was made by {sorted(makers)}")

    # Ends

    def _ended(self, key: str, before: Item, after: Item) -> None:
        status, code = _status(after), _code(after)
        end = code or "READY"
        self.ends[end] = self.ends.get(end, 0) + 1
        if status is Status.READY:
            if code:
                raise Violation(FAILURE, f"build {key[-4:]} is ready and has failed with {code}")
            if not any(task.success for task in self._tasks(key, after)):
                raise Violation(TRUTH, f"build {key[-4:]} is ready, but its task was no success")
            return
        told = after.get("failure", {}).get("M", {})
        if not all(told.get(name, {}).get("S") for name in ("code", "message", "fix")) or told["blame"]["S"] not in [
            *Blame
        ]:
            raise Violation(FAILURE, f"build {key[-4:]} is {status} and does not say all of why: {told}")
        if status is Status.CANCELED:
            self._canceled(key, before, after, code)
        else:
            self._failed(key, before, after, code)
        live = self.dynamo.tables[PROJECTS].items.get(after["projectSlug"]["S"], {}).get("liveBuild")
        if live == {"S": key}:
            raise Violation(LIVE, f"build {key[-4:]} is live, and is now {status}")

    def _canceled(self, key: str, before: Item, after: Item, code: str) -> None:
        alive = [task for task in self._tasks(key, None) if task.alive]
        if code == "SUPERSEDED":
            newer = [other for other, item in self._builds() if other > key and _wish(item) == _wish(after)]
            if not newer or alive:
                raise Violation(CANCEL, f"build {key[-4:]} was superseded by {newer}, with tasks {alive}")
        elif key not in self.cancels:
            raise Violation(CANCEL, f"nobody asked to cancel build {key[-4:]}")
        elif alive:
            raise Violation(CANCEL, f"build {key[-4:]} is canceled, but its task {alive[0].arn[-4:]} lives")

    def _failed(self, key: str, before: Item, after: Item, code: str) -> None:
        now = self.world.now
        tasks = self._tasks(key, after)
        task = tasks[0] if tasks else None
        ended = task is not None and not task.alive and (task.ended_since or 0) < now - _SEEN
        overdue = now >= _time(before["deadline"]) - 0.001
        wrong = ""
        function = self.world.current
        hidden = any(each.hidden[0] <= now < each.hidden[1] + _SEEN for each in tasks)
        unlisted = any(each.unlisted[0] <= now < each.unlisted[1] + _SEEN for each in tasks)
        blind = function is None or function.troubles & {"ecs", "s3", "time"} or hidden or unlisted
        hoped = unlisted or not tasks or now >= _time(before["deadline"]) + _SWEEP - 1
        if overdue and blind and hoped and code.endswith("_TIMED_OUT"):
            return  # who could not see the task has only the clock, and one more sweep
        if (
            any(each.success and (each.ended_since or 0) < now - _SEEN for each in tasks)
            and code != "PUBLISH_TIMED_OUT"
        ):
            wrong = "its task was a success"
        elif code == "WAIT_TIMED_OUT":
            waited = now - self.created_at[key] >= WAIT_LIMIT.total_seconds() - 60
            wrong = "" if overdue and waited and not ended and self._short() else "nothing kept it waiting"
        elif code == "START_TIMED_OUT":
            late = task is None or task.running_since is None or task.running_since > now - _SEEN
            began = now - START_LIMIT.total_seconds()
            late = late and (
                task is not None or began < self.world.calm_from + 60 or self._short(START_LIMIT.total_seconds())
            )
            started = _time(after.get("startingAt") or after["createdAt"])
            wrong = (
                "" if overdue and late and now - started >= START_LIMIT.total_seconds() - 60 else "its task did start"
            )
        elif code == "BUILD_TIMED_OUT" and not (task and task.exit_code == 109):
            most = int(after["timeoutSeconds"]["N"]) + BUILD_GRACE.total_seconds() + 1
            ran = now - (task.running_since if task and task.running_since is not None else now)
            wrong = "" if overdue and not ended and ran >= most - 1 else "its task did not run that long"
        elif code == "PUBLISH_TIMED_OUT":
            wrong = "" if overdue and before["status"]["S"] == Status.PUBLISHING else "it was not publishing that long"
        elif code == "STOP_TIMED_OUT":
            seen = (
                ended and function is not None and (task.ended_since or 0) < function.started - _SEEN if task else False
            )
            wrong = "" if overdue and "cancelRequestedAt" in before and not seen else "its task was seen to stop"
        else:
            expected = {each.outcome.code for each in tasks if not each.alive} | set(
                self.ecs.refusals.get(key, [])[-1:]
            )
            expected |= {"STOPPED_OUTSIDE" for each in tasks if each.stopped_outside}
            if task is not None and task.gone_at <= now - MISSED_TWICE.total_seconds() + 50 + _SEEN:
                expected.add("TASK_LOST")
            wrong = "" if code in expected else f"that should be {expected or 'no failure'}"
        again = task is not None and not task.alive and task.outcome.again and code == task.outcome.code
        if not wrong and again and int(after["faults"]["N"]) < MAX_ATTEMPTS - 1:
            raise Violation(ATTEMPTS, f"build {key[-4:]} failed with {code} and was not tried again")
        if wrong:
            raise Violation(TRUTH, f"build {key[-4:]} failed with {code}, but {wrong}")

    # Each new task

    def task_created(self, task: SimTask) -> None:
        item = self.dynamo.tables[BUILDS].items.get(task.build_id)
        if item is None:
            raise Violation(RECORDED, f"task {task.arn[-4:]} was started for {task.started_by}")
        others = [each for each in self.ecs.tasks.values() if each.build_id == task.build_id and each is not task]
        if alive := [each for each in others if each.alive]:
            raise Violation(ONE_TASK, f"{alive[0].arn[-4:]} and {task.arn[-4:]} live for {task.started_by}")
        faults = [each for each in others if each.outcome.code != "CAPACITY_UNAVAILABLE"]  # that is only waited for
        if len(faults) >= MAX_ATTEMPTS:
            raise Violation(ATTEMPTS, f"build {task.build_id[-4:]} gets task number {len(faults) + 1}")
        if final := [each for each in others if not each.outcome.again]:
            raise Violation(ATTEMPTS, f"build {task.build_id[-4:]} is tried again after: {final[-1].outcome.name}")
        running = {each.build_id for each in self.ecs.tasks.values() if each.alive}
        if len(running) > self.limit:
            raise Violation(LIMIT, f"{len(running)} builds have living tasks, {task.arn[-4:]} is one too many")

    def cloned(self, key: str) -> str | None:
        """The commit that a task of a build has cloned and told."""
        return self.commits.get(key)

    def task_cloned(self, task: SimTask) -> None:
        known = self.commits.setdefault(task.build_id, task.commit or "")
        if task.commit != known:
            raise Violation(COMMIT, f"task {task.arn[-4:]} of {task.started_by} cloned {task.commit}, not {known}")

    def retried(self, asked: str | None, cloned: str | None, key: str) -> None:
        if cloned and asked != cloned:
            raise Violation(COMMIT, f"the retry of build {key[-4:]} is to build {asked}, not {cloned}")

    def task_stopping(self, task: SimTask) -> None:
        if task.alive and self._wanted(task):
            raise Violation(KEPT, f"task {task.arn[-4:]} of {task.started_by} is told to stop")

    def _acquired(self, key: str) -> None:
        """A build takes a slot when it is its turn: within its project always, between projects as long as all is calm.

        The counts of running builds change while a slow function looks; the order within a project does not.
        """
        function = self.world.current
        builds = {other: item for other, item in self._builds() if "open" in item}
        if function is None or key not in builds:
            return
        running: dict[str, int] = {}
        for each in self.holders - {key}:
            slug = builds[each]["projectSlug"]["S"] if each in builds else ""
            running[slug] = running.get(slug, 0) + 1
        own = builds[key]["projectSlug"]["S"]
        calm = function.started >= self.world.calm_from + 60
        for other in self._waiting():
            slug = builds[other]["projectSlug"]["S"]
            first = other < key if slug == own else calm and (running.get(slug, 0), other) < (running.get(own, 0), key)
            if first and other != key and self.created_at[other] < function.started - _INDEXED:
                raise Violation(FAIR, f"build {key[-4:]} takes a slot, and it was the turn of {other[-4:]}")

    # Each function that ends

    def function_ended(self, function: Function, end: Any) -> None:
        if not function.name.startswith("sweep") or "crash" in function.troubles:
            return
        if isinstance(end, Crash) and function.slow:
            return  # ECS, S3 and STS alone may not keep a sweep from what it can do without
        if not function.troubles and isinstance(end, Exception):
            raise Violation(ERRORS, f"an undisturbed sweep ended with {end!r}")
        if "dynamodb" not in function.troubles:
            self._check_deadlines(function.started)
        if not function.troubles:
            self._swept(function)

    def _swept(self, function: Function) -> None:
        """What a sweep must have put right that met no fault."""
        began = function.started
        for key in self.holders:
            closed = self.closed_at.get(key, began)
            if closed < began - _INDEXED and self.held_since[key] < began:
                raise Violation(SLOTS, f"build {key[-4:]} has ended and holds a slot")
        self._count_unwanted(began)
        self._check_newest(began)
        self._check_outdated(began)
        free = len(self.holders) < self.limit and self.full_until < began
        waits = [key for key in self._waiting() if self.created_at[key] < began - _INDEXED]
        if self.world.calm and all(self.created_at[key] < began - _INDEXED for key in self._waiting()):
            self._check_positions(function)
        if free and waits and not self._short():
            raise Violation(QUEUE, f"build {waits[0][-4:]} waits beside a free slot after a sweep")

    def _check_deadlines(self, began: float) -> None:
        """The clock counts, whatever ECS or S3 do not tell; but a sweep may hope that the next one learns more."""
        for key, item in self._builds():
            if not _status(item).final and _time(item["deadline"]) < began - _SWEEP:
                raise Violation(DEADLINE, f"build {key[-4:]} is {_status(item)}, and overdue")

    def _check_newest(self, began: float) -> None:
        """A build that waited when a sweep began has no newer one beside it that was there then, too."""
        builds = dict(self._builds())
        newest: dict[str, str] = {}
        for key in sorted(self._waiting(), reverse=True):
            source = f"{builds[key]['projectSlug']} {builds[key]['source']}"
            if self.created_at[key] >= began - _INDEXED or "commit" in builds[key]["source"]["M"]:
                continue
            if newest.setdefault(source, key) != key:
                raise Violation(NEWEST, f"build {key[-4:]} waits beside the newer {newest[source][-4:]}")

    def _note_put_off(self, key: str, item: Item) -> None:
        """Remember since when a build waits for AWS; whoever calls RunTask for it again changes nothing of that."""
        waits = item["status"]["S"] in {Status.STARTING, Status.BUILDING} and item.get("waiting", {"S": _LOST})["S"]
        between = waits and waits != _LOST and int(item["claimed"]["N"]) < int(item["attempt"]["N"])
        if "taskArn" in item or "cancelRequestedAt" in item or _status(item).final:
            self.put_off.pop(key, None)
        elif between:
            self.put_off.setdefault(key, self.world.now)

    def _check_outdated(self, began: float) -> None:
        """A build that waits for AWS goes as well; somebody may just call RunTask for it, but not in three sweeps."""
        builds, still = dict(self._builds()), {}
        for key, since in self.put_off.items():
            item = builds.get(key)
            if item is None:
                continue
            newer = [
                other
                for other in builds
                if other > key
                and _wish(builds[other]) == _wish(item)
                and not _status(builds[other]).final
                and self.created_at[other] < began - _INDEXED
            ]
            between = int(item["claimed"]["N"]) < int(item["attempt"]["N"])
            if newer and between and since < began - _SEEN and "commit" not in item["source"]["M"]:
                still[key] = self.outdated.get(key, 0) + 1
                if still[key] == 3:
                    raise Violation(NEWEST, f"build {key[-4:]} waits for AWS beside the newer {newer[0][-4:]}")
        self.outdated = still

    def _check_positions(self, function: Function) -> None:
        self.world.current = None  # these calls are ours
        places = [self.position(each) for each in self._waiting()]
        self.world.current = function
        if sorted(place or 0 for place in places) != list(range(1, len(places) + 1)):
            raise Violation(POSITION, f"{len(places)} builds wait at {places}")

    def _count_unwanted(self, began: float) -> None:
        still = {}
        for task in self.ecs.tasks.values():
            if not task.alive or task.told_to_stop or self._wanted(task):
                continue
            since, sweeps = self.unwanted.get(task.arn, (self.world.now, 0))
            unseen = max([until for start, until in (task.hidden, task.unlisted) if start <= self.world.now], default=0)
            if max(since, task.at + 125, task.listed_at, unseen) < began - 3:
                sweeps += 1
            still[task.arn] = (since, sweeps)
            if sweeps >= 2:
                raise Violation(ORPHANS, f"task {task.arn[-4:]} of {task.started_by} lives on since {since:.0f}")
        self.unwanted = still

    def _wanted(self, task: SimTask) -> bool:
        item = self.dynamo.tables[BUILDS].items.get(task.build_id)
        return (
            item is not None
            and not _status(item).final
            and "cancelRequestedAt" not in item
            and int(item["attempt"]["N"]) == task.attempt
        )

    # At the end

    def at_rest(self) -> bool:
        """Whether nothing is under way any more."""
        return not any("open" in item or not _status(item).final for _, item in self._builds()) and not any(
            task.alive for task in self.ecs.tasks.values()
        )

    def ended(self) -> None:
        """What must hold when all has come to rest."""
        if not self.at_rest():
            raise Violation(ENDS, f"at {self.world.now:.0f}: {self.unfinished()}")
        if self.holders:
            raise Violation(SLOTS, f"{self.holders} hold slots at the end")
        for key in self.promised:
            item = self.dynamo.tables[BUILDS].items[key]
            status = _status(item)
            if status is not Status.CANCELED and _code(item) != "STOP_TIMED_OUT":
                raise Violation(CANCEL, f"the cancel of build {key[-4:]} was accepted, and it is {status}")
        ready: dict[str, str] = {}
        for key, item in self._builds():
            if _status(item) is Status.READY:
                slug = item["projectSlug"]["S"]
                ready[slug] = max(ready.get(slug, ""), key)
        for slug, project in self.dynamo.tables[PROJECTS].items.items():
            live = project.get("liveBuild", {"S": ""})["S"]
            if live != ready.get(slug, ""):
                raise Violation(
                    LIVE, f"{live[-4:] or 'nothing'} is live, and {ready.get(slug, '')[-4:]} the newest ready one"
                )

    def _short(self, before: float = 0) -> bool:
        """Whether AWS is short of something, or was in these seconds and those that it takes to ask again."""
        now = self.world.now
        return any(start <= now < end + before + _ASKED_AGAIN for _, start, end in self.ecs.shortages)

    def unfinished(self) -> str:
        builds = [f"{key[-4:]} {_brief(item)}" for key, item in self._builds() if "open" in item]
        tasks = [f"{task.arn[-4:]} {task.status}" for task in self.ecs.tasks.values() if task.alive]
        return f"open: {builds}, alive: {tasks}"

    def _builds(self) -> list[tuple[str, Item]]:
        return [(key, item) for key, item in self.dynamo.tables[BUILDS].items.items() if "projectSlug" in item]

    def _waiting(self) -> list[str]:
        return [key for key, item in self._builds() if item["status"]["S"] == Status.QUEUED and key not in self.holders]

    def _tasks(self, key: str, item: Item | None) -> list[SimTask]:
        """The build's tasks, or those of its present attempt."""
        attempt = int(item["attempt"]["N"]) if item else None
        return [t for t in self.ecs.tasks.values() if t.build_id == key and attempt in {None, t.attempt}]


def _status(item: Item) -> Status:
    return Status(item["status"]["S"])


def _code(item: Item) -> str:
    code: str = item.get("failure", {}).get("M", {}).get("code", {}).get("S", "")
    return code


def _wish(item: Item) -> tuple[Any, Any]:
    """What a build was asked to build."""
    return item["projectSlug"], item["source"]


def _time(attribute: Item) -> float:
    return (datetime.fromisoformat(attribute["S"]) - EPOCH).total_seconds()


def _brief(item: Item) -> str:
    words = [item["status"]["S"], f"attempt {item['attempt']['N']}", f"r{item['revision']['N']}"]
    if "open" not in item:
        words.append("closed")
    if code := _code(item):
        words.append(code)
    if "cancelRequestedAt" in item:
        words.append("cancel asked")
    if "waiting" in item:
        words.append(f"waits: {item['waiting']['S'][:40]}")
    words.append(f"deadline {_time(item['deadline']):.0f}")
    return " ".join(words)

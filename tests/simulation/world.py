"""The virtual clock, the functions that run interleaved by it, and what goes wrong with their calls to AWS.

A function is a greenlet: the real code runs in it until it calls AWS; there it waits for its turn by the clock, so that
calls of two functions interleave in every order. One seed makes one schedule, always the same.
"""

import heapq
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, NamedTuple, TypeVar

from botocore.exceptions import BotoCoreError, ClientError, ConnectTimeoutError, ReadTimeoutError
from greenlet import getcurrent, greenlet  # type: ignore[import-untyped]

from tidegate.exceptions import Problem

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
TRIES = 3  # what botocore makes of one call (tidegate.aws)

T = TypeVar("T")

THROTTLE = "throttle"
HIDDEN_THROTTLE = "hidden throttle"  # RunTask only
SERVER_ERROR = "5xx"
TIMEOUT_BEFORE = "time-out before effect"
TIMEOUT_AFTER = "time-out after effect"
LATE = "time-out, effect later"
DENIED = "denied"
CRASH_BEFORE = "crash before the call"
CRASH_AFTER = "crash after the call"
FAULTS = (
    THROTTLE,
    HIDDEN_THROTTLE,
    SERVER_ERROR,
    TIMEOUT_BEFORE,
    TIMEOUT_AFTER,
    DENIED,
    CRASH_BEFORE,
    CRASH_AFTER,
)
_RETRIED = {THROTTLE, SERVER_ERROR, TIMEOUT_BEFORE, TIMEOUT_AFTER, LATE}


class Crash(BaseException):
    """The function dies here; no code of ours may catch this."""


class Violation(BaseException):
    """An invariant does not hold."""

    def __init__(self, invariant: str, what: str) -> None:
        super().__init__(f"{invariant}: {what}")
        self.invariant = invariant


class Fault(NamedTuple):
    """What happens to a call; `tries` of botocore's three meet it."""

    kind: str
    tries: int = TRIES


class Function:
    """One run of a Lambda function."""

    def __init__(self, name: str, started: float, seconds: float) -> None:
        self.name = name
        self.started = started
        self.limit = started + seconds
        self.calls = 0
        self.troubles: set[str] = set()  # the services that failed it, "crash" or "time"
        self.slow = False  # whether a call to something else than ECS took long
        self.waited = False  # whether any call did
        self.greenlet: Any = None


class World:
    """The clock, its events, the dice, and the trace."""

    def __init__(
        self, seed: int, *, tracing: bool = False, spared: Iterable[int] = (), script: dict[Any, Fault] | None = None
    ) -> None:
        self.rng = Random(seed)
        self.now = 0.0
        self.calm_from = 0.0  # no fault of any kind from here on
        self.fault_rate = 0.0
        self.hot: tuple[str, float] = ("", 0.0)  # an operation that fails more often
        self.kinds: tuple[str, ...] = (*FAULTS, LATE)
        self.slow_rate = 0.0
        self.denied: list[tuple[str, float, float]] = []  # operation, from, to
        self.script = script
        self.tracing = tracing
        self.trace: list[str] = []
        self.calls: list[tuple[str, int, str]] = []  # function, number of the call, operation: what a script can hit
        self.steps = 0
        self.active = 0  # functions under way
        self.misfortunes = 0
        self.spared = frozenset(spared)
        self.current: Function | None = None
        self.after: Callable[[Function, Any], None] = lambda function, end: None
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = 0
        self._hub = getcurrent()

    def time(self, at: float | None = None) -> datetime:
        """A moment of the clock as a time."""
        return EPOCH + timedelta(milliseconds=int((self.now if at is None else at) * 1000))

    @property
    def calm(self) -> bool:
        """Whether nothing goes wrong any more."""
        return self.now >= self.calm_from

    def say(self, what: str, actor: str = "") -> None:
        """Add to the trace, if there is one."""
        if self.tracing:
            actor = actor or (self.current.name if self.current else "")
            self.trace.append(f"{self.now:10.3f}  {actor:<16} {what}")

    def at(self, when: float, do: Callable[..., None], *arguments: Any) -> None:
        """Do something at a time."""
        self._order += 1
        heapq.heappush(self._events, (when, self._order, do, arguments))

    def run(self, done: Callable[[], bool], until: float) -> bool:
        """Let time pass until `done` says so; `False` if it has not by `until`, or nothing is left to happen."""
        while not done():
            if not self._events or self._events[0][0] > until:
                return False
            self.now, _, do, arguments = heapq.heappop(self._events)
            self.current = None
            do(*arguments)
        return True

    def misfortune(self, probability: float) -> bool:
        """Whether bad luck strikes; each stroke has a number, so that shrinking can spare it."""
        if self.calm or self.rng.random() >= probability:
            return False
        self.misfortunes += 1
        return self.misfortunes not in self.spared

    def start(
        self, name: str, seconds: float, do: Callable[[], Any], ended: Callable[[Any], None] | None = None
    ) -> None:
        """Run a function now; `ended` gets its value, or the exception it ended with."""
        function = Function(name, self.now, seconds)

        def body() -> None:
            end = _outcome(do)
            self.active -= 1
            self.say(f"ended: {end!r}"[:300])
            self.after(function, end)
            if ended:
                ended(end)

        self.active += 1
        function.greenlet = greenlet(body, parent=self._hub)
        self._resume(function)

    def _resume(self, function: Function) -> None:
        self.current = function
        function.greenlet.switch()
        self.current = None

    def _wait(self, function: Function, seconds: float) -> None:
        function.waited |= seconds > 1
        wake = self.now + seconds
        dies = wake > function.limit
        wake = min(wake, function.limit)
        if self._events and self._events[0][0] <= wake:
            self.at(wake, self._resume, function)
            self._hub.switch()
        else:
            self.now = wake
        if dies:
            function.troubles.add("time")
            self.say("killed: out of time")
            raise Crash("out of time")

    def sleep(self, seconds: float) -> None:
        """Let the function that runs wait."""
        if self.current:
            self._wait(self.current, seconds)

    def call(self, operation: str, effect: Callable[[], T], detail: str = "") -> T:
        """One call by the code under test, with what botocore makes of faults; our own checks meet none."""
        function = self.current
        if function is None:
            return effect()
        function.calls += 1
        self.steps += 1
        if self.script is not None:
            self.calls.append((function.name, function.calls, operation))
        fault = None
        for tried in range(TRIES):
            latency = self._latency(operation)
            function.slow |= latency > 1 and not operation.startswith("ecs")
            self._wait(function, latency)
            if fault is None or fault.tries < 1:
                fault = self._fault(function, operation, detail)
            if fault is None:
                return self._answer(operation, detail, effect, tried)
            crashes = fault.kind in {CRASH_BEFORE, CRASH_AFTER}
            function.troubles.add("crash" if crashes else operation.partition(".")[0])
            fault = Fault(fault.kind, fault.tries - 1)
            error = self._suffer(function, operation, detail, effect, fault.kind)
            if fault.kind not in _RETRIED:
                break
        raise _tried(error, tried)

    def _answer(self, operation: str, detail: str, effect: Callable[[], T], tried: int) -> T:
        try:
            return self._take_effect(operation, detail, effect)
        except ClientError as error:
            raise _tried(error, tried) from None

    def _take_effect(self, operation: str, detail: str, effect: Callable[[], T]) -> T:
        if not self.tracing:
            return effect()
        place = len(self.trace)
        try:
            value = effect()
        except ClientError as error:
            self.trace.insert(place, f"{self._line(operation, detail)} -> {error.response['Error']['Code']}")
            raise
        except Violation:
            self.trace.insert(place, self._line(operation, detail))
            raise
        self.trace.insert(place, self._line(operation, detail))
        return value

    def _line(self, operation: str, detail: str) -> str:
        name = self.current.name if self.current else ""
        return f"{self.now:10.3f}  {name:<16} {operation} {detail}"

    def _latency(self, operation: str) -> float:
        if self.script is not None:
            return 0.01
        luck = self.rng.random()
        if luck < self.slow_rate and not self.calm:
            return 0.5 + 20 * luck / self.slow_rate
        return 0.005 + 0.03 * luck + (0.5 if operation == "ecs.run_task" else 0)

    def _fault(self, function: Function, operation: str, detail: str) -> Fault | None:
        if self.script is not None:
            return self.script.pop((function.name, function.calls), None)
        if self.calm:
            return None
        for name, start, end in self.denied:
            if start <= self.now < end and f"{operation} {detail}".startswith(name):
                return Fault(DENIED)
        hot, rate = self.hot
        if not self.misfortune(rate if hot and operation.startswith(hot) else self.fault_rate):
            return None
        kinds = [kind for kind in self.kinds if kind != HIDDEN_THROTTLE or operation == "ecs.run_task"]
        return Fault(self.rng.choice(kinds or [CRASH_AFTER]), self.rng.choice((1, 1, TRIES)))

    def _suffer(
        self, function: Function, operation: str, detail: str, effect: Callable[[], Any], kind: str
    ) -> Exception:
        """Let a fault happen; returns what the caller is told."""
        self.say(f"{operation} {detail} !! {kind}")
        name = operation.partition(".")[2]
        if kind in {CRASH_BEFORE, CRASH_AFTER}:
            if kind == CRASH_AFTER:
                _outcome(lambda: self._take_effect(operation, detail, effect))
            raise Crash(kind)
        if kind == TIMEOUT_AFTER:
            _outcome(lambda: self._take_effect(operation, detail, effect))
        if kind == LATE:
            self.at(self.now + 10 * self.rng.random(), self._late, operation, detail, effect)
        if kind in {TIMEOUT_BEFORE, TIMEOUT_AFTER, LATE}:
            before = kind == TIMEOUT_BEFORE
            self._wait(function, 2 if before else 5)
            return (ConnectTimeoutError if before else ReadTimeoutError)(endpoint_url=operation)
        if kind == THROTTLE:
            return client_error(name, "ThrottlingException", "Rate exceeded")
        if kind == HIDDEN_THROTTLE:
            return client_error(name, "InvalidParameterException", "Error retrieving subnet information: Rate exceeded")
        if kind == DENIED:
            return client_error(name, "AccessDeniedException", f"User is not authorized to perform: {operation}")
        return client_error(name, "InternalServerError" if "dynamodb" in operation else "ServerException", "")

    def _late(self, operation: str, detail: str, effect: Callable[[], Any]) -> None:
        self.say(f"{operation} {detail} takes effect late", "late")
        _outcome(effect)


def client_error(operation: str, code: str, message: str, **more: Any) -> ClientError:
    """An AWS error as botocore raises it."""
    response: Any = {"Error": {"Code": code, "Message": message}, **more}
    return ClientError(response, operation)


def _tried(error: Exception, times: int) -> Exception:
    """Note in an error, as botocore does, how many times it had tried before."""
    if isinstance(error, ClientError):
        metadata: Any = error.response.setdefault("ResponseMetadata", {})  # type: ignore[typeddict-item]
        metadata["RetryAttempts"] = times
    return error


def _outcome(do: Callable[[], Any]) -> Any:
    """The value of a function, or the exception that it may rightly end with."""
    try:
        return do()
    except (ClientError, BotoCoreError, Problem, ExceptionGroup, Crash) as error:
        return error
    except Exception as error:
        raise Violation("no unexpected exception", repr(error)) from error

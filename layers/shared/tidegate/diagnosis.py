"""Why a build did not become a site, and whether another attempt helps."""

import re
from collections.abc import Iterable

from tidegate.failures import FAILURES
from tidegate.model import BuilderFailure, Diagnosis, Failure, Result, Task
from tidegate.reasons import (
    BUILDER_EXIT_CODES,
    EXIT_CODES,
    MEMORY_RULES,
    REST_RULES,
    RUN_TASK_RULES,
    START_RULES,
    STOP_CODES,
    STOP_RULES,
    Rule,
)
from tidegate.status import Blame, Retry

MAX_EVIDENCE = 2000
_MAX_SENTENCE = 500
_MAX_READ = 8192  # ECS cuts its texts at 1,024 characters

# Quotation marks, backslashes and invisible characters differ between the sources of one text.
_FOLDS: dict[int, str | None] = {
    **dict.fromkeys(map(ord, "'\"`\\\u00b4\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u2032\u2033\u00ab\u00bb")),
    **dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff\u00ad")),
    **dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014"), "-"),
    **dict.fromkeys(map(ord, "([|"), ": "),
    **dict.fromkeys(map(ord, ")]"), " "),
}
_CONTROLS = dict.fromkeys(set(range(32)) - {9, 10})


def diagnose_task(task: Task, result: Result | None = None, *, ran: bool = False) -> Diagnosis:
    """Why an ended task is not a success, and whether a new attempt helps.

    `ran`: the task has been seen running, whatever ECS remembers of it.
    `result` must be of this build and attempt. Build code may have forged it, so it only words what the exit code
    says, or puts the blame on the user; blame and retry are those of the code's own row in `FAILURES`.
    """
    told = result.failure if result else None
    text = _fold(task.container_reason, task.stopped_reason)
    code = (
        _match(MEMORY_RULES, text)
        or _of_builder(task.exit_code)
        or _match(STOP_RULES, text)
        or STOP_CODES.get((task.stop_code or "").lower())
        or _match(START_RULES, text)
        or _confessed(told)
        or _of_exit(task.exit_code, silent=_silent(text))
        or _of_silence(task, text)
    )
    retry = FAILURES[code].retry
    if code == "UNCLASSIFIED" and not (ran or _ran(task)):
        retry = Retry.NEW_ATTEMPT
    if told and code in BUILDER_EXIT_CODES.values():
        evidence = _evidence("\n".join(told.last_lines), tail=True) or _facts(task)
        return Diagnosis(_failure(code, evidence, told if told.code == code else None), retry)
    return Diagnosis(_failure(code, _facts(task)), retry)


def diagnose_start(code: str, message: str = "", status: int = 0) -> Diagnosis:
    """Why RunTask did not start a task: an exception's code, message and HTTP status, or failures[]."""
    text = _fold(code, message)
    evidence = _evidence(": ".join(filter(None, (code, message))))
    found = _match(RUN_TASK_RULES, text) or _match(START_RULES, text) or _match(REST_RULES, text)
    if found:
        return Diagnosis(_failure(found, evidence), FAILURES[found].retry)
    if 400 <= status < 500:
        return Diagnosis(_failure("UNCLASSIFIED", evidence), Retry.NO)
    # A failures[].reason is in capitals or a sentence: RunTask has answered, and its token is used up.
    answered = bool(code) and (code.isupper() or " " in code.strip())
    return Diagnosis(_failure("UNCLASSIFIED", evidence), Retry.NEW_ATTEMPT if answered else Retry.SAME_TOKEN)


def failure(code: str) -> Failure:
    """The failure that a code stands for, where there is no text to prove it."""
    return _failure(code, "")


def _of_builder(exit_code: int | None) -> str | None:
    return None if exit_code is None else BUILDER_EXIT_CODES.get(exit_code)


def _confessed(told: BuilderFailure | None) -> str | None:
    """What the builder says without its exit code: believed where a forger gains nothing by it."""
    if told and told.code in BUILDER_EXIT_CODES.values() and FAILURES[told.code].blame is Blame.USER:
        return told.code
    return None


def _of_exit(exit_code: int | None, *, silent: bool) -> str | None:
    """What the exit code alone means; an end by a signal or without error is unclassified beside an unknown meaning."""
    if exit_code is None:
        return None
    if exit_code in {0, 137, 143} and not silent:
        return "UNCLASSIFIED"
    return EXIT_CODES.get(exit_code, "UNCLASSIFIED")


def _of_silence(task: Task, text: str) -> str:
    """What an end without exit code and known reason means."""
    if not _silent(text):
        return "UNCLASSIFIED"
    return "EXIT_CODE_MISSING" if "essential container" in text or _exited(task) else "TASK_LOST"


def _ran(task: Task) -> bool:
    return task.exit_code is not None or task.started_at is not None or _exited(task)


def _exited(task: Task) -> bool:
    return (task.stop_code or "").lower() == "essentialcontainerexited"


def _silent(text: str) -> bool:
    """Whether ECS gives no reason, or only says that a container ended."""
    return "essential container" in text or text.strip(": .") in {"", "unknown", "task failed to start"}


def _match(rules: Iterable[Rule], text: str) -> str | None:
    for code, patterns in rules:
        for pattern in patterns:
            if all(part in text for part in pattern.split(" … ")):
                return code
    return None


def _fold(*texts: str | None) -> str:
    """The texts in the form that rules match; see Rule."""
    ends = (f"{text[: _MAX_READ // 2]} {text[-_MAX_READ // 2 :]}" if len(text) > _MAX_READ else text
            for text in texts if text)  # fmt: skip
    folded = (" ".join(text.translate(_FOLDS).lower().split()) for text in ends)
    return f": {': '.join(filter(None, folded))} "


def _failure(code: str, evidence: str, told: BuilderFailure | None = None) -> Failure:
    meaning = FAILURES[code]
    message = _sentence(told.message) if told else ""
    fix = _sentence(told.fix) if told else ""
    return Failure(code, meaning.blame, message or meaning.message, fix or meaning.fix, evidence)


def _facts(task: Task) -> str:
    exit_code = "" if task.exit_code is None else f"exit code {task.exit_code}"
    given = (exit_code, task.stop_code, task.container_reason, task.stopped_reason)
    return _evidence("\n".join(filter(None, given))) or f"{task.last_status} without exit code, stop code or reason"


def _sentence(text: str) -> str:
    return " ".join(_clean(text[:_MAX_READ]).split())[:_MAX_SENTENCE]


def _evidence(text: str, *, tail: bool = False) -> str:
    """The beginning of the text, or its end, without credentials."""
    if len(text) > _MAX_READ:  # a word cut in two could be half a credential, so it goes
        text = text[-_MAX_READ:] if tail else text[:_MAX_READ]
        text = (text.partition("\n")[2] if tail else text.rpartition(" ")[0]) or text
    clean = _clean(text).strip()
    if len(clean) <= MAX_EVIDENCE:
        return clean
    return f"…{clean[1 - MAX_EVIDENCE :]}" if tail else f"{clean[: MAX_EVIDENCE - 1]}…"


def _clean(text: str) -> str:
    """The text without credentials, colours, control characters and what UTF-8 cannot hold."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).translate(_CONTROLS)
    text = re.sub(r"://[^\s/?#]*@", "://", text)
    text = re.sub(r"(https?://[^\s?\"'<>]*)\?[^\s\"'<>]*", r"\1?…", text, flags=re.IGNORECASE)
    return re.sub(r"(x-amz-[a-z-]{1,40}[\"']?\s?(?:[=:]|%3d)\s?[\"']?)[^\s\"'<>&]+", r"\1…", text, flags=re.IGNORECASE)

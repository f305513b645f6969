"""Why a build did not become a site, and whether another attempt helps."""

import re
from collections.abc import Iterable

from tidegate.model import BuilderFailure, Diagnosis, Failure, Result, Task
from tidegate.reasons import (
    BUILDER_EXIT_CODES,
    EXIT_CODES,
    MEMORY_RULES,
    REASONS,
    RUN_TASK_RULES,
    START_RULES,
    STOP_CODES,
    STOP_RULES,
    UNCERTAIN_RULES,
    Rule,
)
from tidegate.status import Blame, Retry

MAX_EVIDENCE = 2000
_MAX_SENTENCE = 500
_MAX_MATCHED = 8192  # ECS cuts its texts at 1,024

# Quotation marks, back-slashes and invisible characters differ between the sources of one text.
_DROPPED = dict.fromkeys(map(ord, "'\"`\\´‘’‚‛“”„‟′″«»\u200b\u200c\u200d\u2060\ufeff\u00ad"))
_FOLDED = {**_DROPPED, **dict.fromkeys(map(ord, "‐‑‒–—"), "-")}
_CONTROLS = dict.fromkeys(code for code in range(32) if code not in (9, 10))

# What the neutral sentence of an ordinary end says; it explains nothing.
_SAYS_NOTHING = ("", "essential container in task exited", "unknown")


def diagnose_task(task: Task, result: Result | None = None) -> Diagnosis:
    """Why an ended task is not a success, and whether a new attempt helps.

    `result` must be of this build and attempt. Build code may have forged it, so blame and retry never come from
    it: it can only explain what the exit code says, or put the blame on the user.
    """
    told = result.failure if result else None
    reasons = [text for text in (task.container_reason, task.stopped_reason) if text]
    text = _fold(*reasons)
    code = (
        _match(MEMORY_RULES, text)
        or BUILDER_EXIT_CODES.get(_exit_code(task))
        or _match(STOP_RULES, text)
        or STOP_CODES.get((task.stop_code or "").lower())
        or _match(START_RULES, text)
        or _told_code(told)
        or EXIT_CODES.get(_exit_code(task))
    )
    if told and told.code == code:
        return _diagnosis(code, _evidence(told.last_lines, tail=True) or _task_evidence(task), told=told)
    evidence = _task_evidence(task)
    if code:
        return _diagnosis(code, evidence)
    if task.exit_code is None and all(_bare(reason) in _SAYS_NOTHING for reason in reasons):
        return _diagnosis("TASK_LOST", evidence)
    ran = task.exit_code is not None or task.started_at is not None
    return _diagnosis("UNCLASSIFIED", evidence, Retry.NO if ran else Retry.NEW_ATTEMPT)


def diagnose_start(code: str, message: str = "") -> Diagnosis:
    """Why RunTask did not start a task: an exception's code and message, or failures[].reason (and its detail)."""
    evidence = _evidence((code, message), separator=": ")
    text = _fold(code, message)
    found = _match(RUN_TASK_RULES, text) or _match(START_RULES, text) or _match(UNCERTAIN_RULES, text)
    if found:
        return _diagnosis(found, evidence)
    # A failures[].reason is a sentence or in capitals: the call was answered, so its token is used up.
    answered = bool(code) and (" " in code.strip() or code.isupper())
    return _diagnosis("UNCLASSIFIED", evidence, Retry.NEW_ATTEMPT if answered else Retry.SAME_TOKEN)


def _exit_code(task: Task) -> int:
    return -1 if task.exit_code is None else task.exit_code


def _told_code(told: BuilderFailure | None) -> str | None:
    """The builder's word without its exit code counts only where a forger gains nothing by it."""
    known = told is not None and told.code in BUILDER_EXIT_CODES.values()
    return told.code if told and known and REASONS[told.code].blame is Blame.USER else None


def _match(rules: Iterable[Rule], text: str) -> str | None:
    for code, patterns in rules:
        for pattern in patterns:
            if all(part in text for part in pattern.split(" … ")):
                return code
    return None


def _bare(text: str) -> str:
    return " ".join(text.translate(_FOLDED).lower().split()).strip(" .")


def _fold(*texts: str | None) -> str:
    """One lower-case line of the texts, without what differs by source; see Rule."""
    parts = []
    for text in texts:
        if text:
            short = text if len(text) <= _MAX_MATCHED else f"{text[: _MAX_MATCHED // 2]} {text[-_MAX_MATCHED // 2 :]}"
            parts.append(" ".join(short.translate(_FOLDED).lower().split()))
    return f": {': '.join(parts)} "


def _diagnosis(code: str, evidence: str, retry: Retry | None = None, told: BuilderFailure | None = None) -> Diagnosis:
    reason = REASONS[code]
    message = _sentence(told.message) if told else ""
    fix = _sentence(told.fix) if told else ""
    failure = Failure(code, reason.blame, message or reason.message, fix or reason.fix, evidence)
    return Diagnosis(failure, reason.retry if retry is None else retry)


def _sentence(text: str | None) -> str:
    return " ".join(_clean(text or "").split())[:_MAX_SENTENCE]


def _task_evidence(task: Task) -> str:
    exit_code = None if task.exit_code is None else f"exit code {task.exit_code}"
    return _evidence((exit_code, task.stop_code, task.container_reason, task.stopped_reason))


def _evidence(texts: Iterable[str | None], *, tail: bool = False, separator: str = "\n") -> str:
    text = _clean(separator.join(text for text in texts if text)).strip()
    if len(text) <= MAX_EVIDENCE:
        return text
    return f"…{text[1 - MAX_EVIDENCE :]}" if tail else f"{text[: MAX_EVIDENCE - 1]}…"


def _clean(text: str) -> str:
    """The text without credentials, control characters and what UTF-8 cannot hold."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).translate(_CONTROLS)
    text = re.sub(r"(?<=://)[^\s/?#@]*@(?:[^\s/?#@]*@)*", "", text)
    text = re.sub(r"(?<=[^\s?]\?)[^\s?\"'<>]*x-amz-[^\s\"'<>]*", "…", text, flags=re.IGNORECASE)
    return re.sub(r"(x-amz-[a-z-]{1,40}\W{0,5}(?:3d)?)[\w%+/=.-]+", r"\1…", text, flags=re.IGNORECASE)

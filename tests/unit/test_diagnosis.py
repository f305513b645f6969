"""Each known reason has its answer, however its text is worded, cut or wrapped; each unknown one has one too."""

# ruff: noqa: RUF001 (AWS quotes with typographic marks)

import itertools
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tidegate.diagnosis import MAX_EVIDENCE, diagnose_start, diagnose_task
from tidegate.failures import FAILURES
from tidegate.model import MAX_ATTEMPTS, BuilderFailure, Diagnosis, Result, Task
from tidegate.reasons import (
    BUILDER_EXIT_CODES,
    EXIT_CODES,
    MEMORY_RULES,
    REST_RULES,
    RUN_TASK_RULES,
    START_RULES,
    STOP_CODES,
    STOP_RULES,
)
from tidegate.status import Blame, Retry

ROOT = Path(__file__).parents[2]
ROWS = {row["id"]: row for row in json.loads((Path(__file__).parent / "data" / "ecs_reasons.json").read_text("utf-8"))}

# What each row of ecs_reasons.json means to Tidegate: row, failure code, blame, retry.
EXPECTED = {
    row: (code, Blame(blame), Retry(retry))
    for row, code, blame, retry in (
        line.split(maxsplit=3)
        for line in """
R001  EXIT_CODE_MISSING               platform  no
R002  STOPPED_OUTSIDE                 user      no
R003  SCHEDULER_STOPPED               config    no
R004  HEALTH_CHECK_FAILED             user      no
R005  HEALTH_CHECK_FAILED             user      no
R006  SPOT_INTERRUPTED                platform  new attempt
R007  HOST_LOST                       platform  new attempt
R008  HOST_LOST                       platform  new attempt
R009  HOST_MAINTENANCE                platform  new attempt
R010  HOST_DEREGISTERED               config    new attempt
R011  RESULT_MISSING                  platform  no
R012  COMMAND_FAILED                  user      no
R013  COMMAND_FAILED                  user      no
R014  CONTAINER_RUNTIME_FAILED        platform  new attempt
R015  COMMAND_NOT_EXECUTABLE          user      no
R016  COMMAND_NOT_FOUND               user      no
R017  STOPPED_OUTSIDE                 user      no
R018  PROCESS_ABORTED                 user      no
R019  PROCESS_KILLED                  user      no
R020  PROCESS_CRASHED                 user      no
R021  TERMINATED                      platform  no
R022  COMMAND_FAILED                  user      no
R023  TASK_LOST                       platform  new attempt
R024  IMAGE_NOT_FOUND                 config    no
R025  IMAGE_NOT_FOUND                 config    no
R026  IMAGE_REGISTRY_UNREACHABLE      config    new attempt
R027  IMAGE_REGISTRY_UNREACHABLE      config    new attempt
R028  IMAGE_ACCESS_DENIED             config    no
R029  IMAGE_REGISTRY_UNREACHABLE      config    new attempt
R030  IMAGE_TOO_LARGE                 config    no
R031  IMAGE_RATE_LIMITED              platform  new attempt
R032  IMAGE_REGISTRY_ERROR            platform  new attempt
R033  IMAGE_NOT_FOUND                 config    no
R034  IMAGE_REGISTRY_UNREACHABLE      config    new attempt
R035  IMAGE_REGISTRY_UNREACHABLE      config    new attempt
R036  IMAGE_PULL_CANCELED             config    no
R037  IMAGE_WRONG_PLATFORM            config    no
R038  IMAGE_INVALID                   config    no
R039  IMAGE_REGISTRY_ERROR            platform  new attempt
R040  IMAGE_INVALID                   config    no
R041  IMAGE_ACCESS_DENIED             config    no
R042  SECRET_NOT_FOUND                user      no
R043  SECRET_ACCESS_DENIED            config    no
R044  SECRET_NOT_FOUND                user      no
R045  SERVICE_UNREACHABLE             config    new attempt
R046  IMAGE_REGISTRY_UNREACHABLE      config    new attempt
R047  SERVICE_UNREACHABLE             config    new attempt
R048  SECRET_NOT_FOUND                user      no
R049  START_THROTTLED                 platform  new attempt
R050  RESOURCE_INITIALIZATION_FAILED  platform  new attempt
R051  ENV_FILE_UNAVAILABLE            config    no
R052  LOG_GROUP_MISSING               config    no
R053  LOG_GROUP_MISSING               config    no
R054  SERVICE_UNREACHABLE             config    new attempt
R055  LOG_SETUP_INVALID               config    no
R056  VOLUME_MOUNT_FAILED             config    new attempt
R057  NETWORK_SETUP_FAILED            platform  new attempt
R058  ENTRYPOINT_INVALID              config    no
R059  NETWORK_SETUP_FAILED            platform  new attempt
R060  STORAGE_SETUP_FAILED            platform  new attempt
R061  SUBNET_FULL                     config    wait
R062  TAG_POLICY_VIOLATED             config    no
R063  SERVICE_ROLE_INVALID            config    no
R064  NETWORK_SETUP_FAILED            platform  new attempt
R065  START_THROTTLED                 platform  new attempt
R066  NETWORK_SETUP_FAILED            platform  new attempt
R067  NETWORK_SETUP_FAILED            platform  new attempt
R068  CAPACITY_UNAVAILABLE            platform  wait
R069  SPOT_UNAVAILABLE                platform  new attempt
R070  TASK_DEFINITION_INVALID         config    no
R071  PLATFORM_ERROR                  platform  new attempt
R072  PLATFORM_ERROR                  platform  new attempt
R073  SERVICE_DISCOVERY_FAILED        config    new attempt
R074  HOST_UNREACHABLE                platform  new attempt
R075  CAPACITY_UNAVAILABLE            platform  wait
R076  PLACEMENT_IMPOSSIBLE            config    no
R077  OUT_OF_MEMORY                   user      no
R078  CONTAINER_RUNTIME_FAILED        platform  new attempt
R079  COMMAND_NOT_FOUND               user      no
R080  CONTAINER_SETUP_INVALID         config    no
R081  CONTAINER_RUNTIME_FAILED        platform  new attempt
R082  CONTAINER_RUNTIME_FAILED        platform  new attempt
R083  CONTAINER_STOP_FAILED           platform  no
R084  CONTAINER_RUNTIME_FAILED        platform  new attempt
R085  CONTAINER_SETUP_INVALID         config    no
R086  CONTAINER_SETUP_INVALID         config    no
R087  CONTAINER_RUNTIME_FAILED        platform  new attempt
R088  DEPENDENCY_FAILED               user      no
R089  STOPPED_OUTSIDE                 user      no
R090  CONTAINER_SETUP_INVALID         config    no
R091  SECRET_NOT_FOUND                user      no
R092  NETWORK_SETUP_FAILED            platform  new attempt
R093  CAPACITY_UNAVAILABLE            platform  wait
R094  HOST_UNREACHABLE                platform  new attempt
R095  PLACEMENT_IMPOSSIBLE            config    no
R096  CAPACITY_UNAVAILABLE            platform  wait
R097  TASK_NOT_VISIBLE                platform  same token
R098  THROTTLED                       platform  same token
R099  THROTTLED                       platform  same token
R100  SIZE_INVALID                    user      no
R101  NETWORK_CONFIG_INVALID          config    no
R102  NETWORK_CONFIG_INVALID          config    no
R103  PLACEMENT_IMPOSSIBLE            config    no
R104  TASK_DEFINITION_INVALID         config    no
R105  NETWORK_CONFIG_INVALID          config    no
R106  TASK_DEFINITION_INVALID         config    no
R107  SETTINGS_TOO_LARGE              user      no
R108  TASK_DEFINITION_MISSING         config    no
R109  ROLE_NOT_ASSUMABLE              config    new attempt
R110  QUOTA_REACHED                   platform  wait
R111  QUOTA_REACHED                   platform  wait
R112  ACCESS_DENIED                   config    no
R113  PASS_ROLE_DENIED                config    no
R114  CLUSTER_NOT_FOUND               config    no
R115  TOKEN_CONFLICT                  config    no
R116  PLATFORM_VERSION_INVALID        config    no
R117  PLATFORM_VERSION_INVALID        config    no
R118  FEATURE_UNSUPPORTED             config    no
R119  ACCOUNT_BLOCKED                 platform  no
R120  START_UNCERTAIN                 platform  same token
""".strip().splitlines()
    )
}
RULES = (MEMORY_RULES, STOP_RULES, START_RULES, RUN_TASK_RULES, REST_RULES)
TEXT_ROWS = sorted(row for row in ROWS if ROWS[row]["where"] != "exitCode")
STOP_ROWS = [row for row in TEXT_ROWS if ROWS[row]["group"] != "RunTask API"]
START_ROWS = [row for row in TEXT_ROWS if ROWS[row]["group"] == "RunTask API"]

# Stand for "…" in a text: names as people give them, some of which look like reasons.
FILLS = (
    "",
    "service call has been retried 3 time(s)",
    "arn:aws:sts::111122223333:assumed-role/throttling-timeout/i-0abc",
    "111122223333.dkr.ecr.eu-west-1.amazonaws.com/unauthorized/not-found:forbidden-eof",
    "docker.io/acme/agent@sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
    "subnet-0f00d",
    "10.0.3.7:443",
    "RequestID: 3f1c",
    "日本語 🚢",
)
PREFIXES = ("", "TaskFailedToStart: ", "Task stopped: ", "STOPPED (", "Error: ", "builder: ", "\n\t ", "“")
QUOTES = ("‘’", "“”", "''", '""', "``", ('\\"', '\\"'))


def task(reason: str | None = None, exit_code: int | None = None, **more) -> Task:
    return Task("arn:aws:ecs:r:1:task/c/t", "b", 1, 3, "STOPPED", stopped_reason=reason, exit_code=exit_code, **more)


def failed(code: str, message: str = "", fix: str = "", lines: tuple[str, ...] = ()) -> Result:
    return Result("b", 1, ok=False, failure=BuilderFailure("build", code, message, fix, 1, lines))


def diagnose(row: str, text: str, *, container: bool = False) -> Diagnosis:
    if ROWS[row]["where"] == "exitCode":
        return diagnose_task(task(exit_code=int(text) if text.isdigit() else None))
    if row in START_ROWS:
        return diagnose_start(text)
    return diagnose_task(task(container_reason=text) if container else task(text))


def answer(diagnosis: Diagnosis) -> tuple[str, Blame, Retry]:
    return diagnosis.failure.code, diagnosis.failure.blame, diagnosis.retry


def alternatives(row: str) -> list[str]:
    """The texts a sample stands for: it joins them with " | " or " / "."""
    sample = ROWS[row]["sample"]
    if row == "R093":
        return [f"RESOURCE:{kind}" for kind in ("CPU", "MEMORY", "PORTS", "ENI", "GPU")]
    if row in {"R028", "R039", "R046"}:
        return [sample]
    if row == "R105":
        return ["The subnet ID ‘…’ does not exist", "The security group '…' does not exist"]
    if row == "R120":
        return [
            "ServerException",
            "503",
            "InternalFailure: 500",
            "ReadTimeoutError: Read timeout on endpoint URL: “…”",
            'ConnectTimeoutError: Connect timeout on endpoint URL: "…"',
            "EndpointConnectionError: Could not connect",
        ]
    head = "TaskFailedToStart: " if sample.startswith("TaskFailedToStart") else ""
    head = "ClientException: " if sample.startswith("ClientException") else head
    return [head + part.removeprefix(head) for part in re.split(r" [|/] ", sample)]


TEXTS = [(row, text) for row in TEXT_ROWS for text in (*alternatives(row), ROWS[row]["sample"])]


def reworded(sample: str, fill: str, quotes) -> str:
    pairs = iter(quotes * sample.count("‘") + quotes * sample.count("“"))
    text = re.sub("[‘’“”]", lambda _: next(pairs, "'"), sample)
    return text.replace("<image>", fill or "x").replace("…", fill)


def agrees(value: str, allowed: dict[str, set], got) -> bool:
    """Whether the answer is one the data's word allows; a word that is not definite allows all."""
    return value not in allowed or got in allowed[value]


@pytest.mark.parametrize("row", ROWS)
def test_every_row_has_its_answer(row):
    assert answer(diagnose(row, ROWS[row]["sample"])) == EXPECTED[row]


def test_expected_answers_agree_with_the_data():
    assert EXPECTED.keys() == ROWS.keys()
    assert len(ROWS) == 120
    config, platform = {Blame.CONFIG}, {Blame.PLATFORM}
    blames = {"user": {Blame.USER}, "config": config, "operator": config, "bug": config, "platform": platform}
    blames |= {"aws": platform, "aws quota": platform, "user/config": {*Blame} - platform}
    blames |= {"config/user": {*Blame} - platform, "aws/config": {*Blame} - {Blame.USER}}
    for row, (_, blame, retry) in EXPECTED.items():
        assert agrees(ROWS[row]["blame"], blames, blame), row
        match re.split("[;( ,]", ROWS[row]["retry"])[0], "SAME token" in ROWS[row]["retry"]:
            case "no", _:
                assert retry is Retry.NO, row
            case _, True:
                assert retry is Retry.SAME_TOKEN, row
            case "yes" | "once" | "backoff", _:
                assert retry in {Retry.NEW_ATTEMPT, Retry.WAIT}, row
            case word, _:
                assert word in {"depends", "see", "poll"}, row


@pytest.mark.parametrize(("row", "text"), TEXTS)
def test_variable_parts_change_nothing(row, text):
    for fill, quotes in itertools.product(FILLS, QUOTES):
        wording = reworded(text, fill, quotes)
        assert answer(diagnose(row, wording)) == EXPECTED[row], wording


@given(st.sampled_from(TEXTS), st.sampled_from(PREFIXES), st.sampled_from((str, str.upper, str.lower, str.title)))
def test_prefix_and_case_change_nothing(known, prefix, case):
    row, text = known
    assert answer(diagnose(row, case(prefix + text))) == EXPECTED[row]


@given(st.sampled_from([known for known in TEXTS if known[0] in STOP_ROWS]), st.booleans())
def test_a_container_may_tell_the_reason(known, neutral):
    row, text = known
    ended = task("Task failed to start" if neutral else None, container_reason=text)
    assert answer(diagnose_task(ended)) == EXPECTED[row]


@given(st.sampled_from(TEXTS), st.text(st.characters(codec="utf-8"), max_size=300), st.sampled_from((255, 1024, 10**5)))
def test_what_follows_the_head_may_be_cut(known, junk, length):
    row, text = known
    if len(text) < length:
        assert answer(diagnose(row, f"{text} 0x{junk.encode().hex()}"[:length])) == EXPECTED[row]


@pytest.mark.parametrize("row", TEXT_ROWS)
def test_a_cut_text_blames_no_user_for_what_is_not_his_fault(row):
    for text in alternatives(row):
        for length in range(len(text)):
            got = diagnose(row, text[:length])
            assert got.failure.blame in {Blame.CONFIG, Blame.PLATFORM, EXPECTED[row][1]}, text[:length]


@pytest.mark.parametrize(("code", "message"), [
    (code, message) for row in START_ROWS for code, _, message in [ROWS[row]["sample"].partition(": ")] if message
])  # fmt: skip
def test_code_and_message_may_come_apart(code, message):
    whole = f"An error occurred ({code}) when calling the RunTask operation (reached max retries: 4): {message}"
    assert answer(diagnose_start(code, message)) == answer(diagnose_start("", whole))


# Texts seen in public, in one or the other place, that are no row of the table.
@pytest.mark.parametrize(("text", "code"), [
    (("CannotPullContainerError: failed to resolve ref x/y:1: failed to authorize: failed to fetch anonymous token: "
     "401 Unauthorized"), "IMAGE_ACCESS_DENIED"),
    ("CannotPullContainerError: failed to resolve ref x: unexpected status code [manifests 1]: 403 Forbidden",
     "IMAGE_ACCESS_DENIED"),
    ("CannotPullContainerError: API error (404): repository 1.dkr.ecr/a/b not found", "IMAGE_NOT_FOUND"),
    ("CannotPullContainerError: containerd: pull command failed: failed to extract layer sha256:ab: context ca...",
     "IMAGE_PULL_CANCELED"),
    ("CannotPullContainerError: pull image manifest has been retried 7 time(s): failed to resolve ref",
     "IMAGE_PULL_FAILED"),
    ("CannotPullContainerError: Head https://r/v2/x: dial tcp: lookup r on 10.0.0.2:53: no such host",
     "IMAGE_REGISTRY_UNREACHABLE"),
    ("CannotStartContainerError: API error (400): OCI runtime create failed: exec: \"npm\": executable file not found",
     "COMMAND_NOT_FOUND"),
    ("CannotStartContainerError: exec format error", "IMAGE_WRONG_PLATFORM"),
    (("CannotStartContainerError: failed to initialize logging driver: failed to create Cloudwatch log stream: "
     "RequestError: send request failed caused by: Post https://logs: dial tcp 10.2.1.1:443: i/o time"),
     "SERVICE_UNREACHABLE"),
    (("ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: "
     "unable to retrieve ecr registry auth: retried 1 time(s): RequestError: send request failed"),
     "SERVICE_UNREACHABLE"),
    (("ResourceInitializationError: unable to pull secrets or registry auth: unable to retrieve ecr registry auth: "
     "AccessDeniedException: User is not authorized to perform: ecr:GetAuthorizationToken on resource: *"),
     "IMAGE_ACCESS_DENIED"),
    ("ResourceInitializationError: a wording of next year", "RESOURCE_INITIALIZATION_FAILED"),
    ("ECS was unable to assume the role 'arn:aws:iam::1:role/x' that was given for this task.", "ROLE_NOT_ASSUMABLE"),
    ("OutOfMemoryError: container killed due to memory usage", "OUT_OF_MEMORY"),
    ("RESOURCE:FPGA", "CAPACITY_UNAVAILABLE"),
])  # fmt: skip
def test_wordings_beyond_the_table(text, code):
    assert diagnose_task(task(text)).failure.code == code


@pytest.mark.parametrize(("code", "message", "expected"), [
    ("InvalidParameterException", "Security group sg-1 does not appear to belong to the VPC", "NETWORK_CONFIG_INVALID"),
    ("InvalidParameterException", "a new rule of ECS", "REQUEST_REFUSED"),
    ("ClientException", "Account is blocked", "ACCOUNT_BLOCKED"),
    ("ServerException", "An internal error has occurred", "START_UNCERTAIN"),
    ("ServerException", "ParamValidationError: Parameter validation failed", "REQUEST_REFUSED"),
    ("ServerException", "NoCredentialsError: Unable to locate credentials", "ACCESS_DENIED"),
    ("ServerException", "ConnectionClosedError: Connection was closed before a valid response", "START_UNCERTAIN"),
    ("AGENT", "arn:aws:ecs:r:1:container-instance/x", "HOST_UNREACHABLE"),
    ("RESOURCE:MEMORY", "", "CAPACITY_UNAVAILABLE"),
    ("Capacity is unavailable at this time. Please try again later", "", "CAPACITY_UNAVAILABLE"),
    ("Fargate Spot capacity is currently unavailable", "", "SPOT_UNAVAILABLE"),
    ("AccessDeniedException", ("User: arn:aws:sts::1:assumed-role/throttling-timeout/f is not authorized to perform: "
     "ecs:RunTask on resource: arn:aws:ecs:r:1:task-definition/iam:passrole"), "ACCESS_DENIED"),
])  # fmt: skip
def test_run_task_answers_beyond_the_table(code, message, expected):
    assert diagnose_start(code, message).failure.code == expected


@pytest.mark.parametrize(("code", "status", "retry"), [
    ("", 0, Retry.SAME_TOKEN),
    ("FutureException", 0, Retry.SAME_TOKEN),
    ("FutureException", 500, Retry.SAME_TOKEN),
    ("FutureException", 400, Retry.NO),
    ("FutureException", 499, Retry.NO),
    ("FUTURE", 0, Retry.NEW_ATTEMPT),
    ("Something new went wrong", 0, Retry.NEW_ATTEMPT),
])  # fmt: skip
def test_an_unknown_answer_of_run_task_starts_no_second_task(code, status, retry):
    diagnosis = diagnose_start(code, "says ECS", status)
    assert answer(diagnosis) == ("UNCLASSIFIED", Blame.PLATFORM, retry)
    assert diagnosis.failure.evidence == (f"{code}: says ECS" if code else "says ECS")


@pytest.mark.parametrize(("code", "status", "expected"), [
    ("ThrottlingException", 400, "THROTTLED"),
    ("429", 429, "THROTTLED"),
    ("408", 408, "START_UNCERTAIN"),
    ("RequestTimeout", 408, "START_UNCERTAIN"),
])  # fmt: skip
def test_a_refusal_that_is_known_is_not_unclassified(code, status, expected):
    assert answer(diagnose_start(code, "", status)) == (expected, Blame.PLATFORM, Retry.SAME_TOKEN)


NOW = datetime(2026, 11, 21, tzinfo=UTC)
EXITED = {"reason": "Essential container in task exited", "stop_code": "EssentialContainerExited"}
STOPPED = {"reason": "Task stopped by user", "stop_code": "UserInitiated"}


@pytest.mark.parametrize(("ended", "code", "retry"), [
    # reasons before exit codes
    (task(exit_code=1, container_reason="OutOfMemoryError: Container killed due to memory"), "OUT_OF_MEMORY", Retry.NO),
    (task(exit_code=106, container_reason="OutOfMemoryError: Container killed", **EXITED), "OUT_OF_MEMORY", Retry.NO),
    (task("Your Spot Task was interrupted.", 143, stop_code="SpotInterruption"), "SPOT_INTERRUPTED", Retry.NEW_ATTEMPT),
    (task("Your Spot Task was interrupted.", 0), "SPOT_INTERRUPTED", Retry.NEW_ATTEMPT),
    (task("Your Spot Task was interrupted.", 137), "SPOT_INTERRUPTED", Retry.NEW_ATTEMPT),
    (task("Host EC2 (instance i-1) terminated.", stop_code="UserInitiated"), "HOST_LOST", Retry.NEW_ATTEMPT),
    # stop codes without a reason that is known
    (task("new words", 143, stop_code="SpotInterruption"), "SPOT_INTERRUPTED", Retry.NEW_ATTEMPT),
    (task("new words", 137, stop_code="TerminationNotice"), "HOST_MAINTENANCE", Retry.NEW_ATTEMPT),
    (task("too dear", 137, stop_code="UserInitiated"), "STOPPED_OUTSIDE", Retry.NO),
    (task("too dear", stop_code="UserInitiated", container_reason="CannotPullContainerError: i/o timeout"),
     "STOPPED_OUTSIDE", Retry.NO),
    (task(None, 143, stop_code="ServiceSchedulerInitiated"), "SCHEDULER_STOPPED", Retry.NO),
    (task(exit_code=0, **STOPPED), "STOPPED_OUTSIDE", Retry.NO),
    (task(**STOPPED), "STOPPED_OUTSIDE", Retry.NO),
    # the builder's own word before who stopped what was left of the task
    (task(exit_code=105, **EXITED), "INSTALL_FAILED", Retry.NO),
    (task("Your Spot Task was interrupted.", 105), "INSTALL_FAILED", Retry.NO),
    # exit codes alone
    (task(exit_code=1, **EXITED), "COMMAND_FAILED", Retry.NO),
    (task(exit_code=143, **EXITED), "TERMINATED", Retry.NO),
    (task(exit_code=137, **EXITED), "PROCESS_KILLED", Retry.NO),
    (task(exit_code=0, **EXITED), "RESULT_MISSING", Retry.NO),
    (task(exit_code=120, **EXITED), "UNCLASSIFIED", Retry.NO),
    (task(exit_code=-7), "UNCLASSIFIED", Retry.NO),
    # unknown reasons
    (task("stopped by the tide", 137), "UNCLASSIFIED", Retry.NO),
    (task("stopped by the tide", 0), "UNCLASSIFIED", Retry.NO),
    (task("stopped by the tide", started_at=NOW), "UNCLASSIFIED", Retry.NO),
    (task("stopped by the tide", stop_code="TaskFailedToStart"), "UNCLASSIFIED", Retry.NEW_ATTEMPT),
    # no exit code and no reason
    (task(), "TASK_LOST", Retry.NEW_ATTEMPT),
    (task("Task failed to start", stop_code="TaskFailedToStart"), "TASK_LOST", Retry.NEW_ATTEMPT),
    (task(started_at=NOW), "TASK_LOST", Retry.NEW_ATTEMPT),
    (task(**EXITED), "EXIT_CODE_MISSING", Retry.NO),
])  # fmt: skip
def test_what_counts_first(ended, code, retry):
    diagnosis = diagnose_task(ended)
    assert (diagnosis.failure.code, diagnosis.retry) == (code, retry)


def test_builder_exit_codes_are_those_of_the_contract():
    rows = re.findall(
        r"^\| (1\d\d) \| `(\w+)` \| \w+ \| (\w+) \|", (ROOT / "docs/contract.md").read_text("utf-8"), re.MULTILINE
    )
    assert {int(exit_code): (code, blame) for exit_code, code, blame in rows} == {
        exit_code: (code, FAILURES[code].blame.value) for exit_code, code in BUILDER_EXIT_CODES.items()
    }


@pytest.mark.parametrize("exit_code", BUILDER_EXIT_CODES)
def test_the_builder_words_its_own_failure(exit_code):
    code = BUILDER_EXIT_CODES[exit_code]
    failure = diagnose_task(
        task(exit_code=exit_code, **EXITED), failed(code, "It broke.", "Mend it.", ("a", "b"))
    ).failure
    assert (failure.code, failure.message, failure.fix, failure.evidence) == (code, "It broke.", "Mend it.", "a\nb")
    assert failure.blame is FAILURES[code].blame
    alone = diagnose_task(task(exit_code=exit_code)).failure
    assert (alone.message, alone.evidence) == (FAILURES[code].message, f"exit code {exit_code}")


@pytest.mark.parametrize("told", ["BUILDER_ERROR", "OUT_OF_MEMORY", "NEVER_HEARD_OF"])
def test_a_forged_result_moves_neither_blame_nor_retry(told):
    forged = failed(told, "It was the platform.", "Pay less.", ("npm ERR!",))
    for exit_code in (106, 1, 137, None):
        ended = task(exit_code=exit_code, **EXITED)
        assert answer(diagnose_task(ended, forged)) == answer(diagnose_task(ended))
        assert diagnose_task(ended, forged).failure.message == diagnose_task(ended).failure.message
    assert diagnose_task(task(exit_code=106), forged).failure.evidence == "npm ERR!"


def test_a_result_may_take_the_blame_itself():
    assert diagnose_task(task(exit_code=1, **EXITED), failed("BUILD_FAILED")).failure.code == "BUILD_FAILED"
    spot = task("Your Spot Task was interrupted.", 143)
    assert diagnose_task(spot, failed("BUILD_FAILED")).failure.code == "SPOT_INTERRUPTED"


ANY_TEXT = st.one_of(st.none(), st.text(st.characters(), max_size=200), st.sampled_from([text for _, text in TEXTS]))
ANY_TASK = st.builds(
    task,
    ANY_TEXT,
    st.one_of(st.none(), st.integers(), st.sampled_from([*EXIT_CODES, *BUILDER_EXIT_CODES])),
    container_reason=ANY_TEXT,
    stop_code=st.one_of(ANY_TEXT, st.sampled_from(["UserInitiated", "SpotInterruption", "EssentialContainerExited"])),
    started_at=st.sampled_from([None, NOW]),
)
WORD = st.text(st.characters(), max_size=3000)
ANY_RESULT = st.one_of(
    st.none(),
    st.just(Result("b", 1, ok=True)),
    st.builds(failed, st.one_of(WORD, st.sampled_from(sorted(FAILURES))), WORD, WORD, st.lists(WORD).map(tuple)),
)


def check(diagnosis: Diagnosis) -> None:
    failure = diagnosis.failure
    assert failure.code in FAILURES
    assert failure.blame is FAILURES[failure.code].blame
    assert failure.message
    assert failure.fix
    assert len(failure.evidence) <= MAX_EVIDENCE
    assert max(len(failure.message), len(failure.fix)) <= 500
    (failure.message + failure.fix + failure.evidence).encode()
    if failure.blame is Blame.USER:
        assert diagnosis.retry is Retry.NO


@given(ANY_TASK, ANY_RESULT)
@example(task("\ud800" * 9000, container_reason=" " * 9000), None)
@example(task("x" * 10**6, 137), failed("BUILD_FAILED", "\n" * 9000, " ", ("\n" * 9000,)))
@example(task(exit_code=106), failed("BUILD_FAILED", lines=("https://" * 10**5, "x-amz-" * 10**5, "://" * 10**5)))
def test_every_task_has_a_diagnosis(ended, result):
    diagnosis = diagnose_task(ended, result)
    check(diagnosis)
    assert diagnosis.retry is not Retry.SAME_TOKEN


@given(ANY_TEXT, ANY_TEXT)
@example(" " * 9000, "\ud800" * 9000)
def test_every_answer_of_run_task_has_a_diagnosis(code, message):
    check(diagnose_start(code, message))


SIGNED = (
    "https://b.s3.amazonaws.com/jobs/1?X-Amz-Credential=KEYID%2F2026&X-Amz-Signature=5ec2e7&X-Amz-Security-Token=70ce"
)
SECRETS = ("KEYID", "5ec2e7", "70ce", "hunter2", "gh_t0ken")


@pytest.mark.parametrize("text", [
    SIGNED,
    f"failed to fetch {SIGNED}: 403",
    f'{{"url": "{SIGNED}"}}',
    "…&X-Amz-Signature=5ec2e7&X-Amz-Credential=KEYID",
    '"X-Amz-Signature": "5ec2e7", "x-amz-security-token":"70ce"',
    "x-amz-signature%3D5ec2e7",
    "fatal: could not read https://x-access-token:gh_t0ken@git.example.com/a.git",
    "fatal: could not read https://me:hunter2@x@git.example.com/a.git",
    "https://git.example.com/a.git?token=hunter2",
    "x " * 2000 + SIGNED,
])  # fmt: skip
def test_evidence_holds_no_credentials(text):
    for padding in ("", "y " * 4050, "y\n" * 4050):
        for failure in (
            diagnose_task(task(text + padding, container_reason=padding + text)).failure,
            diagnose_start("FutureException", text + padding).failure,
            diagnose_task(task(exit_code=106), failed("BUILD_FAILED", text, text, (text, padding, text))).failure,
        ):
            assert not [secret for secret in SECRETS if secret in failure.message + failure.fix + failure.evidence]


def test_evidence_shows_what_there_is():
    assert diagnose_task(task("stopped by the tide", 120, stop_code="New")).failure.evidence == (
        "exit code 120\nNew\nstopped by the tide"
    )
    assert diagnose_start("FutureException", "no more tide").failure.evidence == "FutureException: no more tide"
    lines = tuple(f"line {number}" for number in range(9999))
    evidence = diagnose_task(task(exit_code=106), failed("BUILD_FAILED", lines=lines)).failure.evidence
    assert evidence.startswith("…")
    assert evidence.endswith("line 9998")
    coloured = failed("BUILD_FAILED", lines=("\x1b[31mnpm\x1b[0m ERR!\r\x00",))
    assert diagnose_task(task(exit_code=106), coloured).failure.evidence == "npm ERR!"


def test_every_failure_can_happen():
    told = {rule.code for rules in RULES for rule in rules}
    told |= {*EXIT_CODES.values(), *BUILDER_EXIT_CODES.values(), *STOP_CODES.values()}
    decided = {
        "ENV_EXPIRED",
        "CANCELED",
        "SUPERSEDED",
        "WAIT_TIMED_OUT",
        "START_TIMED_OUT",
        "STOP_TIMED_OUT",
        "PUBLISH_TIMED_OUT",
    }
    assert told | decided | {"TASK_LOST", "EXIT_CODE_MISSING", "UNCLASSIFIED"} == FAILURES.keys()


def test_patterns_are_written_as_texts_are_folded():
    for rules in RULES:
        for _, patterns in rules:
            for pattern in patterns:
                assert pattern == pattern.lower()
                assert not set(pattern) & set("'\"`\\‘’“”()[]|")


def test_user_faults_are_never_tried_again():
    assert MAX_ATTEMPTS > 1
    assert all(meaning.retry is Retry.NO for meaning in FAILURES.values() if meaning.blame is Blame.USER)


def test_messages_and_fixes_are_sentences():
    for meaning in FAILURES.values():
        for sentence in (meaning.message, meaning.fix):
            assert sentence.endswith(".")
            assert sentence[0].isupper()


def test_docs_list_every_failure():
    words = {Retry.NO: "no", Retry.NEW_ATTEMPT: "new attempt", Retry.SAME_TOKEN: "same request", Retry.WAIT: "waits"}
    page = (ROOT / "docs/failures.md").read_text("utf-8")
    rows = {line.split("`")[1]: line for line in page.splitlines() if line.startswith("| `")}
    for code, blame, retry, message, fix in FAILURES.values():
        assert rows[code] == f"| `{code}` | {blame} | {words[retry]} | {message} | {fix} |"
    source = "".join(path.read_text("utf-8") for path in (ROOT / "layers/shared/tidegate").glob("*.py"))
    elsewhere = set(re.findall(r'Failure\(\s*(?:code=)?"([A-Z_]+)"', source))
    assert rows.keys() == FAILURES.keys() | elsewhere

"""The template's alarms and dashboard and docs/operations.md against what the functions really write to their logs."""

import ast
import importlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from msgspec.structs import replace

from scripts.events import BUILD, SITES_URL, cases, set_up
from tests.collector import Answer, Collector
from tests.fakes import FakeEcs, client_error
from tests.integration.test_event_files import CONTEXT
from tests.integration.test_sealing import FakeCloudWatch
from tests.unit.test_template import FUNCTIONS, SOURCE, of_type, properties, target
from tidegate import aws, builds, lifecycle, notes, queueing, reconciling, sealing, service, sink, slots, watching
from tidegate.status import Status

ROOT = Path(__file__).parents[2]
DOC = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
ALARMS = of_type("AWS::CloudWatch::Alarm")
_NUMBERS = {10: "ten", 11: "eleven", 12: "twelve", 13: "thirteen", 14: "fourteen"}
STACK = "tidegate-of-the-test"
STACK_NAME = {"Ref": "AWS::StackName"}
NOW = datetime(2026, 11, 21, 7, 30, tzinfo=UTC)
EVENTS = {case.name.removeprefix("task-state-change-"): case.event() for case in cases()}

# What AWS's services write themselves, and the dimensions they write it with.
AWS_METRICS = {
    "AWS/SQS": (["QueueName"], {"ApproximateNumberOfMessagesVisible"}),
    "AWS/Lambda": (["FunctionName"], {"Errors", "Throttles", "Duration", "DestinationDeliveryFailures"}),
    "AWS/DynamoDB": (["TableName"], {"ReadThrottleEvents", "WriteThrottleEvents"}),
    "AWS/Logs": (["LogGroupName", "DestinationType", "FilterName"], {"DeliveryErrors", "DeliveryThrottling"}),
    "AWS/ApiGateway": (
        ["ApiId"],
        {"Count", "4xx", "5xx", "ConnectCount", "MessageCount", "ClientError", "IntegrationError", "ExecutionError"},
    ),
}

Metric = tuple[str, frozenset[str]]  # name, names of its dimensions


@pytest.fixture
def written(
    ecs: FakeEcs, set_environment: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> set[Metric]:
    """All metrics that come of a handful of builds that meet every fate, as the functions print them."""
    set_environment("SITES_URL", SITES_URL)
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", STACK)
    set_up()
    five_minutes = timedelta(minutes=5)
    see(BUILD.id, "running", "running", "stopped-ok")
    for number, end in enumerate(("spot", "cannot-pull-image", "unknown-reason")):
        build = replace(BUILD, id=f"{BUILD.id[:-1]}{number}", updated_at=NOW - five_minutes)
        builds.create(build)
        see(build.id, f"stopped-{end}")
    builds.create(replace(BUILD, id=f"{BUILD.id[:-1]}P", status=Status.PUBLISHING, deadline=NOW + five_minutes))
    waiting = replace(BUILD, id=f"{BUILD.id[:-1]}Q", status=Status.QUEUED, task_arn=None, tasks=())
    builds.create(waiting)
    slots.release(*slots.holders())
    unknown = aws.to_item(aws.plain(replace(BUILD, id=f"{BUILD.id[:-1]}U"))) | {"status": {"S": "paused"}}
    aws.dynamodb().put_item(TableName="BuildsTable", Item=unknown)
    ecs.answers.append(client_error("Moonshine", "RunTask is drunk"))
    lifecycle.start(waiting, NOW, "api")
    sweep(monkeypatch)
    seal_with_a_gap(monkeypatch)
    send_lines(set_environment)
    return {metric for line in capsys.readouterr().out.splitlines() for metric in read_line(line)}


def sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the clock tick."""
    app = importlib.import_module("functions.reconciler.app")
    monkeypatch.setattr(app, "_now", lambda: NOW)
    app.handler({}, CONTEXT)


def seal_with_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let CloudWatch show the first lines of a log, and then no more for an hour."""
    cloudwatch = FakeCloudWatch()
    cloudwatch.lines, cloudwatch.page, cloudwatch.fault = ["one", "two", "three"], 2, (1, client_error("Down", "no"))
    monkeypatch.setattr(aws, "logs", lambda: cloudwatch)
    notes.watch(notes.Watch("0123456789abcdef0123456789abcdef", ended_at=NOW - timedelta(hours=1)), NOW)
    sealing.sweep(NOW)


def send_lines(set_environment: Any) -> None:
    """Let a log sink reject a line of a batch, and then a whole batch."""
    collector = Collector()
    rejected = b'{"partialSuccess": {"rejectedLogRecords": "1"}}'
    collector.answers.extend([Answer(200, rejected, {"Content-Type": "application/json"}), Answer(400)])
    set_environment("LOG_SINK_URL", collector.url)
    sink._link.cache_clear()
    handler = importlib.import_module("functions.log_forwarder.app").handler
    for name in ("log-forwarder-first-batch", "log-forwarder-next-batch"):
        with suppress(sink.Unsent):
            handler(EVENTS[name], CONTEXT)
    sink._link().pool.clear()
    sink._link.cache_clear()
    collector.close()


def see(build_id: str, *names: str) -> None:
    """Let the function see events of a build's task."""
    handler = importlib.import_module("functions.task_state_change.app").handler
    for name in names:
        handler({**EVENTS[name], "detail": {**EVENTS[name]["detail"], "startedBy": f"{build_id}/1"}}, CONTEXT)


def read_line(line: str) -> Iterator[Metric]:
    """The metrics of a line of CloudWatch's embedded metric format."""
    found = json.loads(line)
    for directive in found.get("_aws", {}).get("CloudWatchMetrics", []):
        assert directive["Namespace"] == "Tidegate"
        [names] = directive["Dimensions"]
        assert found["service"] == STACK
        for metric in directive["Metrics"]:
            assert metric["Unit"] == ("Seconds" if metric["Name"].endswith("Seconds") else "Count")
            assert all(isinstance(found[name], str) and found[name] for name in names)
            yield metric["Name"], frozenset(names)


def alarmed() -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """Alarm, namespace, metric, dimensions."""
    for name, alarm in ALARMS.items():
        parts = [each["MetricStat"]["Metric"] for each in alarm.get("Metrics", []) if "MetricStat" in each] or [alarm]
        for part in parts:
            values = {each["Name"]: each["Value"] for each in part["Dimensions"]}
            yield name, part["Namespace"], part["MetricName"], values


def widgets() -> list[dict[str, Any]]:
    """The dashboard's widgets, its parameters and references filled in as text."""
    [board] = of_type("AWS::CloudWatch::Dashboard").values()
    numbered = board["DashboardBody"]["Fn::Sub"].replace("${MaxConcurrentBuilds}", "10")
    found: list[dict[str, Any]] = json.loads(numbered)["widgets"]
    return found


def shown() -> Iterator[tuple[str, str, dict[str, str]]]:
    """Namespace, metric, dimensions of each row of the dashboard."""
    for widget in widgets():
        for row in widget["properties"].get("metrics", []):
            match row:
                case [{"expression": str(expression)}]:
                    pattern = r"SEARCH\('\{Tidegate,([\w,]+)\} MetricName=\"(\w+)\" service=\"([^\"]+)\"', 'Sum'\)"
                    search = re.fullmatch(pattern, expression)
                    assert search, expression
                    yield "Tidegate", search[2], dict.fromkeys(search[1].split(","), "") | {"service": search[3]}
                case [str(namespace), str(metric), *rest]:
                    texts = [each for each in rest if isinstance(each, str)]
                    yield namespace, metric, dict(zip(texts[::2], texts[1::2], strict=True))
                case _:
                    pytest.fail(f"a row of another kind: {row}")


# metrics


def test_alarms_watch_metrics_that_are_written(written: set[Metric]) -> None:
    ours = {(metric, frozenset(found)) for _, namespace, metric, found in alarmed() if namespace == "Tidegate"}
    assert len(ours) == 6
    assert ours <= written


def test_dashboard_shows_all_metrics_that_are_written(written: set[Metric]) -> None:
    assert {(metric, frozenset(found)) for namespace, metric, found in shown() if namespace == "Tidegate"} == written


def test_docs_list_all_metrics_that_are_written(written: set[Metric]) -> None:
    rows = re.findall(r"(?m)^\| (`\w+`[^|]*)\|([^|]*)\|[^|]*\|$", DOC.partition("## Metrics")[2].partition("\n## ")[0])
    listed = {
        (name, frozenset({"service", *re.findall(r"`(\w+)`", dimensions)}))
        for names, dimensions in rows
        for name in re.findall(r"`(\w+)`", names)
    }
    assert listed == written


def test_rows_are_this_stacks() -> None:
    for name, namespace, _, found in alarmed():
        if namespace == "Tidegate":
            assert found["service"] == STACK_NAME, name
    for namespace, metric, values in shown():
        if namespace == "Tidegate":
            assert values["service"] == "${AWS::StackName}", metric
    for name in FUNCTIONS:
        assert properties(name)["Environment"]["Variables"]["POWERTOOLS_SERVICE_NAME"] == STACK_NAME


def test_metrics_of_aws_have_their_own_dimensions() -> None:
    rows = [(namespace, metric, found) for _, namespace, metric, found in alarmed()] + list(shown())
    for namespace, metric, found in rows:
        if namespace != "Tidegate":
            dimensions, names = AWS_METRICS[namespace]
            assert metric in names
            assert list(found) == dimensions


def test_dimensions_take_their_values_from_fixed_lists() -> None:
    """`ignored` becomes the dimension `reason`: it is always written out in the code."""
    tree = ast.parse((ROOT / "layers/shared/tidegate/decision.py").read_text(encoding="utf-8"))
    reasons = [
        keyword.value
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        for keyword in call.keywords
        if keyword.arg == "ignored"
    ]
    assert len(reasons) > 20
    for reason in reasons:
        choices = [reason.body, reason.orelse] if isinstance(reason, ast.IfExp) else [reason]
        assert all(isinstance(choice, ast.Constant) for choice in choices), ast.unparse(reason)


# alarms


def test_every_dead_letter_queue_has_an_alarm() -> None:
    watched = {target(found["QueueName"]) for _, _, _, found in alarmed() if "QueueName" in found}
    # A failed sweep is made good by the next; ReconcilerSilentAlarm tells where none comes to its end.
    assert watched == set(of_type("AWS::SQS::Queue")) - {"FailedSweepsQueue"}


@pytest.mark.parametrize("name", ALARMS)
def test_alarm_says_where_to_and_what_missing_data_means(name: str) -> None:
    alarm = ALARMS[name]
    assert alarm["AlarmDescription"]
    assert alarm["TreatMissingData"] == ("breaching" if name == "ReconcilerSilentAlarm" else "notBreaching")
    nothing = {"Ref": "AWS::NoValue"}
    assert alarm["AlarmActions"] == [
        {"Fn::If": ["HasAlarmEmail", {"Ref": "AlarmTopic"}, nothing]},
        {"Fn::If": ["HasAlarmTopic", {"Ref": "AlarmTopicArn"}, nothing]},
    ]


def test_few_alarms() -> None:
    assert len(list(alarmed())) <= 14, "an account has ten for nothing; docs/operations.md counts them"
    assert f"{_NUMBERS[len(ALARMS)]} alarms\non {_NUMBERS[len(list(alarmed()))]} metrics" in DOC


@pytest.mark.parametrize("broken", [[], ["reconcile"], ["seal"], ["watch"], ["reconcile", "seal", "watch"]], ids=str)
def test_silence_is_of_a_metric_that_every_sweep_writes_last(
    broken: list[str], ecs: FakeEcs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A sweep of which any part fails is missed, as one that did not run, but no part keeps the others from running."""
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", STACK)
    done: list[str] = []

    def part(name: str, act: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            done.append(name)
            if name in broken:
                raise client_error("ThrottlingException", "Rate exceeded", name)
            return act(*args)

        return run

    for name, module, function in (
        ("reconcile", reconciling, "reconcile"),
        ("seal", sealing, "sweep"),
        ("watch", watching, "sweep"),
    ):
        monkeypatch.setattr(module, function, part(name, getattr(module, function)))
    with pytest.raises(ClientError) if broken else nullcontext():
        sweep(monkeypatch)
    assert done == ["reconcile", "watch", "seal"]
    alarm = ALARMS["ReconcilerSilentAlarm"]
    assert (alarm["Statistic"], alarm["Threshold"]) == ("Sum", 1)
    written = {name for line in capsys.readouterr().out.splitlines() for name, _ in read_line(line)}
    assert (alarm["MetricName"] in written) is not bool(broken)
    if "reconcile" not in broken:
        assert "OverdueBuilds" in written, "a sweep that fails tells it all the same"


def test_docs_name_every_alarm_once_and_no_other() -> None:
    rows = re.findall(r"(?m)^\| `(\w+Alarm)` \|", DOC)
    assert sorted(rows) == sorted(ALARMS)


# the dashboard


def test_dashboard_has_all_alarms_functions_tables_queues_and_apis() -> None:
    body = json.dumps(widgets())
    assert [widget["type"] for widget in widgets()].count("alarm") == 1
    for name in ALARMS:
        assert f"${{{name}.Arn}}" in body
    for kind, reference in [
        ("AWS::Lambda::Function", "${%s}"),
        ("AWS::DynamoDB::Table", "${%s}"),
        ("AWS::ApiGatewayV2::Api", "${%s}"),
        ("AWS::SQS::Queue", "${%s.QueueName}"),
    ]:
        for name in of_type(kind):
            assert reference % name in body


def test_widgets_neither_overlap_nor_stand_out() -> None:
    taken = [
        (column, row)
        for each in widgets()
        for column in range(each["x"], each["x"] + each["width"])
        for row in range(each["y"], each["y"] + each["height"])
    ]
    assert len(set(taken)) == len(taken)
    assert max(column for column, _ in taken) == 23


# the handbook


def test_docs_name_what_there_is() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for goal in set(re.findall(r"`make (\w+)|^    make (\w+)", DOC, re.MULTILINE)):
        assert f"\n{''.join(goal)}: " in makefile
    known = {*SOURCE["Parameters"], *SOURCE["Outputs"], *SOURCE["Resources"]}
    for name in re.findall(r"(?:output |<of output |<)`?([A-Z]\w+)", DOC):
        assert name in known
    for parameter in ("AlarmEmail", "AlarmTopicArn", "MaxConcurrentBuilds", "SpotShare", "BuildCpu", "BuilderImage"):
        assert f"`{parameter}" in DOC or f"{parameter}=" in DOC
        assert parameter in SOURCE["Parameters"]


def test_docs_name_what_stays() -> None:
    kept = {name for name, each in SOURCE["Resources"].items() if "Retain" in each.get("DeletionPolicy", "")}
    removing = DOC.partition("## Removing the stack")[2]
    assert set(re.findall(r"<(\w+)>", removing)) == kept


def test_queries_ask_for_what_is_logged() -> None:
    modules = (lifecycle, queueing, reconciling, service, watching)
    source = "".join(Path(module.__file__).read_text(encoding="utf-8") for module in modules)
    queries = DOC.partition("### Queries")[2].partition("\n### ")[0]
    for message in re.findall(r'message = "([^"]+)"', queries):
        assert f'"{message}"' in source
    lines = re.findall(r"(?m)^    (?:fields|.* by) (.*)", queries)
    asked = {name for line in lines for name in re.findall(r"(?<!@)\b[a-z_]+\b", re.sub(r"coalesce| as \w+", "", line))}
    logged = {name for pair in re.findall(r"\b(\w+)=|\"(\w+)\":", source) for name in pair}
    assert len(asked) > 8
    assert asked - {"message"} <= logged

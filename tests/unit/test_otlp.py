"""OTLP as we write it against OpenTelemetry's own classes."""

from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse

from tidegate import otlp
from tidegate.model import LogLine

OBSERVED = 1_795_246_200_123_000_000
RESOURCE: dict[str, str | int | None] = {"service.name": "tidegate", "tidegate.build.attempt": 2, "none": None}

ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()))  # lone surrogates, too
LINES = st.builds(
    LogLine,
    id=st.one_of(st.integers(0, 10**56 - 1).map(lambda number: f"{number:056}"), ANY_TEXT),
    timestamp=st.integers(0, 2**63 // 1_000_000),
    message=st.one_of(
        ANY_TEXT, st.sampled_from(["", "\x1b[32m✓\x1b[0m", "50 %\r100 %", "\x00", "é" * 70, "x" * 20_000])
    ),
)


def shown(text: str) -> str:
    """What a receiver can be told of a text: half a surrogate pair is no character."""
    return text.encode("utf-8", "replace").decode()


def official(resource: dict[str, str | int | None], lines: list[LogLine]) -> ExportLogsServiceRequest:
    """The request as OpenTelemetry's classes make it, from the protocol's JSON."""

    def pair(name: str, value: str | int) -> dict[str, Any]:
        kind = "stringValue" if isinstance(value, str) else "intValue"
        return {"key": name, "value": {kind: shown(value) if isinstance(value, str) else str(value)}}

    records = [
        {
            "timeUnixNano": str(line.timestamp * 1_000_000),
            "observedTimeUnixNano": str(OBSERVED),
            "body": {"stringValue": shown(line.message)},
            "attributes": [pair("log.record.uid", line.id)],
        }
        for line in lines
    ]
    attributes = [pair(name, value) for name, value in resource.items() if value is not None]
    scoped = [{"scope": {"name": "tidegate"}, "logRecords": records}]
    body = {"resourceLogs": [{"resource": {"attributes": attributes}, "scopeLogs": scoped}]}
    return json_format.ParseDict(body, ExportLogsServiceRequest())


@given(
    st.lists(LINES, min_size=1, max_size=20),
    st.dictionaries(ANY_TEXT.map(shown), st.one_of(ANY_TEXT, st.integers(0, 2**63 - 1)), max_size=4),
)
def test_a_request_is_what_the_official_classes_make(
    lines: list[LogLine], resource: dict[str, str | int | None]
) -> None:
    [request] = otlp.requests(resource, lines, OBSERVED)
    assert ExportLogsServiceRequest.FromString(request) == official(resource, lines)


def test_what_is_not_known_is_left_out() -> None:
    [request] = otlp.requests(RESOURCE, [LogLine("1", 1, "one")], OBSERVED)
    [resource] = ExportLogsServiceRequest.FromString(request).resource_logs
    assert [each.key for each in resource.resource.attributes] == ["service.name", "tidegate.build.attempt"]


def test_no_lines_are_no_request() -> None:
    assert list(otlp.requests(RESOURCE, [], OBSERVED)) == []


@given(st.lists(st.integers(0, 3_000), min_size=1, max_size=60))
def test_requests_keep_the_limits_and_all_lines_in_order(sizes: list[int]) -> None:
    lines = [LogLine(f"{number:056}", number, "é" * (size * 40)) for number, size in enumerate(sizes)]
    requests = list(otlp.requests(RESOURCE, lines, OBSERVED))
    assert max(map(len, requests)) <= otlp.MAX_BYTES
    found = [
        record.body.string_value
        for request in requests
        for record in ExportLogsServiceRequest.FromString(request).resource_logs[0].scope_logs[0].log_records
    ]
    assert found == [line.message for line in lines]
    total = sum(len(line.message.encode()) for line in lines)
    assert len(requests) <= 1 + total // (otlp.MAX_BYTES - 250_000), "requests are filled"


def test_a_request_has_so_many_records_at_most() -> None:
    lines = [LogLine(str(number), number, "x") for number in range(2 * otlp.MAX_RECORDS + 1)]
    counts = [
        len(ExportLogsServiceRequest.FromString(request).resource_logs[0].scope_logs[0].log_records)
        for request in otlp.requests(RESOURCE, lines, OBSERVED)
    ]
    assert counts == [otlp.MAX_RECORDS, otlp.MAX_RECORDS, 1]


@given(st.integers(0, 2**63 - 1), st.text())
def test_an_answer_is_read_in_both_encodings(count: int, message: str) -> None:
    answer = ExportLogsServiceResponse()
    answer.partial_success.rejected_log_records = count
    answer.partial_success.error_message = message
    rejected = otlp.Rejected(count, message)
    assert otlp.rejected(answer.SerializeToString(), "application/x-protobuf") == rejected
    assert otlp.rejected(json_format.MessageToJson(answer).encode(), "application/json; charset=utf-8") == rejected


@pytest.mark.parametrize("kind", ["application/x-protobuf", "application/json", "text/html", ""])
@pytest.mark.parametrize(
    "answer", [b"", b"{}", b"OK", b'{"partialSuccess": null}', b"<html>", b"\x0a\x7f", b"\x0a\x02\x12\x05", b"\xff" * 9]
)
def test_an_answer_that_says_nothing_rejects_nothing(answer: bytes, kind: str) -> None:
    assert otlp.rejected(answer, kind) == otlp.Rejected()


@given(st.binary(max_size=200))
def test_any_answer_can_be_read(answer: bytes) -> None:
    assert isinstance(otlp.rejected(answer, ""), otlp.Rejected)

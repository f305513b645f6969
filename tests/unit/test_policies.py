"""Each function may do what its code can come to call, and nothing else; code and template are both read for it."""

import ast
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.unit.test_template import FUNCTIONS, as_list, of_type, statements
from tidegate import aws, chunks, idempotency, items, notes, slots
from tidegate.settings import Settings

ROOT = Path(__file__).parents[2]
LAYER = ROOT / "layers/shared/tidegate"
FOLDERS = {
    "ApiFunction": "api",
    "TaskStateChangeFunction": "task_state_change",
    "LogForwarderFunction": "log_forwarder",
    "ReconcilerFunction": "reconciler",
    "SitesFunction": "sites",
    "ViewersFunction": "viewers",
}
TABLES = {
    "builds_table": "BuildsTable",
    "projects_table": "ProjectsTable",
    "logs_table": "LogsTable",
    "connections_table": "ConnectionsTable",
}
ACTIONS = {  # where they are not the call's own name
    "connections:PostToConnection": "execute-api:ManageConnections",
    "functions:Invoke": "lambda:InvokeFunction",
    "s3_briefly:GetObject": "s3:GetObject",
    "secrets:GetSecretValue": "secretsmanager:GetSecretValue",
}

Call = tuple[str, str, str]  # action, and where it is DynamoDB's the table or index, and the keys if not any

# What the code below a function could call by its shape, but never does.
NEVER = {
    "ApiFunction": set[Call](),
    "TaskStateChangeFunction": set[Call](),
    "LogForwarderFunction": set[Call](),
    "ReconcilerFunction": set[Call](),
    "SitesFunction": set[Call](),
    "ViewersFunction": set[Call](),
}
# What comes with another action: the role that RunTask hands over, 404 in place of 403, the failure destination.
COMPANIONS = {"iam:PassRole", "s3:ListBucket", "sqs:SendMessage"}

# The partition keys that functions of the layer write, where not any key of the table: the operator of the condition,
# its value, and a call that shows it.
KEYS: dict[tuple[str, str], tuple[str, str, Callable[[], object]]] = {
    ("chunks", "_write"): ("StringNotLike", "~*", lambda: chunks._write(items.make("task", "1.a", "1", b"-", {}))),
    ("idempotency", "_take_over"): ("StringLike", "key:*", lambda: idempotency._take_over("k", 1, NOW)),
    ("idempotency", "claim"): ("StringLike", "key:*", lambda: idempotency.claim("k", "f", "b", "s", NOW)),
    ("idempotency", "finish"): ("StringLike", "key:*", lambda: idempotency.finish("k")),
    ("idempotency", "release"): ("StringLike", "key:*", lambda: idempotency.release("k")),
    ("notes", "unwatch"): ("StringEquals", "~unsealed", lambda: notes.unwatch("task")),
    ("notes", "watch"): ("StringEquals", "~unsealed", lambda: notes.watch(notes.Watch("task"), NOW)),
    ("slots", "acquire"): ("StringEquals", "slots", lambda: slots.acquire("b")),
    ("slots", "release"): ("StringEquals", "slots", lambda: slots.release("b")),
    ("slots", "sight"): ("StringEquals", "sightings", lambda: slots.sight({"arn"})),
}
NOW = datetime(2026, 11, 21, tzinfo=UTC)
WRITES = {"dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem"}
ANY_KEY = ""


@cache
def functions_of(module: str) -> dict[str, ast.FunctionDef | ast.ClassDef]:
    """A module's functions, and its classes: who uses one may come to call any of its methods."""
    tree = ast.parse((LAYER / f"{module}.py").read_text(encoding="utf-8"))
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}


MODULES = {path.stem for path in LAYER.glob("*.py")}


def mentioned(tree: ast.AST, module: str | None) -> Iterator[tuple[str, str]]:
    """The functions of the layer that the code names, as (module, function)."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id=other), attr=name) if other in MODULES and name in functions_of(other):
                yield other, name
            case ast.Name(id=name) if module and name in functions_of(module):
                yield module, name


def calls_of(module: str, function: ast.FunctionDef | ast.ClassDef) -> Iterator[Call]:
    """The calls of AWS that a function itself makes."""
    operator, key, _ = KEYS.get((module, function.name), (ANY_KEY, ANY_KEY, None))
    for action, table in _calls_of(function):
        yield action, table, f"{operator} {key}".strip() if action in WRITES else ANY_KEY


def _calls_of(function: ast.FunctionDef | ast.ClassDef) -> Iterator[tuple[str, str]]:
    source = re.sub(r"\s+", "", ast.unparse(function))
    tables = {TABLES[name] for name in re.findall(r"\.(\w+_table)\b", source)}
    for table in re.findall(r"aws\.create\(settings\(\)\.(\w+_table)\b", source):
        yield "dynamodb:PutItem", TABLES[table]
    for client, method, wanted in re.findall(r"""aws\.(\w+)\(\)\.(\w+)\(['"]?(\w*)""", source):
        name = wanted if method.startswith(("get_paginator", "generate")) else method
        name = {"head_object": "get_object"}.get(name, name)
        action = f"{client}:{''.join(part.title() for part in name.split('_'))}"
        if client != "dynamodb":
            yield ACTIONS.get(action, action), ""
            continue
        assert len(tables) == 1, f"{function.name}: which table?"
        yield action, tables.copy().pop() + ("/index" if "IndexName" in source else "")


def reachable(folder: str) -> set[Call]:
    """All calls of AWS that a function of the stack can come to."""
    todo = list(mentioned(ast.parse((ROOT / "functions" / folder / "app.py").read_text(encoding="utf-8")), None))
    seen = set(todo)
    found: set[Call] = set()
    while todo:
        module, name = todo.pop()
        found.update(calls_of(module, functions_of(module)[name]))
        new = set(mentioned(functions_of(module)[name], module)) - seen
        seen |= new
        todo += new
    return set(widest(found))


def widest(calls: set[Call]) -> Iterator[Call]:
    """The calls, of any key where there are several kinds: a condition names one."""
    for action, table, keys in calls:
        alone = {other for same, of_same, other in calls if (same, of_same) == (action, table)} == {keys}
        yield action, table, keys if alone else ANY_KEY


def allowed(function: str) -> set[Call]:
    """What the function's role and the policies attached to it allow."""
    role = {"Ref": f"{function}Role"}
    attached = {name for name, each in of_type("AWS::IAM::ManagedPolicy").items() if role in each["Roles"]}
    mine = {f"{function}Role"} | attached
    return {
        (action, _table(resource), _keys(each)) if action.startswith("dynamodb:") else (action, "", ANY_KEY)
        for name, each in statements()
        if name in mine
        for action in as_list(each["Action"])
        for resource in as_list(each["Resource"])
        if action not in COMPANIONS
    }


def _table(resource: Any) -> str:
    match resource:
        case {"Fn::GetAtt": [str(name), "Arn"]}:
            return name
        case {"Fn::Sub": str(pattern)} if found := re.fullmatch(r"\$\{(\w+)\.Arn\}/index/\*", pattern):
            return f"{found[1]}/index"
        case _:
            raise AssertionError(resource)


def _keys(statement: dict[str, Any]) -> str:
    match statement.get("Condition"):
        case None:
            return ANY_KEY
        case {**conditions} if len(conditions) == 1:
            [(operator, values)] = conditions.items()
            assert set(values) == {"dynamodb:LeadingKeys"}
            assert operator.startswith("ForAllValues:"), "the keys of a request are a list"
            [key] = as_list(values["dynamodb:LeadingKeys"])
            return f"{operator.removeprefix('ForAllValues:')} {key}"
        case other:
            raise AssertionError(other)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_function_may_do_what_its_code_calls(function: str) -> None:
    missing = reachable(FOLDERS[function]) - NEVER[function] - allowed(function)
    assert not missing, "the call would be denied: allow it, or say in NEVER why it is never made"


@pytest.mark.parametrize("function", FUNCTIONS)
def test_function_may_do_nothing_else(function: str) -> None:
    assert not allowed(function) - (reachable(FOLDERS[function]) - NEVER[function])


@pytest.mark.parametrize("function", FUNCTIONS)
def test_exceptions_are_still_exceptions(function: str) -> None:
    assert NEVER[function] <= reachable(FOLDERS[function])


@pytest.mark.parametrize("function", KEYS)
def test_keys_are_those_that_are_written(
    function: tuple[str, str], stack: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator, pattern, call = KEYS[function]
    written = []
    client: Any = aws.dynamodb()
    real = client._make_api_call

    def note(operation: str, wanted: dict[str, Any]) -> Any:
        names = {stack.logs_table: "taskId"}
        key = (wanted.get("Key") or wanted["Item"])[names.get(wanted["TableName"], "id")]["S"]
        written.append(key) if f"dynamodb:{operation}" in WRITES else None
        return real(operation, wanted)

    monkeypatch.setattr(client, "_make_api_call", note)
    call()
    assert written
    for key in written:
        alike = key.startswith(pattern[:-1]) if pattern.endswith("*") else key == pattern
        assert alike != (operator == "StringNotLike")


def test_calls_are_found() -> None:
    """The reader of the code sees plain calls, paginators, indexes and what lies several calls below."""
    found = reachable("reconciler")
    assert {
        ("dynamodb:Query", "BuildsTable/index", ANY_KEY),
        ("dynamodb:UpdateItem", "ProjectsTable", ANY_KEY),
        ("dynamodb:PutItem", "BuildsTable", "StringEquals sightings"),
        ("dynamodb:PutItem", "LogsTable", ANY_KEY),
        ("ecs:ListTasks", "", ANY_KEY),
        ("ecs:RunTask", "", ANY_KEY),
        ("s3:PutObject", "", ANY_KEY),
        ("sts:AssumeRole", "", ANY_KEY),
    } <= found
    assert {
        ("dynamodb:PutItem", "LogsTable", "StringNotLike ~*"),
        ("execute-api:ManageConnections", "", ANY_KEY),
        ("secretsmanager:GetSecretValue", "", ANY_KEY),
    } <= reachable("log_forwarder")

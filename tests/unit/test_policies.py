"""Each function may do what its code can come to call, and nothing else; code and template are both read for it."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.unit.test_template import FUNCTIONS, as_list, of_type, statements

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
    "secrets:GetSecretValue": "secretsmanager:GetSecretValue",
}

# What the code below a function could call by its shape, but never does.
NEVER = {
    "ApiFunction": set[tuple[str, str]](),
    "TaskStateChangeFunction": set[tuple[str, str]](),
    "LogForwarderFunction": set[tuple[str, str]](),
    "ReconcilerFunction": set[tuple[str, str]](),
    "SitesFunction": set[tuple[str, str]](),
    "ViewersFunction": set[tuple[str, str]](),
}
# What comes with another action: the role that RunTask hands over, 404 in place of 403, the failure destination.
COMPANIONS = {"iam:PassRole", "s3:ListBucket", "sqs:SendMessage"}

Call = tuple[str, str]  # action, and the table or index where it is DynamoDB's


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


def calls_of(function: ast.FunctionDef | ast.ClassDef) -> Iterator[Call]:
    """The calls of AWS that a function itself makes."""
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
        found.update(calls_of(functions_of(module)[name]))
        new = set(mentioned(functions_of(module)[name], module)) - seen
        seen |= new
        todo += new
    return found


def allowed(function: str) -> set[Call]:
    """What the function's role and the policies attached to it allow."""
    role = {"Ref": f"{function}Role"}
    attached = {name for name, each in of_type("AWS::IAM::ManagedPolicy").items() if role in each["Roles"]}
    mine = {f"{function}Role"} | attached
    return {
        (action, _table(resource) if action.startswith("dynamodb:") else "")
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


def test_calls_are_found() -> None:
    """The reader of the code sees plain calls, paginators, indexes and what lies several calls below."""
    found = reachable("reconciler")
    assert {
        ("dynamodb:Query", "BuildsTable/index"),
        ("dynamodb:UpdateItem", "ProjectsTable"),
        ("ecs:ListTasks", ""),
        ("ecs:RunTask", ""),
        ("s3:PutObject", ""),
        ("sts:AssumeRole", ""),
    } <= found
    assert {
        ("dynamodb:PutItem", "LogsTable"),
        ("execute-api:ManageConnections", ""),
        ("secretsmanager:GetSecretValue", ""),
    } <= reachable("log_forwarder")

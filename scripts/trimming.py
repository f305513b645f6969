"""Trim the layer's packages: data and code that no call of ours needs cost each cold start.

Where a package is not as expected, the build fails; tests compare the calls with those of the whole packages.
"""

import ast
import gzip
import json
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

# What the functions call, and what botocore needs for S3: HeadBucket where it is told of another region, and the model
# of CreateBucket to make a presigned POST.
SERVICES = {
    "apigatewaymanagementapi": {"PostToConnection"},
    "dynamodb": {"BatchGetItem", "DeleteItem", "GetItem", "PutItem", "Query", "Scan", "UpdateItem"},
    "ecs": {"DescribeTasks", "ListTasks", "RunTask", "StopTask"},
    "lambda": {"Invoke"},
    "logs": {"FilterLogEvents"},
    "s3": {"CreateBucket", "GetObject", "HeadBucket", "HeadObject", "PutObject"},
    "secretsmanager": {"GetSecretValue"},
    "sts": {"AssumeRole"},
}
ENDPOINTS = {*SERVICES, "execute-api"}  # endpoints.json also knows them under other names
# The roots of every AWS endpoint outside China: https://www.amazontrust.com/repository/
ROOTS = {
    "Amazon Root CA 1",
    "Amazon Root CA 2",
    "Amazon Root CA 3",
    "Amazon Root CA 4",
    "Starfield Services Root Certificate Authority - G2",
}
# Imports that cost much and that our services never need: where, the statement, and the one line that needs it.
DEFERRED = (
    ("urllib3/http2/__init__.py", "from importlib.metadata import version", '    h2_version = version("h2")'),
    (
        "botocore/docs/__init__.py",
        "from botocore.docs.service import ServiceDocumenter",
        "        docs = ServiceDocumenter(",
    ),
    (
        "botocore/docs/docstring.py",
        "from botocore.docs.bcdoc.restdoc import DocumentStructure",
        "        docstring_structure = DocumentStructure('docstring', target='html')",
    ),
    (
        "botocore/docs/docstring.py",
        "from botocore.docs.method import document_model_driven_method",
        "        document_model_driven_method(*args, **kwargs)",
    ),
    (
        "botocore/docs/docstring.py",
        "from botocore.docs.paginator import document_paginate_method",
        "        document_paginate_method(*args, **kwargs)",
    ),
    (
        "botocore/docs/docstring.py",
        "from botocore.docs.waiter import document_wait_method",
        "        document_wait_method(*args, **kwargs)",
    ),
)
# Each session looks through all of the second for each entry of the first.
TABLES = (("botocore/handlers.py", "BUILTIN_HANDLERS"), ("botocore/utils.py", "EVENT_ALIASES"))
# Packages that only bring together what their modules hold: the API needs three names, and `asyncio` comes with all.
COLLECTIONS = (
    "aws_lambda_powertools/event_handler/__init__.py",
    "aws_lambda_powertools/utilities/data_classes/__init__.py",
)
ON_DEMAND = """

def __getattr__(name):
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found = globals()[name] = getattr(import_module(_PLACES[name], __name__), name)
    return found
"""


def trim(packages: Path) -> None:
    """Leave of the packages what our calls need, e.g. of botocore's data no prose and no other calls."""
    botocore = packages / "botocore"
    for service in (path for path in (botocore / "data").iterdir() if path.is_dir()):
        if service.name not in SERVICES:
            shutil.rmtree(service)
            continue
        *outdated, newest = sorted(service.iterdir())
        for version in outdated:
            shutil.rmtree(version)
        for file in sorted(newest.iterdir()):
            _trim_data(file, SERVICES[service.name])
    endpoints = botocore / "data" / "endpoints.json"
    _write_json(endpoints, _without_other_services(json.loads(endpoints.read_bytes())))
    bundle = botocore / "cacert.pem"
    bundle.write_text(amazon_roots(bundle.read_text(encoding="ascii")), encoding="ascii")
    for name, statement, use in DEFERRED:
        _change(packages / name, partial(defer, statement=statement, use=use))
    for name, table in TABLES:
        _change(packages / name, partial(only_ours, table=table))
    for name in COLLECTIONS:
        _change(packages / name, on_demand)


def _change(source: Path, change: Callable[[str], str]) -> None:
    try:
        changed = change(source.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{source}: not as it was, look whether it still has to be changed: {error}") from error
    source.write_text(changed, encoding="utf-8")


def defer(source: str, statement: str, use: str) -> str:
    """The source with an import moved to the one line that uses it; ValueError if that is not so."""
    indent = use[: -len(use.lstrip())]
    moved = f"\n{indent}{statement}\n{use}"
    if moved in source:
        return source
    name = statement.rsplit(maxsplit=1)[-1]
    uses = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name) and node.id == name]
    if [source.count(f"\n{statement}\n"), source.count(f"\n{use}"), len(uses)] != [1, 1, 1]:
        raise ValueError(f"expected one {statement!r} and one use of it")
    return source.replace(f"\n{statement}\n", "\n").replace(f"\n{use}", moved)


def on_demand(source: str) -> str:
    """The source of a package that only imports from its modules, which now does so name by name, when asked.

    ValueError if it does anything else.
    """
    if ON_DEMAND in source:
        return source
    at_once: list[str] = []
    places: dict[str, str] = {}
    for node in ast.parse(source).body:
        match node:
            case ast.Expr(value=ast.Constant()) | ast.Assign(targets=[ast.Name(id="__all__")]):
                at_once.append(ast.unparse(node))
            case ast.ImportFrom(module=str(module), names=names, level=level):
                named = [each.name for each in names if each.asname is None]
                # A module hides what it holds under its own name.
                if module.rpartition(".")[2] in named or len(named) != len(names):
                    at_once.append(ast.unparse(node))
                else:
                    places |= dict.fromkeys(named, "." * level + module)
            case _:
                raise ValueError(f"expected imports from modules and __all__, not {ast.unparse(node)}")
    return "\n".join([*at_once, f"_PLACES = {places!r}", ON_DEMAND])


def only_ours(source: str, table: str) -> str:
    """The source with those entries of a table in it that concern our services; ValueError without such a table."""
    match [node for node in ast.parse(source).body if isinstance(node, ast.Assign) and _is_name(node.targets, table)]:
        case [ast.Assign(value=ast.List(elts=handlers)) as node]:
            kept = "[" + ", ".join(ast.unparse(each) for each in handlers if concerns(_event(each))) + "]"
        case [ast.Assign(value=ast.Dict() as aliases) as node]:
            kept = repr({name: alias for name, alias in ast.literal_eval(aliases).items() if name in SERVICES})
        case _:
            raise ValueError(f"expected one {table}")
    lines = source.splitlines(keepends=True)
    return "".join([*lines[: node.lineno - 1], f"{table} = {kept}\n", *lines[node.end_lineno :]])


def _is_name(targets: list[ast.expr], name: str) -> bool:
    return [target.id for target in targets if isinstance(target, ast.Name)] == [name]


def _event(handler: ast.expr) -> str:
    match handler:
        case ast.Tuple(elts=[ast.Constant(value=str(event)), *_]):
            return event
    raise ValueError(f"expected an event and its handler, not {ast.unparse(handler)}")


def concerns(event: str) -> bool:
    """Whether an event of botocore's can be one of our calls'; nobody asks for documentation."""
    kind, service, operation = [*event.split("."), "*", "*"][:3]
    ours = SERVICES if service == "*" else SERVICES.keys() & {service}
    return kind != "docs" and any(operation == "*" or operation in SERVICES[each] for each in ours)


def _trim_data(file: Path, operations: set[str]) -> None:
    if file.name.startswith("examples-"):
        file.unlink()
        return
    plain = file.with_suffix("") if file.suffix == ".gz" else file
    data = json.loads(gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes())
    file.unlink()
    if plain.name == "service-2.json":
        data = only(operations, data)
    # Of a client's own parameters, S3's, botocore reads the prose, too, and fails where there is none.
    kept = {name: part for name, part in data.items() if name == "clientContextParams"}
    _write_json(plain, _without_prose(data) | kept)


def only(operations: set[str], model: dict[str, Any]) -> dict[str, Any]:
    """A service's model with these operations and the shapes they need; ValueError if it lacks one."""
    if missing := operations - model["operations"].keys():
        raise ValueError(f"no such operations: {sorted(missing)}")
    kept = {name: operation for name, operation in model["operations"].items() if name in operations}
    todo, shapes = [*_shapes(kept)], {}
    while todo:
        name = todo.pop()
        if name not in shapes:
            shapes[name] = model["shapes"][name]
            todo += _shapes(shapes[name])
    return {**model, "operations": kept, "shapes": shapes}


def _shapes(value: Any) -> Iterator[str]:
    """The shapes that an operation or shape names; a member of that name is a dictionary."""
    if isinstance(value, dict):
        for key, part in value.items():
            if key == "shape" and isinstance(part, str):
                yield part
            else:
                yield from _shapes(part)
    elif isinstance(value, list):
        for part in value:
            yield from _shapes(part)


def _without_prose(value: Any) -> Any:
    """Without documentation; a member of that name is a dictionary."""
    if isinstance(value, dict):
        return {
            key: _without_prose(part)
            for key, part in value.items()
            if not (key == "documentation" and isinstance(part, str))
        }
    return [_without_prose(part) for part in value] if isinstance(value, list) else value


def _without_other_services(endpoints: dict[str, Any]) -> dict[str, Any]:
    for partition in endpoints["partitions"]:
        partition["services"] = {name: part for name, part in partition["services"].items() if name in ENDPOINTS}
    return endpoints


def _write_json(file: Path, value: Any) -> None:
    file.write_text(json.dumps(value, separators=(",", ":")), encoding="ascii")


def amazon_roots(bundle: str) -> str:
    """Amazon's roots out of a bundle that labels each; ValueError if one is missing."""
    found = {}
    for part in bundle.split("# Label: ")[1:]:
        label, _, rest = part.partition("\n")
        pem = rest[rest.index("-----BEGIN CERTIFICATE-----") :].partition("-----END CERTIFICATE-----")
        found[label.strip().strip('"')] = f"# Label: {label}\n{pem[0]}{pem[1]}\n"
    if missing := ROOTS - found.keys():
        raise ValueError(f"no root certificates of these names: {sorted(missing)}")
    return "".join(found[name] for name in sorted(ROOTS))

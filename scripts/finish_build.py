"""Make what `sam build` left ready to start fast: trim botocore, compile all Python, check both.

    python3.13 scripts/finish_build.py .aws-sam/build

Runs with the Lambda runtime's Python, as .pyc files fit one minor version only, and needs nothing but its library.
"""

import compileall
import gzip
import importlib.util
import json
import py_compile
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# What the functions call, and what botocore calls for S3 where it is told of another region.
SERVICES = {
    "apigatewaymanagementapi": {"PostToConnection"},
    "dynamodb": {"BatchGetItem", "DeleteItem", "GetItem", "PutItem", "Query", "Scan", "UpdateItem"},
    "ecs": {"DescribeTasks", "ListTasks", "RunTask", "StopTask"},
    "lambda": {"Invoke"},
    "logs": {"FilterLogEvents"},
    "s3": {"GetObject", "HeadBucket", "HeadObject", "PutObject"},
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
IMPORT = "from importlib.metadata import version\n"
USE = '    h2_version = version("h2")\n'
DEFERRED = "    " + IMPORT + USE


def main() -> None:
    """Trim, compile and check the build."""
    built = Path(sys.argv[1])
    layer = built / "SharedLayer"
    trim(layer / "python")
    # The times of files change on the way to Lambda, so nothing is checked against them.
    compile_folder(layer, "/opt")
    for function in sorted(built.glob("*Function")):
        compile_folder(function, "/var/task")
    if faults := list(check(built)):
        sys.exit("finish_build: the build is not fit to be deployed\n" + "\n".join(faults))


def trim(packages: Path) -> None:
    """Leave of botocore what our services need: their data without prose and other calls, and Amazon's roots."""
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
    http2 = packages / "urllib3" / "http2" / "__init__.py"
    http2.write_text(defer(http2.read_text(encoding="utf-8")), encoding="utf-8")


def defer(http2: str) -> str:
    """urllib3's HTTP/2, which nobody uses, with its import of package metadata where it is used; ValueError if not so.

    That import alone is two percent of a cold start, as it brings zip files, CSV and temporary files along.
    """
    if DEFERRED in http2:
        return http2
    if http2.count(IMPORT) != 1 or http2.count(USE) != 1:
        raise ValueError("urllib3's http2 is not as it was: look whether it still needs to be changed")
    return http2.replace(IMPORT, "").replace(USE, DEFERRED)


def _trim_data(file: Path, operations: set[str]) -> None:
    if file.name.startswith("examples-"):
        file.unlink()
        return
    plain = file.with_suffix("") if file.suffix == ".gz" else file
    data = json.loads(gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes())
    file.unlink()
    _write_json(plain, _without_prose(only(operations, data) if plain.name == "service-2.json" else data))


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


def compile_folder(folder: Path, where: str) -> None:
    """Compile all Python below a folder that is to lie at `where`."""
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    compileall.compile_dir(folder, stripdir=str(folder), prependdir=where, quiet=1, force=True, invalidation_mode=mode)


def check(built: Path) -> Iterator[str]:
    """What is wrong with the build."""
    sources = sorted(built.rglob("*.py"))
    if not sources:
        yield f"{built}: no Python"
    for source in sources:
        if not is_compiled(source):
            yield f"{source}: no valid .pyc"
    data = built / "SharedLayer" / "python" / "botocore" / "data"
    here = {path.name for path in data.iterdir() if path.is_dir()} if data.is_dir() else set()
    if here != set(SERVICES):
        yield f"{data}: has {sorted(here)}, not {sorted(SERVICES)}"


def is_compiled(source: Path) -> bool:
    """Whether this Python takes the source's .pyc without a look at the source, and it was made from it."""
    compiled = Path(importlib.util.cache_from_source(str(source)))
    if not compiled.is_file():
        return False
    unchecked_hash = (1).to_bytes(4, "little")
    header = importlib.util.MAGIC_NUMBER + unchecked_hash + importlib.util.source_hash(source.read_bytes())
    return compiled.read_bytes()[: len(header)] == header


if __name__ == "__main__":
    main()

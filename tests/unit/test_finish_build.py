"""Trimming, compiling and checking a build, with this Python: on a small tree, and on all that is shipped."""

import gzip
import json
import re
import shutil
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import botocore
import pytest
from botocore.httpsession import DEFAULT_CA_BUNDLE

from scripts import finish_build, trimming
from tests.benchmarks import cold_start
from tests.unit.test_template import SOURCE, of_type, properties

ROOT = Path(__file__).parents[2]
SITE = Path(botocore.__file__).parents[1]
SHAPES = {"Page": {"type": "structure", "members": {"documentation": {"shape": "Text"}}}, "Text": {"type": "string"}}


def model_of(service: str) -> dict[str, Any]:
    """A service's model as botocore brings it."""
    page = {"type": "structure", "members": {"documentation": {"shape": "Text", "documentation": "x"}}}
    used = {name: {"input": {"shape": "Page"}} for name in trimming.SERVICES.get(service, ())}
    return {
        "documentation": "<p>prose</p>",
        "operations": {**used, "Other": {"input": {"shape": "Other"}, "errors": [{"shape": "Error"}]}},
        "shapes": {**SHAPES, "Page": page, "Other": {"type": "string"}, "Error": {"type": "string"}},
    }


ENDPOINTS = {"partitions": [{"partition": "aws", "services": {"dynamodb": {}, "polly": {}}}]}


def write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


@pytest.fixture
def built(tmp_path: Path) -> Path:
    data = tmp_path / "SharedLayer" / "python" / "botocore" / "data"
    for service in (*trimming.SERVICES, "polly"):
        for version in ("2010-01-01", "2020-01-01"):
            write(data / service / version / "service-2.json.gz", gzip.compress(json.dumps(model_of(service)).encode()))
            write(data / service / version / "examples-1.json", "{}")
    write(data / "endpoints.json", json.dumps(ENDPOINTS))
    write(data.parent / "cacert.pem", Path(DEFAULT_CA_BUNDLE).read_bytes())
    write(data.parent / "__init__.py", "VERSION = 1\n")
    for name in {*(name for name, *_ in (*trimming.DEFERRED, *trimming.TABLES)), *trimming.COLLECTIONS}:
        write(data.parents[1] / name, (SITE / name).read_bytes())
    write(tmp_path / "ApiFunction" / "app.py", "def handler(): ...\n")
    return tmp_path


def finish(built: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "scripts.finish_build", str(built)]
    return subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)


def test_a_build_is_trimmed_compiled_and_found_fit(built: Path) -> None:
    for _ in range(2):  # `sam build` may leave what an earlier run has trimmed
        assert finish(built).returncode == 0
    botocore = built / "SharedLayer" / "python" / "botocore"
    kept = sorted(str(path.relative_to(botocore / "data")) for path in (botocore / "data").rglob("*.json*"))
    wanted = [f"{service}/2020-01-01/service-2.json" for service in trimming.SERVICES]
    assert kept == sorted([*wanted, "endpoints.json"])
    model = json.loads((botocore / "data" / "s3" / "2020-01-01" / "service-2.json").read_text())
    used = {name: {"input": {"shape": "Page"}} for name in trimming.SERVICES["s3"]}
    assert model == {"operations": used, "shapes": SHAPES}
    assert json.loads((botocore / "data" / "endpoints.json").read_text())["partitions"][0]["services"] == {
        "dynamodb": {}
    }
    assert (botocore / "cacert.pem").read_text().count("BEGIN CERTIFICATE") == len(trimming.ROOTS)


def test_tracebacks_name_where_the_code_lies_on_lambda(built: Path) -> None:
    finish(built)
    [compiled] = (built / "ApiFunction" / "__pycache__").iterdir()
    assert b"/var/task/app.py" in compiled.read_bytes()
    assert str(built).encode() not in compiled.read_bytes()


def test_a_source_without_its_pyc_is_a_fault(built: Path) -> None:
    finish(built)
    source = built / "ApiFunction" / "app.py"
    source.write_text("def handler(): return 1\n")
    assert [fault.startswith(str(source)) for fault in finish_build.check(built)] == [True]
    next((built / "ApiFunction" / "__pycache__").iterdir()).unlink()
    assert [fault.startswith(str(source)) for fault in finish_build.check(built)] == [True]


def test_a_pyc_of_another_python_or_checked_by_time_is_a_fault(built: Path) -> None:
    finish(built)
    [compiled] = (built / "ApiFunction" / "__pycache__").iterdir()
    whole = compiled.read_bytes()
    for spoiled in (b"\x00\x00\r\n" + whole[4:], whole[:4] + bytes(4) + whole[8:]):
        compiled.write_bytes(spoiled)
        assert len(list(finish_build.check(built))) == 1


def test_a_service_too_many_is_a_fault_and_so_is_one_too_few(built: Path) -> None:
    finish(built)
    data = built / "SharedLayer" / "python" / "botocore" / "data"
    (data / "polly").mkdir()
    assert len(list(finish_build.check(built))) == 1
    (data / "polly").rmdir()
    (data / "s3").rename(built / "s3")
    assert len(list(finish_build.check(built))) == 1


def test_an_empty_build_and_a_source_that_does_not_compile_are_faults(built: Path, tmp_path: Path) -> None:
    (built / "ApiFunction" / "app.py").write_text("def handler(:\n")
    refused = finish(built)
    assert refused.returncode == 1
    assert "no valid .pyc" in refused.stderr
    empty = tmp_path / "empty"
    empty.mkdir()
    assert any(fault.endswith("no Python") for fault in finish_build.check(empty))


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make build` makes of the template, the sources and the layer's locked packages, for this Python."""
    built = tmp_path_factory.mktemp("build")
    layer = built / "SharedLayer" / "python"
    source = ROOT / SOURCE["Resources"]["SharedLayer"]["Properties"]["ContentUri"]
    unwanted = shutil.ignore_patterns("__pycache__")
    shutil.copytree(source, layer, ignore=unwanted)
    for name in re.findall(r"(?m)^([a-z0-9-]+)==", (source / "requirements.txt").read_text()):
        for file in distribution(name).files or ():
            if file.suffix != ".pyc" and ".." not in file.parts and not _is_unused_data(file.parts):
                write(layer / file, Path(str(file.locate())).read_bytes())
    for function in of_type("AWS::Lambda::Function"):
        code = ROOT / SOURCE["Resources"][function]["Properties"]["CodeUri"]
        shutil.copytree(code, built / function, ignore=unwanted)
    finished = finish(built)
    assert finished.returncode == 0, finished.stderr
    return built


def _is_unused_data(parts: tuple[str, ...]) -> bool:
    """Whether it is botocore's data of a service that trimming would remove, which takes long to copy."""
    return parts[:2] == ("botocore", "data") and len(parts) > 3 and parts[2] not in trimming.SERVICES


def test_all_that_is_shipped_is_compiled(shipped: Path) -> None:
    sources = sorted(shipped.rglob("*.py"))
    assert {shipped / function / "app.py" for function in of_type("AWS::Lambda::Function")} <= {*sources}
    assert {path.name for path in (ROOT / "layers/shared/tidegate").glob("*.py")} == {
        path.name for path in sources if path.parent.name == "tidegate"
    }
    assert len(sources) > 500
    assert [str(source) for source in sources if not finish_build.is_compiled(source)] == []


def test_functions_start_from_their_pyc_alone(shipped: Path, tmp_path: Path) -> None:
    """No source is read: here none can be."""
    built = tmp_path / "build"
    shutil.copytree(shipped, built)
    for source in built.rglob("*.py"):
        source.write_text("no source\n")
    for function in of_type("AWS::Lambda::Function"):
        path, _, name = properties(function)["Handler"].partition(".")
        script = f"import {path}; print({path}.{name}.__module__, {path}.__cached__)"
        environment = {"PYTHONPATH": f"{built / function}:{built / 'SharedLayer' / 'python'}", **cold_start.ENVIRONMENT}
        started = subprocess.run(
            [sys.executable, "-c", script], check=False, capture_output=True, text=True, env=environment, cwd=tmp_path
        )
        assert started.returncode == 0, started.stderr
        assert str(built / function) in started.stdout


def test_build_is_compiled_before_it_is_deployed() -> None:
    rules = (ROOT / "Makefile").read_text()
    build = rules.partition("\nbuild:")[2].partition("\n.PHONY")[0]
    assert re.search(r"sam build\n(\t@?#.*\n)*\tpython3\.13 -m scripts\.finish_build \.aws-sam/build\n", build)
    assert re.search(r"(?m)^deploy: build\b", rules)


def test_cold_start_is_measured_of_all_functions() -> None:
    assert set(cold_start.FUNCTIONS) == set(of_type("AWS::Lambda::Function"))
    for event, _ in cold_start.FUNCTIONS.values():
        assert (ROOT / "events" / event).is_file()


def test_cold_start_is_not_measured_of_another_build(shipped: Path, tmp_path: Path) -> None:
    assert list(cold_start.differences(shipped)) == []
    built = tmp_path / "build"
    shutil.copytree(shipped, built)
    module = built / "SharedLayer" / "python" / "tidegate" / "aws.py"
    module.write_text(module.read_text() + "\n")
    (built / "SharedLayer" / "python" / "tidegate" / "former.py").write_text("")
    (built / "SharedLayer" / "python" / "requirements.txt").write_text("botocore==1.0\n")
    shutil.rmtree(built / "ViewersFunction")
    assert sorted(cold_start.differences(built)) == [
        "SharedLayer/python/requirements.txt",
        "SharedLayer/python/tidegate/aws.py",
        "SharedLayer/python/tidegate/former.py",
        "ViewersFunction/app.py",
    ]
    refused = subprocess.run(
        [sys.executable, "-c", f"from tests.benchmarks.cold_start import *; check_build(Path({str(built)!r}))"],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert refused.returncode == 1
    assert "make build" in refused.stderr
    assert "ViewersFunction/app.py" in refused.stderr

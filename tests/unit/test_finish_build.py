"""Trimming, compiling and checking a build, with this Python on a small tree."""

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import botocore
import pytest
from botocore.httpsession import DEFAULT_CA_BUNDLE

from scripts import finish_build, trimming

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

"""scripts/push_builder.py against moto, with a docker that only writes down what it is told."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from scripts import push_builder

DIGEST = "sha256:" + "a1" * 32
REPOSITORY = "123456789012.dkr.ecr.eu-central-1.example/tidegate"
DOCKER = f"""#!{sys.executable}
import json, pathlib, sys
here = pathlib.Path(__file__).parent
call = {{"arguments": sys.argv[1:], "stdin": sys.stdin.read() if sys.argv[1] == "login" else ""}}
with (here / "calls").open("a") as calls:
    calls.write(json.dumps(call) + "\\n")
if sys.argv[1] == (here / "fails").read_text():
    sys.exit(3)
if "--metadata-file" in sys.argv:
    name = sys.argv[sys.argv.index("--metadata-file") + 1]
    pathlib.Path(name).write_text(json.dumps({{"containerimage.digest": "{DIGEST}"}}))
print("noise")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the fake docker; AWS holds the stack `tidegate` with its outputs."""
    (tmp_path / "docker").write_text(DOCKER)
    (tmp_path / "docker").chmod(0o755)
    (tmp_path / "fails").write_text("nothing")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setattr(sys, "argv", ["push_builder"])
    with mock_aws():
        template = {
            "Resources": {"Queue": {"Type": "AWS::SQS::Queue"}},
            "Outputs": {
                "BuilderRepositoryUri": {"Value": REPOSITORY},
                "BuilderPlatform": {"Value": "linux/arm64"},
            },
        }
        boto3.client("cloudformation").create_stack(StackName="tidegate", TemplateBody=json.dumps(template))
        yield tmp_path


def calls(folder: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (folder / "calls").read_text().splitlines()]


def test_pushes_for_the_stacks_platform_and_names_the_digest(folder: Path) -> None:
    assert push_builder.main() == f"@{DIGEST}"
    login, build = calls(folder)
    assert login["arguments"][:4] == ["login", "--username", "AWS", "--password-stdin"]
    assert login["stdin"], "the password goes by stdin, not where other users of the machine see it"
    assert build["arguments"][:3] == ["buildx", "build", "--push"]
    assert build["arguments"][build["arguments"].index("--platform") + 1] == "linux/arm64"
    assert build["arguments"][build["arguments"].index("--tag") + 1] == f"{REPOSITORY}:latest"
    assert Path(build["arguments"][-1]).name == "builder"


def test_prints_nothing_but_the_result(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    push_builder.main()
    assert capfd.readouterr().out == ""


def test_docker_that_fails_is_told(folder: Path) -> None:
    (folder / "fails").write_text("buildx")
    with pytest.raises(SystemExit, match="docker buildx ended with 3"):
        push_builder.main()


def test_missing_docker_is_told(folder: Path) -> None:
    (folder / "docker").unlink()
    with pytest.raises(SystemExit, match="docker is needed"):
        push_builder.main()


def test_missing_stack_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["push_builder", "--stack", "other"])
    with pytest.raises(SystemExit, match="Stack with id other does not exist"):
        push_builder.main()

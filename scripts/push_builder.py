"""Build the builder's image, push it to the stack's repository, and print the value of the parameter BuilderImage."""

import argparse
import base64
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from scripts.samconfig import stack_name

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_ecr import ECRClient

CONTEXT = Path(__file__).parent.parent / "builder"


def main() -> str:
    """Push the image; returns `@<digest>`, or ends the program with one line that says what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stack", default=stack_name(), help="name of the CloudFormation stack (%(default)s)")
    stack: str = parser.parse_args().stack
    try:
        outputs = read_outputs(boto3.client("cloudformation"), stack)
        registry, password = read_login(boto3.client("ecr"))
        docker("login", "--username", "AWS", "--password-stdin", registry, stdin=password)
        return build_and_push(outputs["BuilderRepositoryUri"], outputs["BuilderPlatform"])
    except (BotoCoreError, ClientError) as error:
        sys.exit(f"push_builder: {error}")
    except FileNotFoundError:
        sys.exit("push_builder: docker is needed to build the builder's image")
    except subprocess.CalledProcessError as error:
        sys.exit(f"push_builder: docker {error.cmd[1]} ended with {error.returncode}")


def read_outputs(cloudformation: "CloudFormationClient", stack: str) -> dict[str, str]:
    """The outputs of the stack by their names."""
    [description] = cloudformation.describe_stacks(StackName=stack)["Stacks"]
    return {output["OutputKey"]: output["OutputValue"] for output in description.get("Outputs", [])}


def read_login(ecr: "ECRClient") -> tuple[str, str]:
    """The registry's address and a password for user AWS that lives for twelve hours."""
    [login] = ecr.get_authorization_token()["authorizationData"]
    password = base64.b64decode(login["authorizationToken"]).decode().partition(":")[2]
    return login["proxyEndpoint"], password


def build_and_push(repository: str, platform: str) -> str:
    """Build for the platform and push as `latest`; returns `@<digest>` of what was pushed."""
    with tempfile.TemporaryDirectory() as folder:
        metadata = Path(folder) / "metadata.json"
        # Without provenance the push is one image, whose digest stays the same while the image does.
        docker(
            *("buildx", "build", "--push", "--provenance=false", "--platform", platform),
            *("--tag", f"{repository}:latest", "--metadata-file", str(metadata), str(CONTEXT)),
        )
        digest: str = json.loads(metadata.read_text(encoding="utf-8"))["containerimage.digest"]
    return f"@{digest}"


def docker(*arguments: str, stdin: str | None = None) -> None:
    """Run docker; its output goes to stderr, as stdout is for the result."""
    subprocess.run(["docker", *arguments], input=stdin, text=True, check=True, stdout=sys.stderr)


if __name__ == "__main__":
    print(main())

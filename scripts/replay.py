"""Replay the stack's dead letters: invoke the function of each once more, and delete what it has then handled.

Ticks of the reconciler's clock are deleted and not replayed: the next tick has done their work. What fails again, or is
none of this stack's, stays in its queue.
"""

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from scripts.samconfig import stack_name

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_sqs import SQSClient

QUEUES = ("UndeliveredEventsQueue", "FailedInvocationsQueue")
FUNCTIONS = ("TaskStateChangeFunction", "LogForwarderFunction", "ReconcilerFunction")
HIDDEN_SECONDS = 900  # longer than ten invocations, the most that are received at once, take
WAIT_SECONDS = 2  # a short poll may miss messages
INVOKE = Config(read_timeout=60, retries={"total_max_attempts": 1})  # no function runs longer than 50 seconds


class Letter(NamedTuple):
    """Which function a message was for, by its logical id, and with what; no function if that cannot be told."""

    function: str | None
    payload: Any


def main() -> int:
    """Replay all, and tell of each; returns 1 if something is left."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stack", default=stack_name(), help="name of the CloudFormation stack (%(default)s)")
    parser.add_argument("--dry-run", action="store_true", help="only tell what there is")
    options = parser.parse_args()
    try:
        names = read_names(boto3.client("cloudformation"), options.stack)
        sqs, functions = boto3.client("sqs"), boto3.client("lambda", config=INVOKE)
        left = [replay(sqs, functions, names, queue, dry_run=options.dry_run) for queue in QUEUES]
    except (BotoCoreError, ClientError) as error:
        sys.exit(f"replay: {error}")
    return 1 if sum(left) else 0


def read_names(cloudformation: "CloudFormationClient", stack: str) -> dict[str, str]:
    """The names of the stack's functions and the URLs of its queues, by logical id."""
    return {
        name: cloudformation.describe_stack_resource(StackName=stack, LogicalResourceId=name)["StackResourceDetail"][
            "PhysicalResourceId"
        ]
        for name in (*QUEUES, *FUNCTIONS)
    }


def replay(
    sqs: "SQSClient", functions: "LambdaClient", names: dict[str, str], queue: str, *, dry_run: bool = False
) -> int:
    """Replay the messages of a queue, each once; returns how many are left."""
    url, left = names[queue], list[str]()
    while True:
        messages = sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=WAIT_SECONDS, VisibilityTimeout=HIDDEN_SECONDS
        ).get("Messages", [])
        if not messages:
            break
        for message in messages:
            letter = read_letter(message["Body"], names)
            done, told = (False, "kept") if dry_run else deliver(functions, names, letter)
            print(f"{queue}: {letter.function or 'unknown'} {about(letter.payload)}: {told}")
            if done:
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            else:
                left.append(message["ReceiptHandle"])
    for receipt in left:
        sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=receipt, VisibilityTimeout=0)
    print(f"{queue}: {len(left)} left")
    return len(left)


def read_letter(body: str, names: dict[str, str]) -> Letter:
    """Read a raw event or tick (UndeliveredEventsQueue), or Lambda's record of a failure (FailedInvocationsQueue)."""
    found: Any
    try:
        found = json.loads(body)
    except ValueError:
        found = body
    match found:
        case {"requestContext": {"functionArn": str(arn)}, "requestPayload": payload}:
            logical = {names[function]: function for function in FUNCTIONS}
            return Letter(logical.get(arn.split(":")[6]), payload)
        case {"detail-type": "ECS Task State Change"}:
            return Letter("TaskStateChangeFunction", found)
        case {"source": "aws.scheduler"}:
            return Letter("ReconcilerFunction", found)
        case _:
            return Letter(None, found)


def deliver(functions: "LambdaClient", names: dict[str, str], letter: Letter) -> tuple[bool, str]:
    """Invoke the function and wait for it; says whether the message is done with, and what came of it."""
    if letter.function is None:
        return False, "kept, it is for no function of this stack"
    if letter.function == "ReconcilerFunction":
        return True, "dropped, a later tick has done its work"
    answer = functions.invoke(FunctionName=names[letter.function], Payload=json.dumps(letter.payload).encode())
    if not answer.get("FunctionError"):
        return True, "replayed"
    error = json.loads(answer["Payload"].read())
    return False, f"failed again, {error.get('errorType')}: {error.get('errorMessage')}"


def about(payload: Any) -> str:
    """What to recognise a payload by: the build and the task's state, or the time of a tick."""
    match payload:
        case {"detail": {"startedBy": str(build), "lastStatus": str(status)}}:
            return f"{build} {status}"
        case {"time": str(time)}:
            return time
        case {"awslogs": _}:
            return "log lines"
        case _:
            return "message"


if __name__ == "__main__":
    sys.exit(main())

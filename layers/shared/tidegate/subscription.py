"""The log forwarder, called in the way the subscription filter on the builder's log group calls it."""

import base64
import gzip
from collections.abc import Sequence

import msgspec

from tidegate import aws, batches
from tidegate.batches import Event
from tidegate.model import LogLine
from tidegate.settings import settings

# Lambda takes asynchronous events of 1 MB, and the queue as much of one that has failed; small ones are sent on sooner.
MOST_DATA = 200_000
_LONGEST = 1_000_000  # of what one line may have; it is cut for the log sink if it has more, to what fits for certain
_CUT = 400 * 1024


def deliver(stream: str, lines: Sequence[LogLine]) -> None:
    """Queue lines of a stream for the log forwarder, in as many deliveries as it takes; Lambda then sees to retries.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/SubscriptionFilters.html
    """
    body = {
        "messageType": "DATA_MESSAGE",
        "owner": settings().log_forwarder.split(":")[4],
        "logGroup": settings().builder_log_group,
        "logStream": stream,
        "subscriptionFilters": ["missed lines"],
        "logEvents": [{"id": line.id, "timestamp": line.timestamp, "message": line.message} for line in lines],
    }
    data = base64.b64encode(gzip.compress(msgspec.json.encode(body))).decode()
    if len(data) > MOST_DATA and len(lines) > 1:
        half = len(lines) // 2
        deliver(stream, lines[:half])
        deliver(stream, lines[half:])
        return
    if len(data) > _LONGEST:
        kept = batches.cut(Event(lines[0].id, lines[0].timestamp, lines[0].message), _CUT)
        deliver(stream, [LogLine(kept.id, kept.timestamp, kept.message)])
        return
    payload = msgspec.json.encode({"awslogs": {"data": data}})
    aws.functions().invoke(FunctionName=settings().log_forwarder, InvocationType="Event", Payload=payload)

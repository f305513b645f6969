"""What Lambda hands to a handler beside the event."""

from types import SimpleNamespace
from typing import Any


def context(function_name: str) -> Any:
    """A context with time left to work."""
    return SimpleNamespace(
        function_name=function_name,
        memory_limit_in_mb=512,
        invoked_function_arn=f"arn:aws:lambda:us-east-1:123456789012:function:{function_name}",
        aws_request_id="6d3b5a6e-3b5e-4d0f-9f0b-0c2f5d1f0a11",
        get_remaining_time_in_millis=lambda: 50_000,
    )

"""What the stack tells its functions, read from the environment once."""

import os
from datetime import datetime, timedelta
from functools import cache
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

Text = Annotated[str, Meta(min_length=1)]
Texts = Annotated[tuple[Text, ...], Meta(min_length=1)]
Positive = Annotated[int, Meta(ge=1)]


class Settings(Struct, frozen=True):
    """The functions' environment (docs/contract.md); each name in upper case is the variable's."""

    builds_table: Text
    projects_table: Text
    logs_table: Text
    connections_table: Text
    artifacts_bucket: Text
    cluster: Text
    task_definition: Text
    builder_container: Text
    builder_log_group: Text
    subnets: Texts
    security_groups: Texts
    builder_access_role: Text
    sites_url: Text
    max_concurrent_builds: Annotated[int, Meta(ge=0)]
    build_timeout_seconds: Positive
    spot_share: Annotated[int, Meta(ge=0, le=100)]
    build_cpu: Positive
    build_memory: Positive
    log_retention_days: Positive
    git_protocols: Texts
    allow_private_git_hosts: bool
    assign_public_ip: Literal["ENABLED", "DISABLED"] = "ENABLED"
    log_sink_url: str = ""
    log_sink_secret: str = ""
    log_forwarder: str = ""
    powertools_service_name: Text = "tidegate"

    def logs_expire(self, now: datetime) -> int:
        """When what is written of a log now may be deleted, in seconds since 1970."""
        return int((now + timedelta(days=self.log_retention_days)).timestamp())


_LISTS = {"subnets", "security_groups", "git_protocols"}


@cache
def settings() -> Settings:
    """Read the settings; a missing or unreadable one raises ValueError with its name."""
    given = {name: os.environ[name.upper()] for name in Settings.__struct_fields__ if name.upper() in os.environ}
    values = {name: value.split(",") if name in _LISTS else value for name, value in given.items()}
    return msgspec.convert(values, Settings, strict=False)

"""What the stack tells its functions, read from the environment once."""

import os
from functools import cache

from msgspec import Struct


class Settings(Struct, frozen=True):
    """The functions' environment (docs/contract.md); each name in upper case is the variable's."""

    builds_table: str
    projects_table: str
    logs_table: str
    artifacts_bucket: str
    cluster: str
    task_definition: str
    builder_container: str
    subnets: tuple[str, ...]
    security_groups: tuple[str, ...]
    builder_access_role: str
    sites_url: str
    max_concurrent_builds: int
    build_timeout_seconds: int
    spot_share: int
    build_cpu: int
    build_memory: int
    log_retention_days: int
    git_protocols: tuple[str, ...]
    allow_private_git_hosts: bool


@cache
def settings() -> Settings:
    """Read the settings; a missing or unreadable one raises KeyError or ValueError with its name."""
    env = os.environ
    return Settings(
        builds_table=env["BUILDS_TABLE"],
        projects_table=env["PROJECTS_TABLE"],
        logs_table=env["LOGS_TABLE"],
        artifacts_bucket=env["ARTIFACTS_BUCKET"],
        cluster=env["CLUSTER"],
        task_definition=env["TASK_DEFINITION"],
        builder_container=env["BUILDER_CONTAINER"],
        subnets=tuple(env["SUBNETS"].split(",")),
        security_groups=tuple(env["SECURITY_GROUPS"].split(",")),
        builder_access_role=env["BUILDER_ACCESS_ROLE"],
        sites_url=env["SITES_URL"],
        max_concurrent_builds=int(env["MAX_CONCURRENT_BUILDS"]),
        build_timeout_seconds=int(env["BUILD_TIMEOUT_SECONDS"]),
        spot_share=int(env["SPOT_SHARE"]),
        build_cpu=int(env["BUILD_CPU"]),
        build_memory=int(env["BUILD_MEMORY"]),
        log_retention_days=int(env["LOG_RETENTION_DAYS"]),
        git_protocols=tuple(env["GIT_PROTOCOLS"].split(",")),
        allow_private_git_hosts=env["ALLOW_PRIVATE_GIT_HOSTS"] == "true",
    )

"""The files of `events/`, what their README says of each, and the world they come into."""

import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from tidegate import aws, builds, jobs, projects
from tidegate.model import Build, Project, Result, Source
from tidegate.settings import settings
from tidegate.status import Status

FOLDER = Path(__file__).parent.parent / "events"
SITES_URL = "https://{slug}.sites.example.com"

_CREATED = datetime(2024, 11, 21, 6, 38, 19, 420000, tzinfo=UTC)
_SOURCE = Source(url="https://git.example.com/you/site.git")
_TASKS = "arn:aws:ecs:us-east-1:123456789012:task/tidegate"
TASK = "8db93fcc24098c3a4f93a028a506eb35"
PROJECT = Project(
    slug="callous-tender-dog",
    git_url=_SOURCE.url,
    created_at=_CREATED - timedelta(days=1),
    live_build="01JD44P48WQ2M9X4V0R5T8YZB3",
    live_attempt=1,
    live_at=_CREATED - timedelta(days=1),
)
BUILD = Build(
    id="01JD6Q2V8W3M4N5P6R7S8T9VAB",
    project_slug=PROJECT.slug,
    source=_SOURCE,
    created_at=_CREATED,
    deadline=_CREATED + timedelta(minutes=10),
    timeout_seconds=1200,
    status=Status.STARTING,
    starting_at=_CREATED + timedelta(seconds=1),
    task_arn=f"{_TASKS}/{TASK}",
    tasks=(f"{_TASKS}/{TASK}",),
)
SECOND_BUILD = replace(BUILD, id="01JD6QB5E0ZK4T7W2M9R1C8XGH", attempt=2, faults=1, task_arn=None, tasks=())
UNKNOWN_BUILD = "01JD6R00000000000000000000"
RESULT = Result(build_id=BUILD.id, attempt=1, ok=True, commit="4b825dc642cb6eb9a060e54bf8d69288fbee4904", files=3)
SITE = {
    "index.html": b"<!doctype html>\n<title>A callous, tender dog</title>\n",
    "assets/index-BcD3f9Qk.js": b"console.log('woof, or not');\n",
    "café/über uns.html": b"<!doctype html>\n<title>About us</title>\n",
}


class Case(Struct, frozen=True):
    """One event file; `answer` is what comes of it, in the words of the README."""

    function: str
    name: str
    answer: str

    def __str__(self) -> str:
        return self.name

    @property
    def path(self) -> Path:
        """The file."""
        return FOLDER / f"{self.name}.json"

    def event(self) -> dict[str, Any]:
        """The payload."""
        payload: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8"))
        return payload


def cases() -> list[Case]:
    """All event files, in the README's order."""
    found, function = [], ""
    for line in (FOLDER / "README.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            function = line[3:]
        if line.startswith("| `"):
            file, _, answer = (cell.strip() for cell in line.strip("|").split("|"))
            found.append(Case(function, file.strip("`").removesuffix(".json"), answer))
    return found


def set_up() -> None:
    """Put the project, its site, its builds and a builder's result where the functions look for them."""
    projects.create(PROJECT)
    for build in (BUILD, SECOND_BUILD):
        builds.create(build)
    put(f"{jobs.prefix(PROJECT.slug, BUILD.id, BUILD.attempt)}result.json", msgspec.json.encode(RESULT))
    for build_id in (PROJECT.live_build or "", BUILD.id):
        for name, content in SITE.items():
            put(f"{jobs.prefix(PROJECT.slug, build_id, 1)}files/{name}", content)


def put(key: str, content: bytes) -> None:
    """Write an object into the stack's bucket."""
    aws.s3().put_object(Bucket=settings().artifacts_bucket, Key=key, Body=content)


def etag(name: str) -> str:
    """S3's ETag of a file of the live site."""
    return f'"{hashlib.md5(SITE[name], usedforsecurity=False).hexdigest()}"'

"""The files of `events/`, what their README says of each, and the builds they tell of."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from tidegate.model import Build, Project, Source
from tidegate.status import Status

FOLDER = Path(__file__).parent.parent / "events"

_CREATED = datetime(2024, 11, 21, 6, 38, 19, 420000, tzinfo=UTC)
_REPOSITORY = "https://git.example.com/you/site.git"
TASK = "8db93fcc24098c3a4f93a028a506eb35"
PROJECT = Project(slug="callous-tender-dog", git_url=_REPOSITORY, created_at=_CREATED)
BUILD = Build(
    id="01JD6Q2V8W3M4N5P6R7S8T9VAB",
    project_slug=PROJECT.slug,
    source=Source(url=_REPOSITORY),
    created_at=_CREATED,
    deadline=_CREATED + timedelta(minutes=10),
    timeout_seconds=1200,
    status=Status.STARTING,
)
SECOND_BUILD = replace(BUILD, id="01JD6QB5E0ZK4T7W2M9R1C8XGH", attempt=2, faults=1)
UNKNOWN_BUILD = "01JD6R00000000000000000000"


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

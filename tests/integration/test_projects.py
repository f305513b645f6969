"""The project table against moto: whatever the order, the newest build is live."""

from datetime import UTC, datetime, timedelta
from itertools import permutations, product
from typing import Any

import pytest
from botocore.exceptions import ClientError
from msgspec.structs import replace

from tidegate import aws, projects
from tidegate.model import BuildSettings, Project
from tidegate.settings import Settings

NOW = datetime(2026, 11, 21, 7, 30, tzinfo=UTC)
PROJECT = Project(
    slug="callous-tender-dog",
    git_url="https://git.example.com/you/site.git",
    created_at=NOW,
    ref="main",
    settings=BuildSettings(root_directory="web", cpu=1024, env_names=("A", "B")),
)
BUILDS = [f"01JD6Q2V8W3M4N5P6R7S8T9VA{end}" for end in "ABCD"]
SLUG = PROJECT.slug


def live() -> tuple[str | None, datetime | None]:
    project = projects.get(SLUG)
    assert project
    return project.live_build, project.live_at


def test_a_project_comes_back_as_it_was(stack: Settings) -> None:
    assert projects.create(PROJECT)
    assert projects.get(SLUG) == projects.get(SLUG, consistent=False) == PROJECT
    assert projects.get("unknown") is None
    item = aws.dynamodb().get_item(TableName="ProjectsTable", Key={"slug": {"S": SLUG}})["Item"]
    assert item["createdAt"] == {"S": "2026-11-21T07:30:00.000Z"}


def test_a_slug_is_given_once(stack: Settings) -> None:
    assert projects.create(PROJECT)
    assert not projects.create(replace(PROJECT, git_url="https://git.example.com/other.git"))
    assert projects.create(PROJECT), "the same request sent again"
    assert projects.get(SLUG) == PROJECT


@pytest.mark.parametrize("order", list(permutations(BUILDS)), ids=lambda order: "".join(each[-1] for each in order))
def test_the_newest_build_is_live_whatever_the_order(stack: Settings, order: tuple[str, ...]) -> None:
    projects.create(PROJECT)
    newest = ""
    for build_id in order:
        assert projects.publish(SLUG, build_id, 1, NOW) == (build_id > newest)
        newest = max(newest, build_id)
        assert live()[0] == newest


def test_publishing_again_changes_nothing(stack: Settings) -> None:
    projects.create(PROJECT)
    for minutes in range(3):
        assert projects.publish(SLUG, BUILDS[1], 1, NOW + timedelta(minutes=minutes))
    assert live() == (BUILDS[1], NOW)
    assert not projects.publish(SLUG, BUILDS[0], 1, NOW + timedelta(hours=1))
    assert live() == (BUILDS[1], NOW)


def test_a_missing_project_is_not_made(stack: Settings) -> None:
    assert not projects.publish(SLUG, BUILDS[0], 1, NOW)
    assert projects.refuse(SLUG, BUILDS[0])
    assert projects.get(SLUG) is None


def test_a_refused_build_never_goes_live(stack: Settings) -> None:
    projects.create(PROJECT)
    assert projects.refuse(SLUG, BUILDS[2])
    assert projects.refuse(SLUG, BUILDS[2])
    assert not projects.publish(SLUG, BUILDS[2], 1, NOW)
    assert live() == (None, None)
    assert projects.publish(SLUG, BUILDS[1], 1, NOW)
    assert projects.publish(SLUG, BUILDS[3], 1, NOW)
    assert live()[0] == BUILDS[3]


def test_a_live_build_is_not_refused(stack: Settings) -> None:
    projects.create(PROJECT)
    projects.publish(SLUG, BUILDS[1], 1, NOW)
    assert not projects.refuse(SLUG, BUILDS[1])
    assert projects.publish(SLUG, BUILDS[1], 1, NOW)
    assert projects.refuse(SLUG, BUILDS[0])
    assert live()[0] == BUILDS[1]


def test_refused_or_live_but_never_both(stack: Settings) -> None:
    for first, second in product(("publish", "refuse"), repeat=2):
        slug = f"{first}-{second}"
        projects.create(replace(PROJECT, slug=slug))
        for call in (first, second):
            projects.refuse(slug, BUILDS[0]) if call == "refuse" else projects.publish(slug, BUILDS[0], 1, NOW)
        project = projects.get(slug)
        assert project
        assert project.live_build == (BUILDS[0] if first == "publish" else None)


def test_pages_visit_every_project_once(stack: Settings) -> None:
    slugs = {f"project-{number}" for number in range(11)}
    for slug in slugs:
        projects.create(replace(PROJECT, slug=slug))
    for limit in (1, 3, 11, 50):
        found: list[str] = []
        after: str | None = None
        for _ in range(20):
            page, after = projects.page(limit, after)
            assert len(page) <= limit
            found += [project.slug for project in page]
            if after is None:
                break
        assert len(found) == len(set(found))
        assert set(found) == slugs


def test_other_faults_are_raised(set_environment: Any) -> None:
    set_environment("PROJECTS_TABLE", "gone")
    for call in (
        lambda: projects.create(PROJECT),
        lambda: projects.publish(SLUG, BUILDS[0], 1, NOW),
        lambda: projects.refuse(SLUG, BUILDS[0]),
    ):
        with pytest.raises(ClientError, match="ResourceNotFoundException"):
            call()

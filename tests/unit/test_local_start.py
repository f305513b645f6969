"""What the local stack keeps, and for whom it builds."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from local.client import Client, Source
from local.options import from_command_line
from local.repository import warnings_of
from local.state import state_folder

SHOP = {"slug": "shop", "gitURL": "https://git.example.com/shop.git", "settings": {"rootDirectory": "web"}}


def test_kept_state_is_its_owners_alone(tmp_path: Path) -> None:
    kept = tmp_path / "state"
    kept.mkdir(mode=0o755)
    with state_folder(tmp_path / "home", kept) as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
    assert kept.exists()


def test_changes_that_are_not_committed_are_told(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@example.com")
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True)

    (tmp_path / "index.html").write_text("one")
    git("init", "--quiet")
    git("add", "--all")
    git("commit", "--quiet", "--message", "one")
    options = from_command_line(["--repo", str(tmp_path)])
    assert [*warnings_of(options)] == []
    (tmp_path / "index.html").write_text("two")
    assert len([*warnings_of(options)]) == 1
    assert [*warnings_of(from_command_line(["--repo", str(tmp_path), "--ref", "main"]))] == []


@pytest.mark.parametrize(
    ("source", "slug"),
    [
        (Source("https://git.example.com/shop.git", root_directory="web"), "shop"),
        (Source("https://git.example.com/shop.git"), None),
        (Source("https://git.example.com/other.git", root_directory="web"), None),
    ],
)
def test_source_is_built_for_the_project_that_it_has(
    source: Source, slug: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    posted: list[dict[str, Any]] = []

    def call(path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        if body is None:
            return {"items": [SHOP], "cursor": None}
        posted.append(body)
        return {"data": {"buildId": "01M7"}}

    client = Client("http://127.0.0.1:9")
    monkeypatch.setattr(client, "_call", call)
    assert client.post(source) == {"buildId": "01M7"}
    assert posted[0].get("slug") == slug

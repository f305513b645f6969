"""What must hold in every file of the repository."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# In pieces, so that this file does not name them.
HOSTS = [
    ".".join(parts)
    for parts in [
        ("registry", "npmjs", "org"),
        ("registry", "yarnpkg", "com"),
        ("npm", "pkg", "github", "com"),
        ("files", "pythonhosted", "org"),
        ("pypi", "org"),
        ("deb", "debian", "org"),
    ]
]
INDEX_OPTIONS = ["--" + option for option in ("index-url", "extra-index-url", "find-links", "trusted-host")]
LOCKS = ("package-lock.json", "yarn.lock", "pnpm-lock.yaml", "npm-shrinkwrap.json")


def tracked_texts() -> Iterator[tuple[str, str]]:
    """Path and text of each file that git knows and that is text."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        path = ROOT / name
        if path.is_file():
            try:
                yield name, path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue


def test_no_file_names_a_package_registry() -> None:
    found = [(name, host) for name, text in tracked_texts() for host in HOSTS if host in text]
    assert found == []


def test_no_lock_file_names_where_packages_come_from() -> None:
    locks = [(name, text) for name, text in tracked_texts() if Path(name).name in LOCKS]
    assert locks, "the builder's lock file is among them"
    assert [name for name, text in locks if '"resolved"' in text or "\n  resolved " in text or "tarball:" in text] == []


@pytest.mark.parametrize("name", ["requirements-dev.txt", "layers/shared/requirements.txt"])
def test_requirements_are_locked_by_hash_and_name_no_index(name: str) -> None:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    pinned = [index for index, line in enumerate(lines) if line and not line.startswith((" ", "#"))]
    assert pinned
    assert [lines[index] for index in pinned if "==" not in lines[index]] == []
    assert [lines[index] for index in pinned if "--hash=sha256:" not in lines[index + 1]] == []
    assert [line for line in lines if any(option in line for option in INDEX_OPTIONS)] == []


def test_development_has_the_versions_of_the_layer() -> None:
    def versions(name: str) -> set[str]:
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        return {line.split(" ")[0] for line in lines if "==" in line and not line.startswith((" ", "#"))}

    assert versions("layers/shared/requirements.txt") <= versions("requirements-dev.txt")

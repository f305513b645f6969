"""Which directory is the site, and which of its files are published."""

import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate_builder.failure import Code, StepFailed
from tidegate_builder.framework import Framework
from tidegate_builder.job import Limits
from tidegate_builder.output import find_output, list_files, newest_change, normalize
from tidegate_builder.project import Project

LIMITS = Limits(files=100, file_bytes=1000, site_bytes=5000)
BEFORE, BUILT, AFTER = 1_000, 2_000, 3_000
VITE = Framework("vite", "Vite", "vite build", "dist")


@pytest.fixture
def checkout(tmp_path):
    path = tmp_path / "checkout"
    path.mkdir()
    return path.resolve()


def write(checkout, when, *names):
    for name in names:
        path = checkout / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"<p>{name}")
        for entry in (path, *path.parents):
            if entry.is_relative_to(checkout):
                os.utime(entry, ns=(when, when), follow_symlinks=False)


def output(checkout, wanted=None, framework=None, built=True, directory="."):
    project = Project(checkout, (checkout / directory).resolve(), {}, None)
    return find_output(project, wanted, framework, BUILT if built else None).relative_to(checkout).as_posix()


def listed(checkout, directory, limits=LIMITS):
    notes = []
    files = list_files((checkout / directory).resolve(), Project(checkout, checkout, {}, None), limits, notes.append)
    return [file.path for file in files], notes


def test_the_frameworks_directory_comes_first(checkout):
    write(checkout, AFTER, "build/index.html", "dist/index.html")
    assert output(checkout, framework=VITE) == "dist"
    assert output(checkout, framework=Framework("react", "React", "x", "build")) == "build"


def test_a_file_made_at_once_after_the_mark_is_newer_and_one_made_just_before_is_not(tmp_path):
    for number in range(30):
        (before := tmp_path / f"before-{number}").touch()
        moment = newest_change(tmp_path / "mark")
        (after := tmp_path / f"after-{number}").touch()
        assert before.stat().st_mtime_ns <= moment < after.stat().st_mtime_ns


def test_sources_in_public_are_not_taken_for_output(checkout):
    write(checkout, BEFORE, "public/robots.txt")
    with pytest.raises(StepFailed) as raised:
        output(checkout, framework=VITE)
    assert raised.value.failure.code == Code.OUTPUT_MISSING
    write(checkout, AFTER, "out/index.html")
    assert output(checkout, framework=VITE) == "out"


def test_a_public_directory_that_the_build_wrote_to_is_output(checkout):
    write(checkout, BEFORE, "public/index.html")
    write(checkout, AFTER, "public/build/bundle.js")
    assert output(checkout) == "public"


def test_a_committed_site_counts_when_the_framework_names_it(checkout):
    write(checkout, BEFORE, "dist/index.html")
    assert output(checkout, framework=VITE) == "dist"


def test_a_hidden_server_build_is_not_a_site(checkout):
    next_js = Framework("next", "Next.js", "next build", ".next")
    write(checkout, AFTER, ".next/server/app/index.html")
    with pytest.raises(StepFailed) as raised:
        output(checkout, framework=next_js)
    assert "output: 'export'" in raised.value.failure.fix
    write(checkout, AFTER, "out/index.html")
    assert output(checkout, framework=next_js) == "out"


def test_a_build_in_place_publishes_the_sources_with_it(checkout):
    write(checkout, BEFORE, "style.css", "index.html")
    with pytest.raises(StepFailed):
        output(checkout)
    write(checkout, AFTER, "style.css")
    assert output(checkout) == "."
    with pytest.raises(StepFailed):
        output(checkout, framework=VITE)


def test_angulars_output_is_in_a_directory_of_its_own(checkout):
    write(checkout, AFTER, "dist/shop/browser/index.html", "dist/shop/licenses.txt")
    assert output(checkout, framework=Framework("angular", "Angular", "ng build", "dist/")) == "dist/shop/browser"


@pytest.mark.parametrize("wanted", ["site", "/site", "site/", "./site", "a/../site"])
def test_the_setting_wins(checkout, wanted):
    write(checkout, AFTER, "dist/index.html", "site/index.html", "a/x")
    assert output(checkout, wanted=wanted, framework=VITE) == "site"


@pytest.mark.parametrize("wanted", ["..", "../outside", "nowhere", "file", "link", "loop", "\0"])
def test_a_setting_that_leads_elsewhere_is_refused(checkout, wanted):
    write(checkout, AFTER, "file")
    (checkout.parent / "outside").mkdir()
    (checkout / "link").symlink_to("../outside")
    (checkout / "loop").symlink_to("loop")
    with pytest.raises(StepFailed) as raised:
        output(checkout, wanted=wanted)
    assert raised.value.failure.code == Code.OUTPUT_MISSING


@pytest.mark.parametrize("wanted", [None, "web"])
def test_who_misses_the_output_is_told_where_pages_were_made(checkout, wanted):
    write(checkout, BEFORE, "templates/index.html")
    write(checkout, AFTER, ".cache/index.html", "node_modules/x/index.html", "generated/page.html")
    with pytest.raises(StepFailed) as raised:
        output(checkout, wanted=wanted, framework=VITE)
    assert raised.value.failure.fix == "Set outputDirectory to where the build puts the site."
    write(checkout, AFTER, "generated/en/index.html", "generated/de/index.htm")
    with pytest.raises(StepFailed) as raised:
        output(checkout, wanted=wanted, framework=VITE)
    assert raised.value.failure.fix.endswith("puts the site, such as 'generated/de' or 'generated/en'.")


@pytest.mark.parametrize("target", ["loop", "../dist/loop", "index.html/old", "a" * 300, "../../sealed/x", "nowhere"])
def test_links_that_lead_nowhere_end_no_build(checkout, target):
    write(checkout, AFTER, "dist/index.html")
    (checkout.parent / "sealed").mkdir(mode=0)  # which whoever is not root may not look into
    (checkout / "dist" / "loop").symlink_to(target)
    assert output(checkout, framework=VITE) == "dist"
    files, [note] = listed(checkout, "dist")
    assert (files, note.partition(":")[0]) == (["index.html"], "Left out loop")


def test_page_that_is_a_link_to_itself_was_not_made(checkout):
    write(checkout, BEFORE, "src/x")
    (checkout / "src" / "index.html").symlink_to("index.html")
    with pytest.raises(StepFailed) as raised:
        output(checkout, framework=VITE)
    assert raised.value.failure.fix.endswith("where the build puts the site.")


@pytest.fixture
def depths(checkout):
    """Folders deeper than Python recurses."""
    folders = [checkout / "dist"]
    folders[0].mkdir()
    for _ in range(1200):
        folders.append(folders[-1] / "d")
        folders[-1].mkdir()
    yield
    for folder in reversed(folders):
        folder.rmdir()  # pytest would recurse


@pytest.mark.usefixtures("depths")
def test_folders_that_are_very_deep_are_the_users_fault_at_most(checkout):
    with pytest.raises(StepFailed) as raised:
        output(checkout, wanted="web", framework=VITE)
    assert raised.value.failure.code == Code.OUTPUT_MISSING
    assert output(checkout, framework=VITE) == "dist"
    with pytest.raises(StepFailed) as raised:
        listed(checkout, "dist")
    assert raised.value.failure.code == Code.SITE_TOO_LARGE


def test_page_of_the_project_itself_may_be_what_was_made(checkout):
    write(checkout, AFTER, "index.html", ".cache/index.html")
    with pytest.raises(StepFailed) as raised:
        output(checkout, framework=VITE)
    assert raised.value.failure.fix.endswith("puts the site, such as '.'.")
    assert output(checkout, wanted=".", framework=VITE) == "."


def test_without_a_build_the_sources_are_published(checkout):
    write(checkout, BEFORE, "docs/x.html")
    with pytest.raises(StepFailed):
        output(checkout, built=False)
    write(checkout, BEFORE, "public/index.html")
    assert output(checkout, built=False) == "public"
    write(checkout, BEFORE, "index.html")
    assert output(checkout, built=False) == "."


def test_sources_are_published_without_what_is_not_the_site(checkout):
    write(
        checkout,
        BEFORE,
        *(".git/config", "node_modules/x/index.js", ".env", ".env.local", ".gitignore", "a/.secret", "a/.git/x"),
        *("index.html", "a/b.css", ".well-known/security.txt"),
    )
    files, notes = listed(checkout, ".")
    assert files == [".well-known/security.txt", "a/b.css", "index.html"]
    assert notes == []


def test_a_built_site_is_published_whole(checkout):
    write(checkout, AFTER, "dist/index.html", "dist/.nojekyll", "dist/.vite/manifest.json", "dist/node_modules/x.js")
    write(checkout, AFTER, "dist/.env", "dist/.git/HEAD")
    files, notes = listed(checkout, "dist")
    assert files == [".nojekyll", ".vite/manifest.json", "index.html", "node_modules/x.js"]
    assert notes == ["Left out .env: it may hold secrets"]


def test_links_are_followed_only_inside_of_the_checkout(checkout):
    write(checkout, AFTER, "dist/index.html", "shared/logo.svg", ".git/config", "dist/deep/x.txt")
    (checkout.parent / "secret.txt").write_text("secret")
    dist = checkout / "dist"
    (dist / "logo.svg").symlink_to("../shared/logo.svg")
    (dist / "folder").symlink_to("../shared")
    (dist / "outside.txt").symlink_to("../../secret.txt")
    (dist / "passwd").symlink_to("/etc/passwd")
    (dist / "git").symlink_to("../.git")
    (dist / "config").symlink_to("../.git/config")
    (dist / "broken").symlink_to("nothing")
    (dist / "loop").symlink_to("loop")
    (dist / "deep/circle").symlink_to("..")
    files, notes = listed(checkout, "dist")
    assert files == ["deep/x.txt", "folder/logo.svg", "index.html", "logo.svg"]
    assert sorted(note.split(":")[0] for note in notes) == [
        "Left out broken",
        "Left out config",
        "Left out deep/circle",
        "Left out git",
        "Left out loop",
        "Left out outside.txt",
        "Left out passwd",
    ]


def test_what_is_not_a_file_is_left_out(checkout, monkeypatch):
    write(checkout, AFTER, "dist/index.html")
    os.mkfifo(checkout / "dist/pipe")
    monkeypatch.chdir(checkout / "dist")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket")
        Path(os.fsdecode(b"caf\xe9.txt")).write_text("x")
        files, notes = listed(checkout, "dist")
    assert files == ["index.html"]
    assert len(notes) == 3


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Limits(1, 1000, 1000), "2 files; 1 are"),
        (Limits(9, 10, 1000), "dist/b.html"),
        (Limits(9, 1000, 15), "15 are allowed"),
    ],
)
def test_limits_hold(checkout, limits, message):
    write(checkout, AFTER, "dist/a", "dist/b.html")
    with pytest.raises(StepFailed) as raised:
        listed(checkout, "dist", limits)
    assert raised.value.failure.code == Code.SITE_TOO_LARGE
    assert message.removeprefix("dist/") in raised.value.failure.message


def test_a_site_exactly_at_its_limits_is_fine(checkout):
    write(checkout, AFTER, "dist/a")
    size = (checkout / "dist/a").stat().st_size
    assert listed(checkout, "dist", Limits(1, size, size))[0] == ["a"]


def test_an_empty_directory_is_no_site(checkout):
    (checkout / "dist").mkdir()
    with pytest.raises(StepFailed) as raised:
        listed(checkout, "dist")
    assert raised.value.failure.code == Code.OUTPUT_MISSING


@given(st.lists(st.sampled_from(["a", "b c", ".", "..", "", "ü", "%2e", "..."]), min_size=1).map("/".join))
def test_normalized_paths_stay_below_the_top(path):
    parts = normalize(path).split("/")
    assert not {".", ".."} & set(parts)
    assert normalize(normalize(path)) == normalize(path)
    assert not normalize(path).startswith("/")

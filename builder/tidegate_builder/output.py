"""The site that the build made: which directory it is, and which of its files are published."""

import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from tidegate_builder.failure import Code, failed
from tidegate_builder.framework import Framework
from tidegate_builder.job import Limits
from tidegate_builder.project import PAGES, Project, directory_below

# Where builds usually put a site.
USUAL = ("dist", "build", "out", "public", "_site", "www", "docs/.vitepress/dist", ".vitepress/dist", ".output/public")
# Where a framework puts a static site, when that is not the directory that the detector names.
OWN = {"angular": ("dist/*/browser", "dist/*"), "next": ("out",), "nuxt": (".output/public",)}
# What to do when a framework that can also be a server made no static site.
STATIC_SITES = {
    "next": "Set `output: 'export'` in the Next.js configuration.",
    "nuxt": "Let the build script run `nuxt generate`.",
    "svelte-kit": "Use @sveltejs/adapter-static.",
    "astro": "Set `output: 'static'` in the Astro configuration.",
}
NEVER = frozenset({".git", ".hg", ".svn"})
KEPT_DOT_NAMES = frozenset({".well-known"})
MAX_KEY_BYTES = 1024
MAX_NOTES = 10
MAX_HINTS = 3
LONGEST_TICK_MS = 2000


@dataclass(frozen=True)
class SiteFile:
    """A file to publish, and its path in the site."""

    file: Path
    path: str
    size: int


def newest_change(marker: Path) -> int:
    """Return a time, in nanoseconds, that no file so far is newer than and every later change is newer than.

    File systems tell the time in ticks (4 ms is usual): what is written in the tick of the marker cannot be told from
    what was there before, so the tick is waited out.
    """
    marker.touch()
    moment = marker.stat().st_mtime_ns
    for _ in range(LONGEST_TICK_MS):
        time.sleep(0.001)
        marker.touch()
        if marker.stat().st_mtime_ns > moment:
            break
    return moment


def find_output(project: Project, wanted: str | None, framework: Framework | None, built_since: int | None) -> Path:
    """Find the site's directory; `built_since` is when the build began, None if there was none. Raises StepFailed."""
    if wanted is not None:
        directory = directory_below(project.directory, wanted, project.checkout)
        if directory is None:
            message = f"The output directory {wanted!r} is not there after the build."
            raise _missing(message, project, framework, built_since)
        return directory
    if built_since is None:
        return _source_directory(project)
    candidates = [path for path in _candidates(project, framework) if path.is_dir() and _inside(path, project)]
    for path in candidates:
        if _changed_since(path, built_since):  # a `public` full of the build's sources is no output
            return path.resolve()
    if framework is None and _has_page(project.directory) and _changed_since(project.directory, built_since):
        return project.directory  # what was built lies beside its source: `sass style.scss style.css`
    named = project.directory / framework.directory if framework else None
    if named in candidates and any(named.iterdir()):
        return named.resolve()
    tried = ", ".join(str(path.relative_to(project.directory)) for path in _candidates(project, framework)[:4])
    message = f"The build ended well but made no output: there is nothing new in {tried} ..."
    raise _missing(message, project, framework, built_since)


def _candidates(project: Project, framework: Framework | None) -> list[Path]:
    names = [*OWN.get(framework.id, ()), framework.directory] if framework else []
    # A framework's hidden directory (`.next`) holds a server, not a site.
    names = [name for name in names if name in {".output/public", ".vuepress/dist"} or not name.startswith(".")]
    found = [
        path
        for name in (*names, *USUAL)
        for path in (sorted(project.directory.glob(name)) or [project.directory / name])
    ]
    return list(dict.fromkeys(found))


def _source_directory(project: Project) -> Path:
    """Return the directory to publish when nothing is built: the project's, or the usual one that has its pages."""
    for path in (project.directory, *(project.directory / name for name in USUAL)):
        if _has_page(path) and _inside(path, project):
            return path.resolve()
    if any(True for _ in project.directory.glob("*.htm*")):
        return project.directory
    raise failed(
        Code.OUTPUT_MISSING,
        "There is nothing to build and no index.html to publish.",
        "Add an index.html or a build script in package.json, or set rootDirectory, buildCommand or outputDirectory.",
    )


def _has_page(path: Path) -> bool:
    return any((path / page).is_file() for page in PAGES)


def _inside(path: Path, project: Project) -> bool:
    return path.resolve().is_relative_to(project.checkout)


def _changed_since(directory: Path, moment: int) -> bool:
    for folder, entries in _folders(directory):
        files = (entry.path for entry in entries if not _is_directory(entry))
        if any(_is_newer(path, moment) for path in (folder, *files)):
            return True
    return False


def _folders(top: Path) -> Iterator[tuple[str, list["os.DirEntry[str]"]]]:
    """Yield a folder and those below it, and what is in each; links are not followed, what is not there is skipped."""
    left = [os.fspath(top)]  # not by recursion: somebody's folders may be a thousand deep
    while left:
        folder, entries = left.pop(), []
        with suppress(OSError):
            entries = _entries(folder)
        yield folder, entries
        inner = [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
        left += [entry.path for entry in inner if entry.name not in NEVER and entry.name != "node_modules"]


def _entries(folder: str | Path) -> list["os.DirEntry[str]"]:
    with os.scandir(folder) as found:
        return sorted(found, key=lambda entry: entry.name)


def _is_newer(path: str, moment: int) -> bool:
    with suppress(OSError):
        return os.lstat(path).st_mtime_ns > moment
    return False


def _is_directory(entry: "os.DirEntry[str]") -> bool:
    with suppress(OSError):  # links in a circle, through a file, to what may not be seen
        return entry.is_dir()
    return False


def _missing(message: str, project: Project, framework: Framework | None, built_since: int | None) -> Exception:
    hint = STATIC_SITES.get(framework.id) if framework else None
    made = [] if built_since is None else sorted(islice(_new_pages(project, built_since), MAX_HINTS))
    such = f", such as {' or '.join(made)}" if made else ""
    where = f"et outputDirectory to where the build puts the site{such}."
    return failed(Code.OUTPUT_MISSING, message, f"{hint} Or s{where}" if hint else f"S{where}")


def _new_pages(project: Project, moment: int) -> Iterator[str]:
    """Find directories with a page that the build wrote, as one would give them in the settings."""
    for folder, entries in _folders(project.directory):
        path = os.path.relpath(folder, project.directory)
        pages = (entry.path for entry in entries if entry.name in PAGES and entry.is_file(follow_symlinks=False))
        if not any(_is_newer(page, moment) for page in pages):
            continue
        if path == "." or not any(part.startswith(".") for part in path.split("/")):
            yield repr(path)


def list_files(directory: Path, project: Project, limits: Limits, note: Callable[[str], None]) -> list[SiteFile]:
    """List the site's files, sorted; `note` is told of those left out. Raises StepFailed."""
    source = project.directory.is_relative_to(directory)  # the repository itself is published
    notes: list[str] = []
    files = sorted(_walk(directory, directory, "", project.checkout, source, notes, ()), key=lambda file: file.path)
    for text in notes[:MAX_NOTES]:
        note(text)
    if len(notes) > MAX_NOTES:
        note(f"Left out {len(notes) - MAX_NOTES} more")
    if not files:
        raise failed(
            Code.OUTPUT_MISSING,
            f"The output directory {_shown(directory, project)} is empty.",
            "Check that the build command writes the site there, or set outputDirectory.",
        )
    _check_limits(files, limits)
    return files


def _shown(directory: Path, project: Project) -> str:
    return repr(directory.relative_to(project.checkout).as_posix())


def _check_limits(files: list[SiteFile], limits: Limits) -> None:
    size = sum(file.size for file in files)
    largest = max(files, key=lambda file: file.size)
    longest = max(files, key=lambda file: len(file.path.encode()))
    fix = "Leave out what visitors do not need, or keep large files elsewhere."
    if len(files) > limits.files:
        raise failed(Code.SITE_TOO_LARGE, f"The site has {len(files):,} files; {limits.files:,} are allowed.", fix)
    if largest.size > limits.file_bytes:
        raise failed(
            Code.SITE_TOO_LARGE, f"{largest.path} has {largest.size:,} bytes; {limits.file_bytes:,} are allowed.", fix
        )
    if size > limits.site_bytes:
        raise failed(Code.SITE_TOO_LARGE, f"The site has {size:,} bytes; {limits.site_bytes:,} are allowed.", fix)
    _check_path(longest.path)


def _check_path(path: str) -> None:
    if len(path.encode(errors="replace")) > MAX_KEY_BYTES:
        message = f"A file's path has more than {MAX_KEY_BYTES} bytes: {_printable(path[:80])}..."
        raise failed(Code.SITE_TOO_LARGE, message, "Shorten the path.")


def _walk(
    top: Path, folder: Path, path: str, checkout: Path, source: bool, notes: list[str], above: tuple[Path, ...]
) -> Iterator[SiteFile]:
    """Yield the files below a folder; `above` are the real folders on the way, so that links in a circle end."""
    real = folder.resolve()
    if real in above:
        notes.append(f"Left out {path}: a link to a folder it is in")
        return
    for entry in _entries(folder):
        name = f"{path}/{entry.name}" if path else entry.name
        reason = _reason_to_leave_out(entry, checkout, source)
        if reason is not None:
            if reason:
                notes.append(f"Left out {_printable(name)}: {reason}")
        elif entry.is_dir():
            _check_path(name)
            yield from _walk(top, Path(entry.path), name, checkout, source, notes, (*above, real))
        else:
            yield SiteFile(Path(entry.path), normalize(name), entry.stat().st_size)


def _reason_to_leave_out(entry: "os.DirEntry[str]", checkout: Path, source: bool) -> str | None:
    """Return why a file is not published, "" where that goes without saying; None if it is."""
    name = entry.name
    if name in NEVER or (source and (name == "node_modules" or (name.startswith(".") and name not in KEPT_DOT_NAMES))):
        return ""
    if name == ".env" or name.startswith(".env."):
        return "it may hold secrets"
    if _printable(name) != name:
        return "its name is not UTF-8"
    if entry.is_symlink():
        target = Path(os.path.realpath(entry.path))  # resolve() raises on links in a circle
        if not target.is_relative_to(checkout) or NEVER & set(target.relative_to(checkout).parts):
            return "a link that leads out of the site's repository"
        if not os.path.exists(target):  # noqa: PTH110  which raises where a name is too long
            return "a link to nothing"
    mode = entry.stat().st_mode
    return None if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else "not a file"


def _printable(name: str) -> str:
    return name.encode(errors="replace").decode()


def normalize(path: str) -> str:
    """Return a path below the site's top: no empty, `.` or `..` parts, no leading slash."""
    return "/".join(part for part in path.split("/") if part not in {"", ".", ".."})

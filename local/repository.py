"""Which repository to build: the example of this very checkout, a local one, or a git URL."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

from local.checks import CannotStart
from local.client import Source
from local.options import ROOT, Options


def source_of(options: Options) -> Source:
    """What the options ask to build."""
    if not options.repo:
        return _example(options)
    if "://" in options.repo:
        return Source(options.repo, options.ref, options.root_directory)
    folder = Path(options.repo).expanduser()
    if not folder.is_dir():
        raise CannotStart(f"REPO={options.repo} is neither a git URL nor a folder.")
    top = _git(folder, "rev-parse", "--show-toplevel") or _git(folder, "rev-parse", "--absolute-git-dir")
    if not top:
        raise CannotStart(f"REPO={options.repo} is no git repository; run git init there and commit.")
    ref = options.ref or _git(folder, "rev-parse", "--verify", "HEAD")
    if not ref:
        raise CannotStart(f"REPO={options.repo} has no commit yet.")
    return Source(Path(top).as_uri(), ref, options.root_directory)


def warnings_of(options: Options) -> Iterator[str]:
    """What will surprise who looks at the site: a build is of a commit."""
    folder = Path(options.repo).expanduser() if options.repo and "://" not in options.repo else None
    if folder and not options.ref and _git(folder, "status", "--porcelain", "--untracked-files=no"):
        yield f"REPO={options.repo} has changes that are not committed: they are not built."


def _example(options: Options) -> Source:
    """The example at the commit that is checked out, whether on a branch or not."""
    top = _git(ROOT, "rev-parse", "--show-toplevel")
    commit = _git(ROOT, "rev-parse", "--verify", "HEAD")
    if not top or not commit or Path(top) != ROOT:
        raise CannotStart("this folder is no git checkout, so there is no example to build; give REPO=<git URL>.")
    listed = _git(ROOT, "ls-tree", "-d", "--name-only", "HEAD", "examples/")
    if not listed:
        raise CannotStart("the commit that is checked out has no example to build; give REPO=<git URL>.")
    return Source(ROOT.as_uri(), options.ref or commit, options.root_directory or listed.splitlines()[0])


def _git(folder: Path, *arguments: str) -> str:
    result = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    return result.stdout.strip() if result.returncode == 0 else ""

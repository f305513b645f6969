"""Getting one commit of the repository, and no more than that."""

import os
import re
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from tidegate_builder.failure import Code, OutOfTime, StepFailed, failed
from tidegate_builder.job import Source
from tidegate_builder.log import Log

FULL_COMMIT_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
# What git would read as a refspec, a pattern or an option rather than as a name (see git-check-ref-format).
NOT_A_REF = re.compile(r"^$|^[-/]|[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|[./]$|\.lock$|^@$|^\+")
NO_SUCH_REF = re.compile(r"couldn't find remote ref|not our ref|unadvertised object|no such remote ref", re.IGNORECASE)
WORTH_ANOTHER_TRY = re.compile(
    r"HTTP 5\d\d|returned error: 5\d\d|early EOF|Connection reset|unexpected disconnect|Recv failure|GnuTLS recv|"
    r"RPC failed|Temporary failure|Empty reply|timed out",
    re.IGNORECASE,
)
SAYS_LITTLE = "Could not read from remote repository."  # after a line that says why
TRIES = 3
PAUSE_SECONDS = 1.0
# A server that sends less than this for so long is dead.
LOW_SPEED = ("-c", "http.lowSpeedLimit=1000", "-c", "http.lowSpeedTime=30")
OPTIONS = ("-c", "core.hooksPath=/dev/null", "-c", "credential.helper=", "-c", "core.askPass=", *LOW_SPEED)


def git_environment(source: Source, base: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for git: nobody's settings, no prompts, only the protocols that the job allows."""
    return {
        **base,
        "LC_ALL": "C",  # its messages are read below
        "GIT_ALLOW_PROTOCOL": ":".join(source.protocols),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_LFS_SKIP_SMUDGE": "1",
    }


class Repository:
    """A checkout of the source in a new directory."""

    def __init__(self, source: Source, directory: Path, environment: Mapping[str, str], deadline: float) -> None:
        self._source = source
        self._directory = directory
        self._environment = git_environment(source, environment)
        self._deadline = deadline

    def clone(self) -> str:
        """Fetch and check out the commit; return its id. Raises StepFailed, OutOfTime."""
        source = self._source
        wanted = source.commit or source.ref or "HEAD"
        if NOT_A_REF.search(wanted):
            raise self._no_such_ref(wanted)
        self._expect(self._git("init", "--quiet", "--template=", "."))
        fetched = self._fetch("--depth=1", wanted)
        target = "FETCH_HEAD"
        if fetched.returncode and FULL_COMMIT_ID.fullmatch(wanted) and NO_SUCH_REF.search(fetched.stderr):
            # Some servers give no commit by its id: take all branches and tags, and look for it there.
            fetched = self._fetch("--no-tags", "+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*")
            target = wanted
        if fetched.returncode:
            raise self._no_such_ref(wanted) if NO_SUCH_REF.search(fetched.stderr) else self._unreachable(fetched.stderr)
        checkout = self._git("checkout", "--quiet", "--detach", "--force", target, "--")
        if checkout.returncode and target != "FETCH_HEAD":
            raise self._no_such_ref(wanted)
        self._expect(checkout)
        return self._git("rev-parse", "HEAD").stdout.strip()

    def _fetch(self, option: str, *refs: str) -> "subprocess.CompletedProcess[str]":
        for left in range(TRIES - 1, -1, -1):
            fetched = self._git(
                "fetch",
                "--quiet",
                "--no-recurse-submodules",
                "--no-write-commit-graph",
                "--no-auto-maintenance",
                option,
                "--end-of-options",
                self._source.url,
                *refs,
            )
            if fetched.returncode == 0 or not left or not WORTH_ANOTHER_TRY.search(fetched.stderr):
                break
            time.sleep(PAUSE_SECONDS)
        return fetched

    def _git(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        try:
            return subprocess.run(
                ("git", *OPTIONS, *arguments),
                cwd=self._directory,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=max(0.001, self._deadline - time.monotonic()),
                start_new_session=True,
            )
        except subprocess.TimeoutExpired as error:
            raise OutOfTime from error
        except FileNotFoundError as error:
            raise failed(
                Code.TOOL_MISSING,
                "git is not installed where the builder runs.",
                "Install git there, then build again.",
            ) from error

    def _expect(self, done: "subprocess.CompletedProcess[str]") -> None:
        if done.returncode:
            raise self._unreachable(done.stderr)

    def _no_such_ref(self, ref: str) -> StepFailed:
        if ref == "HEAD":
            return failed(
                Code.REF_NOT_FOUND,
                "The repository is empty, or has no default branch.",
                "Push a commit, or name the branch to build in `ref`.",
            )
        return failed(
            Code.REF_NOT_FOUND,
            f"The repository has no branch, tag or commit {ref!r}.",
            "Check the spelling of `ref`, push the branch, or give the full 40-character commit id.",
        )

    def _unreachable(self, stderr: str) -> StepFailed:
        lines = [line.strip() for line in stderr.splitlines() if line.strip()]
        told = [line for line in lines if line.startswith(("fatal:", "error:")) and not line.endswith(SAYS_LITTLE)]
        reason = (told or lines or [""])[-1]
        message = f"The repository could not be cloned: {reason.partition(': ')[2] or reason or 'git gave no reason'}"
        return failed(Code.CLONE_FAILED, message, _fix(stderr, self._source), None, tuple(lines[-20:]))


def _fix(stderr: str, source: Source) -> str:
    if "does not appear to be a git repository" in stderr:
        return "Check that the URL is spelt right: what is there is no git repository."
    if "not allowed" in stderr:
        return f"Use a URL of one of these kinds: {', '.join(f'{name}://' for name in source.protocols)}."
    if re.search("could not read (Username|Password)|Authentication failed|returned error: 40[13]", stderr):
        return "The repository is private or does not exist: make it public, or check the URL."
    if re.search("resolve host|Connection refused|Failed to connect|timed out|too slow", stderr):
        return f"Check that {urlsplit(source.url).hostname or 'the host'} is spelt right and can be reached."
    return "Check that the URL is spelt right and that `git clone` of it works without a password."


def warnings(directory: Path) -> list[str]:
    """Return what the checkout lacks of what its owner may expect."""
    lines = []
    if (directory / ".gitmodules").is_file():
        lines.append("Note: this repository has submodules; they are not fetched")
    attributes = directory / ".gitattributes"
    if attributes.is_file() and b"filter=lfs" in attributes.read_bytes():
        lines.append("Note: this repository uses Git LFS; its large files are not fetched")
    return lines


def describe(source: Source, log: Log) -> None:
    """Write the step's line."""
    log.step(f"Cloning {source.url} ({source.commit or source.ref or 'default branch'})")

"""Small git repositories to build."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

WHO = {"NAME": "A Developer", "EMAIL": "developer@example.com", "DATE": "2026-01-01T00:00:00Z"}


def git(folder: Path, *arguments: str) -> str:
    """Run git as a developer with no settings of their own."""
    who = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in WHO.items()}
    env = {**os.environ, **who, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    result = subprocess.run(["git", *arguments], cwd=folder, env=env, capture_output=True, text=True, check=True)
    return result.stdout.strip()


def commit(folder: Path, files: dict[str, str | bytes]) -> str:
    """Write files and commit them; the commit's id."""
    if not (folder / ".git").exists():
        folder.mkdir(parents=True, exist_ok=True)
        git(folder, "init", "--quiet", "--initial-branch=main")
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    git(folder, "add", "--all", "--force")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", "a change")
    return git(folder, "rev-parse", "HEAD")


def repository(folder: Path, files: dict[str, str | bytes]) -> str:
    """A repository with these files; its URL."""
    commit(folder, files)
    return folder.as_uri()


def package(build: str = "", **more: Any) -> str:
    """A package.json with a build script."""
    scripts = {"scripts": {"build": build}} if build else {}
    return json.dumps({"name": "site", "version": "1.0.0", "private": True, **scripts, **more})


def script(body: str, script: str = "build.mjs") -> dict[str, str | bytes]:
    """A project whose build runs a Node.js script."""
    return {"package.json": package(f"node {script}"), script: body, "package-lock.json": lock()}


def lock() -> str:
    """npm's lock file of a project without dependencies."""
    root = {"name": "site", "version": "1.0.0"}
    return json.dumps({**root, "lockfileVersion": 3, "requires": True, "packages": {"": root}})


WRITE_SITE = """
import { mkdirSync, writeFileSync } from 'node:fs'
mkdirSync('dist', { recursive: true })
writeFileSync('dist/index.html', '<h1>made by a script</h1>')
"""

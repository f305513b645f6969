"""A user of the local API: posts a repository and follows its build to the end."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

FINAL = {"ready", "failed", "canceled"}
POLL_SECONDS = 0.25
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Source:
    """What to build."""

    url: str
    ref: str | None = None
    root_directory: str | None = None


class Refused(Exception):
    """The API did not accept the request; the message is its problem in words."""


def ending(build: dict[str, Any]) -> str:
    """How a build ended, in words."""
    if build["status"] == "ready":
        return f"{build['url']} is live"
    failure = build.get("failure") or {}
    verb = "was canceled" if build["status"] == "canceled" else build["status"]
    words = f"the build {verb}: {failure.get('code', '')}. {failure.get('message', '')}"
    return words + (f"\nWhat to do: {failure['fix']}" if failure.get("fix") else "")


class Client:
    """The API at an address."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def post(self, source: Source) -> dict[str, Any]:
        """Ask for a build, of the project that there is for this source if there is one; the answer's ``data``."""
        body = {
            "gitURL": source.url,
            "ref": source.ref,
            "rootDirectory": source.root_directory,
            "slug": self._project(source),
        }
        data: dict[str, Any] = self._call("/project", {key: value for key, value in body.items() if value})["data"]
        return data

    def _project(self, source: Source) -> str | None:
        for project in self._call("/v1/projects")["items"]:
            root = (project["settings"] or {}).get("rootDirectory")
            if (project["gitURL"], root) == (source.url, source.root_directory):
                return str(project["slug"])
        return None

    def build(self, build_id: str) -> dict[str, Any]:
        """The build as it is now."""
        return self._call(f"/v1/builds/{build_id}")

    def follow(self, build_id: str, tell: Tell) -> dict[str, Any]:
        """Tell each line of a build's log as it comes, until the build and its log have ended; the build."""
        cursor = ""
        while True:
            build = self.build(build_id)
            page = self._call(f"/v1/builds/{build_id}/logs?limit=1000" + (f"&cursor={quote(cursor)}" if cursor else ""))
            for line in page["lines"]:
                tell(line["message"])
            cursor = page["cursor"] or cursor
            if build["status"] in FINAL and page["end"]:
                return build
            if not page["lines"]:
                time.sleep(POLL_SECONDS)

    def _call(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.url + path, data, {"content-type": "application/json"})  # noqa: S310
        try:
            with self._opener.open(request, timeout=30) as answer:
                found: dict[str, Any] = json.load(answer)
        except urllib.error.HTTPError as error:
            raise Refused(_problem(error)) from error
        return found


def _problem(error: urllib.error.HTTPError) -> str:
    try:
        problem = json.loads(error.read())
    except ValueError:
        return f"{error.code} {error.reason}"
    fields = "; ".join(
        f"{item.get('field', item.get('pointer', ''))}: {item.get('message', '')}" for item in problem.get("errors", [])
    )
    return f"{error.code} {problem.get('detail') or problem.get('title') or problem.get('message')} {fields}".strip()

"""Says on the console how the builds end that others ask the local API for, or asked for in the run before."""

import contextlib
import json
import threading
import time
from collections.abc import Callable
from typing import Any

from local.client import FINAL, Client, Refused, ending
from local.lambdas import Outcome

POLL_SECONDS = 1.0


class Announcer:
    """Watches builds that go on in the background, save those that somebody follows already."""

    def __init__(self, client: Client, tell: Callable[[str], None]) -> None:
        self._client = client
        self._tell = tell
        self.followed: set[str] = set()

    def look_at(self, event: dict[str, Any], outcome: Outcome) -> None:
        """Look whether an answer of the API accepts a build."""
        if event["requestContext"]["http"]["method"] != "POST" or not isinstance(outcome.result, dict):
            return
        with contextlib.suppress(ValueError, AttributeError):
            body = json.loads(outcome.result.get("body") or "{}")
            build_id = body.get("data", {}).get("buildId") or body.get("id")
            if build_id and outcome.result.get("statusCode") in {200, 201, 202}:
                self.watch(build_id)

    def watch(self, build_id: str) -> None:
        """Say how a build ends, once it has."""
        threading.Thread(target=self._watch, args=(build_id,), daemon=True).start()

    def _watch(self, build_id: str) -> None:
        time.sleep(POLL_SECONDS)
        if build_id in self.followed:
            return
        self.followed.add(build_id)
        with contextlib.suppress(OSError, Refused):
            build = self._client.build(build_id)
            while build["status"] not in FINAL:
                time.sleep(POLL_SECONDS)
                build = self._client.build(build_id)
            log = "" if build["status"] == "ready" else f"\nLog: {self._client.url}/v1/builds/{build_id}/logs"
            self._tell(f"{build['projectSlug']}: {ending(build)}{log}")

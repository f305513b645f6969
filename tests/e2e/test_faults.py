"""What goes wrong around a build does not change how it ends: lost events, and the loss of the machine."""

import re
import signal
from pathlib import Path

import pytest

from tests.e2e.local_stack import descendants, living, local_stack, wait_until
from tests.e2e.repositories import WRITE_SITE, repository, script

pytestmark = [pytest.mark.xdist_group("faults"), pytest.mark.timeout(240)]


@pytest.mark.parametrize("seed", [3, 8])
def test_misbehaving_network_gives_the_same_results(seed: int, tmp_path: Path) -> None:
    good = repository(tmp_path / "good", {"index.html": "good"})
    bad = repository(tmp_path / "bad", script("process.exit(5)"))
    empty = repository(tmp_path / "empty", script(""))
    chaos = f"seed={seed},drop=0.4,double=0.5,delay=0.6,longest=2"
    with local_stack(CHAOS=chaos) as stack:
        assert any(f"seed={seed}" in line for line in stack.printed)
        started = [stack.start_build(url)["buildId"] for url in (good, bad, empty, good, bad)]
        ended = [stack.wait_for(build_id, "ready", "failed", seconds=120) for build_id in started]
        codes = [build["failure"]["code"] if build["failure"] else None for build in ended]
        assert codes == [None, "BUILD_FAILED", "OUTPUT_MISSING", None, "BUILD_FAILED"]
        assert stack.visit(ended[0]["projectSlug"]).body == b"good"
        logs = [stack.log(build_id) for build_id in started]
        for lines in logs:
            assert sum(bool(re.match("==> Cloning", line)) for line in lines) == 1


def test_kill_in_the_middle_of_builds(tmp_path: Path) -> None:
    done = repository(tmp_path / "done", {"index.html": "done", "deep/ü.txt": "kept"})
    slow = script(WRITE_SITE + "console.log('half way'); await new Promise(done => setTimeout(done, 5000))")
    state = tmp_path / "state"
    with local_stack(STATE_DIR=state, MAX_CONCURRENT_BUILDS=2) as stack:
        ready = stack.build(done)
        etag = stack.visit(ready["projectSlug"]).headers["etag"]
        lines = stack.log(ready["id"])
        running = [stack.start_build(repository(tmp_path / f"slow{n}", slow))["buildId"] for n in range(2)]
        for build_id in running:
            stack.wait_for(build_id, "building", seconds=60)
        queued = stack.start_build(repository(tmp_path / "queued", slow))["buildId"]
        wait_until(lambda: stack.get(queued)["queuePosition"] == 1, 20)
        unwanted = running.pop()
        assert stack.api("POST", f"/v1/builds/{unwanted}/cancel").status == 202
        below = descendants(stack.process)
        stack.end(signal.SIGKILL)
        wait_until(lambda: not living(below), 10)
    with local_stack(STATE_DIR=state) as stack:
        # Two, if the kill came before the canceled one's task had ended.
        assert any(re.match("(1 build was|2 builds were) cut off", line) for line in stack.printed)
        site = stack.visit(ready["projectSlug"])
        assert (site.body, site.headers["etag"]) == (b"done", etag)
        assert stack.visit(ready["projectSlug"], "/deep/%C3%BC.txt").body == b"kept"
        assert stack.log(ready["id"]) == lines
        assert stack.get(ready["id"])["status"] == "ready"
        assert stack.wait_for(unwanted, "canceled", seconds=90)["failure"]["code"] == "CANCELED"
        for build_id in (*running, queued):
            build = stack.wait_for(build_id, "ready", seconds=90)  # another attempt: the user was not at fault
            assert stack.visit(build["projectSlug"]).body == b"<h1>made by a script</h1>"
        assert stack.build(done)["status"] == "ready"
        [resumed] = running
        announced = f"{stack.get(resumed)['projectSlug']}: {stack.get(resumed)['url']} is live"
        wait_until(lambda: any(line.startswith(announced) for line in stack.printed))


def test_state_is_kept_over_an_orderly_end(tmp_path: Path) -> None:
    url = repository(tmp_path / "site", {"index.html": "kept"})
    state = tmp_path / "state"
    with local_stack(STATE_DIR=state) as stack:
        build = stack.build(url)
    with local_stack(STATE_DIR=state) as stack:
        assert stack.visit(build["projectSlug"]).body == b"kept"
        again = stack.build(url, slug=build["projectSlug"])
        assert again["status"] == "ready"
        listed = stack.api("GET", f"/v1/projects/{build['projectSlug']}/builds").json["items"]
        assert [each["id"] for each in listed] == [again["id"], build["id"]]

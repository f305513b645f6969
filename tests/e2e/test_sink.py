"""A log sink behind the local stack: every line of a real build reaches it, whatever is lost on the way."""

import time
from collections import Counter
from pathlib import Path

from tests.collector import Answer, Collector
from tests.e2e.local_stack import LocalStack, local_stack
from tests.e2e.repositories import WRITE_SITE, git, repository, script


def wait_for_lines(stack: LocalStack, collector: Collector, build_id: str) -> Counter[str]:
    """Wait until the sink has all lines that the log has, which may be a minute after the end; how often each came."""
    wanted = set[str]()
    cursor, ended = "", False
    deadline = time.monotonic() + 90
    while True:
        page = stack.api("GET", f"/v1/builds/{build_id}/logs?limit=1000" + (cursor and f"&cursor={cursor}")).json
        wanted |= {line["id"] for line in page["lines"]}
        cursor, ended = page["cursor"] or cursor, page["end"]
        found = Counter(record.attributes[0].value.string_value for record in collector.records())
        if ended and found.keys() >= wanted:
            return found
        assert time.monotonic() < deadline, (len(found), len(wanted))
        time.sleep(0.2)


def test_every_line_reaches_the_sink_once(tmp_path: Path) -> None:
    collector = Collector()
    body = WRITE_SITE + "for (let i = 0; i < 2000; i++) console.log(`line ${i}`)"
    with local_stack(LOG_SINK_URL=collector.url, SCHEDULE_SECONDS=15) as stack:
        build = stack.build(repository(tmp_path / "site", script(body)))
        found = wait_for_lines(stack, collector, build["id"])
        assert set(found.values()) == {1}
        lines = stack.log(build["id"])
        assert sorted(collector.lines()) == sorted(lines)
        assert [line for line in collector.lines() if line.startswith("line ")] == [f"line {i}" for i in range(2000)]
        resource = collector.resource(0)
        assert resource["tidegate.build.id"] == build["id"]
        assert resource["tidegate.project.slug"] == build["projectSlug"]
        assert resource["tidegate.build.status"] in {"starting", "building"}
    collector.close()


def test_lines_that_get_lost_on_the_way_reach_a_sink_that_fails_at_first(tmp_path: Path) -> None:
    collector = Collector()
    collector.answers.extend([Answer(503), Answer(0), Answer(400, b"not today")])
    body = WRITE_SITE + (
        "for (let i = 0; i < 40; i++) { console.log(`line ${i}`); await new Promise(done => setTimeout(done, 50)) }"
    )
    with local_stack(LOG_SINK_URL=collector.url, SCHEDULE_SECONDS=15, CHAOS="seed=3,drop=0.4,double=0.2") as stack:
        build = stack.build(repository(tmp_path / "site", script(body)))
        wait_for_lines(stack, collector, build["id"])
        assert build["status"] == "ready"
        sent = {record.attributes[0].value.string_value: record.body.string_value for record in collector.records()}
        assert sorted(sent.values()) == sorted(stack.log(build["id"]))
    collector.close()


def test_commit_reaches_the_sink_while_the_build_runs(tmp_path: Path) -> None:
    collector = Collector()
    body = WRITE_SITE + (
        "for (let i = 0; i < 40; i++) { console.log(`line ${i}`); await new Promise(done => setTimeout(done, 200)) }"
    )
    with local_stack(LOG_SINK_URL=collector.url, SCHEDULE_SECONDS=15) as stack:
        build = stack.build(repository(tmp_path / "site", script(body)))
        assert build["status"] == "ready"
        told = [collector.resource(number) for number in range(len(collector.requests))]
    collector.close()
    commits = {each.get("vcs.ref.head.revision") for each in told if each["tidegate.build.status"] == "building"}
    assert commits - {None} == {git(tmp_path / "site", "rev-parse", "HEAD")}

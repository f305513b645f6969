"""Starting and ending the local stack."""

import shutil
import signal
import socket
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.e2e.local_stack import (
    PORTS,
    ROOT,
    call,
    command,
    descendants,
    environment,
    free_ports,
    living,
    local_stack,
    wait_until,
)
from tests.e2e.repositories import commit, git, repository, script

pytestmark = [pytest.mark.xdist_group("start"), pytest.mark.timeout(120)]
# A build that leaves behind a process in a session of its own, and then never ends.
RUNAWAY = """
import { spawn } from 'node:child_process'
spawn('setsid', ['sleep', '987'], { detached: true, stdio: 'ignore' }).unref()
spawn('sh', ['-c', '(setsid sleep 986 &) ; sleep 0.1'])
console.log('running away')
setInterval(() => {}, 1000)
"""


def run(*arguments: str, seconds: float = 60, **variables: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments),
        cwd=ROOT,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


@pytest.mark.parametrize("variable", PORTS)
def test_port_in_use_is_one_clear_line(variable: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ports = dict(zip(PORTS, free_ports(), strict=True)) | {variable: port}
        result = run("--no-build", **ports)
    assert result.returncode == 1
    assert result.stdout.count("\n") == 1
    assert f"port {port} is in use" in result.stdout
    assert f"{variable}=" in result.stdout
    assert not result.stderr


def test_missing_git_is_one_clear_line(tmp_path: Path) -> None:
    result = run("--no-build", PATH=tmp_path)
    assert result.returncode == 1
    assert "git is not there" in result.stdout
    assert not result.stderr


def test_without_node_plain_html_builds(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "git").symlink_to(shutil.which("git") or "git")
    html = repository(tmp_path / "html", {"index.html": "plain"})
    npm = repository(tmp_path / "npm", script(""))
    settings = {"PATH": tmp_path / "bin", **dict(zip(PORTS, free_ports(), strict=True))}
    good = run("--once", REPO=html, **settings)
    assert good.returncode == 0, good.stdout
    assert "Node.js is not there" in good.stdout
    bad = run("--once", REPO=npm, **settings)
    assert bad.returncode == 1
    assert "TOOL_MISSING" in bad.stdout


@pytest.mark.parametrize("repo", ["/nowhere/at/all", "."])
def test_repository_that_cannot_be_built(repo: str, tmp_path: Path) -> None:
    result = run("--once", REPO=str(tmp_path) if repo == "." else repo)
    assert result.returncode == 1
    assert result.stdout.count("\n") == 1
    assert "REPO=" in result.stdout


def test_failed_build_says_what_to_do(tmp_path: Path) -> None:
    url = repository(tmp_path / "site", script("process.exit(5)"))
    result = run("--once", REPO=url, **dict(zip(PORTS, free_ports(), strict=True)))
    assert result.returncode == 1
    assert "BUILD_FAILED" in result.stdout
    assert "What to do:" in result.stdout
    assert not result.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_everything(number: int, tmp_path: Path) -> None:
    with local_stack() as stack:
        stack.start_build(repository(tmp_path / "site", script(RUNAWAY)))
        wait_until(lambda: sleepers(stack.process) >= 2, 30)
        below = descendants(stack.process)
        assert stack.end(number) < 5
        wait_until(lambda: not living(below), 1)
        assert stack.process.returncode == 0
    assert "Traceback" not in "".join(stack.printed)
    assert any(line.startswith("1 build is cut off") for line in stack.printed)
    logs = next(line.split()[1] for line in stack.printed if line.startswith("lambda"))
    assert not Path(logs).parent.exists()


def test_time_limit_ends_the_whole_tree(tmp_path: Path) -> None:
    with local_stack(BUILD_TIMEOUT_SECONDS=6) as stack:
        url = repository(tmp_path / "site", script(RUNAWAY))
        data = stack.start_build(url)
        wait_until(lambda: sleepers(stack.process) >= 2, 30)
        build = stack.wait_for(data["buildId"], "failed", seconds=60)
        assert (build["failure"]["code"], build["failure"]["blame"]) == ("BUILD_TIMED_OUT", "user")
        assert "running away" in stack.log(build["id"])
        wait_until(lambda: sleepers(stack.process) == 0, 5)


def test_cancel_ends_the_whole_tree_and_a_retry_builds_the_same_commit(tmp_path: Path) -> None:
    with local_stack() as stack:
        url = repository(tmp_path / "site", script(RUNAWAY))
        first = git(tmp_path / "site", "rev-parse", "HEAD")
        build_id = stack.start_build(url)["buildId"]
        wait_until(lambda: sleepers(stack.process) >= 2, 30)
        commit(tmp_path / "site", {"build.mjs": "process.exit(1)"})
        assert stack.api("POST", f"/v1/builds/{build_id}/cancel").status == 202
        build = stack.wait_for(build_id, "canceled", seconds=30)
        assert (build["failure"]["code"], build["commit"]) == ("CANCELED", first)
        wait_until(lambda: sleepers(stack.process) == 0, 5)
        again = stack.api("POST", f"/v1/builds/{build_id}/retry").json["id"]
        assert stack.get(again)["commit"] == first
        wait_until(lambda: sleepers(stack.process) >= 2, 30)


def test_two_stacks_side_by_side(tmp_path: Path) -> None:
    url = repository(tmp_path / "site", {"index.html": "x"})
    with local_stack() as one, local_stack() as two:
        assert one.build(url)["status"] == "ready"
        assert two.build(url)["status"] == "ready"


def sleepers(process: subprocess.Popen[str]) -> int:
    """How many of the processes that ran away live below the stack."""
    count = 0
    for each in descendants(process):
        try:
            count += each.cmdline()[:1] == ["sleep"]
        except psutil.Error:
            continue
    return count


def test_sites_of_a_deployed_stack(tmp_path: Path) -> None:
    with local_stack() as stack:
        build = stack.build(repository(tmp_path / "site", {"index.html": "deployed"}))
        port = free_ports(1)[0]
        account = {"AWS_ACCESS_KEY_ID": "mine", "AWS_SECRET_ACCESS_KEY": "mine", "AWS_DEFAULT_REGION": "us-east-1"}
        settings = environment(AWS_ENDPOINT_URL=stack.endpoint, SITES_PORT=port, **account)
        del settings["AWS_PROFILE"]
        process = subprocess.Popen(
            command("sites", "--stack", "tidegate"), cwd=ROOT, env=settings, stdout=subprocess.PIPE, text=True
        )
        with process:
            try:
                assert process.stdout
                assert f"localhost:{port}" in process.stdout.readline()
                host = {"host": f"{build['projectSlug']}.localhost:{port}"}
                assert call(port, "GET", "/", None, host).body == b"deployed"
            finally:
                process.send_signal(signal.SIGINT)
        assert process.returncode == 0


def test_sites_of_a_stack_that_is_not_there() -> None:
    result = run("sites", "--stack", "nowhere", SITES_PORT=free_ports(1)[0])
    assert result.returncode == 1
    assert result.stdout.count("\n") == 1
    assert "nowhere cannot be read" in result.stdout

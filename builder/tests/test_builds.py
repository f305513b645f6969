"""Whole builds, by the builder as a process: each ends as the contract says."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from builder.tests.stage import BUILD_ID, BUILDER, PREFIX, build_script, git, npm_package

SITE = "const fs = require('fs'); fs.mkdirSync('dist'); fs.writeFileSync('dist/index.html', '<h1>made</h1>');"


def check_failed(run, exit_code, code, step):
    """Check what every failure must show: exit code, two last lines, the same in the result."""
    assert run.exit_code == exit_code, run.log
    failure = run.result["failure"]
    assert (failure["code"], failure["step"], run.result["ok"]) == (code, step, False)
    assert run.lines[-2] == f"==> Failed: {failure['message']}"
    assert run.lines[-1] == f"==> What to do: {failure['fix']}"
    assert failure["message"]
    assert failure["fix"]
    return failure


def paths_without(directory, *missing):
    """A PATH with links to all programs but the missing ones."""
    directory.mkdir()
    for folder in reversed(os.environ["PATH"].split(":")):
        for program in Path(folder).glob("*") if Path(folder).is_dir() else ():
            link = directory / program.name
            link.unlink(missing_ok=True)
            link.symlink_to(program)
    for name in missing:
        (directory / name).unlink(missing_ok=True)
    return {"PATH": str(directory)}


def test_another_attempt_says_so(stage):
    stage.commit({"index.html": "<h1>Hi</h1>"})
    run = stage.build(attempt=2)
    assert run.lines[0] == "==> Attempt 2"
    assert (run.exit_code, run.result["attempt"]) == (0, 2)


def test_plain_html(stage):
    commit = stage.commit(
        {"index.html": "<h1>Hi</h1>", "img/a.png": b"\x89PNG\r\n\x1a\n\x00--\r\n", "note.txt": b"caf\xe9"}
    )
    run = stage.build()
    assert run.exit_code == 0, run.log
    assert {path: stored.content for path, stored in run.site.items()} == {
        "index.html": b"<h1>Hi</h1>",
        "img/a.png": b"\x89PNG\r\n\x1a\n\x00--\r\n",
        "note.txt": b"caf\xe9",
    }
    assert run.site["index.html"].content_type == "text/html; charset=utf-8"
    assert run.site["note.txt"].content_type == "text/plain"  # it is not UTF-8: the browser may guess
    assert stage.bucket.order[-1].endswith("result.json")
    so_far = json.loads(stage.bucket.objects[f"{PREFIX}source.json"].content)
    assert (so_far["ok"], so_far["commit"], so_far["failure"]) == (False, commit, None)
    assert run.result | {"steps": None} == {
        "version": 1,
        "buildId": BUILD_ID,
        "attempt": 1,
        "ok": True,
        "commit": commit,
        "framework": None,
        "packageManager": None,
        "files": 3,
        "bytes": 28,
        "steps": None,
        "failure": None,
    }
    assert [step["name"] for step in run.result["steps"]][:2] == ["clone", "detect"]
    assert run.lines[0] == f"==> Cloning file://{stage.repository_path} (default branch)"
    assert run.lines[-1].startswith("==> Ready: 3 files in ")


def test_plain_html_needs_no_node(stage, tmp_path):
    stage.commit({"index.html": "hi", "package.json": {"name": "only-a-name"}})
    run = stage.build(paths_without(tmp_path / "bin", "node", "npm", "npx", "corepack"))
    assert run.exit_code == 0, run.log
    assert set(run.site) == {"index.html", "package.json"}


def test_a_package_needs_node(stage, tmp_path):
    stage.commit(build_script(SITE))
    run = stage.build(paths_without(tmp_path / "bin", "node", "npm", "npx", "corepack"))
    failure = check_failed(run, 111, "TOOL_MISSING", "detect")
    assert "Node.js" in failure["message"]


def test_without_git_the_tool_is_missing(stage, tmp_path):
    stage.commit({"index.html": "hi"})
    check_failed(stage.build(paths_without(tmp_path / "bin", "git")), 111, "TOOL_MISSING", "clone")


def test_bun_is_missing(stage, tmp_path):
    stage.commit({**build_script(SITE), "bun.lock": "{}"})
    check_failed(stage.build(paths_without(tmp_path / "bin", "bun")), 111, "TOOL_MISSING", "detect")


def test_a_build_script_is_run(stage):
    stage.commit(build_script(SITE))
    run = stage.build()
    assert run.exit_code == 0, run.log
    assert {path: stored.content for path, stored in run.site.items()} == {"index.html": b"<h1>made</h1>"}
    assert run.result["packageManager"] == "npm"
    assert "==> Installing with npm install" in run.lines
    assert "==> Building with npm run build" in run.lines


def test_settings_come_first(stage):
    stage.commit(
        {**build_script("process.exit(1)"), "web/page.html": "x", "web/tool.sh": "mkdir -p ../web/o; cp page.html o"}
    )
    run = stage.build(
        settings={
            "rootDirectory": "web",
            "installCommand": "echo installed > ok",
            "buildCommand": "test -f ok && sh tool.sh && echo $0 built",
            "outputDirectory": "o",
        }
    )
    assert run.exit_code == 0, run.log
    assert set(run.site) == {"page.html"}
    assert "==> Installing with echo installed > ok" in run.lines


def test_an_empty_command_skips_its_step(stage):
    stage.commit({**build_script("process.exit(1)"), "index.html": "as it is"})
    run = stage.build(settings__installCommand="", settings__buildCommand="")
    assert run.exit_code == 0, run.log
    assert "index.html" in run.site


def test_users_commands_find_the_packages_programs(stage):
    stage.commit({"node_modules/.bin/hello": "#!/bin/sh\nmkdir dist; echo hi > dist/index.html\n", "package.json": {}})
    (stage.repository_path / "node_modules/.bin/hello").chmod(0o755)
    stage.commit({})
    run = stage.build(settings__buildCommand="hello")
    assert run.exit_code == 0, run.log


def test_dev_dependencies_are_installed_with_node_env_production(stage):
    stage.commit(
        {
            "package.json": npm_package(
                scripts={
                    "build": "node -e \"require('tool'); console.log('env', process.env.NODE_ENV)\" && cp -r src dist"
                },
                devDependencies={"tool": "file:./tool"},
            ),
            "tool/package.json": {"name": "tool", "version": "1.0.0"},
            "tool/index.js": "",
            "src/index.html": "x",
        }
    )
    run = stage.build(env={"NODE_ENV": "production"})
    assert run.exit_code == 0, run.log
    assert "env production" in run.lines


@pytest.mark.parametrize("kind", ["branch", "tag", "commit", "pinned", "annotated", "slash"])
def test_every_kind_of_ref(stage, kind):
    stage.commit({"index.html": "old"})
    old = git(stage.repository_path, "rev-parse", "HEAD")
    git(stage.repository_path, "branch", "release/1.x")
    git(stage.repository_path, "branch", "old")
    git(stage.repository_path, "tag", "v1")
    git(stage.repository_path, "tag", "-a", "v1-annotated", "-m", "first")
    stage.commit({"index.html": "new"})
    source = {
        "branch": {"source__ref": "old"},
        "tag": {"source__ref": "v1"},
        "annotated": {"source__ref": "v1-annotated"},
        "slash": {"source__ref": "release/1.x"},
        "commit": {"source__ref": old},
        "pinned": {"source__ref": "main", "source__commit": old},
    }[kind]
    run = stage.build(**source)
    assert run.exit_code == 0, run.log
    assert run.site["index.html"].content == b"old"
    assert run.result["commit"] == old


def test_nothing_in_the_repository_runs_when_it_is_cloned(stage, tmp_path):
    stage.commit(
        {"index.html": "x", ".gitattributes": "*.html filter=evil\n*.bin filter=lfs\n", ".gitmodules": "[submodule]\n"}
    )
    run = stage.build()
    assert run.exit_code == 0, run.log
    assert "==> Note: this repository has submodules; they are not fetched" in run.lines
    assert "==> Note: this repository uses Git LFS; its large files are not fetched" in run.lines


@pytest.mark.parametrize(
    "ref",
    ["nowhere", "0" * 40, "--upload-pack=touch x", "a:b", "refs/heads/*", "a b", "", "-x", "+main", "@{-1}", "a..b"],
)
def test_a_missing_ref(stage, ref):
    stage.commit({"index.html": "x"})
    check_failed(stage.build(source__ref=ref or " "), 103, "REF_NOT_FOUND", "clone")


def test_an_empty_repository(stage):
    stage.repository_path.mkdir()
    git(stage.repository_path, "init")
    failure = check_failed(stage.build(), 103, "REF_NOT_FOUND", "clone")
    assert "empty" in failure["message"]


@pytest.mark.parametrize(
    "url",
    [
        "file:///nowhere/at/all",
        "--upload-pack=touch MARKER",
        "ext::sh -c touch% MARKER",
        "https://127.0.0.1:1/x.git",
        "/nowhere",
    ],
)
def test_a_repository_that_cannot_be_reached(stage, url):
    stage.repository_path.mkdir()
    marker = stage.directory / "was-here"
    failure = check_failed(stage.build(source__url=url.replace("MARKER", str(marker))), 102, "CLONE_FAILED", "clone")
    assert "fatal" not in failure["message"]
    assert "Could not read from remote" not in failure["message"], "that is not why"
    if url == "file:///nowhere/at/all":
        assert "does not appear to be a git repository" in failure["message"]
        assert "password" not in failure["fix"]
    assert not marker.exists()


def test_only_the_jobs_protocols_are_used(stage):
    stage.commit({"index.html": "x"})
    failure = check_failed(stage.build(source__protocols=["https"]), 102, "CLONE_FAILED", "clone")
    assert "https://" in failure["fix"]


@pytest.mark.parametrize("directory", ["nowhere", "..", "../..", "index.html", "link", "\0"])
def test_a_missing_root_directory(stage, directory):
    stage.commit({"index.html": "x"})
    (stage.repository_path / "link").symlink_to("/etc")
    stage.commit({})
    check_failed(stage.build(settings__rootDirectory=directory), 104, "ROOT_DIRECTORY_MISSING", "detect")


def test_a_failing_install(stage):
    stage.commit({"package.json": npm_package(scripts={"preinstall": "echo no such thing; exit 3", "build": "true"})})
    failure = check_failed(stage.build(), 105, "INSTALL_FAILED", "install")
    assert failure["exitCode"] == 3
    assert "no such thing" in failure["lastLines"]


def test_a_failing_build(stage):
    stage.commit(build_script("console.log('about to'); console.error('it broke'); process.exit(7)"))
    failure = check_failed(stage.build(), 106, "BUILD_FAILED", "build")
    assert failure["exitCode"] == 7
    assert "it broke" in failure["lastLines"]
    assert "npm run build" in failure["message"]


def test_a_known_cause_is_named_with_its_cure(stage):
    package = npm_package(dependencies={"x": "file:./x"})
    lock = {"name": "site", "lockfileVersion": 3, "packages": {"": npm_package()}}
    stage.commit({"package.json": package, "package-lock.json": lock, "x/package.json": npm_package(name="x")})
    failure = check_failed(stage.build(), 105, "INSTALL_FAILED", "install")
    assert "commit package-lock.json" in failure["fix"]


def test_a_killed_build_is_told_apart(stage):
    stage.commit({"index.html": "x"})
    failure = check_failed(stage.build(settings__buildCommand="kill -9 $$"), 106, "BUILD_FAILED", "build")
    assert "memory" in failure["fix"]
    failure = check_failed(stage.build(settings__buildCommand="no-such-program"), 106, "BUILD_FAILED", "build")
    assert "not found" in failure["fix"]


@pytest.mark.parametrize("files", [{"README.md": "nothing"}, build_script("")])
def test_no_output(stage, files):
    stage.commit(files)
    check_failed(stage.build(), 107, "OUTPUT_MISSING", "output")


def test_a_site_that_is_too_large(stage):
    stage.commit({"index.html": "x", "large.bin": b"x" * 2000})
    limits = {"files": 10, "fileBytes": 1000, "siteBytes": 10000}
    check_failed(stage.build(limits=limits), 110, "SITE_TOO_LARGE", "output")
    assert not stage.bucket.site


def test_a_broken_package_json(stage):
    stage.commit({"package.json": "{", "index.html": "x"})
    check_failed(stage.build(), 112, "SETTINGS_INVALID", "detect")


def test_a_bucket_that_refuses(stage):
    stage.commit({"index.html": "x"})
    stage.bucket.post_answers = [403]
    failure = check_failed(stage.build(), 108, "UPLOAD_FAILED", "upload")
    assert "So told" in failure["message"]


def test_a_bucket_that_is_not_there(stage):
    stage.commit({"index.html": "x"})
    job = stage.job()["upload"] | {"url": "http://127.0.0.1:1/bucket"}
    run = stage.build(upload=job, timeoutSeconds=4)
    assert run.exit_code == 108, run.log
    assert run.result is None


def test_a_bucket_with_hiccups(stage):
    stage.commit({f"{number}.html": "x" * number for number in range(40)} | {"index.html": "x"})
    stage.bucket.post_answers = [500, "drop", 503, 200, "drop", 429]
    stage.bucket.post_answers.remove(200)
    run = stage.build()
    assert run.exit_code == 0, run.log
    assert len(run.site) == 41
    assert stage.bucket.requests == 42 + 5


def test_a_large_file_is_uploaded_whole(stage):
    content = os.urandom(9_000_000)
    stage.commit({"index.html": "x", "large.bin": content, "large.txt": b"a" * 9_000_000})
    run = stage.build()
    assert run.exit_code == 0, run.log
    assert run.site["large.bin"].content == content
    assert len(run.site["large.txt"].content) == 9_000_000


@pytest.mark.parametrize(
    "answers",
    [
        [(404, b"")],
        [(403, b"<Error/>")],
        [(200, b"not JSON")],
        [(200, b"{}")],
        [(200, b"[]")],
        [(200, json.dumps({"version": 2}).encode())],
    ],
)
def test_a_job_that_is_not_to_be_had(stage, answers):
    stage.commit({"index.html": "x"})
    stage.bucket.get_answers = answers
    run = stage.build()
    assert run.exit_code == 101, run.log
    assert run.lines[-2].startswith("==> Failed: The build's job could not be fetched")
    assert run.lines[-1].startswith("==> What to do: ")
    assert "verysecret" not in run.log


def test_a_job_of_another_build(stage):
    stage.commit({"index.html": "x"})
    assert stage.build({"BUILD_ID": "another"}).exit_code == 101
    assert stage.build({"JOB_URL": "file:///etc/passwd"}).exit_code == 101
    assert stage.build({"JOB_URL": ""}).exit_code == 101


def test_a_job_that_is_had_at_the_third_try(stage):
    stage.commit({"index.html": "x"})
    stage.bucket.get_answers = [(500, b""), (503, b"")]
    assert stage.build().exit_code == 0


def test_a_fault_of_the_builder_itself(stage):
    stage.commit({"index.html": "x"})
    blocked = stage.directory / "cache"
    blocked.write_text("a file where the cache should be")
    stage.cache = blocked
    failure = check_failed(stage.build(), 100, "BUILDER_ERROR", "job")
    assert "FileExistsError" in failure["message"] or "NotADirectory" in failure["message"]


def alive(marker):
    """The processes that have the marker in their command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if marker.encode() in command and entry.name != str(os.getpid()):
            found.append(entry.name)
    return found


STUBBORN = """
trap '' TERM
setsid sh -c 'trap "" TERM; while true; do sleep 0.1; done' {marker} &
( ( trap '' TERM; exec sh -c 'while true; do sleep 0.1; done' {marker} ) & )
echo started
while true; do sleep 0.1; done
"""


def test_out_of_time_ends_every_process(stage, tmp_path):
    marker = f"marker-{tmp_path.name}"
    stage.commit({"index.html": "x", "hang.sh": STUBBORN.format(marker=marker)})
    started = time.monotonic()
    run = stage.build(settings__buildCommand="sh hang.sh", timeoutSeconds=2)
    failure = check_failed(run, 109, "BUILD_TIMED_OUT", "build")
    assert "2 s" in failure["message"]
    assert "started" in run.lines
    assert time.monotonic() - started < 11
    assert alive(marker) == []


def test_time_runs_out_in_the_install_step_too(stage):
    stage.commit(build_script(SITE))
    check_failed(stage.build(settings__installCommand="sleep 60", timeoutSeconds=1), 109, "BUILD_TIMED_OUT", "install")


def test_time_runs_out_while_a_bucket_hangs(stage):
    stage.commit({"index.html": "x"})
    hold = threading.Event()
    original = stage.bucket.store

    def store(content_type, body):
        if b"result.json" not in body:
            hold.wait(20)
        return original(content_type, body)

    stage.bucket.store = store
    started = time.monotonic()
    run = stage.build(timeoutSeconds=2)
    hold.set()
    check_failed(run, 109, "BUILD_TIMED_OUT", "upload")
    assert time.monotonic() - started < 6


def test_what_a_command_leaves_running_is_ended(stage, tmp_path):
    marker = f"marker-{tmp_path.name}"
    command = f"setsid sh -c 'while true; do sleep 0.1; done' {marker} & mkdir dist; echo x > dist/index.html"
    stage.commit({"package.json": {}})
    started = time.monotonic()
    run = stage.build(settings__buildCommand=command)
    assert run.exit_code == 0, run.log
    assert time.monotonic() - started < 5
    assert alive(marker) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_builder_ends_its_commands(stage, tmp_path, number):
    marker = f"marker-{tmp_path.name}"
    stage.commit({"index.html": "x", "hang.sh": STUBBORN.format(marker=marker)})
    with stage.start(settings__buildCommand="sh hang.sh") as process:
        for line in process.stdout:
            if line == b"started\n":
                break
        started = time.monotonic()
        process.send_signal(number)
        log = process.stdout.read().decode()
        assert process.wait(10) == 128 + number
    assert time.monotonic() - started < 5
    assert log.splitlines()[-1].startswith("==> Stopped")
    assert alive(marker) == []
    assert stage.bucket.result is None


def test_commands_see_nothing_of_the_builders_environment(stage):
    stage.commit(build_script(f"{SITE} console.log('ENV ' + JSON.stringify(process.env))"))
    own = {
        "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/x",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    run = stage.build(own, env={"API_BASE": "x", "PATH": "/mine"})
    assert run.exit_code == 0, run.log
    seen = json.loads(next(line for line in run.lines if line.startswith("ENV ")).removeprefix("ENV "))
    assert not {name for name in seen if name.startswith(("AWS_", "PYTHON", "TIDEGATE"))}
    assert not {"JOB_URL", "BUILD_ID", "PROJECT_ID", "GIT_REPOSITORY_URL"} & set(seen)
    assert (seen["CI"], seen["API_BASE"], seen["LANG"]) == ("true", "x", "C.UTF-8")
    assert seen["PATH"].endswith(":/mine")
    assert seen["HOME"] != str(stage.directory / "home")
    assert "verysecret" not in run.log


def test_the_builders_memory_is_closed_to_the_build(stage):
    # As root, who may read everything, only the flag itself can be looked at.
    program = (
        "import ctypes; from tidegate_builder.processes import protect; protect();"
        "print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"
    )
    environment = {"PYTHONPATH": str(BUILDER), "PATH": os.environ["PATH"]}
    assert subprocess.check_output((sys.executable, "-c", program), env=environment) == b"0\n"
    stage.commit({"index.html": "x"})
    run = stage.build(settings__buildCommand="cat /proc/$PPID/environ > /dev/null && echo readable")
    assert ("readable" in run.lines) == (os.geteuid() == 0)


def test_secrets_are_masked_from_end_to_end(stage):
    token = "hunter2/hunter2+hunter2"
    stage.commit(
        build_script(
            "const t = process.env.TOKEN; console.log('plain', t); console.log('url', encodeURIComponent(t));"
            "console.log('b64', Buffer.from('x' + t + 'y').toString('base64')); console.log(JSON.stringify({t}));"
            "process.stdout.write(t.slice(0, 8)); setTimeout(() => { console.log(t.slice(8)); console.error(t);"
            "console.log('https://me:pa55@example.com/'); process.exit(3) }, 300)"
        )
    )
    run = stage.build(env={"TOKEN": token, "MODE": "production"})
    failure = check_failed(run, 106, "BUILD_FAILED", "build")
    assert "plain ***" in run.lines
    assert "https://***@example.com/" in run.lines
    everything = run.log + json.dumps(run.result)
    for part in ("hunter2", "hunter2%2F", "aHVudGVyMi", "pa55"):
        assert part not in everything
    assert "***" in failure["lastLines"]


def test_a_secret_in_the_url_is_masked(stage):
    stage.repository_path.mkdir()
    run = stage.build(source__url="https://me:pa55word@127.0.0.1:1/x.git", source__protocols=["https"])
    assert run.exit_code == 102
    assert "pa55word" not in run.log + json.dumps(run.result)


def test_a_flood_is_bounded_and_the_build_goes_on(stage):
    stage.commit(build_script(f"{SITE} for (let i = 0; i < 2e4; i++) console.log(('line ' + i + '\\n').repeat(10))"))
    started = time.monotonic()
    run = stage.build(env={"TOKEN": "a-secret-of-some-length"})
    assert run.exit_code == 0
    assert 100_000 < len(run.lines) < 100_030
    assert sum("This log is full" in line for line in run.lines) == 1
    assert run.lines[-1].startswith("==> Ready")
    assert time.monotonic() - started < 20


def test_output_comes_while_the_build_runs(stage):
    stage.commit({"index.html": "x"})
    with stage.start(settings__buildCommand="echo first; sleep 2; echo second") as process:
        seen = {}
        for line in process.stdout:
            seen[line.strip()] = time.monotonic()
    assert seen[b"second"] - seen[b"first"] > 1.5


def test_a_command_that_waits_for_input_gets_none(stage):
    stage.commit({"index.html": "x"})
    run = stage.build(settings__buildCommand="read answer || echo no input", timeoutSeconds=20)
    assert "no input" in run.lines

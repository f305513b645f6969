"""The build from the job to the uploaded site, and its exit code."""

import os
import signal
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import NoReturn

from tidegate_builder import clone
from tidegate_builder.commands import Ended, run
from tidegate_builder.environment import base_environment, command_environment, make_workplace
from tidegate_builder.failure import EXIT_CODES, Code, Failure, OutOfTime, StepFailed, failed
from tidegate_builder.framework import Detection, Framework
from tidegate_builder.job import Job, JobUnreadable, read_job
from tidegate_builder.launchers import registry_environment, require_tools, write_launchers
from tidegate_builder.log import Log
from tidegate_builder.masking import Mask
from tidegate_builder.output import find_output, list_files, newest_change
from tidegate_builder.processes import end_all, protect
from tidegate_builder.project import Command, build_command, find_project, install_command, needs_detection
from tidegate_builder.result import Progress
from tidegate_builder.upload import upload_result, upload_site
from tidegate_builder.web import Response, TryAgainLater, get, with_retries

JOB_SECONDS = 60
RESULT_SECONDS = 30
TELLING_SECONDS = 5
FAILURE_RESULT_SECONDS = 5  # it is only a courtesy: the exit code says that the build failed
STOP_GRACE_SECONDS = 1.5


def main(started: float) -> NoReturn:
    """Run the builder; `started` is when, on the monotonic clock. Ends the process with the contract's exit code."""
    protect()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    code = build(dict(os.environ), started)
    os._exit(code)  # at once: not even an upload that hangs holds us up, and there is nothing in buffers


def _stop(number: int, _frame: FrameType | None) -> None:
    """End everything, at whatever point the build is."""
    signal.signal(number, signal.SIG_IGN)
    Log(Mask(())).step("Stopped: the build was told to end")
    end_all(grace=STOP_GRACE_SECONDS)
    os._exit(128 + number)


def build(environ: Mapping[str, str], started: float) -> int:
    """Build the job that the environment names; return the exit code."""
    log = Log(Mask(()))
    try:
        job = _fetch_job(environ)
    except StepFailed as error:
        _say_failed(log, error.failure)
        return EXIT_CODES[error.failure.code]
    log.mask = Mask(value for _, value in job.env)
    if job.attempt > 1:
        log.step(f"Attempt {job.attempt}")
    progress = Progress()
    failure = _attempt(job, environ, started, log, progress)
    if failure:
        failure = _masked(failure, log.mask)
        with suppress(StepFailed):
            upload_result(job.upload, progress.document(job, failure), time.monotonic() + FAILURE_RESULT_SECONDS)
        _say_failed(log, failure)
        return EXIT_CODES[failure.code]
    log.step(f"Ready: {_files(progress.files)} in {time.monotonic() - started:.1f} s")
    return 0


def _attempt(job: Job, environ: Mapping[str, str], started: float, log: Log, progress: Progress) -> Failure | None:
    """Do all steps; return why they ended early, if they did."""
    try:
        Build(job, environ, started + job.timeout_seconds, log, progress).run()
    except StepFailed as error:
        return error.failure
    except OutOfTime:
        return Failure(
            Code.BUILD_TIMED_OUT,
            f"The build did not end within its {job.timeout_seconds:g} s; time ran out in the {progress.step} step.",
            "Check that no command waits or goes on for ever; make the build faster, or raise the time limit.",
        )
    except Exception as error:  # noqa: BLE001 - whatever it is, it must end as the contract says
        return Failure(
            Code.BUILDER_ERROR,
            f"The builder itself failed: {type(error).__name__}: {error}",
            "Nothing is wrong with the project: build again, and report this if it stays.",
        )
    finally:
        end_all()
    return None


def _fetch_job(environ: Mapping[str, str]) -> Job:
    url = environ.get("JOB_URL", "")
    try:
        response = with_retries(lambda: get(url), time.monotonic() + JOB_SECONDS)
        return read_job(_expect_ok(response), environ.get("BUILD_ID"))
    except (TryAgainLater, JobUnreadable, ValueError) as error:
        raise failed(
            Code.JOB_UNAVAILABLE,
            f"The build's job could not be fetched: {error}",
            "Nothing is wrong with the project: build again.",
        ) from error


def _expect_ok(response: Response) -> bytes:
    if response.status != 200:
        raise JobUnreadable(f"the answer was HTTP {response.status}")
    return response.body


def _masked(failure: Failure, mask: Mask) -> Failure:
    return replace(
        failure,
        message=mask.text(failure.message),
        fix=mask.text(failure.fix),
        last_lines=tuple(mask.text(line) for line in failure.last_lines),
    )


def _say_failed(log: Log, failure: Failure) -> None:
    log.step(f"Failed: {failure.message}")
    log.step(f"What to do: {failure.fix}")


class Build:
    """One attempt at one job."""

    def __init__(self, job: Job, environ: Mapping[str, str], deadline: float, log: Log, progress: Progress) -> None:
        home = Path(environ.get("HOME") or tempfile.gettempdir())
        cache = Path(environ["TIDEGATE_CACHE_DIR"]) if environ.get("TIDEGATE_CACHE_DIR") else home / ".cache"
        self._directory = Path(tempfile.mkdtemp(prefix="tidegate-"))
        self._workplace = make_workplace(self._directory, cache)
        self._environment = base_environment(self._workplace, environ)
        self._job = job
        self._deadline = deadline
        self._log = log
        self._progress = progress

    def run(self) -> None:
        """Do all steps. Raises StepFailed, OutOfTime."""
        job, log, progress, settings = self._job, self._log, self._progress, self._job.settings
        with progress.during("clone"):
            clone.describe(job.source, log)
            repository = clone.Repository(job.source, self._workplace.checkout, self._environment, self._deadline)
            progress.commit = repository.clone()
            for line in clone.warnings(self._workplace.checkout):
                log.step(line)
        telling = self._tell_commit()
        with progress.during("detect"):
            project = find_project(self._workplace.checkout, settings)
            environment = command_environment(self._environment, dict(job.env))
            detection: Detection | None = None
            if needs_detection(project, settings):
                detection = Detection(project.checkout, project.directory, self._environment)
            if project.manager:
                progress.package_manager = project.manager.name
                require_tools(project.manager, environment)
                write_launchers(self._workplace.programs, project.manager)
                environment = {**registry_environment(project.manager, environment), **environment}
        with progress.during("install"):
            command = install_command(project, settings, environment)
            if command:
                version = f" ({project.manager.label})" if project.manager and project.manager.version else ""
                log.step(f"Installing with {command.label}{version}")
                ended = self._run(command, detection.pids if detection else ())
                _expect_success(ended, Code.INSTALL_FAILED, command, "install")
        built_since: int | None = None
        with progress.during("build"):
            framework = detection.result(self._deadline) if detection else None
            progress.framework = framework.id if framework else None
            command = build_command(project, settings, framework, environment)
            if command:
                log.step(f"Building with {command.label}{_framework_note(framework)}")
                built_since = newest_change(self._directory / "built-since")
                _expect_success(self._run(command), Code.BUILD_FAILED, command, "build")
            else:
                log.step("Nothing to build: the files are published as they are")
        with progress.during("output"):
            directory = find_output(project, settings.output_directory, framework, built_since)
            files = list_files(directory, project, job.limits, log.step)
            progress.files = len(files)
            progress.bytes = sum(file.size for file in files)
        with progress.during("upload"):
            log.step(f"Uploading {_files(progress.files)}, {_size(progress.bytes)}")
            upload_site(job.upload, files, self._deadline)
            if time.monotonic() > self._deadline:
                raise OutOfTime
        telling.join(TELLING_SECONDS)
        upload_result(job.upload, progress.document(job, None), time.monotonic() + RESULT_SECONDS)

    def _tell_commit(self) -> threading.Thread:
        """Upload the commit beside the build, for a retry of the same one even if this container is killed."""
        document = self._progress.document(self._job, None, ended=False)

        def upload() -> None:
            with suppress(StepFailed):
                upload_result(self._job.upload, document, self._deadline, "source.json")

        thread = threading.Thread(target=upload, daemon=True)
        thread.start()
        return thread

    def _run(self, command: Command, spare: tuple[int, ...] = ()) -> Ended:
        return run(command.arguments, command.directory, command.environment, self._log, self._deadline, spare)


def _expect_success(ended: Ended, code: Code, command: Command, name: str) -> None:
    if ended.exit_code == 0:
        return
    if ended.advice:
        fix = ended.advice
    elif ended.exit_code == 127:
        fix = f"A command was not found: add the package that brings it to package.json, or change the {name} command."
    elif ended.exit_code in {-signal.SIGKILL, 128 + signal.SIGKILL}:
        fix = "It was killed, most likely for want of memory: give the build more memory, or make it need less."
    else:
        fix = f"Read the build's log; `{command.label}` in a fresh clone should fail in the same way."
    how = f"exit code {ended.exit_code}" if ended.exit_code > 0 else f"signal {-ended.exit_code}"
    raise failed(
        code, f"The {name} command `{command.label}` ended with {how}.", fix, ended.exit_code, ended.last_lines
    )


def _framework_note(framework: Framework | None) -> str:
    return f" ({framework.name})" if framework else ""


def _files(count: int) -> str:
    return f"{count:,} file{'' if count == 1 else 's'}"


def _size(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}" if count < 10 * size else f"{count / size:.0f} {unit}"
    return f"{count} byte{'' if count == 1 else 's'}"

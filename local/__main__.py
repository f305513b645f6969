"""Start: ``python -m local``, or ``make run``."""

import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

if sys.version_info < (3, 11):  # noqa: UP036  # said before the imports, which need it
    sys.exit("tidegate: Python 3.11 or later is needed")

from local.announcer import Announcer
from local.chaos import CALM
from local.checks import CannotLoad, CannotStart, check
from local.client import Client, Refused, Source, ending
from local.options import NO_AWS_FILES, ROOT, Options, from_command_line
from local.repository import source_of, warnings_of
from local.state import state_folder


def say(line: str = "") -> None:
    """Print a line at once."""
    print(line, flush=True)


def main() -> int:
    """Run the local stack until it is interrupted; the exit code."""
    started = time.monotonic()
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        signal.signal(getattr(signal, name), _interrupt)
    if sys.argv[1:2] == ["sites"]:
        return _serve_sites()
    options = from_command_line(sys.argv[1:])
    try:
        source = source_of(options) if options.build else None
        for warning in (*check(options), *warnings_of(options)):
            say(f"warning: {warning}")
        say("starting the local stack ...")
        with state_folder(ROOT / ".tidegate", options.state) as state:
            return _run(options, state, source, started)
    except (CannotStart, CannotLoad) as error:
        say(f"tidegate: {error}")
        return 1
    except (KeyboardInterrupt, BrokenPipeError):  # the latter: whoever read the output has gone
        return 130 if options.once else 0


def _serve_sites() -> int:
    from local.sites import serve  # a command of its own

    try:
        serve(sys.argv[2:])
    except CannotStart as error:
        say(f"tidegate: {error}")
        return 1
    except KeyboardInterrupt:
        return 0


def _run(options: Options, state: Path, source: Source | None, started: float) -> int:
    _forget_aws()
    # Imported here because it takes a second, and what is wrong should be said before.
    from local.running import running

    client = Client(f"http://127.0.0.1:{options.api_port}")
    announcer = Announcer(client, say)
    with running(options, state, ROOT / ".tidegate" / "cache", announcer.look_at, say) as endpoint:
        try:
            say(f"API    {client.url}\nlogs   ws://127.0.0.1:{options.logs_port}")
            say(f"sites  {options.parameters['SitesUrl']}\nAWS    {endpoint.url}")
            say(f"lambda {state / 'functions'}    (started in {time.monotonic() - started:.1f} s)\n")
            if options.chaos != CALM:
                say(f"chaos  {options.chaos}\n")
            for build_id in endpoint.resumed:
                announcer.watch(build_id)
            good = _build(client, announcer, source, started) if source else True
            if options.once:
                return 0 if good else 1
            say(
                f"Build another:\n  curl -X POST {client.url}/project -H 'content-type: application/json' "
                """-d '{"gitURL":"https://github.com/you/site"}'\nCtrl-C ends everything."""
            )
            while True:
                time.sleep(0.2)  # not longer: a signal that reaches another thread does not wake this one
        except KeyboardInterrupt:
            _say_what_ends(running=endpoint.fargate.living() if endpoint.fargate else 0, kept=options.state is not None)
            raise
        finally:
            for name in ("SIGINT", "SIGTERM", "SIGHUP"):
                signal.signal(getattr(signal, name), signal.SIG_IGN)


def _build(client: Client, announcer: Announcer, source: Source, started: float) -> bool:
    """Build like a user, show the log, and say how it ended; whether well."""
    say(f"building {source.url}" + (f" in {source.root_directory}" if source.root_directory else ""))
    begun = time.monotonic()
    try:
        build_id = client.post(source)["buildId"]
        announcer.followed.add(build_id)
        build = client.follow(build_id, lambda line: say(f"  {line}"))
    except Refused as error:
        say(f"\nThe build was not accepted: {error}\n")
        return False
    now = time.monotonic()
    took = f"{now - begun:.1f} s after the request, {now - started:.1f} s after the start"
    say(f"\n{ending(build)}{f', {took}.' if build['status'] == 'ready' else ''}\n")
    return bool(build["status"] == "ready")


def _say_what_ends(*, running: int, kept: bool) -> None:
    if running:
        builds = "1 build is" if running == 1 else f"{running} builds are"
        say(f"\n{builds} cut off; {'the next run tries again' if kept else 'KEEP_STATE=1 would keep what there is'}")


def _forget_aws() -> None:
    """Keep the user's own AWS settings from this process: boto fails on a profile that is not there, for one."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "MOTO_"))]:
        del os.environ[name]
    os.environ |= NO_AWS_FILES


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    code = main()
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
    os._exit(code)  # everything has been ended; what threads still wait for does not matter

"""What must be so before the local stack can start, each with one clear line if it is not."""

import shutil
import socket
from collections.abc import Iterator
from itertools import combinations

from local.options import Options


class CannotStart(Exception):
    """The local stack cannot start; the message says why and what to do."""


class CannotLoad(Exception):
    """Functions cannot be loaded; the message has a line for each."""


def check(options: Options) -> list[str]:
    """Raise CannotStart, or return warnings."""
    if not shutil.which("git"):
        raise CannotStart("git is not there; install it, e.g. apt-get install git.")
    ports = {"API_PORT": options.api_port, "SITES_PORT": options.sites_port, "LOGS_PORT": options.logs_port}
    for one, other in combinations(ports, 2):
        if ports[one] == ports[other]:
            raise CannotStart(f"{one} and {other} are both {ports[one]}; choose two.")
    for variable, port in ports.items():
        check_port(port, variable)
    return list(_warnings())


def check_port(port: int, variable: str) -> None:
    """Raise CannotStart if somebody has the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            reason = "is in use" if isinstance(error, OSError) and error.errno != 13 else "cannot be used"
            other = port + 10 if port + 10 <= 65535 else 9010
            raise CannotStart(f"port {port} {reason}; choose another, e.g. {variable}={other} make run.") from error


def _warnings() -> Iterator[str]:
    if not shutil.which("node"):
        yield "Node.js is not there: plain HTML builds, everything else will fail; install Node.js 20 or later."
    elif not shutil.which("npm"):
        yield "npm is not there: sites with a package.json will fail; install it beside Node.js."

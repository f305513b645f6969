"""The build's log on stdout: masked, in whole lines, bounded."""

import os
import re
from collections import deque

from tidegate_builder.advice import Symptoms
from tidegate_builder.in_base64 import may_go_on
from tidegate_builder.masking import Mask

MAX_LINES = 100_000
MAX_BYTES = 20_000_000
MAX_LINE_BYTES = 1_000_000
LAST_LINES = 20
LAST_LINE_CHARACTERS = 500

CUT = b" ... (line cut)"
_EMPTY = re.compile(rb"^(?=\n)", re.MULTILINE)  # CloudWatch takes no empty lines, and its driver leaves them out
FLOODED = "==> This log is full (100,000 lines or 20 MB): the build goes on, the rest of its output is not kept"


class Log:
    """Writes the builder's own lines and those of commands."""

    def __init__(self, mask: Mask, descriptor: int = 1) -> None:
        self.mask = mask
        self._descriptor = descriptor
        self._lines = 0
        self._bytes = 0
        self._full = False

    def step(self, text: str) -> None:
        """Write one line of the builder itself; these are few and always written."""
        # Masked first: white space may be part of a secret.
        self._write(f"==> {' '.join(self.mask.text(text).split())}\n".encode())

    def lines(self, text: bytes) -> None:
        """Write whole, masked lines of a command, until the log is full."""
        if self._full:
            return
        count = text.count(b"\n")
        if self._lines + count > MAX_LINES or self._bytes + len(text) > MAX_BYTES:
            text = self._what_still_fits(text)
            self._full = True
        self._lines += count
        self._bytes += len(text)
        self._write(text)
        if self._full:
            self._write(FLOODED.encode() + b"\n")

    def _what_still_fits(self, text: bytes) -> bytes:
        lines = text.splitlines(keepends=True)[: MAX_LINES - self._lines]
        fitting: list[bytes] = []
        room = MAX_BYTES - self._bytes
        for line in lines:
            room -= len(line)
            if room < 0:
                break
            fitting.append(line)
        return b"".join(fitting)

    def _write(self, data: bytes) -> None:
        # Not through a buffer: a stopped builder must not lose lines, and a signal handler may write too.
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]


class CommandOutput:
    """Turns the chunks that a command prints into masked lines."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._pending = bytearray()
        self._capacity = MAX_LINE_BYTES + log.mask.longest
        self._goes_on = False
        self.symptoms = Symptoms()
        self._last: deque[bytes] = deque(maxlen=LAST_LINES)

    def feed(self, chunk: bytes) -> None:
        """Take what was read; whole lines go out at once."""
        end = chunk.rfind(b"\n") + 1
        if not end:
            self._keep(chunk)
            return
        # Secrets are looked for in whole lines only: one that was split over two chunks is whole again here.
        first_end = chunk.find(b"\n")
        self._keep(chunk[:first_end])
        text = bytes(self._pending) + chunk[first_end:end]
        self._pending = bytearray()
        self._keep(chunk[end:])
        self._emit(text)

    def close(self) -> None:
        """Write what is left: a last line without its end."""
        if self._pending:
            self._emit(bytes(self._pending) + b"\n")
            self._pending = bytearray()

    def last_lines(self) -> tuple[str, ...]:
        """Return the last lines that say something."""
        lines = (line.decode(errors="replace").strip()[:LAST_LINE_CHARACTERS] for line in self._last)
        return tuple(line for line in lines if line)

    def _keep(self, data: bytes) -> None:
        """Add to the line that has not ended yet, up to its bound; what a carriage return overwrites goes."""
        start = data.rstrip(b"\r").rfind(b"\r") + 1
        if start or (self._pending.endswith(b"\r") and data.strip(b"\r")):
            self._pending.clear()
        kept = data[start:]
        self._pending += kept[: max(0, self._capacity - len(self._pending))]
        if kept.endswith(b"\r") and not self._pending.endswith(b"\r"):
            self._pending += b"\r"

    def _emit(self, text: bytes) -> None:
        cut: set[int] = set()
        if b"\r" in text or len(text) > MAX_LINE_BYTES:
            lines = [_last_state(line) for line in text.split(b"\n")]
            cut = {number for number, line in enumerate(lines) if len(line) >= self._capacity}
            text = b"\n".join(lines)
        goes_on, self._goes_on = self._goes_on, may_go_on(text)
        text = self._log.mask.apply(text, goes_on)
        if len(text) > MAX_LINE_BYTES or cut:
            text = b"\n".join(self._bounded(line, number in cut) for number, line in enumerate(text.split(b"\n")))
        text = text.decode(errors="replace").encode()
        self._last.extend(text[-LAST_LINES * MAX_LINE_BYTES :].split(b"\n")[-LAST_LINES - 1 : -1])
        self.symptoms.look_at(text)
        self._log.lines(_EMPTY.sub(b" ", text) if b"\n\n" in text or text.startswith(b"\n") else text)

    def _bounded(self, line: bytes, cut: bool) -> bytes:
        if cut:  # its end may hold the first half of a secret
            line = line[: max(0, len(line) - self._log.mask.longest)]
        if len(line) > MAX_LINE_BYTES:
            line, cut = line[:MAX_LINE_BYTES], True
        return line + (CUT if cut else b"")


def _last_state(line: bytes) -> bytes:
    """Return the line as a terminal would show it in the end, with a progress bar's last state."""
    return line.rstrip(b"\r").rpartition(b"\r")[2]

"""The log: whole masked lines, bounded."""

import os
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate_builder import log as log_module
from tidegate_builder.log import FLOODED, MAX_LINE_BYTES, CommandOutput, Log
from tidegate_builder.masking import Mask


class MemoryLog(Log):
    """A log that keeps what it would write."""

    def __init__(self, *secrets):
        super().__init__(Mask(secrets))
        self.written = b""

    def _write(self, data):
        self.written += data


def relay(chunks, *secrets):
    log = MemoryLog(*secrets)
    output = CommandOutput(log)
    for chunk in chunks:
        output.feed(chunk)
    output.close()
    return log.written, output


def split(data, cuts):
    positions = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in pairwise(positions)]


@given(
    st.lists(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\r\n"))), st.lists(st.integers(0))
)
def test_lines_come_through_whole_however_they_are_cut(lines, cuts):
    data = "".join(f"{line}\n" for line in lines if "://" not in line).encode()
    assert relay(split(data, cuts))[0] == data


@given(st.lists(st.integers(0)))
def test_a_secret_is_masked_however_the_output_is_cut(cuts):
    data = b"one\nthe token is hunter2hunter2, twice: hunter2hunter2\nlast hunter2hunter2"
    expected = b"one\nthe token is ***, twice: ***\nlast ***\n"
    assert relay(split(data, cuts), "hunter2hunter2")[0] == expected


def test_progress_bars_show_their_last_state():
    assert relay([b"  0 %\r 50 %\r", b"100 %\r\nnext\r\n\r\n"])[0] == b"100 %\nnext\n\n"


def test_what_is_not_utf8_is_replaced():
    assert relay([b"caf\xe9 \xff\n"])[0].decode() == "caf� �\n"


def test_colours_and_empty_lines_stay():
    assert relay([b"\x1b[32mok\x1b[0m\n\n\n"])[0] == b"\x1b[32mok\x1b[0m\n\n\n"


def test_a_line_of_a_megabyte_comes_through_and_a_longer_one_is_cut():
    line = b"x" * MAX_LINE_BYTES + b"\n"
    assert relay([line[:70_000], line[70_000:]], "a-secret-of-some-length")[0] == line
    long = b"y" * (3 * MAX_LINE_BYTES) + b"\nnext\n"
    written, _ = relay([long[start : start + 65536] for start in range(0, len(long), 65536)], "a-secret-of-some-length")
    first, second, end = written.split(b"\n")
    assert first.startswith(b"y" * 990_000)
    assert first.endswith(b"... (line cut)")
    assert len(first) <= MAX_LINE_BYTES + 20
    assert (second, end) == (b"next", b"")


@pytest.mark.parametrize("shift", [-10, 0, 1, 7, 20])
def test_a_secret_at_the_end_of_a_cut_line_is_not_shown_in_part(shift):
    secret = "abcdefghijklmnop"
    before = MAX_LINE_BYTES + shift
    written, _ = relay([b"y" * before + secret.encode() * 1000 + b"\n"], secret)
    assert secret[:3].encode() not in written


def test_a_flood_ends_with_one_line_that_says_so(monkeypatch):
    monkeypatch.setattr(log_module, "MAX_LINES", 10)
    written, output = relay(
        [b"".join(b"line %d\n" % number for number in range(start, start + 7)) for start in (0, 7, 14)]
    )
    assert written == b"".join(b"line %d\n" % number for number in range(10)) + FLOODED.encode() + b"\n"
    assert output.last_lines()[-1] == "line 20"


def test_a_flood_of_bytes_is_bounded_too(monkeypatch):
    monkeypatch.setattr(log_module, "MAX_BYTES", 100)
    written, _ = relay([b"x" * 60 + b"\n" + b"y" * 60 + b"\n", b"more\n"])
    assert written == b"x" * 60 + b"\n" + FLOODED.encode() + b"\n"


def test_the_builders_own_lines_are_masked_and_single():
    log = MemoryLog("topsecretvalue")
    log.step("Cloning https://me:x@host/topsecretvalue\nnow")
    assert log.written == b"==> Cloning https://***@host/*** now\n"


def test_masking_keeps_up_with_a_flood():
    secrets = [os.urandom(12).hex() for _ in range(20)]
    chunk = b"some ordinary line of a build's output, nothing secret in it at all\n" * 1000
    output = CommandOutput(MemoryLog(*secrets))
    started = time.process_time()
    for _ in range(50):
        output.feed(chunk)
    assert 50 * len(chunk) / (time.process_time() - started) > 5e6, "bytes a second"

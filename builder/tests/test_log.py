"""The log: whole masked lines, bounded."""

import base64
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
    lines = [line for line in lines if "://" not in line]
    data = "".join(f"{line}\n" for line in lines).encode()
    assert relay(split(data, cuts))[0] == "".join(f"{line or ' '}\n" for line in lines).encode()


@given(st.lists(st.integers(0)))
def test_a_secret_is_masked_however_the_output_is_cut(cuts):
    data = b"one\nthe token is hunter2hunter2, twice: hunter2hunter2\nlast hunter2hunter2"
    expected = b"one\nthe token is ***, twice: ***\nlast ***\n"
    assert relay(split(data, cuts), "hunter2hunter2")[0] == expected


def test_progress_bars_show_their_last_state():
    assert relay([b"  0 %\r 50 %\r", b"100 %\r\nnext\r\n\r\n"])[0] == b"100 %\nnext\n \n"


@given(st.lists(st.text("ab\r\n")))
def test_carriage_returns_mean_the_same_however_the_output_is_cut(chunks):
    data = "".join(chunks).encode()
    states = [line.rstrip(b"\r").split(b"\r")[-1] or b" " for line in data.split(b"\n")]
    written, _ = relay([chunk.encode() for chunk in chunks])
    assert written in {b"".join(state + b"\n" for state in some) for some in (states, states[:-1])}


def test_a_long_progress_bar_shows_its_last_state_and_no_more_is_kept():
    bar = b"".join(b"\r%7d of 200000 modules" % number for number in range(60_000))
    log = MemoryLog("hunter2hunter2")
    output = CommandOutput(log)
    for start in range(0, len(bar), 4000):
        output.feed(bar[start : start + 4000])
        assert len(output._pending) < 5000
    output.feed(b"\rdone with hunter2")
    output.feed(b"hunter2\r")
    output.feed(b"\n")
    assert log.written == b"done with ***\n"


def test_what_follows_a_line_that_is_too_long_takes_its_place_after_a_carriage_return():
    long = b"x" * (2 * MAX_LINE_BYTES)
    assert relay([long, b"\r", b"next\n"])[0] == b"next\n"
    assert relay([long, b"\r", b"\n"])[0].endswith(b"x ... (line cut)\n")


def test_what_is_not_utf8_is_replaced():
    assert relay([b"caf\xe9 \xff\n"])[0].decode() == "caf� �\n"


def test_colours_stay_and_empty_lines_have_a_space_that_cloudwatch_takes():
    assert relay([b"\x1b[32mok\x1b[0m\n\n\n"])[0] == b"\x1b[32mok\x1b[0m\n \n \n"


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


@pytest.mark.parametrize("shown", range(1, 41, 3))
@pytest.mark.parametrize("state", [b"x", b"\r"])
def test_a_secret_after_a_carriage_return_is_not_shown_in_part(shown, state):
    secret = "ghp_0123456789abcdefghijklmnopqrstuvwxyz"
    before = MAX_LINE_BYTES + Mask([secret]).longest - shown
    for chunks in (
        [b"x" * (before - 1) + state + secret.encode() + b"\n"],
        [b"x" * (before - 1) + state, secret.encode()],
    ):
        assert secret[:3].encode() not in relay(chunks, secret)[0]


def test_a_cut_line_that_is_all_secrets_is_not_shown_in_part():
    secret = "".join(f"<{number:05d}>" for number in range(400))
    text = secret.encode() * (2 * MAX_LINE_BYTES // len(secret))
    assert relay([text[: MAX_LINE_BYTES + Mask([secret]).longest + 5], b"\n"], secret)[0] == b" ... (line cut)\n"


@given(st.lists(st.integers(0)))
def test_a_secret_in_wrapped_base64_is_masked_however_the_output_is_cut(cuts):
    secret = "github_pat_" + "0123456789aBcDeFgHiJkLmNoP" * 3
    data = base64.encodebytes(b"Authorization: Bearer " + secret.encode())
    expected = b"QXV0aG9yaXphdGlvbjogQmVhcmVyIG***\n***\n"
    assert relay(split(b"one\n" + data + b"two\n", cuts), secret)[0] == b"one\n" + expected + b"two\n"


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


def test_a_secret_with_white_space_is_masked_in_the_builders_own_lines():
    log = MemoryLog("two  spaces here")
    log.step("Building with FOO='two  spaces here' make")
    assert log.written == b"==> Building with FOO='***' make\n"


@pytest.mark.parametrize("word", [b"x", b"A/", b"%2B", b"\\u002F"])
@pytest.mark.parametrize("end", [b") no-repeat", b"\x1b[31m" + b"y" * 300_000 + b".", b"", b"!"])
def test_long_words_come_through_in_bounded_time(word, end):
    line = b".a{background:url(data:image/png;base64," + word * (600_000 // len(word)) + end
    assert relay([line, b"\nnext\n"])[0] == line + b"\nnext\n"
    assert relay([line, b"\nnext\n"], "a-secret/of?some>length")[0] == line + b"\nnext\n"


def test_masking_keeps_up_with_a_flood():
    secrets = [os.urandom(12).hex() for _ in range(20)]
    chunk = b"some ordinary line of a build's output, nothing secret in it at all\n" * 1000
    output = CommandOutput(MemoryLog(*secrets))
    started = time.process_time()
    for _ in range(50):
        output.feed(chunk)
    assert 50 * len(chunk) / (time.process_time() - started) > 5e6, "bytes a second"


@pytest.mark.parametrize(
    ("line", "advice"),
    [
        (b"Error: Cannot find module 'react'", "add its package"),
        (b'Error: Cannot find module "../missing.js"', "commit it"),
        (b"Error: Cannot find module './missing'", "commit it"),
        (b"npm error code ERESOLVE", "legacy-peer-deps"),
    ],
)
def test_what_a_command_says_of_its_failure_leads_to_advice(line, advice):
    _, output = relay([b"one\n", line[:20], line[20:] + b"\n"])
    assert advice in output.symptoms.advice()
    assert relay([b"one\n"])[1].symptoms.advice() is None

"""Blocks of log lines as they are stored: CloudWatch's own gzip of JSON, or a condensed form of a third of its size.

A condensed block has the texts deflated with a dictionary, how the times grow, and only those parts of the ids that do
not follow from the times.
"""

import zlib
from collections.abc import Sequence
from itertools import accumulate, pairwise, repeat
from operator import lt, mul, sub

import msgspec
from msgspec import Struct

from tidegate import batches, phrases
from tidegate.batches import Event

_GZIP = b"\x1f\x8b"
_BITS = 144  # of an id, behind its time
_STEP = 1 << _BITS  # between ids a millisecond apart: CloudWatch's begin with the time, and end with a count
_MOST_DIGITS = 100  # of an id; CloudWatch's have 56
_BURST = 4  # lines of one millisecond, on average, from which on they are looked at as bursts
_BEST = 32 * 1024  # bytes of text up to which zlib compresses; it costs 20 times isal's instructions, for a sixth less
_LATEST = 1 << 62


class _Condensed(Struct, array_like=True, frozen=True):
    """A condensed block, as an array of MessagePack's.

    `phrases` is the number of the dictionary. The first line is of the time `start`, and `times` says how many
    milliseconds each other one is later than the one before; ids grow by one, and by `step` in each millisecond, and
    where they do not, `odd` says by how much more. `span` is from the first id to the last. Numbers in bytes are
    big-endian and two's complement; `texts` is what lies between line feeds, deflated.
    """

    phrases: int
    span: bytes
    start: int
    step: bytes
    odd: dict[int, bytes]
    order: int
    times: bytes
    texts: bytes


_read = msgspec.msgpack.Decoder(_Condensed).decode


def condense(events: Sequence[Event]) -> bytes | None:
    """The condensed block of lines in order; `None` if they have anything that it cannot hold."""
    names, times = [event.id for event in events], [event.timestamp for event in events]
    messages = [event.message for event in events]
    passed = [*map(sub, times[1:], times)]
    texts = _encoded("\n".join(messages))
    if not _plain(names) or texts is None or "\n" in "".join(messages):
        return None
    if times[0] < 0 or times[-1] > _LATEST or min(passed, default=0) < 0:
        return None
    first, last = int(names[0]), int(names[-1])
    odd = _odd_in_bursts(names, times, passed)
    step = _STEP
    if odd is None:
        ids = [*map(int, names)]
        step = _STEP if first >> _BITS == times[0] else _step(ids, passed)
        odd = _odd(ids, times, step)
    order = max(0, ((times[-1] - times[0]) // len(times)).bit_length() - 1)
    return msgspec.msgpack.encode(
        _Condensed(
            phrases.NEWEST,
            _to_bytes(last - first),
            times[0],
            b"" if step == _STEP else _to_bytes(step),
            odd,
            order,
            _write_numbers(passed, order),
            _deflate(texts),
        )
    )


def is_condensed(block: bytes) -> bool:
    """Which of the two forms it is."""
    return not block.startswith(_GZIP)


def events(block: bytes, first_id: str) -> tuple[Event, ...]:
    """The lines in a block of either form whose first line has this id."""
    if not is_condensed(block):
        return batches.events(block)
    found = _read(block)
    step = _from_bytes(found.step) if found.step else _STEP
    passed = _read_numbers(found.times, found.order)
    grown = [time * step + 1 for time in passed]
    for place, by in found.odd.items():
        grown[place] += _from_bytes(by)
    ids = accumulate(grown, initial=int(first_id))
    times = accumulate(passed, initial=found.start)
    stream = zlib.decompressobj(wbits=-zlib.MAX_WBITS, zdict=phrases.BY_NUMBER[found.phrases])
    texts = stream.decompress(found.texts).decode().split("\n")
    names = (str(each).zfill(len(first_id)) for each in ids)
    return tuple(map(Event, names, times, texts))


def last_id(block: bytes, first_id: str) -> str:
    """The id of the last line in a condensed block, without its texts."""
    return f"{int(first_id) + _from_bytes(_read(block).span):0{len(first_id)}}"


def _plain(ids: Sequence[str]) -> bool:
    """Whether ids are numbers, each as long as the other."""
    digits = "".join(ids)
    plain = digits.isascii() and digits.encode().isdigit()  # of a text that costs six times as much
    return plain and len(set(map(len, ids))) == 1 and len(ids[0]) <= _MOST_DIGITS


def _odd(ids: Sequence[int], times: Sequence[int], step: int) -> dict[int, bytes]:
    """Where ids do not grow by one, and by the step in each millisecond, and by how much more they do."""
    rest = [*map(sub, ids, map(mul, times, repeat(step)))]
    more = [*map(sub, rest[1:], rest)]
    return {place: _to_bytes(by - 1) for place, by in enumerate(more) if by != 1} if more.count(1) < len(more) else {}


def _odd_in_bursts(ids: Sequence[str], times: Sequence[int], passed: Sequence[int]) -> dict[int, bytes] | None:
    """The same for CloudWatch's step; `None` if lines do not come in bursts with ids that grow by one.

    Only a burst's first id and its last are read as numbers, which costs thousands of instructions: ids that only grow,
    and together by one each, each grow by one.
    """
    starts = [0, *(place for place, time in enumerate(passed, 1) if time)]
    if len(starts) * _BURST > len(ids) or int(ids[0]) >> _BITS != times[0] or not all(map(lt, ids, ids[1:])):
        return None
    rest = []
    for start, end in pairwise([*starts, len(ids)]):
        low, high = int(ids[start]), int(ids[end - 1])
        if high - low != end - 1 - start:
            return None
        rest.append(low - times[start] * _STEP - start)
    return {
        start - 1: _to_bytes(after - before)
        for start, (before, after) in zip(starts[1:], pairwise(rest), strict=True)
        if after != before
    }


def _encoded(text: str) -> bytes | None:
    """A text's UTF-8; halves of surrogates have none."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return None


def _step(ids: Sequence[int], passed: Sequence[int]) -> int:
    """By how much ids grow in a millisecond: as they first do."""
    grown = (by - 1 for by in map(sub, ids[1:], ids))
    steps = (by // time for by, time in zip(grown, passed, strict=True) if time and not by % time)
    return next(steps, _STEP)


def _deflate(texts: bytes) -> bytes:
    words = phrases.BY_NUMBER[phrases.NEWEST]
    if len(texts) <= _BEST:
        stream = zlib.compressobj(zlib.Z_BEST_COMPRESSION, wbits=-zlib.MAX_WBITS, zdict=words)
        return stream.compress(texts) + stream.flush()
    from isal import isal_zlib

    fast = isal_zlib.compressobj(2, wbits=-zlib.MAX_WBITS, zdict=words)
    return fast.compress(texts) + fast.flush()


def _to_bytes(number: int) -> bytes:
    return number.to_bytes(number.bit_length() // 8 + 1, signed=True)


def _from_bytes(data: bytes) -> int:
    return int.from_bytes(data, signed=True)


def _write_numbers(numbers: Sequence[int], order: int) -> bytes:
    """Small numbers in few bits, as exponential Golomb codes: https://en.wikipedia.org/wiki/Exponential-Golomb_coding."""
    plain = {number: f"{number + (1 << order):b}" for number in set(numbers)}
    codes = {number: "0" * (len(code) - order - 1) + code for number, code in plain.items()}
    bits = "1" + "".join([codes[number] for number in numbers])
    return int(bits, 2).to_bytes((len(bits) + 7) // 8)


def _read_numbers(data: bytes, order: int) -> list[int]:
    bits, numbers = f"{int.from_bytes(data):b}", []
    start = 1
    while start < len(bits):
        first = bits.index("1", start)
        end = 2 * first - start + order + 1
        numbers.append(int(bits[first:end], 2) - (1 << order))
        start = end
    return numbers

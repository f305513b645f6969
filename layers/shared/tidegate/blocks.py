"""Blocks of log lines as they are stored: CloudWatch's own gzip of JSON, or a condensed form of half its size.

A condensed block has the texts deflated with a dictionary, how the times grow, and only those parts of the ids that do
not follow from the times.
"""

import zlib
from collections.abc import Sequence
from itertools import accumulate, pairwise
from operator import sub

import msgspec
from msgspec import Struct

from tidegate import batches, phrases
from tidegate.batches import Event

_GZIP = b"\x1f\x8b"
_STEP = 1 << 144  # between ids a millisecond apart: CloudWatch's begin with the time, and end with a count
_MOST_DIGITS = 100  # of an id; CloudWatch's have 56
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
    ids, texts = _numbers(names), _encoded("\n".join([event.message for event in events]))
    passed = [*map(sub, times[1:], times)]
    if not ids or texts is None or texts.count(b"\n") >= len(events):
        return None
    if times[0] < 0 or times[-1] > _LATEST or min(passed, default=0) < 0:
        return None
    grown = [after - before - 1 for before, after in pairwise(ids)]
    step = _step(grown, passed)
    more = [by - time * step for by, time in zip(grown, passed, strict=True)]
    order = max(0, ((times[-1] - times[0]) // len(times)).bit_length() - 1)
    stream = zlib.compressobj(zlib.Z_BEST_COMPRESSION, wbits=-zlib.MAX_WBITS, zdict=phrases.BY_NUMBER[phrases.NEWEST])
    return msgspec.msgpack.encode(
        _Condensed(
            phrases.NEWEST,
            _to_bytes(ids[-1] - ids[0]),
            times[0],
            b"" if step == _STEP else _to_bytes(step),
            {place: _to_bytes(by) for place, by in enumerate(more) if by},
            order,
            _write_numbers(passed, order),
            stream.compress(texts) + stream.flush(),
        )
    )


def events(block: bytes, first_id: str) -> tuple[Event, ...]:
    """The lines in a block of either form whose first line has this id."""
    if block.startswith(_GZIP):
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


def _numbers(ids: Sequence[str]) -> list[int]:
    """Ids as numbers, if they are such, and each as long as the other."""
    digits = "".join(ids)
    plain = digits.isascii() and digits.isdecimal() and len(set(map(len, ids))) == 1 and len(ids[0]) <= _MOST_DIGITS
    return [*map(int, ids)] if plain else []


def _encoded(text: str) -> bytes | None:
    """A text's UTF-8; halves of surrogates have none."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return None


def _step(grown: Sequence[int], passed: Sequence[int]) -> int:
    """By how much ids grow in a millisecond: as they first do."""
    steps = (by // time for by, time in zip(grown, passed, strict=True) if time and not by % time)
    return next(steps, _STEP)


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

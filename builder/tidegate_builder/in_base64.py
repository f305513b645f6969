"""Secrets in base64: at any place of what was encoded, in one line or wrapped over several, also escaped."""

import base64
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator

from tidegate_builder.needles import Needles
from tidegate_builder.unescaped import LONGEST_ESCAPE, Unescaped

SHORTEST_WRAP = 60  # Ruby's; other programs wrap at 64 or 76 characters
EDGE = 4  # characters of a secret at the edge of a line; fewer are two of its bytes at most, and may be there by chance
SAMPLE = 16
NEEDLE = 32
TELLING_LENGTH = 12  # of a shorter part there may be many in a text

Span = tuple[int, int]
Encoding = tuple[bytes, bytes]  # a secret's own characters, and with the padding

_STANDARD = bytes.maketrans(b"-_", b"+/")
_WORD = bytes(byte for byte in range(256) if re.match(rb"[\w+/-]", bytes([byte])))
_BETWEEN = bytes(byte for byte in range(256) if byte not in _WORD)
_SHAPE = bytes(ord("A") if byte in _WORD else ord(" ") for byte in range(256))
_ESCAPED_SHAPE = bytes(ord("A") if chr(byte) in "%\\&#;" else _SHAPE[byte] for byte in range(256))
_LONG = re.compile(rb"(?:\\[nr])?([\w+/-]{60,})")
_NEXT_LINE = rb"(?:[^\n]*[^\w\n+/-])?([\w+/-]+)[^\w\n+/-]*(?=\n|\Z)"  # its last word: a prefix may stand before
_AT_START = re.compile(_NEXT_LINE)
_AFTER_LONG = re.compile(rb"=*(?:\\+[nr])+([\w+/-]+)|[^\w\n+/-]*\n" + _NEXT_LINE)  # or after a line's end in JSON


class InBase64:
    """Finds secrets in base64, in the standard alphabet and in that for URLs."""

    def __init__(self, secrets: Iterable[bytes]) -> None:
        encodings = {encoding for secret in secrets for encoding in _encodings(secret)}
        self.longest = max((_longest_form(whole) for _, whole in encodings), default=0)
        self._longest_plain = max((len(whole) for _, whole in encodings), default=0)
        self._forms = Needles((_telling_part(own), (own, whole)) for own, whole in encodings)
        self._starts: dict[bytes, list[bytes]] = defaultdict(list)
        self._ends: dict[bytes, list[bytes]] = defaultdict(list)
        for own, _ in encodings:
            self._starts[own[:EDGE]].append(own)
            self._ends[own[-EDGE:]].append(own)
        self._edges = self._starts.keys() | self._ends.keys()
        self._by_sample: dict[bytes, list[bytes]] = {}
        for own in {own for own, _ in encodings if len(own) >= SHORTEST_WRAP}:
            for sample in {own[start : start + SAMPLE] for start in range(0, len(own), SAMPLE)}:
                self._by_sample.setdefault(sample, []).append(own)

    def spans(self, text: bytes, goes_on: bool) -> Iterator[Span]:
        """Yield where secrets are in some lines; `goes_on`: what `may_go_on` said of the lines before."""
        if not self._edges:
            return
        standard = text.translate(_STANDARD)
        forms = set(self._forms.found(standard))
        yield from self._plain_spans(text, standard, forms, goes_on)
        if not forms and b"A" * SHORTEST_WRAP not in text.translate(_ESCAPED_SHAPE):
            return
        unescaped = Unescaped(text)
        if unescaped:
            standard = unescaped.text.translate(_STANDARD)
            for start, end in self._plain_spans(unescaped.text, standard, forms, goes_on):
                yield unescaped.place(start), unescaped.place(end)

    def _plain_spans(self, text: bytes, standard: bytes, forms: Iterable[Encoding], goes_on: bool) -> Iterator[Span]:
        for own, whole in forms:
            start = standard.find(own)
            while start >= 0:
                end = start + len(whole if standard.startswith(whole, start) else own)
                yield start, end
                start = standard.find(own, end)
        for word_start, word_end in _wrapped_words(text, goes_on):
            for start, end in self._parts(standard[word_start:word_end]):
                yield word_start + start, word_start + end

    def _parts(self, word: bytes) -> Iterator[Span]:
        """Yield the parts of a line that are in a secret, the end or the start of which is in another line."""
        if len(word) >= SHORTEST_WRAP and self._is_inside(word):
            yield 0, len(word)
            return
        for start in range(len(word) - EDGE + 1):
            end = start + EDGE
            edge = word[start:end]
            if edge not in self._edges:
                continue
            # Not longer than a secret: copies of a long word at each of its places would take minutes.
            if len(word) - start <= self._longest_plain and any(
                own.startswith(word[start:]) for own in self._starts[edge]
            ):
                yield start, len(word)
            if end <= self._longest_plain and any(own.endswith(word[:end]) for own in self._ends[edge]):
                yield 0, end

    def _is_inside(self, word: bytes) -> bool:
        # The samples spare a search through all secrets for each line of somebody's picture.
        samples = {word[start : start + SAMPLE] for start in range(SAMPLE)}
        return any(word in own for sample in samples for own in self._by_sample.get(sample, ()))


def may_go_on(text: bytes) -> bool:
    """Tell whether the last of these lines ends like a line of wrapped base64."""
    last = text[text.rfind(b"\n", 0, -1) + 1 :]
    return any(_ends_with_long_word(line) for line in (last, Unescaped(last).text))


def _ends_with_long_word(line: bytes) -> bool:
    # From its end: a pattern would begin anew at each character of a long word that is not the last.
    word = line.rstrip(_BETWEEN)
    return len(word) - len(word.rstrip(_WORD)) >= SHORTEST_WRAP


def _telling_part(own: bytes) -> bytes:
    """Return what is the same where the rest is escaped; the first one, which those of one secret have in common."""
    parts = re.split(rb"[+/]", own)
    return next((part for part in parts if len(part) >= TELLING_LENGTH), max(parts, key=len))[:NEEDLE]


def _encodings(secret: bytes) -> Iterator[Encoding]:
    """Yield base64 of a secret for the three places it can start at: its own characters, and with the padding."""
    for offset in range(3):
        # Bytes before and after the secret in the same text change the first and the last characters only.
        encoded = base64.b64encode(b"\0" * offset + secret)
        start = (0, 2, 3)[offset]
        end = len(encoded) - (0, 3, 2)[(offset + len(secret)) % 3]
        yield encoded[start:end], encoded[start:]


def _longest_form(encoded: bytes) -> int:
    escaped = sum(map(encoded.count, (b"+", b"/", b"=")))
    return len(encoded) + (LONGEST_ESCAPE - 1) * escaped


def _wrapped_words(text: bytes, goes_on: bool) -> Iterator[Span]:
    """Yield where lines of wrapped base64 may be: long words, and the last word of a line after one."""
    first = _AT_START.match(text) if goes_on else None
    if first:
        yield first.span(1)
    if b"A" * SHORTEST_WRAP not in text.translate(_SHAPE):
        return
    for long in _LONG.finditer(text):
        yield long.span(1)
        after = _AFTER_LONG.match(text, long.end())
        if after and len(after[after.lastindex or 0]) < SHORTEST_WRAP:
            yield after.span(after.lastindex or 0)

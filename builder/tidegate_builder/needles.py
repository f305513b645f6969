"""Which of many byte strings are in a text, for little more than the price of one search."""

import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

WORD = 4
SHORTEST = 2 * WORD - 1  # a string of this length holds one of the text's words, wherever it starts

Thing = TypeVar("Thing")


class Needles(Generic[Thing]):
    """Things, each with a byte string that stands for it in texts."""

    def __init__(self, things: Iterable[tuple[bytes, Thing]]) -> None:
        self._short: list[tuple[bytes, Thing]] = []
        self._by_word: dict[int, list[tuple[bytes, Thing]]] = defaultdict(list)
        for needle, thing in things:
            if len(needle) < SHORTEST:
                self._short.append((needle, thing))
                continue
            for start in range(WORD):
                self._by_word[int.from_bytes(needle[start : start + WORD], sys.byteorder)].append((needle, thing))

    def found(self, text: bytes) -> Iterator[Thing]:
        """Yield the things whose string is in the text; one may come more than once."""
        candidates = self._short
        if self._by_word:
            words = set(memoryview(text)[: len(text) // WORD * WORD].cast("I"))
            candidates = candidates + [pair for word in self._by_word.keys() & words for pair in self._by_word[word]]
        yield from (thing for needle, thing in candidates if needle in text)

"""Which texts are secret, in every form a program is likely to print them."""

import re
from collections.abc import Iterable, Iterator
from functools import cached_property

from tidegate_builder.credentials import without_credentials
from tidegate_builder.escapes import escaped_forms, escaped_pattern, longest_form, telling_parts
from tidegate_builder.in_base64 import InBase64, Span
from tidegate_builder.needles import Needles

MASK = b"***"
MINIMUM_LENGTH = 6  # a shorter value would mask half of the log
# Settings rather than secrets: masked, they would make the log unreadable and hide nothing.
TRIVIAL = frozenset(
    {"undefined", "enabled", "disabled", "default", "production", "development", "staging", "preview", "testing"}
    | {"localhost", "verbose", "warning", "silent"}
)


class Mask:
    """Replaces secrets in whole lines of output."""

    def __init__(self, values: Iterable[str]) -> None:
        secrets = list(values)
        texts = [_Text(part) for part in sorted({part for value in secrets for part in _parts(value)})]
        self._texts = Needles((part, text) for text in texts for part in text.telling_parts)
        self._base64 = InBase64({part for value in secrets for part in _encoded_parts(value)})
        self.longest = max(self._base64.longest, *(text.longest for text in texts), 0)

    def apply(self, text: bytes, goes_on: bool = False) -> bytes:
        """Return the lines with `***` for each secret and for credentials in URLs.

        `goes_on`: the line before may be wrapped base64 that goes on in the first one.
        """
        return without_credentials(_replaced(text, sorted(self._spans(text, goes_on))))

    def text(self, text: str) -> str:
        """Mask a string."""
        return self.apply(text.encode(errors="replace")).decode()

    def _spans(self, text: bytes, goes_on: bool) -> Iterator[Span]:
        for secret in set(self._texts.found(text)):
            yield from (match.span() for match in secret.pattern.finditer(text))
        yield from self._base64.spans(text, goes_on)


class _Text:
    """A secret as text; its pattern is made when one of its parts has been found, which is many times faster."""

    def __init__(self, value: str) -> None:
        self._value = value
        self.telling_parts = telling_parts(value)
        self.longest = longest_form(value)

    @cached_property
    def pattern(self) -> re.Pattern[bytes]:
        return escaped_pattern(self._value)


def _parts(value: str) -> set[str]:
    """Return what to hide of a value: all of it, as a shell prints it without quotes, and each of its lines."""
    parts = {value.strip(), " ".join(value.split()), *(line.strip() for line in value.splitlines())}
    return {part for part in parts if len(part) >= MINIMUM_LENGTH and part.lower() not in TRIVIAL}


def _encoded_parts(value: str) -> set[bytes]:
    """Return what to hide of a value in base64: also all of it with the white space around it, and escaped before."""
    parts = _parts(value)
    parts = parts | {value} if value.strip() in parts else parts
    return {form.encode() for part in parts for form in escaped_forms(part)}


def _replaced(text: bytes, spans: Iterable[Span]) -> bytes:
    """Return the text with the mask in place of sorted spans, one for those that overlap."""
    pieces: list[bytes] = []
    done = 0
    for start, end in spans:
        if start >= done:
            pieces += text[done:start], MASK
        done = max(done, end)
    return b"".join(pieces) + text[done:]

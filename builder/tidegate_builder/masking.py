"""Which texts are secret, in every form a program is likely to print them."""

import base64
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

MASK = b"***"
MINIMUM_LENGTH = 6  # a shorter value would mask half of the log
# Settings rather than secrets: masked, they would make the log unreadable and hide nothing.
TRIVIAL = frozenset(
    {"undefined", "enabled", "disabled", "default", "production", "development", "staging", "preview", "testing"}
    | {"localhost", "verbose", "warning", "silent"}
)
# Also a name without a password: tokens are often put there.
URL_CREDENTIALS = re.compile(rb"://[^\s/?#\"'<>]*@")


class Mask:
    """Replaces secrets in whole lines of output."""

    def __init__(self, values: Iterable[str]) -> None:
        forms = {form for value in values for form in secret_forms(value)}
        # The longest first, so that no secret is left half masked by a shorter one inside it.
        self._forms = tuple(sorted((form.encode() for form in forms), key=lambda form: (-len(form), form)))
        self._pattern = re.compile(b"|".join(map(re.escape, self._forms))) if self._forms else None
        self.longest = max(map(len, self._forms), default=0)

    def apply(self, text: bytes) -> bytes:
        """Return the text with `***` for each secret and for credentials in URLs."""
        # A plain search for each form is many times faster than the pattern, and nearly always finds nothing.
        if self._pattern and any(form in text for form in self._forms):
            text = self._pattern.sub(MASK, text)
        if b"://" in text and b"@" in text:
            text = URL_CREDENTIALS.sub(b"://" + MASK + b"@", text)
        return text

    def text(self, text: str) -> str:
        """Mask a string."""
        return self.apply(text.encode(errors="replace")).decode()


def secret_forms(value: str) -> Iterator[str]:
    """Yield the forms of a value to mask: as it is, URL-encoded, JSON-escaped, base64; each line of it too."""
    parts = {value.strip(), *(line.strip() for line in value.splitlines())}
    for part in parts:
        if len(part) < MINIMUM_LENGTH or part.lower() in TRIVIAL:
            continue
        yield from (form for form in _text_forms(part) if "\n" not in form and "\r" not in form)
        yield from _base64_forms(part.encode(errors="surrogatepass"))
    if value != value.strip() and value.strip() in parts and len(value.strip()) >= MINIMUM_LENGTH:
        yield from _base64_forms(value.encode(errors="surrogatepass"))


def _text_forms(value: str) -> Iterator[str]:
    yield value
    for encoded in (quote(value, safe=""), quote(value), quote_plus(value), quote(value, safe="!'()*")):
        yield encoded
        yield re.sub("%[0-9A-F]{2}", lambda match: match[0].lower(), encoded)
    for escaped in (json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]):
        yield escaped
        yield escaped.replace("/", "\\/")


def _base64_forms(value: bytes) -> Iterator[str]:
    for offset in range(3):
        # Bytes before and after the value in the same text change the first and the last characters only.
        encoded = base64.b64encode(b"\0" * offset + value).decode()
        start = (0, 2, 3)[offset]
        end = len(encoded) - (0, 3, 2)[(offset + len(value)) % 3]
        yield from _distinct(encoded[start:end])
        yield from _distinct(encoded[start:])
    whole = base64.b64encode(value).decode()
    for width in (64, 76):  # the widths at which common tools wrap
        for position in range(0, len(whole) if len(whole) > width else 0, width):
            yield from _distinct(whole[position : position + width])


def _distinct(encoded: str) -> Iterator[str]:
    if len(encoded.rstrip("=")) >= MINIMUM_LENGTH:
        yield encoded
        yield encoded.replace("+", "-").replace("/", "_")

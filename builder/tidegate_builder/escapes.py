"""A text as programs print it: plain, or with some characters escaped."""

import json
import re
from urllib.parse import quote, quote_plus

# Unless it is one of these, a character may be escaped; so they are the same however the text is printed.
PLAIN = re.compile(r"[A-Za-z0-9._~-]+")
FOREIGN = re.compile(r"[\u0080-\ud7ff\ue000-\uffff]+")
TELLING_LENGTH = 4  # shorter ones are in many texts
# What a URL, encodeURI and encodeURIComponent leave as they are.
SAFE = ("", "/", ";,/?:@&=+$!'()*#", "!'()*")
# What is escaped by itself; backslashes with what follows them, as an escape starts with more of them.
TOKENS = re.compile(rf"({PLAIN.pattern})|(\\+)(.?)|(.)", re.DOTALL)
LONGEST_ESCAPE = 8  # for each byte of the character: \\\u0026
NAMED = {
    "\n": (rb"\\{1,3}n",),
    "\r": (rb"\\{1,3}r",),
    "\t": (rb"\\{1,3}t",),
    "\b": (rb"\\{1,3}b",),
    "\f": (rb"\\{1,3}f",),
    " ": (rb"\+",),
    "&": (b"&amp;",),
    "<": (b"&lt;",),
    ">": (b"&gt;",),
    '"': (b"&quot;",),
    "'": (rb"'\\''", b"'\"'\"'", b"&apos;"),  # the first two are a shell's
}


def telling_parts(text: str) -> set[bytes]:
    """Return strings of which at least one is in the text however it is escaped; usually one that is always there."""
    plain = max(PLAIN.findall(text), key=len, default="")[:32]
    foreign = max(FOREIGN.findall(text), key=len, default="")[:8]
    if len(plain) >= TELLING_LENGTH or not foreign:
        return {plain.encode()}
    number = ord(foreign[0])
    percents = [quote(foreign[0]), quote(quote(foreign[0]))]
    forms = {foreign, f"u{number:04x}", f"u{number:04X}", "&#", *percents, *map(str.lower, percents)}
    return {form.encode() for form in forms}


def longest_form(text: str) -> int:
    """Return how many bytes the text's longest escaped form has at most."""
    plain = sum(map(len, PLAIN.findall(text)))
    return plain + LONGEST_ESCAPE * (len(text.encode()) - plain)


def escaped_forms(text: str) -> set[str]:
    """Return the text as it is, and as usual programs escape all of it for URLs and JSON."""
    in_json = {json.dumps(text, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)}
    in_json |= {form.replace("/", r"\/") for form in in_json}  # PHP
    in_json |= {  # Go and Rails
        form.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e") for form in in_json
    }
    return {text, quote_plus(text), *(quote(text, safe=safe) for safe in SAFE), *in_json}


def escaped_pattern(text: str) -> re.Pattern[bytes]:
    """Return a pattern for the text with any of its characters escaped, as in URLs, JSON, HTML or a shell's trace."""
    return re.compile(b"".join(_token(*token.groups("")) for token in TOKENS.finditer(text)))


def _token(plain: str, backslashes: str, after: str, other: str) -> bytes:
    if plain:
        return re.escape(plain.encode())
    if backslashes:
        return _after_backslashes(len(backslashes), _character(after))
    return _character(other)


def _after_backslashes(count: int, after: bytes) -> bytes:
    # Each JSON string inside another doubles them. Atomic: to share them out anew between them and what follows finds
    # nothing else, and in a text with many would go on for ever.
    runs = b"|".join(rb"\\{%d}" % (count * times) for times in (4, 2, 1))
    return b"(?>(?:%s|(?:%s){%d})%s)" % (runs, b"|".join(_by_number("\\")), count, after)


def _character(character: str) -> bytes:
    if not character or PLAIN.match(character):
        return re.escape(character.encode())
    return b"(?:%s)" % b"|".join((*NAMED.get(character, ()), *_by_number(character), *_as_it_is(character)))


def _by_number(character: str) -> tuple[bytes, ...]:
    units = character.encode("utf-16-be").hex(" ", 2).split()
    return (
        b"".join(b"%%(?:25)?(?i:%02x)" % byte for byte in character.encode()),
        b"".join(rb"\\{1,3}u(?i:%s)" % unit.encode() for unit in units),
        b"&#(?i:%d|x0?%x);" % (ord(character), ord(character)),
    )


def _as_it_is(character: str) -> tuple[bytes, ...]:
    if character in "\r\n":  # no line has them
        return ()
    backslashes = rb"\\{0,3}" if character.isascii() else b""
    return (backslashes + re.escape(character.encode()),)

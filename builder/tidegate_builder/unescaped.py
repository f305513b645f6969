"""Base64 in URLs, JSON and HTML, where the characters that are neither letters nor digits may be escaped."""

import re
from bisect import bisect_right

LONGEST_ESCAPE = 12  # seven backslashes, as in JSON in JSON in JSON, and u002F
_SIGNS = (b"%2", b"%3", b"%5", b"\\/", b"\\u00", b"\\x", b"&#")  # quicker to look for than the pattern
_HEX = rb"(2[bBdDfF]|3[dD]|5[fF])"
# Backslashes count from the first one of theirs: from each of many it would go on for ever.
_ESCAPE = re.compile(
    rb"%%(?:25)*(?:%s)|\\(?<!\\\\)\\*+(?:(?:u00|x)%s|(/))|&#(?:[xX]%s|(4[357]|61|95));" % (_HEX, _HEX, _HEX)
)
_CHARACTERS = {b"2b": b"+", b"2d": b"-", b"2f": b"/", b"3d": b"=", b"5f": b"_", b"/": b"/"} | {
    b"%d" % character: bytes([character]) for character in b"+-/=_"
}


class Unescaped:
    """A text without these escapes, if it has any; it knows where in the first one each of its places is."""

    def __init__(self, text: bytes) -> None:
        pieces: list[bytes] = []
        self._places: list[int] = []  # behind each character that was escaped
        self._shorter = [0]
        done = shorter = 0
        for escape in _ESCAPE.finditer(text) if any(sign in text for sign in _SIGNS) else ():
            pieces += text[done : escape.start()], _CHARACTERS[escape[escape.lastindex or 0].lower()]
            done = escape.end()
            shorter += done - escape.start() - 1
            self._places.append(done - shorter)
            self._shorter.append(shorter)
        self.text = b"".join(pieces) + text[done:] if pieces else text

    def __bool__(self) -> bool:
        return bool(self._places)

    def place(self, place: int) -> int:
        """Return where a place of this text is in the one with escapes."""
        return place + self._shorter[bisect_right(self._places, place)]

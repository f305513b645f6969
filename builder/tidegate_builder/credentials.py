"""What stands before an @ in URLs, as they are and escaped.

Build code chooses what these patterns read: there is one way through each, and a scan ends where another starts.
"""

import re

# Slashes as they are, in JSON (in JSON) and in HTML.
_ESCAPED_SLASH = rb"\\{1,7}(?:/|u002[fF])|&#(?:[xX]2[fF]|47);"
_SLASHES = rb"(?:/|%s){2}" % _ESCAPED_SLASH
_BEFORE_COLON = rb"[^\s/?#\"'<>:\\]"
_ENTITY = rb"(?<=&)#(?!(?:[xX]2[27fF]|3[49]|47);)(?=\w{1,6};)"  # of HTML, but for quotes and slashes
# JSON may escape what ends a name.
_NAME = rb"[^\s/?#\"'<>\\]*(?:(?:\\(?!\\{0,6}u00(?:2[23fF]|3[fF]))|%s)[^\s/?#\"'<>\\]*)*" % _ENTITY
# A password may hold quotes and brackets, but not where they end the URL, as in JSON: an @ further on is not the URL's.
_QUOTE = rb"(?:[\"'<>]|(?<=&)#(?:[xX]2[27]|3[49]);)(?![,:;)\]}>\s\\])"
_PASSWORD = rb"%s(?:%s%s)*" % (_NAME, _QUOTE, _NAME)
# A # or ? ends a URL's host, but many write them in passwords as they are. Not after a port, where parameters follow.
_NO_PORT = rb"(?!(?:[\da-fA-F:.]{1,45}\]:)?\d{1,5}(?:\?[\w.%\[\]-]*[=&]|#[\w-]*[,;|]))"
_MARK = rb"(?:\?|#(?!(?<=&#)\w{1,6};)|\\{1,7}u00(?:23|3[fF]))"
_IN_REST = rb"[^\s/#\"'<>()\[\]{}\\]*"
_REST = rb"%s(?:(?:\\(?!\\{0,6}(?:[nrt\"'/]|u002[2fF]))|#(?!(?<=&#)\w{1,6};)|%s)%s)*" % (_IN_REST, _ENTITY, _IN_REST)
_MARKED_PASSWORD = _NO_PORT + _NAME + _MARK + _REST
_NO_CREDENTIALS = rb"(?![^\s/@]{0,99}+[\s/])"  # most URLs, at less cost than the rest of the pattern
# Also a name without a password: tokens are often put there.
_WITH_SCHEME = re.compile(
    rb"(:%s)%s(?:%s*+:(?:%s|%s)|%s)@" % (_SLASHES, _NO_CREDENTIALS, _BEFORE_COLON, _MARKED_PASSWORD, _PASSWORD, _NAME)
)
# Without a scheme it is a comment or a path as easily: all of a URL's parts must be there, and nothing right before it.
_START = rb"(?<![^\s\"'`=(\[{<>,]%s)"
_NAME_AND_PASSWORD = rb"(?!@)%s++:(?!@)(?:%s|%s)@" % (_BEFORE_COLON, _MARKED_PASSWORD, _NAME)
_WITHOUT_SCHEME = re.compile(rb"(//)%s%s" % (_START % b"//", _NAME_AND_PASSWORD))
_WITHOUT_SCHEME_ESCAPED = re.compile(rb"(%s(?:%s){2})%s" % (_START % b"", _ESCAPED_SLASH, _NAME_AND_PASSWORD))


def without_credentials(text: bytes) -> bytes:
    """Return the lines with `***` for what stands before an @ in a URL, and in a URL's parameter that is one."""
    if b"@" in text:
        text = _WITH_SCHEME.sub(rb"\1***@", text)
        if b"//" in text:
            text = _WITHOUT_SCHEME.sub(rb"\1***@", text)
        if b"\\" in text or b"&#" in text:
            text = _WITHOUT_SCHEME_ESCAPED.sub(rb"\1***@", text)
    for times in sorted({len(sign[1] or sign[2] or b"") // 2 for sign in _ENCODED_SIGN.finditer(text)}):
        text = _ENCODED[times].sub(rb"\1***\2", text)
    return text


def _encoded(percent: bytes) -> re.Pattern[bytes]:
    name = rb"[^\s/?#\"'<>&%%]*(?:(?!%s(?:2[023fF]|3[fF]|0[aAdD]))%%[^\s/?#\"'<>&%%]*)*" % percent
    before_colon = rb"[^\s/?#\"'<>&%%:]*(?:(?!%s(?:2[023fF]|3[aAfF]|0[aAdD]))%%[^\s/?#\"'<>&%%:]*)*" % percent
    no_port = rb"(?!\d{1,5}(?:\?|%s3[fF])[\w.-]*(?:=|%s3[dD]))" % (percent, percent)
    mark = rb"(?:[?#]|%s(?:23|3[fF]))" % percent
    in_rest = rb"[^\s/\"'<>()\[\]{}&%]*"
    end = rb"(?!%s(?:2[0-2789fF]|3[cCeE]|[57][bBdD]|0[aAdD]))" % percent
    marked_password = no_port + name + mark + rb"%s(?:%s%%%s)*" % (in_rest, end, in_rest)
    slashes = rb"(?::|%s3[aA])(?:/|%s2[fF]){2}" % (percent, percent)
    return re.compile(
        rb"(%s)(?:%s(?::|%s3[aA])%s|%s)(@|%s40)" % (slashes, before_colon, percent, marked_password, name, percent)
    )


# Up to four times over, each in a pattern of its own: what ends a password in one may be part of it in another.
_ENCODED = [_encoded(b"%" + b"25" * times) for times in range(4)]
_ENCODED_SIGN = re.compile(rb"%(?:((?:25){0,3})(?:40|3[aA])|(?<=[:/]%)((?:25){0,3})2[fF])")

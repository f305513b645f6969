"""Secrets are masked in every form a program is likely to print them."""

import base64
import html
import json
import random
import re
import shlex
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate_builder import masking
from tidegate_builder.escapes import escaped_pattern
from tidegate_builder.in_base64 import may_go_on
from tidegate_builder.masking import MINIMUM_LENGTH, TRIVIAL, Mask

SECRET = 's3cr3t/+ü"\\value&more'
secrets = st.text(st.characters(exclude_categories=("Cc", "Cs", "Z")), min_size=MINIMUM_LENGTH, max_size=40).filter(
    lambda text: text == text.strip() and text.lower() not in TRIVIAL
)


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        quote(SECRET, safe=""),
        quote(SECRET),
        quote_plus(SECRET),
        quote(SECRET, safe="").lower(),
        json.dumps(SECRET)[1:-1],
        json.dumps(SECRET, ensure_ascii=False)[1:-1],
        json.dumps(SECRET)[1:-1].replace("/", "\\/"),
        base64.b64encode(SECRET.encode()).decode(),
        base64.urlsafe_b64encode(SECRET.encode()).decode(),
        json.dumps(json.dumps(SECRET))[3:-3],
        json.dumps(SECRET)[1:-1].replace("&", r"\u0026").replace("00fc", "00FC"),
        SECRET.replace("\\", "\\\\").replace('"', r"\u0022").replace("/", r"\u002F").replace("+", r"\u002B"),
        quote(quote(SECRET, safe=""), safe=""),
        html.escape(SECRET),
        quote(base64.b64encode(SECRET.encode()), safe=""),
        json.dumps(base64.b64encode(SECRET.encode()).decode()).replace("/", r"\/")[1:-1],
        base64.b64encode(quote(SECRET, safe="").encode()).decode(),
        base64.b64encode(quote(SECRET, safe="!'()*").encode()).decode(),  # encodeURIComponent
        base64.b64encode(quote_plus(SECRET).encode()).decode(),
        base64.b64encode(json.dumps(SECRET)[1:-1].encode()).decode(),
        base64.b64encode(json.dumps(SECRET, ensure_ascii=False)[1:-1].encode()).decode(),
        base64.b64encode(json.dumps(SECRET)[1:-1].replace("/", r"\/").encode()).decode(),
        base64.b64encode(json.dumps(SECRET, ensure_ascii=False)[1:-1].replace("&", r"\u0026").encode()).decode(),
    ],
)
def test_each_form_of_a_secret_is_masked(form):
    assert Mask([SECRET]).text(f"before {form} after") == "before *** after"


@given(
    st.text(st.sampled_from("aZ0 -\\\\\"'/%&<>+$\t\n\bü€😀\x01"), min_size=MINIMUM_LENGTH).filter(
        lambda text: len(text.strip()) >= MINIMUM_LENGTH and text == text.strip()
    ),
    st.sampled_from(
        (
            lambda text: json.dumps(text)[1:-1],
            lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
            lambda text: json.dumps(json.dumps(text))[3:-3],
            lambda text: quote(text, safe=""),
            quote_plus,
            lambda text: html.escape(text).replace("\n", "%0A"),
            lambda text: shlex.quote(text.replace("\n", "%0A") + " ")[1:-2],
        )
    ),
)
def test_a_secret_is_found_whatever_is_escaped(secret, escape):
    assert Mask([secret]).text(f"[{escape(secret)}]") in {"[***]", f"[{escape(secret)}]".replace(secret, "***")}


@pytest.mark.parametrize(
    "form",
    [
        "тайный ключ",
        r"\u0442\u0430\u0439\u043d\u044b\u0439 \u043a\u043b\u044e\u0447",
        r"\u0442\u0430\u0439\u043D\u044B\u0439 \u043A\u043B\u044E\u0447",
        quote("тайный ключ"),
        quote("тайный ключ").lower(),
        quote_plus(quote("тайный ключ")),
        "".join(f"&#{ord(character)};" for character in "тайный ключ"),
        "".join(f"&#x{ord(character):X};" for character in "тайный ключ"),
    ],
)
def test_a_secret_without_latin_letters_is_found(form):
    assert Mask(["тайный ключ"]).text(f"[{form}]") == "[***]"


def test_secrets_that_repeat_themselves_are_looked_for_in_bounded_time():
    text = json.dumps('\\"' * 200)[1:-1]
    assert Mask(['\\"' * 100 + "x"]).text(text) == text
    assert Mask(["\\" * 100 + "x"]).text("\\" * 1000) == "\\" * 1000
    assert len(Mask(["a" * 8000]).text("YWFh" * 250_000)) < 10_000


def test_secrets_that_overlap_are_masked_together():
    assert Mask(["abcdefgh", "efghijkl"]).text("abcdefghijkl abcdefgh") == "*** ***"
    encoded = quote(base64.b64encode(b"??????~~~~~~>>>>>>"), safe="")
    assert "%2" in encoded
    assert Mask(["??????~~~", "~~~~~~>>>>>>", encoded[-12:-4]]).text(f"{encoded} {encoded}") == "*** ***"


def test_patterns_are_made_of_the_secrets_alone_that_are_in_the_text(monkeypatch):
    made = []
    monkeypatch.setattr(masking, "escaped_pattern", lambda text: made.append(text) or escaped_pattern(text))
    mask = Mask(f"the-value-of-number-{number:03d}&more" for number in range(100))
    assert mask.text("nothing at all of secrets") == "nothing at all of secrets"
    assert made == []
    for _ in range(2):
        assert mask.text("a=the-value-of-number-042%26more b=the-value-of-number-007&more") == "a=*** b=***"
    assert sorted(made) == ["the-value-of-number-007&more", "the-value-of-number-042&more"]


def test_white_space_that_a_shell_joined_hides_nothing():
    assert Mask(["two  spaces\nand a line"]).text("x two spaces and a line x") == "x *** x"


FORMS = r"{0:c} %{0:02X} %{0:02x} %25{0:02X} %2525{0:02x} \{0:c} \\{0:c} "
FORMS += r"\u{0:04X} \u{0:04x} \\\u{0:04x} \x{0:02X} &#{0}; &#x{0:X}; &#x{0:x};"
ESCAPES = [{character: form.format(ord(character)) for character in "+/=-_"} for form in FORMS.split()]
for characters in ESCAPES[5:7]:  # backslashes are before slashes alone
    characters.update({character: character for character in "+=-_"})


@given(
    secrets,
    st.binary(max_size=5),
    st.binary(max_size=5),
    st.sampled_from(
        (
            lambda text: text,
            lambda text: quote(text, safe=""),
            lambda text: quote(text, safe="!'()*"),
            lambda text: json.dumps(text)[1:-1],
            lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
        )
    ),
    st.sampled_from((base64.b64encode, base64.urlsafe_b64encode)),
    st.sampled_from(ESCAPES),
)
def test_base64_hides_a_secret_at_any_alignment_and_escaped(secret, before, after, inside, encode, escapes):
    encoded = encode(before + inside(secret).encode() + after).decode()
    encoded = "".join(escapes.get(character, character) for character in encoded)
    masked = Mask([secret]).text(encoded)
    assert masked.count("***") == 1
    for character, escape in escapes.items():
        masked = masked.replace(escape, character)
    # Of the secret's own characters only those that share bits with its neighbours may be left.
    assert len(masked) - 3 <= len(base64.b64encode(before)) + len(base64.b64encode(after)) + 4


def test_what_is_beside_escaped_base64_stays():
    secret = "~~~???>>>" * 2
    for escapes in ESCAPES:
        encoded = "".join(escapes.get(character, character) for character in base64.b64encode(secret.encode()).decode())
        beside = "".join(escapes.values())
        assert Mask([secret]).text(f"é{beside} {encoded} {beside}\n{beside}") == f"é{beside} *** {beside}\n{beside}"


@given(secrets, st.text(), st.text())
def test_a_secret_is_never_in_the_masked_text(secret, before, after):
    if secret in "***":
        return
    text = (before + secret + after).encode(errors="replace")
    assert secret.encode() not in Mask([secret]).apply(text).replace(b"***", b"\0")


look_alikes = st.lists(st.sampled_from(["%2F", "%252b", "\\/", r"\u002F", "&#x2F;", "%", "\\", "/+", "a-se", "A" * 60]))


@given(st.text(st.characters(codec="utf-8")) | look_alikes.map("".join))
def test_text_without_secrets_stays_as_it_is(text):
    if "://" not in text:
        assert Mask(["a-secret-that-is-not-there"]).text(text) == text


def test_short_and_trivial_values_are_not_masked():
    assert Mask(["abc", "true", "production", "12345", ""]).text("abc true production 12345") == (
        "abc true production 12345"
    )


def test_each_line_of_a_secret_with_several_lines_is_masked():
    key = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG\nab\n-----END KEY-----\n"
    assert Mask([key]).text("x MIIEvQIBADANBgkqhkiG y") == "x *** y"
    assert Mask([key]).text(json.dumps(key)).count("MIIE") == 0


def wrapped(data, width, end="\n"):
    encoded = base64.b64encode(data).decode()
    return end.join(encoded[start : start + width] for start in range(0, len(encoded), width)) + end


@pytest.mark.parametrize("width", [60, 61, 64, 70, 76, 120])
@pytest.mark.parametrize("length", [6, 12, 36, 93, 700])
def test_wrapped_base64_shows_three_characters_of_a_secrets_base64_at_most(width, length):
    secret = random.Random(length).randbytes(length).hex()[:length]
    for before in range(80):
        lines = wrapped(b"u" * before + secret.encode() + b"v" * 20, width).splitlines()
        masked = Mask([secret]).text("\n".join(lines)).split("\n")
        # Where the secret's own characters are, without those that share bits with its neighbours.
        start, end = -(-before * 8 // 6), (before + length) * 8 // 6
        for number, (line, shown) in enumerate(zip(lines, masked, strict=True)):
            own = range(max(start - number * width, 0), min(end - number * width, width))
            left, mask, right = shown.partition("***")
            if not mask:
                assert shown == line
                assert len(own) <= 3
                continue
            hidden = range(len(left), len(line) - len(right))
            assert line == left + line[hidden.start : hidden.stop] + right
            assert hidden.start <= own.start
            assert own.stop <= hidden.stop
            assert own.start - hidden.start + hidden.stop - own.stop <= 4


@pytest.mark.parametrize(
    "lines",
    [
        "#8 0.345 {0}#8 0.346 {1}#8 0.347 {2}",
        "token: '{0}{1}{2}'",
        "  {0}  {1}  {2}",
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_wrapped_base64_may_stand_beside_other_text(lines, end):
    secret = "github_pat_" + "0123456789aBcDeFgHiJkLmNoP" * 4
    first, second, last = wrapped(b"user:" + secret.encode(), 64, end).splitlines(keepends=True)
    masked = Mask([secret]).text(lines.format(first, second, last))
    assert masked == lines.format(f"dXNlcjp***{end}", f"***{end}", f"***{end}")


def test_wrapped_base64_in_json_is_masked():
    secret = "github_pat_" + "0123456789aBcDeFgHiJkLmNoP" * 4
    masked = Mask([secret]).text(json.dumps({"content": wrapped(b"user:" + secret.encode(), 60)}))
    assert masked.startswith(r'{"content": "dXNlcjp***\n***\n***')
    assert len(masked) < 50
    secret = "ÿ~>?" * 20
    for slash in (r"\/", r"\u002F"):
        masked = Mask([secret]).text(json.dumps(wrapped(b"user:" + secret.encode(), 76)).replace("/", slash))
        assert masked == r'"dXNlcjr***\n***\n"'


def test_wrapped_base64_of_other_things_stays():
    text = wrapped(random.Random(1).randbytes(50_000), 76) + "done\n"
    assert Mask([f"secret-number-{number}-of-many" for number in range(50)]).text(text) == text


def test_a_longer_secret_is_masked_as_a_whole_when_it_holds_a_shorter_one():
    assert Mask(["secret", "secret-and-more"]).text("secret-and-more") == "***"


@pytest.mark.parametrize(
    ("line", "masked"),
    [
        ("https://me:pa55word@example.com/x.git", "https://***@example.com/x.git"),
        ("https://ghp_token@example.com/x", "https://***@example.com/x"),
        ("fatal: 'https://a:b@c@host/': no", "fatal: 'https://***@host/': no"),
        ("https://example.com/@scope/name and you@example.com", "https://example.com/@scope/name and you@example.com"),
        (r"https:\/\/me:pa55word@example.com\/x", r"https:\/\/***@example.com\/x"),
        (r"https:\u002F\u002Fme:pa55word@example.com", r"https:\u002F\u002F***@example.com"),
        ("?to=https%3A%2F%2Fme%3Apa%2655word%40example.com%2F", "?to=https%3A%2F%2F***%40example.com%2F"),
        ("https%3a//me%3apa55word%40example.com", "https%3a//***%40example.com"),
        ("https://me:pa%2Fss@example.com", "https://***@example.com"),
        ('https://me:pa"s<s>@h/', "https://***@h/"),
        ("https://me:pa'ss@h/", "https://***@h/"),
        (r"https://me:pa\u0026ss\u003e@h/", "https://***@h/"),
        (r"https:\/\/example.com\/@scope", r"https:\/\/example.com\/@scope"),
        (r"https:\u002F\u002Fexample.com\u002F@scope", r"https:\u002F\u002Fexample.com\u002F@scope"),
        ("?to=https%3A%2F%2Fexample.com%2F%40scope%3Fa", "?to=https%3A%2F%2Fexample.com%2F%40scope%3Fa"),
        ("?to=https%3A%2F%2Fexample.com&mail=a%40b", "?to=https%3A%2F%2Fexample.com&mail=a%40b"),
        ('{"url":"https://h:80","mail":"me@x"}', '{"url":"https://h:80","mail":"me@x"}'),
        (r'"{\"url\":\"https://h:80\",\"mail\":\"me@x\"}"', r'"{\"url\":\"https://h:80\",\"mail\":\"me@x\"}"'),
        ("see https://example.com/?mail=a@b.c", "see https://example.com/?mail=a@b.c"),
        ("postgres://me:p#ss@host/db", "postgres://***@host/db"),
        ("postgres://me:p?s#s@host/db", "postgres://***@host/db"),
        ("https://me:1234#x@host", "https://***@host"),
        (r'"https:\/\/me:p\u0023s\\s@host\/db"', r'"https:\/\/***@host\/db"'),
        ("https:&#x2F;&#x2F;me:p&#x3D;ss@host&#x2F;", "https:&#x2F;&#x2F;***@host&#x2F;"),
        ("https:&#47;&#47;me:p#ss@host&#47;@x", "https:&#47;&#47;***@host&#47;@x"),
        ("https://me:p&#39;ss@host", "https://***@host"),
        ("?to=https%253A%252F%252Fme%253Apa%252526ss%2540host%252F", "?to=https%253A%252F%252F***%2540host%252F"),
        ("?to=https%3A%2F%2Fme%3Apa%2523ss%40host", "?to=https%3A%2F%2F***%40host"),
        ("?to=https%3A%2F%2Fme%3Apa%23ss%40host", "?to=https%3A%2F%2F***%40host"),
        ("?to=https:%2f%2fme:pass%40host&mail=a%40b", "?to=https:%2f%2f***%40host&mail=a%40b"),
        ("//me:pa55word@host/x", "//***@host/x"),
        ("src='//me:p#ss@host/x'", "src='//***@host/x'"),
        (r'"\/\/me:pa55word@host\/x"', r'"\/\/***@host\/x"'),
        ("=&#x2F;&#x2F;me:pa55word@host", "=&#x2F;&#x2F;***@host"),
    ],
)
def test_credentials_in_urls_are_masked(line, masked):
    assert Mask([]).text(line) == masked


@pytest.mark.parametrize(
    "line",
    [
        "// mail bob:alice@example.com",
        "//bob alice:x@example.com",
        "a//b:c@d",
        "at a (/app//b:c@d)",
        "node_modules//@scope/pkg@1.2.3",
        "//@scope:pkg@1.2.3",
        "//localhost:4873/:_authToken=x@y",
        "//example.com:80 me@x",
        "x //# sourceMappingURL=a:b@c",
        "//#a:b@c",
        "//:b@c",
        "//b:@c",
        "http://localhost:3000?mail=a@b.c",
        "http://localhost:3000?debug&user=me@x.io",
        "https://x.dev:3000?a%5B0%5D=1&mail=a@b",
        "homepage=https://x.dev:3000#readme,email=me@x.dev",
        "http://[::1]:3000?mail=a@b.c",
        "(http://localhost:3000#a)(b@c)",
        "http://localhost:3000/#/me@x",
        '{"a":"http://h:80#x","mail":"me@x"}',
        r"{\"a\":\"http://h:80#x\",\"mail\":\"me@x\"}",
        r"http://h:80?x\nme@x",
        "{&#34;url&#34;:&#34;https://h:80&#34;,&#34;mail&#34;:&#34;me@x&#34;}",
        "https:&#x2F;&#x2F;example.com&#x2F;@scope",
        "https:&#47;&#47;h:80&#47;@scope",
        "?to=http%3A%2F%2Flocalhost%3A3000%3Fmail%3Da%40b",
        "?to=https%253A%252F%252Fexample.com%252F%2540scope",
        "GET https://example.com/@scope%2fname@1.2.3 100%",
    ],
)
def test_what_looks_like_credentials_stays(line):
    assert Mask([]).text(line) == line


SIGNS = [
    ":",
    "/",
    "//",
    "://",
    "@",
    "#",
    "?",
    "%",
    "25",
    "%25",
    "%3A",
    "%2F",
    "%252F",
    "%40",
    "%23",
    "&",
    "&#x2F;",
    "&#39;",
    "&#",
]
SIGNS += ["\\", "\\/", r"\u002F", r"\u0023", '"', "'", "<", ")", "]", ",", " ", "\n", "\n", "a", "1", "=", "p&quot;"]


@given(st.lists(st.sampled_from(SIGNS)).map("".join))
def test_lines_are_masked_one_by_one(text):
    masked = Mask(["??????", "//a://a:"]).text(text).split("\n")
    assert masked == [Mask(["??????", "//a://a:"]).text(line) for line in text.split("\n")]
    assert all("@" in line or "40" in line for line in masked if "***@" in line or "***%" in line)


@pytest.mark.parametrize(
    "sign", [*SIGNS, "//a:", " //a:", "#?", ":&#x2F;&#x2F;", r":\/\/", ":%2F%2F", "%3A%252F%252F", '://a:"', "Ly8v%2F"]
)
def test_credentials_are_looked_for_in_bounded_time(sign):
    mask = Mask(["//////", "a+" * 1000])
    for before in (
        "",
        "://a:",
        " //a:",
        "https:&#x2F;&#x2F;a:",
        r"https:\/\/a:",
        "%3A%2F%2Fa%3A",
        "%253A%252F%252Fa%253A",
    ):
        line = before + sign * (1_000_000 // len(sign))
        assert Mask([]).text(line) == line or "@" in sign or "40" in sign
        assert mask.text(before + sign * 10_000)


@given(st.lists(st.sampled_from(["a", "a" * 59, "a" * 60, "/+", "!", ". ", "=", "é"])).map("".join), st.booleans())
def test_lines_that_end_with_a_long_word_may_go_on(text, ended):
    for line in (text, f"one\n{text}"):
        expected = re.search(rb"[\w+/-]{60,}[^\w\n+/-]*\Z", text.encode()) is not None
        assert may_go_on(f"{line}\n".encode() if ended else line.encode()) == expected

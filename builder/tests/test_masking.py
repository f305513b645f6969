"""Secrets are masked in every form a program is likely to print them."""

import base64
import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    ],
)
def test_each_form_of_a_secret_is_masked(form):
    assert Mask([SECRET]).text(f"before {form} after") == "before *** after"


@given(secrets, st.binary(max_size=5), st.binary(max_size=5))
def test_base64_hides_a_secret_at_any_alignment(secret, before, after):
    encoded = base64.b64encode(before + secret.encode() + after).decode()
    masked = Mask([secret]).text(encoded)
    assert masked.count("***") == 1
    # Of the secret's own characters only those that share bits with its neighbours may be left.
    assert len(masked) - 3 <= len(base64.b64encode(before)) + len(base64.b64encode(after)) + 4


@given(secrets, st.text(), st.text())
def test_a_secret_is_never_in_the_masked_text(secret, before, after):
    if secret in "***":
        return
    text = (before + secret + after).encode(errors="replace")
    assert secret.encode() not in Mask([secret]).apply(text).replace(b"***", b"\0")


@given(st.text(st.characters(codec="utf-8")))
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


def test_wrapped_base64_of_a_long_secret_is_masked():
    key = "".join(f"{number:08x}" for number in range(40))
    for line in base64.encodebytes(key.encode()).decode().splitlines():
        assert Mask([key]).text(line) in {"***", line[:5]}, line


def test_a_longer_secret_is_masked_as_a_whole_when_it_holds_a_shorter_one():
    assert Mask(["secret", "secret-and-more"]).text("secret-and-more") == "***"


@pytest.mark.parametrize(
    ("line", "masked"),
    [
        ("https://me:pa55word@example.com/x.git", "https://***@example.com/x.git"),
        ("https://ghp_token@example.com/x", "https://***@example.com/x"),
        ("fatal: 'https://a:b@c@host/': no", "fatal: 'https://***@host/': no"),
        ("https://example.com/@scope/name and you@example.com", "https://example.com/@scope/name and you@example.com"),
        ("see https://example.com/?mail=a@b.c", "see https://example.com/?mail=a@b.c"),
    ],
)
def test_credentials_in_urls_are_masked(line, masked):
    assert Mask([]).text(line) == masked

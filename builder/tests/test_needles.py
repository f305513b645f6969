"""Needles are found wherever they start, and those alone."""

from hypothesis import given
from hypothesis import strategies as st

from tidegate_builder.needles import Needles

texts = st.lists(st.sampled_from(b"ab"), max_size=60).map(bytes)


@given(st.lists(st.lists(st.sampled_from(b"ab"), max_size=12).map(bytes)), texts)
def test_what_is_found_is_what_is_there(needles, text):
    found = set(Needles((needle, needle) for needle in needles).found(text))
    assert found == {needle for needle in needles if needle in text}


def test_needles_are_found_at_every_place():
    needles = Needles([(b"1234567", "seven"), (b"123456789012", "twelve"), (b"1234", "four"), (b"7654321", "none")])
    for before in range(9):
        assert set(needles.found(b" " * before + b"1234567")) == {"seven", "four"}
        assert set(needles.found(b" " * before + b"123456789012 ")) == {"seven", "twelve", "four"}

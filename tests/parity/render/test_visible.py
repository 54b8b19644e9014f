from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.render.visible import visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ünïcode 広告", "plain ünïcode 広告"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\nb\r\tc\x00", "a\\x0ab\\x0d\\x09c\\x00"),
        ("evil\u202etxt", "evil\\u202etxt"),
        ("\u2066x\u2069\u200b", "\\u2066x\\u2069\\u200b"),
        ("a\u2028b\x9b1m", "a\\u2028b\\x9b1m"),
        ("\U000e0001", "\\U000e0001"),
    ],
)
def test_what_would_act_or_hide_is_spelled_out(text: str, shown: str) -> None:
    assert visible(text) == shown


@settings(deadline=None, max_examples=50)
@given(st.text(max_size=20))
def test_nothing_that_is_shown_acts(text: str) -> None:
    assert all(unicodedata.category(character)[0] != "C" for character in visible(text))

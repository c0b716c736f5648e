"""Text from outside on a terminal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartmeter.terminal import CONTROL, printable
from smartmeter.text_tables import table


@pytest.mark.parametrize(
    "text, shown",
    [
        ("refrigerator é 冷蔵庫 😀", "refrigerator é 冷蔵庫 😀"),
        ("\x1b]0;title\x07\x1b[2J", "\\x1b]0;title\\x07\\x1b[2J"),
        ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
        ("\x9b31m", "\\x9b31m"),
        ("abc\u202etxt.exe", "abc\\u202etxt.exe"),
        ("\x7f\0\ud800", "\\x7f\\x00\\ud800"),
    ],
)
def test_control_characters_are_escaped(text, shown):
    assert printable(text) == shown


def test_line_ends_can_be_kept():
    assert printable("a\n\x1bb", keep="\n") == "a\n\\x1bb"


@given(st.text())
def test_nothing_that_is_printed_controls_the_terminal(text):
    shown = printable(text)
    assert not CONTROL.search(shown) and shown.encode().decode() == shown
    assert len(table([text], [[text]]).split("\n")) == 4

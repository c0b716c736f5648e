"""Text from outside on a terminal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartmeter.terminal import CONTROL, printable
from smartmeter.text_tables import aligned, table


@pytest.mark.parametrize("text, shown", [
    ("refrigerator é 冷蔵庫 😀", "refrigerator é 冷蔵庫 😀"),
    ("\x1b]0;title\x07\x1b[2J", "\\x1b]0;title\\x07\\x1b[2J"),
    ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
    ("\x9b31m", "\\x9b31m"),
    ("abc\u202etxt.exe", "abc\\u202etxt.exe"),
    ("\x7f\0\ud800", "\\x7f\\x00\\ud800"),
])
def test_control_characters_are_escaped(text, shown):
    assert printable(text) == shown


def test_line_ends_can_be_kept():
    assert printable("a\n\x1bb", keep="\n") == "a\n\\x1bb"


@given(st.text())
def test_nothing_that_is_printed_controls_the_terminal(text):
    shown = printable(text)
    assert not CONTROL.search(shown) and shown.encode().decode() == shown
    assert len(table([text], [[text]]).split("\n")) == 4


def test_columns_of_numbers_are_aligned_right_and_no_text_is_taken_for_a_number():
    rows = [(1, 2.5, "007", " a", True), (None, 1 / 3, "1e5", "b", None), (12345, float("nan"), "True", "", False)]
    assert table(["n", "kwh", "label", "", "flag"], rows) == """\
    n           kwh  label       flag
-----  ------------  -----  --  -----
    1           2.5  007     a   True
 NULL  0.3333333333  1e5    b    NULL
12345           nan  True       False
(3 rows)"""


def test_a_table_without_rows_or_columns():
    assert table(["n", "label"], []) == "n  label\n-  -----\n(0 rows)"
    assert table([], []) == "(0 rows)" and table([], [()]) == "(1 row)"


def test_a_table_whose_alignment_is_given():
    assert aligned(["part", "cores"], [["sink", "0.5"], ["a", "11.25"]], [False, True]) == """\
part  cores
----  -----
sink    0.5
a     11.25"""


def test_names_and_cells_of_a_table():
    assert table(["\x1b[1m"], [["\x1b[2J"], [None]]) == "\\x1b[1m\n-------\n\\x1b[2J\nNULL\n(2 rows)"

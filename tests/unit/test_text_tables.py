"""Tables of plain text."""

from smartmeter.text_tables import aligned, table


def test_names_and_cells_of_a_table():
    assert table(["\x1b[1m"], [["\x1b[2J"], [None]]) == "\\x1b[1m\n-------\n\\x1b[2J\nNULL\n(2 rows)"


def test_columns_of_numbers_are_aligned_right_and_no_text_is_taken_for_a_number():
    rows = [(1, 2.5, "007", " a", True), (None, 1 / 3, "1e5", "b", None), (12345, float("nan"), "True", "", False)]
    assert (
        table(["n", "kwh", "label", "", "flag"], rows)
        == """\
    n           kwh  label       flag
-----  ------------  -----  --  -----
    1           2.5  007     a   True
 NULL  0.3333333333  1e5    b    NULL
12345           nan  True       False
(3 rows)"""
    )


def test_a_table_without_rows_or_columns():
    assert table(["n", "label"], []) == "n  label\n-  -----\n(0 rows)"
    assert table([], []) == "(0 rows)" and table([], [()]) == "(1 row)"


def test_a_table_whose_alignment_is_given():
    assert (
        aligned(["part", "cores"], [["sink", "0.5"], ["a", "11.25"]], [False, True])
        == """\
part  cores
----  -----
sink    0.5
a     11.25"""
    )

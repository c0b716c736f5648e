"""Tables of plain text."""

from smartmeter.text_tables import table


def test_names_and_cells_of_a_table():
    assert table(["\x1b[1m"], [["\x1b[2J"], [None]]) == "\\x1b[1m\n-------\n\\x1b[2J\nNULL\n(2 rows)"

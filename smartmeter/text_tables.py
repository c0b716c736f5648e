"""Tables of plain text."""

from __future__ import annotations

from collections.abc import Sequence

import tabulate

from smartmeter.terminal import printable

tabulate.MIN_PADDING = 0  # no column is wider than its contents


def table(names: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Rows as aligned plain text under their column names, with their count. Numbers are aligned right, control characters escaped."""
    numeric = [all(isinstance(row[i], (int, float)) or row[i] is None for row in rows) for i in range(len(names))]
    lines = aligned([printable(name) for name in names], [[_text(value) for value in row] for row in rows], numeric)
    count = f"({len(rows):,} row{'' if len(rows) == 1 else 's'})"
    return f"{lines}\n{count}" if names else count


def aligned(names: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool]) -> str:
    """Rows of text under their column names. right: whether each column is aligned right."""
    return str(
        tabulate.tabulate(
            rows,
            names,
            tablefmt="simple",
            colalign=["right" if of_column else "left" for of_column in right],
            disable_numparse=True,
            preserve_whitespace=True,
        )
    )


def _text(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, float):
        return f"{value:.10g}"
    return printable(str(value))

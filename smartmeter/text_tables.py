"""Tables of plain text."""

from __future__ import annotations

from collections.abc import Sequence

from smartmeter.terminal import printable


def table(names: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Rows as aligned plain text under their column names. Numbers are aligned right, control characters escaped."""
    names = [printable(name) for name in names]
    columns = [[_text(row[i]) for row in rows] for i in range(len(names))]
    numeric = [all(isinstance(row[i], (int, float)) or row[i] is None for row in rows) for i in range(len(names))]
    widths = [max(len(name), *map(len, column), 0) for name, column in zip(names, columns)]
    lines = [names, ["-" * width for width in widths], *zip(*columns)]
    count = f"({len(rows):,} row{'' if len(rows) == 1 else 's'})"
    return "\n".join([*(_line(line, widths, numeric) for line in lines if names), count])


def _line(cells: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]) -> str:
    return "  ".join(c.rjust(w) if right else c.ljust(w) for c, w, right in zip(cells, widths, numeric)).rstrip()


def _text(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, float):
        return f"{value:.10g}"
    return printable(str(value))

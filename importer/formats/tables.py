"""Tables in files, as blocks of columns: text with a separator, and Parquet. Memory is bounded by a block."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from generator.channels import DatasetError
from importer.formats.series import Faults
from importer.formats.sources import Source
from smartmeter.arrays import Bools, Ints

BLOCK_BYTES = 8_000_000
BLOCK_ROWS = 200_000
SEPARATORS = (",", ";", "\t", "|")
BLANKS = " "
"""Separator of files whose fields stand apart by any number of blanks and tabs."""
MOST_HEADER_LINES = 50
PARQUET = b"PAR1"


@dataclass(frozen=True, eq=False)
class Block:
    """n rows of a table: the wanted columns, as text or typed, and the line of each row (int64 (n,), from 1)."""

    place: str
    columns: dict[str, pa.Array]
    lines: Ints

    def where(self, which: Bools) -> Block:
        """The rows that a mask selects."""
        mask = pa.array(which)
        return Block(self.place, {name: column.filter(mask) for name, column in self.columns.items()}, self.lines[which])


@dataclass(frozen=True)
class Layout:
    """How a text table is laid out: its separator, the names of its fields, the lines before its first row."""

    separator: str
    names: tuple[str, ...]
    header_lines: int


def layout_of(source: Source, wanted: Collection[str]) -> Layout | None:
    """The layout of a table whose header names all `wanted` columns; None if no line at the file's beginning does."""
    for number, line in enumerate(source.head_lines[:MOST_HEADER_LINES], 1):
        for separator in SEPARATORS:
            names = tuple(name.strip() for name in _fields(line, separator))
            if len(names) > 1 and set(wanted) <= set(names):
                return Layout(separator, names, number)
    return None


def _fields(line: str, separator: str) -> list[str]:
    """The fields of a line; one if it cannot be divided, as a line with a return in its midst."""
    if separator == BLANKS:
        return line.split()
    try:
        return next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])
    except csv.Error:
        return [line]


def is_parquet(source: Source) -> bool:
    """Whether a file is a Parquet file, by its first bytes."""
    return source.head.startswith(PARQUET)


def columns_of_parquet(source: Source) -> list[str]:
    """The names of the columns of a Parquet file. Raises DatasetError."""
    with source.local() as path:
        try:
            return list(pyarrow.parquet.read_schema(path).names)
        except pa.ArrowException as error:
            raise DatasetError(f"{source.name}: it is no whole Parquet file ({error}); fetch the file again") from None


def parquet_blocks(source: Source, wanted: Sequence[str]) -> Iterator[Block]:
    """The wanted columns of a Parquet file. Lines are rows. Raises DatasetError if it cannot be read."""
    with source.local() as path:
        first = 1
        try:
            with pyarrow.parquet.ParquetFile(path) as table:
                for batch in table.iter_batches(BLOCK_ROWS, columns=list(wanted)):
                    columns = {name: _plain(batch.column(name)) for name in wanted}
                    yield Block(source.name, columns, np.arange(first, first + batch.num_rows))
                    first += batch.num_rows
        except pa.ArrowException as error:
            raise DatasetError(f"{source.name}: it is no whole Parquet file ({error}); fetch the file again") from None


def _plain(column: pa.Array) -> pa.Array:
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def text_blocks(source: Source, layout: Layout, wanted: Sequence[str], faults: Faults) -> Iterator[Block]:
    """The wanted columns of a text table, as text. A line with more or fewer fields than the header goes to faults."""
    first = 1
    with source.open() as stream:
        while lines := stream.readlines(BLOCK_BYTES):
            skipped = max(layout.header_lines + 1 - first, 0)
            if rows := lines[skipped:]:
                yield _fast(source, layout, wanted, rows, first + skipped) or _slow(source, layout, wanted, rows, first + skipped, faults)
            first += len(lines)


def _fast(source: Source, layout: Layout, wanted: Sequence[str], lines: list[bytes], first: int) -> Block | None:
    """The block if every line is a row of the table, else None."""
    body = pa.py_buffer(b"".join(lines))
    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(body),
            pyarrow.csv.ReadOptions(column_names=_unique(layout.names), use_threads=False, block_size=body.size + 1),
            pyarrow.csv.ParseOptions(delimiter=layout.separator),
            pyarrow.csv.ConvertOptions(include_columns=list(wanted), column_types={name: pa.string() for name in wanted}),
        )
    except pa.ArrowException:
        return None
    if len(table) != len(lines):  # blank lines, or a field in quotes that holds the end of a line
        return None
    columns = {name: table.column(name).combine_chunks() for name in wanted}
    return Block(source.name, {name: _as_array(column) for name, column in columns.items()}, np.arange(first, first + len(lines)))


def _as_array(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) else column


def _unique(names: Sequence[str]) -> list[str]:
    """The names, each once: of several columns with one name the first keeps it."""
    return [name if name not in names[:i] else f"{name}#{i}" for i, name in enumerate(names)]


def _slow(source: Source, layout: Layout, wanted: Sequence[str], lines: list[bytes], first: int, faults: Faults) -> Block:
    """The block, line by line."""
    rows, numbers, faulty = [], [], []
    for number, line in enumerate(lines, first):
        text = line.decode("utf-8", errors="replace").rstrip("\r\n")
        fields = _fields(text, layout.separator)
        if len(fields) == len(layout.names):
            rows.append(fields)
            numbers.append(number)
        elif text.strip():
            faulty.append((number, f"{text[:80]!r} has {len(fields)} fields, not {len(layout.names)}"))
    faults.add(source.name, faulty)
    at = [layout.names.index(name) for name in wanted]
    columns = {name: pa.array([row[i] for row in rows], pa.string()) for name, i in zip(wanted, at)}
    return Block(source.name, columns, np.array(numbers, np.int64))

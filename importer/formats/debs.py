"""DEBS 2014 Grand Challenge: load (W) and work (a register in kWh) of each plug, a line each, without a header.

    id,timestamp,value,property,plug_id,household_id,house_id        property 0: work, 1: load

House 0 of the file is house 1. A plug's number is 1000 x its household's + its own + 1, as it is unique within its household only.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from importer.formats import tables
from importer.formats.columns import numbers
from importer.formats.mapping import Column, Mapping, Reader
from importer.formats.series import Batch, Request
from importer.formats.sources import Source
from importer.formats.tables import Block, Layout
from smartmeter.arrays import Floats

NAMES = ("id", "timestamp", "value", "property", "plug_id", "household_id", "house_id")
PLUGS_OF_HOUSEHOLD = 1000
WORK, LOAD = 0, 1
MAPPINGS = {
    number: Mapping(("timestamp",), (column,), timezone="Europe/Berlin", house_column="house", meter_column="plug")
    for number, column in ((LOAD, Column("value", "W")), (WORK, Column("value", "kWh", quantity="import")))
}


class Debs:
    """The format."""

    name = "debs"

    def recognizes(self, source: Source) -> bool:
        """Whether a file begins with a line of seven numbers, the fourth 0 or 1."""
        fields = next(iter(source.head_lines), "").split(",")
        try:
            return len(fields) == len(NAMES) and float(fields[3]) in (WORK, LOAD) and all(float(field) >= 0 for field in fields)
        except ValueError:
            return False

    def read(self, source: Source, request: Request) -> Iterator[Batch]:
        """The values of a file."""
        readers = {number: Reader(mapping, source, request) for number, mapping in MAPPINGS.items()}
        for block in tables.text_blocks(source, Layout(",", NAMES, 0), NAMES, request.faults):
            numbered, what = self._numbered(block, request)
            for number, reader in readers.items():
                yield from reader.read(numbered.where(what == number))
        for reader in readers.values():
            reader.note_missing()

    def _numbered(self, block: Block, request: Request) -> tuple[Block, Floats]:
        """(rows with the columns house and plug, property of each). Faults are the rows without whole numbers."""
        what, plug, household, house = (numbers(block.columns[name])[0] for name in NAMES[3:])
        whole = np.isin(what, (WORK, LOAD)) & (plug < PLUGS_OF_HOUSEHOLD)
        for column in (plug, household, house):
            whole &= (column >= 0) & (column % 1 == 0)
        sentence = "property, plug_id, household_id and house_id are not whole numbers as in this data set"
        request.faults.add(block.place, ((int(line), sentence) for line in block.lines[~whole]))
        block = block.where(whole)
        plugs = (household * PLUGS_OF_HOUSEHOLD + plug + 1)[whole].astype(np.int64)
        names = pa.array(np.char.add("plug ", plugs.astype(str)), pa.string())
        houses = pa.array((house + 1)[whole].astype(np.int64)).cast(pa.string())
        return Block(block.place, {**block.columns, "house": houses, "plug": names}, block.lines), what[whole]


DEBS = Debs()

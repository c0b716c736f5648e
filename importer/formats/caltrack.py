"""Intervals of a utility's meters, a row a meter and day, a column an interval, as CalTRACK's tests have them.

    SPID,SA,UOM,DIR,DATE,RS,APCT,NAICS,00:15,00:30,...,24:00

A column's time is the end of its interval, unless the first is 00:00. DIR is D for what the utility delivered, R for what it received.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from generator.channels import DatasetError, note
from importer.formats import tables
from importer.formats.columns import numbers, skipped_by_clock, texts
from importer.formats.mapping import Column, Mapping, Reader
from importer.formats.series import Batch, Request, timezone_of
from importer.formats.sources import Source
from importer.formats.tables import Block, Layout

KEYS = ("SPID", "UOM", "DIR", "DATE")
TIME = re.compile(r"(\d{1,2}):(\d\d)")
DAY_MINUTES = 1440


class Caltrack:
    """The format."""

    name = "caltrack"

    def recognizes(self, source: Source) -> bool:
        """Whether a file has a meter, a unit, a direction, a date, and columns of intervals."""
        layout = tables.layout_of(source, KEYS)
        return layout is not None and len(_ends(layout)) > 1

    def read(self, source: Source, request: Request) -> Iterator[Batch]:
        """The values of a file."""
        layout = tables.layout_of(source, KEYS)
        if layout is None or len(_ends(layout)) < 2:
            raise DatasetError(f"{source.name}: no header with {', '.join(KEYS)} and a column for each interval; leave the file out")
        ends, zone = _ends(layout), timezone_of(request, "", source)
        minutes = ends[1][1] - ends[0][1]
        starts = [(name, end if ends[0][1] == 0 else (end or DAY_MINUTES) - minutes) for name, end in ends]
        readers = {
            direction: Reader(
                Mapping(("start",), (Column("kwh", "kWh", label, "mains", interval_s=minutes * 60, sign=sign),), house_column="SPID"),
                source,
                request,
            )
            for direction, sign, label in (("D", 1, "mains"), ("R", -1, "export"))
        }
        for block in map(_kwh, tables.text_blocks(source, layout, [*KEYS, *(name for name, _ in ends)], request.faults)):
            for direction, reader in readers.items():
                rows = _long(block.where(pc.equal(_upper(block, "DIR"), direction).to_numpy(zero_copy_only=False)), starts, zone, request)
                yield from (_numbered(batch, direction) for batch in reader.read(rows))
        for reader in readers.values():
            reader.note_missing()


def _numbered(batch: Batch, direction: str) -> Batch:
    return replace(batch, series=replace(batch.series, meter_id=1 if direction == "D" else 2))


def _ends(layout: Layout) -> list[tuple[str, int]]:
    """(name, minutes since midnight) of the columns of intervals, in the order of the file."""
    return [(name, int(match[1]) * 60 + int(match[2])) for name in layout.names if (match := TIME.fullmatch(name))]


def _upper(block: Block, name: str) -> pa.Array:
    return pc.utf8_upper(texts(block.columns[name]))


def _kwh(block: Block) -> Block:
    """The rows in kWh. Others, such as therms of gas, are left out."""
    is_kwh = pc.equal(_upper(block, "UOM"), "KWH").to_numpy(zero_copy_only=False)
    if not is_kwh.all():
        note(f"{block.place}: {np.count_nonzero(~is_kwh):,} rows in other units than KWH: left out")
    return block.where(is_kwh)


def _long(block: Block, starts: list[tuple[str, int]], zone: str, request: Request) -> Block:
    """A row an interval: SPID, start (a local time) and kwh. Empty columns of an hour that the clocks skip are left out."""
    words = texts(block.columns["DATE"]).to_pandas()
    days = pd.to_datetime(words, format="ISO8601", errors="coerce").fillna(pd.to_datetime(words, format="%m/%d/%Y", errors="coerce"))
    bad = days.isna().to_numpy()
    request.faults.add(block.place, ((int(line), f"{word[:80]!r} is no date") for line, word in zip(block.lines[bad], words[bad])))
    block, days = block.where(~bad), days[~bad]
    midnights = days.to_numpy("M8[ms]").astype(np.int64)
    times = (midnights[:, np.newaxis] + np.array([start for _, start in starts]) * 60_000).ravel()
    cells = [texts(block.columns[name]).to_pandas() for name, _ in starts]
    kwh = pd.DataFrame(dict(enumerate(cells))).to_numpy(object).ravel() if len(midnights) else np.array([], object)
    columns = {
        "SPID": pa.array(np.repeat(texts(block.columns["SPID"]).to_pandas().to_numpy(object), len(starts)), pa.string()),
        "start": pa.array(times, pa.timestamp("ms")),
        "kwh": pa.array(kwh, pa.string()),
    }
    rows = Block(block.place, columns, np.repeat(block.lines, len(starts)))
    value, missing, _ = numbers(columns["kwh"])
    return rows.where(~(skipped_by_clock(zone, times) & (missing | (value == 0))))


CALTRACK = Caltrack()

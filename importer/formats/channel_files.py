"""REDD (low_freq), UK-DALE and data sets in their layout: a folder house_N for each house, with labels.dat and channel_M.dat.

generator.datasets describes the layout. Files of one reading a line are read here as a table without a header.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePath

from generator.channels import BLANKS as ANY_BLANKS
from generator.channels import MOST_HEADER_LINES, DatasetError, note, split
from generator.datasets import HOUSE_FOLDER, TIMEZONE_OF_MAINS_LABEL, is_mains, plain, read_labels
from importer.formats import tables
from importer.formats.mapping import Column, Mapping, Reader
from importer.formats.series import Batch, Request
from importer.formats.sources import Source
from importer.formats.tables import BLANKS, Layout

CHANNEL = re.compile(r"channel_(\d+)\.dat")
NAMES = ("time", "watts")


class ChannelFiles:
    """The format. It reads the labels of a house once, with its first channel."""

    name = "channels"

    def __init__(self) -> None:
        self._labels: dict[str, dict[int, str]] = {}

    def recognizes(self, source: Source) -> bool:
        """Whether a file is a channel."""
        return CHANNEL.fullmatch(source.filename) is not None

    def read(self, source: Source, request: Request) -> Iterator[Batch]:
        """The values of a channel."""
        match = CHANNEL.fullmatch(source.filename)
        folder = PurePath(source.member or source.path.absolute()).parent
        house = HOUSE_FOLDER.fullmatch(folder.name)
        if not match or not house:
            raise DatasetError(f"{source.name}: it is not channel_1.dat or the like, in a folder house_1 or the like; rename it")
        labels = self._labels_beside(source)
        number = int(match[1])
        if number not in labels:
            note(f"{source.name}: labels.dat does not name channel {number}, left out")
            return
        column = Column(NAMES[1], request.unit, labels[number])
        mapping = Mapping((NAMES[0],), (column,), timezone=_timezone(labels), house=house[1])
        reader = Reader(mapping, source, request)
        for block in tables.text_blocks(source, _layout(source), NAMES, request.faults):
            yield from (replace(batch, series=replace(batch.series, meter_id=number)) for batch in reader.read(block))
        reader.note_missing()

    def _labels_beside(self, source: Source) -> dict[int, str]:
        """Channel -> label of the house of a channel. Raises DatasetError if it has no labels.dat that can be read."""
        folder = source.name.rpartition("/")[0]
        if folder not in self._labels:
            self._labels[folder] = _labels(source)
        return self._labels[folder]


def _labels(source: Source) -> dict[int, str]:
    for name in ("labels.dat", "labels.dat.gz"):
        beside = _beside(source, name)
        if not beside.exists():
            continue
        with beside.local() as path:
            try:
                return read_labels(path)
            except DatasetError as error:
                raise DatasetError(str(error).replace(str(path), beside.name)) from None
    raise DatasetError(f"{source.name}: no labels.dat beside it; each house needs one with a line 'channel label' for each channel")


def _beside(source: Source, name: str) -> Source:
    if source.member:
        return Source(source.path, str(PurePath(source.member).with_name(name)))
    return Source(Path(source.path).with_name(name))


def _timezone(labels: dict[int, str]) -> str:
    return next((zone for label in labels.values() if is_mains(label) and (zone := TIMEZONE_OF_MAINS_LABEL.get(plain(label)))), "")


def _layout(source: Source) -> Layout:
    """The separator of a channel, and the lines before its first reading. Raises DatasetError if its beginning holds none."""
    lines = source.head_lines[:MOST_HEADER_LINES]
    for number, line in enumerate(lines, 1):
        separator = next((mark for mark in ",;\t" if mark in line), BLANKS)
        fields = split(line, ANY_BLANKS if separator == BLANKS else separator)
        if len(fields) == len(NAMES) and re.fullmatch(r"[-+.\deE]+", fields[0]):
            return Layout(separator, NAMES, number - 1)
    raise DatasetError(f"{source.name}: no line of a time and a power in its first {len(lines)} lines; correct or remove the file")

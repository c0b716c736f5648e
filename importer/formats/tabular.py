"""Formats that are one table, a user's own included: a mapping each, and where the name of the house is in the file's name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from generator.channels import DatasetError
from importer.formats.mapping import Mapping
from importer.formats.series import Batch, Request
from importer.formats.sources import Source


@dataclass(frozen=True)
class Tabular:
    """A format that is a table."""

    name: str
    mapping: Mapping
    house_in_filename: str = ""
    """Regular expression whose group is the name of the house."""

    def recognizes(self, source: Source) -> bool:
        """Whether a file has the columns of the format."""
        return self.mapping.fits(source)

    def read(self, source: Source, request: Request) -> Iterator[Batch]:
        """The values of a file."""
        match = re.search(self.house_in_filename, source.filename) if self.house_in_filename else None
        if self.house_in_filename and not match:
            raise DatasetError(f"{source.name}: the number of its house is not in the file's name; name it as in House_1.csv")
        yield from (replace(self.mapping, house=match[1]) if match else self.mapping).read(source, request)

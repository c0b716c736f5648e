"""Pecan Street Dataport: a row a home and minute, 15 minutes or second; a column a circuit, in kW; times with their offset from UTC."""

from __future__ import annotations

from collections.abc import Iterator

from generator.channels import DatasetError
from generator.houses import Kind
from importer.formats import tables
from importer.formats.mapping import Column, Mapping
from importer.formats.series import Batch, Request
from importer.formats.sources import Source

TIMES = ("localminute", "local_15min", "localhour", "localsecond")
NO_POWER = {"dataid", *TIMES, "leg1v", "leg2v"}
KINDS: tuple[tuple[str, Kind], ...] = (("grid", "mains"), ("solar", "solar"), ("gen", "solar"), ("battery", "battery"), ("car", "ev"))
"""Beginnings of the names of circuits that are no appliances."""


class Dataport:
    """The format."""

    name = "dataport"

    def recognizes(self, source: Source) -> bool:
        """Whether a file has a home's number and a local time."""
        return bool(self._names(source))

    def read(self, source: Source, request: Request) -> Iterator[Batch]:
        """The values of a file."""
        names = self._names(source)
        if not names:
            raise DatasetError(f"{source.name}: no header with dataid and one of {', '.join(TIMES)}; leave the file out")
        time = next(name for name in TIMES if name in names)
        columns = tuple(Column(name, "kW", kind=_kind(name)) for name in names if name not in NO_POWER | _sums(names))
        yield from Mapping((time,), columns, house_column="dataid").read(source, request)

    def _names(self, source: Source) -> tuple[str, ...]:
        if tables.is_parquet(source):
            names = tuple(tables.columns_of_parquet(source))
            return names if "dataid" in names and set(TIMES) & set(names) else ()
        layouts = (tables.layout_of(source, ("dataid", time)) for time in TIMES)
        return next((layout.names for layout in layouts if layout), ())


def _kind(name: str) -> Kind:
    return next((kind for start, kind in KINDS if name.startswith(start)), "mains" if name == "use" else "appliance")


def _sums(names: tuple[str, ...]) -> set[str]:
    """Columns that repeat others: older exports have use = grid + gen."""
    return {"use"} if "grid" in names else set()


DATAPORT = Dataport()

"""NILMTK's HDF5: a table a meter, /building1/elec/meter1, with a column for each physical quantity, as pandas writes it.

The names of columns and the metadata are pickles. They are read without running what a pickle may hold. Lines are rows of a meter's table.
"""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np

from generator.channels import DatasetError, note
from importer.formats.series import Batch, Quantity, Request, Series, Unit, checked, timezone_of
from importer.formats.sources import Source
from importer.formats.tables import BLOCK_ROWS

HDF5 = b"\x89HDF\r\n\x1a\n"
COLUMNS: tuple[tuple[tuple[str, str], Quantity, Unit], ...] = (
    (("power", "active"), "power", "W"),
    (("power", "apparent"), "power", "W"),
    (("cumulative energy", "active"), "import", "kWh"),
)
"""Columns that are read: the first power that a meter has, and the register. NILMTK's energy is in kWh."""
DAMAGED = (OSError, EOFError, LookupError, ValueError, TypeError, AttributeError, RuntimeError, pickle.UnpicklingError)
"""What h5py and pickle raise for files that are damaged or laid out otherwise."""
KINDS = {"electric vehicle": "ev", "photovoltaic": "solar", "solar": "solar", "battery": "battery"}


class Nilmtk:
    """The format."""

    name = "nilmtk"

    def recognizes(self, source: Source) -> bool:
        """Whether a file is HDF5."""
        return source.head.startswith(HDF5)

    def read(self, source: Source, request: Request) -> Iterator[Batch]:
        """The values of a file. Raises DatasetError if it has no meters of NILMTK's."""
        with source.local() as path:
            try:
                with h5py.File(path) as file:
                    zone = timezone_of(request, str(_attribute(file, "metadata", {}).get("timezone", "")), source)
                    houses = _numbered(file, "building")
                    for house, building in houses:
                        yield from self._house(source, str(house), building, zone, request)
            except DAMAGED as error:
                raise DatasetError(f"{source.name}: it is no whole HDF5 file of NILMTK ({error}); fetch the file again") from None
        if not houses:
            raise DatasetError(f"{source.name}: it has no /building1, so it is not NILMTK's; leave the file out")

    def _house(self, source: Source, house: str, building: Any, zone: str, request: Request) -> Iterator[Batch]:
        metadata = _attribute(building, "metadata", {})
        labels = _labels(metadata)
        elec = metadata.get("elec_meters", {})
        for meter_id, group in _numbered(building["elec"], "meter"):
            about = elec.get(meter_id, {})
            label = "mains" if about.get("site_meter") else labels.get(meter_id, f"meter {meter_id}")
            place = f"{source.name}/building{house}/elec/meter{meter_id}"
            above = about.get("submeter_of", 0)
            parent = str(above) if above in elec and not elec[above].get("site_meter") else ""
            for position, quantity, unit in _columns(group["table"], place):
                kind: Any = "mains" if about.get("site_meter") else KINDS.get(re.sub(r" \d+$", "", label), "appliance")
                series = Series(house, meter_id, label, kind, quantity, unit, zone, parent=parent)
                for first in range(0, group["table"].shape[0], BLOCK_ROWS):
                    rows = group["table"][first : first + BLOCK_ROWS]
                    values = rows[position[0]][:, position[1]].astype(np.float64)
                    lines = np.arange(first + 1, first + 1 + len(rows))
                    batch = Batch(series, rows["index"] // 1_000_000, values, place, lines)
                    yield checked(batch.where(~np.isnan(values)), request)


def _numbered(group: Any, stem: str) -> list[tuple[int, Any]]:
    """(number, member) of the members of a group whose names are a stem and a number."""
    found = [(int(match[1]), group[name]) for name in group if (match := re.fullmatch(rf"{stem}(\d+)", name))]
    return sorted(found, key=lambda member: member[0])


def _columns(table: Any, place: str) -> list[tuple[tuple[str, int], Quantity, Unit]]:
    """((field, position in it), quantity, unit) of the columns of a meter's table that are read."""
    at = {
        tuple(name): (field, position)
        for field in table.dtype.names
        if field != "index"
        for position, name in enumerate(_attribute(table, f"{field}_kind", []))
    }
    found = [(at[name], quantity, unit) for name, quantity, unit in COLUMNS if name in at]
    powers = [each for each in found if each[1] == "power"]
    if not found:
        note(f"{place}: neither power nor energy but {', '.join(' '.join(map(str, name)) for name in at)}, left out")
    return powers[:1] + [each for each in found if each[1] != "power"]


def _labels(metadata: dict[str, Any]) -> dict[int, str]:
    """Meter -> the appliances on it."""
    found: dict[int, list[str]] = {}
    for appliance in metadata.get("appliances", []):
        name = str(appliance.get("original_name") or appliance.get("type") or "appliance")
        for meter_id in appliance.get("meters", []):
            found.setdefault(meter_id, []).append(name)
    return {meter_id: ", ".join(names) for meter_id, names in found.items()}


class _Inert(pickle.Unpickler):
    """Reads plain values; whatever else a pickle asks for becomes an object that does nothing."""

    def find_class(self, module: str, name: str) -> Any:
        return _Unknown


class _Unknown:
    """Stands for an object of a class that is not read."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def _attribute(node: Any, name: str, absent: Any) -> Any:
    """The value of an attribute that PyTables pickled, if it is of the kind of `absent`; else that."""
    if name not in node.attrs:
        return absent
    value = node.attrs[name]
    if isinstance(value, h5py.Empty):
        return absent
    body = value.encode("latin-1") if isinstance(value, str) else bytes(value)
    found = _Inert(io.BytesIO(body), encoding="latin-1").load()
    return found if isinstance(found, type(absent)) else absent


NILMTK = Nilmtk()

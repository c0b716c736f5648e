"""NILMTK's HDF5, as pandas and PyTables write it: tables of structs, names and metadata as pickles of protocol 0."""

import datetime
import pickle

import h5py
import numpy as np
import pytest

from generator.channels import DatasetError
from importer.formats import nilmtk
from importer.formats.nilmtk import NILMTK
from importer.formats.sources import Source
from tests.unit.importing import batches, request, values, written

BEGIN = 1356998400


def make(path, tables, **metadata):
    """tables: (house, meter) -> (names of columns, rows)."""
    with h5py.File(path, "w") as file:
        file.attrs["metadata"] = np.bytes_(pickle.dumps({"name": "X", "timezone": "Europe/London", "date": datetime.date(2013, 1, 1)}, 0))
        for (house, meter), (names, rows) in tables.items():
            dtype = [("index", "<i8"), ("values_block_0", "<f4", (len(names),))]
            data = [((BEGIN + 6 * n) * 10**9, row) for n, row in enumerate(rows)]
            table = file.create_dataset(f"building{house}/elec/meter{meter}/table", data=np.array(data, dtype), chunks=True)
            table.attrs["values_block_0_kind"] = np.bytes_(pickle.dumps(names, 0))
            table.attrs["TITLE"] = h5py.Empty("S1")
            file[f"building{house}"].attrs["metadata"] = np.bytes_(pickle.dumps(metadata, 0))
    return Source(path)


ACTIVE, APPARENT, ENERGY, VOLTAGE = ("power", "active"), ("power", "apparent"), ("cumulative energy", "active"), ("voltage", "")


@pytest.mark.parametrize("block_rows", [1, 2, 1000])
def test_meters_and_their_labels(tmp_path, monkeypatch, caplog, block_rows):
    monkeypatch.setattr(nilmtk, "BLOCK_ROWS", block_rows)
    source = make(
        tmp_path / "x.h5",
        {
            (1, 1): ([VOLTAGE, APPARENT, ACTIVE, ENERGY], [[230, 1100, 1000, 5], [231, 1200, np.nan, 5.5]]),
            (1, 10): ([APPARENT], [[80], [81]]),
            (1, 2): ([VOLTAGE], [[1], [1]]),
            (1, 3): ([ACTIVE], [[9], [9]]),
        },
        elec_meters={1: {"site_meter": True}, 10: {"submeter_of": 1}},
        appliances=[{"type": "fridge", "instance": 1, "meters": [10]}, {"type": "freezer", "meters": [10]}],
    )
    assert values(NILMTK, source) == {
        ("1", 1, "mains", "mains", "power", "W"): [(BEGIN, 1000)],
        ("1", 1, "mains", "mains", "import", "kWh"): [(BEGIN, 5), (BEGIN + 6, 5.5)],
        ("1", 3, "meter 3", "appliance", "power", "W"): [(BEGIN, 9), (BEGIN + 6, 9)],
        ("1", 10, "fridge, freezer", "appliance", "power", "W"): [(BEGIN, 80), (BEGIN + 6, 81)],
    }
    assert batches(NILMTK, source)[0].series.timezone == "Europe/London"
    assert "x.h5/building1/elec/meter2: neither power nor energy but voltage , left out" in caplog.text


def test_submeters_lie_under_their_meters_but_those_of_the_site_meter_under_none(tmp_path):
    about = {1: {"site_meter": True}, 2: {"submeter_of": 1}, 3: {"submeter_of": 2}, 4: {"submeter_of": 0}, 5: {"submeter_of": 9}}
    source = make(tmp_path / "x.h5", {(1, meter): ([ACTIVE], [[1]]) for meter in about}, elec_meters=about)
    assert [batch.series.parent for batch in batches(NILMTK, source)] == ["", "", "2", "", ""]


def test_a_pickle_runs_nothing(tmp_path):
    class Harm:
        def __reduce__(self):
            return open, (str(tmp_path / "harm"), "w")

    source = make(tmp_path / "x.h5", {(1, 1): ([ACTIVE], [[5]])}, harm=Harm(), elec_meters={1: {"site_meter": True}})
    assert values(NILMTK, source) == {("1", 1, "mains", "mains", "power", "W"): [(BEGIN, 5)]}
    assert not (tmp_path / "harm").exists()


def test_files_that_are_no_nilmtk(tmp_path):
    whole = make(tmp_path / "x.h5", {(1, 1): ([ACTIVE], [[4e9]])})
    with pytest.raises(DatasetError, match="building1/elec/meter1:1: meter 1: 4000000000 W is more than any home draws"):
        batches(NILMTK, whole)
    with pytest.raises(DatasetError, match="cut.h5: it is no whole HDF5 file of NILMTK"):
        batches(NILMTK, written(tmp_path, "cut.h5", whole.path.read_bytes()[:500]))
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = [1]
    with pytest.raises(DatasetError, match="other.h5: it has no /building1, so it is not NILMTK's"):
        batches(NILMTK, Source(tmp_path / "other.h5"), request("UTC"))

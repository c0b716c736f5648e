"""REDD's and UK-DALE's layout: read as the loader of data sets reads it."""

import gzip
import zipfile

import numpy as np
import pytest

from generator.channels import DatasetError
from generator.datasets import measured_houses
from importer.formats.channel_files import ChannelFiles
from importer.formats.sources import Source, sources
from tests.unit.channel_files import NOON, house
from tests.unit.importing import batches, request, values, written


@pytest.mark.parametrize(
    "text",
    [
        f"{NOON} 222.2\n{NOON + 1} 0\n",
        f"\ufeff{NOON}\t222.2\r\n{NOON + 1}\t0\r\n",
        f"unix,watts\n{NOON},222.2\n{NOON + 1},0",
        f"{NOON}000; 222.2\n\n{NOON + 1}000; 0\n",
        f"  {NOON}  222.2\n{NOON + 1}   0\n",
        f"{NOON}.000 222.2\n{NOON + 0.5} nan\n{NOON + 1} 0\n",
    ],
)
def test_forms_of_a_channel(tmp_path, text):
    source = written(house(tmp_path), "channel_1.dat", text)
    assert values(ChannelFiles(), source) == {("1", 1, "mains", "mains", "power", "W"): [(NOON, 222.2), (NOON + 1, 0)]}
    assert batches(ChannelFiles(), source)[0].series.timezone == "America/New_York"


def test_the_readings_are_those_of_the_loader(tmp_path):
    rng = np.random.default_rng(1)
    for number in (1, 2):
        lines = "".join(f"{NOON + second} {watts:.2f}\n" for second, watts in enumerate(rng.uniform(0, 5000, 3000)))
        house(tmp_path, labels="1 aggregate\n2 fridge\n3 absent\n", number=number, c1=lines, c2=lines[:40_000].rpartition("\n")[0])
    form, found = ChannelFiles(), {}
    for source in sources([tmp_path]):
        if form.recognizes(source):
            for batch in form.read(source, request()):
                found[int(batch.series.house), batch.series.meter_id] = batch.times_ms.tolist(), batch.values.astype(np.float32).tolist()
    expected = {
        (loaded.house_id, meter.meter_id): tuple(
            np.concatenate(column).tolist() for column in zip(*(day.readings[i] for day in loaded.days()))
        )
        for loaded in measured_houses(tmp_path)
        for i, meter in enumerate(loaded.meters)
    }
    assert found == expected and len(found) == 4


def test_kilowatts_gzip_and_zip(tmp_path):
    folder = house(tmp_path, labels="", c1="")
    (folder / "channel_1.dat").unlink()
    (folder / "labels.dat").unlink()
    (folder / "labels.dat.gz").write_bytes(gzip.compress(b"1\tmains\n"))
    (folder / "channel_1.dat.gz").write_bytes(gzip.compress(f"{NOON} 1.5\n".encode()))
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for path in folder.iterdir():
            archive.write(path, f"low_freq/house_3/{path.name}")
    for source, number in (
        (Source(folder / "channel_1.dat.gz"), "1"),
        (Source(tmp_path / "all.zip", "low_freq/house_3/channel_1.dat.gz"), "3"),
    ):
        assert values(ChannelFiles(), source, request(unit="kW")) == {(number, 1, "mains", "mains", "power", "kW"): [(NOON, 1.5)]}


def test_what_is_wrong_with_a_channel(tmp_path, caplog):
    folder = house(tmp_path, labels="1 mains\n", c1=f"{NOON} 1\n\n{NOON + 1} x\n", c2=f"{NOON} 1\n", c3="")
    with pytest.raises(DatasetError, match=r"channel_1.dat:3: '1303142401': watts: 'x' is no number"):
        batches(ChannelFiles(), Source(folder / "channel_1.dat"))
    assert not batches(ChannelFiles(), Source(folder / "channel_2.dat"))
    assert "channel_2.dat: labels.dat does not name channel 2, left out" in caplog.text
    (folder / "labels.dat").write_text("1 mains\n3 oven\n")
    with pytest.raises(DatasetError, match="channel_3.dat: no line of a time and a power in its first 0 lines"):
        batches(ChannelFiles(), Source(folder / "channel_3.dat"))
    (folder / "labels.dat").write_text("1 mains\nx\n")
    with pytest.raises(DatasetError, match="house_1/labels.dat:2: 'x' is not a channel number and a label"):
        batches(ChannelFiles(), Source(folder / "channel_1.dat"))
    (folder / "labels.dat").unlink()
    with pytest.raises(DatasetError, match="channel_1.dat: no labels.dat beside it"):
        batches(ChannelFiles(), Source(folder / "channel_1.dat"))
    with pytest.raises(DatasetError, match="it is not channel_1.dat or the like, in a folder house_1"):
        batches(ChannelFiles(), written(tmp_path / "other", "channel_1.dat", f"{NOON} 1\n"))

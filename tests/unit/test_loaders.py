"""Loaders: REDD and UK-DALE layouts, and one clear sentence for each kind of bad input."""

import gzip
import logging
from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from generator import datasets
from generator.bursts import bursts_of_day
from generator.datasets import DatasetError, measured_houses, read_channel, read_labels
from generator.houses import HouseDay, Meter

NOON = 1303142400  # 2011-04-18 12:00 in New York


def house(root, labels="1 mains\n2 mains\n3 oven\n", number=1, **channels):
    """Writes a house; channels are c1="1 2\\n", and so on."""
    folder = root / f"house_{number}"
    folder.mkdir(parents=True)
    (folder / "labels.dat").write_text(labels)
    for name, text in channels.items():
        (folder / f"channel_{name[1:]}.dat").write_text(text)
    return folder


def read(path):
    times, watts = zip(*read_channel(path))
    return np.concatenate(times).tolist(), np.concatenate(watts).tolist()


def test_redd(tmp_path):
    house(tmp_path, c1=f"{NOON} 222.20\n{NOON + 1} 0\n", c2=f"{NOON} 1\n", c3=f"{NOON + 2} 5.25\n")
    house(tmp_path, number=10, labels="1 mains\n", c1="1 1\n")
    first, second = measured_houses(tmp_path)
    assert (first.house_id, second.house_id) == (1, 10)
    assert (first.timezone, first.source) == ("America/New_York", f"{tmp_path.name}/house_1")
    assert first.meters == [Meter(1, "mains", "mains"), Meter(2, "mains", "mains"), Meter(3, "oven", "appliance")]
    (day,) = first.days()
    assert (day.date, day.start_ms) == (date(2011, 4, 18), (NOON - 43200) * 1000)
    assert [times.tolist() for times, _ in day.readings] == [[NOON * 1000, NOON * 1000 + 1000], [NOON * 1000],
                                                             [NOON * 1000 + 2000]]
    assert day.readings[0][1].tolist() == [np.float32(222.2), 0.0]


def test_ukdale_gzipped_with_fractions_of_a_second(tmp_path):
    folder = house(tmp_path, labels="1 aggregate\n2 kitchen_phone&stereo\n", c2="1363547000 2\n")
    with gzip.open(folder / "channel_1.dat.gz", "wt") as out:
        out.write("1363547562.026 500\n1363547563.5 501.5\n")
    (folder / "labels.dat.gz").write_bytes(gzip.compress((folder / "labels.dat").read_bytes()))
    (folder / "labels.dat").unlink()
    (only,) = measured_houses(tmp_path)
    assert only.timezone == "Europe/London"
    assert [meter.kind for meter in only.meters] == ["mains", "appliance"]
    bursts = list(only.bursts(date.min, date.max, 300))
    assert [(burst.tick_ms, burst.start_ms, burst.counts.tolist()) for burst in bursts] == [
        (1, 1363546800000, [0, 1]), (1, 1363547400000, [2, 0])]
    assert bursts[1].deltas.tolist() == [162026, 1474]


def test_timezone_can_be_set(tmp_path):
    house(tmp_path, labels="1 whole\n", c1="0 1\n")
    assert measured_houses(tmp_path, "Asia/Tokyo")[0].timezone == "Asia/Tokyo"
    with pytest.raises(DatasetError, match="no channel is labelled mains .* give it with --timezone"):
        measured_houses(tmp_path)


def test_label_without_file_is_told_and_left_out(tmp_path, caplog):
    house(tmp_path, c1="1 1\n")
    with caplog.at_level(logging.WARNING):
        (only,) = measured_houses(tmp_path)
    assert [meter.meter_id for meter in only.meters] == [1]
    assert "labels.dat names 2 channels without a file, left out: 2 mains, 3 oven" in caplog.text


def test_repeated_time_keeps_the_first_reading(tmp_path, caplog):
    folder = house(tmp_path, c1="5 1\n5 2\n6 3\n")
    assert read(folder / "channel_1.dat") == ([5000, 6000], [1.0, 3.0])
    assert "1 readings at the same time" in caplog.text


@pytest.mark.parametrize("chunk_rows", [1, 2, 100])
def test_chunks_and_days_do_not_change_the_readings(tmp_path, monkeypatch, chunk_rows):
    monkeypatch.setattr(datasets, "CHUNK_ROWS", chunk_rows)
    times = [NOON, NOON + 43199, NOON + 43200, NOON + 3 * 86400]
    house(tmp_path, labels="1 mains\n2 oven\n", c1="".join(f"{t} {i}\n" for i, t in enumerate(times)), c2=f"{NOON + 43200} 7\n")
    days = list(measured_houses(tmp_path)[0].days())
    assert [day.date.day for day in days] == [18, 19, 21]
    assert [day.readings[0][1].tolist() for day in days] == [[0, 1], [2], [3]]
    assert [day.readings[1][1].tolist() for day in days] == [[], [7], []]
    assert [day.date.day for day in measured_houses(tmp_path)[0].days(date(2011, 4, 19), date(2011, 4, 21))] == [19]


@pytest.mark.parametrize("text, line, fault", [
    ("1 1\nwatts\n", 2, "'watts': not two numbers"),
    ("1 1\n\n2 x\n", 3, "'2 x': not two numbers"),
    ("1 1\n2 2 2\n", 2, "not two numbers"),
    ("1 1\n2\n", 2, "not two numbers"),
    ("1 1\n3 1\n2 1\n", 3, "the time goes backwards, from 3"),
    ("1 1\n2 -0.5\n", 2, "the watts are not a number of 0 or more"),
    ("1 nan\n", 1, "the watts are not a number of 0 or more"),
    ("1 inf\n", 1, "the watts are not a number of 0 or more"),
    ("1303132929000 1\n", 1, "the time is not in Unix seconds"),
])
def test_bad_line_is_named(tmp_path, text, line, fault):
    path = house(tmp_path, c1=text) / "channel_1.dat"
    with pytest.raises(DatasetError) as error:
        read(path)
    assert str(error.value).startswith(f"{path}:{line}: ") and fault in str(error.value)


def test_time_that_goes_backwards_between_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "CHUNK_ROWS", 1)
    path = house(tmp_path, c1="2 1\n1 1\n") / "channel_1.dat"
    with pytest.raises(DatasetError, match="channel_1.dat:2: '1 1': the time goes backwards, from 2"):
        read(path)


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_empty_channel_file(tmp_path, text):
    path = house(tmp_path, c1=text) / "channel_1.dat"
    with pytest.raises(DatasetError, match="channel_1.dat: no reading in it; remove the file"):
        read(path)


def test_truncated_gzip(tmp_path):
    path = house(tmp_path) / "channel_1.dat.gz"
    path.write_bytes(gzip.compress(b"1 1\n" * 100)[:-9])
    with pytest.raises(DatasetError, match="channel_1.dat.gz: it cannot be read .* fetch the file again"):
        read(path)


@pytest.mark.parametrize("text, message", [
    ("1 mains\nrefrigerator\n", "labels.dat:2: 'refrigerator' is not a channel number and a label"),
    ("1 mains\n2\n", "labels.dat:2: '2' is not"),
    ("0 mains\n", "labels.dat:1: '0 mains' is not"),
    ("1 mains\n1 oven\n", "labels.dat:2: channel 1 is named a second time"),
    ("", "labels.dat: it is empty"),
])
def test_bad_labels(tmp_path, text, message):
    with pytest.raises(DatasetError, match=message):
        read_labels(house(tmp_path, labels=text) / "labels.dat")


def test_folders_that_hold_no_data(tmp_path):
    with pytest.raises(DatasetError, match="there is no such folder"):
        measured_houses(tmp_path / "absent")
    with pytest.raises(DatasetError, match="no folder house_1, house_2"):
        measured_houses(tmp_path)
    (tmp_path / "house_1").mkdir()
    with pytest.raises(DatasetError, match="house_1: no labels.dat in it"):
        measured_houses(tmp_path)
    (tmp_path / "house_1" / "labels.dat").write_text("1 mains\n")
    with pytest.raises(DatasetError, match="none of the channels in labels.dat has a file"):
        measured_houses(tmp_path)


class TwoMeters:
    house_id, timezone, meters = 7, "UTC", [Meter(4, "mains", "mains"), Meter(2, "oven", "appliance")]


def test_bursts_by_hand():
    seconds = [np.array([0, 1, 4, 5, 24]), np.array([3, 9])]
    day = HouseDay(date(1970, 1, 1), 0, 25_000, [(s * 1000, s.astype(np.float32)) for s in seconds])
    bursts = list(bursts_of_day(TwoMeters, day, 5))
    assert [(b.start_ms, b.end_ms) for b in bursts] == [(0, 5000), (5000, 10000), (20000, 25000)]
    assert [b.counts.tolist() for b in bursts] == [[3, 1], [1, 1], [1, 0]]
    assert [b.deltas.tolist() for b in bursts] == [[0, 1, 3, 3], [0, 4], [4]]
    assert [b.watts.tolist() for b in bursts] == [[0, 1, 4, 3], [5, 9], [24]]
    assert all(b.meter_ids.tolist() == [4, 2] and b.tick_ms == 1000 for b in bursts)


sorted_times = st.lists(st.integers(0, 99_999), unique=True, max_size=60).map(sorted)


@given(sorted_times, sorted_times, st.integers(1, 120))
def test_bursts_hold_every_reading_once(first, second, burst_s):
    start = 1_700_000_000_000
    readings = [(start + np.array(times, dtype=np.int64), np.array(times, dtype=np.float32)) for times in (first, second)]
    seen = {4: [], 2: []}
    for burst in bursts_of_day(TwoMeters, HouseDay(date(2023, 11, 14), start, start + 100_000, readings), burst_s):
        ends = np.cumsum(burst.counts)
        assert ends[-1] == len(burst.deltas) == len(burst.watts) > 0
        for meter_id, end, count in zip(burst.meter_ids, ends, burst.counts):
            times = burst.start_ms + burst.tick_ms * np.cumsum(burst.deltas[end - count:end])
            assert ((burst.start_ms <= times) & (times < burst.end_ms)).all()
            assert (times - start).tolist() == burst.watts[end - count:end].tolist()
            seen[int(meter_id)] += (times - start).tolist()
    assert seen == {4: first, 2: second}

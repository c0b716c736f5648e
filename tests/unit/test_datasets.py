"""Data sets: REDD and UK-DALE layouts, and one clear sentence for each kind of bad input."""

import gzip
import logging
from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from generator import channels
from generator.bursts import bursts
from generator.channels import AS_WATTS, DatasetError, ReadingOptions
from generator.datasets import is_mains, kind_of, measured_houses, read_labels
from generator.houses import Meter
from generator.meter_file import MeterFile, Stated, read_meter_file
from smartmeter.errors import UserError
from tests.unit.channel_files import NOON, house, write
from tests.unit.importing import written


def test_redd(tmp_path):
    house(tmp_path, c1=f"{NOON} 222.20\n{NOON + 1} 0\n", c2=f"{NOON} 1\n", c3=f"{NOON + 2} 5.25\n")
    house(tmp_path, number=10, labels="1 mains\n", c1="1 1\n")
    first, second = measured_houses(tmp_path)
    assert (first.house_id, second.house_id) == (1, 10)
    assert (first.timezone, first.source) == ("America/New_York", f"{tmp_path.name}/house_1")
    assert first.meters == [Meter(1, "mains", "mains"), Meter(2, "mains", "mains"), Meter(3, "oven", "appliance")]
    (day,) = first.days()
    assert (day.date, day.start_ms) == (date(2011, 4, 18), (NOON - 43200) * 1000)
    assert [times.tolist() for times, _ in day.readings] == [[NOON * 1000, NOON * 1000 + 1000], [NOON * 1000], [NOON * 1000 + 2000]]
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
    found = list(bursts(only, date.min, date.max, 300))
    assert [(burst.tick_ms, burst.start_ms, burst.counts.tolist()) for burst in found] == [
        (1, 1363546800000, [0, 1]),
        (1, 1363547400000, [2, 0]),
    ]
    assert found[1].deltas.tolist() == [162026, 1474]


STATED = """
[[meters]]
label = "PV"
parent = "garage"

[[meters]]
meter = 4
house = 1
kind = "battery"
sign = -1
scale = 0.5
"""


def test_kinds_follow_the_labels_and_what_is_stated_comes_first(tmp_path):
    lines = {f"c{number}": f"{NOON} {number}\n{NOON + 1} {number}\n" for number in range(1, 6)}
    labels = "1 mains\n2 PV\n3 garage\n4 box\n5 car_charger\n"
    house(tmp_path / "data", labels=labels, **lines)
    stated = read_meter_file(written(tmp_path, "meters.toml", STATED).path)
    (found,) = measured_houses(tmp_path / "data", options=ReadingOptions(meters=stated))
    assert [(meter.kind, meter.parent) for meter in found.meters] == [
        ("mains", 0),
        ("solar", 3),
        ("appliance", 0),
        ("battery", 0),
        ("ev", 0),
    ]
    (day,) = found.days()
    assert [watts.tolist() for _, watts in day.readings] == [[1, 1], [-2, -2], [3, 3], [-2, -2], [5, 5]]


@pytest.mark.parametrize(
    "label, kind",
    [
        ("Solar", "solar"),
        ("pv_2", "solar"),
        ("solar inverter", "solar"),
        ("solar_thermal_pumping_station", "appliance"),
        ("home battery", "battery"),
        ("battery_charger", "appliance"),
        ("EV", "ev"),
        ("car1", "ev"),
        ("wallbox", "ev"),
        ("grid", "mains"),
        ("carpet", "appliance"),
    ],
)
def test_the_kind_by_the_label(label, kind):
    assert kind_of(label) == kind


def test_solar_that_draws_is_noted(tmp_path, caplog):
    house(tmp_path, labels="1 mains\n2 solar\n", c1=f"{NOON} 5\n", c2=f"{NOON} -700\n")
    measured_houses(tmp_path)
    assert "a solar meter draws more than it feeds; if the files count production as negative, state sign = 1" in caplog.text


def test_what_is_stated_of_no_meter_is_refused(tmp_path):
    house(tmp_path, labels="1 mains\n2 oven\n", c1=f"{NOON} 5\n", c2=f"{NOON} 7\n")
    with pytest.raises(UserError, match=r"the table \[\[meters\]\] number 1 fits no meter of the files"):
        measured_houses(tmp_path, options=ReadingOptions(meters=MeterFile(tmp_path, [Stated(label="PV")])))


def test_timezone_can_be_set(tmp_path):
    house(tmp_path, labels="1 whole\n", c1="0 1\n")
    assert measured_houses(tmp_path, "Asia/Tokyo")[0].timezone == "Asia/Tokyo"
    with pytest.raises(DatasetError, match="no channel is labelled mains .* give it with --timezone"):
        measured_houses(tmp_path)


@pytest.mark.parametrize(
    "label, zone", [("Mains", "America/New_York"), ("main", None), ("Aggregate", "Europe/London"), ("site_meter", None)]
)
def test_advice_to_give_a_time_zone_does_not_make_an_appliance_of_the_mains(tmp_path, caplog, label, zone):
    house(tmp_path, labels=f"1 {label}\n2 Fridge\n", c1="1 500\n", c2="1 100\n")
    if zone:
        assert measured_houses(tmp_path)[0].timezone == zone
        assert f"the time zone is taken to be {zone}, as its mains are labelled {label}" in caplog.text
    else:
        with pytest.raises(DatasetError, match=f"the time zone is unknown.*{label}; give it with --timezone"):
            measured_houses(tmp_path)
    (given,) = measured_houses(tmp_path, "Europe/London")
    assert [meter.kind for meter in given.meters] == ["mains", "appliance"]


@pytest.mark.parametrize(
    "label",
    [
        "mains",
        "Mains",
        "MAINS_1",
        "mains2",
        "main",
        "Main meter",
        "aggregate",
        "Aggregate",
        "site meter",
        "site_meter",
        "sitemeter",
        "Whole House",
        "whole-home",
        "Total",
        "total power",
        "grid",
        "Grid meter",
        "smart meter",
        "WHE",
        "electric-mains",
        "electric_combined",
        "mains phase 2",
    ],
)
def test_labels_of_the_whole_house(label):
    assert is_mains(label)


@pytest.mark.parametrize(
    "label", ["oven", "main bedroom", "total freezer", "grid tie inverter", "house lights", "subpanel", "domain", "solar", ""]
)
def test_labels_of_appliances(label):
    assert not is_mains(label)


def test_a_house_without_mains_and_one_with_several_kinds_of_them_are_reported(tmp_path, caplog):
    house(tmp_path, labels="1 oven\n2 kettle\n", c1="1 1\n", c2="1 1\n")
    house(tmp_path, number=2, labels="1 grid\n2 aggregate\n", c1="1 1\n", c2="1 1\n")
    measured_houses(tmp_path, "UTC")
    assert "house_1: no channel is labelled mains, so the house's energy is the sum of its 2 channels" in caplog.text
    assert "house_2: these channels are all taken as mains, and added up: 1 grid, 2 aggregate" in caplog.text


@pytest.mark.parametrize("name", ["house1", "House_1", "house-01", "home 1", "building1"])
def test_other_names_of_a_houses_folder(tmp_path, caplog, name):
    house(tmp_path, labels="1 mains\n", c1="1 1\n").rename(tmp_path / name)
    assert [found.house_id for found in measured_houses(tmp_path)] == [1]
    assert f"{name}: read as house 1" in caplog.text


def test_ambiguous_house_folders(tmp_path):
    house(tmp_path, number=0, labels="1 mains\n", c1="1 1\n")
    house(tmp_path, number=6, labels="1 mains\n", c1="1 1\n")
    with pytest.raises(DatasetError, match="house_0: houses are numbered from 1; rename the folder .* such as house_7"):
        measured_houses(tmp_path)
    (tmp_path / "house_0").rename(tmp_path / "house6")
    with pytest.raises(DatasetError, match="house6 and .*house_6 are both house 6; rename one of them"):
        measured_houses(tmp_path)
    with pytest.raises(DatasetError, match=f"this is the folder of one house; give the folder that holds it, {tmp_path}"):
        measured_houses(tmp_path / "house_6")


def kwh(day_readings, max_gap_s=1000):
    """Energy of some readings, by the rule of docs/design.md."""
    times = np.concatenate([times for times, _ in day_readings]) / 1000
    watts = np.concatenate([watts for _, watts in day_readings]).astype(float)
    return float((np.minimum(np.diff(times), max_gap_s) * watts[:-1]).sum() / 3.6e6)


SECONDS, WATTS = 1303132929 + 60 * np.arange(3000), 200 + np.arange(3000) % 50
"""200 W rising by 1 W a minute, 50 minutes long, 60 times: (60 x (200 + ... + 249) - 249) W min = 673,251 / 60,000 kWh."""


@pytest.mark.parametrize(
    "form, scale, options, notes",
    [
        ("{:.0f} {:g}\r\n", 1, AS_WATTS, []),
        ("{:.0f},{:g}\n", 1, AS_WATTS, []),
        ("{:.0f}; {:g}\n", 1, AS_WATTS, []),
        ("{:.0f}\t{:g}\n", 1, AS_WATTS, []),
        ("{:.0f}000 {:g}\n", 1, AS_WATTS, ["times are read as Unix milliseconds"]),
        ("{:.0f}000000 {:g}\n", 1, AS_WATTS, ["times are read as Unix microseconds"]),
        ("{:.0f}000000000 {:g}\n", 1, AS_WATTS, ["times are read as Unix nanoseconds"]),
        ("{:.0f} {:g}\n", 1000, ReadingOptions("kW"), []),
    ],
)
@pytest.mark.parametrize("head", ["", "\ufeff", "unix,watts\n", "\ufeffZeit;Leistung\n\n"])
def test_forms_of_a_channel_file(tmp_path, caplog, head, form, scale, options, notes):
    path = house(tmp_path, labels="1 mains\n") / "channel_1.dat"
    write(path, SECONDS, WATTS / scale, form)
    path.write_text(head + path.read_bytes().decode(), newline="")
    (only,) = measured_houses(tmp_path, options=options)
    assert kwh([day.readings[0] for day in only.days()]) == pytest.approx(673_251 / 60_000, rel=1e-7)
    expected = notes + ["channel_1.dat:1: header lines left out"] * ("t" in head)
    assert len(caplog.records) == len(expected) and all(text in caplog.text for text in expected)


def test_power_that_looks_like_kw_is_reported(tmp_path, caplog):
    folder = house(tmp_path, labels="1 mains\n2 oven\n", c2="1303132929 0\n")
    write(folder / "channel_1.dat", SECONDS, WATTS / 1000)
    measured_houses(tmp_path)
    assert (
        "house_1: the power looks like kW, not W: the highest of the first 3,000 readings is 0.249; if it is kW, give --unit kW"
        in caplog.text
    )


def test_half_hours_hold_until_the_next_one(tmp_path, caplog):
    folder = house(tmp_path, labels="1 aggregate\n")
    write(folder / "channel_1.dat", 1364943600 + 1800 * np.arange(49), [1000] * 49)
    (only,) = measured_houses(tmp_path)
    assert "channel_1.dat: its readings are 1,800 s apart, so each holds for up to 2,700 s; so in 1 files of house_1" in caplog.text
    assert only.holds_s == {1: 2700}
    readings = [day.readings[0] for day in only.days()]
    assert (kwh(readings), kwh(readings, only.holds_s[1])) == (pytest.approx(13.333, abs=0.001), 24)
    caplog.clear()
    (only,) = measured_houses(tmp_path, max_gap_s=1800)
    assert not caplog.text and not only.holds_s


def test_label_without_file_is_reported_and_left_out(tmp_path, caplog):
    house(tmp_path, c1="1 1\n")
    with caplog.at_level(logging.WARNING):
        (only,) = measured_houses(tmp_path)
    assert [meter.meter_id for meter in only.meters] == [1]
    assert "labels.dat names 2 channels without a file, left out: 2 mains, 3 oven" in caplog.text


@pytest.mark.parametrize("chunk_rows", [1, 2, 100])
def test_chunks_and_days_do_not_change_the_readings(tmp_path, monkeypatch, chunk_rows):
    monkeypatch.setattr(channels, "CHUNK_ROWS", chunk_rows)
    times = [NOON, NOON + 43199, NOON + 43200, NOON + 3 * 86400]
    house(tmp_path, labels="1 mains\n2 oven\n", c1="".join(f"{t} {i}\n" for i, t in enumerate(times)), c2=f"{NOON + 43200} 7\n")
    days = list(measured_houses(tmp_path)[0].days())
    assert [day.date.day for day in days] == [18, 19, 21]
    assert [day.readings[0][1].tolist() for day in days] == [[0, 1], [2], [3]]
    assert [day.readings[1][1].tolist() for day in days] == [[], [7], []]
    assert [day.date.day for day in measured_houses(tmp_path)[0].days(date(2011, 4, 19), date(2011, 4, 21))] == [19]


@pytest.mark.parametrize(
    "text, message",
    [
        ("1 mains\nrefrigerator\n", "labels.dat:2: 'refrigerator' is not a channel number and a label"),
        ("1 mains\n2\n", "labels.dat:2: '2' is not"),
        ("0 mains\n", "labels.dat:1: '0 mains' is not"),
        ("1 mains\n1 oven\n", "labels.dat:2: channel 1 is named a second time"),
        ("1 ''\n", "labels.dat:1: .* is not a channel number and a label"),
        ("", "labels.dat: it is empty"),
    ],
)
def test_bad_labels(tmp_path, text, message):
    with pytest.raises(DatasetError, match=message):
        read_labels(house(tmp_path, labels=text) / "labels.dat")


@pytest.mark.parametrize(
    "text",
    [
        "1 mains\n2 oven left\n",
        "1\tmains\n2\toven left\n",
        "\ufeff1 mains\r\n2  oven  left \r\n",
        "1,mains\n2, oven left\n",
        "\"1\",\"mains\"\n'2','oven left'\n",
        "1: mains\n2: oven left\n",
        'channel,label\n1;mains\n2;"oven left"\n',
    ],
)
def test_forms_of_labels(tmp_path, text):
    path = house(tmp_path) / "labels.dat"
    path.write_bytes(text.encode())
    assert read_labels(path) == {1: "mains", 2: "oven left"}


label_words = st.from_regex(r"[a-zA-Z_&][a-zA-Z0-9_&]{0,9}", fullmatch=True)


@given(
    st.dictionaries(st.integers(1, 2**31 - 1), st.lists(label_words, min_size=1, max_size=3).map(" ".join), min_size=1, max_size=5),
    st.sampled_from([" ", "\t", ",", " ; ", ":"]),
    st.sampled_from(["", "'", '"']),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["", "\ufeff"]),
)
def test_labels_are_read_whatever_their_form(tmp_path_factory, labels, separator, quote, end, mark):
    path = tmp_path_factory.mktemp("labels") / "labels.dat"
    path.write_bytes((mark + "".join(f"{channel}{separator}{quote}{label}{quote}{end}" for channel, label in labels.items())).encode())
    assert read_labels(path) == labels


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

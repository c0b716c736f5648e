"""The spool: readings in any order come out by house and local day, each once."""

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from generator.channels import DatasetError
from importer.spool import Spool, note_doubts
from smartmeter.local_days import local_date
from tests.unit.test_series import series

NOON_MS = 1_381_320_000_000


def add(spool, readings, house="1", meter_id=1, **more):
    one = replace(series(), house=house, meter_id=meter_id, timezone="America/New_York", **more)
    times, watts = zip(*readings)
    spool.add("form", one, np.array(times), np.array(watts, np.float32))


@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from("12"), st.integers(1, 2), st.integers(0, 60), st.integers(0, 9)), min_size=1, max_size=10),
        min_size=1,
        max_size=8,
    )
)
def test_readings_come_out_by_house_and_day_as_a_plain_reader_sorts_them(tmp_path_factory, batches):
    expected = {}
    with Spool(tmp_path_factory.mktemp("spool")) as spool:
        for batch in batches:
            for house, meter in {(house, meter) for house, meter, _, _ in batch}:
                own = [(NOON_MS + hour * 3_600_000, watts) for h, m, hour, watts in batch if (h, m) == (house, meter)]
                add(spool, own, house, meter)
                for time_ms, watts in own:
                    expected.setdefault((int(house), meter, local_date(time_ms, "America/New_York"), time_ms), watts)
        found = {
            (house.house_id, meter.meter_id, day.date, time_ms): watts
            for house in spool.houses(1000)
            for day in house.days()
            for meter, (times, power) in zip(house.meters, day.readings)
            for time_ms, watts in zip(times.tolist(), power.tolist())
        }
        assert found == expected and spool.readings == sum(map(len, batches))
        days = [day for house in spool.houses(1000) for day in house.days()]
        spans = [(int(min(t[0] for t, _ in day.readings if t.size)), int(max(t[-1] for t, _ in day.readings if t.size))) for day in days]
        assert [(day.start_ms, day.end_ms - 1000) for day in days] == spans
        assert all(list(house.dates) == sorted(house.dates) for house in spool.houses(1000))


def test_repeated_readings_are_counted(tmp_path):
    with Spool(tmp_path) as spool:
        for watts in (1, 1, 2):
            add(spool, [(NOON_MS, watts), (NOON_MS + 1, 5)])
        (house,) = spool.houses(1000)
        ((times, power),) = house.day(house.dates[0]).readings
        assert (times.tolist(), power.tolist(), house.repeated, house.contradicting) == ([NOON_MS, NOON_MS + 1], [1, 5], 4, 1)


@pytest.mark.parametrize(
    "apart_s, interval_s, hold_s",
    [
        (1, 0, 0),
        (1000, 0, 0),
        (1001, 0, 1502),
        (1800, 0, 2700),
        (1800, 1800, 1800),
        (60, 60, 60),
        (90_000, 90_000, 90_000),
        (86_400, 0, 90_000),
    ],
)
def test_a_reading_holds_for_its_interval_or_half_as_long_again_as_readings_are_apart(tmp_path, apart_s, interval_s, hold_s):
    with Spool(tmp_path) as spool:
        add(spool, [(NOON_MS + 1000 * apart_s * n, 5) for n in range(3)], interval_s=interval_s)
        [house] = spool.houses(1000)
    assert house.holds_s == ({1: hold_s} if hold_s else {})


def test_two_houses_or_meters_of_one_number(tmp_path):
    for more, message in (
        (dict(house="House 1"), "form/1 and form/House 1 would both be house 1; import them apart, each with its own --house"),
        (dict(label="oven"), "house 1: mains and oven are both meter 1; leave one out with --without"),
    ):
        with Spool(tmp_path) as spool:
            add(spool, [(NOON_MS, 1)])
            with pytest.raises(DatasetError, match=message):
                add(spool, [(NOON_MS, 1)], **more)
    with Spool(tmp_path, house_id=7) as spool:
        add(spool, [(NOON_MS, 1)], house="x")
        assert [(house.house_id, house.source) for house in spool.houses(1000)] == [(7, "form/x")]
        with pytest.raises(DatasetError, match="would both be house 7"):
            add(spool, [(NOON_MS, 1)], house="y")


@pytest.mark.parametrize(
    "readings, more, doubt",
    [
        ([(NOON_MS, 0.25), (NOON_MS + 1000, 4)], {}, "form/1 and 1 more: the power of the mains looks like kW"),
        (
            [(NOON_MS, 250), (NOON_MS + 3_600_000, 4)],
            dict(interval_s=1800),
            "and 1 more: the readings of mains are 3,600 s apart, .* of 1,800 s",
        ),
        ([(NOON_MS, 250), (NOON_MS + 1_800_000, 4)], dict(interval_s=1800), None),
        ([(NOON_MS, 250), (NOON_MS + 1_800_000, 4)], {}, None),
        ([(NOON_MS, 250)], dict(kind="appliance", label="oven"), "form/1 and 1 more: no meter is labelled mains"),
        ([(NOON_MS, 250.5), (NOON_MS + 1000, 4)], {}, None),
    ],
)
def test_doubts(tmp_path, caplog, readings, more, doubt):
    with Spool(tmp_path) as spool:
        for name in "12":
            add(spool, readings, name, **more)
        note_doubts(spool.houses(1000))
    assert len(caplog.records) == (1 if doubt else 0)
    if doubt:
        assert re.search(doubt, caplog.text)

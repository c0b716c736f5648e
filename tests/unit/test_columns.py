"""Numbers and times in columns; what wall clocks show."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from importer.formats.columns import LocalClock, TimeReader, numbers, skipped_by_clock


def test_numbers():
    column = pa.array([" 1.5", "Null", "x", "", None, "1e3", "?"])
    values, missing, bad = numbers(column)
    assert values[[0, 5]].tolist() == [1.5, 1000] and np.isnan(values[[1, 2, 3, 4, 6]]).all()
    assert missing.tolist() == [False, True, False, True, True, False, True] and np.flatnonzero(bad).tolist() == [2]
    assert numbers(pa.array(["1,5"]), ",")[0].tolist() == [1.5]
    values, missing, bad = numbers(pa.array([1, None]))
    assert values[0] == 1 and missing.tolist() == [False, True] and not bad.any()


@pytest.mark.parametrize(
    "texts, time_format, are_utc",
    [
        (["1381324037", "1381324038"], "", True),
        (["1381324037000", "1381324038000"], "", True),
        (["1381324037.0", "1381324038"], "", True),
        (["2013-10-09 13:07:17", "2013-10-09 13:07:18"], "", False),
        (["2013-10-09T13:07:17.0000000", "2013-10-09T13:07:18"], "", False),
        (["2013-10-09 13:07:17Z", "2013-10-09 14:07:18+01"], "", True),
        (["2013-10-09 08:07:17-05", "2013-10-09 08:07:18-05:00"], "", True),
        (["9/10/2013 13:07:17", "09/10/2013 13:07:18"], "%d/%m/%Y %H:%M:%S", False),
    ],
)
def test_forms_of_times(texts, time_format, are_utc):
    times, bad, found = TimeReader(time_format).read(pa.array(texts))
    assert (times.tolist(), bad.any(), found) == ([1381324037000, 1381324038000], False, are_utc)


@pytest.mark.parametrize(
    "texts",
    [
        ["1381324037", "1381324037000"],
        ["1381324037", ""],
        ["2013-10-09 13:07:17", "2013-10-09 13:07:17+01:00"],
        ["2013-10-09 13:07:17Z", "2013-10-09 13:07:17"],
        ["2013-10-09", "2013-10-32"],
        ["2013-10-09", "1381324037"],
    ],
)
def test_a_time_of_another_form_than_the_first_is_none(texts):
    _, bad, _ = TimeReader().read(pa.array(texts))
    assert bad.tolist() == [False, True]


def test_typed_times():
    for zone, are_utc in (("Europe/Berlin", True), (None, False)):
        times, bad, found = TimeReader().read(pa.array([1381324037000000000, None], pa.timestamp("ns", tz=zone)))
        assert (times[0], bad.tolist(), found) == (1381324037000, [False, True], are_utc)
    assert TimeReader().read(pa.array([1381324037]))[0].tolist() == [1381324037000]


@given(
    st.sampled_from(["Europe/London", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"]),
    st.sampled_from([60, 900, 1800]),
    st.integers(1, 500),
)
def test_a_local_clock_is_turned_back_into_instants(timezone, step_s, block):
    step_ms, begin_ms = step_s * 1000, 1_382_824_800_000  # 2013-10-26 22:00, hours before clocks change in Europe
    for start_ms in (begin_ms, begin_ms + 7 * 86_400_000, 1_380_931_200_000):  # a week later in America; 2013-10-05 in Australia
        instants = start_ms + step_ms * np.arange(86_400 // step_s)
        shown = [
            datetime.fromtimestamp(each / 1000, ZoneInfo(timezone)).replace(tzinfo=UTC).timestamp() * 1000 for each in instants.tolist()
        ]
        clock, found = LocalClock(timezone, "local"), []
        for at in range(0, len(shown), block):
            times, skipped = clock.instants(np.array(shown[at : at + block]).astype(np.int64))
            assert not skipped.any()
            found += times.tolist()
        assert found == instants.tolist()


def test_clocks_without_daylight_saving_and_skipped_hours():
    noon = np.array([1_373_371_200_000])  # 2013-07-09 12:00
    assert LocalClock("Europe/Paris", "utc").instants(noon)[0] == noon
    assert LocalClock("Europe/Paris", "standard").instants(noon)[0] == noon - 3_600_000
    assert LocalClock("Australia/Sydney", "standard").instants(noon)[0] == noon - 36_000_000
    wall = np.array([1_396_143_000_000, 1_396_146_600_000, 1_396_150_200_000])  # 2014-03-30 01:30, 02:30, 03:30
    assert skipped_by_clock("Europe/Paris", wall).tolist() == [False, True, False]
    assert LocalClock("Europe/Paris", "local").instants(wall)[1].tolist() == [False, True, False]

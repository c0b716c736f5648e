"""Clean days: exact limits, local days, what is kept."""

from datetime import date

import numpy as np
import pytest

from generator.clean_days import CleanDays, is_clean
from generator.datasets import measured_houses
from generator.houses import HouseDay
from smartmeter.local_days import day_bounds_ms

DAY_S = 86_400


def day_of(*meters_seconds):
    return HouseDay(
        date(1970, 1, 1),
        0,
        DAY_S * 1000,
        [(np.array(seconds, dtype=np.int64) * 1000, np.ones(len(seconds), np.float32)) for seconds in meters_seconds],
    )


def every(step, first=0, last=DAY_S):
    return list(range(first, last, step))


@pytest.mark.parametrize(
    "seconds, clean",
    [
        (every(1000), True),
        (every(1001), False),  # a gap of 1001 s
        (every(100, first=1000), True),
        (every(100, first=1001), False),  # begins too late
        (every(100, last=DAY_S - 900), True),  # the last at 85400: 1000 s before midnight
        ([*every(100, last=DAY_S - 1000), DAY_S - 1001], False),  # ends too early
        ([], False),
    ],
)
def test_limits(seconds, clean):
    assert is_clean(day_of(seconds)) is clean
    assert is_clean(day_of(every(60), seconds)) is clean


def write_house(root, first, days, timezone="Europe/London", hole=None):
    """A house with a reading every 500 s from 6 h before the first day on; hole is left out. Its watts are hours."""
    folder = root / "house_1"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "labels.dat").write_text("1 aggregate\n2 fridge\n")
    start = day_bounds_ms(first, timezone)[0] // 1000
    seconds = [s for s in range(-21600, days * DAY_S, 500) if not (hole and hole[0] < s < hole[1])]
    (folder / "channel_1.dat").write_text("".join(f"{start + s} {s % DAY_S // 3600}\n" for s in seconds))
    (folder / "channel_2.dat").write_text("".join(f"{start + s} 100\n" for s in range(-21600, days * DAY_S, 500)))
    return measured_houses(root)[0]


def test_partial_days_gaps_and_days_of_23_hours_are_left_out(tmp_path):
    first = date(2024, 3, 29)  # clocks go forward on 31 March
    house = write_house(tmp_path / "data", first, 6, hole=(4 * DAY_S + 100, 4 * DAY_S + 2000))  # 2 April
    clean = CleanDays(house, tmp_path / "kept")
    assert clean.dates == [date(2024, 3, 29), date(2024, 3, 30), date(2024, 4, 1), date(2024, 4, 3)]
    (times, watts), (_, fridge) = clean.load(date(2024, 3, 30))
    assert times.tolist() == [s * 1000 for s in range(0, DAY_S, 500)]  # -21600 and 86400 are both 400 modulo 500
    assert watts[0] == 0 and watts[-1] == 23 and set(fridge.tolist()) == {100}


def test_kept_days_are_read_again_and_renewed_when_the_data_changes(tmp_path):
    house = write_house(tmp_path / "data", date(2024, 5, 1), 2)
    CleanDays(house, tmp_path / "kept")
    (tmp_path / "kept" / "2024-05-01.npz").unlink()
    assert CleanDays(house, tmp_path / "kept").dates == [date(2024, 5, 2)]  # unchanged data: not gone through again
    house = write_house(tmp_path / "data", date(2024, 5, 1), 3)
    assert CleanDays(house, tmp_path / "kept").dates == [date(2024, 5, d) for d in (1, 2, 3)]

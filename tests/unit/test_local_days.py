"""Local days, of 23 to 25 hours."""

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from smartmeter.local_days import day_bounds_ms, local_date, midnights, wall_clock_pieces
from tests.oracle import EPOCH
from tests.unit.logs import HOUR_MS, NEW_YORK


@pytest.mark.parametrize(
    "timezone, day, hours",
    [
        (NEW_YORK, date(2011, 3, 13), 23),
        (NEW_YORK, date(2011, 11, 6), 25),
        (NEW_YORK, date(2011, 4, 18), 24),
        ("Europe/London", date(2013, 3, 31), 23),
        ("Australia/Lord_Howe", date(2013, 4, 7), 24.5),
        ("America/Sao_Paulo", date(2013, 10, 20), 23),
        ("Asia/Kathmandu", date(2013, 10, 20), 24),
    ],
)
def test_a_local_day_has_the_hours_of_the_local_clock(timezone, day, hours):
    begin, end = midnights(timezone)[(day - EPOCH).days :][:2]
    assert (end - begin) / HOUR_MS == hours
    assert datetime.fromtimestamp(begin / 1000, ZoneInfo(timezone)).date() == day
    assert datetime.fromtimestamp(begin / 1000 - 1, ZoneInfo(timezone)).date() == day - timedelta(days=1)


def test_local_days():
    assert local_date(1_710_046_799_999, "America/New_York") == date(2024, 3, 9)
    assert local_date(1_710_046_800_000, "America/New_York") == date(2024, 3, 10)
    spring, autumn = date(2024, 3, 10), date(2024, 11, 3)
    assert [np.diff(day_bounds_ms(day, "America/New_York")).item() // 3_600_000 for day in (spring, autumn)] == [23, 25]
    hour = 3_600_000
    start = day_bounds_ms(spring, "America/New_York")[0]
    assert wall_clock_pieces(spring, "America/New_York") == [(start, start + 2 * hour, 0), (start + 2 * hour, start + 23 * hour, 3 * hour)]
    start = day_bounds_ms(autumn, "America/New_York")[0]
    assert wall_clock_pieces(autumn, "America/New_York") == [(start, start + 2 * hour, 0), (start + 2 * hour, start + 25 * hour, hour)]

"""Local hours, where clocks change to the second."""

from datetime import UTC, date, datetime

import numpy as np

from jobs.core.local_hours import edges_of, hour_of, start_of_hour
from smartmeter.local_days import day_of, midnights
from tests.oracle import EPOCH
from tests.unit.logs import HOUR_MS


def test_an_hour_begins_with_the_change_of_the_clocks_to_the_second():
    # Liberia went from UTC-0:44:30 to UTC on 7 January 1972 at 00:44:30 UTC.
    zone, day = "Africa/Monrovia", (date(1972, 1, 7) - EPOCH).days
    begin, end = (int(ms) for ms in midnights(zone)[day : day + 2])
    edges = edges_of(zone, np.array([day]))
    starts = [datetime.fromtimestamp(ms / 1000, UTC).strftime("%H:%M:%S") for ms in edges.tolist()]
    assert (end - begin) / HOUR_MS < 24 and starts[:3] == ["00:44:30", "01:00:00", "02:00:00"] and starts[-1] == "23:00:00"
    assert hour_of(int(edges[1]) - 1, begin, end, edges) == (edges[0], edges[1]) and hour_of(end - 1, begin, end, edges) == (edges[-1], end)
    for time_ms in (begin, int(edges[1]) - 1, int(edges[1]), end - 1, end, end + 2 * HOUR_MS - 1):
        day = midnights(zone)[day_of(zone, time_ms) :]
        assert start_of_hour(zone, time_ms) == hour_of(time_ms, day[0], day[1], edges)[0]

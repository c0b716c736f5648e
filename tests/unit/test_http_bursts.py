"""The bursts of requests: spans that claim no more than what was sent, and every reading in one of them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gateway.gathering import LONGEST_PAUSE_MS
from gateway.http_bursts import Spans
from gateway.http_readings import Reading
from jobs.core.readings import read
from smartmeter.messages.codec import EXPORT, IMPORT, POWER, encode_burst
from smartmeter.settings import DAY_MS
from tests.unit.test_http_readings import HOUSE, NOW


class Of:
    """The bursts of requests, one after the other."""

    def __init__(self):
        self.left = []
        self.spans = Spans(lambda reason, readings: self.left.append((reason, readings)))

    def bursts(self, arrived, *readings):
        """readings: (meter, quantity, time or None, value); times in ms since NOW."""
        found = (Reading(meter, quantity, None if at is None else NOW + at, value) for meter, quantity, at, value in readings)
        return self.spans.bursts(HOUSE, found, NOW + arrived)

    def of_power(self, arrived, *readings):
        """(start, end, meters, counts, deltas, watts) of each burst."""
        return [
            (
                burst.start_ms - NOW,
                burst.end_ms - NOW,
                *(column.tolist() for column in (burst.meter_ids, burst.counts, burst.deltas, burst.watts)),
            )
            for burst in self.bursts(arrived, *((meter, POWER, at, watts) for meter, at, watts in readings))
        ]


def test_a_burst_has_the_readings_in_order_and_the_next_one_goes_on_from_it():
    requests = Of()
    assert requests.of_power(50, (2, 30, 3), (2, 10, 1), (3, 30, 9), (3, 10, 8)) == [(10, 31, [2, 3], [2, 2], [0, 20, 0, 20], [1, 3, 8, 9])]
    assert requests.of_power(90, (3, 80, 7), (2, 80, 4)) == [(31, 81, [2, 3], [1, 1], [49, 49], [4, 7])]
    assert requests.left == []


def test_channels_with_other_spans_have_bursts_of_their_own():
    requests = Of()
    assert requests.of_power(50, (2, 10, 1), (3, 20, 2)) == [(10, 11, [2], [1], [0], [1]), (20, 21, [3], [1], [0], [2])]
    assert requests.of_power(90, (2, 80, 3), (3, 80, 4)) == [(11, 81, [2], [1], [69], [3]), (21, 81, [3], [1], [59], [4])]
    assert requests.of_power(99, (2, 90, 5), (3, 90, 6)) == [(81, 91, [2, 3], [1, 1], [9, 9], [5, 6])]


def test_a_repeated_request_has_the_same_readings_and_claims_nothing_else():
    requests = Of()
    first = requests.of_power(50, (2, 10, 1), (2, 30, 2))
    assert requests.of_power(60, (2, 10, 1), (2, 30, 2)) == first
    assert requests.of_power(90, (2, 80, 3))[0][:2] == (31, 81)


def test_history_claims_nothing_between_its_requests():
    requests, day = Of(), -DAY_MS
    assert requests.of_power(0, (2, day + 600_000, 1), (2, day + 610_000, 1))[0][:2] == (day + 600_000, day + 610_001)
    assert requests.of_power(0, (2, day + 1_200_000, 1))[0][:2] == (day + 1_200_000, day + 1_200_001)
    assert requests.of_power(0, (2, day + 900_000, 1))[0][:2] == (day + 900_000, day + 900_001)


def test_pauses_and_days_end_a_burst():
    pause, midnight = LONGEST_PAUSE_MS, (-NOW) % DAY_MS - DAY_MS
    assert [burst[:2] for burst in Of().of_power(0, (2, -pause - 5, 1), (2, -5, 2), (2, -4, 3))] == [(-pause - 5, -4 + 1)]
    assert [burst[:2] for burst in Of().of_power(0, (2, -pause - 9, 1), (2, -5, 2))] == [(-pause - 9, -pause - 8), (-5, -4)]
    assert [burst[:2] for burst in Of().of_power(0, (2, midnight - 9, 1), (2, midnight + 9, 2))] == [
        (midnight - 9, midnight - 8),
        (midnight - 8, midnight + 10),
    ]


def test_readings_without_a_time_are_stamped_one_after_the_other():
    requests = Of()
    assert requests.of_power(10, (2, None, 1), (2, None, 2)) == [(10, 12, [2], [2], [0, 1], [1, 2])]
    assert requests.of_power(10, (2, None, 3)) == [(12, 13, [2], [1], [0], [3])]


def test_of_two_readings_at_the_same_time_the_later_one_counts():
    requests = Of()
    assert requests.of_power(10, (2, 5, 1), (2, 5, 2)) == [(5, 6, [2], [1], [0], [2])] and requests.left == [("same time", 1)]


def test_registers_stand_beside_the_power():
    [burst] = Of().bursts(
        50, (3, IMPORT, 10, 7_000), (3, POWER, 10, 5), (3, IMPORT, 30, 7_500), (3, POWER, 30, 6), (2, EXPORT, 10, 1), (2, EXPORT, 30, 1)
    )
    assert burst.meter_ids.tolist() == [3, 3, 2] and burst.quantities.tolist() == [POWER, IMPORT, EXPORT]
    assert burst.watts.tolist() == [5, 6] and burst.energies.tolist() == [7_000, 500, 1, 0] and burst.holds_s.tolist() == [60, 0, 0]


READINGS = st.lists(
    st.tuples(
        st.sampled_from([2, 3]),
        st.sampled_from([POWER, IMPORT, EXPORT]),
        st.none() | st.integers(-3 * DAY_MS, 60_000),
        st.integers(0, 10**6),
    ),
    min_size=1,
    max_size=12,
)


@given(st.lists(READINGS, max_size=5))
def test_the_jobs_take_every_burst_and_each_reading_is_in_one(batches):
    requests, sent = Of(), 0
    for number, batch in enumerate(batches):
        bursts = requests.bursts(number * 1000, *batch)
        readings, reasons = read([encode_burst(burst) for burst in bursts], NOW + DAY_MS)
        assert not reasons and not len(readings.columns.refused) and not len(readings.registers.refused)
        sent += sum(int(burst.counts.sum()) for burst in bursts)
        assert sum(int(burst.counts.sum()) for burst in bursts) == len(readings.columns.watts) + len(readings.registers.energy_mwh)
        assert all(np.diff([burst.start_ms for burst in bursts]) >= 0)
    assert sent + sum(number for _, number in requests.left) == sum(map(len, batches))


@given(st.lists(st.lists(st.integers(0, 40 * 60_000), min_size=1, max_size=4), max_size=6))
def test_no_live_reading_is_covered_by_an_earlier_burst_if_times_rise(batches):
    requests, covered, at = Of(), -DAY_MS, 0
    for batch in batches:
        times = (at + np.cumsum(batch) + 1).tolist()
        at = times[-1]
        for start, end, *_ in requests.of_power(at, *((2, time, 1) for time in times)):
            assert start >= covered
            covered = end
        assert covered == at + 1

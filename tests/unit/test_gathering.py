"""The bursts of a house: what they cover never overlaps, and a reading is in one of them at most."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gateway.disk_spool import BY_ARRIVAL, ENTRY
from gateway.gathering import LONGEST_PAUSE_MS, SET_BACK_MS, Gatherer
from gateway.source import Source

NOW = 1_800_000_000_000


def entries(*readings):
    """(meter, arrived, device or None, watts) each, of house 7; times in ms since NOW."""
    return np.array(
        [(7, NOW + at, BY_ARRIVAL if own is None else NOW + own, 0, meter, 0, watts, 0) for meter, at, own, watts in readings], ENTRY
    )


def meter(meter_id, **others):
    return Source(7, meter_id, "x", "Europe/Amsterdam", f"{meter_id}", "", "", 1.0, **others)


METERS = [meter(1), meter(2), meter(3, time="t")]


class Gathered(Gatherer):
    def __init__(self):
        self.left = []
        super().__init__({7: "Europe/Amsterdam"}, METERS, lambda reason, readings: self.left.append((reason, readings)))

    def of(self, *readings):
        return [
            (
                burst.start_ms - NOW,
                burst.end_ms - NOW,
                burst.meter_ids.tolist(),
                burst.counts.tolist(),
                burst.deltas.tolist(),
                burst.watts.tolist(),
            )
            for burst in self.bursts(entries(*readings))
        ]


def test_a_burst_starts_where_the_one_before_ends_and_lists_quiet_meters():
    house = Gathered()
    assert house.of((1, 10, None, 5), (2, 12, None, 6), (1, 15, None, 7)) == [(10, 16, [1, 2], [2, 1], [0, 5, 2], [5, 7, 6])]
    assert house.of((2, 1000, None, 8)) == [(16, 1001, [1, 2], [0, 1], [984], [8])]
    assert house.of() == [] and house.left == []


def test_after_a_pause_a_burst_starts_with_its_first_reading():
    house = Gathered()
    house.of((1, 0, None, 5))
    assert house.of((1, 1 + LONGEST_PAUSE_MS, None, 6))[0][:2] == (1, 2 + LONGEST_PAUSE_MS)
    assert house.of((1, 3 + 2 * LONGEST_PAUSE_MS, None, 6))[0][:2] == (3 + 2 * LONGEST_PAUSE_MS, 4 + 2 * LONGEST_PAUSE_MS)


def test_a_meter_with_times_of_its_own_has_its_own_bursts():
    house = Gathered()
    found = house.of((3, 5000, 4000, 1), (1, 5000, None, 2), (3, 6000, 5000, 3))
    assert found == [(5000, 5001, [1, 2], [1, 0], [0], [2]), (4000, 5001, [3], [2], [0, 1000], [1, 3])]
    assert house.of((3, 7000, 5000, 3), (3, 7001, 7000, 4)) == [(5001, 7001, [3], [1], [1999], [4])]
    assert house.left == [("same time", 1)]


def test_of_two_readings_at_the_same_time_the_later_one_counts():
    house = Gathered()
    assert house.of((3, 1, 0, 1), (3, 2, 0, 9)) == [(0, 1, [3], [1], [0], [9])]
    assert house.left == [("same time", 1)]


def test_a_clock_that_was_set_back_is_followed():
    house = Gathered()
    house.of((1, 0, None, 5))
    assert house.of((1, -SET_BACK_MS, None, 6)) == [(-SET_BACK_MS, 1 - SET_BACK_MS, [1, 2], [1, 0], [0], [6])]


def test_holds():
    house = Gatherer({7: "Europe/Amsterdam"}, [meter(1), meter(2, holds_s=3600), meter(3, time="t")], lambda *_: None)
    by_arrival, own = house.bursts(entries((1, 0, None, 5), (3, 0, 0, 5)))
    assert by_arrival.holds_s.tolist() == [0, 3600] and own.holds_s.tolist() == []


def test_a_house_that_is_no_more():
    house = Gathered()
    assert list(house.bursts(np.array([(8, NOW, BY_ARRIVAL, 0, 1, 0, 1.0, 0)], ENTRY))) == [] and house.left == [("no house", 1)]


@given(st.lists(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 3)), max_size=6), max_size=6))
def test_bursts_of_a_meter_never_overlap_and_all_readings_are_accounted_for(batches):
    house, at, sent, spans = Gathered(), 0, 0, {}
    for batch in batches:
        rows = []
        for number, later in batch:
            at += later
            rows.append((number, at, at if number == 3 else None, 1))
        for burst in house.bursts(entries(*rows)):
            sent += len(burst.watts)
            assert burst.counts.sum() == len(burst.watts) == len(burst.deltas)
            key = burst.meter_ids.tolist() == [3]
            assert burst.start_ms >= spans.get(key, 0)
            spans[key] = burst.end_ms
        at += 1
    assert sent + sum(readings for _, readings in house.left) == sum(map(len, batches))

"""Imported bursts among those of the topic: before the first one that starts when they have ended, whatever clocks were wrong."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartmeter.messages.archive_files import cut, imported
from smartmeter.messages.codec import Burst, encode_burst
from smartmeter.messages.in_order import InOrder
from tests.unit.logs import HOUR_MS, START_MS

MINUTE_MS = 60_000
EMPTY = Burst(7, "UTC", 0, 0, 1000, np.array([1], np.int32), np.array([0], np.int32), np.empty(0, np.int32), np.empty(0, np.float32))


def burst(start_min: int, end_min: int, meter_id: int = 1) -> Burst:
    times = START_MS + start_min * MINUTE_MS, START_MS + end_min * MINUTE_MS
    return replace(EMPTY, start_ms=times[0], end_ms=times[1], meter_ids=np.array([meter_id], np.int32))


def order(topic: list[Burst | None], older: list[Burst]) -> list[str]:
    """What comes out: a message of the topic as its offset, an imported burst as its start and end in minutes. None: makes no sense."""
    in_order = InOrder((imported(one) for one in older), HOUR_MS)
    found = []
    for offset, one in enumerate(topic):
        message, _ = cut(0, offset, 0, b"7", encode_burst(one or EMPTY))
        found += in_order.arrived(message, one)
    found += in_order.ended()
    name = {imported(one): f"{(one.start_ms - START_MS) // MINUTE_MS}-{(one.end_ms - START_MS) // MINUTE_MS}" for one in older}
    return [name.get(message) or str(message.offset) for message in found]


def test_an_imported_burst_comes_before_the_first_that_starts_when_it_has_ended():
    topic = [burst(100, 110), burst(110, 120), burst(120, 130)]
    older = [burst(0, 5), burst(90, 100), burst(95, 111), burst(105, 120), burst(125, 200)]
    assert order(topic, older) == ["0-5", "90-100", "0", "1", "95-111", "105-120", "2", "125-200"]


def test_the_same_burst_comes_after_that_of_the_topic():
    assert order([burst(0, 10), burst(10, 20)], [burst(0, 10), burst(10, 20)]) == ["0", "0-10", "1", "10-20"]


DAY = 24 * 60


@pytest.mark.parametrize(
    "topic, expected",
    [
        ([burst(0, 10), burst(3 * DAY, 3 * DAY + 10), burst(10, 20)], ["0", "1", "2", "60-70", "1440-1450"]),  # wrong for one burst
        ([burst(0, 10), burst(3 * DAY, 3 * DAY + 10), burst(3 * DAY + 10, 3 * DAY + 20)], ["0", "60-70", "1440-1450", "1", "2"]),  # a pause
        ([burst(0, 10), burst(3 * DAY, 3 * DAY + 10)], ["0", "60-70", "1440-1450", "1"]),  # the last one, not decided yet
        (
            [burst(0, 10), burst(3 * DAY, 3 * DAY + 10), burst(3 * DAY, 3 * DAY + 10), burst(10, 20)],
            ["0", "1", "2", "3", "60-70", "1440-1450"],
        ),
        ([burst(0, 10), burst(3 * DAY, 3 * DAY + 10), burst(0, 10), None, burst(10, 20)], ["0", "1", "2", "3", "4", "60-70", "1440-1450"]),
        (
            [burst(0, 10), burst(3 * DAY, 3 * DAY + 10), burst(2 * DAY, 2 * DAY + 9), burst(10, 20)],
            ["0", "1", "2", "3", "60-70", "1440-1450"],
        ),
        (
            [burst(0, 10), burst(3 * DAY, 3 * DAY + 10), burst(0, 10), burst(3 * DAY + 10, 3 * DAY + 20)],
            ["0", "60-70", "1440-1450", "1", "2", "3"],  # a repeat decides nothing
        ),
        ([burst(0, 10), burst(100, 110), burst(20, 60)], ["0", "1", "2", "60-70", "1440-1450"]),  # it fills the time up to it
        ([burst(0, 10), burst(100, 110), burst(100, 110, meter_id=2)], ["0", "60-70", "1", "2", "1440-1450"]),  # of another meter
    ],
)
def test_a_jump_ahead_is_the_houses_time_once_another_burst_confirms_it(topic, expected):
    assert order(topic, [burst(60, 70), burst(DAY, DAY + 10)]) == expected


def test_what_is_over_when_the_time_up_to_a_jump_is_filled_comes_before_it():
    assert order([burst(0, 10), burst(100, 110), burst(20, 60)], [burst(12, 18)]) == ["0", "12-18", "1", "2"]


@given(
    st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 90), st.integers(1, 2)), max_size=12),
    st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 90)), max_size=12),
)
def test_all_comes_once_and_in_its_own_order(spans, older):
    topic = [burst(start, start + length, meter_id) for start, length, meter_id in spans]
    imports = sorted({(start + length, start) for start, length in older})
    found = order(topic, [burst(start, end) for end, start in imports])
    assert [name for name in found if "-" not in name] == [str(offset) for offset in range(len(topic))]
    ends = [int(name.split("-")[1]) for name in found if "-" in name]
    assert len(ends) == len(imports) and all(a <= b for a, b in pairwise(ends))

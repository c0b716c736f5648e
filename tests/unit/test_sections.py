"""Sections: readings of a meter on a local day in a burst, reduced to a row; worked by hand."""

import numpy as np
import pytest

from jobs.core.energy import kwh
from jobs.core.readings import read
from jobs.core.sections import arrivals, sections_in
from smartmeter.local_days import NEVER
from smartmeter.messages.codec import encode_burst
from tests.unit.logs import HOUR_MS, NEW_YORK, START_MS, burst

DAY_S = 86_400
NAN = float("nan")


def of(*bursts):
    readings, reasons = read([encode_burst(b) for b in bursts], 2**60)
    assert not reasons
    sections, hours = arrivals(readings, np.full(len(bursts), 3), 100 + np.arange(len(bursts)), 1_000_000)
    assert len(sections) <= sections_in(readings) and sections["hours"].sum() == len(hours)
    return sections, hours


def at(start_s: int, end_s: int, *meters: dict, timezone=NEW_YORK):
    """A burst of {second: watts} of meters 1, 2, ..., in s since START_MS."""
    return burst(
        START_MS + start_s * 1000,
        START_MS + end_s * 1000,
        {m: [(START_MS + s * 1000, w) for s, w in watts.items()] for m, watts in enumerate(meters, 1)},
        timezone,
    )


@pytest.mark.parametrize(
    "watts, readings, first_s, last_s, joules, covered_s, max_gap_s",
    [
        ({}, 0, None, None, 0, 0, 0),
        ({7: 500}, 1, 7, 7, 0, 0, 0),  # it holds until the next one, which is not here
        ({0: 100, 10: 200, 30: 50}, 3, 0, 30, 100 * 10 + 200 * 20, 30, 20),
        ({5: 0, 6: 0}, 2, 5, 6, 0, 1, 1),
        ({0: 60, 1500: 9}, 2, 0, 1500, 60 * 1000, 1000, 1500),  # it holds for 1000 s at most
        ({0: 10, 3599: 20, 3601: 30}, 3, 0, 3601, 10 * 1000 + 20 * 2, 1002, 3599),  # across the end of an hour
    ],
)
def test_a_section_holds_its_readings(watts, readings, first_s, last_s, joules, covered_s, max_gap_s):
    [section], _ = of(at(0, 4000, watts))
    assert (section["readings"], section["covered_ms"], section["max_gap_ms"]) == (readings, covered_s * 1000, max_gap_s * 1000)
    assert kwh(section["energy_mj"], section["energy_rest"]) * 3.6e6 == pytest.approx(joules)
    if readings:
        assert [(section[name] - START_MS) / 1000 for name in ("first_ms", "last_ms")] == [first_s, last_s]
        assert section["last_watts"] == watts[last_s]


def test_a_section_has_what_is_drawn_apart_from_what_is_fed_in():
    [section], _ = of(at(0, 60, {0: -100, 10: 200, 30: -0.5, 32: 7}))
    assert kwh(section["energy_mj"], section["energy_rest"]) * 3.6e6 == pytest.approx(200 * 20)
    assert kwh(section["exported_mj"], section["exported_rest"]) * 3.6e6 == pytest.approx(100 * 10 + 0.5 * 2)
    assert (section["covered_ms"], section["peak_watts"]) == (32_000, 0), "the batch fills in the peak"


def test_there_is_a_section_for_each_burst_meter_and_day():
    sections, _ = of(at(0, 60, {0: 1}, {}), at(DAY_S - 60, DAY_S + 60, {DAY_S - 1: 2, DAY_S: 3, DAY_S + 1: 4}))
    day = int(sections["day"][0])
    assert [
        (
            s["burst"],
            s["offset"],
            s["meter_id"],
            s["day"] - day,
            (s["start_ms"] - START_MS) // 1000,
            (s["end_ms"] - START_MS) // 1000,
            s["readings"],
        )
        for s in sections
    ] == [(0, 100, 1, 0, 0, 60, 1), (0, 100, 2, 0, 0, 60, 0), (1, 101, 1, 0, DAY_S - 60, DAY_S, 1), (1, 101, 1, 1, DAY_S, DAY_S + 60, 2)]
    assert sections["before_ms"].tolist() == [NEVER, NEVER, START_MS, START_MS]
    assert sections["partition"].tolist() == [3] * 4


def test_refused_readings_count_on_their_day():
    sections, _ = of(at(DAY_S - 60, DAY_S + 60, {DAY_S - 30: -(2.0**32), DAY_S - 20: 5, DAY_S + 10: NAN, DAY_S + 20: 2.0**32}))
    assert sections[["readings", "refused"]].tolist() == [(1, 1), (0, 2)]


def test_hours_are_those_of_a_section_that_spans_several():
    sections, hours = of(at(0, 7200, {3000: 100, 3900: 200, 4000: 0}, {10: 5, 20: 6}))
    assert sections["hours"].tolist() == [2, 0]
    assert [((h["start_ms"] - START_MS) // HOUR_MS, h["energy_mj"], h["covered_ms"]) for h in hours] == [
        (0, 100 * 600_000, 600_000),
        (1, 100 * 300_000 + 200 * 100_000, 400_000),
    ]

"""The open days of a house: repeats, late readings, state, and the oracle on bursts in any order."""

from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.core.energy import kwh
from jobs.core.house_days import HouseDays
from jobs.core.sections import SECTION
from tests.oracle import judge
from tests.unit.logs import HOUR_MS, NEW_YORK, START_MS, burst, logs
from tests.unit.one_house import RULES, run


def test_a_repeated_burst_is_counted_and_dropped_and_one_that_overlaps_in_part_is_handed_back():
    first = burst(START_MS, START_MS + 60_000, {1: [(START_MS, 100), (START_MS + 30_000, 100)]})
    second = burst(START_MS + 60_000, START_MS + 120_000, {1: [(START_MS + 60_000, 100)]})
    across = burst(START_MS + 90_000, START_MS + 180_000, {1: [(START_MS + 91_000, 7), (START_MS + 170_000, 7)]})
    results, late, _ = run([first, second, first, across], RULES)
    row, _ = results[1, date(2011, 4, 18)]
    assert (row["readings"], row["duplicates"]) == (3, 2)
    assert late == {date(2011, 4, 18): 2}


def test_a_closed_day_takes_no_more_and_the_reading_before_midnight_still_holds():
    midnight = START_MS + 24 * HOUR_MS
    bursts = [
        burst(midnight - 60_000, midnight, {1: [(midnight - 5_000, 720)]}),
        burst(midnight + HOUR_MS, midnight + 2 * HOUR_MS, {1: [(midnight + HOUR_MS, 0)]}),
        burst(midnight - 120_000, midnight - 60_000, {1: [(midnight - 100_000, 500)]}),
    ]
    results, late, house = run(bursts, RULES, [1, 1, 1])
    assert late == {date(2011, 4, 18): 1}
    closed, final = results[1, date(2011, 4, 18)]
    assert final and closed["readings"] == 1 and kwh(closed["energy_mj"], closed["energy_rest"]) == pytest.approx(0.001)
    open_, final = results[1, date(2011, 4, 19)]
    assert not final and open_["covered_ms"] == 1_000_000 - 5_000
    assert len(house.sections) == 2, "one as anchor of the closed day, one of the open day"


def test_state_of_a_house_stays_small():
    # 20 meters, 3 days of bursts of 5 minutes, in order: one section a meter for each open day and one as anchor.
    def at(i):
        start = START_MS + i * 300_000
        return burst(start, start + 300_000, {m: [(start + m, 1.0), (start + 150_000, 2.0)] for m in range(1, 21)})

    _, _, house = run([at(i) for i in range(3 * 288)], RULES, [100] * 9)
    assert SECTION.itemsize == 124
    assert len(house.sections) == 40
    assert len(house.to_bytes()) == 40 * 124 + 29 + len(NEW_YORK) + 12


@pytest.mark.parametrize("version", [1, 2])
def test_state_of_earlier_releases_is_read(version):
    state = bytes.fromhex(
        "013047c4662f010000e83a00000000000000000000ffffff7f10000000416d65726963612f4e65775f596f726b01000000ea3a000000d2c3662f0100"
        "0060bcc4662f0100000200000000000000000000000000000000d2c3662f0100003047c4662f01000000004843c0c62d000000000000000000000000"
        "003075000000000000307500000000000002000000ea3a000000d2c3662f01000060bcc4662f01"
    ).ljust(229, b"\0")
    if version == 2:  # a section has 8 bytes more, for refused readings
        state = b"\x02" + state[1:45] + state[45:137] + bytes(8) + state[137:] + bytes(8)
    bursts = [burst(START_MS, START_MS + 60_000, {1: [(START_MS, 100), (START_MS + 30_000, 200)], 2: []})]
    _, _, expected = run(bursts, RULES)
    found = HouseDays.from_bytes(state)
    assert found.sections.tolist() == expected.sections.tolist() and found.to_bytes() == expected.to_bytes()


@settings(max_examples=200, deadline=None)
@given(logs(), st.data())
def test_any_log_gives_what_the_oracle_finds_however_it_is_batched(log, data):
    bursts, rules = log
    batches = data.draw(st.lists(st.integers(1, 4), min_size=len(bursts), max_size=len(bursts)))
    expected = judge(bursts, rules.max_sample_period_ms, rules.allowed_lateness_ms)
    one, late_one, _ = run(bursts, rules)
    some, late_some, _ = run(bursts, rules, batches)
    assert late_one == late_some == {day: n for (_, day), n in expected.late.items()}
    assert {k: (r.tobytes(), f) for k, (r, f) in one.items()} == {k: (r.tobytes(), f) for k, (r, f) in some.items()}
    assert set(some) == {(meter, day) for _, meter, day in expected.days}
    for (_, meter, day), judged in expected.days.items():
        row, final = some[meter, day]
        key = (1, meter, day)
        assert kwh(row["energy_mj"], row["energy_rest"]) == pytest.approx(judged.kwh, rel=1e-9, abs=1e-18)
        assert row["readings"] == len(judged.readings)
        assert row["duplicates"] == judged.duplicates
        assert (row["refused"], row["gaps"]) == (judged.refused, judged.gaps)
        assert row["covered_ms"] == judged.covered_ms
        assert row["max_gap_ms"] == expected.max_gap_ms[key]
        assert final == expected.final[key]

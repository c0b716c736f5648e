"""The energy integral, without Flink: hand-worked values, and the oracle on bursts in any order."""

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.core.energy import energies, kwh
from jobs.core.house_days import LATE, OVERLAPPING, HouseDays, Rules
from jobs.core.readings import read
from jobs.core.sections import SECTION, arrivals
from smartmeter.local_days import midnights
from smartmeter.messages.codec import encode_burst
from tests.oracle import EPOCH, judge
from tests.unit.logs import HOUR_MS, NEW_YORK, START_MS, burst, logs


def run(bursts, rules, batches=None):
    """(results by (meter, date) with the last revision holding, late readings by date, the state) of one house."""
    house, results, late = None, {}, {}
    for size in batches or [len(bursts)]:
        batch, bursts = bursts[:size], bursts[size:]
        readings, reasons = read([encode_burst(b) for b in batch], 2**60)
        assert not reasons
        sections, _ = arrivals(readings, np.zeros(len(batch), int), np.arange(len(batch)), rules.max_sample_period_ms)
        house = house or HouseDays.known(None, batch[0].timezone)
        verdict, _, _ = house.take(sections, int(readings.bursts["newest_ms"].max()), rules)
        for row in sections[(verdict == LATE) | (verdict == OVERLAPPING)]:
            day = EPOCH + timedelta(days=int(row["day"]))
            late[day] = late.get(day, 0) + int(row["readings"] + row["refused"])
        if house.over_by_now(rules) > house.closed_day or not bursts:
            rows, final = house.results(rules)
            for row, is_final in zip(rows, final.tolist()):
                key = int(row["meter_id"]), EPOCH + timedelta(days=int(row["day"]))
                assert key not in results or not results[key][1], "a result after the final one"
                results[key] = row, is_final
            house.close(rules)
        house = HouseDays.from_bytes(house.to_bytes())
        if not bursts:
            break
    return results, {day: n for day, n in late.items() if n}, house


RULES = Rules(max_sample_period_ms=1_000_000, allowed_lateness_ms=HOUR_MS)


def test_energy_is_power_times_the_time_to_the_next_reading():
    # 100 W for 10 s, 200 W for 20 s: 5000 J; the last reading has no next one.
    results, _, _ = run([burst(START_MS, START_MS + 60_000, {1: [(START_MS, 100), (START_MS + 10_000, 200), (START_MS + 30_000, 50)]})], RULES)
    row, final = results[1, date(2011, 4, 18)]
    assert kwh(row["energy_mj"], row["energy_rest"]) == 5000 / 3.6e6
    assert (row["readings"], row["covered_ms"], row["max_gap_ms"], final) == (3, 30_000, 20_000, False)


def test_a_gap_is_not_integrated_but_counted():
    # 60 W hold for 1000 s of the 2000 s until the next reading: 60 kJ.
    results, _, _ = run([burst(START_MS, START_MS + HOUR_MS, {1: [(START_MS, 60), (START_MS + 2_000_000, 9)]})], RULES)
    row, _ = results[1, date(2011, 4, 18)]
    assert kwh(row["energy_mj"], row["energy_rest"]) == pytest.approx(60_000 / 3.6e6, rel=1e-15)
    assert (row["covered_ms"], row["max_gap_ms"]) == (1_000_000, 2_000_000)


def test_an_interval_across_midnight_is_split():
    # 360 W from 10 s before midnight to 30 s after: 1 Wh on the first day, 3 Wh on the second.
    midnight = START_MS + 24 * HOUR_MS
    times = [(midnight - 10_000, 360), (midnight + 30_000, 0)]
    for cut in (midnight - 5_000, midnight, midnight + 20_000):
        bursts = [burst(midnight - 60_000, cut, {1: times[:1]}), burst(cut, midnight + 60_000, {1: times[1:]})]
        results, _, _ = run(bursts, RULES)
        energies = [kwh(row["energy_mj"], row["energy_rest"]) for row, _ in results.values()]
        assert energies == [pytest.approx(0.001, rel=1e-12), pytest.approx(0.003, rel=1e-12)]


@pytest.mark.parametrize("timezone, day, hours", [
    (NEW_YORK, date(2011, 3, 13), 23), (NEW_YORK, date(2011, 11, 6), 25), (NEW_YORK, date(2011, 4, 18), 24),
    ("Europe/London", date(2013, 3, 31), 23), ("Australia/Lord_Howe", date(2013, 4, 7), 24.5),
    ("America/Sao_Paulo", date(2013, 10, 20), 23), ("Asia/Kathmandu", date(2013, 10, 20), 24),
])
def test_a_local_day_has_the_hours_of_the_local_clock(timezone, day, hours):
    begin, end = midnights(timezone)[(day - EPOCH).days:][:2]
    assert (end - begin) / HOUR_MS == hours
    assert datetime.fromtimestamp(begin / 1000, ZoneInfo(timezone)).date() == day
    assert datetime.fromtimestamp(begin / 1000 - 1, ZoneInfo(timezone)).date() == day - timedelta(days=1)


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
    assert SECTION.itemsize == 100
    assert len(house.sections) == 40
    assert len(house.to_bytes()) == 40 * 100 + 29 + len(NEW_YORK)


def test_state_of_the_last_release_is_read():
    state = bytes.fromhex(
        "013047c4662f010000e83a00000000000000000000ffffff7f10000000416d65726963612f4e65775f596f726b01000000ea3a000000d2c3662f0100"
        "0060bcc4662f0100000200000000000000000000000000000000d2c3662f0100003047c4662f01000000004843c0c62d000000000000000000000000"
        "003075000000000000307500000000000002000000ea3a000000d2c3662f01000060bcc4662f01").ljust(229, b"\0")
    bursts = [burst(START_MS, START_MS + 60_000, {1: [(START_MS, 100), (START_MS + 30_000, 200)], 2: []})]
    _, _, expected = run(bursts, RULES)
    found = HouseDays.from_bytes(state)
    assert found.sections.tolist() == expected.sections.tolist() and found.to_bytes() == expected.to_bytes()


def test_a_negative_clamp_costs_its_own_readings_and_its_meter_has_a_row():
    # An hour, a reading each 10 s: 400 W and 80 W hold for 3590 s until the newest reading; meter 3 measures -0.4 W throughout.
    times = [START_MS + s * 1000 for s in range(0, 3600, 10)]
    of_meter = {1: [(t, 400) for t in times], 2: [(t, 80) for t in times], 3: [(t, -0.4) for t in times]}
    with_clamp, _, _ = run([burst(START_MS, START_MS + HOUR_MS, of_meter)], RULES)
    without, _, _ = run([burst(START_MS, START_MS + HOUR_MS, {m: of_meter[m] for m in (1, 2)})], RULES)
    day = date(2011, 4, 18)
    for results in (with_clamp, without):
        energies = [kwh(results[m, day][0]["energy_mj"], results[m, day][0]["energy_rest"]) for m in (1, 2)]
        assert energies == [pytest.approx(0.4 * 3590 / 3600, rel=1e-12), pytest.approx(0.08 * 3590 / 3600, rel=1e-12)]
    clamp, _ = with_clamp[3, day]
    assert {name: clamp[name].item() for name in ("readings", "refused", "covered_ms", "energy_mj", "max_gap_ms")} == {
        "readings": 0, "refused": 360, "covered_ms": 0, "energy_mj": 0, "max_gap_ms": 3_590_000}


@given(st.lists(st.tuples(st.floats(2**-17, 1e6, width=32), st.integers(1, 1_000_000)), min_size=1, max_size=50))
def test_integer_energy_is_exact(pairs):
    from fractions import Fraction

    watts, held = np.array([w for w, _ in pairs], np.float32), np.array([h for _, h in pairs])
    whole, rest = energies(watts, held)
    exact = sum(Fraction(float(w)) * int(h) for w, h in zip(watts, held))
    assert int(whole.sum()) + Fraction(int(rest.sum()), 2**40) == exact


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
        assert row["refused"] == judged.refused
        assert row["covered_ms"] == judged.covered_ms
        assert row["max_gap_ms"] == expected.max_gap_ms[key]
        assert final == expected.final[key]

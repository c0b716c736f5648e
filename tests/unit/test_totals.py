"""Totals of a day: hand-worked values."""

import math
from dataclasses import replace
from datetime import date
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from jobs.core.energy import kwh
from jobs.core.house_days import Rules
from tests.oracle import midnight_ms
from tests.unit.logs import HOUR_MS, NEW_YORK, START_MS, burst
from tests.unit.one_house import RULES, run


def test_energy_is_power_times_the_time_to_the_next_reading():
    # 100 W for 10 s, 200 W for 20 s: 5000 J; the last reading has no next one.
    results, _, _ = run(
        [burst(START_MS, START_MS + 60_000, {1: [(START_MS, 100), (START_MS + 10_000, 200), (START_MS + 30_000, 50)]})], RULES
    )
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


@pytest.mark.parametrize(
    "every_s, hold_s, lost_s",
    [
        (1, 1, 0),
        (60, 60, 0),
        (900, 900, 0),
        (1800, 1800, 0),
        (3600, 3600, 0),
        (3600, 5400, 0),
        (1800, 0, 800),  # SMW_MAX_GAP_S
        (900, 0, 0),
        (60, 45, 15),
    ],
)
def test_a_day_of_regular_readings_is_covered_if_each_holds_until_the_next(every_s, hold_s, lost_s):
    # 1 kW, in bursts of an hour: 24 kWh in a day, but for the time for which no reading holds; it is lost after each reading.
    every, hour_s = range(0, 25 * 3600, every_s), 3600
    bursts = [
        replace(
            burst(
                START_MS + 1000 * begin,
                START_MS + 1000 * (begin + hour_s),
                {1: [(START_MS + 1000 * s, 1000) for s in every if begin <= s < begin + hour_s]},
            ),
            holds_s=np.array([hold_s], np.int32),
        )
        for begin in range(0, 25 * hour_s, hour_s)
    ]
    for batches in (None, [7] * 4):
        results, _, _ = run(bursts, RULES, batches)
        row, _ = results[1, date(2011, 4, 18)]
        lost = lost_s * 86_400 // every_s
        assert row["covered_ms"] == 1000 * (86_400 - lost) and row["gaps"] == (86_400 // every_s if lost else 0)
        assert kwh(row["energy_mj"], row["energy_rest"]) == pytest.approx(24 * row["covered_ms"] / 86_400_000, rel=1e-12)


def test_a_plug_that_reports_a_change_only_holds_until_the_next_one_up_to_its_limit():
    # 2 kW from 20:00 on 18 April; 100 W at 09:00 on the 19th; nothing more. It holds for 12 h: until 08:00, and from 09:00 to 21:00.
    at = START_MS + 20 * HOUR_MS
    times = [(at, 2000), (at + 13 * HOUR_MS, 100)]
    ticks = [burst(t, t + HOUR_MS, {2: [(t, 1)]}) for t in range(at, at + 30 * HOUR_MS, HOUR_MS)]
    plug = [replace(burst(t, t + 1000, {1: [(t, watts)]}), holds_s=np.array([12 * 3600], np.int32)) for t, watts in times]
    for bursts, batches in (([*plug, *ticks], None), ([plug[0], *ticks[:9], plug[1], *ticks[9:]], [1] * 32)):
        results, late, _ = run(bursts, Rules(RULES.max_sample_period_ms, 48 * HOUR_MS), batches)
        first, second = (results[1, date(2011, 4, day)][0] for day in (18, 19))
        assert not late and [kwh(row["energy_mj"], row["energy_rest"]) for row in (first, second)] == [8, 8 * 2 + 12 * 0.1]
        assert [(row["covered_ms"], row["gaps"]) for row in (first, second)] == [(4 * HOUR_MS, 0), (20 * HOUR_MS, 1)]


def test_a_day_of_one_value_holds_over_a_day_of_25_hours_and_two_midnights():
    # 1 kW from 23:00 on 5 November 2011 for 25 h: an hour of that day, and 24 of the 25 of the next.
    begin = midnight_ms(ZoneInfo(NEW_YORK), date(2011, 11, 5)) + 23 * HOUR_MS
    day = replace(burst(begin, begin + 1000, {1: [(begin, 1000)]}), holds_s=np.array([90_000], np.int32))
    later = burst(begin + 40 * HOUR_MS, begin + 41 * HOUR_MS, {2: [(begin + 40 * HOUR_MS, 1)]})
    results, _, _ = run([day, later], RULES)
    assert {key: kwh(row["energy_mj"], row["energy_rest"]) for key, (row, _) in results.items() if key[0] == 1} == {
        (1, date(2011, 11, 5)): 1,
        (1, date(2011, 11, 6)): 24,
    }


def test_a_negative_power_is_fed_in_and_splits_at_midnight_too():
    # 720 W are fed in from 10 s before midnight on, for 30 s: 2 Wh on the first day, 4 Wh on the second.
    midnight = START_MS + 24 * HOUR_MS
    results, _, _ = run([burst(midnight - 60_000, midnight + 60_000, {1: [(midnight - 10_000, -720), (midnight + 20_000, 36)]})], RULES)
    rows = [row for row, _ in results.values()]
    assert [kwh(row["exported_mj"], row["exported_rest"]) for row in rows] == [0.002, 0.004]
    assert [(row["energy_mj"], row["covered_ms"]) for row in rows] == [(0, 10_000), (0, 20_000)]


def test_a_clamp_that_measures_nothing_possible_costs_its_own_readings_and_its_meter_has_a_row():
    # An hour, a reading each 10 s: 400 W and 80 W hold for 3590 s until the newest reading; meter 3 measures no number throughout.
    times = [START_MS + s * 1000 for s in range(0, 3600, 10)]
    of_meter = {1: [(t, 400) for t in times], 2: [(t, 80) for t in times], 3: [(t, math.nan) for t in times]}
    with_clamp, _, _ = run([burst(START_MS, START_MS + HOUR_MS, of_meter)], RULES)
    without, _, _ = run([burst(START_MS, START_MS + HOUR_MS, {m: of_meter[m] for m in (1, 2)})], RULES)
    day = date(2011, 4, 18)
    for results in (with_clamp, without):
        energies = [kwh(results[m, day][0]["energy_mj"], results[m, day][0]["energy_rest"]) for m in (1, 2)]
        assert energies == [pytest.approx(0.4 * 3590 / 3600, rel=1e-12), pytest.approx(0.08 * 3590 / 3600, rel=1e-12)]
    clamp, _ = with_clamp[3, day]
    assert {name: clamp[name].item() for name in ("readings", "refused", "covered_ms", "energy_mj", "max_gap_ms")} == {
        "readings": 0,
        "refused": 360,
        "covered_ms": 0,
        "energy_mj": 0,
        "max_gap_ms": 3_590_000,
    }

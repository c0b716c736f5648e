"""What the benchmark of the rules for alerts is made of, against values worked out by hand."""

import doctest
import re

import numpy as np
import pytest

from bench.watching import faults, intervals
from bench.watching.bars import Bar, Panel, svg
from bench.watching.faults import GLITCH_WATTS, HOUR_MS, KINDS, MINUTE_MS, Fault, Placing, faults_of, injected, level_watts, places, role_of
from bench.watching.intervals import poisson, weekly, wilson
from bench.watching.labelled_days import labelled_days
from bench.watching.scores import Alert, FalseAlarms, Outcome, Quiet, Share, day_score, false_alarms, noisy_weeks, raised, recalls
from generator.faults import TOLERANCE_MS
from generator.houses import House, Meter
from smartmeter.errors import UserError

KIND = {kind.name: kind for kind in KINDS}
FRIDGE = Meter(2, "fridge", "appliance")
PLACING = Placing(seed=1, each=5, on_watts=30.0, max_gap_ms=1_000_000)


def every_minute(*watts, start_min=0):
    """Readings a minute apart."""
    return (start_min + np.arange(len(watts))) * MINUTE_MS, np.array(watts, np.float32)


def always(times):
    return np.ones(len(times), bool)


@pytest.mark.parametrize(
    "found, of, low, high", [(15, 30, 0.3315, 0.6685), (0, 30, 0, 0.1135), (30, 30, 0.8865, 1), (1, 4, 0.0456, 0.6994), (0, 0, 0, 1)]
)
def test_wilsons_interval(found, of, low, high):
    assert wilson(found, of) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(
    "counts, expected",
    [
        ([2, 2, 2], (14, 2.191 * 7 / 3, 13.060 * 7 / 3)),  # any three of these days have 6 alarms: Poisson's is wider
        ([0, 7], (24.5, 0, 14.423 * 3.5)),  # two of these days have 0, 7 or 14 alarms, the first and the last in a quarter of all draws
        ([0] * 9 + [70], (49, 0, 147)),  # ten of these days have 210 alarms or less in 98.7 % of all draws, 140 or less in 93.0 %
        ([0] * 14, (0, 0, 3.668 / 2)),
    ],
)
def test_alarms_a_week(counts, expected):
    assert weekly(counts, seed=1) == pytest.approx(expected, rel=2e-4)


@pytest.mark.parametrize("module", [faults, intervals])
def test_the_examples(module):
    assert doctest.testmod(module).failed == 0 < doctest.testmod(module).attempted


@pytest.mark.parametrize("total, low, high", [(0, 0, 3.689), (5, 1.6235, 11.668), (10, 4.80, 18.39), (100, 81.4, 121.6)])
def test_poissons_interval_is_near_the_exact_one(total, low, high):
    assert poisson(total) == pytest.approx((low, high), rel=0.01)


@pytest.mark.parametrize(
    "label, kind, role",
    [
        ("aggregate", "mains", "mains"),
        ("Fridge_Freezer", "appliance", "fridge"),
        ("laundry_and_fridge", "appliance", "fridge"),
        ("water_heater_and_ac", "appliance", "heater"),
        ("electric shower", "appliance", "heater"),
        ("home_theatre", "appliance", "other"),
        ("dish_washer", "appliance", "other"),
    ],
)
def test_roles(label, kind, role):
    assert role_of(Meter(1, label, kind)) == role


@pytest.mark.parametrize("level, watts, expected", [("none", [], 0), ("on", [0, 40, 100, 80], 80), ("on", [5, 30], None)])
def test_levels(level, watts, expected):
    assert level_watts(level, np.array(watts, np.float32), 30.0) == expected


def test_standby_is_the_5th_percentile_if_it_is_10_w_or_more():
    assert level_watts("standby", np.arange(0, 1001, 10, dtype=np.float32), 30.0) == 50
    assert level_watts("standby", np.array([9.5] * 100, np.float32), 30.0) is None


@pytest.mark.parametrize(
    "name, level, watts",
    [
        ("x1.5, 10 min", 0, [150, 0, 300]),
        ("x2, 10 min", 0, [200, 0, 400]),
        ("+1 kW, 10 min", 0, [1100, 1000, 1200]),
        ("+3 kW, 10 min", 0, [3100, 3000, 3200]),
        ("heater stuck, 6 h", 150, [150, 150, 200]),
        ("fridge never off, 6 h", 90, [100, 90, 200]),
        ("standby doubled, 1 day", 60, [160, 60, 260]),
        ("mains +2 kW, 15 min", 0, [2100, 2000, 2200]),
        ("mains +5 kW, 15 min", 0, [5100, 5000, 5200]),
        ("mains dead, 1 day", 0, [0, 0, 0]),
        ("fridge dead, 1 day", 0, [0, 0, 0]),
        ("other dead, 1 day", 0, [0, 0, 0]),
        ("frozen, 1 day", 0, [100, 100, 100]),
        ("silent, 1 day", 0, []),
        ("glitch, 1 reading", 0, [GLITCH_WATTS, 0, 200]),
    ],
)
def test_faults_change_the_readings_of_their_time(name, level, watts):
    kind = KIND[name]
    fault = Fault(kind, 2, MINUTE_MS, MINUTE_MS + (kind.lasts_ms and 3 * MINUTE_MS), level)
    times, changed = injected(fault, {2: every_minute(7, 100, 0, 200, 9)}, mains=[])[2]
    assert changed.tolist() == [7, *watts, 9] and changed.dtype == np.float32
    assert (times // MINUTE_MS).tolist() == ([0, 1, 2, 3, 4] if watts else [0, 4])


def test_every_kind_of_fault_is_tested_above():
    [mark] = [mark for mark in test_faults_change_the_readings_of_their_time.pytestmark if mark.name == "parametrize"]
    assert [case[0] for case in mark.args[1]] == [kind.name for kind in KINDS]


def test_the_first_mains_carry_an_appliances_more_and_less_power():
    times = np.array([30_000, 90_000, 100_000, 150_000, 200_000])  # before the fault, in it, in it, in it, after it
    mains = times, np.array([500, 500, 40, 500, 500], np.float32)
    readings = {1: mains, 2: every_minute(0, 100, 200, 0), 3: mains}
    changed = injected(Fault(KIND["x1.5, 10 min"], 2, 60_000, 180_000, 0), readings, [1, 3])
    assert changed.keys() == {1, 2} and changed[1][1].tolist() == [500, 550, 90, 600, 500]
    dead = injected(Fault(KIND["fridge dead, 1 day"], 2, 60_000, 180_000, 0), readings, [1, 3])
    assert dead[1][1].tolist() == [500, 400, 0, 300, 500]  # 40 W less 100 W is no feed-in
    assert mains[1].tolist() == [500, 500, 40, 500, 500]


@pytest.mark.parametrize("name", ["frozen, 1 day", "silent, 1 day", "glitch, 1 reading"])
def test_a_fault_of_the_meter_leaves_the_mains_alone(name):
    readings = {1: every_minute(500, 500, 500), 2: every_minute(0, 100, 200)}
    assert injected(Fault(KIND[name], 2, 0, 120_000, 0), readings, [1]).keys() == {2}


def test_a_fault_begins_where_it_makes_sense_and_readings_cover_it():
    watts = [0] * 20 + [100] * 5 + [0] * 15
    on, anywhere = KIND["+1 kW, 10 min"], KIND["mains +2 kW, 15 min"]
    assert (places(on, every_minute(*watts), always, PLACING) // MINUTE_MS).tolist() == [20, 21, 22, 23, 24]
    assert (places(anywhere, every_minute(*watts), always, PLACING) // MINUTE_MS).tolist() == list(range(25))  # 40 minutes less 15

    def until_33(times):
        return times <= 33 * MINUTE_MS

    assert (places(on, every_minute(*watts), until_33, PLACING) // MINUTE_MS).tolist() == [20, 21, 22, 23]
    times, powers = every_minute(*watts)
    times[22:] += 17 * MINUTE_MS  # a gap between the readings 21 and 22, longer than a reading holds
    assert (places(on, (times, powers), always, PLACING) // MINUTE_MS).tolist() == [39, 40, 41]


def test_a_dead_meter_would_be_on_at_some_time_of_the_fault():
    hours = np.arange(80)
    readings = hours * HOUR_MS, np.where(hours == 30, 100, 0).astype(np.float32)
    hourly = Placing(1, 5, 30.0, HOUR_MS)
    assert (places(KIND["other dead, 1 day"], readings, always, hourly) // HOUR_MS).tolist() == list(range(7, 31))


def test_the_places_depend_on_seed_house_meter_and_kind_alone():
    readings = every_minute(*[0, 100] * 3000)

    def drawn(seed=1, house="a/house_1", meter=FRIDGE, each=5):
        placing = Placing(seed, each, 30.0, 1_000_000)
        found = faults_of(house, meter, readings, always, placing)
        return {kind.name: [fault.start_ms for fault in found if fault.kind is kind] for kind in KINDS}

    first = drawn()
    assert first == drawn() and {name for name, starts in first.items() if starts} == {
        *("x1.5, 10 min", "x2, 10 min", "+1 kW, 10 min", "+3 kW, 10 min", "fridge never off, 6 h"),
        *("fridge dead, 1 day", "frozen, 1 day", "silent, 1 day", "glitch, 1 reading"),
    }
    assert all(len(set(starts)) == 5 and starts == sorted(starts) for starts in first.values() if starts)
    assert first["x2, 10 min"] != first["x1.5, 10 min"]
    for other in drawn(seed=2), drawn(house="b/house_1"), drawn(meter=Meter(3, "fridge", "appliance")):
        assert other["x2, 10 min"] != first["x2, 10 min"]


def test_there_are_fewer_faults_where_there_are_fewer_places():
    readings = every_minute(*[0] * 20, 100, 100, *[0] * 20)
    assert len([fault for fault in faults_of("a", FRIDGE, readings, always, PLACING) if fault.kind.name == "x2, 10 min"]) == 2


MINUTES = MINUTE_MS


def alert(start_min, end_min, meter_id=2, kind="level", opened_min=None):
    return Alert(kind, meter_id, start_min * MINUTES, end_min * MINUTES, (start_min if opened_min is None else opened_min) * MINUTES)


@pytest.mark.parametrize(
    "found, alerts, without",
    [
        (True, alert(100, 101), []),
        (True, alert(90, 101), []),
        (False, alert(90, 100), []),  # over when the fault begins
        (True, alert(124, 130), []),
        (False, alert(125, 130), []),  # 15 minutes after the fault
        (False, alert(100, 120), [alert(100, 101)]),  # it began without the fault too
        (False, alert(105, 120), [alert(90, 105)]),  # a part of that alert
        (True, alert(100, 120), [alert(101, 120)]),  # it began before that one
        (True, alert(100, 120), [alert(100, 120, meter_id=3)]),
        (True, alert(100, 120), [alert(100, 120, kind="run")]),
    ],
)
def test_alerts_that_a_fault_of_minutes_100_to_110_raises(found, alerts, without):
    assert TOLERANCE_MS == 15 * MINUTES
    assert raised(100 * MINUTES, 110 * MINUTES, [alerts], without) == [alerts] * found


def test_the_first_alert_of_the_faults_own_meter_counts():
    alerts = [alert(109, 120), alert(104, 106, kind="run", opened_min=107), alert(101, 103, meter_id=1)]
    start_ms, end_ms = 100 * MINUTES, 110 * MINUTES

    def outcome(meter_id, alerts, without=()):
        return Outcome.of("a", meter_id, "x2", start_ms, end_ms, alerts, without)

    assert outcome(2, alerts) == Outcome("a", 2, "x2", start_ms, "run", 420.0, False, True, False)
    assert outcome(3, alerts) == Outcome("a", 3, "x2", start_ms, None, None, False, True, False)
    assert outcome(2, [alert(110, 120)]) == Outcome("a", 2, "x2", start_ms, "level", 600.0, True, False, False)
    anyway = alert(95, 101)
    assert outcome(2, [anyway], [anyway]) == Outcome("a", 2, "x2", start_ms, None, None, False, False, True)
    assert not outcome(1, [anyway], [anyway]).in_alert and not outcome(2, [], [alert(95, 100)]).in_alert
    assert not Outcome.of("a", 2, "glitch", 100, 100, [Alert("level", 2, 100, 200, 100)], []).after_end


def test_recall_of_all_houses_of_each_and_of_each_meter():
    def outcome(house, meter_id, delay_s, fault="x2", after_end=False, elsewhere=False, in_alert=False):
        return Outcome(house, meter_id, fault, 0, None if delay_s is None else "level", delay_s, after_end, elsewhere, in_alert)

    outcomes = [
        outcome("a", 1, 10.0),
        outcome("a", 2, None, elsewhere=True, in_alert=True),
        outcome("b", 1, 30.0, after_end=True, elsewhere=True),
        outcome("b", 1, 60.0, in_alert=True),
        outcome("b", 1, None, "dead"),
    ]
    rows = [
        (
            row.fault,
            row.house,
            row.meter_id,
            row.faults,
            row.found,
            row.share,
            row.delay_s,
            row.found_by,
            row.after_end,
            row.missed_in_alert,
            row.only_elsewhere,
        )
        for row in recalls(outcomes, ["dead", "x2", "x3"])
    ]
    assert rows == [
        ("dead", None, None, 1, 0, 0, None, {}, 0, 0, 0),
        ("dead", "b", None, 1, 0, 0, None, {}, 0, 0, 0),
        ("dead", "b", 1, 1, 0, 0, None, {}, 0, 0, 0),
        ("x2", None, None, 4, 3, 0.75, 30.0, {"level": 3}, 1, 1, 1),
        ("x2", "a", None, 2, 1, 0.5, 10.0, {"level": 1}, 0, 1, 1),
        ("x2", "a", 1, 1, 1, 1, 10.0, {"level": 1}, 0, 0, 0),
        ("x2", "a", 2, 1, 0, 0, None, {}, 0, 1, 1),
        ("x2", "b", None, 2, 2, 1, 45.0, {"level": 2}, 1, 0, 0),
        ("x2", "b", 1, 2, 2, 1, 45.0, {"level": 2}, 1, 0, 0),
    ]


def test_false_alarms_of_all_houses_by_kind_of_each_and_of_each_meter_and_kind():
    quiet = [Quiet("a", 2, [alert(0, 1), alert(5, 6), alert(9, 10, 1, "run")], [0, 0, 1]), Quiet("b", 5, [], [])]
    rows = list(false_alarms(quiet, seed=1))
    assert [(row.house, row.meter_id, row.kind, row.alarms, row.weekly) for row in rows] == [
        (None, None, None, 3, 3),
        (None, None, "level", 2, 2),
        (None, None, "run", 1, 1),
        ("a", None, None, 3, 10.5),
        ("a", 1, "run", 1, 3.5),
        ("a", 2, "level", 2, 7),
        ("b", None, None, 0, 0),
    ]
    assert all(row.low <= row.weekly <= row.high for row in rows)
    assert rows[-1] == FalseAlarms("b", None, None, 0, 0.0, 0.0, pytest.approx(3.668 * 7 / 5, abs=1e-3))
    assert list(false_alarms([], seed=1)) == []


def test_a_week_is_seven_days_with_readings_and_a_rest_is_left_out():
    assert noisy_weeks([[1, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 5], [9] * 6]) == Share.counted(1, 2)
    assert noisy_weeks([[9] * 6]) == Share(0, 0, None, 0, 1)


def test_labelled_days_against_days_with_an_alert():
    labelled = [("a", 1, None), ("a", 2, 4), ("a", 3, 4), ("a", 5, None), ("a", 0, None), ("b", 1, None)]
    alerted = [("a", 1, 4), ("a", 2, 4), ("a", 2, 5), ("a", 3, 5), ("a", 4, 5), ("a", 0, 4)]
    score = day_score(labelled, alerted, [("a", day) for day in range(1, 10)])
    assert score.precision == Share.counted(2, 4)  # days 1 and 2 of 1, 2, 3 and 4: on day 3 it was another meter
    assert score.recall == Share.counted(2, 4)  # days 1 and 2 of 1, 2, 3 and 5
    assert score.f1 == 0.5 and score.not_judged == 2
    nothing = day_score([], [], [])
    assert (nothing.precision.share, nothing.recall.share, nothing.f1) == (None, None, None)


class Labelled(House):
    def days(self, first, end):
        yield from ()


HOUSES = [Labelled(number, f"{folder}/house_{number}", "Europe/London", [FRIDGE]) for folder, number in (("x", 1), ("y", 1), ("y", 2))]


def test_a_file_of_labelled_days(tmp_path):
    file = tmp_path / "days.csv"
    file.write_text("\ufeffhouse,date,meter\n2,1970-01-02,2\n\n# a comment\nx/house_1, 1970-01-03\ny/house_1,1970-01-03,\n")
    assert labelled_days(file, HOUSES) == [("y/house_2", 1, 2), ("x/house_1", 2, None), ("y/house_1", 2, None)]


@pytest.mark.parametrize(
    "line, reason",
    [
        ("2", "'2' is not house,date[,meter]"),
        ("2,1970-01-02,2,3", "'2,1970-01-02,2,3' is not house,date[,meter]"),
        ("3,1970-01-02", "there is no house '3' in the data"),
        ("1,1970-01-02", "house '1' may be x/house_1, y/house_1"),
        ("2,2.1.1970", "'2.1.1970' is not a date such as 2014-03-02"),
        ("2,1970-01-02,7", "y/house_2 has no meter '7'"),
    ],
)
def test_a_line_that_is_no_labelled_day_is_named(tmp_path, line, reason):
    file = tmp_path / "days.csv"
    file.write_text(f"2,1970-01-02\n{line}\n")
    with pytest.raises(UserError, match=re.escape(f"{file}:2: {reason}; correct the line")):
        labelled_days(file, HOUSES)


def test_a_file_without_labelled_days_is_refused(tmp_path):
    file = tmp_path / "days.csv"
    with pytest.raises(UserError, match=r"days.csv: No such file or directory; give a file with lines house,date\[,meter\]"):
        labelled_days(file, HOUSES)
    file.write_text("house,date\n")
    with pytest.raises(UserError, match=r"days.csv: no day in it"):
        labelled_days(file, HOUSES)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"days.csv: it is not text"):
        labelled_days(file, HOUSES)


def test_bars_have_the_length_of_their_figures():
    drawn = svg([Panel("<share>", [Bar("a & b", 0.5, 0.25, 0.75, "0.50"), Bar("c", 3.0, 2.0, 4.0, "3")], 1.0)])
    assert "&lt;share&gt;" in drawn and "a &amp; b" in drawn
    assert re.findall(r'width="([\d.]+)" height="16"', drawn) == ["230.0", "460.0"]  # 460 px are the whole scale
    assert re.findall(r'x1="([\d.]+)" x2="([\d.]+)"', drawn) == [("365.0", "595.0"), ("710.0", "710.0")]

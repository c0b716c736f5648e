"""Energy by local hour: hand-worked values, and hours that add up to the day's integers whenever anyone looks."""

from datetime import date, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.core.energy import HOUR, HOUR_1, SUMS, kwh
from jobs.core.hours import MOST_GATHERED, Hours, gained, summed
from jobs.core.house_days import FRESH, HouseDays, Rules
from jobs.core.local_hours import clock_hour
from jobs.core.readings import read
from jobs.core.sections import arrivals
from jobs.core.totals import daily, held_by_hour
from jobs.daily_energy import hour_columns
from smartmeter.local_days import midnights
from smartmeter.messages.codec import encode_burst
from tests.oracle import EPOCH, hours_of, judge, midnight_ms
from tests.unit.flink_stand_in import State
from tests.unit.logs import HOUR_MS, NEW_YORK, START_MS, burst, logs

RULES = Rules(max_sample_period_ms=1_000_000, allowed_lateness_ms=HOUR_MS)
INTEGERS = list(SUMS)


class House:
    """The days and hours of a house; both go through their state with each batch."""

    def __init__(self, rules=RULES):
        self.rules, self.state, self.days = rules, State(), None

    def take(self, *bursts):
        readings, reasons = read([encode_burst(b) for b in bursts], 2**60)
        assert not reasons
        sections, pieces = arrivals(readings, np.zeros(len(bursts), int), np.arange(len(bursts)), self.rules.max_sample_period_ms)
        self.days = HouseDays.from_bytes(self.days) if self.days else HouseDays.known(None, bursts[0].timezone)
        verdict, _, joined = self.days.take(sections, int(readings.bursts["newest_ms"].max()), self.rules)
        hours = Hours(self.state)
        hours.add(gained(sections, verdict == FRESH, pieces, joined, self.days.timezone), self.days.clock_ms)
        rows, found = self.results(hours)
        self.days.close(self.rules)
        hours.remove_through(self.days.closed_day)
        hours.keep()
        self.days = self.days.to_bytes()
        return rows, found

    def results(self, hours):
        """(RESULT of open days, HOUR); fails when the hours do not add up to the day, to the last bit."""
        rows = daily(self.days.sections, self.days.timezone, self.days.clock_ms, self.rules.max_sample_period_ms)
        rows = rows[rows["day"] > self.days.closed_day]
        held = held_by_hour(self.days.sections, self.days.timezone, self.days.clock_ms, self.rules.max_sample_period_ms)
        found = summed(hours.of_days(rows["day"].tolist()), held[held["day"] > self.days.closed_day])
        for row in rows:
            own = found[(found["meter_id"] == row["meter_id"]) & (found["day"] == row["day"])]
            assert [int(own[name].sum(dtype=np.int64)) for name in INTEGERS] == list(row[INTEGERS].tolist())
            bounds = midnights(self.days.timezone)[row["day"] :][:2]
            assert ((own["start_ms"] >= bounds[0]) & (own["start_ms"] < bounds[1]) & (own["covered_ms"] <= HOUR_MS)).all()
        assert set(found[["meter_id", "day"]].tolist()) <= set(rows[["meter_id", "day"]].tolist())
        return rows, found


def near(value):
    return pytest.approx(value, rel=1e-9, abs=1e-18)


def by_hour(zone, found, meter=1):
    """[(hour, kwh)]: what the clock shows at the start of each hour, and its energy."""
    own = found[(found["meter_id"] == meter) & (found["covered_ms"] > 0)]
    return [
        (clock_hour(zone, start), energy)
        for start, energy in zip(own["start_ms"].tolist(), np.round(kwh(own["energy_mj"], own["energy_rest"]), 9).tolist())
    ]


def steady(zone, day, watts=1000.0, every_ms=600_000):
    """A burst of a local day with a reading each ten minutes, and the beginning of the next day."""
    begin, end = (midnight_ms(ZoneInfo(zone), d) for d in (day, day + timedelta(days=1)))
    return burst(begin, end + 1, {1: [(at, watts) for at in range(begin, end + 1, every_ms)]}, zone)


def test_hours_hold_what_was_read_and_not_how_often():
    # 100 W each minute, but 1.5 kW from 18 to 20 o'clock, results each ten minutes: 2 x 1.5 kWh. Weighed by minutes that have a reading, those two
    # hours would have 12 readings of 1.5 kW among 1,332: 0.62 of the day's 5.2 kWh.
    times = [START_MS + m * 60_000 for m in range(1440) if not 18 <= m // 60 < 20 or m % 10 == 0] + [START_MS + 24 * HOUR_MS]
    readings = [(at, 1500.0 if 18 <= (at - START_MS) // HOUR_MS < 20 else 100.0) for at in times]
    _, found = House().take(burst(START_MS, START_MS + 24 * HOUR_MS + 1, {1: readings}))
    assert by_hour(NEW_YORK, found) == [(hour, 1.5 if hour in (18, 19) else 0.1) for hour in range(24)]


def test_a_meter_that_reports_a_change_only_is_held_across_hours():
    # 3 kW from 18:10 to 20:20, in two readings and three bursts: 2.5, 3 and 1 kWh.
    house = House(Rules(3 * HOUR_MS, HOUR_MS))
    at = START_MS + 18 * HOUR_MS
    house.take(burst(at, at + HOUR_MS // 2, {1: [(at + 600_000, 3000.0)]}))
    house.take(burst(at + HOUR_MS, at + 3 * HOUR_MS, {1: [(at + 2 * HOUR_MS + 1_200_000, 0.0)]}))
    _, found = house.take(burst(at + HOUR_MS // 2, at + HOUR_MS, {1: []}))
    assert by_hour(NEW_YORK, found) == [(18, 2.5), (19, 3.0), (20, 1.0)]


def test_what_is_drawn_and_what_is_fed_in_add_up_apart_within_an_hour():
    # 600 W for half an hour, then 1 kW is fed in for 75 min, across the end of two hours, then 200 W: 0.3 and 0.05 kWh; 0.5, 0.75 kWh.
    house, at = House(Rules(3 * HOUR_MS, HOUR_MS)), START_MS + 10 * HOUR_MS
    house.take(burst(at, at + HOUR_MS, {1: [(at, 600.0), (at + HOUR_MS // 2, -1000.0)]}))
    readings = [(at + HOUR_MS + 45 * 60_000, 200.0), (at + 2 * HOUR_MS, 0.0)]
    rows, found = house.take(burst(at + HOUR_MS, at + 3 * HOUR_MS, {1: readings}))
    found = found[found["covered_ms"] > 0]
    assert by_hour(NEW_YORK, found) == [(10, 0.3), (11, 0.05)]
    assert kwh(found["exported_mj"], found["exported_rest"]).tolist() == [0.5, 0.75] and found["covered_ms"].tolist() == [HOUR_MS] * 2
    assert kwh(rows["exported_mj"], rows["exported_rest"]).tolist() == [1.25]
    [columns] = hour_columns(rows, found, NEW_YORK)
    assert columns["hour_exported_kwh"] == [0.5, 0.75]


def test_state_of_the_last_release_is_read():
    state = State()
    hours = np.array([(1, 15_082, START_MS, 5, 6, 7), (1, 15_082, START_MS + HOUR_MS, 8, 9, 10)], HOUR_1)
    state["present_hours"] = b"\x01\x01\x00" + np.array([15_082], "<i4").tobytes() + hours[1:].tobytes()
    state["hours/15082"] = hours[:1].tobytes()
    found = Hours(state)
    found.keep()
    for one in (found, Hours(state)):
        assert summed(one.of_days([15_082])).tolist() == [(*row, 0, 0) for row in hours.tolist()]


@pytest.mark.parametrize(
    "zone, day, hours",
    [
        (NEW_YORK, date(2011, 3, 13), [(h, 1.0) for h in (0, 1, *range(3, 24))]),
        (NEW_YORK, date(2011, 11, 6), [(h, 1.0) for h in (0, 1, 1, *range(2, 24))]),
        ("Australia/Lord_Howe", date(2013, 4, 7), [(0, 1.0), (1, 1.0), (1, 0.5), *((h, 1.0) for h in range(2, 24))]),
        ("Australia/Lord_Howe", date(2013, 10, 6), [(0, 1.0), (1, 1.0), (2, 0.5), *((h, 1.0) for h in range(3, 24))]),
        ("America/Sao_Paulo", date(2013, 10, 20), [(h, 1.0) for h in range(1, 24)]),
        ("Asia/Kolkata", date(2013, 4, 7), [(h, 1.0) for h in range(24)]),
        ("Asia/Kathmandu", date(2013, 4, 7), [(h, 1.0) for h in range(24)]),
    ],
)
def test_the_hours_of_a_day_are_those_of_the_local_clock(zone, day, hours):
    _, found = House().take(steady(zone, day))
    own = found[found["day"] == (day - EPOCH).days]
    assert by_hour(zone, own) == hours
    assert own["covered_ms"].tolist() == [round(energy * HOUR_MS) for _, energy in hours]
    assert own["start_ms"][0] == midnight_ms(ZoneInfo(zone), day) and (np.diff(own["start_ms"]) > 0).all()


def test_a_day_that_was_received_in_part_before_hours_were_kept_has_none():
    before, after = (
        burst(
            START_MS + h * HOUR_MS,
            START_MS + (h + 1) * HOUR_MS,
            {1: [(START_MS + h * HOUR_MS + s * 1000, 720.0) for s in range(0, 3600, 600)]},
        )
        for h in (6, 7)
    )
    house = House()
    house.take(before)
    house.state = State()
    with pytest.raises(AssertionError):
        house.take(after)
    rows = daily(house.days.sections, NEW_YORK, house.days.clock_ms, RULES.max_sample_period_ms)
    held = held_by_hour(house.days.sections, NEW_YORK, house.days.clock_ms, RULES.max_sample_period_ms)
    assert list(hour_columns(rows, summed(Hours(house.state).of_days([int(rows["day"][0])]), held), NEW_YORK)) == [
        {"hour_starts": [], "hours": [], "hour_kwh": [], "hour_covered_s": [], "hour_exported_kwh": []}
    ]


def test_state_stays_small_and_what_is_over_is_one_value_a_day():
    house = House()
    for i in range(3 * 288):
        start = START_MS + i * 300_000
        house.take(burst(start, start + 300_000, {m: [(start + m, 1.0), (start + 150_000, 2.0)] for m in range(1, 21)}))
        present = len(house.state["present_hours"])
        assert present <= 3 + 2 * 4 + HOUR.itemsize * (MOST_GATHERED + 2 * 20)
    last_day = (date(2011, 4, 20) - EPOCH).days
    assert HOUR.itemsize == 52 and set(house.state) == {"present_hours", f"hours/{last_day}"}
    assert 20 * 20 * 52 <= len(house.state[f"hours/{last_day}"]) <= 20 * 24 * 52


@settings(max_examples=200, deadline=None)
@given(logs(), st.data())
def test_the_hours_of_any_log_add_up_at_any_time_and_are_the_oracles(log, data):
    bursts, rules = log
    zone = ZoneInfo(bursts[0].timezone)
    expected = judge(bursts, rules.max_sample_period_ms, rules.allowed_lateness_ms)
    last = []
    for sizes in ([1], data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))):
        house, results, rest = House(rules), {}, list(bursts)
        while rest:
            size = sizes[0] if len(sizes) == 1 else sizes.pop(0)
            some, rest = rest[:size], rest[size:]
            rows, found = house.take(*some)
            for row, columns in zip(rows, hour_columns(rows, found, bursts[0].timezone), strict=True):
                results[int(row["meter_id"]), EPOCH + timedelta(days=int(row["day"]))] = columns
        last.append(results)
    assert last[0] == last[1]
    assert set(last[0]) == {(meter, day) for _, meter, day in expected.days}
    for (_, meter, day), judged in expected.days.items():
        assert hours_of(zone, **last[0][meter, day]) == {
            own: (near(hour.kwh), hour.covered_ms, near(hour.exported_kwh)) for own, hour in judged.hours.items()
        }

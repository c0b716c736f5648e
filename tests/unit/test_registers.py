"""Registers: the faults that real ones show by hand, and the oracle on readings in any order, however they are cut and batched."""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.core.house_days import FRESH, HouseDays, Rules
from jobs.core.registers import EARLIER_MS, MOST_METER_DAYS, POINT, REGISTER_HOUR, HouseRegisters, share
from jobs.core.sections import ARRIVED
from smartmeter.local_days import NEVER, day_of, midnights
from tests.oracle import EPOCH, midnight_ms
from tests.registers_oracle import Hour, Register
from tests.unit.flink_stand_in import State
from tests.unit.logs import HOUR_MS, NEW_YORK, START_MS, ZONES_AND_DAYS

KWH, MINUTE_MS, DAY_MS = 1_000_000, 60_000, 86_400_000
DAY = date(2011, 4, 18)
"""The local day that begins at START_MS."""


@dataclass
class Span:
    """A burst of registers: what they read from start to end."""

    start_ms: int
    end_ms: int
    meters: dict[int, list[tuple[int, int]]]  # meter -> (time in ms, mWh)

    def sections(self, timezone, burst, before_ms):
        """(section, its readings) of each meter and local day."""
        bounds = midnights(timezone)
        for meter, readings in self.meters.items():
            for day in range(day_of(timezone, self.start_ms), day_of(timezone, self.end_ms - 1) + 1):
                section = np.zeros(1, ARRIVED)
                begin, end = max(self.start_ms, int(bounds[day])), min(self.end_ms, int(bounds[day + 1]))
                own = [reading for reading in readings if begin <= reading[0] < end]
                section["meter_id"], section["day"], section["start_ms"], section["end_ms"] = meter, day, begin, end
                section["readings"], section["burst"], section["before_ms"] = len(own), burst, before_ms
                section["first_ms"], section["last_ms"] = (own[0][0], own[-1][0]) if own else (0, 0)
                yield section, own

    @property
    def newest_ms(self):
        return max((time_ms for readings in self.meters.values() for time_ms, _ in readings), default=NEVER)


@dataclass
class House:
    """The registers of a house as the job keeps them: all goes through bytes with each batch."""

    timezone: str = NEW_YORK
    lateness_ms: int = HOUR_MS
    state: State = field(default_factory=State)
    days: HouseDays | None = None
    final: dict = field(default_factory=dict)  # (meter, day, start) -> Hour, of closed days

    def __post_init__(self):
        self.rules = Rules(1000, self.lateness_ms)
        self.days = HouseDays.known(None, self.timezone)

    def over(self, clock_ms):
        return day_of(self.timezone, clock_ms - self.lateness_ms) - 1

    def take(self, *spans):
        """Take some bursts as one batch."""
        newest_ms, sections, readings = NEVER, [np.empty(0, ARRIVED)], []
        for number, span in enumerate(spans):
            for section, own in span.sections(self.timezone, number, newest_ms):
                sections.append(section)
                readings.append(own)
            newest_ms = max(newest_ms, span.newest_ms)
        sections = np.concatenate(sections)
        before_ms = self.days.clock_ms
        used = self.days.take(sections, newest_ms, self.rules)[0] == FRESH
        registers = HouseRegisters(self.state, "import", self.days.closed_day, 100_000)
        new = [reading for own, fresh in zip(readings, used) if fresh for reading in own]
        over = self.over(np.maximum(sections["before_ms"], before_ms))[used]
        registers.take(sections[used], over, *np.array(new, np.int64).reshape(-1, 2).T, self.timezone)
        closed, over = self.days.closed_day, self.days.over_by_now(self.rules)
        registers.close(over, self.timezone)
        registers.settle(self.days.sections, self.timezone, self.days.clock_ms)
        if over > closed:
            hours = registers.every_hour(self.timezone)
            self.final |= self.found(hours[hours["day"] <= over])
        self.days.close(self.rules)
        registers.hours.remove_through(self.days.closed_day)
        registers.keep()
        self.days = HouseDays.from_bytes(self.days.to_bytes())

    @property
    def registers(self):
        return HouseRegisters(self.state, "import", self.days.closed_day, 100_000)

    def hours(self):
        """(meter, day, start of the hour) -> Hour, of closed days and of open ones as they stand."""
        return self.final | self.found(self.registers.every_hour(self.timezone))

    @staticmethod
    def found(rows):
        columns = (rows[name].tolist() for name in ("meter_id", "day", "start_ms", "mwh", "covered_ms", "faults"))
        found = {(meter, EPOCH + timedelta(days=day), start): Hour(*figures) for meter, day, start, *figures in zip(*columns)}
        return {key: hour for key, hour in found.items() if hour != Hour()}

    def by_day(self, meter=1):
        """Day -> (kWh, faults, hours covered)."""
        found = defaultdict(lambda: [0, 0, 0])
        for (own, day, _), hour in self.hours().items():
            if own == meter:
                found[day] = [a + b for a, b in zip(found[day], (hour.mwh, hour.faults, hour.covered_ms))]
        return {day: (mwh / KWH, faults, covered_ms / HOUR_MS) for day, (mwh, faults, covered_ms) in found.items()}


def read(*readings, until=None, step=MINUTE_MS):
    """One burst of register 1: readings of (hours since START_MS, kWh), or values a minute apart."""
    if not isinstance(readings[0], tuple):
        readings = [(n * step / HOUR_MS, value) for n, value in enumerate(readings)]
    times = [(START_MS + round(hour * HOUR_MS), round(value * KWH)) for hour, value in readings]
    return Span(times[0][0], times[-1][0] + 1 if until is None else START_MS + round(until * HOUR_MS), {1: times})


def one_day(*values):
    house = House()
    house.take(read(*values))
    return house.by_day()[DAY]


FAULTS = {
    "none": ([5, 5, 5.2, 6], (1.0, 0)),
    "reads 0 once": ([53_700_000, 0, 53_700_000.5], (0.5, 1)),
    "reads 0 twice": ([53_700_000, 0, 0, 53_700_000.5, 53_700_001], (0.5, 2)),
    "one absurd value": ([5, 838_860.7, 5.2], (0.2, 1)),
    "two odd values in turn": ([5, 0, 5.1, 9000, 5.2], (0.2, 2)),
    "reset for good": ([8, 8.5, 0, 0.2, 0.4], (0.9, 1)),
    "reset, last reading": ([8, 8.5, 0], (0.5, 0)),
    "rolls over": ([838_860.5, 838_860.7, 0.1, 0.3], (0.4, 1)),
    "another meter, lower": ([8000, 8001, 17.5, 18], (1.5, 1)),
    "another meter, higher": ([17, 17.5, 8000, 8001], (1.5, 1)),
    "daily counter": ([8.1, 8.2, 0, 0, 0.1], (0.2, 1)),
    "first reading is 0": ([0, 53_700, 53_701], (1.0, 1)),
    "steps of a kWh": ([7, 7, 8, 8, 9], (2.0, 0)),
    "more than 100 kW": ([7, 12, 12.1], (0.1, 1)),
    "more than 100 kW, until the next reading": ([7, 10, 10.1], (3.1, 1)),
    "no more than 100 kW": ([7, 7 + 100 / 60 + 1], (2.666667, 0)),
    "two meters in turn": ([100, 7, 100.1, 7.1, 100.2, 7.2], (0.2, 2)),
    "one reading": ([7], (0, 0)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults(fault):
    values, expected = FAULTS[fault]
    house = House()
    house.take(read(*values))
    found = house.by_day().get(DAY, (0, 0, 0))
    assert (round(found[0], 6), found[1]) == expected


def test_a_fault_that_one_burst_ends_and_the_next_decides():
    house = House()
    house.take(read(53_700, 53_700.5, 0))
    assert house.by_day()[DAY] == (0.5, 0, pytest.approx(1 / 60))
    house.take(read((3 / 60, 53_701), (4 / 60, 53_701)))
    assert house.by_day()[DAY] == (1.0, 1, pytest.approx(4 / 60))


def test_a_difference_is_split_in_proportion_to_time_and_the_last_piece_takes_the_remainder():
    house = House()
    house.take(read((22.5, 0), (25, 0.000_007)))
    assert house.hours() == {
        (1, DAY, START_MS + 22 * HOUR_MS): Hour(1, HOUR_MS // 2),
        (1, DAY, START_MS + 23 * HOUR_MS): Hour(3, HOUR_MS),
        (1, DAY + timedelta(days=1), START_MS + 24 * HOUR_MS): Hour(3, HOUR_MS),
    }


def test_a_gap_of_any_length_is_split_over_its_days():
    house = House()
    house.take(read((12, 100), (13, 101)))
    house.take(read((24 * 30 + 12, 101 + 719), (24 * 30 + 13, 101 + 720)))
    found = house.by_day()
    assert found == {DAY + timedelta(days=n): (hours, 0, hours) for n, hours in enumerate([12, *[24] * 29, 13])}
    assert len(house.registers.points) == 3, "readings may still come between the last midnight and 12:00"


def test_what_belongs_to_a_closed_day_goes_to_the_first_open_one():
    house = House()
    house.take(read((12, 100), (18, 106)))
    house.take(Span(START_MS + 26 * HOUR_MS, START_MS + 27 * HOUR_MS, {2: [(START_MS + 26 * HOUR_MS, 0)]}))
    assert house.days.closed_day == (DAY - EPOCH).days
    house.take(read((30, 118), (31, 119)))
    assert house.by_day() == {DAY: (6, 0, 6), DAY + timedelta(days=1): (13, 0, 7)}
    assert house.hours()[1, DAY + timedelta(days=1), EARLIER_MS] == Hour(6 * KWH)


def test_what_a_closed_day_got_too_much_is_given_back():
    """The gap from 23 to 27 h takes 4 kWh, so day 1 has 1 of them; then readings fill the second day's part of it: 0 until 26 h."""
    house = House(lateness_ms=2 * HOUR_MS)
    house.take(read((22, 100), (23, 100)))
    house.take(read((27, 104), (28, 104)))
    assert house.by_day() == {DAY: (1, 0, 2), DAY + timedelta(days=1): (3, 0, 4)}
    house.take(read((24, 100), (26, 100), until=26.5))
    assert house.by_day() == {DAY: (1, 0, 2), DAY + timedelta(days=1): (3, 0, 4)}
    third = 1, DAY + timedelta(days=1), START_MS + 26 * HOUR_MS
    assert house.hours()[third] == Hour(3 * KWH, HOUR_MS)
    house.take(read((26.5, 100), until=27))
    assert house.hours()[third] == Hour(3 * KWH, HOUR_MS) and len(house.registers.points) == 1


def test_of_a_difference_over_too_many_days_for_a_house_of_many_registers_the_first_takes_what_lies_before():
    meters, days = 5000, MOST_METER_DAYS // 5000
    house = House()
    house.take(Span(START_MS, START_MS + 1, {meter: [(START_MS, 0)] for meter in range(1, meters + 1)}))
    end_ms = START_MS + 10 * DAY_MS
    house.take(Span(end_ms, end_ms + 1, {meter: [(end_ms, 10 * KWH)] for meter in range(1, meters + 1)}))
    found = house.by_day(7)
    assert found == {DAY + timedelta(days=11 - days): (12 - days, 0, 24)} | {
        DAY + timedelta(days=day): (1, 0, 24) for day in range(12 - days, 10)
    }


def test_state_is_one_point_a_register_and_goes_through_its_bytes():
    house, points = House(), []
    for minute in range(0, 3 * 1440, 5):
        at = START_MS + minute * MINUTE_MS
        house.take(
            Span(at, at + 5 * MINUTE_MS, {meter: [(at + n, minute * 100 + n) for n in range(0, 300_000, 60_000)] for meter in (1, 2)})
        )
        points.append(len(house.registers.points))
    assert points[-1] == 2 and max(points) <= 6
    assert (POINT.itemsize, REGISTER_HOUR.itemsize) == (21, 32)
    assert len(house.state["import"]) == 5 + 2 * 21 and len(house.state["present_import_hours"]) <= 7 + 64 * 32


@given(st.integers(0, 2**62), st.integers(0, 2**40 - 1), st.integers(1, 2**40 - 1))
def test_shares_are_exact(mwh, part_ms, whole_ms):
    part_ms %= whole_ms + 1
    assert share(mwh, part_ms, whole_ms) == mwh * part_ms // whole_ms


VALUES = {
    "rises": lambda draw, value: value + draw(st.sampled_from([0, 1, 7, 40_000, 999_999])),
    "falls": lambda draw, value: max(0, value - draw(st.sampled_from([1, KWH, 10 * KWH]))),
    "zero": lambda draw, value: 0,
    "jumps": lambda draw, value: value + draw(st.sampled_from([3 * KWH, 400 * KWH])),
}


@st.composite
def register_logs(draw):
    """(bursts in the order of the topic, time zone, lateness): faults, gaps, repeats, disorder, midnights, clock changes."""
    zone, day = draw(st.sampled_from(ZONES_AND_DAYS))
    start = at = midnight_ms(ZoneInfo(zone), day) + draw(st.integers(-30, 30)) * HOUR_MS
    spans, meters = [], draw(st.integers(1, 2))
    values = dict.fromkeys(range(1, meters + 1), 50 * KWH)
    length = draw(st.sampled_from([HOUR_MS, 900_000, 7 * HOUR_MS]))
    for _ in range(draw(st.integers(1, 14))):
        readings = {}
        for meter in values:
            times = sorted(draw(st.sets(st.sampled_from(range(0, length, length // 6)), max_size=4)))
            readings[meter] = []
            for time_ms in times:
                value = VALUES[draw(st.sampled_from(["rises"] * 4 + list(VALUES)))](draw, values[meter])
                readings[meter].append((at + time_ms, value))
                values[meter] = value if draw(st.integers(0, 2)) else values[meter]
        if draw(st.integers(0, 4)):
            spans.append(Span(at, at + length, readings))
        at += length if draw(st.integers(0, 9)) else 50 * HOUR_MS
    spans = spans or [Span(start, start + 1000, {1: [(start, 5)]})]
    spans += draw(st.lists(st.sampled_from(spans), max_size=2))
    if draw(st.booleans()):
        places = [n + draw(st.sampled_from([0, 2, 3, 4])) for n in range(len(spans))]
        spans = [spans[n] for n in sorted(range(len(spans)), key=lambda n: places[n])]
    return spans, zone, draw(st.sampled_from([0, HOUR_MS, 30 * HOUR_MS]))


def judged(spans, timezone, lateness_ms):
    """What the oracle finds, by (meter, day, start of the hour)."""
    zone, registers, seen, clock = ZoneInfo(timezone), {}, set(), None

    def close():
        day = local_date(zone, clock - lateness_ms) - timedelta(days=1)
        for register in registers.values():
            register.close(day)
        return day

    for span in spans:
        last_closed = close() if clock is not None else date.min
        for meter, readings in span.meters.items():
            register = registers.setdefault(meter, Register(zone, last_closed=last_closed))
            if (meter, span.start_ms) not in seen:
                register.readings += [reading for reading in readings if local_date(zone, reading[0]) > last_closed]
        seen |= {(meter, span.start_ms) for meter in span.meters if local_date(zone, span.end_ms - 1) > last_closed}
        clock = max(clock or 0, span.newest_ms) if span.newest_ms > NEVER else clock
    if clock is not None:
        close()
    return {(meter, *hour): found for meter, register in registers.items() for hour, found in register.hours().items()}


def local_date(zone, time_ms):
    return EPOCH + timedelta(days=int(day_of(zone.key, time_ms)))


@settings(max_examples=300, deadline=None)
@given(register_logs(), st.data())
def test_any_readings_give_what_the_oracle_finds_however_they_are_batched(log, data):
    spans, zone, lateness_ms = log
    expected = judged(spans, zone, lateness_ms)
    for sizes in (st.just([1] * len(spans)), st.lists(st.integers(1, 5), min_size=len(spans), max_size=len(spans))):
        house, rest = House(zone, lateness_ms), spans
        for size in data.draw(sizes):
            if rest:
                house.take(*rest[:size])
                rest = rest[size:]
        assert house.hours() == expected

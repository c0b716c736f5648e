"""Registers: what a meter's counter of energy gives, in whole mWh.

The difference of two readings belongs to the time between them, however long. It is split where local hours end, in proportion to time; the
last piece takes the remainder. So the hours of all days add up to what the register counted.

A difference counts if the register rose, and by no more than a connection can deliver in that time. Of a reading after which it does not:

- If the next reading goes on from the one before, this one alone is odd. It is left out, and the difference spans both times.
- Else it is a new base (a reset, a roll-over, another meter), and the difference to it counts nothing.
- While there is no next reading, nothing is decided.

All three are *faults*, which are counted, except the last.

A difference is *settled* once no reading can come between or before that would change it: then only its hours remain, and of a meter its
newest reading. Around spans that may still be filled, the readings wait until their day closes. When a day closes, what its hours hold is
final. A difference that is settled later, or otherwise than it stood then, is *owed*: the first open day takes it, or gives it back.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np

from jobs.core.hours import Hours
from jobs.core.house_days import HouseDays, Rules
from jobs.core.local_hours import HOUR_MS, edges_of, hour_of
from jobs.core.rows import stacked
from jobs.core.runs import begins
from jobs.core.stage import Change
from jobs.core.state import HouseState
from jobs.core.state_version import require_version
from smartmeter.arrays import Bools, Ints, Rows
from smartmeter.compiled import compiled
from smartmeter.local_days import NEVER, day_of, midnights
from smartmeter.messages.codec import EXPORT, IMPORT, POWER
from smartmeter.settings import DAY_MS

STEP_MWH = 1_000_000
"""A register may count in steps of a kWh, and so rise by one at once."""
LONGEST_GAP_MS = 2**40
"""No difference counts over more than this, 34 years: the products below have 64 bits."""
MOST_METER_DAYS = 20_000
"""Over how many days a difference is split, times the registers of the house. The first of them takes what lies before."""

POINT = np.dtype([("meter_id", "i4"), ("settled", "?"), ("time_ms", "i8"), ("mwh", "i8")])
"""21 bytes: a reading of a register that later ones may need. settled: whether the difference to it from the one before is."""

REGISTER_HOUR = np.dtype(
    [
        ("meter_id", "i4"),
        ("day", "i4"),
        ("start_ms", "i8"),  # of the local hour
        ("mwh", "i8"),
        ("covered_ms", "i4"),  # time between readings whose difference counts
        ("faults", "i4"),
    ]
)
"""32 bytes: what a register gives in one local hour, or what is added to that."""

NAMES = {IMPORT: "import_register", EXPORT: "export_register"}
"""Quantity -> the first word of its values in state."""

CLOSED = -1
"""The day of a REGISTER_HOUR of closed days, all in one."""
EARLIER_MS = -1
"""The start of a REGISTER_HOUR of what belongs to days that were closed before, and is counted in this day."""

STATE_VERSION = 1
_HEAD = struct.Struct("<BI")


class Zone(NamedTuple):
    """Where the days and hours of a house begin, and from which day on they are open."""

    midnight_ms: Ints  # see midnights
    edges: Ints  # see jobs.core.local_hours
    open_day: int
    most_days: int  # over which a difference is split


def summed(*some: Rows) -> Rows:
    """The sum of some arrays of REGISTER_HOUR: sorted by meter, day and start, each once."""
    hours = stacked(*some)
    hours = hours[np.lexsort((hours["start_ms"], hours["day"], hours["meter_id"]))]
    first = begins(hours["meter_id"], hours["day"], hours["start_ms"])
    sums: Rows = hours[first]
    for name in ("mwh", "covered_ms", "faults") if len(first) else ():
        sums[name] = np.add.reduceat(hours[name], first)
    return sums


class RegisterHours(Hours):
    """The hours of the open days of a house, as its registers of one quantity give them."""

    dtype = REGISTER_HOUR
    summed = staticmethod(summed)


class HouseRegisters:
    """The registers of one quantity of a house: import or export."""

    def __init__(self, state: HouseState, name: str, closed_day: int, max_connection_w: int):
        """name: of the quantity, and of its values in state. closed_day: this local day and all before it are closed."""
        self.state, self.name, self.closed_day, self.max_connection_w = state, name, closed_day, max_connection_w
        self.hours = RegisterHours(state, f"{name}_hours")
        known = state.get(name) or _HEAD.pack(STATE_VERSION, 0)
        version, size = _HEAD.unpack_from(known)
        require_version(version, STATE_VERSION)
        self.points = np.frombuffer(known, POINT, size, _HEAD.size)
        self.owed = np.frombuffer(known, REGISTER_HOUR, offset=_HEAD.size + size * POINT.itemsize)  # day CLOSED, one a meter

    def add(self, meter_id: Ints, time_ms: Ints, mwh: Ints) -> None:
        """Add readings (n,) of times that had none before."""
        new = np.zeros(len(meter_id), POINT)
        new["meter_id"], new["time_ms"], new["mwh"] = meter_id, time_ms, mwh
        points = stacked(self.points, new)
        self.points = points[np.lexsort((points["time_ms"], points["meter_id"]))]

    def first_day(self, sections: Rows, timezone: str) -> int:
        """The first local day of which new sections (ARRIVED) may have changed something, once they are added."""
        own = self.points["time_ms"][np.isin(self.points["meter_id"], sections["meter_id"])]
        return int(day_of(timezone, int(own.min())))

    def take(self, sections: Rows, over: Ints, time_ms: Ints, mwh: Ints, timezone: str) -> None:
        """Add the readings (n,) of new sections (ARRIVED (s,)), in order of arrival. over: (s,), the last day that was over at each arrival."""
        for day in np.unique(over).tolist():
            self.close(day, timezone)
            own = over == day
            of_own = own.repeat(sections["readings"])
            self.add(sections["meter_id"][own].repeat(sections["readings"][own]), time_ms[of_own], mwh[of_own])

    def close(self, day: int, timezone: str) -> None:
        """Close a local day and all before it: what their hours hold is final. Nothing that comes later may have been added before."""
        if day > self.closed_day:
            open_now = self._open(timezone)
            closing = open_now[open_now["day"] <= day]
            self.hours.add(closing, NEVER)
            closing["mwh"], closing["covered_ms"], closing["faults"] = -closing["mwh"], 0, -closing["faults"]
            self._owe(closing)
            self.closed_day = day

    def settle(self, sections: Rows, timezone: str, clock_ms: int) -> None:
        """Settle all differences that can be. sections: SECTION of these registers, joined; clock_ms: the house's newest reading."""
        points, since_ms = self.points.copy(), np.full(len(self.points), NEVER)
        _since(since_ms, points, sections, midnights(timezone)[self.closed_day + 1])
        found, odd = self._settled(points, since_ms, timezone)
        self.hours.add(found[found["day"] != CLOSED], clock_ms)
        self._owe(found[found["day"] == CLOSED])
        needed = ~(points["settled"] & np.append(points["settled"][1:] & (points["meter_id"][1:] == points["meter_id"][:-1]), False))
        self.points = points[needed & ~odd]

    def every_hour(self, timezone: str) -> Rows:
        """REGISTER_HOUR of all local days that are not dropped: of closed ones, and of open ones as they stand."""
        hours = summed(self.hours.of_days(self.hours.every_day), self._open(timezone))
        some: Rows = hours[(hours["mwh"] != 0) | (hours["covered_ms"] != 0) | (hours["faults"] != 0)]
        return some

    def keep(self) -> None:
        """Write the state."""
        self.state.put(self.name, _HEAD.pack(STATE_VERSION, len(self.points)) + self.points.tobytes() + self.owed.tobytes())
        self.hours.keep()

    def _open(self, timezone: str) -> Rows:
        """REGISTER_HOUR of the open days: what is not settled, as it stands, and what is owed to or by them."""
        found, _ = self._settled(self.points.copy(), np.full(len(self.points), NEVER), timezone)
        is_closed = found["day"] == CLOSED
        owed, of_open = _but_nothing(summed(self.owed, found[is_closed])), [found[~is_closed]]
        if len(owed):
            stored = self.hours.of_days(day for day in self.hours.every_day if day > self.closed_day)
            of_open.append(repaid(summed(stored, *of_open), owed, self.closed_day + 1))
        return stacked(*of_open)

    def _settled(self, points: Rows, since_ms: Ints, timezone: str) -> tuple[Rows, Bools]:
        """(REGISTER_HOUR of the differences that can be settled, which of the points are odd). Marks the settled points."""
        odd = np.zeros(len(points), bool)
        if not len(points):
            return np.empty(0, REGISTER_HOUR), odd
        bounds, meters = midnights(timezone), len(begins(points["meter_id"]))
        days = day_of(timezone, points["time_ms"])
        edges = edges_of(timezone, np.arange(max(days.min(), self.closed_day), days.max() + 1))
        most_days = max(1, MOST_METER_DAYS // meters)
        zone = Zone(bounds, edges, self.closed_day + 1, most_days)
        gaps_ms = np.diff(np.maximum(points["time_ms"], bounds[zone.open_day]))[np.diff(points["meter_id"]) == 0]
        found = np.zeros(int(np.sum(np.minimum(gaps_ms, (most_days + 1) * DAY_MS) // HOUR_MS + 5 + len(edges))), REGISTER_HOUR)
        return found[: _settle(points, odd, since_ms, found, self.max_connection_w, *zone)], odd

    def _owe(self, hours: Rows) -> None:
        """Add hours (REGISTER_HOUR) to what is owed."""
        hours = hours.copy()
        hours["day"], hours["start_ms"], hours["covered_ms"] = CLOSED, 0, 0
        self.owed = _but_nothing(summed(self.owed, hours))


def taken(change: Change, rules: Rules, max_connection_w: int) -> dict[int, HouseRegisters]:
    """Quantity -> the registers of a house, with those of a batch that it has taken in; only those that it has."""
    sections, house, found = change.batch.sections, change.house, dict[int, HouseRegisters]()
    if (sections["quantity"] == POWER).all() and not any(change.state.get(name) for name in NAMES.values()):
        return found
    before_ms = np.maximum(sections["before_ms"], change.clock_before_ms)
    over = day_of(house.timezone, before_ms - rules.allowed_lateness_ms) - 1
    for quantity, name in NAMES.items():
        own = change.used & (sections["quantity"] == quantity)
        if own.any() or change.state.get(name) is not None:
            found[quantity] = registers = HouseRegisters(change.state, name, house.closed_day, max_connection_w)
            energies = change.batch.energies[own.repeat(sections["energies"])]
            energies = energies[energies["mwh"] >= 0]
            registers.take(sections[own], over[own], energies["time_ms"], energies["mwh"], house.timezone)
            if len(energies):
                house.changed_from = min(house.changed_from, registers.first_day(sections[own], house.timezone))
            registers.close(house.over_by_now(rules), house.timezone)
            registers.settle(house.registers[quantity], house.timezone, house.clock_ms)
    return found


def known(state: HouseState, house: HouseDays, max_connection_w: int) -> dict[int, HouseRegisters]:
    """Quantity -> the registers of a house; only those that it has."""
    return {
        quantity: HouseRegisters(state, name, house.closed_day, max_connection_w)
        for quantity, name in NAMES.items()
        if state.get(name) is not None
    }


def repaid(hours: Rows, owed: Rows, open_day: int) -> Rows:
    """REGISTER_HOUR: what is owed to the first open day, and, less than 0, what the hours owe. No hour owes more than it has.

    hours, owed: REGISTER_HOUR sorted by meter and time.
    """
    rows = [np.empty(0, REGISTER_HOUR)]
    for one in owed:
        first, own = one.reshape(1).copy(), hours[hours["meter_id"] == one["meter_id"]]
        first["day"], first["start_ms"], first["covered_ms"] = open_day, EARLIER_MS, 0
        own["covered_ms"] = 0
        for name in ("mwh", "faults"):
            first[name] = max(0, one[name])
            given = np.minimum(np.cumsum(own[name]), max(0, -one[name]))
            own[name] = -np.diff(given, prepend=0)
        rows += [first, own]
    return _but_nothing(stacked(*rows))


def _but_nothing(hours: Rows) -> Rows:
    """The hours that have energy or faults."""
    some: Rows = hours[(hours["mwh"] != 0) | (hours["faults"] != 0)]
    return some


@compiled
def _since(since_ms, points, sections, open_ms):
    """Fill in, for each point, since when the register's spans have had no hole; NEVER: none that is still open, from open_ms on."""
    s, begin_ms = 0, np.int64(NEVER)
    for i in range(len(points)):
        point = points[i]
        while s < len(sections) and (sections[s].meter_id, sections[s].start_ms) <= (point.meter_id, point.time_ms):
            goes_on = s > 0 and sections[s - 1].meter_id == sections[s].meter_id and sections[s - 1].end_ms == sections[s].start_ms
            begin_ms = begin_ms if goes_on else sections[s].start_ms
            s += 1
        since_ms[i] = NEVER if point.time_ms < open_ms or begin_ms <= open_ms else begin_ms


@compiled
def _settle(points, odd, since_ms, found, max_connection_w, midnight_ms, edges, open_day, most_days):
    """Mark the points whose difference can be settled, and those that are odd, and fill in what is found. Returns its number.

    A reading is *firm* if none that may still come can make it odd.
    """
    size = base = 0
    firm = False
    for i in range(len(points)):
        point, known = points[i], points[base]
        if i == 0 or points[i - 1].meter_id != point.meter_id:
            point.settled = point.settled or since_ms[i] == NEVER
            base, firm = i, point.settled
        elif point.settled:
            base, firm = i, True
        elif goes_on(known, point, max_connection_w):
            if firm and since_ms[i] <= known.time_ms:
                size = _split(found, size, known, point, midnight_ms, edges, open_day, most_days)
                point.settled = True
            else:
                firm = since_ms[i] <= points[i - 1].time_ms and goes_on(points[i - 1], point, max_connection_w)
            base = i
        elif i + 1 < len(points) and points[i + 1].meter_id == point.meter_id:
            is_odd = goes_on(known, points[i + 1], max_connection_w)
            sure = firm and since_ms[i + 1] <= known.time_ms
            if sure:
                size = _fault(found, size, point, midnight_ms, edges, open_day)
                odd[i], point.settled = is_odd, not is_odd
            if not is_odd:
                base, firm = i, sure
    return size


@compiled
def goes_on(before, after, max_connection_w):
    """Whether a register may have risen from one reading (POINT) to a later one, by what a connection of so many W delivers at most."""
    gap_ms, mwh = after.time_ms - before.time_ms, after.mwh - before.mwh
    return 0 <= mwh <= max_connection_w * (gap_ms // 1000 + 1) * 5 // 18 + STEP_MWH and gap_ms < LONGEST_GAP_MS


@compiled
def share(mwh, part_ms, whole_ms):
    """mwh x part_ms / whole_ms, rounded down, without overflow: mwh < 2**63, part_ms <= whole_ms < 2**40."""
    rate, rest = mwh // whole_ms, mwh % whole_ms
    high = rest * (part_ms >> 20)
    return rate * part_ms + (high // whole_ms << 20) + ((high % whole_ms << 20) + rest * (part_ms & 0xFFFFF)) // whole_ms


@compiled
def _split(found, size, before, after, midnight_ms, edges, open_day, most_days):
    """Fill in the hours of a difference that counts, and what lies before them. Returns the new number of rows."""
    mwh, gap_ms = after.mwh - before.mwh, after.time_ms - before.time_ms
    open_ms = min(max(before.time_ms, midnight_ms[open_day]), after.time_ms)
    given = share(mwh, open_ms - before.time_ms, gap_ms)
    if given:
        found[size].meter_id, found[size].day, found[size].mwh = before.meter_id, CLOSED, given
        size += 1
    first_day = np.searchsorted(midnight_ms, after.time_ms, side="right") - most_days
    time_ms = min(max(open_ms, midnight_ms[max(0, first_day)]), after.time_ms)
    while time_ms < after.time_ms:
        day = np.searchsorted(midnight_ms, time_ms, side="right") - 1
        start_ms, until_ms = hour_of(time_ms, midnight_ms[day], midnight_ms[day + 1], edges)
        until_ms = min(until_ms, after.time_ms)
        until = share(mwh, until_ms - before.time_ms, gap_ms)
        row, size = found[size], size + 1
        row.meter_id, row.day, row.start_ms = before.meter_id, day, start_ms
        row.mwh, row.covered_ms = until - given, until_ms - time_ms
        given, time_ms = until, until_ms
    return size


@compiled
def _fault(found, size, point, midnight_ms, edges, open_day):
    """Fill in a fault at the time of a point. Returns the new number of rows."""
    row, day = found[size], np.searchsorted(midnight_ms, point.time_ms, side="right") - 1
    row.meter_id, row.faults = point.meter_id, 1
    if day < open_day:
        row.day = CLOSED
    else:
        start_ms, _ = hour_of(point.time_ms, midnight_ms[day], midnight_ms[day + 1], edges)
        row.day, row.start_ms = day, start_ms
    return size + 1

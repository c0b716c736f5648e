"""What a meter's power usually stays below, from its last local days, and the limit over which a reading is a spike.

A window holds the sum of its days' sketches: a day that is over is merged in, and the day that leaves is subtracted.
It also has a row for each meter and day, with figures that the sum does not hold. Rows may stay longer than sketches do.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import isnan

import numpy as np

from jobs.core.kinds import NO_KINDS, MeterKinds
from jobs.core.rows import picked, stacked
from jobs.core.sketch import Sketches
from jobs.core.state_version import require_version
from jobs.core.usual import source_record, usual_record
from smartmeter.arrays import Bools, Floats, Int32s, Ints, Rows
from smartmeter.compiled import compiled
from smartmeter.messages.records import MeterThresholdRecord
from smartmeter.settings import Settings

LEAST_HISTORY_MS = 20 * 3_600_000
"""Most of a day. With less history, a meter's thresholds are warming up."""

MOSTLY = 0.95
"""A meter is on all day if at least this share of the day's readings are on. It is always on if it is on all day on at least half of the days:
an outage of some hours, which many meters send as 0 W, does not make the mains an appliance. Only a meter of unknown kind is judged by that."""

FEW_DAYS = 4
"""With fewer days with use, the highest of their peaks counts, and else the second-highest: an appliance has several programs.

A meter used on fewer days, and on no more than half of those with readings, is *seldom on*. A program that has not run yet may use a heater, so
its limit is mains_watts at least.
"""

STATE_VERSION = 2
MEDIANS_VERSION = 1
"""Of state whose rows have the day's median power while on in place of its peak."""

PEAKS_PER_MEDIAN = 2.0
"""What stands for the peak of such a day: the limit of an appliance that is not seldom on is then that of the release which wrote it, 2.3 medians
and 30 W."""

_HEAD = struct.Struct("<BiqqI")

METER_DAY = np.dtype(
    [
        ("day", "i4"),  # local day, days since 1970-01-01
        ("meter_id", "i4"),
        ("covered_ms", "i8"),
        ("readings", "i8"),
        ("on_readings", "i8"),  # those over on_watts
        ("peak_watts", "f8"),  # the second-highest of them: one reading alone may be a glitch; 0 with fewer than two
    ]
)
"""40 bytes."""


@dataclass(frozen=True)
class Limits:
    """How the limit of a meter follows from its last days; see Settings for each field.

    An appliance has several ordinary levels, such as a washing machine's motor and heater, and reaches the highest of them on many days. So
    its limit follows from the second-highest of its daily peaks: one day with a spike does not raise it. The mains add up many appliances.
    These coincide by chance, so more is added to their limit (mains_watts). That is also the lowest limit of an appliance that is seldom on.
    """

    quantile: float
    on_watts: float
    margin: float
    mains_watts: float
    added_watts: float
    window_days: int
    limit_days: int
    usual_days: int

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """The rule in the settings."""
        rules = settings.rules
        return cls(
            rules.quantile,
            rules.on_watts,
            rules.margin,
            rules.mains_watts,
            rules.min_watts,
            rules.window_days,
            rules.limit_days,
            rules.usual_days,
        )

    @property
    def lowest_watts(self) -> float:
        """The lowest possible limit: a peak is over on_watts."""
        lowest: float = min(limit_of(mains, False, self.on_watts, *self._rule) for mains in (False, True))
        return lowest

    @property
    def _rule(self) -> tuple[float, float, float]:
        return self.margin, self.mains_watts, self.added_watts

    def of_meters(self, meter_ids: Int32s, days: Rows, date: int, kinds: MeterKinds = NO_KINDS) -> tuple[Ints, Floats, Bools]:
        """(time covered in the window in ms; limit in W, NaN while warming up; whether it is mains) of each meter on a date.

        int64, float64 and bool (m,). days: METER_DAY of the limit_days before the date; kinds: those of the house's meters.
        """
        covered_ms, peak_watts, seldom_on, always_on = _figures(meter_ids, days, date - self.window_days)
        mains = kinds.are_mains(meter_ids, always_on)
        limits = [limit_of(*figures, *self._rule) for figures in zip(mains.tolist(), seldom_on.tolist(), peak_watts.tolist())]
        return covered_ms, np.array(limits, np.float64), mains


@compiled
def limit_of(mains, seldom_on, peak_watts, margin, mains_watts, added_watts):
    """The rule for a meter's limit, in W. It must not decrease in the peak, nor if seldom_on: Limits.lowest_watts relies on that.

    seldom_on: see FEW_DAYS.

    >>> limit_of(False, False, 2000.0, 0.15, 3000.0, 30.0)
    2330.0
    >>> limit_of(False, True, 2000.0, 0.15, 3000.0, 30.0)
    3000.0
    >>> limit_of(True, False, 2000.0, 0.15, 3000.0, 30.0)
    5300.0
    """
    limit_watts = peak_watts * (1 + margin) + (mains_watts if mains else added_watts)
    return max(limit_watts, mains_watts) if seldom_on else limit_watts


@compiled
def _figures(meter_ids, days, window_from):
    """(time covered in the window in ms; peak in W, NaN while warming up; whether it is seldom on, and whether it is always on) of each meter.

    window_from: the first day of the window.
    """
    covered_ms, peak_watts = np.zeros(len(meter_ids), np.int64), np.full(len(meter_ids), np.nan)
    seldom_on, always_on = np.zeros(len(meter_ids), np.bool_), np.zeros(len(meter_ids), np.bool_)
    for m in range(len(meter_ids)):
        known_ms = days_with_readings = days_all_on = days_on = 0
        highest_watts = second_watts = 0.0
        for d in range(len(days)):
            if days[d].meter_id != meter_ids[m]:
                continue
            if days[d].day >= window_from:
                covered_ms[m] += days[d].covered_ms
            known_ms += days[d].covered_ms
            days_with_readings += days[d].readings > 0
            days_all_on += days[d].on_readings >= max(MOSTLY * days[d].readings, 1)
            days_on += days[d].peak_watts > 0
            second_watts = max(second_watts, min(highest_watts, days[d].peak_watts))
            highest_watts = max(highest_watts, days[d].peak_watts)
        if known_ms < LEAST_HISTORY_MS or days_on == 0:
            continue
        peak_watts[m] = highest_watts if days_on < FEW_DAYS else second_watts
        seldom_on[m] = days_on < FEW_DAYS and 2 * days_on <= days_with_readings
        always_on[m] = 2 * days_all_on >= days_with_readings
    return covered_ms, peak_watts, seldom_on, always_on


@dataclass(eq=False)
class Window:
    """The window of the days before `date`: keyed state of the thresholds job, besides the panes."""

    date: int  # local day on which the newest version comes into force
    valid_from_ms: int = 0  # span for which that version is in force
    valid_to_ms: int = 0
    sketches: Sketches = field(default_factory=Sketches.empty)
    days: Rows = field(default_factory=lambda: np.empty(0, METER_DAY))

    def move(self, totals: Rows, entering: Sketches, leaving: Sketches, limits: Limits) -> None:
        """Advance by one day.

        totals: RESULT of the day that is over; entering: its sketches; leaving: the sketches of the days that leave the window.
        """
        kept = picked(self.days, self.days["day"] > self.date - limits.limit_days)
        self.days = stacked(kept, meter_days(totals, entering, limits.on_watts))
        self.sketches = self.sketches.merge(entering).subtract(leaving)
        self.date += 1

    def skip(self, date: int, leaving: Sketches, limits: Limits) -> None:
        """Advance to a date over days without readings. leaving: the sketches of the days that leave the window."""
        self.days = self.days[self.days["day"] >= date - limits.limit_days]
        self.sketches = self.sketches.subtract(leaving)
        self.date = date

    def meters(self, limits: Limits, shapes: Rows, kinds: MeterKinds = NO_KINDS) -> Iterator[MeterThresholdRecord]:
        """Yield a record (schema MeterThreshold) for each meter that had power in the window or was on in the limit_days, rising.

        A meter of solar or of a battery has one if it had a reading in the limit_days, and no limit. shapes: SHAPE of the limit_days; kinds:
        those of the house's meters.
        """
        in_sketches, percentiles = self.sketches.quantile(limits.quantile)
        of_sources = (self.days["readings"] > 0) & kinds.are_sources(self.days["meter_id"])
        in_days = self.days["meter_id"][(self.days["on_readings"] > 0) | of_sources]
        meter_ids = np.array(sorted({*in_sketches.tolist(), *in_days.tolist()}), np.int32)
        at = np.searchsorted(meter_ids, in_sketches)
        percentile_watts, readings = np.zeros(len(meter_ids)), np.zeros(len(meter_ids), np.int64)
        percentile_watts[at], readings[at] = percentiles, self.sketches.readings()[1]
        covered_ms, limit_watts, mains = limits.of_meters(meter_ids, self.days, self.date, kinds)
        for meter_id, percentile, count, covered, limit, is_mains, is_source in zip(
            *(
                column.tolist()
                for column in (meter_ids, percentile_watts, readings, covered_ms, limit_watts, mains, kinds.are_sources(meter_ids))
            )
        ):
            own = picked(shapes, shapes["meter_id"] == meter_id)
            yield {
                "meter_id": meter_id,
                "percentile_watts": percentile,
                "readings": count,
                "covered_s": covered / 1000,
                "warming_up": isnan(limit) and not is_source,
                "limit_watts": None if isnan(limit) or is_source else limit,
                "usual": source_record(own, limits.usual_days)
                if is_source
                else usual_record(own, is_mains, limits.usual_days, bool(kinds.sources)),
            }

    def to_bytes(self) -> bytes:
        """This window in a stable form, as kept in checkpoints."""
        head = _HEAD.pack(STATE_VERSION, self.date, self.valid_from_ms, self.valid_to_ms, len(self.days))
        return head + self.days.tobytes() + self.sketches.to_bytes()

    @classmethod
    def from_bytes(cls, state: bytes) -> Window:
        """Inverse of to_bytes; reads state of MEDIANS_VERSION too."""
        version, date, valid_from_ms, valid_to_ms, rows = _HEAD.unpack_from(state)
        days = np.frombuffer(state, METER_DAY, rows, _HEAD.size)
        if version == MEDIANS_VERSION:
            days = days.copy()
            days["peak_watts"] *= PEAKS_PER_MEDIAN
        else:
            require_version(version, STATE_VERSION)
        return cls(date, valid_from_ms, valid_to_ms, Sketches.from_bytes(state[_HEAD.size + days.nbytes :]), days)


def meter_days(totals: Rows, sketches: Sketches, on_watts: float) -> Rows:
    """METER_DAY of one day, from its totals (RESULT) and from the power of each meter while on in its sketches."""
    rows, on = np.zeros(len(totals), METER_DAY), sketches.above(on_watts)
    _fill_in(rows, totals, *on.readings(), *on.second_highest())
    return rows


@compiled
def _fill_in(rows, totals, meter_ids, on_readings, of_several, peak_watts):
    """Fill in METER_DAY from totals (RESULT). meter_ids, of_several: the meters of on_readings and of peak_watts, rising."""
    for d in range(len(totals)):
        row, total = rows[d], totals[d]
        row.day, row.meter_id, row.covered_ms, row.readings = total.day, total.meter_id, total.covered_ms, total.readings
        at = np.searchsorted(meter_ids, total.meter_id)
        if at < len(meter_ids) and meter_ids[at] == total.meter_id:
            row.on_readings = on_readings[at]
        at = np.searchsorted(of_several, total.meter_id)
        if at < len(of_several) and of_several[at] == total.meter_id:
            row.peak_watts = peak_watts[at]

"""What a meter's power usually is, from the sketches of the last local days, and the limit over which it is a spike.

A window holds the sum of its days' sketches: a day that is over is merged in, and the one that leaves is subtracted.
Beside it stands a row a meter and day, of what the sum no longer tells.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import isnan

import numpy as np

from jobs.core.sketch import Sketches
from jobs.core.state_version import require_version
from smartmeter.compiled import compiled
from smartmeter.settings import Settings

LEAST_HISTORY_MS = 23 * 3_600_000
"""The shortest local day: with less, a meter's thresholds are warming up."""

MOSTLY = 0.95
"""Share of its readings from which on a meter counts as always on."""

STATE_VERSION = 1
_HEAD = struct.Struct("<BiqqI")

METER_DAY = np.dtype([
    ("day", "i4"),  # local day, days since 1970-01-01
    ("meter_id", "i4"),
    ("covered_ms", "i8"),
    ("readings", "i8"),
    ("on_readings", "i8"),  # those over the cut-off of "on"
    ("usual_watts", "f8"),  # their median; 0 where there are none
])
"""40 bytes."""


@dataclass(frozen=True)
class Limits:
    """How the limit of a meter follows from its window; see Settings for each.

    A meter that is on nearly all the time adds up many appliances, as the mains do: their sum passes any multiple of
    its usual power every evening, but seldom its percentile by more than the largest appliance draws (mains_watts).
    Any other is one appliance: what it draws when on, doubled at most when two of its uses coincide, is its limit. That is
    the median over the days with use, so that a day with a spike does not raise it.
    """

    quantile: float
    on_watts: float
    margin: float
    mains_watts: float
    added_watts: float

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """The rule that the settings give."""
        return cls(settings.quantile, settings.on_watts, settings.margin, settings.mains_watts, settings.min_watts)

    @property
    def lowest_watts(self) -> float:
        """No limit is lower: an appliance usually draws more than on_watts when on, and no percentile is below 0 W."""
        return min(limit_of(False, self.on_watts, 0.0, *self._rule), limit_of(True, 0.0, 0.0, *self._rule))

    @property
    def _rule(self) -> tuple[float, float, float]:
        return self.margin, self.mains_watts, self.added_watts

    def of_meters(self, meter_ids: np.ndarray, percentile_watts: np.ndarray, days: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(time covered in ms; limit in W, NaN while warming up) of each meter, int64 and float64 (m,). days: METER_DAY of the window."""
        return _limits(meter_ids, percentile_watts, days, *self._rule)


@compiled
def limit_of(always_on, usual_watts, percentile_watts, margin, mains_watts, added_watts):
    """The limit of a meter, in W: the rule itself. It may not fall where the usual power or the percentile rises (Limits.lowest_watts).

    >>> limit_of(False, 100.0, 0.0, 1.3, 7000.0, 30.0)
    260.0
    >>> limit_of(True, 0.0, 1500.0, 1.3, 7000.0, 30.0)
    8500.0
    """
    if always_on:
        return percentile_watts + mains_watts
    return usual_watts * (1 + margin) + added_watts


@compiled
def _limits(meter_ids, percentile_watts, days, margin, mains_watts, added_watts):
    """See Limits.of_meters."""
    covered_ms, limit_watts = np.zeros(len(meter_ids), np.int64), np.full(len(meter_ids), np.nan)
    usual = np.empty(len(days))
    for m in range(len(meter_ids)):
        readings = on_readings = days_on = 0
        for d in range(len(days)):
            if days[d].meter_id == meter_ids[m]:
                covered_ms[m] += days[d].covered_ms
                readings += days[d].readings
                on_readings += days[d].on_readings
                if days[d].on_readings > 0:
                    usual[days_on] = days[d].usual_watts
                    days_on += 1
        if covered_ms[m] < LEAST_HISTORY_MS or days_on == 0:
            continue
        usual_watts = np.sort(usual[:days_on])[(days_on - 1) // 2]
        limit_watts[m] = limit_of(on_readings >= MOSTLY * readings, usual_watts, percentile_watts[m], margin, mains_watts, added_watts)
    return covered_ms, limit_watts


@dataclass(eq=False)
class Window:
    """The days before `date`, as many as the window is long: keyed state of the thresholds job, beside the panes."""

    date: int  # local day on which the newest version comes into force
    valid_from_ms: int = 0  # span that it holds for
    valid_to_ms: int = 0
    sketches: Sketches = field(default_factory=Sketches.empty)
    days: np.ndarray = field(default_factory=lambda: np.empty(0, METER_DAY))

    def move(self, totals: np.ndarray, entering: Sketches, leaving: Sketches, window_days: int, on_watts: float) -> None:
        """Go on by one day.

        totals: RESULT of the day that is over, entering: its sketches; leaving: those of the days that leave the window.
        """
        kept = self.days[self.days["day"] > self.date - window_days]
        self.days = np.concatenate([kept, meter_days(totals, entering, on_watts)])
        self.sketches = self.sketches.merge(entering).subtract(leaving)
        self.date += 1

    def skip(self, date: int, leaving: Sketches, window_days: int) -> None:
        """Go on to a date, where the days until then have no readings. leaving: the sketches of the days that leave the window."""
        self.days = self.days[self.days["day"] >= date - window_days]
        self.sketches = self.sketches.subtract(leaving)
        self.date = date

    def meters(self, limits: Limits) -> Iterator[dict]:
        """Yield a record (schema MeterThreshold) for each meter with a reading in the sketches, rising by meter."""
        meter_ids, percentiles = self.sketches.quantile(limits.quantile)
        _, readings = self.sketches.readings()
        covered_ms, limit_watts = limits.of_meters(meter_ids, percentiles, self.days)
        for meter_id, percentile_watts, count, covered, limit in zip(*(column.tolist() for column in (
                meter_ids, percentiles, readings, covered_ms, limit_watts))):
            yield {
                "meter_id": meter_id, "percentile_watts": percentile_watts, "readings": count, "covered_s": covered / 1000,
                "warming_up": isnan(limit), "limit_watts": None if isnan(limit) else limit,
            }

    def to_bytes(self) -> bytes:
        """This window in a stable form, as kept in checkpoints."""
        head = _HEAD.pack(STATE_VERSION, self.date, self.valid_from_ms, self.valid_to_ms, len(self.days))
        return head + self.days.tobytes() + self.sketches.to_bytes()

    @classmethod
    def from_bytes(cls, state: bytes) -> Window:
        """The window that to_bytes gave."""
        version, date, valid_from_ms, valid_to_ms, rows = _HEAD.unpack_from(state)
        require_version(version, STATE_VERSION)
        days = np.frombuffer(state, METER_DAY, rows, _HEAD.size)
        return cls(date, valid_from_ms, valid_to_ms, Sketches.from_bytes(state[_HEAD.size + days.nbytes:]), days)


def meter_days(totals: np.ndarray, sketches: Sketches, on_watts: float) -> np.ndarray:
    """METER_DAY of one day: its totals (RESULT), with what its sketches say of each meter's power while on."""
    rows = np.zeros(len(totals), METER_DAY)
    for column in ("day", "meter_id", "covered_ms", "readings"):
        rows[column] = totals[column]
    on = sketches.above(on_watts)
    meter_ids, median = on.quantile(0.5)
    _, at, of_meter = np.intersect1d(rows["meter_id"], meter_ids, assume_unique=True, return_indices=True)
    rows["on_readings"][at], rows["usual_watts"][at] = on.readings()[1][of_meter], median[of_meter]
    return rows

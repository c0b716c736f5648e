"""The energy of glitches (jobs.core.episodes), for whoever leaves it out of days and hours.

A glitch is left out if its own local day decides that no other reading supports it: it holds no longer than to the end of that day, whatever
the next day's readings are, and one of these would come too late to continue it. So the result of a closed day does not depend on them.
"""

from __future__ import annotations

import numpy as np

from jobs.core.energy import HOUR, hold
from jobs.core.episodes import Spell
from jobs.core.local_hours import HOUR_MS, edges_of
from smartmeter.arrays import Bools, Rows
from smartmeter.compiled import compiled
from smartmeter.local_days import day_of, midnights


def taken_from(rows: Rows, glitches: Rows, sections: Rows, timezone: str, spell: Spell) -> Rows:
    """Take the energy and the time of glitches (EPISODE) from the results of their days (RESULT, changed in place).

    Returns HOUR: the same, less than 0, by hour. sections: those of the house.
    """
    own = glitches[_decided(glitches, sections, timezone, spell)]
    days = day_of(timezone, own["start_ms"])
    edges = edges_of(timezone, days)
    hours = np.zeros(int(np.sum((own["end_ms"] - own["start_ms"]) // HOUR_MS + 2 + len(edges))), HOUR)
    hours = hours[: _fill(hours, own, days, midnights(timezone), edges)]
    for name in ("energy_mj", "energy_rest", "covered_ms"):
        hours[name] *= -1
        for hour in hours:
            rows[name][(rows["meter_id"] == hour["meter_id"]) & (rows["day"] == hour["day"])] += hour[name]
    return hours


def _decided(glitches: Rows, sections: Rows, timezone: str, spell: Spell) -> Bools:
    """bool (g,): whether the day of each glitch, which is also that of its section, decides on it alone."""
    days, start_ms = day_of(timezone, glitches["start_ms"]), glitches["start_ms"][:, None]
    midnight_ms = midnights(timezone)[days + 1][:, None]
    of_day = (sections["meter_id"] == glitches["meter_id"][:, None]) & (sections["day"] == days[:, None])
    own = of_day & (sections["start_ms"] <= start_ms) & (start_ms < sections["end_ms"])
    period_ms = np.where(sections["period_ms"] > 0, sections["period_ms"], spell.max_sample_period_ms)
    goes_on = of_day & (sections["readings"] > 0) & (sections["last_ms"] > start_ms)
    ends = goes_on | (own & (start_ms + period_ms <= midnight_ms))
    decided: Bools = own.any(axis=1) & ends.any(axis=1) & (start_ms + spell.hold_ms <= midnight_ms)[:, 0]
    return decided


@compiled
def _fill(hours, glitches, days, midnight_ms, edges):
    """Fill in the hours of the glitches. Returns their number."""
    h = 0
    for g in range(len(glitches)):
        one, day = glitches[g], (midnight_ms[days[g]], midnight_ms[days[g] + 1], edges)
        h = hold(hours, h, one.meter_id, days[g], one.peak_watts, one.start_ms, one.end_ms - one.start_ms, day)
    return h

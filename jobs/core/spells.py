"""The minutes of a house's meters that are conspicuous, found in one compiled pass over its cells, and joined to spells.

Each kind has a condition on a minute, such as being over a level, and a time for which it may hold. A minute at which the condition has held
for longer is *conspicuous*. Conspicuous minutes of a meter and kind less than MERGED_MINUTES apart are a *spell*: one alert. It starts when
the rule is broken, not when the condition began. So it does not move while it goes on.
"""

from __future__ import annotations

import numpy as np

from jobs.core.cells import DAY_MINUTES, FED_IN
from jobs.core.open_runs import (
    COLUMNS,
    LAST,
    LEVELS,
    NONE,
    OFF,
    REST,
    SAME,
    SEEN,
    advance,
    goes_on,
    lasted,
    level_code,
    rests,
    seen_by,
    silence,
    since,
)
from smartmeter.compiled import compiled
from smartmeter.messages.rules import OF_DURATION

KINDS = (*OF_DURATION, "limit", "overrun", "idle", "schedule")
RUN, BAND, OFF_TOO_LONG, HOUR, STANDBY, DEAD, FROZEN, SILENT, OWN_LIMIT, OVERRUN, IDLE, SCHEDULE = range(len(KINDS))
"""The last four are of a user's rule, which needs nothing usual."""

OVER_OWN, AT_RARE, OVER_HOUR, OVER_STANDBY, UNDER_DEAD = range(COLUMNS, COLUMNS + 5)
"""Columns of a meter's open runs, after those of jobs.core.open_runs: the first minutes of runs whose condition depends on a user's rule, or on
the version."""
ALL_COLUMNS = UNDER_DEAD + 1

MERGED_MINUTES = 15
RUN_MINUTES, BAND_MINUTES, OVER_HOUR_MINUTES, HOUR_MINUTES, STANDBY_MINUTES = 20, 8, 13, 60, 22 * 60
RUN_FACTOR, OFF_FACTOR, SAME_FACTOR, SILENCE_FACTOR = 2, 2, 2, 2
"""Something may last this many times as long as it usually does, and the minutes above longer."""

LONG_PAUSE_MINUTES = 6 * 60
"""An appliance that has paused for longer is used now and then, and may stay off."""

SPELL = np.dtype(
    [
        ("meter_id", "i4"),
        ("kind", "u1"),
        ("start", "i4"),  # its first conspicuous minute; NONE: there is none
        ("last", "i4"),  # its last one
        ("since", "i4"),  # when the condition of its first one began
        ("limit", "u1"),  # code of the power that it was over, or under
        ("usual", "i4"),  # the longest that the condition usually holds, in minutes; -1 where that does not count
        ("peak", "u1"),  # highest code of its conspicuous minutes
        ("open", "?"),
    ]
)
"""24 bytes."""


def most_spells(minutes: int) -> int:
    """The most spells of a meter that may begin within some minutes: there are more than MERGED_MINUTES between two of a kind."""
    return len(KINDS) * (minutes // (MERGED_MINUTES + 1) + 1)


@compiled
def take_in(cells, first, usual, own, usual_at, hour_at, clock_at, runs, spells, ended, size, most_missing, off_code):
    """Take in the cells (m, minutes) from minute `first` on. Appends the spells that ended to ended[:size]; returns the new size.

    usual: USUAL; own: USER_RULE (m,); usual_at: int32 (minutes, m), the index in `usual` that holds for a minute and meter, or -1; hour_at:
    uint8 (minutes,); clock_at: int32 (minutes,), what the house's clock shows, in minutes.
    """
    seen_at, rest_at = seen_by(cells[0], runs[0, SEEN]), rests(cells, runs[:, LAST], first)
    for m in range(len(cells)):
        run, found, rule = runs[m], spells[m], own[m]
        for i in range(cells.shape[1]):
            cell, minute, at = cells[m, i], first + i, usual_at[i, m]
            muted = minute < rule.muted_until
            if cell.low:
                if m == 0 and at >= 0 and not muted:
                    size = _house_returns(found[SILENT], run, minute, usual[at].gap, rule, ended, size)
                together = goes_on(run, minute, most_missing)
                advance(run, cell, minute, seen_at[i], rest_at[m, i], most_missing, off_code)
                if m > 0:
                    run[OVER_OWN] = since(run[OVER_OWN], 0 < rule.limit < cell.low, together, minute)
                    if not muted:
                        size = _judge_by_rule(found, run, cell, minute, rule, clock_at[i], off_code, ended, size)
                if m > 0 and at < 0:
                    run[AT_RARE:] = NONE
                elif m > 0:
                    _advance_beside(run, cell, minute, together, usual[at], hour_at[i])
                    if not muted:
                        size = _judge(found, run, cell, minute, usual[at], rule, hour_at[i], off_code, ended, size)
            elif m > 0 and at >= 0 and cells[0, i].low and not muted:
                most = usual[at].gap
                if silence(run, minute, seen_at[i] + 1) > allowed(SILENT, SILENCE_FACTOR * most + HOUR_MINUTES, rule):
                    size = _extend(found[SILENT], minute, minute, run[LAST] + 1, 0, most, 0, ended, size)
    return size


@compiled
def _house_returns(spell, runs, minute, usual_minutes, own, ended, size):
    """Note the silence of a house that ends with a minute, if it was longer than allowed. Returns the number of spells that ended."""
    begun, most = runs[LAST] + 1, allowed(SILENT, SILENCE_FACTOR * usual_minutes + HOUR_MINUTES, own)
    first = max(begun + most, own.muted_until)
    if silence(runs, minute, -1) == 0 or first >= minute:
        return size
    return _extend(spell, first, minute - 1, begun, 0, usual_minutes, 0, ended, size)


@compiled
def allowed(kind, minutes, own):
    """For how many minutes a kind's condition may hold under a user's rule (a row of USER_RULE); minutes: without one."""
    return int(own.times * minutes) + own.extra[kind]


@compiled
def outlasts(begun, minute, kind, minutes, own):
    """Whether a run that holds in a minute, if there is one, has lasted longer than its kind's condition may. For the rest see allowed."""
    return begun != NONE and lasted(begun, minute) > allowed(kind, minutes, own)


@compiled
def _advance_beside(runs, cell, minute, together, usual, hour):
    """Advance the runs whose condition depends on the version in force."""
    at_rare = not usual.mains and usual.rare[cell.low] + usual.rare[cell.high] == 2
    runs[AT_RARE] = since(runs[AT_RARE], at_rare, together, minute)
    runs[OVER_HOUR] = since(runs[OVER_HOUR], 0 < usual.hour[hour] < runs[REST], together, minute)
    runs[OVER_STANDBY] = since(runs[OVER_STANDBY], 0 < usual.standby < cell.low, together, minute)
    runs[UNDER_DEAD] = since(runs[UNDER_DEAD], cell.high < usual.dead and cell.same != FED_IN, together, minute)


@compiled
def _judge_by_rule(spells, runs, cell, minute, own, clock, off_code, ended, size):
    """Add a minute to the spells of what a user's rule does not allow. Returns the number of spells that ended."""
    high = cell.high
    if own.limit and lasted(runs[OVER_OWN], minute) > own.limit_minutes:
        size = _extend(spells[OWN_LIMIT], minute, minute, runs[OVER_OWN], own.limit, own.limit_minutes, high, ended, size)
    if own.on_minutes >= 0 and lasted(runs[0], minute) > own.on_minutes:
        size = _extend(spells[OVERRUN], minute, minute, runs[0], level_code(0), own.on_minutes, high, ended, size)
    if own.off_minutes >= 0 and lasted(runs[OFF], minute) > own.off_minutes:
        size = _extend(spells[IDLE], minute, minute, runs[OFF], off_code, own.off_minutes, high, ended, size)
    if own.off_from >= 0 and cell.low > off_code and (clock - own.off_from) % DAY_MINUTES < hours_off(own):
        size = _extend(spells[SCHEDULE], minute, minute, minute, off_code, -1, high, ended, size)
    return size


@compiled
def hours_off(own):
    """For how many minutes of a day a meter must be off, by a user's rule that has off_from and off_to: a whole day if these are the same."""
    return (own.off_to - own.off_from - 1) % DAY_MINUTES + 1


@compiled
def _judge(spells, runs, cell, minute, usual, own, hour, off_code, ended, size):
    """Add a minute to the spells of the kinds for which it is conspicuous. Returns the number of spells that ended."""
    high = cell.high
    same = outlasts(runs[SAME], minute, FROZEN, SAME_FACTOR * usual.longest[SAME] + HOUR_MINUTES, own)
    frozen = same and not _goes_on(spells[RUN], minute)  # one alert for both: the first
    if frozen:
        size = _extend(spells[FROZEN], minute, minute, runs[SAME], 0, usual.longest[SAME], high, ended, size)
    if usual.mains:
        if outlasts(runs[OVER_HOUR], minute, HOUR, OVER_HOUR_MINUTES, own):
            size = _extend(spells[HOUR], minute, minute, runs[OVER_HOUR], usual.hour[hour], -1, high, ended, size)
        if lasted(runs[OVER_STANDBY], minute) > STANDBY_MINUTES + own.extra[STANDBY]:  # a day, however sensitive
            size = _extend(spells[STANDBY], minute, minute, runs[OVER_STANDBY], usual.standby, -1, high, ended, size)
        if outlasts(runs[UNDER_DEAD], minute, DEAD, HOUR_MINUTES, own):
            size = _extend(spells[DEAD], minute, minute, runs[UNDER_DEAD], usual.dead, -1, high, ended, size)
        return size
    if outlasts(runs[AT_RARE], minute, BAND, BAND_MINUTES, own):
        size = _extend(spells[BAND], minute, minute, runs[AT_RARE], 0, -1, high, ended, size)
    pause = usual.longest[OFF]
    if pause < LONG_PAUSE_MINUTES and outlasts(runs[OFF], minute, OFF_TOO_LONG, OFF_FACTOR * pause + HOUR_MINUTES, own):
        size = _extend(spells[OFF_TOO_LONG], minute, minute, runs[OFF], off_code, pause, high, ended, size)
    if frozen:
        return size
    for level in range(LEVELS - 1, -1, -1):
        if outlasts(runs[level], minute, RUN, RUN_FACTOR * usual.longest[level] + RUN_MINUTES, own):
            return _extend(spells[RUN], minute, minute, runs[level], level_code(level), usual.longest[level], high, ended, size)
    return size


@compiled
def _goes_on(spell, minute):
    """Whether a conspicuous minute would be part of a spell."""
    return spell.start != NONE and minute - spell.last <= MERGED_MINUTES


@compiled
def _extend(spell, start, last, begun, limit, usual_minutes, high, ended, size):
    """Add conspicuous minutes to a spell, or let them begin another. Returns the number of spells that ended."""
    if _goes_on(spell, start):
        spell.last, spell.peak = last, max(spell.peak, high)
        return size
    if spell.start != NONE:
        ended[size] = spell
        size += 1
    spell.start, spell.last, spell.since = start, last, begun
    spell.limit, spell.usual, spell.peak = limit, usual_minutes, high
    return size

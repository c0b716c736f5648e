"""The channels of a burst that are registers: counters of energy, which travel beside the power channels and are decoded with them.

A channel is a quantity of a meter. The values of a register are whole mWh. A burst has the first one, and then differences.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from smartmeter.arrays import Ints, Rows
from smartmeter.compiled import compiled
from smartmeter.loops import append
from smartmeter.messages.codec import EXPORT, POWER

REGISTER = np.dtype(
    [
        ("burst", "i8"),  # index of its burst
        ("meter_id", "i8"),
        ("quantity", "i8"),  # IMPORT or EXPORT
        ("readings", "i8"),
    ]
)
REFUSED = np.dtype(
    [
        ("channel", "i8"),
        ("time_ms", "i8"),  # of the reading; the burst's start if the channel's times are out of order
        ("readings", "i8"),
    ]
)
"""Readings that are refused; the rest of their burst is used."""


class Registers(NamedTuple):
    """g register channels of many bursts, with q readings: burst by burst, in the order of their message."""

    channels: Rows  # REGISTER (g,)
    gap_ms: Ints  # int64 (q,), time since the channel's previous reading; for its first, since the burst's start
    energy_mwh: Ints  # int64 (q,), 0 or more
    refused: Rows  # REFUSED, sorted by channel and time; not part of the q readings


def room(channels: int, readings: int) -> Registers:
    """Room for so many channels and readings."""
    return Registers(np.empty(channels, REGISTER), np.empty(readings, np.int64), np.empty(readings, np.int64), np.empty(readings, REFUSED))


def filled(registers: Registers, channels: int, readings: int, refused: int) -> Registers:
    """The part that is filled in."""
    return Registers(
        registers.channels[:channels], registers.gap_ms[:readings], registers.energy_mwh[:readings], registers.refused[:refused]
    )


@compiled
def channels_fit(meter_id, count, quantity, watts, energies):
    """Whether these (int64 (c,)) are valid channels of a burst, each listed once, with so many watts and energies."""
    place, of = np.empty(len(meter_id), np.int64), np.zeros(2, np.int64)
    for i in range(len(meter_id)):
        if not (meter_id[i] > 0 and count[i] >= 0 and POWER <= quantity[i] <= EXPORT):
            return False
        place[i] = meter_id[i] << 2 | quantity[i]
        of[min(quantity[i], 1)] += count[i]
    rising = np.sort(place)
    for i in range(1, len(rising)):
        if rising[i] == rising[i - 1]:
            return False
    return of[0] == watts and of[1] == energies


@compiled
def set_apart(columns, c, n, quantity, registers, b, g, q):
    """Move the register channels of burst b out of the columns, in which its channels start at c and its readings at n, to the registers.

    Returns (end of the burst's power channels, end of its register channels).
    """
    kept, kept_n, at = c, n, n
    for i in range(len(quantity)):
        count = columns.count[c + i]
        gap_ms = columns.gap_ms[at : at + count]
        if quantity[i] == POWER:
            columns.meter_id[kept], columns.count[kept], columns.period_ms[kept] = columns.meter_id[c + i], count, columns.period_ms[c + i]
            kept, kept_n = kept + 1, append(columns.gap_ms, kept_n, gap_ms)
        else:
            channel = registers.channels[g]
            channel.burst, channel.meter_id, channel.quantity, channel.readings = b, columns.meter_id[c + i], quantity[i], count
            g, q = g + 1, append(registers.gap_ms, q, gap_ms)
        at += count
    return kept, g


@compiled
def keep_energies(burst, tick_ms, registers, first, end, q, r):
    """Convert ticks to ms and differences to energies, in the register channels from `first` to `end`, whose readings start at q.

    Refuses what is out of order or less than 0. Brings the burst's newest_ms up to date. Returns the end of the kept readings and refusals.
    """
    at = q
    for g in range(first, end):
        channel, count = registers.channels[g], registers.channels[g].readings
        in_order, _ = to_ms(registers.gap_ms[at : at + count], tick_ms, burst.end_ms - burst.start_ms)
        if not in_order:
            r = refuse(registers.refused, r, g, burst.start_ms, count)
            channel.readings = 0
        else:
            begin, elapsed_ms, last_ms, value, turns = q, np.int64(0), np.int64(0), np.int64(0), 0
            for i in range(at, at + count):
                elapsed_ms += registers.gap_ms[i]
                turns += _turns(value, registers.energy_mwh[i])
                value += registers.energy_mwh[i]
                if turns == 0 and value >= 0:
                    registers.gap_ms[q], registers.energy_mwh[q] = elapsed_ms - last_ms, value
                    last_ms, q = elapsed_ms, q + 1
                else:
                    r = refuse(registers.refused, r, g, burst.start_ms + elapsed_ms, 1)
            channel.readings = q - begin
            if q > begin:
                burst.newest_ms = max(burst.newest_ms, burst.start_ms + last_ms)
        at += count
    return q, r


@compiled
def _turns(value, difference):
    """How often the sum of two int64 leaves their range: 1 beyond its upper end, -1 beyond its lower end, else 0."""
    if value > 0 and difference > np.iinfo(np.int64).max - value:
        return 1
    return -1 if value < 0 and difference < np.iinfo(np.int64).min - value else 0


@compiled
def to_ms(gaps_ms, tick_ms, span_ms):
    """Convert the gaps of a channel from ticks to ms.

    Returns (whether its times rise and stay in its burst's span, time of the last one since the burst's start).
    """
    elapsed_ms, in_order = np.int64(0), True
    for i in range(len(gaps_ms)):
        gaps_ms[i] *= tick_ms
        elapsed_ms += gaps_ms[i]
        in_order &= (gaps_ms[i] > 0) & (gaps_ms[i] <= span_ms) | (i == 0) & (gaps_ms[i] == 0)
    return in_order & (elapsed_ms < span_ms), elapsed_ms


@compiled
def refuse(refused, r, channel, time_ms, readings):
    """Record a refusal. Returns the new number of refusals."""
    refused[r].channel, refused[r].time_ms, refused[r].readings = channel, time_ms, readings
    return r + 1

"""Sections of registers: the readings of one register on one local day in one burst. They travel with all of their readings."""

from __future__ import annotations

import numpy as np

from jobs.core.readings import Readings
from jobs.core.sections import ARRIVED, local_days
from smartmeter.arrays import Ints, Rows
from smartmeter.compiled import compiled
from smartmeter.local_days import NEVER

ENERGY = np.dtype([("time_ms", "i8"), ("mwh", "i8")])
"""A reading of a register; where mwh is negative, so many readings that are refused."""


def register_arrivals(readings: Readings, partition: Ints, offset: Ints) -> tuple[Rows, Rows]:
    """(ARRIVED: the sections of the registers in many bursts, in order of arrival; ENERGY of their readings, section by section).

    partition, offset: (b,), place of each burst's message.
    """
    registers, bursts, days = readings.registers, readings.bursts, local_days(readings)
    sections = np.zeros(int(np.sum(days.count[registers.channels["burst"]])), ARRIVED)
    energies = np.zeros(len(registers.energy_mwh) + len(registers.refused), ENERGY)
    before_ms = np.empty(len(bursts), np.int64)
    _newest_before(before_ms, bursts)
    first_midnight = np.cumsum(days.count + 1) - days.count - 1
    _fill(sections, energies, registers, bursts, partition, offset, days, first_midnight, before_ms)
    return sections, energies


@compiled
def _newest_before(before_ms, bursts):
    """Fill in, for each burst, the newest reading of the same house in the bursts before it."""
    newest_ms = NEVER
    for b in range(len(bursts)):
        if b and bursts[b - 1].house_id != bursts[b].house_id:
            newest_ms = NEVER
        before_ms[b], newest_ms = newest_ms, max(newest_ms, bursts[b].newest_ms)


@compiled
def _fill(sections, energies, registers, bursts, partition, offset, days, first_midnight, before_ms):
    """Fill in the sections of all register channels, and their readings."""
    s = n = r = size = 0
    for g in range(len(registers.channels)):
        channel = registers.channels[g]
        b, end = channel.burst, n + channel.readings
        burst, time_ms, begin_ms = bursts[b], bursts[b].start_ms, bursts[b].start_ms
        for d in range(days.count[b]):
            section, midnight = sections[s], first_midnight[b] + d
            section.burst, section.partition, section.offset, section.before_ms = b, partition[b], offset[b], before_ms[b]
            section.meter_id, section.quantity, section.day = channel.meter_id, channel.quantity, days.first[b] + d
            section.start_ms = begin_ms
            section.end_ms = begin_ms = days.midnight_ms[midnight + 1] if d < days.count[b] - 1 else burst.end_ms
            while n < end and time_ms + registers.gap_ms[n] < section.end_ms:
                gap_ms = registers.gap_ms[n]
                time_ms += gap_ms
                section.first_ms = section.first_ms if section.readings else time_ms
                section.max_gap_ms = max(section.max_gap_ms, gap_ms if section.readings else 0)
                section.readings, section.last_ms = section.readings + 1, time_ms
                energies[size].time_ms, energies[size].mwh = time_ms, registers.energy_mwh[n]
                n, size = n + 1, size + 1
            section.energies = section.readings
            while r < len(registers.refused) and registers.refused[r].channel == g and registers.refused[r].time_ms < section.end_ms:
                section.refused += registers.refused[r].readings
                section.energies += 1
                energies[size].time_ms, energies[size].mwh = registers.refused[r].time_ms, -registers.refused[r].readings
                r, size = r + 1, size + 1
            s += 1

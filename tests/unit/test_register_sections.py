"""Sections of registers, from bursts to pieces: hand-worked values."""

import numpy as np

from jobs.core.batches import Batch, alone, unpack
from jobs.core.house_days import HouseDays, Rules
from jobs.core.overlaps import cut
from smartmeter.local_days import NEVER
from smartmeter.messages.codec import EXPORT, IMPORT, POWER
from tests.unit.logs import HOUR_MS, START_MS, burst, with_registers
from tests.unit.one_house import ALL, batch_of

MIDNIGHT_MS = START_MS + 24 * HOUR_MS
RULES = Rules(1_000_000, HOUR_MS)


def hours(begin, end, power, registers):
    """A burst of meters' power and of registers' readings, both at hours since START_MS."""

    def at(readings):
        return [(START_MS + round(hour * HOUR_MS), value) for hour, value in readings]

    of_power = burst(START_MS + begin * HOUR_MS, START_MS + end * HOUR_MS, {meter: at(readings) for meter, readings in power.items()})
    return with_registers(of_power, {channel: at(readings) for channel, readings in registers.items()})


def found(batch: Batch):
    """(meter, quantity, first hour, end, readings, refused, [(hour, mWh) of its readings, with what is refused]) of each section."""
    energies = np.split(batch.energies, np.cumsum(batch.sections["energies"]))
    columns = ("meter_id", "quantity", "start_ms", "end_ms", "readings", "refused")

    def hour(time_ms):
        return (time_ms - START_MS) / HOUR_MS

    return [
        (meter, quantity, hour(start_ms), hour(end_ms), *numbers, [(hour(time_ms), mwh) for time_ms, mwh in own.tolist()])
        for (meter, quantity, start_ms, end_ms, *numbers), own in zip(batch.sections[list(columns)].tolist(), energies)
    ]


def test_a_burst_gives_a_section_for_each_register_and_day():
    first = hours(22, 26, {1: [(23, 100), (25, 200)]}, {(1, IMPORT): [(22, 7), (24, 9)], (2, EXPORT): [(23.5, -5), (25, 3)]})
    batch = batch_of(first, hours(26, 27, {}, {(1, IMPORT): [(26, 11)]}))
    assert found(batch) == [
        (1, POWER, 22, 24, 1, 0, []),
        (1, POWER, 24, 26, 1, 0, []),
        (1, IMPORT, 22, 24, 1, 0, [(22, 7)]),
        (1, IMPORT, 24, 26, 1, 0, [(24, 9)]),
        (2, EXPORT, 22, 24, 0, 1, [(23.5, -1)]),
        (2, EXPORT, 24, 26, 1, 0, [(25, 3)]),
        (1, IMPORT, 26, 27, 1, 0, [(26, 11)]),
    ]
    assert batch.newest_ms == START_MS + 26 * HOUR_MS
    assert batch.sections["before_ms"].tolist() == [NEVER] * 6 + [START_MS + 25 * HOUR_MS]
    restored = next(iter(unpack(alone(batch).pack())))
    assert found(restored) == found(batch)
    assert [found(half) for half in batch.halves()] == [found(batch)[:6], found(batch)[6:]]


def test_a_section_that_overlaps_in_part_is_cut_without_its_burst():
    """A burst from 1 to 3 h was received; another covers 0 to 4 h. What is refused lies in the part that was received."""
    house = HouseDays.known(None, "America/New_York")
    earlier = batch_of(hours(1, 3, {}, {(1, IMPORT): [(1, 10), (2, 20)]}))
    assert house.take(earlier.sections, earlier.newest_ms, RULES)[0].tolist() == [0]
    later = batch_of(hours(0, 4, {}, {(1, IMPORT): [(0, 5), (1, 10), (1.5, -3), (2, 20), (3, 30)]}), whole=False)
    pieces = cut(later, house, RULES, ALL)
    assert found(pieces) == [
        (1, IMPORT, 0, 1, 1, 0, [(0, 5)]),
        (1, IMPORT, 1, 3, 2, 1, [(1, 10), (2, 20), (1.5, -1)]),
        (1, IMPORT, 3, 4, 1, 0, [(3, 30)]),
    ]
    assert house.take(pieces.sections, pieces.newest_ms, RULES)[0].tolist() == [0, 1, 0]
    [section] = house.registers[IMPORT].tolist()
    assert HouseDays.from_bytes(house.to_bytes()).registers[IMPORT].tolist() == [section]
    assert (house.registers[IMPORT]["readings"], house.registers[IMPORT]["duplicates"], house.registers[IMPORT]["covered_ms"]) == (4, 3, 0)

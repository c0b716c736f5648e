"""The bursts of a house: what they cover never overlaps, and a reading is in one of them at most."""

import itertools
from decimal import Decimal

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gateway.disk_spool import BY_ARRIVAL, ENTRY
from gateway.gathering import LONGEST_PAUSE_MS, SET_BACK_MS, Gatherer
from gateway.source import Source
from smartmeter.messages.codec import EXPORT, IMPORT, POWER, decode_burst, encode_burst

NOW = 1_800_000_000_000


def entries(*readings):
    """(meter, arrived, device or None, watts) each, of house 7; times in ms since NOW."""
    return np.array(
        [(7, NOW + at, BY_ARRIVAL if own is None else NOW + own, 0, meter, 0, watts, POWER, 0, 0) for meter, at, own, watts in readings],
        ENTRY,
    )


def registers(*readings):
    """(meter, quantity, arrived, device or None, mWh) each, as with entries()."""
    return np.array(
        [
            (7, NOW + at, BY_ARRIVAL if own is None else NOW + own, 0, meter, 0, 0, quantity, mwh, 0)
            for meter, quantity, at, own, mwh in readings
        ],
        ENTRY,
    )


def meter(meter_id, **others):
    return Source(7, meter_id, "x", "Europe/Amsterdam", f"{meter_id}", "", Decimal(1), **others)


METERS = [meter(1), meter(2), meter(3, time="t")]


WITH_REGISTERS = [
    meter(1, holds_s=60),
    meter(1, quantity=IMPORT),
    meter(1, quantity=EXPORT, is_optional=True),
    meter(2, quantity=EXPORT),
    *(meter(3, quantity=quantity, time="t") for quantity in (POWER, IMPORT)),
]


class Gathered(Gatherer):
    def __init__(self, sources=METERS):
        self.left = []
        super().__init__({7: "Europe/Amsterdam"}, sources, lambda reason, readings: self.left.append((reason, readings)))

    def of(self, *readings):
        return [
            (
                burst.start_ms - NOW,
                burst.end_ms - NOW,
                burst.meter_ids.tolist(),
                burst.counts.tolist(),
                burst.deltas.tolist(),
                burst.watts.tolist(),
            )
            for burst in self.bursts(entries(*readings))
        ]


def test_a_burst_starts_where_the_one_before_ends_and_lists_quiet_meters():
    house = Gathered()
    assert house.of((1, 10, None, 5), (2, 12, None, 6), (1, 15, None, 7)) == [(10, 16, [1, 2], [2, 1], [0, 5, 2], [5, 7, 6])]
    assert house.of((2, 1000, None, 8)) == [(16, 1001, [1, 2], [0, 1], [984], [8])]
    assert house.of() == [] and house.left == []


def test_after_a_pause_a_burst_starts_with_its_first_reading():
    house = Gathered()
    house.of((1, 0, None, 5))
    assert house.of((1, 1 + LONGEST_PAUSE_MS, None, 6))[0][:2] == (1, 2 + LONGEST_PAUSE_MS)
    assert house.of((1, 3 + 2 * LONGEST_PAUSE_MS, None, 6))[0][:2] == (3 + 2 * LONGEST_PAUSE_MS, 4 + 2 * LONGEST_PAUSE_MS)


def test_what_kafka_lacks_of_weeks_is_in_bursts_of_a_day():
    house = Gathered()
    hourly = [(1, hour * 3_600_000, None, hour) for hour in range(30 * 24)]
    found = house.of(*hourly)
    assert [end - start for start, end, *_ in found[:2]] == [23 * 3_600_000 + 1] * 2 and len(found) == 30
    assert [watts for *_, watts in found] == [[*range(day * 24, day * 24 + 24)] for day in range(30)]
    assert house.left == [] and {delta for *_, deltas, _ in found for delta in deltas} == {0, 3_600_000}


def test_a_meter_with_times_of_its_own_has_its_own_bursts():
    house = Gathered()
    found = house.of((3, 5000, 4000, 1), (1, 5000, None, 2), (3, 6000, 5000, 3))
    assert found == [(5000, 5001, [1, 2], [1, 0], [0], [2]), (4000, 5001, [3], [2], [0, 1000], [1, 3])]
    assert house.of((3, 7000, 5000, 3), (3, 7001, 7000, 4)) == [(5001, 7001, [3], [1], [1999], [4])]
    assert house.left == [("same time", 1)]


def test_of_two_readings_at_the_same_time_the_later_one_counts():
    house = Gathered()
    assert house.of((3, 1, 0, 1), (3, 2, 0, 9)) == [(0, 1, [3], [1], [0], [9])]
    assert house.left == [("same time", 1)]


def test_a_clock_that_was_set_back_is_followed():
    house = Gathered()
    house.of((1, 0, None, 5))
    assert house.of((1, -SET_BACK_MS, None, 6)) == [(-SET_BACK_MS, 1 - SET_BACK_MS, [1, 2], [1, 0], [0], [6])]


def test_holds():
    house = Gatherer({7: "Europe/Amsterdam"}, [meter(1), meter(2, holds_s=3600), meter(3, time="t")], lambda *_: None)
    by_arrival, own = house.bursts(entries((1, 0, None, 5), (3, 0, 0, 5)))
    assert by_arrival.holds_s.tolist() == [0, 3600] and own.holds_s.tolist() == []


def test_registers_are_channels_beside_power():
    house = Gathered(WITH_REGISTERS)
    [burst] = house.bursts(
        np.concatenate(
            [
                entries((1, 10, None, 5)),
                registers((2, EXPORT, 11, None, 2**53 + 1), (1, IMPORT, 10, None, 70), (1, IMPORT, 12, None, 75), (2, EXPORT, 13, None, 2)),
                entries((1, 12, None, -6.5)),
            ]
        )
    )
    assert (burst.start_ms - NOW, burst.end_ms - NOW) == (10, 14)
    assert (burst.meter_ids.tolist(), burst.quantities.tolist()) == ([1, 1, 2], [POWER, IMPORT, EXPORT])
    assert (burst.counts.tolist(), burst.deltas.tolist()) == ([2, 2, 2], [0, 2, 0, 2, 1, 2])
    assert (burst.watts.tolist(), burst.energies.tolist()) == ([5, -6.5], [70, 5, 2**53 + 1, 1 - 2**53])
    assert burst.holds_s.tolist() == [60, 0, 0]
    assert decode_burst(encode_burst(burst)) == burst and not house.left


def test_an_optional_register_is_listed_from_its_first_reading_on():
    house = Gathered(WITH_REGISTERS)
    [first] = house.bursts(entries((1, 0, None, 5)))
    [second] = house.bursts(registers((1, EXPORT, 5, None, 70)))
    later = Gathered(WITH_REGISTERS)
    later.go_on_from(house)
    [third] = later.bursts(entries((1, 9, None, 5)))
    assert first.quantities.tolist() == [POWER, IMPORT, EXPORT] and first.meter_ids.tolist() == [1, 1, 2]
    assert second.quantities.tolist() == third.quantities.tolist() == [POWER, IMPORT, EXPORT, EXPORT]
    assert third.meter_ids.tolist() == [1, 1, 1, 2] and third.counts.tolist() == [1, 0, 0, 0]
    other = Gathered(METERS)
    other.go_on_from(house)
    assert [burst.quantities.tolist() for burst in other.bursts(entries((1, 9, None, 5)))] == [[]]


def test_registers_of_a_meter_with_times_of_its_own():
    [burst] = Gathered(WITH_REGISTERS).bursts(np.concatenate([registers((3, IMPORT, 5000, 4000, 70)), entries((3, 5000, 4000, 5))]))
    assert (burst.start_ms - NOW, burst.meter_ids.tolist(), burst.quantities.tolist()) == (4000, [3, 3], [POWER, IMPORT])
    assert (burst.deltas.tolist(), burst.watts.tolist(), burst.energies.tolist()) == ([0, 0], [5], [70])


def test_a_house_that_is_no_more():
    house = Gathered()
    assert list(house.bursts(np.array([(8, NOW, BY_ARRIVAL, 0, 1, 0, 1.0, POWER, 0, 0)], ENTRY))) == [] and house.left == [("no house", 1)]


READING = st.tuples(st.sampled_from([(1, POWER), (1, IMPORT), (1, EXPORT), (2, EXPORT), (3, POWER), (3, IMPORT)]), st.integers(0, 3))


@given(st.lists(st.lists(READING, max_size=8), max_size=6))
def test_bursts_of_a_channel_never_overlap_and_each_reading_is_in_one_of_them_or_counted(batches):
    house, at, number, sent, spans = Gathered(WITH_REGISTERS), 0, 0, [], {}
    for batch in batches:
        rows = [np.empty(0, ENTRY)]
        for (meter_id, quantity), later in batch:
            at, number = at + later, number + 1
            own = at if meter_id == 3 else None
            row = entries((meter_id, at, own, number)) if quantity == POWER else registers((meter_id, quantity, at, own, 2**60 - number))
            rows.append(row)
        for burst in house.bursts(np.concatenate(rows)):
            assert burst.counts.sum() == len(burst.watts) + len(burst.energies) == len(burst.deltas)
            key = burst.meter_ids.tolist()[0] == 3
            assert burst.start_ms >= spans.get(key, 0)
            spans[key] = burst.end_ms
            sent += readings_of(burst)
        at += 1
    assert len(set(sent)) == len(sent), "each reading is in one burst at most"
    assert set(sent) <= {(*channel, n) for n, (channel, _) in enumerate(itertools.chain(*batches), 1)}
    assert len(sent) + sum(readings for _, readings in house.left) == sum(map(len, batches))


def readings_of(burst):
    """(meter, quantity, number) of the readings in a burst. Its times lie in its span."""
    found, at, power, register = [], 0, 0, 0
    for meter_id, quantity, count in zip(burst.meter_ids.tolist(), burst.quantities.tolist() or itertools.repeat(0), burst.counts.tolist()):
        times_ms = burst.start_ms + np.cumsum(burst.deltas[at : at + count])
        assert (times_ms < burst.end_ms).all() and (np.diff(times_ms) > 0).all()
        if quantity == POWER:
            numbers, power = burst.watts[power : power + count].astype(int).tolist(), power + count
        else:
            numbers, register = (2**60 - np.cumsum(burst.energies[register : register + count])).tolist(), register + count
        found += [(meter_id, quantity, number) for number in numbers]
        at += count
    return found

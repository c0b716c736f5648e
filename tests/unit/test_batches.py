"""Batches: many bursts are reduced to one batch a house, and a batch survives its encoding."""

from collections import defaultdict
from fractions import Fraction
from itertools import pairwise

import lz4.block
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.core.batches import Wanted, alone, house_batches, unpack
from jobs.core.minutes import PIECE
from jobs.core.readings import read
from jobs.core.sections import ARRIVED, arrivals
from jobs.core.shards import shard_of
from jobs.core.sketch import Sketches, bin_of
from smartmeter.local_days import NEVER
from smartmeter.messages.codec import encode_burst
from tests.oracle import readings_of
from tests.unit.logs import NEW_YORK, START_MS, burst, logs

MIDNIGHT_MS = START_MS + 86_400_000
ARRAYS = ("sections", "bin", "count", "minutes", "hours", "gap_ms", "watts")
ALL = Wanted(histograms=True, readings_over_watts=50.0, minutes=True)


def together(*bursts, wanted=ALL, shards=1):
    """The batches of bursts; the message of each is at partition 3, offset 100 and on."""
    readings, reasons = read([encode_burst(b) for b in bursts], 2**60, shards)
    assert not reasons
    partition = np.full(len(bursts), 3)
    return house_batches(readings, partition, 100 + readings.bursts["message"], 1_000_000, wanted)


def batches(*bursts, wanted=ALL):
    return list(together(*bursts, wanted=wanted))


def at(house_id, start_s, meters: dict, timezone=NEW_YORK, length_s=100):
    """A burst of {meter: {second: watts}}, all times in s since START_MS."""
    of_meter = {m: [(START_MS + s * 1000, w) for s, w in readings.items()] for m, readings in meters.items()}
    return burst(START_MS + start_s * 1000, START_MS + (start_s + length_s) * 1000, of_meter, timezone, house_id)


def bins_of(batch) -> list[dict]:
    """{bin: count} of each section."""
    ends = np.cumsum(batch.sections["bins"])
    assert ends[-1:].sum() == len(batch.bin) == len(batch.count)
    return [
        dict(zip(batch.bin[end - n : end].tolist(), batch.count[end - n : end].tolist())) for end, n in zip(ends, batch.sections["bins"])
    ]


def carried_by(batch) -> list[list]:
    """[(s since the section's first reading, watts)] of each section."""
    ends = np.cumsum(batch.sections["carried"])
    assert ends[-1:].sum() == len(batch.watts) == len(batch.gap_ms)
    carried = []
    for end, n in zip(ends, batch.sections["carried"]):
        times = np.cumsum(batch.gap_ms[end - n : end]).tolist()
        carried.append(list(zip((t / 1000 for t in times), batch.watts[end - n : end].tolist())))
    return carried


def minutes_of(batch) -> list[list]:
    """[(minutes since START_MS, readings, lowest, highest, sum in mW)] of each section."""
    ends = np.cumsum(batch.sections["minutes"])
    assert ends[-1:].sum() == len(batch.minutes)
    return [
        [(minute - START_MS // 60_000, *rest) for minute, *rest in batch.minutes[end - n : end].tolist()]
        for end, n in zip(ends, batch.sections["minutes"])
    ]


def bin_at(*watts) -> list[int]:
    return bin_of(np.array(watts, np.float32)).tolist()


def test_both_wants_are_what_either_wants():
    assert Wanted() | Wanted() == Wanted(False, None, False)
    assert Wanted(histograms=True) | Wanted() == Wanted() | Wanted(histograms=True) == Wanted(True, None, False)
    assert Wanted(minutes=True) | Wanted() == Wanted() | Wanted(minutes=True) == Wanted(False, None, True)
    assert Wanted(readings_over_watts=0.0) | Wanted(True) == Wanted(True, 0.0)
    assert Wanted(readings_over_watts=30.0) | Wanted(readings_over_watts=20.0) == Wanted(False, 20.0)


def test_bursts_are_grouped_by_house_and_time_zone_in_the_order_they_arrived():
    found = batches(
        at(2, 0, {1: {0: 60}}),
        at(1, 100, {1: {110: 60}}),
        at(2, 300, {1: {}}),
        at(1, 0, {1: {40: 60}}, "Europe/London"),
        at(2, 100, {1: {170: 60}, 2: {180: 70}}),
        at(1, 500, {2: {}}, "Europe/London"),
        at(1, 200, {1: {200: 60}}),
    )
    assert [(b.house_id, b.timezone, b.newest_ms - START_MS, b.sections["offset"].tolist()) for b in found] == [
        (1, NEW_YORK, 110_000, [101]),
        (1, "Europe/London", 40_000, [103, 105]),
        (1, NEW_YORK, 200_000, [106]),
        (2, NEW_YORK, 180_000, [100, 102, 104, 104]),
    ]
    assert all(batch.sections["partition"].tolist() == [3] * len(batch.sections) for batch in found)


def test_a_section_holds_the_newest_reading_of_the_house_before_its_burst():
    [batch] = batches(at(1, 0, {1: {}}), at(1, 100, {1: {150: 1}, 2: {160: 1}}), at(1, 0, {1: {10: 1}}), at(1, 300, {1: {}}))
    before_ms = [None if t == NEVER else (t - START_MS) // 1000 for t in batch.sections["before_ms"].tolist()]
    assert before_ms == [None, None, None, 160, 160]


def test_each_section_has_a_histogram_of_its_own():
    [batch] = batches(at(1, 0, {1: {0: 60, 1: 60, 2: 2000, 3: 0}, 2: {}, 4: {5: 0}}), at(1, 100, {1: {100: 60}}))
    sixty, two_kw = bin_at(60, 2000)
    assert bins_of(batch) == [{sixty: 2, two_kw: 1}, {}, {}, {sixty: 1}]
    assert (batch.bin.dtype, batch.count.dtype) == (np.uint16, np.uint32)


def test_readings_over_the_wanted_power_are_carried_and_the_one_that_follows_each():
    [batch] = batches(
        at(1, 0, {1: {3: 1, 4: 2, 5: 50.5, 70: 2, 71: 3, 72: 60, 73: 61}, 2: {1: 50}, 3: {}, 4: {2: 900}}),
        at(1, 100, {1: {110: 7}, 2: {120: 51, 130: 8}}),
    )
    assert batch.sections["carried"].tolist() == [4, 0, 0, 1, 0, 2]
    assert carried_by(batch) == [[(2, 50.5), (67, 2), (69, 60), (70, 61)], [], [], [(0, 900)], [], [(0, 51), (10, 8)]]
    assert batch.sections["peak_watts"].tolist() == [61, 50, 0, 900, 7, 51]
    assert (batch.gap_ms.dtype, batch.watts.dtype) == (np.uint32, np.float32)


def test_each_section_has_its_minutes():
    [batch] = batches(
        at(1, 30, {1: {30: 60, 59.999: 20.5, 60: 2000, 129: 0}, 2: {}, 4: {65: 7}}), at(1, 130, {4: {130: 7.0004}, 1: {131: 60, 229.5: 1}})
    )
    assert minutes_of(batch) == [
        [(0, 2, 20.5, 60, 80_500), (1, 1, 2000, 2000, 2_000_000), (2, 1, 0, 0, 0)],
        [],
        [(1, 1, 7, 7, 7000)],
        [(2, 1, np.float32(7.0004), np.float32(7.0004), 7000)],
        [(2, 1, 60, 60, 60_000), (3, 1, 1, 1, 1000)],
    ]
    assert batch.minutes.dtype == PIECE


def test_minutes_without_readings_are_left_out():
    [batch] = batches(at(1, 0, {1: {0: 1, 86_399: 2}}, length_s=86_400), at(1, 86_400, {1: {86_400: 3}}))
    assert minutes_of(batch) == [[(0, 1, 1, 1, 1000), (1439, 1, 2, 2, 2000)], [(1440, 1, 3, 3, 3000)]]


def test_a_mean_of_any_powers_does_not_overflow_and_zero_has_no_sign():
    every_ms = burst(START_MS, START_MS + 60_000, {1: [(START_MS + n, 1e9) for n in range(60_000)], 2: [(START_MS, -0.0)]})
    [batch] = batches(every_ms)
    assert batch.minutes["sum_mw"].tolist() == [60_000 * 10**9 * 1000, 0]
    assert batch.minutes["max_watts"][0] == 1e9
    assert not np.signbit(batch.minutes["min_watts"]).any() and not np.signbit(batch.minutes["max_watts"]).any()


def test_what_is_not_wanted_is_not_there():
    bursts = at(1, 0, {1: {3: 100, 5: 50}}), at(1, 100, {1: {110: 100}})
    [energy] = batches(*bursts, wanted=Wanted())
    assert len(energy.bin) == len(energy.count) == len(energy.watts) == len(energy.gap_ms) == len(energy.minutes) == 0
    assert energy.sections[["bins", "carried", "minutes"]].tolist() == [(0, 0, 0)] * 2
    [profile] = batches(*bursts, wanted=Wanted(minutes=True))
    assert profile.sections["minutes"].tolist() == [1, 1] and len(profile.watts) == len(profile.bin) == 0
    [thresholds] = batches(*bursts, wanted=Wanted(histograms=True))
    assert thresholds.sections["bins"].tolist() == [2, 1] and len(thresholds.watts) == 0
    [spikes] = batches(*bursts, wanted=Wanted(readings_over_watts=99.0))
    assert spikes.sections["carried"].tolist() == [2, 1] and len(spikes.bin) == 0


def test_sections_are_cut_at_midnight_and_so_are_their_histograms_and_readings():
    # Two readings of 60 W before midnight; at midnight and later 60, 2000 and 70 W. Meter 2 has none before.
    [batch] = batches(at(1, 86_350, {1: {86_360: 60, 86_399: 60, 86_400: 60, 86_405: 2000, 86_440: 70}, 2: {86_401: 10}}))
    sections = batch.sections
    assert sections["day"].tolist() == [15_082, 15_083] * 2
    assert (sections["start_ms"] - MIDNIGHT_MS).tolist() == [-50_000, 0] * 2
    assert (sections["end_ms"] - MIDNIGHT_MS).tolist() == [0, 50_000] * 2
    assert sections["readings"].tolist() == [2, 3, 0, 1]
    sixty, seventy, two_kw, ten = bin_at(60, 70, 2000, 10)
    assert bins_of(batch) == [{sixty: 2}, {sixty: 1, seventy: 1, two_kw: 1}, {}, {ten: 1}]
    assert carried_by(batch) == [[(0, 60), (39, 60)], [(0, 60), (5, 2000), (40, 70)], [], []]
    assert (sections["first_ms"][:2] - MIDNIGHT_MS).tolist() == [-40_000, 0]
    assert batch.newest_ms == MIDNIGHT_MS + 40_000


def test_without_readings_a_batch_has_its_sections_alone():
    [batch] = batches(at(5, 0, {1: {}, 2: {}}), at(5, 100, {}))
    assert (batch.house_id, batch.newest_ms, len(batch.sections)) == (5, NEVER, 2)
    assert len(batch.bin) == len(batch.watts) == len(batch.minutes) == 0
    [batch] = batches(at(5, 0, {}))
    assert batch.newest_ms == NEVER and len(batch.sections) == 0
    assert unpack(alone(batch).pack()).pack() == alone(batch).pack()
    assert batches() == []


def test_a_burst_without_meters_lies_between_others():
    found = batches(at(1, 0, {1: {0: 60}}), at(2, 0, {}), at(3, 0, {1: {61: 60}}))
    assert [(b.house_id, len(b.sections), b.watts.tolist(), minutes_of(b)) for b in found] == [
        (1, 1, [60], [[(0, 1, 60, 60, 60_000)]]),
        (2, 0, [], []),
        (3, 1, [60], [[(1, 1, 60, 60, 60_000)]]),
    ]


def same(mine, theirs) -> bool:
    """Whether two batches are equal."""
    return (mine.house_id, mine.timezone, mine.newest_ms) == (theirs.house_id, theirs.timezone, theirs.newest_ms) and all(
        getattr(mine, name).dtype == getattr(theirs, name).dtype and getattr(mine, name).tolist() == getattr(theirs, name).tolist()
        for name in ARRAYS
    )


def test_batches_are_restored_from_their_bytes():
    found = together(
        at(1, 0, {1: {3: 1, 5: 50.5, 70: 2}, 2: {1: 50}, 3: {}}),
        at(1, 100, {1: {110: 700}}),
        at(2, 0, {1: {3: 60}}, "Europe/London"),
        at(2, 3550, {1: {3590: 1, 3610: 1}}, "Europe/London"),
    )
    body = found.pack()
    # The time zones' names, 44 bytes a house, 176 a section, 6 an entry of a histogram, 24 a minute, 52 an hour, 4 a reading, compressed; 4 a
    # reading as they are.
    columns = len(f"{NEW_YORK}\nEurope/London") + 2 * 44 + 6 * 176 + 6 * len(found.bin) + 24 * 7 + 52 * 2 + 4 * 4
    assert len(lz4.block.decompress(body[40:-16])) == columns > len(body) and body[-16:] == found.watts.tobytes()
    again = unpack(body)
    assert len(list(again)) == 2 and all(map(same, found, again))
    assert all(same(batch, other) for batch in found for other in unpack(alone(batch).pack()) if other.house_id == batch.house_id)


def test_the_batches_of_a_shard_travel_together_and_those_of_a_house_in_their_order():
    bursts = *(at(house, 0, {1: {0: 60}}) for house in (3, 1, 2, 7)), at(1, 100, {1: {100: 60}}, "Europe/London")
    found = together(*bursts, shards=4)
    rows = {
        shard: [(batch.house_id, batch.timezone, batch.sections["meter_id"].tolist()) for batch in unpack(body)]
        for shard, body in found.by_shard(4)
    }
    assert rows == {
        shard_of(3, 4): [(3, NEW_YORK, [1]), (7, NEW_YORK, [1])],
        shard_of(1, 4): [(1, NEW_YORK, [1]), (1, "Europe/London", [1])],
        shard_of(2, 4): [(2, NEW_YORK, [1])],
    }
    assert list(together().by_shard(4)) == []
    assert all(map(same, found.of(1), [batch for batch in found if batch.house_id == 1])) and len(list(found.of(1))) == 2
    assert list(found.of(4)) == []


@settings(max_examples=100, deadline=None)
@given(logs(), st.integers(1, 5))
def test_a_batch_of_bursts_holds_what_batches_of_some_of_them_hold(log, size):
    bursts, _ = log
    [whole] = batches(*bursts)
    pieces = [piece for n in range(0, len(bursts), size) for piece in batches(*bursts[n : n + size])]
    for name in ("bin", "count", "minutes", "hours", "watts"):
        assert getattr(whole, name).tolist() == np.concatenate([getattr(batch, name) for batch in pieces]).tolist()
    sections = np.concatenate([batch.sections for batch in pieces])
    same = [name for name in ARRIVED.names if name not in ("burst", "offset", "before_ms")]
    assert whole.sections[same].tolist() == sections[same].tolist()
    assert whole.newest_ms == max(batch.newest_ms for batch in pieces)
    assert carried_by(whole) == [section for batch in pieces for section in carried_by(batch)]


@settings(max_examples=100, deadline=None)
@given(logs())
def test_halves_of_a_batch_hold_their_own_bursts_and_together_all(log):
    for batch in batches(*log[0]):
        halves = batch.halves() or (batch,)
        for name in ARRAYS:
            assert np.concatenate([getattr(half, name) for half in halves]).tobytes() == getattr(batch, name).tobytes()
        assert len(halves) == min(2, len(set(batch.sections["burst"].tolist())))
        for half, (first, last) in zip(halves, pairwise([-1, *(half.sections["burst"].max() for half in halves)])):
            assert first < half.sections["burst"].min() <= last and half.newest_ms <= batch.newest_ms
            assert [half.sections[name].sum() for name in ("bins", "minutes", "hours", "carried")] == [
                len(half.bin),
                len(half.minutes),
                len(half.hours),
                len(half.watts),
            ]


@settings(max_examples=100, deadline=None)
@given(logs())
def test_histograms_minutes_and_readings_are_those_of_the_bursts(log):
    bursts, _ = log
    [batch] = batches(*bursts)
    meter_id = np.repeat(batch.sections["meter_id"], batch.sections["bins"])
    every = [(meter, watts) for b in bursts for meter, _, watts in readings_of(b)]
    expected = Sketches.of(np.array([m for m, _ in every], np.int32), np.array([w for _, w in every], np.float32))
    assert Sketches.from_bins(meter_id, batch.bin, batch.count) == expected
    readings, _ = read([encode_burst(b) for b in bursts], 2**60)
    sections, _ = arrivals(readings, np.zeros(len(bursts), int), np.zeros(len(bursts), int), 1_000_000)
    ends = np.cumsum(sections["readings"])
    for section, end, carried, minutes in zip(sections, ends, carried_by(batch), minutes_of(batch)):
        own = slice(end - section["readings"], end)
        times = np.cumsum([section["first_ms"], *readings.columns.gap_ms[own][1:]])
        watts = readings.columns.watts[own].tolist()
        within = defaultdict(list)
        for time_ms, power in zip(times.tolist(), watts):
            within[(time_ms - START_MS) // 60_000].append(power)
        assert minutes == [
            (minute, len(some), min(some), max(some), sum(round(Fraction(power) * 1000) for power in some))
            for minute, some in sorted(within.items())
        ]
        assert carried == [
            ((time_ms - times[0]) / 1000, power) for time_ms, power, before in zip(times, watts, [0, *watts]) if power > 50 or before > 50
        ]


def test_a_batch_that_waits_in_state_of_the_last_release_is_read():
    body = bytes.fromhex(
        "b90000001000010000000100000003000000020000000200000002010000f603416d65726963612f4e65775f596f726b01000100f30270e3c4662f01000001000000"
        "03000000020400b101000000ea3a000000d2c3200031a058c5080016033b0001020022b8dd20000448007100000040141e32090004020022b805720024e8fd120002"
        "480016640f009800000000c000004a428400733f0262020303018e00910100000030654b01022e0081803f00004a422cc90d00520031654b01640082004000000040"
        "d007180080d0070000e8fd000000004a4200000040"
    )
    [found], [expected] = unpack(body), together(at(1, 0, {1: {3: 1, 5: 50.5, 70: 2}}))
    assert found.sections["offset"].tolist() == [100] and same(found, expected)


def test_a_batch_of_version_2_that_travels_with_its_readings_is_read():
    body = bytes.fromhex(
        "02ffffffd600000010000000010000000200000003000000020000000000000002000000a2010000f603416d65726963612f4e65775f596f726b01000100e270e3c4"
        "662f010000020000000300080013000800b101000000ea3a000000d2c3240031a058c508001203230005020022b8dd2000044c007100000040141e32090004020022"
        "b805760024e8fd12000602005603000000640f009400000000c000004a4290001202140001a4000f9000010f020031029e000202000f9000030e0200733f02620203"
        "03013e00820100000030654b01ae0082803f00004a422cc936004331654b016200724000000040d007180080d0070000e8fd000000004a4200000040010000000200"
        "00000300000001000000900000001b0001001b011000b100d2c3662f010000a058c508003170e3c408001302280004300004100013031800040200a0b80b0000d007"
        "0000e8fd6a00a4803f00004a4200000040380022a0e16000800100000000000000"
    )
    readings, _ = read([encode_burst(at(1, 0, {1: {3: 1, 5: 50.5, 70: 2}, 2: {4: np.nan}}))], 2**60)
    expected = house_batches(readings, np.array([3]), np.array([100]), 1_000_000, ALL, np.array([True]))
    [found], [whole] = unpack(body), expected
    assert same(found, whole) and found.whole.number.tolist() == [0]
    for column, other in zip(found.whole.columns, whole.whole.columns, strict=True):
        assert column.tolist() == other.tolist()


def test_state_of_a_later_release_is_rejected():
    body = bytearray(together(at(1, 0, {1: {3: 1}})).pack())
    body[0] += 1
    with pytest.raises(ValueError, match="a checkpoint of state version 4"):
        unpack(bytes(body))

"""Decoding and checking many messages together."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.core import readings as readings_module
from jobs.core.readings import CANNOT_BE_READ, EARLIEST_MS, MOST_METERS, MOST_SECTIONS, read, why_bad
from smartmeter.local_days import NEVER
from smartmeter.messages.codec import Burst, decode_burst, encode_burst
from smartmeter.messages.schemas import FIRST_BURST_HEADER, HEADER_BYTES
from smartmeter.settings import Settings
from tests.oracle import judged_readings, judged_registers, readings_of
from tests.unit.logs import logs
from tests.unit.messages import good, of_meters

LATEST_MS = 1_400_000_000_000
GOOD = Burst(
    7,
    "America/New_York",
    1_303_132_800_000,
    1_303_132_810_000,
    1000,
    np.array([1, 2, 3], np.int32),
    np.array([3, 0, 2], np.int32),
    np.array([0, 4, 5, 9, 0], np.int32),
    np.arange(5, dtype=np.float32),
)
GOOD = replace(GOOD, deltas=np.array([0, 4, 5, 3, 6], np.int32))


def changed(**fields) -> bytes:
    arrays = {
        name: np.array(value, {"watts": np.float32, "energies": np.int64}.get(name, np.int32))
        for name, value in fields.items()
        if isinstance(value, list)
    }
    return encode_burst(replace(GOOD, **(fields | arrays)))


def test_times_count_from_the_start_in_ticks_meter_by_meter():
    later = replace(
        GOOD,
        house_id=8,
        start_ms=GOOD.end_ms,
        end_ms=GOOD.end_ms + 1000,
        tick_ms=1,
        counts=np.array([0, 1, 4], np.int32),
        deltas=np.array([999, 1, 2, 3, 4], np.int32),
    )
    readings, reasons = read([encode_burst(GOOD), encode_burst(later)], LATEST_MS)
    assert reasons == {}
    columns = readings.columns
    assert columns.gap_ms.tolist() == [0, 4000, 5000, 3000, 6000, 999, 1, 2, 3, 4]
    assert columns.watts.tolist() == [0, 1, 2, 3, 4] * 2
    assert columns.meter_id.tolist() == [1, 2, 3] * 2
    assert columns.count.tolist() == [3, 0, 2, 0, 1, 4]
    assert readings.bursts["channels"].tolist() == [3, 3]
    assert readings.bursts["house_id"].tolist() == [7, 8]
    assert (readings.bursts["newest_ms"] - GOOD.start_ms).tolist() == [9000, 10_999]


def test_a_burst_of_the_first_schema_is_read_beside_others():
    first = FIRST_BURST_HEADER + encode_burst(GOOD)[HEADER_BYTES:-3]
    readings, reasons = read([encode_burst(GOOD), first, first[:-1], first + b"\0"], LATEST_MS)
    assert readings.bursts["message"].tolist() == [0, 1] and readings.columns.watts.tolist() == [0, 1, 2, 3, 4] * 2
    assert reasons == {2: "malformed reading_burst: it ends too early", 3: "malformed reading_burst: 1 bytes too many"}


@pytest.mark.parametrize(
    "payload, reason",
    [
        (b"", "begins with nothing"),
        (encode_burst(GOOD)[:-3], "ends too early"),
        (changed(house_id=0), "house_id 0: it starts at 1"),
        (changed(end_ms=GOOD.start_ms), "before the end"),
        (changed(start_ms=EARLIEST_MS - 1), "before the end"),
        (changed(start_ms=LATEST_MS, end_ms=LATEST_MS + 60_000), f"it ends at {LATEST_MS + 60_000} ms: that lies too far in the future"),
        (changed(start_ms=GOOD.end_ms - 691_200_000), "it spans 691200 s: at most 604800 s"),
        (changed(tick_ms=0), "tick_ms 0"),
        (changed(timezone="Mars/Olympus"), "'Mars/Olympus' is no IANA time zone"),
        (changed(timezone="../etc/passwd"), "is no IANA time zone"),
        (changed(timezone=""), "is no IANA time zone"),
        (changed(timezone="x" * 5000), f"timezone '{'x' * 100}' is no IANA time zone"),
        (changed(counts=[3, 2]), "3 meter_ids and 2 counts"),
        (changed(counts=[6, -3, 2]), "a negative count"),
        (changed(counts=[3, 1, 2]), "counts that sum up to 6, 5 deltas and 5 watts"),
        (changed(watts=[1, 2]), "counts that sum up to 5, 5 deltas and 2 watts"),
        (changed(meter_ids=[1, 0, 2]), "meter_id 0: it starts at 1"),
        (changed(meter_ids=[1, 2, 1]), "meter 1 is listed twice for the same quantity"),
        (changed(quantities=[0, 0]), "3 meter_ids and 2 quantities"),
        (changed(quantities=[0, 3, 0]), "quantity 3: it is 0 (power), 1 (import register) or 2 (export register)"),
        (changed(quantities=[-1, 0, 0]), "quantity -1"),
        (changed(quantities=[0, 0, 0], meter_ids=[1, 1, 2]), "meter 1 is listed twice for the same quantity"),
        (changed(quantities=[1, 1, 0], meter_ids=[2, 2, 3], watts=[3, 4], energies=[5, 6, 7]), "meter 2 is listed twice"),
        (changed(holds_s=[1800]), "3 meter_ids and 1 holds_s"),
        (changed(holds_s=[0, 0, -1]), "holds_s -1: a reading holds for 0 (SMW_MAX_GAP_S) to 90000 s"),
        (changed(holds_s=[0, 90_001, 0]), "holds_s 90001"),
        (changed(energies=[5]), "0 readings of registers and 1 energies: both must agree"),
        (changed(quantities=[0, 0, 2], watts=[0, 1, 2], energies=[5]), "2 readings of registers and 1 energies"),
        (changed(quantities=[0, 0, 2], energies=[5, 6]), "counts that sum up to 5, of which 2 are of registers, 5 deltas and 5 watts"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_invalid_message_is_rejected_and_the_others_are_used(payload, reason):
    readings, reasons = read([encode_burst(GOOD), payload, encode_burst(GOOD)], LATEST_MS)
    assert list(reasons) == [1] and reason in reasons[1]
    assert readings.bursts["message"].tolist() == [0, 2]
    assert readings.columns.watts.tolist() == [0, 1, 2, 3, 4] * 2


@pytest.mark.parametrize(
    "start_ms, shown", [(1_792_281_600, "1970-01-21"), (946_684_800_000, "2000-01-01"), (978_307_199_999, "2000-12-31")]
)
def test_a_burst_by_a_clock_that_was_never_set_is_refused_with_its_date(start_ms, shown):
    never_set, first = changed(start_ms=start_ms, end_ms=start_ms + 10_000), changed(start_ms=978_307_200_000, end_ms=978_307_210_000)
    oldest_ms = Settings().rules.oldest_ms
    readings, reasons = read([encode_burst(GOOD), never_set, first], LATEST_MS, 1, oldest_ms)
    assert reasons == {1: why_bad(never_set, LATEST_MS, oldest_ms)} and f"starts on {shown}" in reasons[1] and "2001-01-01" in reasons[1]
    assert readings.bursts["message"].tolist() == [0, 2]
    assert read([never_set], LATEST_MS)[1] == {}, "where SMW_OLDEST_DATE accepts it"


@pytest.mark.parametrize(
    "times, reason",
    [
        (1 / 1000, "it starts on 1970-01-21, as by seconds where milliseconds belong: SMW_OLDEST_DATE"),
        (1000, "lies too far in the future, as by microseconds where milliseconds belong"),
        (1_000_000, "lies too far in the future, as by nanoseconds where milliseconds belong"),
        (0, "start 0 and end 10000, as a clock that was never set has 1970"),
    ],
)
def test_a_wrong_unit_of_time_is_named(times, reason):
    start_ms = round(1_792_281_600_000 * times)
    burst = changed(start_ms=start_ms, end_ms=start_ms + max(1, round(10_000 * times)) if times else 10_000)
    assert reason in why_bad(burst, 1_792_368_000_000, Settings().rules.oldest_ms)


@pytest.mark.parametrize("watts", [float("nan"), float("inf"), float("-inf"), 1.1e9, -1.1e9, 2.0**32 - 1])
def test_a_reading_that_is_no_power_is_refused_alone_and_the_one_before_it_holds_on(watts):
    readings, reasons = read([encode_burst(GOOD), changed(watts=[watts, 1, watts, 3, watts]), encode_burst(GOOD)], LATEST_MS)
    columns = readings.columns
    assert reasons == {} and columns.count.tolist() == [3, 0, 2, 1, 0, 1, 3, 0, 2]
    assert columns.gap_ms[5:-5].tolist() == [4000, 3000] and columns.watts[5:-5].tolist() == [1, 3]
    assert [(channel, time_ms - GOOD.start_ms, n) for channel, time_ms, n in columns.refused.tolist()] == [
        (3, 0, 1),
        (3, 9000, 1),
        (5, 9000, 1),
    ]
    assert readings.bursts["newest_ms"].tolist() == [GOOD.start_ms + t for t in (9000, 4000, 9000)]


@pytest.mark.parametrize("watts", [0, -0.0, 1e9, 1e-30, -0.4, -1e-30, -1e9])
def test_any_power_that_is_possible_is_used(watts):
    readings, _ = read([changed(watts=[watts] * 5)], LATEST_MS)
    assert len(readings.columns.refused) == 0 and readings.columns.watts.tolist() == [np.float32(watts)] * 5


@pytest.mark.parametrize(
    "changes",
    [
        dict(deltas=[0, 0, 5, 3, 6]),
        dict(deltas=[0, 4, -1, 3, 6]),
        dict(deltas=[-1, 4, 5, 3, 6]),
        dict(deltas=[0, 4, 6, 3, 6]),
        dict(tick_ms=2**30, deltas=[0, 2**31 - 1, 5, 0, 0]),
        dict(tick_ms=2**31 - 1, deltas=[2**31 - 1, 2**31 - 1, 2**31 - 1, 0, 0]),
    ],
    ids=str,
)
def test_times_that_make_no_sense_cost_their_meter_alone(changes):
    sound = [0] if "tick_ms" in changes else [3000, 6000]
    if "tick_ms" in changes:
        changes |= dict(counts=[3, 0, 1], deltas=changes["deltas"][:4], watts=[0, 1, 2, 3])
    readings, reasons = read([changed(**changes)], LATEST_MS)
    assert reasons == {} and readings.columns.count.tolist() == [0, 0, len(sound)]
    assert readings.columns.gap_ms.tolist() == sound and readings.columns.watts.tolist() == [3, 4][: len(sound)]
    assert readings.columns.refused.tolist() == [(0, GOOD.start_ms, 3)]


def test_a_message_is_refused_in_words_even_if_no_fault_is_found(monkeypatch):
    monkeypatch.setattr(readings_module, "why_bad", lambda *_: None)
    assert read([b"x", encode_burst(GOOD)], LATEST_MS)[1] == {0: CANNOT_BE_READ}


def test_nothing_but_bad_messages_and_bursts_without_readings():
    readings, reasons = read([b"x"], LATEST_MS)
    assert list(reasons) == [0] and len(readings.bursts) == len(readings.columns.watts) == 0
    readings, reasons = read([changed(counts=[0, 0, 0], deltas=[], watts=[])], LATEST_MS)
    assert reasons == {} and len(readings.columns.watts) == 0 and readings.bursts["newest_ms"][0] < 0


@st.composite
def channels(draw):
    """A burst of GOOD's span, whose channels are of any quantities, with holds or without."""
    found = draw(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 2)), unique=True, max_size=6))
    counts = [draw(st.integers(0, 3)) for _ in found]
    of_registers = sum(count for count, (_, quantity) in zip(counts, found) if quantity)
    energies = st.integers(-3, 1000) | st.sampled_from([2**63 - 1, -(2**63), 2**62])
    return replace(
        GOOD,
        meter_ids=np.array([meter for meter, _ in found], np.int32),
        quantities=np.array([quantity for _, quantity in found], np.int32),
        counts=np.array(counts, np.int32),
        deltas=np.array([draw(st.sampled_from([0, 1, 2, 2, 3, 3, -1])) for _ in range(sum(counts))], np.int32),
        watts=np.array([draw(st.sampled_from([0, 1.5, -2, np.nan])) for _ in range(sum(counts) - of_registers)], np.float32),
        energies=np.array([draw(energies) for _ in range(of_registers)], np.int64),
        holds_s=np.array([draw(st.sampled_from([0, 1800, 90_000])) for _ in draw(st.sampled_from([found, []]))], np.int32),
    )


@st.composite
def damaged(draw):
    """A message whose bytes are those of a burst, but for a few of them at most."""
    bursts, _ = draw(logs(most_bursts=2))
    payload = bytearray(encode_burst(draw(st.sampled_from([*bursts, GOOD, LONG]) | channels())))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.one_of(st.integers(0, len(payload) - 1), st.integers(HEADER_BYTES, min(HEADER_BYTES + 60, len(payload) - 1))))
        byte = draw(st.one_of(st.integers(0, 255), st.sampled_from([0, 1, 127, 128, 255])))
        if draw(st.booleans()):
            payload[at] = byte
        else:
            payload.insert(at, byte)
    return bytes(payload[: draw(st.sampled_from([len(payload), len(payload) - 1, len(payload)]))])


LONG = replace(GOOD, counts=np.array([40, 0, 20], np.int32), tick_ms=10, deltas=np.full(60, 3, np.int32), watts=np.full(60, 9, np.float32))


@settings(max_examples=500, deadline=None)
@given(damaged())
def test_a_message_is_refused_when_there_is_a_reason_and_read_alike_by_both_readers_when_there_is_none(payload):
    readings, reasons = read([payload], 2**50)
    reason = why_bad(payload, 2**50)
    assert reasons == ({} if reason is None else {0: reason})
    if reason is None:
        burst, [found] = decode_burst(payload), readings.bursts
        assert (found["house_id"], readings.zones[found["zone"]], found["start_ms"], found["end_ms"]) == (
            burst.house_id,
            burst.timezone,
            burst.start_ms,
            burst.end_ms,
        )
        columns, is_power = readings.columns, burst.quantities == 0 if len(burst.quantities) else np.ones(len(burst.meter_ids), bool)
        assert columns.meter_id.tolist() == burst.meter_ids[is_power].tolist()
        assert columns.period_ms.tolist() == [
            1000 * hold for hold in (burst.holds_s[is_power] if len(burst.holds_s) else 0 * columns.meter_id)
        ]
        times = [
            time
            for count, end in zip(columns.count, np.cumsum(columns.count))
            for time in np.cumsum(columns.gap_ms[end - count : end]) + burst.start_ms
        ]
        assert list(zip(np.repeat(columns.meter_id, columns.count), times, columns.watts)) == list(readings_of(burst))
        meters = np.repeat(columns.meter_id[columns.refused["channel"]], columns.refused["readings"])
        refused = list(zip(meters, np.repeat(columns.refused["time_ms"], columns.refused["readings"])))
        assert refused == [(meter, time_ms) for meter, time_ms, _, usable in judged_readings(burst) if not usable]
        judged = list(judged_registers(burst))
        used, refused = of_registers(readings.registers, burst.start_ms)
        assert used == [row[:-1] for row in judged if row[-1]]
        assert refused == [row[:3] for row in judged if not row[-1]]
        assert found["newest_ms"] == max([row[-3] for row in judged if row[-1]] + times, default=NEVER)


def of_registers(registers, start_ms):
    """(meter, quantity, time in ms, mWh) of the readings of registers, and (meter, quantity, time in ms) of those that are refused."""
    used, at = [], 0
    for _, meter_id, quantity, count in registers.channels.tolist():
        own = slice(at, at := at + count)
        times = (np.cumsum(registers.gap_ms[own]) + start_ms).tolist()
        used += [(meter_id, quantity, *row) for row in zip(times, registers.energy_mwh[own].tolist())]
    refused = []
    for channel, time_ms, count in registers.refused.tolist():
        refused += [(*registers.channels[["meter_id", "quantity"]][channel].tolist(), time_ms)] * count
    return used, refused


@pytest.mark.parametrize(
    "meters, hours, reason",
    [
        (MOST_METERS, 1, None),
        (MOST_METERS + 1, 1, "10001 channels: at most 10000 are accepted in a message"),
        (MOST_SECTIONS // 8, 6 * 24, None),
        (MOST_SECTIONS // 8 + 1, 6 * 24 + 1, "2501 channels over 8 days: at most 20000 channels times days are accepted in a message"),
        (700_000, 1, "700000 channels: at most 10000"),
    ],
)
def test_a_message_of_too_many_meters_is_refused(meters, hours, reason):
    readings, reasons = read([good(1), of_meters(meters, hours), good(2)], 2**62)
    assert len(readings.bursts) == (2 if reason else 3)
    assert [why.startswith(reason) for why in reasons.values()] == ([True] if reason else [])


def test_an_array_of_very_many_blocks_is_refused_by_both_readers():
    head, zeros = of_meters(0, 1)[:-7], b"\2\2" * 10_001 + b"\0"
    payload = head + zeros + zeros + bytes(5)
    assert read([payload], 2**62)[1] == {0: "malformed reading_burst: an array of more than 10000 blocks"}

"""Decodes and checks many messages of the topic readings together, into flat columns.

The work on each reading is written as plain loops, compiled by Numba: decoding and checking take about 2 ns a reading.
This fast reader rejects messages. The slower one in smartmeter.messages.codec states the reason.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

import numpy as np

from jobs.core.quantities import REFUSED, Registers, channels_fit, filled, keep_energies, refuse, room, set_apart, to_ms
from jobs.core.shards import shard_of
from smartmeter.arrays import Bools, Bytes, Float32s, Ints, Rows
from smartmeter.compiled import compiled
from smartmeter.local_days import EPOCH, LAST_DAY, NEVER
from smartmeter.loops import same_bytes
from smartmeter.messages.codec import EXPORT, POWER, Burst, decode_burst
from smartmeter.messages.schemas import FIRST_BURST_HEADER, HEADER_BYTES, HEADERS, CodecError
from smartmeter.messages.varints import BAD, read_floats, read_ints, read_long
from smartmeter.power import is_power
from smartmeter.settings import DAY_MS, LONGEST_BURST_DAYS, LONGEST_HOLD_S
from smartmeter.timezones import is_timezone

EARLIEST_MS = 2 * DAY_MS
LONGEST_MS = LONGEST_BURST_DAYS * DAY_MS
MOST_METERS = 10_000
"""In a burst."""
MOST_SECTIONS = 20_000
"""In a burst: its meters times the most days of 24 hours that it may touch."""
LATEST_MS = (LAST_DAY - EPOCH.date()).days * DAY_MS - 4 * DAY_MS
"""No burst may end later, whatever the present time: midnights are computed until then."""
SINCE_MS = 978_307_200_000
"""2001-01-01T00:00Z: later times are plausible."""
FINER = (("microseconds", 1000), ("nanoseconds", 1_000_000))
"""Units that a wrong producer may use, and how many of them are a millisecond."""
LONGEST_ZONE = 100
"""Most bytes of a time zone's name. The longest real one has 32."""

BURST = np.dtype(
    [
        ("message", "i8"),  # index of its message
        ("house_id", "i8"),
        ("zone", "i8"),  # index of its time zone
        ("start_ms", "i8"),
        ("end_ms", "i8"),
        ("newest_ms", "i8"),  # time of its newest reading, or NEVER
        ("channels", "i8"),
    ]
)

CANNOT_BE_READ = "it cannot be read"
"""Reason used if the slower reader finds no fault: no message may stop the stream."""

LEAST_READING_BYTES = 5
"""Least bytes of a reading of power in a message: one for the delta, four for the power."""
LEAST_REGISTER_BYTES = 2
"""Least bytes of a reading of a register: one for the delta, one for the energy."""

NO_REGISTERS = room(0, 0)

_HEADER, _FIRST_HEADER = (np.frombuffer(header, np.uint8) for header in (HEADERS["reading_burst"], FIRST_BURST_HEADER))


class Columns(NamedTuple):
    """b bursts with c power channels (a channel: one meter in one burst) and n readings, sorted by house and then by arrival."""

    bursts: Rows  # BURST (b,)
    meter_id: Ints  # int64 (c,)
    count: Ints  # type: ignore[assignment]  # in place of the tuple's method; int64 (c,), readings of each channel; they sum to n
    period_ms: Ints  # int64 (c,), how long a reading of the channel holds at most; 0: SMW_MAX_GAP_S
    gap_ms: Ints  # int64 (n,), time since the channel's previous reading; for its first, since the burst's start
    watts: Float32s  # float32 (n,)
    refused: Rows  # REFUSED (r,), sorted by channel and time; not part of the n readings


@dataclass(frozen=True, eq=False)
class Readings:
    """The bursts in many messages, and the names of their time zones."""

    zones: list[str]
    columns: Columns
    registers: Registers = NO_REGISTERS

    @property
    def bursts(self) -> Rows:
        """BURST (b,)"""
        return self.columns.bursts


def read(payloads: list[bytes], latest_ms: int, shards: int = 1, oldest_ms: int = EARLIEST_MS) -> tuple[Readings, dict[int, str]]:
    """(the readings in many messages, index -> reason of each message that cannot be used).

    A burst that ends after latest_ms is too far in the future. One that starts before oldest_ms is too old. Houses are sorted by shard;
    shards: the number of these.
    """
    latest_ms = min(latest_ms, LATEST_MS)
    data, ends = np.frombuffer(b"".join(payloads), np.uint8), np.cumsum(list(map(len, payloads)), dtype=np.int64)
    readings = _decode(data, ends, np.ones(len(payloads), bool), latest_ms, shards)
    unknown = [number for number, name in enumerate(readings.zones) if not is_timezone(name)]
    unusable = np.isin(readings.bursts["zone"], unknown) | (readings.bursts["start_ms"] < oldest_ms)
    if unusable.any():
        usable = np.ones(len(payloads), bool)
        usable[readings.bursts["message"][unusable]] = False
        readings = _decode(data, ends, usable, latest_ms, shards)
    good = set(readings.bursts["message"].tolist()) if len(readings.bursts) < len(payloads) else range(len(payloads))
    return readings, {i: why_bad(payload, latest_ms, oldest_ms) or CANNOT_BE_READ for i, payload in enumerate(payloads) if i not in good}


def why_bad(payload: bytes, latest_ms: int, oldest_ms: int = EARLIEST_MS) -> str | None:
    """The reason why a message cannot be used, in words; None if it can."""
    latest_ms = min(latest_ms, LATEST_MS)
    try:
        burst = decode_burst(payload)
    except CodecError as error:
        return str(error)
    return _disorder(burst, latest_ms) or _disorder_of_channels(burst) or _too_old(burst, latest_ms, oldest_ms)


def _disorder(burst: Burst, latest_ms: int) -> str | None:
    """What is wrong with a burst as a whole, in words; None if nothing is."""
    if burst.house_id < 1:
        return f"house_id {burst.house_id}: it starts at 1"
    if not EARLIEST_MS <= burst.start_ms < burst.end_ms:
        never_set = ", as a clock that was never set has 1970" if 0 <= burst.start_ms < EARLIEST_MS else ""
        return f"start {burst.start_ms} and end {burst.end_ms}{never_set}: the start is {EARLIEST_MS} or more, and before the end"
    if burst.end_ms > latest_ms:
        unit = next((unit for unit, in_ms in FINER if SINCE_MS <= burst.end_ms // in_ms <= latest_ms), None)
        return f"it ends at {burst.end_ms} ms: that lies too far in the future" + (
            f", as by {unit} where milliseconds belong" if unit else ""
        )
    if burst.end_ms - burst.start_ms > LONGEST_MS:
        return f"it spans {(burst.end_ms - burst.start_ms) / 1000:.0f} s: at most {LONGEST_MS // 1000} s are accepted"
    if burst.tick_ms < 1:
        return f"tick_ms {burst.tick_ms}: it is 1 or more"
    if len(burst.timezone) > LONGEST_ZONE or not is_timezone(burst.timezone):
        return f"timezone {burst.timezone[:LONGEST_ZONE]!r} is no IANA time zone"
    channels, counts = len(burst.meter_ids), burst.counts
    if channels > MOST_METERS:
        return f"{channels} channels: at most {MOST_METERS} are accepted in a message"
    if (sections := channels * days_touched(burst.start_ms, burst.end_ms)) > MOST_SECTIONS:
        return (
            f"{channels} channels over {sections // channels} days: at most {MOST_SECTIONS} channels times days are accepted in a message"
        )
    if len(counts) != channels:
        return f"{channels} meter_ids and {len(counts)} counts: both must have the same length"
    return None


def _disorder_of_channels(burst: Burst) -> str | None:
    """What is wrong with the channels of a burst, in words; None if nothing is."""
    channels, counts, quantities, holds_s = len(burst.meter_ids), burst.counts, burst.quantities, burst.holds_s
    if channels and counts.min() < 0:
        return "a negative count"
    if len(quantities) not in (0, channels):
        return f"{channels} meter_ids and {len(quantities)} quantities: both must have the same length, or all channels are power and it is empty"
    if unknown := set(quantities.tolist()).difference(range(POWER, EXPORT + 1)):
        return f"quantity {min(unknown)}: it is 0 (power), 1 (import register) or 2 (export register)"
    if len(holds_s) not in (0, channels):
        return f"{channels} meter_ids and {len(holds_s)} holds_s: both must have the same length, or holds_s is empty"
    if impossible := [hold for hold in holds_s.tolist() if not 0 <= hold <= LONGEST_HOLD_S]:
        return f"holds_s {impossible[0]}: a reading holds for 0 (SMW_MAX_GAP_S) to {LONGEST_HOLD_S} s"
    of_registers = int(counts[quantities > POWER].sum()) if len(quantities) else 0
    if counts.sum() != len(burst.deltas) or len(burst.deltas) - of_registers != len(burst.watts):
        of_power = f" of which {of_registers} are of registers," if of_registers else ""
        return f"counts that sum up to {counts.sum()},{of_power} {len(burst.deltas)} deltas and {len(burst.watts)} watts: all must agree"
    if of_registers != len(burst.energies):
        return f"{of_registers} readings of registers and {len(burst.energies)} energies: both must agree"
    if channels and burst.meter_ids.min() < 1:
        return f"meter_id {burst.meter_ids.min()}: it starts at 1"
    listed = Counter(zip(burst.meter_ids.tolist(), quantities.tolist() or [POWER] * channels))
    if twice := [meter_id for (meter_id, _), times in listed.items() if times > 1]:
        return f"meter {twice[0]} is listed twice for the same quantity"
    return None


def _too_old(burst: Burst, latest_ms: int, oldest_ms: int) -> str | None:
    """The reason why a burst is too old to be accepted, in words; None if it is not."""
    if burst.start_ms >= oldest_ms:
        return None
    fault = "seconds where milliseconds belong" if SINCE_MS <= burst.start_ms * 1000 <= latest_ms else "a clock that was never set"
    start, oldest = (EPOCH + timedelta(milliseconds=ms) for ms in (burst.start_ms, oldest_ms))
    return f"it starts on {start:%Y-%m-%d}, as by {fault}: SMW_OLDEST_DATE accepts none before {oldest:%Y-%m-%d}"


def _decode(data: Bytes, ends: Ints, wanted: Bools, latest_ms: int, shards: int) -> Readings:
    """The good messages among those that are `wanted`. Message i ends at data[ends[i]]."""
    most, house_id = len(data) // LEAST_READING_BYTES, np.empty(len(ends), np.int64)
    _house_ids(data, ends, house_id)
    order = np.lexsort((house_id, shard_of(house_id, shards)))
    zones = np.empty((len(ends), 2), np.int64)
    most_meters = min(len(data) // 2, len(ends) * MOST_METERS)
    columns = Columns(
        np.empty(len(ends), BURST),
        np.empty(most_meters, np.int64),
        np.empty(most_meters, np.int64),
        np.empty(most_meters, np.int64),
        np.empty(len(data) // LEAST_REGISTER_BYTES, np.int64),  # until they are set apart, those of registers too
        np.empty(most, np.float32),
        np.empty(most, REFUSED),
    )
    registers = room(most_meters, len(data) // LEAST_REGISTER_BYTES)
    sizes = _decode_all(data, ends, order[wanted[order]], latest_ms, zones, columns, registers, np.empty(MOST_METERS, np.int64))
    names = [data[begin:end].tobytes().decode(errors="replace") for begin, end in zones[: sizes[0]].tolist()]
    bursts, channels, readings, refused = sizes[1:5]
    return Readings(
        names,
        Columns(
            columns.bursts[:bursts],
            columns.meter_id[:channels],
            columns.count[:channels],
            columns.period_ms[:channels],
            columns.gap_ms[:readings],
            columns.watts[:readings],
            columns.refused[:refused],
        ),
        filled(registers, *sizes[5:]),
    )


@compiled
def _house_ids(data, ends, house_id):
    """Fill in the house of each message; any number for one that is too short."""
    begin = 0
    for i, end in enumerate(ends):
        house_id[i], _ = read_long(data, begin + HEADER_BYTES, end)
        begin = end


@compiled
def _decode_all(data, ends, order, latest_ms, zones, columns, registers, quantity):
    """Fill zones (begin and end of each name in data), columns and registers from the good messages. quantity: room for those of one.

    Returns (zones; bursts, channels, readings and refused of power; channels, readings and refused of registers).
    """
    z = b = c = n = r = g = q = refused = 0
    for message in order:
        begin = ends[message - 1] if message else 0
        burst = columns.bursts[b]
        is_first = same_bytes(data, begin, _FIRST_HEADER)
        if not (is_first or same_bytes(data, begin, _HEADER)):
            continue
        at, zone, size, tick_ms = _read_head(data, begin + HEADER_BYTES, ends[message], latest_ms, burst)
        if at == BAD:
            continue
        channels_end, quantities = _read_arrays(data, at, ends[message], is_first, burst, columns, c, n, registers, q, quantity)
        if channels_end == BAD:
            continue
        burst.message, power_end, registers_end = message, channels_end, g
        if quantities:
            power_end, registers_end = set_apart(columns, c, n, quantity[:quantities], registers, b, g, q)
        burst.channels = power_end - c
        n, r = _keep_readings(burst, tick_ms, columns, c, n, r)
        if registers_end > g:
            q, refused = keep_energies(burst, tick_ms, registers, g, registers_end, q, refused)
        burst.zone, z = _zone(data, zone, size, zones, z)
        b, c, g = b + 1, power_end, registers_end
    return z, b, c, n, r, g, q, refused


@compiled
def _read_head(data, at, end, latest_ms, burst):
    """Read what lies between the header of a message and its arrays, and fill in the burst's house, start and end.

    Returns (position after it, or BAD if the message cannot be used; position and size of its time zone's name; tick_ms).
    """
    burst.house_id, at = read_long(data, at, end)
    size, at = read_long(data, at, end)
    if at == BAD or not 0 <= size <= min(end - at, LONGEST_ZONE):
        return BAD, 0, 0, 0
    zone, at = at, at + size
    burst.start_ms, at = read_long(data, at, end)
    burst.end_ms, at = read_long(data, at, end)
    tick_ms, at = read_long(data, at, end)
    if not (
        at != BAD
        and burst.house_id > 0
        and EARLIEST_MS <= burst.start_ms < burst.end_ms <= latest_ms
        and burst.end_ms - burst.start_ms <= LONGEST_MS
        and 1 <= tick_ms < 2**31
    ):
        return BAD, 0, 0, 0
    return at, zone, size, tick_ms


@compiled
def _read_arrays(data, at, end, is_first, burst, columns, c, n, registers, q, quantity):
    """Read the arrays of a message behind columns.meter_id[:c], columns.watts[:n], registers.energy_mwh[:q] and into quantity.

    is_first: whether it is of the first schema. Returns (end of its channels, or BAD if the message cannot be used; number of quantities).
    """
    at, channels_end = read_ints(data, at, end, columns.meter_id[: c + MOST_METERS], c, 32)
    at, counts_end = read_ints(data, at, end, columns.count[: c + MOST_METERS], c, 32)
    at, deltas_end = read_ints(data, at, end, columns.gap_ms, n, 32)
    at, watts_end = read_floats(data, at, end, columns.watts, n)
    quantities, holds_end, energies_end = 0, c, q
    if not is_first and at == end - 3 and data[at] == data[at + 1] == data[at + 2] == 0:
        at = end  # no quantities, holds and energies: all is power
    elif not is_first:
        at, quantities = read_ints(data, at, end, quantity, 0, 32)
        at, holds_end = read_ints(data, at, end, columns.period_ms[: c + MOST_METERS], c, 32)
        at, energies_end = read_ints(data, at, end, registers.energy_mwh, q, 64)
    watts, energies, channels = watts_end - n, energies_end - q, channels_end - c
    if not (
        at == end
        and channels_end == counts_end
        and deltas_end - n == watts + energies
        and channels * days_touched(burst.start_ms, burst.end_ms) <= MOST_SECTIONS
        and quantities in (0, channels)
        and holds_end - c in (0, channels)
    ):
        return BAD, 0
    meter_id, count, period_ms = columns.meter_id[c:channels_end], columns.count[c:channels_end], columns.period_ms[c:channels_end]
    if quantities:
        fits = channels_fit(meter_id, count, quantity[:quantities], watts, energies)
    else:
        fits = energies == 0 and _meters_fit(meter_id) and _counts_fit(count, watts)
    if holds_end == c:
        period_ms[:] = 0
    else:
        fits &= _periods_fit(period_ms)
    return channels_end if fits else BAD, quantities


@compiled
def _periods_fit(period_ms):
    """Convert the holds of a burst's channels from s to ms. Returns whether they are valid."""
    fit = True
    for i in range(len(period_ms)):
        period_ms[i] *= 1000
        fit &= 0 <= period_ms[i] <= LONGEST_HOLD_S * 1000
    return fit


@compiled
def days_touched(start_ms, end_ms):
    """The most local days that a span can touch, apart from one that a change of clocks may add."""
    return (end_ms - start_ms - 1) // DAY_MS + 2


@compiled
def _meters_fit(meter_id):
    """Whether these are valid meters, each listed once."""
    rising = np.sort(meter_id)
    fit = len(rising) == 0 or rising[0] >= 1
    for i in range(1, len(rising)):
        fit &= rising[i] != rising[i - 1]
    return fit


@compiled
def _counts_fit(counts, readings):
    """Whether these are valid counts that sum to `readings`."""
    total = 0
    for count in counts:
        if count < 0:
            return False
        total += count
    return total == readings


@compiled
def _keep_readings(burst, tick_ms, columns, c, n, r):
    """Convert the ticks in columns.gap_ms to ms, and refuse readings of the burst that are out of order or have an impossible power.

    Fills in the burst's newest_ms. Returns the end of the kept readings, which start at n, and the end of the refusals, which start at r.
    """
    burst.newest_ms, kept = NEVER, n
    for channel in range(c, c + burst.channels):
        count, valid, end = columns.count[channel], True, n + columns.count[channel]
        in_order, elapsed_ms = to_ms(columns.gap_ms[n:end], tick_ms, burst.end_ms - burst.start_ms)
        for watts in columns.watts[n:end]:
            valid &= is_power(watts)
        if not in_order:
            r = refuse(columns.refused, r, channel, burst.start_ms, count)
            columns.count[channel] = 0
        elif valid and kept == n:
            kept = end
        else:
            elapsed_ms, kept, r = _keep_valid(burst, columns, channel, n, kept, r)
        n = end
        if columns.count[channel]:
            burst.newest_ms = max(burst.newest_ms, burst.start_ms + elapsed_ms)
    return kept, r


@compiled
def _keep_valid(burst, columns, channel, n, kept, r):
    """Move the valid readings of a channel, which starts at n, to `kept`, and refuse the others.

    Returns (time of the last valid reading since the burst's start, end of the kept readings, end of the refusals).
    """
    begin, elapsed_ms, last_ms = kept, np.int64(0), np.int64(0)
    for i in range(n, n + columns.count[channel]):
        elapsed_ms += columns.gap_ms[i]
        if is_power(columns.watts[i]):
            columns.gap_ms[kept], columns.watts[kept] = elapsed_ms - last_ms, columns.watts[i]
            last_ms, kept = elapsed_ms, kept + 1
        else:
            r = refuse(columns.refused, r, channel, burst.start_ms + elapsed_ms, 1)
    columns.count[channel] = kept - begin
    return last_ms, kept, r


@compiled
def _zone(data, at, size, zones, known):
    """(number of the time zone whose name is in data, new number of known zones)."""
    for number in range(known - 1, -1, -1):
        begin, end = zones[number]
        if end - begin == size and same_bytes(data, at, data[begin:end]):
            return number, known
    zones[known, 0], zones[known, 1] = at, at + size
    return known, known + 1

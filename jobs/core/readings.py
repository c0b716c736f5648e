"""Decodes and checks many messages of the topic readings together, into flat columns.

The work on each reading is written as plain loops, compiled by Numba: decoding and checking take about 2 ns a reading.
This fast reader rejects messages. The slower one in smartmeter.messages.codec states the reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

import numpy as np

from jobs.core.shards import shard_of
from smartmeter.arrays import Bools, Bytes, Float32s, Ints, Rows
from smartmeter.compiled import compiled
from smartmeter.local_days import EPOCH, LAST_DAY, NEVER
from smartmeter.loops import same_bytes
from smartmeter.messages.codec import Burst, decode_burst
from smartmeter.messages.schemas import FIRST_BURST_HEADER, HEADER_BYTES, HEADERS, CodecError
from smartmeter.messages.varints import BAD, read_floats, read_ints, read_long
from smartmeter.power import is_power
from smartmeter.settings import DAY_MS, LONGEST_BURST_DAYS
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
REFUSED = np.dtype(
    [
        ("channel", "i8"),
        ("time_ms", "i8"),  # of the reading; the burst's start if the channel's times are out of order
        ("readings", "i8"),
    ]
)
"""Readings that are refused; the rest of their burst is used."""

CANNOT_BE_READ = "it cannot be read"
"""Reason used if the slower reader finds no fault: no message may stop the stream."""

LEAST_READING_BYTES = 5
"""Least bytes of a reading in a message: one for the delta, four for the power."""

_HEADER, _FIRST_HEADER = (np.frombuffer(header, np.uint8) for header in (HEADERS["reading_burst"], FIRST_BURST_HEADER))
_NO_CHANNELS = np.zeros(3, np.uint8)
"""Empty arrays of quantities, holds and energies."""


class Columns(NamedTuple):
    """b bursts with c channels (a channel: one meter in one burst) and n readings, sorted by house and then by arrival."""

    bursts: Rows  # BURST (b,)
    meter_id: Ints  # int64 (c,)
    count: Ints  # type: ignore[assignment]  # in place of the tuple's method; int64 (c,), readings of each channel; they sum to n
    gap_ms: Ints  # int64 (n,), time since the channel's previous reading; for its first, since the burst's start
    watts: Float32s  # float32 (n,)
    refused: Rows  # REFUSED (r,), sorted by channel and time; not part of the n readings


@dataclass(frozen=True, eq=False)
class Readings:
    """The bursts in many messages, and the names of their time zones."""

    zones: list[str]
    columns: Columns

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
    zones, columns = _decode(data, ends, np.ones(len(payloads), bool), latest_ms, shards)
    unknown = [number for number, name in enumerate(zones) if not is_timezone(name)]
    unusable = np.isin(columns.bursts["zone"], unknown) | (columns.bursts["start_ms"] < oldest_ms)
    if unusable.any():
        usable = np.ones(len(payloads), bool)
        usable[columns.bursts["message"][unusable]] = False
        zones, columns = _decode(data, ends, usable, latest_ms, shards)
    good = set(columns.bursts["message"].tolist()) if len(columns.bursts) < len(payloads) else range(len(payloads))
    return Readings(zones, columns), {
        i: why_bad(payload, latest_ms, oldest_ms) or CANNOT_BE_READ for i, payload in enumerate(payloads) if i not in good
    }


def why_bad(payload: bytes, latest_ms: int, oldest_ms: int = EARLIEST_MS) -> str | None:
    """The reason why a message cannot be used, in words; None if it can."""
    latest_ms = min(latest_ms, LATEST_MS)
    try:
        burst = decode_burst(payload)
    except CodecError as error:
        return str(error)
    return _disorder(burst, latest_ms) or _too_old(burst, latest_ms, oldest_ms)


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
        return f"{channels} meters: at most {MOST_METERS} are accepted in a message"
    if (sections := channels * days_touched(burst.start_ms, burst.end_ms)) > MOST_SECTIONS:
        return f"{channels} meters over {sections // channels} days: at most {MOST_SECTIONS} meters times days are accepted in a message"
    if len(counts) != channels:
        return f"{channels} meter_ids and {len(counts)} counts: both must have the same length"
    if channels and counts.min() < 0:
        return "a negative count"
    if counts.sum() != len(burst.deltas) or len(burst.deltas) != len(burst.watts):
        return f"counts that sum up to {counts.sum()}, {len(burst.deltas)} deltas and {len(burst.watts)} watts: all three must agree"
    if channels and burst.meter_ids.min() < 1:
        return f"meter_id {burst.meter_ids.min()}: it starts at 1"
    if len(set(burst.meter_ids.tolist())) < channels:
        return "a meter listed twice"
    if len(burst.quantities) or len(burst.holds_s) or len(burst.energies):
        return "quantities, holds_s or energies: only bursts without them are used so far"
    return None


def _too_old(burst: Burst, latest_ms: int, oldest_ms: int) -> str | None:
    """The reason why a burst is too old to be accepted, in words; None if it is not."""
    if burst.start_ms >= oldest_ms:
        return None
    fault = "seconds where milliseconds belong" if SINCE_MS <= burst.start_ms * 1000 <= latest_ms else "a clock that was never set"
    start, oldest = (EPOCH + timedelta(milliseconds=ms) for ms in (burst.start_ms, oldest_ms))
    return f"it starts on {start:%Y-%m-%d}, as by {fault}: SMW_OLDEST_DATE accepts none before {oldest:%Y-%m-%d}"


def _decode(data: Bytes, ends: Ints, wanted: Bools, latest_ms: int, shards: int) -> tuple[list[str], Columns]:
    """(names of time zones, columns of the good messages among those that are `wanted`). Message i ends at data[ends[i]]."""
    most, house_id = len(data) // LEAST_READING_BYTES, np.empty(len(ends), np.int64)
    _house_ids(data, ends, house_id)
    order = np.lexsort((house_id, shard_of(house_id, shards)))
    zones = np.empty((len(ends), 2), np.int64)
    most_meters = min(len(data) // 2, len(ends) * MOST_METERS)
    columns = Columns(
        np.empty(len(ends), BURST),
        np.empty(most_meters, np.int64),
        np.empty(most_meters, np.int64),
        np.empty(most, np.int64),
        np.empty(most, np.float32),
        np.empty(most, REFUSED),
    )
    sizes = _decode_all(data, ends, order[wanted[order]], latest_ms, zones, columns)
    names = [data[begin:end].tobytes().decode(errors="replace") for begin, end in zones[: sizes[-1]].tolist()]
    bursts, channels, readings, refused, _ = sizes
    return names, Columns(
        columns.bursts[:bursts],
        columns.meter_id[:channels],
        columns.count[:channels],
        columns.gap_ms[:readings],
        columns.watts[:readings],
        columns.refused[:refused],
    )


@compiled
def _house_ids(data, ends, house_id):
    """Fill in the house of each message; any number for one that is too short."""
    begin = 0
    for i, end in enumerate(ends):
        house_id[i], _ = read_long(data, begin + HEADER_BYTES, end)
        begin = end


@compiled
def _decode_all(data, ends, order, latest_ms, zones, columns):
    """Fill zones (begin and end of each name in data) and columns from the good messages.

    Returns (bursts, channels, readings, refused, zones).
    """
    b = c = n = r = z = 0
    for message in order:
        begin = ends[message - 1] if message else 0
        burst = columns.bursts[b]
        more_c, more_n, more_r, z = _decode_burst(data, begin, ends[message], latest_ms, zones, z, burst, columns, c, n, r)
        if more_c != BAD:
            burst.message = message
            b, c, n, r = b + 1, more_c, more_n, more_r
    return b, c, n, r, z


@compiled
def _decode_burst(data, at, end, latest_ms, zones, z, burst, columns, c, n, r):
    """Decode a message into columns, starting at channel c, reading n and refusal r.

    Returns the next channel, reading and refusal (all BAD if the message cannot be used), and the number of zones.
    """
    lacks_channels = same_bytes(data, at, _FIRST_HEADER)
    if end - at < HEADER_BYTES or not (lacks_channels or same_bytes(data, at, _HEADER)):
        return BAD, BAD, BAD, z
    burst.house_id, at = read_long(data, at + HEADER_BYTES, end)
    size, at = read_long(data, at, end)
    if at == BAD or not 0 <= size <= min(end - at, LONGEST_ZONE):
        return BAD, BAD, BAD, z
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
        return BAD, BAD, BAD, z
    at, meters_end = read_ints(data, at, end, columns.meter_id[: c + MOST_METERS], c, 32)
    at, counts_end = read_ints(data, at, end, columns.count[: c + MOST_METERS], c, 32)
    at, deltas_end = read_ints(data, at, end, columns.gap_ms, n, 32)
    at, watts_end = read_floats(data, at, end, columns.watts, n)
    if not lacks_channels and at != BAD:
        at = at + 3 if same_bytes(data[:end], at, _NO_CHANNELS) else BAD
    if not (at == end and meters_end == counts_end and deltas_end == watts_end):
        return BAD, BAD, BAD, z
    burst.channels = meters_end - c
    if not (
        burst.channels * days_touched(burst.start_ms, burst.end_ms) <= MOST_SECTIONS
        and _meters_fit(columns.meter_id[c:meters_end])
        and _counts_fit(columns.count[c:meters_end], watts_end - n)
    ):
        return BAD, BAD, BAD, z
    n, r = _keep_readings(burst, tick_ms, columns, c, n, r)
    burst.zone, z = _zone(data, zone, size, zones, z)
    return meters_end, n, r, z


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
        count = columns.count[channel]
        gaps_ms = columns.gap_ms[n : n + count]
        elapsed_ms, in_order, valid = np.int64(0), True, True
        for i in range(count):
            gaps_ms[i] *= tick_ms
            elapsed_ms += gaps_ms[i]
            in_order &= (gaps_ms[i] > 0) & (gaps_ms[i] <= LONGEST_MS) | (i == 0) & (gaps_ms[i] == 0)
        for watts in columns.watts[n : n + count]:
            valid &= is_power(watts)
        in_order &= burst.start_ms + elapsed_ms < burst.end_ms
        end = n + count
        if not in_order:
            r = _refuse(columns.refused, r, channel, burst.start_ms, count)
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
            r = _refuse(columns.refused, r, channel, burst.start_ms + elapsed_ms, 1)
    columns.count[channel] = kept - begin
    return last_ms, kept, r


@compiled
def _refuse(refused, r, channel, time_ms, readings):
    """Record a refusal. Returns the new number of refusals."""
    refused[r].channel, refused[r].time_ms, refused[r].readings = channel, time_ms, readings
    return r + 1


@compiled
def _zone(data, at, size, zones, known):
    """(number of the time zone whose name is in data, new number of known zones)."""
    for number in range(known - 1, -1, -1):
        begin, end = zones[number]
        if end - begin == size and same_bytes(data, at, data[begin:end]):
            return number, known
    zones[known, 0], zones[known, 1] = at, at + size
    return known, known + 1

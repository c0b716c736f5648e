"""Many messages of the topic readings, decoded and checked together into flat columns."""

from __future__ import annotations

import zoneinfo
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache

import numpy as np

from smartmeter.codec import Burst, CodecError, decode_burst
from smartmeter.settings import LONGEST_BURST_DAYS

EPOCH, LAST_DAY = datetime(1970, 1, 1), date(2200, 1, 1)
DAY_MS = 86_400_000
EARLIEST_MS = 2 * DAY_MS
LONGEST_MS = LONGEST_BURST_DAYS * DAY_MS
OUTSIDE = "a reading outside the burst's start and end"
NEVER = -(2**62)
"""A time before all others, in ms."""


@dataclass(frozen=True, eq=False)
class Readings:
    """b bursts with s channels (a channel: one meter in one burst) and n readings: house by house, as they arrived."""

    bursts: list[Burst]
    message: np.ndarray  # int (b,), index of the message that a burst came in
    house_id: np.ndarray  # int64 (b,)
    start_ms: np.ndarray  # int64 (b,)
    end_ms: np.ndarray  # int64 (b,)
    newest_ms: np.ndarray  # int64 (b,), time of the newest reading, or NEVER
    channel_burst: np.ndarray  # int (s,), index of the burst that a channel is in
    meter_id: np.ndarray  # int32 (s,)
    count: np.ndarray  # int64 (s,), readings of a channel; they sum up to n
    watts: np.ndarray  # float32 (n,)
    gap_ms: np.ndarray  # int64 (n,), time since the channel's previous reading; of its first, since start_ms
    elapsed_ms: np.ndarray  # int64 (n,), running sum of gap_ms
    first: np.ndarray  # int64 (k,), index of the first reading of each of the k channels that have any
    offset_ms: np.ndarray  # int64 (k,), what added to elapsed_ms gives the time of their readings

    def time_at(self, index: np.ndarray) -> np.ndarray:
        """Time of the readings at some indices, in ms since 1970-01-01T00:00Z."""
        return self.elapsed_ms[index] + self.offset_ms[np.searchsorted(self.first, index, side="right") - 1]

    def times(self) -> np.ndarray:
        """int64 (n,): time of all readings, in ms since 1970-01-01T00:00Z."""
        return self.elapsed_ms + np.repeat(self.offset_ms, self.count[self.count > 0])


def read(payloads: list[bytes], latest_ms: int) -> tuple[Readings, dict[int, str]]:
    """The readings in many messages, and index of message -> reason for those that cannot be used.

    latest_ms: a burst that ends after it lies too far in the future.
    """
    bursts, messages, reasons = [], [], {}
    for index, payload in enumerate(payloads):
        try:
            burst = decode_burst(payload)
            if reason := _disorder(burst, latest_ms):
                raise CodecError(reason)
        except CodecError as error:
            reasons[index] = str(error)
        else:
            bursts.append(burst)
            messages.append(index)
    by_house = sorted(range(len(bursts)), key=lambda i: bursts[i].house_id)
    bursts, messages = [bursts[i] for i in by_house], [messages[i] for i in by_house]
    readings = _columns(bursts, messages)
    wrong = _senseless(readings)
    if not wrong:
        return readings, reasons
    reasons |= {messages[b]: reason for b, reason in wrong.items()}
    kept = [b for b in range(len(bursts)) if b not in wrong]
    return _columns([bursts[b] for b in kept], [messages[b] for b in kept]), reasons


def _disorder(burst: Burst, latest_ms: int) -> str | None:
    """What is wrong with a burst as a whole, in words; None when its columns fit together."""
    if burst.house_id < 1:
        return f"house_id {burst.house_id}: it starts at 1"
    if not EARLIEST_MS <= burst.start_ms < burst.end_ms:
        return f"start {burst.start_ms} and end {burst.end_ms}: the start is {EARLIEST_MS} or more, and before the end"
    if burst.end_ms - burst.start_ms > LONGEST_MS:
        return f"it spans {(burst.end_ms - burst.start_ms) / 1000:.0f} s: at most {LONGEST_MS // 1000} s are accepted"
    if burst.end_ms > latest_ms:
        return f"it ends at {burst.end_ms} ms: that lies too far in the future"
    if burst.tick_ms < 1:
        return f"tick_ms {burst.tick_ms}: it is 1 or more"
    if not is_timezone(burst.timezone):
        return f"timezone {burst.timezone!r} is no IANA time zone"
    channels, counts = len(burst.meter_ids), burst.counts
    if len(counts) != channels:
        return f"{channels} meter_ids and {len(counts)} counts: as many as each other are needed"
    if channels and counts.min() < 0:
        return "a negative count"
    if counts.sum() != len(burst.deltas) or len(burst.deltas) != len(burst.watts):
        return f"counts that sum up to {counts.sum()}, {len(burst.deltas)} deltas and {len(burst.watts)} watts: all three must agree"
    if channels and burst.meter_ids.min() < 1:
        return f"meter_id {burst.meter_ids.min()}: it starts at 1"
    if len(set(burst.meter_ids.tolist())) < channels:
        return "a meter listed twice"
    return None


def _columns(bursts: list[Burst], messages: list[int]) -> Readings:
    """The flat columns of bursts whose own columns fit together."""
    channels = np.array([len(b.meter_ids) for b in bursts], np.int64)
    channel_burst = np.repeat(np.arange(len(bursts)), channels)
    start_ms = np.array([b.start_ms for b in bursts], np.int64)
    tick_ms = np.array([b.tick_ms for b in bursts], np.int64)
    count = _concat([b.counts for b in bursts], np.int64)
    gap_ms = _concat([b.deltas for b in bursts], np.int64)
    if np.any(tick_ms != 1):
        gap_ms *= np.repeat(tick_ms[channel_burst], count)
    some = count > 0
    last = np.cumsum(count)[some] - 1
    first = last + 1 - count[some]
    elapsed_ms = np.cumsum(gap_ms)
    offset_ms = start_ms[channel_burst[some]] - (elapsed_ms[first] - gap_ms[first])
    newest_ms = np.full(len(bursts), NEVER)
    np.maximum.at(newest_ms, channel_burst[some], elapsed_ms[last] + offset_ms)
    return Readings(
        bursts=bursts,
        message=np.array(messages, np.int64),
        house_id=np.array([b.house_id for b in bursts], np.int64),
        start_ms=start_ms,
        end_ms=np.array([b.end_ms for b in bursts], np.int64),
        newest_ms=newest_ms,
        channel_burst=channel_burst,
        meter_id=_concat([b.meter_ids for b in bursts], np.int32),
        count=count,
        watts=_concat([b.watts for b in bursts], np.float32),
        gap_ms=gap_ms,
        elapsed_ms=elapsed_ms,
        first=first,
        offset_ms=offset_ms,
    )


def _senseless(readings: Readings) -> dict[int, str]:
    """Index of burst -> reason, for the bursts with a reading that makes no sense."""
    first, gap_ms, watts = readings.first, readings.gap_ms, readings.watts
    wrong = dict.fromkeys(np.flatnonzero(readings.newest_ms >= readings.end_ms).tolist(), OUTSIDE)
    if not len(first):
        return wrong
    rising = np.count_nonzero(gap_ms <= 0) == np.count_nonzero(gap_ms[first] == 0)
    if not (rising and gap_ms.max() <= LONGEST_MS and watts.min() >= 0 and watts.max() < np.inf):
        burst_of_reading = np.repeat(readings.channel_burst, readings.count)
        of_first = np.isin(np.arange(len(gap_ms)), first)
        for bad, reason in (
            (~((watts >= 0) & (watts < np.inf)), "watts that are negative or no number"),
            ((gap_ms <= 0) & ~of_first, "a delta of 0 or less: readings of a meter are in the order of time"),
            (((gap_ms < 0) & of_first) | (gap_ms > LONGEST_MS), OUTSIDE),
        ):
            wrong |= dict.fromkeys(burst_of_reading[bad].tolist(), reason)
    return wrong


def _concat(arrays: list[np.ndarray], dtype) -> np.ndarray:
    return np.concatenate(arrays, dtype=dtype, casting="safe") if arrays else np.empty(0, dtype)


@lru_cache(maxsize=1024)
def is_timezone(name: str) -> bool:
    """Whether `name` is an IANA time zone that this machine knows."""
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


@lru_cache(maxsize=1024)
def midnights(timezone: str) -> np.ndarray:
    """int64 array: the local midnight that begins day d (days since 1970-01-01), in ms since 1970-01-01T00:00Z.

    Day d lasts from midnights[d] to midnights[d + 1]: 23 or 25 hours when the clocks change.
    """
    zone = zoneinfo.ZoneInfo(timezone)

    def begins(first: int, last: int, step: int) -> list[int]:
        return [round((EPOCH + timedelta(days=day)).replace(tzinfo=zone).timestamp() * 1000) for day in range(first, last, step)]

    days = (LAST_DAY - EPOCH.date()).days
    found = np.interp(np.arange(days), np.arange(0, days, 7), weekly := np.array(begins(0, days, 7), np.int64)).astype(np.int64)
    for week in np.flatnonzero(np.diff(weekly) != 7 * DAY_MS).tolist():  # the clocks change in it
        found[7 * week:7 * week + 7] = begins(7 * week, 7 * week + 7, 1)
    last = 7 * (len(weekly) - 1)
    found[last:] = begins(last, days, 1)
    return found


def day_of(timezone: str, time_ms):
    """The local day (days since 1970-01-01) that holds a time, or each time of an array."""
    return np.searchsorted(midnights(timezone), time_ms, side="right") - 1


def days_of(timezones: list[str], zone_at: np.ndarray, time_ms: np.ndarray) -> np.ndarray:
    """int64 (n,): the local day that holds each time, in the time zone timezones[zone_at]; both int (n,)."""
    names = {name: number for number, name in enumerate(dict.fromkeys(timezones))}
    number, day = np.array([names[name] for name in timezones])[zone_at], np.empty(len(time_ms), np.int64)
    for name, own in names.items():
        here = number == own
        day[here] = day_of(name, time_ms[here])
    return day

"""A log of readings with what should not be in it: clocks set wrong, corrupt messages, a house of 10,000 meters."""

from __future__ import annotations

import io
import time
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import fastavro
import numpy as np

from smartmeter.messages.codec import Burst, encode_burst
from smartmeter.messages.schemas import HEADERS, SCHEMAS
from tests.oracle import midnight_ms
from tests.pipeline.logs import BURST_MS, DAY_MS, SPIKE_WATTS, Log, disturb, house_bursts

HOUR_MS = 3_600_000
NORMAL = {1: ("America/New_York", date(2011, 3, 12)), 2: ("Europe/London", date(2013, 10, 26))}
AHEAD, BEHIND, PRESENT, POISON = 11, 12, 13, 14
"""Houses whose clock jumps forward, jumps back (and forward for one burst), jumps beyond the present; the house of 10,000 meters."""

OLDEST_MS = midnight_ms(ZoneInfo("UTC"), date(2001, 1, 1))
METERS = 10_000
LARGEST_BYTES = 8_388_608 - 120
"""Largest message that the topic takes, less Kafka's overhead."""


def jumps(house_id: int, place: tuple[str, date], rng, hours: dict[int, float]) -> list[Burst]:
    """A house's bursts, the clock of its meters so many hours off from a burst on: (index of the burst) -> hours."""
    off_ms, shifted = 0, []
    for i, burst in enumerate(house_bursts(house_id, *place, rng)):
        off_ms = round(hours.get(i, off_ms / HOUR_MS) * HOUR_MS)
        shifted.append(replace(burst, start_ms=burst.start_ms + off_ms, end_ms=burst.end_ms + off_ms))
    return shifted


def present_bursts(rng) -> list[Burst]:
    """Four hours to the present, with bursts half a day ahead (accepted) and two days ahead (refused) among them."""
    first = datetime.now(UTC).date() - timedelta(days=4)
    bursts = [burst for burst in house_bursts(PRESENT, "UTC", first, rng) if burst.end_ms <= time.time() * 1000][-16:]
    for i, hours in ((5, 12), (6, 12), (9, 48), (10, 48)):
        bursts[i] = replace(bursts[i], start_ms=bursts[i].start_ms + hours * HOUR_MS, end_ms=bursts[i].end_ms + hours * HOUR_MS)
    return bursts


def poison_bursts(rng) -> list[Burst]:
    """Two days of 10,000 meters, six hours a burst: a reading of each, of five meters one every five minutes.

    One burst is of more than 1 MB: it has 16 readings of each, within three minutes.
    """
    begin_ms, span_ms = midnight_ms(ZoneInfo("America/New_York"), date(2011, 4, 18)), 6 * HOUR_MS
    bursts = []
    for i in range(8):
        counts = np.full(METERS, 16 if i == 5 else 1, np.int32)
        counts[:5] = span_ms // 300_000
        steps_ms = np.where(np.arange(METERS) < 5, 299_000, 9_000).tolist()
        deltas = np.concatenate([np.append(rng.integers(0, 300_000), np.full(n - 1, step)) for n, step in zip(counts.tolist(), steps_ms)])
        watts = rng.gamma(0.7, 300, counts.sum()).astype(np.float32)
        watts[: counts[:5].sum()] += 60
        watts[rng.random(len(watts)) < 0.001] += SPIKE_WATTS << (i * span_ms) // DAY_MS
        bursts.append(
            Burst(
                POISON,
                "America/New_York",
                begin_ms,
                begin_ms + span_ms,
                1,
                np.arange(1, METERS + 1, dtype=np.int32),
                counts,
                deltas.astype(np.int32),
                watts,
            )
        )
        begin_ms += span_ms
    return bursts


def corrupt(payload: bytes, rng) -> bytes:
    """A message with some bits turned, cut off, or random bytes in its place."""
    kind = rng.integers(6)
    if kind == 0:
        return payload[: rng.integers(len(payload))]
    if kind == 1:
        return rng.bytes(len(payload))
    garbled = bytearray(payload)
    for at in rng.integers(len(payload), size=rng.integers(1, 4)):
        garbled[at] ^= 1 << rng.integers(8)
    return bytes(garbled)


def usable(payload: bytes) -> Burst | None:
    """The burst in a message as fastavro reads it, where by plain rules it makes sense; else None."""
    body = io.BytesIO(payload)
    if body.read(10) != HEADERS["reading_burst"]:
        return None
    try:
        record = fastavro.schemaless_reader(body, SCHEMAS["reading_burst"], None)
        ZoneInfo(record["timezone"])
    except Exception:  # fastavro and zoneinfo have many kinds
        return None
    meters, counts, deltas, watts = (record[name] for name in ("meter_ids", "counts", "deltas", "watts"))
    start_ms, end_ms, tick_ms = record["start"], record["end"], record["tick_ms"]
    fits = (
        not body.read()
        and record["house_id"] >= 1
        and OLDEST_MS <= start_ms < end_ms <= min(start_ms + 7 * DAY_MS, time.time() * 1000 + DAY_MS)
        and 1 <= tick_ms < 2**31
        and len(set(meters)) == len(meters) == len(counts)
        and all(1 <= meter < 2**31 for meter in meters)
        and all(count >= 0 for count in counts)
        and sum(counts) == len(deltas) == len(watts)
        and all(-(2**31) <= delta < 2**31 for delta in deltas)
    )
    if not fits:
        return None
    return Burst(
        record["house_id"],
        record["timezone"],
        start_ms,
        end_ms,
        tick_ms,
        np.array(meters, np.int32),
        np.array(counts, np.int32),
        np.array(deltas, np.int32),
        np.array(watts, np.float32),
    )


def faulty_log(seed: int) -> Log:
    """The log of all these houses, their bursts interleaved at random; 1 % of the messages are corrupt, none of PRESENT's: the same at any hour."""
    rng = np.random.default_rng(seed)
    day = int(DAY_MS / BURST_MS)
    place = ("America/New_York", date(2011, 4, 18))
    queues = {house: disturb(house_bursts(house, *of_house, rng), rng) for house, of_house in NORMAL.items()}
    queues[AHEAD] = jumps(AHEAD, place, rng, {day: 20, day + 6: 0, 2 * day: 2.13, 2 * day + 9: 0, 3 * day: 50, 3 * day + 2: 0})
    hours = {day: -1, day + 9: 0, 2 * day: -0.61, 2 * day + 9: 0, 3 * day: -30, 3 * day + 4: 0, 4 * day + 20: 20, 4 * day + 21: 0}
    queues[BEHIND] = jumps(BEHIND, place, rng, hours)
    queues[PRESENT] = present_bursts(rng)
    queues[POISON] = poison_bursts(rng)
    order = np.concatenate([np.full(len(queue), house) for house, queue in queues.items()])
    houses = rng.permutation(order).tolist()
    payloads = [encode_burst(queues[house].pop(0)) for house in houses]
    small = [i for i, house in enumerate(houses) if house != PRESENT and len(payloads[i]) < 1000]
    for i in rng.choice(small, len(payloads) // 100, replace=False).tolist():
        payloads[i] = corrupt(payloads[i], rng)
    payloads.insert(len(payloads) // 2, HEADERS["reading_burst"] + rng.bytes(LARGEST_BYTES - 10))
    log = Log([], [], [], 0)
    for payload in payloads:
        log.messages.append((b"", payload))
        if burst := usable(payload):
            log.bursts.append(burst)
        else:
            log.dead.append(payload)
    return log

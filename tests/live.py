"""A few houses that send a burst each second, on top of two days of history, for tests that need data as it comes."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta

import numpy as np

from generator.bursts import in_order
from generator.houses import House
from smartmeter.kafka.producer import Producer
from smartmeter.local_days import local_date
from smartmeter.messages.codec import Burst

HISTORY_DAYS = 2
HISTORY_BURST_S = 300
RAISED_WATTS = 100_000
RAISED_S = 8
RAISED_AGO_MS = 3 * 3_600_000
SETTLE_S = 3  # live bursts before the first spike
RAISED_METER = 1
"""Of each house, in the history: a mains, which is always on and so has a limit."""


def send_history(producer: Producer, houses: list[House]) -> None:
    """The last days to the present minute, with one spike a house, some three hours ago."""
    now_ms = round(time.time() * 1000)
    today = local_date(now_ms, houses[0].timezone)
    for house in houses:
        producer.send_house(house.record())
    for burst in in_order(houses, today - timedelta(days=HISTORY_DAYS), today + timedelta(days=1), HISTORY_BURST_S):
        if burst.end_ms > now_ms:
            break
        is_raised = burst.start_ms <= now_ms - RAISED_AGO_MS < burst.end_ms
        producer.send_burst(raise_watts(burst, {(burst.house_id, RAISED_METER): burst.end_ms}, {}) if is_raised else burst)


def send_live(
    producer: Producer, houses: list[House], watched: dict[int, list[int]], seconds: float, spikes_per_s: float
) -> dict[str, float]:
    """A burst a house each second, as the second ends, with spikes for so long. Returns alert_id -> time at which its first reading was sent."""
    rng, sent, raised_until = np.random.default_rng(1), {}, {}
    begin = time.time()
    today = local_date(round(begin * 1000), houses[0].timezone)
    raising = begin + SETTLE_S
    for burst in in_order(houses, today, today + timedelta(days=2), 1):
        if burst.end_ms / 1000 < begin:
            continue
        if burst.end_ms / 1000 > raising + seconds + RAISED_S:
            return sent
        while (ahead := burst.end_ms / 1000 - time.time()) > 0:
            producer.wait(ahead)
        if raising <= burst.end_ms / 1000 < raising + seconds and rng.random() < spikes_per_s / len(houses):
            meter_id = int(rng.choice(watched[burst.house_id]))
            raised_until.setdefault((burst.house_id, meter_id), burst.end_ms + RAISED_S * 1000)
        producer.send_burst(raise_watts(burst, raised_until, sent))
    return sent


def raise_watts(burst: Burst, raised_until: dict[tuple[int, int], int], sent: dict[str, float]) -> Burst:
    """The burst with the readings of raised meters far over any limit; notes when an alert's first one is sent."""
    meters = {meter: until for (house, meter), until in raised_until.items() if house == burst.house_id and burst.end_ms <= until}
    if not meters:
        return burst
    watts, ends = burst.watts.copy(), np.cumsum(burst.counts)
    for meter_id in meters:
        [column] = np.flatnonzero(burst.meter_ids == meter_id)
        readings = slice(ends[column] - burst.counts[column], ends[column])
        watts[readings] += RAISED_WATTS
        if burst.counts[column] and not any(alert.startswith(f"{burst.house_id}/{meter_id}/") for alert in sent):
            start_ms = burst.start_ms + int(burst.deltas[readings.start]) * burst.tick_ms
            sent[f"{burst.house_id}/{meter_id}/{start_ms}"] = time.time()
    return replace(burst, watts=watts)

"""The sender of bench.live, a process of its own: bursts of one second from many houses, some with added spikes.

Its last line is JSON: readings, seconds, ended (Unix time), latest_s (how late the latest burst was sent), and sent (alert_id -> Unix
time at which its first reading was sent).
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace

import numpy as np

from bench import live
from bench.copies import Copies
from smartmeter.kafka.producer import Producer
from smartmeter.messages.codec import decode_burst, encode_burst
from smartmeter.settings import Settings

HOURS = range(12, 13)
PARTS_OF_SECOND = 100
"""A second is divided into these parts. The houses are spread over them, so they do not all send at the same moment."""

RAISED_WATTS = 100_000
RAISED_S = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    live.add_arguments(parser)
    parser.add_argument("--begin", type=int, required=True, help="first second, in s since 1970-01-01T00:00Z")
    args = parser.parse_args()
    settings = Settings.load()
    copies = Copies(args.houses, 1, 1 if args.every_second else None, HOURS)
    spikes = Spikes(live.watched_meters(settings))
    readings, latest_s, seconds = 0, 0.0, live.SETTLE_S + args.seconds + RAISED_S
    with Producer(settings) as producer:
        for step in range(seconds):
            spikes.advance(step, args.spikes_per_s if live.SETTLE_S <= step < live.SETTLE_S + args.seconds else 0)
            sent, late_s = send_second(producer, copies, spikes, step, args.begin + step)
            readings, latest_s = readings + sent, max(latest_s, late_s)
        ended = time.time()
    took_s = max(seconds, ended - args.begin - 1)
    print(json.dumps({"readings": readings, "seconds": took_s, "ended": ended, "latest_s": latest_s, "sent": spikes.sent}))


def send_second(producer: Producer, copies: Copies, spikes: Spikes, step: int, second: int) -> tuple[int, float]:
    """Send the burst of each house, spread over the second after it. Returns (readings, s by which the latest part was late)."""
    readings, latest_s, groups = 0, 0.0, np.array_split(copies.house_ids, PARTS_OF_SECOND)
    for step, house_ids in enumerate(groups):
        due = second + 1 + step / PARTS_OF_SECOND
        while (ahead := due - time.time()) > 0:
            producer.wait(ahead)
        latest_s = max(latest_s, -ahead)
        for house_id in house_ids.tolist():
            message, count = copies.message(house_id, step, second * 1000)
            if house_id in spikes.raised:
                message = spikes.put_in(message)
            copies.send(producer, house_id, message, second * 1000)
            readings += count
    return readings, latest_s


class Spikes:
    """Raises meters far over their limit for RAISED_S, each at most once. watched: house -> its meters with a limit."""

    def __init__(self, watched: dict[int, list[int]]):
        self._rng = np.random.default_rng(1)
        self._left = [(house_id, meter_id) for house_id, meters in watched.items() for meter_id in meters]
        self._rng.shuffle(self._left)
        self.raised: dict[int, dict[int, int]] = {}  # house -> meter -> step at which it ends
        self._sent: dict[
            tuple[int, int], tuple[int, float]
        ] = {}  # (house, meter) -> (time of its first raised reading, when that was sent)

    def advance(self, step: int, per_s: float) -> None:
        """Advance to a step, and raise per_s more meters on average."""
        self.raised = {
            house_id: lasting
            for house_id, meters in self.raised.items()
            if (lasting := {meter_id: end for meter_id, end in meters.items() if end > step})
        }
        for _ in range(min(self._rng.poisson(per_s), len(self._left))):
            house_id, meter_id = self._left.pop()
            self.raised.setdefault(int(house_id), {})[int(meter_id)] = step + RAISED_S

    def put_in(self, message: bytes) -> bytes:
        """A house's burst, with the readings of its raised meters far over any limit."""
        burst = decode_burst(message)
        watts, ends = burst.watts.copy(), np.cumsum(burst.counts)
        for meter_id in self.raised[burst.house_id]:
            [column] = np.flatnonzero(burst.meter_ids == meter_id)
            if burst.counts[column]:
                first = ends[column] - burst.counts[column]
                watts[first : ends[column]] += RAISED_WATTS
                start_ms = burst.start_ms + int(burst.deltas[first]) * burst.tick_ms
                self._sent.setdefault((burst.house_id, meter_id), (start_ms, time.time()))
        return encode_burst(replace(burst, watts=watts))

    @property
    def sent(self) -> dict[str, float]:
        """alert_id -> Unix time at which its first reading was sent."""
        return {f"{house_id}/{meter_id}/{start_ms}": sent for (house_id, meter_id), (start_ms, sent) in self._sent.items()}


if __name__ == "__main__":
    main()

"""Turns the readings of a request into bursts.

A burst claims that its channels took no other readings in its span (docs/design.md, "The reading burst"). So it spans no more than what the
request has of a channel: from its first reading to its newest, with no pause over LONGEST_PAUSE_MS. Only a live request goes on from where
the channel's last burst ended, so that a day has few sections: what a device measures next is later. History may come in any order.
Channels with the same span share a burst.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np

from gateway.config import House
from gateway.gathering import LONGEST_PAUSE_MS
from gateway.http_readings import Reading
from gateway.source import stamp_ms
from smartmeter.arrays import Int32s, Ints
from smartmeter.local_days import NEVER
from smartmeter.messages.codec import POWER, Burst
from smartmeter.settings import DAY_MS

Channel = tuple[int, int]
"""(quantity, meter), in the order of a burst's channels."""
Values = list[tuple[int, float]]
"""(time in ms, W or mWh) of each reading of a channel, in ascending order of time."""
Span = tuple[int, int]


class Spans:
    """How far the bursts of each channel reach. left_out: called with (reason, readings) for what no burst has."""

    def __init__(self, left_out: Callable[[str, int], None]):
        self._left_out = left_out
        self._covered: dict[tuple[int, Channel], int] = {}

    def bursts(self, house: House, readings: Iterable[Reading], arrived_ms: int) -> list[Burst]:
        """The bursts of a request that arrived at a time, in order of their start."""
        own: dict[Channel, list[Reading]] = defaultdict(list)
        for reading in readings:
            own[reading.quantity, reading.meter_id].append(reading)
        of_span: dict[Span, dict[Channel, Values]] = defaultdict(dict)
        for channel, found in sorted(own.items()):
            covered_ms = self._covered.get((house.house_id, channel), NEVER)
            values = self._in_order(found, arrived_ms, covered_ms)
            is_live = arrived_ms - values[0][0] <= LONGEST_PAUSE_MS
            for span, piece in _pieces(values, covered_ms if is_live else NEVER):
                of_span[span][channel] = piece
            self._covered[house.house_id, channel] = max(covered_ms, values[-1][0] + 1)
        return [_burst(house, span, channels) for span, channels in sorted(of_span.items())]

    def _in_order(self, readings: Sequence[Reading], arrived_ms: int, covered_ms: int) -> Values:
        """The values of a channel. Readings without a time are stamped one after the other; of two at the same time the later one counts."""
        free_ms = stamp_ms(arrived_ms, covered_ms)
        found: dict[int, float] = {}
        for reading in readings:
            if reading.time_ms is None:
                found[free_ms] = reading.value
                free_ms += 1
            else:
                found[reading.time_ms] = reading.value
        if repeated := len(readings) - len(found):
            self._left_out("same time", repeated)
        return sorted(found.items())


def _pieces(values: Values, covered_ms: int) -> Iterator[tuple[Span, Values]]:
    """The values cut at pauses and days, each with its span. The first one goes on from covered_ms, unless a pause lies between."""
    times_ms = np.array([time_ms for time_ms, _ in values])
    cuts = np.flatnonzero((np.diff(times_ms) > LONGEST_PAUSE_MS) | (np.diff(times_ms // DAY_MS) > 0)) + 1
    for begin, end in pairwise([0, *cuts.tolist(), len(values)]):
        first_ms, end_ms = values[begin][0], values[end - 1][0] + 1
        start_ms = covered_ms if 0 <= first_ms - covered_ms <= LONGEST_PAUSE_MS else first_ms
        covered_ms = end_ms
        yield (start_ms, end_ms), values[begin:end]


def _burst(house: House, span: Span, channels: dict[Channel, Values]) -> Burst:
    """The burst of some channels, which are in order."""
    powers = [values for (quantity, _), values in channels.items() if quantity == POWER]
    registers = [values for (quantity, _), values in channels.items() if quantity != POWER]
    quantities = np.array([quantity for quantity, _ in channels] if registers else [], np.int32)
    holds_s = np.array([0 if quantity else house.by_http[meter_id].holds_s for quantity, meter_id in channels], np.int32)
    return Burst(
        house.house_id,
        house.timezone,
        *span,
        1,
        np.array([meter_id for _, meter_id in channels], np.int32),
        np.array([len(values) for values in channels.values()], np.int32),
        np.concatenate([_deltas(values, span[0]) for values in channels.values()]),
        np.array([watts for values in powers for _, watts in values], np.float32),
        quantities,
        holds_s if holds_s.any() else holds_s[:0],
        np.concatenate([np.empty(0, np.int64), *(_differences(values) for values in registers)]),
    )


def _deltas(values: Values, start_ms: int) -> Int32s:
    """The time since the reading before, or since the start, int32 (n,), ms."""
    return np.diff([time_ms for time_ms, _ in values], prepend=start_ms).astype(np.int32)


def _differences(values: Values) -> Ints:
    """The first value of a register and then the differences, int64 (n,), mWh."""
    return np.diff(np.array([mwh for _, mwh in values], np.int64), prepend=0)

"""A log in parts, for what happens to Kafka while data flows.

Houses move to other partitions when some are added. Were a house's burst in its new partition read before one that still waits in the
old one, and its day closed by it, that one would be late. So the messages sent meanwhile are from the middle of a day.
"""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np

from smartmeter.messages.codec import encode_burst
from tests.pipeline.logs import BURST_MS, Log, disturb, house_bursts

HOUSES = {house: ("America/New_York", date(2013, 4, 4) + timedelta(days=house)) for house in (3, 4, 5, 9)}
"""Each in another one of four partitions. Not 1 and 2, which are the generator's."""
A_DAY = 86_400_000 // BURST_MS
BEFORE, MOVE, AFTER = "before", "while partitions are added", "after"
SPANS = {BEFORE: slice(0, 2 * A_DAY + 30), MOVE: slice(2 * A_DAY + 30, 2 * A_DAY + 80), AFTER: slice(2 * A_DAY + 80, None)}
"""Of a house's bursts; the third day's morning and evening bound the middle one."""


def pieces_of_a_log(seed: int) -> tuple[Log, dict[str, list]]:
    """A log, and its messages part by part, each disturbed for itself; the middle one is not."""
    rng = np.random.default_rng(seed)
    houses = [house_bursts(house, *place, rng) for house, place in HOUSES.items()]
    log, pieces = Log([], [], [], 0), {}
    for name, span in SPANS.items():
        queues = [bursts[span] if name == MOVE else disturb(bursts[span], rng) for bursts in houses]
        order = rng.permutation(np.repeat(np.arange(len(queues)), list(map(len, queues))))
        bursts = [queues[house].pop(0) for house in order.tolist()]
        pieces[name] = [(b"%d" % burst.house_id, encode_burst(burst)) for burst in bursts]
        log.bursts += bursts
        log.messages += pieces[name]
    return log, pieces

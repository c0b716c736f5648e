"""Messages through the operators: ToBatches, and Houses after it."""

from collections import Counter

import numpy as np
import pandas as pd

from jobs.core.batches import Wanted
from jobs.daily_energy import DailyEnergy
from jobs.flink.operator import Houses
from jobs.flink.to_batches import ToBatches
from jobs.power_profile import PowerProfile
from jobs.spikes import Spikes
from jobs.thresholds import Thresholds
from smartmeter.messages.codec import Burst, decode, encode_burst
from smartmeter.run import LIVE
from smartmeter.settings import Settings
from tests.unit.driver import SHARDS
from tests.unit.flink_stand_in import FlinkStandIn
from tests.unit.logs import HOUR_MS, START_MS, burst


def stages(setting):
    return [DailyEnergy(setting), Thresholds(setting), Spikes(setting), PowerProfile()]


def to_batches(payloads, received_ms=0, first_offset=0, counted=None, of_run=LIVE):
    """The rows that ToBatches makes of messages of partition 3, without those that are null."""
    function = ToBatches(Settings(), Wanted(True, 99.0, True), list(range(SHARDS)), of_run)
    flink = FlinkStandIn()
    flink.counted = Counter() if counted is None else counted
    function.open(flink)
    n = len(payloads)
    times = pd.Series(pd.to_datetime(np.full(n, received_ms, "datetime64[ms]"), utc=True))
    frame = function.eval(
        pd.Series(payloads, dtype=object),
        pd.Series(np.full(n, 3, np.int32)),
        pd.Series(np.arange(first_offset, first_offset + n, dtype=np.int64)),
        times,
    )
    assert len(frame) == n
    return [row for row in frame.itertuples(index=False, name=None) if row[0] is not None]


def houses(rows, keyed, stages, run=LIVE):
    """(topic, record) that Houses makes of rows of ToBatches."""
    function = Houses(Settings(), stages, run)
    function.open(keyed)
    found = []
    for keyed.key, *row in rows:
        found += [(topic, decode(value)[1]) for topic, _, value in function.process_element(row, keyed)]
    return found


def run(payloads, keyed, received_ms=0, first_offset=0):
    """(topic, record) of what the pipeline makes of messages."""
    return houses(to_batches(payloads, received_ms, first_offset=first_offset), keyed, stages(Settings()))


def good(house_id, hour=0, offset_ms=0):
    at = START_MS + hour * HOUR_MS
    return encode_burst(burst(at, at + HOUR_MS, {1: [(at + offset_ms, 100)]}, house_id=house_id))


def of_meters(meters: int, hours: int, house_id=1) -> bytes:
    none = np.empty(0, np.int32)
    return encode_burst(
        Burst(
            house_id,
            "UTC",
            START_MS,
            START_MS + hours * HOUR_MS,
            1000,
            np.arange(1, meters + 1, dtype=np.int32),
            np.zeros(meters, np.int32),
            none,
            none.astype(np.float32),
        )
    )

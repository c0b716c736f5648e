"""One house: its batch of some bursts, and its days from bursts to results."""

from datetime import timedelta

import numpy as np

from jobs.core.batches import Batch, Wanted, house_batches
from jobs.core.house_days import LATE, OVERLAPPING, HouseDays, Rules
from jobs.core.readings import read
from jobs.core.sections import arrivals
from smartmeter.messages.codec import encode_burst
from tests.oracle import EPOCH
from tests.unit.logs import HOUR_MS

ALL = Wanted(histograms=True, readings_over_watts=50.0, minutes=True)


def batch_of(*bursts, whole=True) -> Batch:
    """The batch of some bursts; they may overlap with earlier ones if whole. The message of each is at partition 3, offset 100 and on."""
    readings, reasons = read([encode_burst(b) for b in bursts], 2**60)
    assert not reasons
    [batch] = house_batches(
        readings, np.full(len(bursts), 3), 100 + readings.bursts["message"], 1_000_000, ALL, np.full(len(bursts), whole)
    )
    return batch


def run(bursts, rules, batches=None):
    """(results by (meter, date) with the last revision holding, late readings by date, the state) of one house."""
    house, results, late = None, {}, {}
    for size in batches or [len(bursts)]:
        batch, bursts = bursts[:size], bursts[size:]
        readings, reasons = read([encode_burst(b) for b in batch], 2**60)
        assert not reasons
        sections, _ = arrivals(readings, np.zeros(len(batch), int), np.arange(len(batch)), rules.max_sample_period_ms)
        house = house or HouseDays.known(None, batch[0].timezone)
        verdict, _, _ = house.take(sections, int(readings.bursts["newest_ms"].max()), rules)
        for row in sections[(verdict == LATE) | (verdict == OVERLAPPING)]:
            day = EPOCH + timedelta(days=int(row["day"]))
            late[day] = late.get(day, 0) + int(row["readings"] + row["refused"])
        if house.over_by_now(rules) > house.closed_day or not bursts:
            rows, final = house.results(rules, ended=not bursts)
            for row, is_final in zip(rows, final.tolist()):
                key = int(row["meter_id"]), EPOCH + timedelta(days=int(row["day"]))
                assert key not in results or not results[key][1], "a result after the final one"
                results[key] = row, is_final
            house.close(rules)
        house = HouseDays.from_bytes(house.to_bytes())
        if not bursts:
            break
    return results, {day: n for day, n in late.items() if n}, house


RULES = Rules(max_sample_period_ms=1_000_000, allowed_lateness_ms=HOUR_MS)

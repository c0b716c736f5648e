"""Precision and recall of the alerts on synthetic houses, against the injected spikes."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from clickhouse_connect.driver.client import Client

from generator.synthetic import MAINS

Span = tuple[int, int]
"""[start, end) in ms."""

ALERTS = "SELECT house_id, meter_id, toUnixTimestamp64Milli(start), toUnixTimestamp64Milli(end) FROM alerts FINAL WHERE kind = 'level'"
IN_FORCE = """
    SELECT house_id, meter_id, toUnixTimestamp64Milli(valid_from), toUnixTimestamp64Milli(valid_to)
    FROM thresholds FINAL WHERE limit_watts IS NOT NULL"""


@dataclass(frozen=True)
class Score:
    """Counts of alerts and of injected spikes. `judged`: spikes that began while a limit was in force for their meter."""

    alerts: int
    true_alerts: int
    spikes: int
    found: int
    judged: int
    judged_found: int

    def __str__(self) -> str:
        warming_up = self.spikes - self.judged
        return (
            f"{self.alerts:,} alerts of kind level, {self.true_alerts:,} of them on one of the {self.spikes:,} spikes put in: "
            f"precision {_share(self.true_alerts, self.alerts)}\n"
            f"recall {_share(self.judged_found, self.judged)} ({self.judged_found:,} of {self.judged:,}), leaving out "
            f"{warming_up:,} spikes on meters that were still warming up; {_share(self.found, self.spikes)} of all"
        )


def score(client: Client, truth: Path) -> Score:
    """Compare the alerts in the tables with a file of injected spikes (generator.synthetic.write_ground_truth).

    An alert is true if it overlaps a spike of its meter. An alert of the mains is true if it overlaps any spike of its house, as
    the mains carry the appliances' load. A spike is found if an alert of its own meter overlaps it.
    """
    spikes = _by_meter(
        (int(row["house_id"]), int(row["meter_id"]), int(row["start_ms"]), int(row["end_ms"]))
        for row in csv.DictReader(truth.read_text().splitlines())
    )
    alerts, in_force = _by_meter(client.query(ALERTS).result_rows), _by_meter(client.query(IN_FORCE).result_rows)
    of_house: dict[int, list[Span]] = defaultdict(list)
    for (house_id, _), spans in spikes.items():
        of_house[house_id] += spans
    mains = {meter.meter_id for meter in MAINS}
    true_alerts = [
        _overlaps(span, of_house[house] if meter in mains else spikes[house, meter])
        for (house, meter), spans in list(alerts.items())
        for span in spans
    ]
    every = [(place, span) for place, spans in list(spikes.items()) for span in spans]
    found = [_overlaps(span, alerts[place]) for place, span in every]
    judged = [_overlaps((span[0], span[0] + 1), in_force[place]) for place, span in every]
    return Score(len(true_alerts), sum(true_alerts), len(every), sum(found), sum(judged), sum(f and j for f, j in zip(found, judged)))


def _by_meter(rows: Iterable[Sequence[int]]) -> dict[tuple[int, int], list[Span]]:
    spans = defaultdict(list)
    for house_id, meter_id, start_ms, end_ms in rows:
        spans[house_id, meter_id].append((start_ms, end_ms))
    return spans


def _overlaps(span: Span, others: list[Span]) -> bool:
    return any(start < span[1] and span[0] < end for start, end in others)


def _share(count: int, whole: int) -> str:
    return f"{count / whole:.3f}" if whole else "undefined"

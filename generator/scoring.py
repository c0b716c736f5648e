"""Precision and recall of the alerts on synthetic houses, by kind, against the injected faults."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from clickhouse_connect.driver.client import Client

from generator.faults import HISTORY_DAYS, OF_METER, RATES, Fault, belongs, read_ground_truth
from generator.synthetic import MAINS
from smartmeter.text_tables import table

ALERTS = "SELECT house_id, meter_id, toUnixTimestamp64Milli(start), toUnixTimestamp64Milli(end), kind FROM alerts FINAL"
VERSIONS = """
    SELECT house_id, meter_id, toUnixTimestamp64Milli(valid_from), toUnixTimestamp64Milli(valid_to), limit_watts IS NOT NULL
    FROM thresholds FINAL"""

BY_LIMIT = ("level", "glitch")
"""Kinds of fault that a limit finds. Others need HISTORY_DAYS."""

Version = tuple[int, int, bool]
"""(valid from, valid to, in ms; whether there is a limit) of a meter's threshold."""


@dataclass(frozen=True)
class Score:
    """Counts of alerts and of injected faults, of one kind. `judged`: faults that could be found; `found`: those of them that were."""

    kind: str
    alerts: int
    true_alerts: int
    faults: int
    judged: int
    found: int

    @property
    def row(self) -> list[str | int]:
        """This score as a row of a table, with precision and recall."""
        precision, recall = _share(self.true_alerts, self.alerts), _share(self.found, self.judged)
        return [self.kind, self.alerts, self.true_alerts, precision, self.faults, self.judged, self.found, recall]


def score(client: Client, truth: Path) -> list[Score]:
    """Compare the alerts in the tables with a file of injected faults (generator.faults.write_ground_truth): by kind, then all.

    An alert is true if it belongs to a fault of its meter, whatever the fault's kind. An alert of the mains is also true if it belongs to a
    fault of an appliance that changes the power that flows. A fault is found if an alert of its meter belongs to it, whatever the alert's kind.
    """
    faults, alerts = read_ground_truth(truth), client.query(ALERTS).result_rows
    versions = defaultdict(list)
    for house_id, meter_id, *version in client.query(VERSIONS).result_rows:
        versions[house_id, meter_id].append(tuple(version))
    by_house: dict[int, list[Fault]] = defaultdict(list)
    for fault in faults:
        by_house[fault.house_id].append(fault)
    sent, true, every = Counter(alert[4] for alert in alerts), Counter[str](), Counter(fault.kind for fault in faults)
    for house_id, meter_id, start_ms, end_ms, kind in alerts:
        true[kind] += _is_true(meter_id, start_ms, end_ms, by_house[house_id])
    judged = [fault for fault in faults if _can_be_found(fault, versions[fault.house_id, fault.meter_id])]
    spans = defaultdict(list)
    for house_id, meter_id, start_ms, end_ms, _ in alerts:
        spans[house_id, meter_id].append((start_ms, end_ms))
    found = Counter(f.kind for f in judged if any(belongs(*span, f.start_ms, f.end_ms) for span in spans[f.house_id, f.meter_id]))
    of_kind = Counter(fault.kind for fault in judged)
    kinds = [*RATES, *sorted(sent.keys() - RATES.keys())]
    scores = [Score(kind, *(counts[kind] for counts in (sent, true, every, of_kind, found))) for kind in kinds]
    return [*scores, Score("all", *(counts.total() for counts in (sent, true, every, of_kind, found)))]


def report(scores: Iterable[Score]) -> str:
    """Scores as a table."""
    return table(["kind", "alerts", "true", "precision", "faults", "judged", "found", "recall"], [each.row for each in scores])


def _is_true(meter_id: int, start_ms: int, end_ms: int, faults: Iterable[Fault]) -> bool:
    mains = {meter.meter_id for meter in MAINS}
    return any(
        belongs(start_ms, end_ms, fault.start_ms, fault.end_ms)
        for fault in faults
        if fault.meter_id == meter_id or (meter_id in mains and fault.meter_id not in mains and fault.kind not in OF_METER)
    )


def _can_be_found(fault: Fault, versions: Sequence[Version]) -> bool:
    """Whether the meter has a limit when a fault begins; for other kinds, whether it has had HISTORY_DAYS, and the fault ends with the data."""
    if fault.kind in BY_LIMIT:
        return any(begin <= fault.start_ms < end and limited for begin, end, limited in versions)
    before = sum(begin <= fault.start_ms for begin, _, _ in versions)
    return before > HISTORY_DAYS and fault.end_ms <= max(end for _, end, _ in versions)


def _share(count: int, whole: int) -> str:
    return f"{count / whole:.3f}" if whole else "-"

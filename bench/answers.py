"""Compares a peer's results with ours: its files against the topics daily_energy, thresholds and alerts.

- Daily energy: the same meters and days, with the same number of readings. kWh may differ by KWH_TOLERANCE, because sums of floats depend
  on their order (ours are of integers).
- Thresholds: the same meters and days. Both percentiles are within 1 % of the exact one, so they may differ by WATTS_TOLERANCE.
- Alerts: the same starts. An alert may be missing on one side only if its peak exceeds the limit by no more than WATTS_TOLERANCE.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from smartmeter.messages import topics
from smartmeter.messages.codec import decode
from smartmeter.messages.framing import framing
from smartmeter.settings import Settings

KWH_TOLERANCE = 1e-6
WATTS_TOLERANCE = 0.02
METER_DAY = ["house_id", "meter_id", "date"]  # date: days since 1970-01-01
ALERT = ["house_id", "meter_id", "start"]  # start: ms since 1970-01-01T00:00Z
COLUMNS = {
    "daily_energy": [*METER_DAY, "kwh", "readings"],
    "thresholds": [*METER_DAY, "percentile_watts", "limit_watts"],
    "alerts": [*ALERT, "readings", "peak_watts", "limit_watts"],
}


class Different(Exception):
    """A peer's result differs from ours. The message names the first difference."""


@dataclass(frozen=True)
class Differences:
    """How far a peer's results differ from ours, within the tolerances."""

    days: int
    most_kwh_relative: float
    thresholds: int | None = None  # None if the peer has none
    most_watts_relative: float | None = None
    alerts: int | None = None  # of either side
    marginal_alerts: int | None = None  # those that only one side has


OF_READINGS = ("level", "glitch")
"""The kinds of alerts that other engines compute too; not those of duration."""


def ours(settings: Settings) -> dict[str, pd.DataFrame]:
    """Our results, by topic: the newest of each key, without retracted alerts."""
    thresholds = [
        meter | {"house_id": version["house_id"], "date": version["date"]}
        for version in newest(settings, "thresholds")
        for meter in version["meters"]
    ]
    alerts = [alert for alert in newest(settings, "alerts") if not alert["retracted"] and alert["kind"] in OF_READINGS]
    found = {"daily_energy": newest(settings, "daily_energy"), "thresholds": thresholds, "alerts": alerts}
    return {name: pd.DataFrame(records, columns=COLUMNS[name]) for name, records in found.items()}


def newest(settings: Settings, name: str) -> list[dict]:
    """The record with the highest revision of each key in a result topic."""
    consumer = Consumer(
        {"bootstrap.servers": settings.kafka.address, "group.id": "answers", "enable.auto.commit": False, "enable.partition.eof": True}
    )
    full = topics.topic(settings, name)
    left = set(consumer.list_topics(full, 10).topics[full].partitions)
    consumer.assign([TopicPartition(full, partition, OFFSET_BEGINNING) for partition in left])
    records = {}
    while left:
        for message in consumer.consume(1000, 1):
            if message.error():
                left.discard(message.partition())
                continue
            _, record = decode(framing(settings).received(message.value()))
            if message.key() not in records or records[message.key()]["revision"] <= record["revision"]:
                records[message.key()] = record
    consumer.close()
    return list(records.values())


def theirs(folder: Path) -> dict[str, pd.DataFrame]:
    """The results written by a peer: NAME.parquet or NAME.csv (no header), each a file or a folder of files."""
    found = {}
    for name, columns in COLUMNS.items():
        table, lines = folder / f"{name}.parquet", folder / f"{name}.csv"
        files = sorted(lines.glob("[!._]*")) if lines.is_dir() else [lines] if lines.exists() else []
        if table.exists():
            rows = pd.read_parquet(table)
        elif files:
            rows = pd.concat(pd.read_csv(file, names=columns) for file in files)
        else:
            continue
        if "date" in rows:
            rows["date"] = (pd.to_datetime(rows["date"]) - pd.Timestamp(0)).dt.days
        found[name] = rows[columns]
    return found


def compare(our: dict[str, pd.DataFrame], their: dict[str, pd.DataFrame]) -> Differences:
    """The differences within the tolerances. Raises Different if any is larger, or if there is no daily energy."""
    if "daily_energy" not in their:
        raise Different("it has no daily energy")
    energy = Differences(*compare_energy(our["daily_energy"], their["daily_energy"]))
    if "thresholds" not in their:
        return energy
    return Differences(
        energy.days,
        energy.most_kwh_relative,
        *compare_thresholds(our["thresholds"], their["thresholds"]),
        *compare_alerts(our["alerts"], their["alerts"]),
    )


def compare_energy(our: pd.DataFrame, their: pd.DataFrame) -> tuple[int, float]:
    """(days, highest relative difference of their kWh)."""
    both = matched("daily_energy", our, their, METER_DAY)
    if len(wrong := both[both["readings"] != both["readings_theirs"]]):
        raise differs("daily_energy", wrong, "readings")
    return len(both), most_relative("daily_energy", both, "kwh", KWH_TOLERANCE)


def compare_thresholds(our: pd.DataFrame, their: pd.DataFrame) -> tuple[int, float]:
    """(meters and days, highest relative difference of their percentiles)."""
    both = matched("thresholds", our, their, METER_DAY)
    return len(both), most_relative("thresholds", both, "percentile_watts", WATTS_TOLERANCE)


def compare_alerts(our: pd.DataFrame, their: pd.DataFrame) -> tuple[int, int]:
    """(number of alerts of either side, number that only one side has and that barely exceed their limit)."""
    both = joined(our, their, ALERT)
    alone = both[both["side"] != "both"]
    over = alone["peak_watts"].fillna(alone["peak_watts_theirs"]) / alone["limit_watts"].fillna(alone["limit_watts_theirs"])
    if len(clear := alone[over > 1 + WATTS_TOLERANCE]):
        raise missing("alerts", clear, ALERT)
    return len(both), len(alone)


def matched(name: str, our: pd.DataFrame, their: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """The rows of both sides. Raises Different unless both have the same keys."""
    both = joined(our, their, keys)
    if len(alone := both[both["side"] != "both"]):
        raise missing(name, alone, keys)
    return both


def joined(our: pd.DataFrame, their: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """All rows of either side, joined by key. Other columns occur twice, the peer's with the suffix _theirs."""
    if their.duplicated(keys).any():
        raise Different(f"it has {key_of(their[their.duplicated(keys)], keys)} more than once")
    return our.merge(their, "outer", keys, suffixes=("", "_theirs"), indicator="side").sort_values(keys)


def most_relative(name: str, both: pd.DataFrame, column: str, tolerance: float) -> float:
    """The highest relative difference of a column. Raises Different if it exceeds the tolerance."""
    off = (both[f"{column}_theirs"] - both[column]).abs() / both[column].abs().clip(lower=math.ulp(0.0))
    if len(wrong := both[~(off <= tolerance)]):
        raise differs(name, wrong, column)
    return float(off.max())


def differs(name: str, wrong: pd.DataFrame, column: str) -> Different:
    row = wrong.iloc[0]
    return Different(f"{name}: {key_of(wrong, METER_DAY)} has {column} {row[f'{column}_theirs']}, not {row[column]} ({len(wrong)} differ)")


def missing(name: str, alone: pd.DataFrame, keys: list[str]) -> Different:
    fault = "is missing" if alone["side"].iloc[0] == "left_only" else "is not one of ours"
    return Different(f"{name}: {key_of(alone, keys)} {fault} ({len(alone)} such)")


def key_of(rows: pd.DataFrame, keys: list[str]) -> str:
    """The key of the first row, in words."""
    return ", ".join(f"{key} {int(rows[key].iloc[0])}" for key in keys)

"""The topics: their names, keys and configurations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smartmeter.run import LIVE, Run
from smartmeter.settings import DAY_MS, Settings

SCHEMA_OF = {
    "readings": "reading_burst",
    "houses": "house",
    "daily_energy": "daily_energy",
    "thresholds": "threshold",
    "alerts": "alert",
    "power_profile": "power_profile",
    "acknowledgements": "acknowledgement",
    "rules": "rule",
    "notifications": "notification",
    "late": "late",
    "dead_letter": "dead_letter",
}
"""Topic -> the schema in avro/ that its messages follow."""

RESULTS = ("daily_energy", "thresholds", "alerts", "power_profile", "late", "dead_letter")
"""The topics that the jobs write."""

COMPACTED = ("houses", "daily_energy", "thresholds", "alerts", "acknowledgements", "rules", "notifications")
"""Topics that keep only the newest message of a key; the others keep all messages."""

LONGEST_MS = 2**63 - 1
LARGEST_MESSAGE_BYTES = 8 << 20
LARGEST_DEAD_LETTER_BYTES = 9 << 20
"""A dead letter holds a message and the reason why it could not be used."""
UNLIMITED = -1

BY_KEY: dict[str, str | float] = {
    "cleanup.policy": "compact",
    "min.cleanable.dirty.ratio": 0.1,
    "delete.retention.ms": DAY_MS,
    "segment.ms": 7 * DAY_MS,
    "max.compaction.lag.ms": 7 * DAY_MS,
}
"""A replaced message is deleted after a week at the latest, however few there are."""

ALL: dict[str, str | float] = {
    "cleanup.policy": "delete",
    "retention.ms": UNLIMITED,
    "retention.bytes": UNLIMITED,
    "segment.ms": LONGEST_MS,
}
"""Segments end by size only: otherwise days that arrive out of order would each begin a segment."""


def topic(settings: Settings, name: str, run: Run = LIVE) -> str:
    """Full name of a topic in the cluster, for a run."""
    into = f"{run.into}." if run.into and name in RESULTS else ""
    archived = "archived." if run.archived and name == "readings" else ""
    return settings.kafka.topic_prefix + into + archived + name


def configuration(settings: Settings, name: str, partitions: int, run: Run = LIVE) -> dict[str, str]:
    """The Kafka configuration of a topic with this number of partitions.

    Timestamps are those of the readings, which may be years old: so no message is too old, and only readings_retention_days deletes by age.
    """
    kept: dict[str, str | float] = {
        "compression.type": "producer",
        "max.message.bytes": LARGEST_DEAD_LETTER_BYTES if name == "dead_letter" else LARGEST_MESSAGE_BYTES,
        "message.timestamp.type": "CreateTime",
        "message.timestamp.before.max.ms": LONGEST_MS,
        "message.timestamp.after.max.ms": LONGEST_MS,
    }
    if settings.kafka.replication:
        kept["min.insync.replicas"] = max(1, settings.kafka.replication - 1)
    if name in COMPACTED:
        kept |= BY_KEY
    elif name == "readings" and not run.archived:
        kept |= _readings_kept(settings, partitions)
    else:
        kept |= ALL
    return {key: str(value) for key, value in kept.items()}


def _readings_kept(settings: Settings, partitions: int) -> dict[str, str | float]:
    """Readings stay forever, or up to the age or size in the settings."""
    kept = dict(ALL)
    if settings.kafka.readings_retention_days:
        kept |= {"retention.ms": settings.kafka.readings_retention_days * DAY_MS, "segment.ms": DAY_MS}
    if settings.kafka.readings_retention_gb:
        kept |= {"retention.bytes": round(settings.kafka.readings_retention_gb * 1e9 / partitions)}
    return kept


def key(name: str, record: Mapping[str, Any]) -> bytes:
    """The message key of a record of topic `name`, in ASCII."""
    if name in ("readings", "houses", "power_profile"):
        return b"%d" % record["house_id"]
    if name == "daily_energy":
        return f"{record['house_id']}/{record['meter_id']}/{record['date']}".encode()
    if name == "thresholds":
        return f"{record['house_id']}/{record['date']}".encode()
    if name in ("alerts", "acknowledgements"):
        return str(record["alert_id"]).encode()
    if name == "rules":
        return f"{record['house_id']}/{record['meter_id']}/{record['valid_from']}".encode()
    if name == "notifications":
        return f"{record['route']}/{record['alert_id']}".encode()
    return b"%d/%d" % (record["partition"], record["offset"])

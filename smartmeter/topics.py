"""The topics: their names, their keys and how each is kept."""

from __future__ import annotations

from smartmeter.settings import Settings

SCHEMA_OF = {
    "readings": "reading_burst",
    "houses": "house",
    "daily_energy": "daily_energy",
    "thresholds": "threshold",
    "alerts": "alert",
    "power_profile": "power_profile",
    "acknowledgements": "acknowledgement",
    "late": "late",
    "dead_letter": "dead_letter",
}
"""Topic -> the schema in avro/ that its messages follow."""

RESULTS = ("daily_energy", "thresholds", "alerts", "power_profile", "late", "dead_letter")
"""The topics that the jobs write."""

CLEANUP = dict.fromkeys(("houses", "daily_energy", "thresholds", "alerts", "acknowledgements"), "compact")
"""Topics of which the newest message of a key is enough; the others are kept by time."""


def topic(settings: Settings, name: str) -> str:
    """Full name of a topic in the cluster."""
    into = f"{settings.into}." if settings.into and name in RESULTS else ""
    return settings.topic_prefix + into + name


def key(name: str, record: dict) -> bytes:
    """The message key of a record of topic `name`, in ASCII."""
    if name in ("readings", "houses", "power_profile"):
        return b"%d" % record["house_id"]
    if name == "daily_energy":
        return f"{record['house_id']}/{record['meter_id']}/{record['date']}".encode()
    if name == "thresholds":
        return f"{record['house_id']}/{record['date']}".encode()
    if name in ("alerts", "acknowledgements"):
        return record["alert_id"].encode()
    return b"%d/%d" % (record["partition"], record["offset"])

"""A message for a receiver: as text for people, and as JSON for programs, in version 4 of Alertmanager's webhook format."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from notify.alerts import Event, What
from notify.directory import Directory
from notify.routes import Route, rank
from smartmeter.messages.records import AlertRecord

LINES_SHOWN = 20
NO_END = "0001-01-01T00:00:00Z"
"""Alertmanager's end of an alert that goes on."""
STATES: dict[What, str] = {"opened": "new", "worse": "now {severity}", "repeat": "still on", "over": "over", "withdrawn": "withdrawn"}
WITHDRAWN = "later readings have shown that there was no such alert"


@dataclass(frozen=True)
class Message:
    """One message. key: the same for the same deliveries of the same alerts, so that a receiver can drop a repeat."""

    key: str
    title: str
    text: str
    document: dict[str, Any]  # the JSON
    severity: str  # the highest of its alerts
    is_over: bool  # whether all of its alerts are over


def message(route: Route, events: list[Event], houses: Directory, external_url: str = "") -> Message:
    """The message for the events of a route; more than one make a digest."""
    document = alertmanager(route, events, houses, external_url)
    lines = [line(event, houses) for event in events[:LINES_SHOWN]]
    if more := len(events) - len(lines):
        lines.append(f"... and {more:,} more")
    if external_url:
        lines.append(f"{external_url}/alerts")
    delivery = [(route.name, event.entry.alert["alert_id"], event.what, event.entry.count) for event in events]
    return Message(
        digest_of(repr(delivery)),
        title(events, houses),
        "\n".join(lines),
        document,
        max((event.entry.alert["severity"] for event in events), key=rank),
        document["status"] == "resolved",
    )


def title(events: list[Event], houses: Directory) -> str:
    """The subject: the alert, or how many of each kind of event there are."""
    if len(events) == 1:
        [(what, entry)] = events
        return (
            f"{state(events[0]).capitalize()}: {place(events[0], houses)}"
            if what != "opened"
            else f"{entry.alert['severity'].capitalize()}: {place(events[0], houses)}"
        )
    counts = {what: sum(event.what == what for event in events) for what in STATES}
    words = {"opened": "new", "worse": "worse", "repeat": "still on", "over": "over", "withdrawn": "withdrawn"}
    return f"{len(events):,} alerts: " + ", ".join(f"{count:,} {words[what]}" for what, count in counts.items() if count)


def line(event: Event, houses: Directory) -> str:
    """An alert in a few sentences."""
    alert = event.entry.alert
    began = houses.local(alert["house_id"], alert["start"])
    reason = WITHDRAWN if event.what == "withdrawn" else reason_of(alert)
    text = f"{place(event, houses)}: {state(event)} ({alert['severity']}, {alert['kind']}): {reason}. "
    if event.entry.is_over:
        return text + f"From {began} to {houses.local(alert['house_id'], alert['end'])}."
    return text + f"Since {began}." + (f" It ends when {alert['ends_when']}." if alert["ends_when"] else "")


def reason_of(alert: AlertRecord) -> str:
    """Why an alert was opened; of those of an old release, which do not state it, the highest power."""
    return alert["reason"] or f"{alert['peak_watts']:,.0f} W"


def state(event: Event) -> str:
    """What has happened, in a word or two."""
    return STATES[event.what].format(severity=event.entry.alert["severity"])


def place(event: Event, houses: Directory) -> str:
    """The house and its meter."""
    alert = event.entry.alert
    house_id, meter_id = alert["house_id"], alert["meter_id"]
    meter = houses.appliance(house_id, meter_id) or f"meter {meter_id}"
    return ", ".join(filter(None, (f"house {house_id}", houses.of(house_id).city, meter)))


def alertmanager(route: Route, events: list[Event], houses: Directory, external_url: str) -> dict[str, Any]:
    """The message in version 4 of Alertmanager's webhook format. A digest groups by route only."""
    alerts = [described(event, houses, external_url) for event in events]
    group = {name: alerts[0]["labels"][name] for name in ("alertname", "house", "meter")} if len(alerts) == 1 else {}
    labels = ",".join(f'{name}="{value}"' for name, value in group.items())
    return {
        "version": "4",
        "groupKey": f'{{}}/{{route="{route.name}"}}:{{{labels}}}',
        "truncatedAlerts": 0,
        "status": "resolved" if all(alert["status"] == "resolved" for alert in alerts) else "firing",
        "receiver": route.name,
        "groupLabels": group,
        "commonLabels": common([alert["labels"] for alert in alerts]),
        "commonAnnotations": common([alert["annotations"] for alert in alerts]),
        "externalURL": external_url,
        "alerts": alerts,
    }


def described(event: Event, houses: Directory, external_url: str) -> dict[str, Any]:
    """An alert of that format. Its fingerprint is that of the episode, whatever is sent of it."""
    alert = event.entry.alert
    house = houses.of(alert["house_id"])
    labels = {
        "alertname": alert["kind"],
        "severity": alert["severity"],
        "house": str(alert["house_id"]),
        "meter": str(alert["meter_id"]),
        "alert_id": alert["alert_id"],
        "appliance": houses.appliance(alert["house_id"], alert["meter_id"]),
        "city": house.city,
    }
    annotations = {"summary": line(event, houses), "reason": alert["reason"], "ends_when": alert["ends_when"], "event": event.what}
    return {
        "status": "resolved" if event.entry.is_over else "firing",
        "labels": {name: value for name, value in labels.items() if value},
        "annotations": {name: value for name, value in annotations.items() if value},
        "startsAt": rfc3339(alert["start"]),
        "endsAt": rfc3339(alert["end"]) if event.entry.is_over else NO_END,
        "generatorURL": f"{external_url}/alerts?{urlencode({'alert': alert['alert_id']})}" if external_url else "",
        "fingerprint": digest_of(alert["alert_id"]),
    }


def common(tables: list[dict[str, str]]) -> dict[str, str]:
    """The items that all tables have in common."""
    return {name: value for name, value in tables[0].items() if all(table.get(name) == value for table in tables)}


def rfc3339(time_ms: int) -> str:
    """A time as text, in UTC."""
    at = datetime.fromtimestamp(time_ms / 1000, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"


def digest_of(text: str) -> str:
    """16 hexadecimal digits for a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]

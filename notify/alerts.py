"""What a route has to deliver of each alert, and when: opened, worse, still on (a repeat), over, withdrawn.

All of it is a function of the alerts, of what was delivered, and of a time that is passed in. An event is derived from the alert as it is
now. So a receiver that was away gets what holds now, once, and not each step on the way there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from notify.routes import Route, rank
from smartmeter.messages.records import AlertRecord
from smartmeter.timezones import zone

What = Literal["opened", "worse", "repeat", "over", "withdrawn"]
FLOOD_S = 60.0
"""The span in which a route without digests sends up to `flood` messages one by one."""
COLLECTED_S = 1.0
"""How long an event waits for others, so that a flood is one message from its beginning on."""
MOST_IN_DIGEST = 5000
"""Alerts in one message. More of them make more messages."""
FORGOTTEN_AFTER = 2
"""An alert that is over is kept for so many times the age from which on it would be new to nobody."""

TimezoneOf = Callable[[int], str]
"""The time zone of a house."""


@dataclass(frozen=True)
class Entry:
    """An alert as a route sees it. Times in ms since 1970-01-01T00:00Z."""

    alert: AlertRecord
    delivered: Literal["", "firing", "resolved"] = ""
    severity: str = ""  # in the last delivery
    count: int = 0
    delivered_ms: int = 0
    pending_ms: int = 0  # since when something waits to be delivered; 0: nothing does

    @property
    def is_over(self) -> bool:
        """Whether the alert no longer goes on."""
        return not self.alert["open"] or self.alert["retracted"]


class Event(NamedTuple):
    """What is to be delivered of an alert."""

    what: What
    entry: Entry


@dataclass(frozen=True)
class Ages:
    """Which alerts matter. first_start_ms: when the service first started; max_age_ms: for how long after its end an alert is news."""

    first_start_ms: int
    max_age_ms: int

    def is_old(self, alert: AlertRecord, now_ms: int) -> bool:
        """Whether an alert that was not seen before is history, such as that of a replay."""
        return alert["end"] < max(self.first_start_ms, now_ms - self.max_age_ms)


def waiting(entry: Entry) -> What | None:
    """What waits to be delivered of an alert, apart from repeats."""
    if entry.delivered == "firing":
        if entry.is_over:
            return "withdrawn" if entry.alert["retracted"] else "over"
        return "worse" if rank(entry.alert["severity"]) > rank(entry.severity) else None
    if entry.alert["retracted"]:
        return None
    if entry.delivered == "resolved":
        return "opened" if entry.alert["open"] else None
    return "over" if entry.is_over else "opened"


@dataclass
class Desk:
    """All alerts of a route."""

    route: Route
    ages: Ages
    entries: dict[str, Entry] = field(default_factory=dict)  # by alert_id
    active: set[str] = field(default_factory=set)  # alerts of which something waits, or may be repeated
    sent_ms: deque[int] = field(default_factory=deque)  # messages within the last FLOOD_S

    def restore(self, entry: Entry) -> None:
        """Put an entry in place that was recorded by an earlier run."""
        self._keep(entry)

    def take(self, alert: AlertRecord, now_ms: int) -> Entry | None:
        """Take a message of the topic alerts. Returns the entry to record, if it changes what is to be delivered."""
        known = self.entries.get(alert["alert_id"])
        if known is None:
            if alert["retracted"] or self.ages.is_old(alert, now_ms) or not self._takes(alert):
                return None
            entry = Entry(alert, pending_ms=now_ms)
            self._keep(entry)
            return entry
        if alert["revision"] < known.alert["revision"]:
            return None
        entry = replace(known, alert=alert)
        what = waiting(entry)
        entry = replace(entry, pending_ms=(known.pending_ms or now_ms) if what else 0)
        self._keep(entry)
        return entry if what != waiting(known) or _differs(alert, known.alert) else None

    def due(self, now_ms: int, timezone_of: TimezoneOf) -> list[Event]:
        """The events of the next message; empty if there is nothing to send now. More than one is a digest."""
        events = [event for alert_id in self.active if (event := self._event(self.entries[alert_id], now_ms, timezone_of))]
        if not events:
            return []
        events.sort(key=lambda event: (event.entry.pending_ms, event.entry.alert["alert_id"]))
        since_ms = min(self._since_ms(event.entry) for event in events)
        if now_ms - since_ms < 1000 * (self.route.digest_s or COLLECTED_S):
            return []
        if self.route.digest_s:
            return events[:MOST_IN_DIGEST]
        while self.sent_ms and self.sent_ms[0] <= now_ms - FLOOD_S * 1000:
            self.sent_ms.popleft()
        if len(events) > self.route.flood:
            return events[:MOST_IN_DIGEST] if len(self.sent_ms) <= self.route.flood else []
        return events[:1] if len(self.sent_ms) < self.route.flood else []

    def delivered(self, events: list[Event], now_ms: int) -> list[Entry]:
        """Note that a message has been delivered. Returns the entries to record. Later messages may have changed the alerts meanwhile."""
        self.sent_ms.append(now_ms)
        entries = []
        for _, sent in events:
            entry = replace(
                self.entries[sent.alert["alert_id"]],
                delivered="resolved" if sent.is_over else "firing",
                severity=sent.alert["severity"],
                count=sent.count + 1,
                delivered_ms=now_ms,
            )
            entry = replace(entry, pending_ms=now_ms if waiting(entry) else 0)
            self._keep(entry)
            entries.append(entry)
        return entries

    def given_up(self, now_ms: int) -> list[str]:
        """Alerts that no longer matter although something of them was never delivered. They are dropped."""
        return self._drop(
            [alert_id for alert_id in self.active if self._is_stale(entry := self.entries[alert_id], now_ms) and waiting(entry)]
        )

    def forgotten(self, now_ms: int) -> list[str]:
        """Alerts that are over, and so old that they would not be new to anybody if they came again. They are dropped."""
        oldest_ms = now_ms - FORGOTTEN_AFTER * self.ages.max_age_ms
        return self._drop([key for key, entry in self.entries.items() if key not in self.active and entry.alert["end"] < oldest_ms])

    def pending(self) -> int:
        """Alerts of which something waits to be delivered."""
        return sum(waiting(self.entries[alert_id]) is not None for alert_id in self.active)

    def _takes(self, alert: AlertRecord) -> bool:
        return self.route.takes(alert["house_id"], alert["kind"], alert["severity"])

    def _keep(self, entry: Entry) -> None:
        alert_id = entry.alert["alert_id"]
        self.entries[alert_id] = entry
        if waiting(entry) or (self.route.repeat_s and not entry.is_over):
            self.active.add(alert_id)
        else:
            self.active.discard(alert_id)

    def _drop(self, alert_ids: list[str]) -> list[str]:
        for alert_id in alert_ids:
            del self.entries[alert_id]
            self.active.discard(alert_id)
        return alert_ids

    def _since_ms(self, entry: Entry) -> float:
        """Since when an event waits."""
        return entry.pending_ms or entry.delivered_ms + self.route.repeat_s * 1000

    def _is_stale(self, entry: Entry, now_ms: int) -> bool:
        """Whether an alert no longer matters: a day has passed since it was over, or since its house last sent anything."""
        return entry.alert["end"] < now_ms - self.ages.max_age_ms - 1000 * self.route.digest_s

    def _event(self, entry: Entry, now_ms: int, timezone_of: TimezoneOf) -> Event | None:
        what = waiting(entry) or self._repeat(entry, now_ms)
        quiet = what and self.route.quiet_hours and entry.alert["severity"] != "critical"
        if not what or (quiet and self._is_quiet(timezone_of(entry.alert["house_id"]), now_ms)):
            return None
        return Event(what, entry)

    def _repeat(self, entry: Entry, now_ms: int) -> What | None:
        """A repeat, if it is time for one. A house that has sent nothing for long does not repeat its alert for ever."""
        is_time = self.route.repeat_s and now_ms - entry.delivered_ms >= self.route.repeat_s * 1000
        return "repeat" if is_time and not entry.is_over and not self._is_stale(entry, now_ms) else None

    def _is_quiet(self, timezone: str, now_ms: int) -> bool:
        local = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(zone(timezone))
        return self.route.quiet_hours is not None and self.route.quiet_hours.contain(60 * local.hour + local.minute)


def _differs(alert: AlertRecord, known: AlertRecord) -> bool:
    """Whether an alert has changed in more than its figures."""
    return any(alert[name] != known[name] for name in ("open", "retracted", "severity", "kind"))

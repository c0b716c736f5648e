"""What Home Assistant is shown of houses: the energy of the present day, and the alerts that are open.

All of it is a function of the newest records, and of a time that is passed in.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, timedelta
from typing import Any

from notify.directory import Directory
from notify.entities import QUANTITIES, Topics, entities
from notify.home_config import HomeAssistant
from notify.messages import reason_of
from notify.routes import rank
from smartmeter.local_days import local_date, midnight_ms
from smartmeter.messages.records import AlertRecord, DailyEnergyRecord, HouseRecord
from smartmeter.settings import DAY_MS
from smartmeter.timezones import zone

EPOCH = date(1970, 1, 1)
MOST_AHEAD_DAYS = 2
"""A day that begins later than this after the present day in UTC has not begun anywhere: its record is wrong."""
OLDEST_DAYS = 2
"""A day that began earlier than this before the present day in UTC is older than yesterday everywhere."""
DECIMALS = 3
"""Whole Wh. Finer values would change, and be stored by Home Assistant, with each reading."""

Payloads = dict[str, str | None]
"""Topic -> what is retained there; None: not known, so whatever is there stays."""


class Home:
    """The newest records of the houses that are shown."""

    def __init__(self, config: HomeAssistant, external_url: str = ""):
        self._config, self._external_url = config, external_url
        self.topics = Topics(config)
        self._houses = Directory()
        self._days: dict[int, tuple[int, dict[int, DailyEnergyRecord]]] = {}  # house -> its newest day, meter -> record
        self._open: dict[int, dict[str, AlertRecord]] = {}  # house -> alert_id -> alert
        self._revisions: dict[str, int] = {}  # alert_id -> that of the newest message

    def shows(self, house_id: int) -> bool:
        """Whether a house is one of those that are shown."""
        return not self._config.houses or house_id in self._config.houses

    def take_house(self, record: HouseRecord) -> None:
        """Take a message of the topic houses."""
        self._houses.take(record)

    def forget_house(self, house_id: int) -> None:
        """Take the deletion of a house from the topic houses."""
        self._houses.by_id.pop(house_id, None)

    def take_energy(self, record: DailyEnergyRecord, now_ms: int) -> None:
        """Take a message of the topic daily_energy. Only the newest day of a house counts: what comes of an older one is left out."""
        newest, meters = self._days.get(record["house_id"], (-1, {}))
        if not newest <= record["date"] <= now_ms // DAY_MS + MOST_AHEAD_DAYS or not math.isfinite(record["kwh"] + record["exported_kwh"]):
            return
        if record["date"] > newest:
            meters = {}
        self._days[record["house_id"]] = record["date"], meters
        known = meters.get(record["meter_id"])
        if known is None or record["revision"] >= known["revision"]:
            meters[record["meter_id"]] = record

    def take_alert(self, record: AlertRecord) -> None:
        """Take a message of the topic alerts."""
        alert_id = record["alert_id"]
        if record["revision"] < self._revisions.get(alert_id, 0):
            return
        self._revisions[alert_id] = record["revision"]
        alerts = self._open.setdefault(record["house_id"], {})
        if record["open"] and not record["retracted"]:
            alerts[alert_id] = record
        else:
            alerts.pop(alert_id, None)

    def payloads(self, house_id: int, now_ms: int) -> Payloads:
        """All topics of a house; empty if it is unknown, or was deleted."""
        if house_id not in self._houses.by_id:
            return {}
        house = self._houses.of(house_id)
        described = entities(self.topics, house_id, house, self._external_url)
        found: Payloads = {topic: _json(entity) for topic, entity in described.items()}
        for meter_id in house.kinds:
            energy = self._energy(house_id, meter_id, now_ms)
            found[self.topics.energy(house_id, meter_id)] = _json(energy) if energy else None
        found[self.topics.alerts(house_id)] = _json(self._alerts(house_id))
        return found

    def _energy(self, house_id: int, meter_id: int, now_ms: int) -> dict[str, Any] | None:
        """The energy of a meter in the newest day of its house, if that is today or yesterday: else history arrives.

        The day is the house's own: it turns with the first record of the new one, so that the last minutes of the old one count.
        """
        house = self._houses.of(house_id)
        newest, meters = self._days.get(house_id, (-1, {}))
        day = EPOCH + timedelta(days=newest)
        if day < local_date(now_ms, house.timezone) - timedelta(days=1):
            return None
        record = meters.get(meter_id)
        shown: dict[str, Any] = {"last_reset": _local(midnight_ms(day, house.timezone), house.timezone)}
        for quantity in QUANTITIES[house.kinds[meter_id]]:
            shown[quantity.key] = round(record[quantity.field], DECIMALS) if record else 0.0  # type: ignore[literal-required]
        return shown

    def _alerts(self, house_id: int) -> dict[str, Any]:
        """Whether alerts are open in a house, and what the most severe of them is, the newest of several."""
        alerts = self._open.get(house_id, {}).values()
        found = [alert for alert in alerts if rank(alert["severity"]) >= rank(self._config.min_severity)]
        if not found:
            return {"problem": "OFF", "open_alerts": 0}
        worst = max(found, key=lambda alert: (rank(alert["severity"]), alert["start"], alert["alert_id"]))
        return {
            "problem": "ON",
            "open_alerts": len(found),
            "severity": worst["severity"],
            "kind": worst["kind"],
            "meter": self._houses.appliance(house_id, worst["meter_id"]) or f"meter {worst['meter_id']}",
            "meter_id": worst["meter_id"],
            "reason": reason_of(worst),
            "since": _local(worst["start"], self._houses.timezone(house_id)),
        }


def is_history(key: bytes | None, now_ms: int) -> bool:
    """Whether a message of daily_energy with this key is of a day that is not shown anywhere any more, so that it need not be decoded."""
    day = (key or b"").rpartition(b"/")[2]
    return day.isdigit() and int(day) < now_ms // DAY_MS - OLDEST_DAYS


def _local(time_ms: int, timezone: str) -> str:
    """A time in a time zone, in ISO 8601 with its offset, in whole seconds."""
    return datetime.fromtimestamp(time_ms // 1000, UTC).astimezone(zone(timezone)).isoformat()


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document)

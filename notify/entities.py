"""What Home Assistant's MQTT discovery is sent: a device for each house, with a sensor for each energy of its meters, and one for its alerts.

The formats are those of https://www.home-assistant.io/integrations/mqtt/, sensor.mqtt and binary_sensor.mqtt. Topics and ids are made of
numbers and of the configured topic. Labels are names only: they are in no topic, and in no template, which Home Assistant would evaluate.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from notify.directory import House
from notify.home_config import HomeAssistant
from smartmeter import __version__
from smartmeter.messages.records import MeterKind

LONGEST_NAME = 100
NAME = "Smart Meter Watchdog"


class Quantity(NamedTuple):
    """An energy of a meter's day. field: its name in daily_energy."""

    name: str
    field: str

    @property
    def key(self) -> str:
        """Its name in the JSON of a meter's topic."""
        return f"{self.name}_kwh"


QUANTITIES: dict[MeterKind, tuple[Quantity, ...]] = {
    "mains": (Quantity("import", "kwh"), Quantity("export", "exported_kwh")),
    "solar": (Quantity("production", "exported_kwh"),),
    "battery": (Quantity("charge", "kwh"), Quantity("discharge", "exported_kwh")),
    "appliance": (Quantity("energy", "kwh"),),
    "ev": (Quantity("energy", "kwh"),),
}


class Topics:
    """The topics of a Home Assistant."""

    def __init__(self, home: HomeAssistant):
        self.base, self.prefix = home.topic, home.discovery_prefix
        self.status = f"{self.base}/status"

    def energy(self, house_id: int, meter_id: int) -> str:
        """The energy of a meter."""
        return f"{self.base}/{house_id}/{meter_id}/energy"

    def alerts(self, house_id: int) -> str:
        """Whether there are alerts in a house."""
        return f"{self.base}/{house_id}/alerts"

    def config(self, component: str, entity: str) -> str:
        """The description of an entity."""
        return f"{self.prefix}/{component}/{self.base}/{entity}/config"


def entities(topics: Topics, house_id: int, house: House, external_url: str) -> dict[str, dict[str, Any]]:
    """The entities of a house: the topic of each description -> the description. external_url: the dashboard's; empty: none."""
    common = {
        "availability_topic": topics.status,
        "device": {
            "identifiers": [f"{topics.base}_{house_id}"],
            "name": _name(", ".join(filter(None, (f"House {house_id}", house.city)))),
            "manufacturer": NAME,
            **({"configuration_url": external_url} if external_url else {}),
        },
        "origin": {"name": NAME, "sw_version": __version__},
    }
    found = {}
    for meter_id, kind in house.kinds.items():
        for quantity in QUANTITIES[kind]:
            entity = f"{house_id}_{meter_id}_{quantity.name}"
            name = _name(house.labels[meter_id].strip() or f"meter {meter_id}")
            found[topics.config("sensor", entity)] = {
                "name": f"{name} {quantity.name} today",
                "unique_id": f"{topics.base}_{entity}",
                "state_topic": topics.energy(house_id, meter_id),
                **_sensor(quantity),
                **common,
            }
    entity = f"{house_id}_alerts"
    found[topics.config("binary_sensor", entity)] = {
        "name": "alerts",
        "unique_id": f"{topics.base}_{entity}",
        "state_topic": topics.alerts(house_id),
        "value_template": "{{ value_json.problem }}",
        "json_attributes_topic": topics.alerts(house_id),
        "device_class": "problem",
        **common,
    }
    return found


def _sensor(quantity: Quantity) -> dict[str, Any]:
    """What a sensor of energy is.

    Of state class `total`, and with the midnight at which it began: so a value that falls within a day, as a revision may make it, is
    subtracted. With `total_increasing`, a fall by more than a tenth would be a new day, whose energy counts again.
    """
    return {
        "value_template": f"{{{{ value_json.{quantity.key} }}}}",
        "last_reset_value_template": "{{ value_json.last_reset }}",
        "device_class": "energy",
        "state_class": "total",
        "unit_of_measurement": "kWh",
        "suggested_display_precision": 2,
    }


def _name(text: str) -> str:
    return text[:LONGEST_NAME]

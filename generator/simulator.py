"""The simulated devices of ./smw demo --live: `python -m generator.simulator TIMEZONE`.

First it sends the last days of their house to Kafka, so that its meters have limits. Then the devices publish to the MQTT broker at
SMW_LIVE_DEMO in real time, until the process is ended.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from itertools import takewhile
from typing import Any

import numpy as np
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from generator.bursts import bursts
from generator.devices import PluggedHouse
from generator.history import first_today
from generator.synthetic import STEP_MS
from smartmeter import logs, reports
from smartmeter.errors import UserError
from smartmeter.kafka.producer import Producer
from smartmeter.local_days import now_ms
from smartmeter.settings import Settings
from smartmeter.spike import SPIKE_TOPIC
from smartmeter.variables import SettingsError

HISTORY_DAYS = 8
HISTORY_BURST_S = 60
STEP_S = STEP_MS / 1000
SPIKE_S = 20.0


def send_history(house: PluggedHouse, settings: Settings) -> None:
    """Send the last days of a house, and today up to now. Raises UserError when Kafka does not take it."""
    first = first_today([house]) - timedelta(days=HISTORY_DAYS)
    with Producer(settings) as producer:
        producer.send_houses([house.record()])
        for burst in takewhile(lambda burst: burst.end_ms <= now_ms(), bursts(house, first, date.max, HISTORY_BURST_S)):
            producer.send_burst(burst)


class Spike:
    """The spike that goes on, if any."""

    def __init__(self) -> None:
        self._end_s = 0.0

    def begin(self) -> None:
        """Begin one, or prolong it."""
        self._end_s = time.monotonic() + SPIKE_S

    def goes_on(self) -> bool:
        """Whether the devices have a spike now."""
        return time.monotonic() < self._end_s


@contextmanager
def connected(address: str, spike: Spike) -> Iterator[mqtt.Client]:
    """A client of the MQTT broker at an address (host:port); a message to SPIKE_TOPIC begins a spike, and is deleted. Raises UserError."""
    host, _, port = address.rpartition(":")
    client = mqtt.Client(CallbackAPIVersion.VERSION2)

    def subscribe(*_: Any) -> None:
        client.subscribe(SPIKE_TOPIC, 1)

    def begin(_: Any, __: Any, message: mqtt.MQTTMessage) -> None:
        if message.payload:
            spike.begin()
            client.publish(SPIKE_TOPIC, qos=1, retain=True)

    client.on_connect, client.on_message = subscribe, begin
    try:
        client.connect(host, int(port))
    except OSError as error:
        raise UserError(f"no MQTT broker answers at {address} ({error.strerror}): start ./smw demo --live again") from None
    client.loop_start()
    try:
        yield client
    finally:
        client.disconnect()
        client.loop_stop()


def publish(house: PluggedHouse, address: str) -> None:
    """Publish what the devices measure, each STEP_MS, without an end. Raises UserError."""
    spike, wh = Spike(), np.zeros(len(house.devices), np.float64)
    with connected(address, spike) as client:
        while True:
            time.sleep(STEP_S - time.time() % STEP_S)
            at_ms = now_ms()
            watts = house.watts_at(at_ms, spike.goes_on())
            wh += watts * STEP_S / 3600
            for topic, payload in house.messages(at_ms, watts, wh):
                client.publish(topic, payload, qos=1)


def main() -> int:
    """Send the history, and publish until the process is ended. Returns the exit code."""
    logs.configure("devices")
    try:
        settings, house = Settings.load(), PluggedHouse(sys.argv[1])
        send_history(house, settings)
        publish(house, settings.dashboard.live_demo)
    except (UserError, SettingsError) as error:
        return reports.fail("devices", str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())

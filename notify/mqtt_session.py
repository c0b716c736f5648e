"""A connection to an MQTT broker, for messages that count once the broker has acknowledged them."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterable
from typing import Any, Self

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from notify.faults import DeliveryFault
from smartmeter.mqtt_broker import CONNECT_S, Broker

KEEPALIVE_S = 30
ACKNOWLEDGED_S = 10.0
"""How long the broker may take to acknowledge a message."""
FAULTS = (OSError, ValueError)
"""What a connection that fails raises, besides DeliveryFault; ssl's own errors are OSErrors."""


class Session:
    """A connection: use it in a with statement, or close it. All methods raise DeliveryFault or one of FAULTS.

    will: (topic, payload) that the broker publishes as retained if the connection breaks.
    """

    def __init__(self, broker: Broker, will: tuple[str, str] | None = None):
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, broker.client_id, reconnect_on_failure=False)
        self._answered, self._refusal, self.is_up = threading.Event(), "", False
        self._retained: set[str] = set()
        self._client.on_connect, self._client.on_disconnect, self._client.on_message = self._connected, self._disconnected, self._received
        self._client.connect_timeout = CONNECT_S
        if will:
            self._client.will_set(*will, qos=1, retain=True)
        if broker.user:
            self._client.username_pw_set(broker.user, broker.password)
        if broker.tls:
            self._client.tls_set_context(ssl.create_default_context(cafile=broker.ca or None))
        self._client.connect(broker.host, broker.port, KEEPALIVE_S)
        self._client.loop_start()
        try:
            self._wait_for_answer()
        except DeliveryFault:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def publish(self, messages: Iterable[tuple[str, str]], retain: bool = False) -> None:
        """Publish (topic, payload) each with QoS 1. Returns once the broker has acknowledged all of them."""
        for sent in [self._client.publish(topic, payload, qos=1, retain=retain) for topic, payload in messages]:
            try:
                sent.wait_for_publish(ACKNOWLEDGED_S)
            except RuntimeError:  # paho's, if it was not connected
                raise DeliveryFault("the connection broke") from None
            if not sent.is_published():
                raise DeliveryFault(f"the broker did not acknowledge it within {ACKNOWLEDGED_S:.0f} s")

    def look_for_retained(self, patterns: Iterable[str]) -> None:
        """Subscribe to topics, for take_retained."""
        self._client.subscribe([(pattern, 0) for pattern in patterns])

    def take_retained(self) -> set[str]:
        """Topics with a retained message that have been found since the last call."""
        found = set(self._retained)
        self._retained -= found
        return found

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()

    def _wait_for_answer(self) -> None:
        if not self._answered.wait(CONNECT_S):
            raise DeliveryFault(f"the broker did not answer within {CONNECT_S:.0f} s")
        if self._refusal:
            raise DeliveryFault(f"the broker refuses the connection: {self._refusal}")

    def _connected(self, _: Any, __: Any, ___: Any, reason: Any, ____: Any) -> None:
        self._refusal, self.is_up = str(reason) if reason.is_failure else "", not reason.is_failure
        self._answered.set()

    def _disconnected(self, *_: Any) -> None:
        self.is_up = False

    def _received(self, _: Any, __: Any, message: mqtt.MQTTMessage) -> None:
        if message.retain and message.payload:
            self._retained.add(message.topic)

"""The connection to an MQTT broker: it delivers messages until they are acknowledged, and is restored whenever it breaks.

The session of a gateway outlives the connection (clean session off), so the broker keeps messages of QoS 1 and 2 while the gateway is away.
"""

from __future__ import annotations

import logging
import queue
import ssl
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from gateway.intake import Message
from smartmeter.local_days import now_ms
from smartmeter.mqtt_broker import CONNECT_S, Broker, why
from smartmeter.retries import Backoff

KEEPALIVE_S = 30
LOOP_S = 0.5
MOST_QUEUED = 20_000
"""Messages that wait to be written. When there are more, the link reads no more, and they wait in the broker."""
LONGEST_WAIT_S = 30.0
AGAIN_S = 0.5
"""How long to wait after a connection that worked."""
BRIEF_S = 10.0
"""A connection that breaks within this time did not work. A broker ends one when another client comes with the same id."""
REFUSED = 128
"""The broker's answer to a subscription that it refuses (MQTT 3.1.1, 3.9.3)."""

log = logging.getLogger("gateway")


class Link(threading.Thread):
    """A connection at work. topics: what to subscribe to. Faults are logged once, until it works again.

    keeps_session: whether the broker keeps messages while there is no connection.
    """

    def __init__(self, broker: Broker, topics: Iterable[str], keeps_session: bool = True):
        super().__init__(name="mqtt", daemon=True)
        self.broker, self._topics, self._keeps_session = broker, sorted(set(topics)), keeps_session
        self.is_up, self._fault, self._began_s = False, "", 0.0  # connected and subscribed; what was logged; when it was tried
        self._messages: queue.Queue[Message] = queue.Queue(MOST_QUEUED)
        self._stopping = threading.Event()
        self._backoff = Backoff()
        self._session = (self._client(0), 0)
        """The client of the present connection, and its number."""

    def run(self) -> None:
        """Connect, and deliver messages until stop() is called."""
        while not self._stopping.is_set():
            number = self._session[1] + 1
            client, self._began_s = self._client(number), time.monotonic()
            self._session = client, number
            try:
                if self.broker.tls:
                    client.tls_set_context(ssl.create_default_context(cafile=self.broker.ca or None))
                client.connect(self.broker.host, self.broker.port, KEEPALIVE_S)
                client.loop_forever(LOOP_S)
            except (OSError, ValueError) as error:  # includes ssl's
                self._failed(why(error, self.broker.tls))
            if worked := self.is_up and not self._is_brief():
                self._backoff.worked()
            self.is_up = False
            self._stopping.wait(AGAIN_S if worked else min(self._backoff.failed(), LONGEST_WAIT_S))

    def _is_brief(self) -> bool:
        return time.monotonic() - self._began_s < BRIEF_S

    def _client(self, number: int) -> mqtt.Client:
        """A client for one connection."""
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            self.broker.client_id,
            clean_session=not self._keeps_session,
            userdata=number,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.connect_timeout = CONNECT_S
        client.on_connect, client.on_message = self._connected, self._received
        client.on_disconnect, client.on_subscribe = self._disconnected, self._subscribed
        if self.broker.user:
            client.username_pw_set(self.broker.user, self.broker.password)
        return client

    def stop(self) -> None:
        """End the thread soon. What is not acknowledged comes again."""
        self._stopping.set()
        self._session[0].disconnect()

    def take(self, wait_s: float, most: int) -> list[Message]:
        """The messages that have arrived, `most` at most; the first is waited for."""
        found: list[Message] = []
        try:
            found.append(self._messages.get(timeout=wait_s))
            while len(found) < most:
                found.append(self._messages.get_nowait())
        except queue.Empty:
            pass
        return found

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Acknowledge messages, unless their connection is gone: the broker then delivers them again."""
        client, number = self._session
        for message in messages:
            if message.message_id and message.connection == number:
                client.ack(message.message_id, 1)

    def use(self, topics: Iterable[str]) -> None:
        """Subscribe to these topics, and to no others."""
        before, self._topics = self._topics, sorted(set(topics))
        self.forget(sorted(set(before) - set(self._topics)))
        if self.is_up and (new := sorted(set(self._topics) - set(before))):
            self._session[0].subscribe([(topic, 1) for topic in new])

    def forget(self, topics: Sequence[str]) -> None:
        """End subscriptions: an earlier run of the same session may have left some."""
        if topics and self.is_up:
            self._session[0].unsubscribe(list(topics))

    def _connected(self, client: mqtt.Client, _: Any, __: Any, reason: Any, ___: Any) -> None:
        if reason.is_failure:
            self._failed(f"it refuses the connection ({reason}): check user and password")
        elif self._stopping.is_set():  # stop() came before there was a connection to end
            client.disconnect()
        else:
            client.subscribe([(topic, 1) for topic in self._topics])

    def _disconnected(self, _: Any, __: Any, ___: Any, reason: Any, ____: Any) -> None:
        if self._stopping.is_set():
            return
        if self.is_up:
            hint = f" at once: perhaps another program has the client_id {self.broker.client_id}, so give each its own"
            self._failed(f"the connection broke{hint if self.broker.client_id and self._is_brief() else ''}")
        elif not self._fault:
            self._failed("it closes the connection: check the port, and write mqtts:// in place of mqtt:// if it takes TLS")

    def _subscribed(self, _: Any, __: Any, ___: Any, answers: Any, ____: Any) -> None:
        if not self.is_up:
            self.is_up, self._fault = True, ""
            log.info("connected to the broker at %s:%s", self.broker.host, self.broker.port)
        if refused := sum(answer.value >= REFUSED for answer in answers):
            log.warning(
                "the broker at %s refuses %s of %s subscriptions: give the user the right to read them",
                self.broker.host,
                refused,
                len(answers),
            )

    def _received(self, _: Any, number: int, message: mqtt.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = "?"
        message_id = message.mid if message.qos else 0
        taken = Message(topic, bytes(message.payload), message_id, message.dup, message.retain, now_ms(), number)
        while not self._stopping.is_set():
            try:
                return self._messages.put(taken, timeout=LOOP_S)
            except queue.Full:
                continue

    def _failed(self, reason: str) -> None:
        if reason != self._fault:
            log.warning("the broker at %s:%s: %s", self.broker.host, self.broker.port, reason)
            self._fault = reason

"""Publishes houses to a Home Assistant, in a thread of its own.

The state is rebuilt at each start from the compacted topics, so it does not depend on what the broker has kept. Nothing is published before
all of them are read: so no state that is out of date appears. Offsets are committed once the broker has acknowledged what follows from them.
"""

from __future__ import annotations

import logging
import threading
from contextlib import suppress

from confluent_kafka import Message

from notify.attempts import Attempts
from notify.faults import DeliveryFault
from notify.home import Home, is_history
from notify.home_config import HomeAssistant
from notify.metrics import NotifyMetrics
from notify.mqtt_session import FAULTS, Session
from notify.reader import Reader, after
from notify.retained import Retained
from smartmeter.kafka.connection import ErrorLog
from smartmeter.kafka.consumers import SHOWN_AT_HOME, home_group
from smartmeter.kafka.offsets import Place
from smartmeter.local_days import now_ms
from smartmeter.messages.single_object import RegistryFault
from smartmeter.mqtt_broker import why
from smartmeter.settings import Settings

POLL_S = 0.2
ONLINE, OFFLINE = "online", "offline"

log = logging.getLogger("notify")


class HomePublisher(threading.Thread):
    """A Home Assistant at work. Raises UserError when Kafka cannot be used. fault: why the thread has ended, unless it was stopped."""

    def __init__(self, settings: Settings, config: HomeAssistant, external_url: str, metrics: NotifyMetrics, errors: ErrorLog):
        super().__init__(name=config.name, daemon=True)
        self._settings, self._config, self._metrics = settings, config, metrics
        self._stopping = threading.Event()
        self._home = Home(config, external_url)
        self._retained = Retained(self._home.topics)
        self._attempts = Attempts(config.name, config, metrics)
        self._session: Session | None = None
        self._reader = Reader(settings, home_group(settings), SHOWN_AT_HOME, metrics, errors, self._stopping.is_set)
        self._places = self._reader.places()
        self._changed, self._taken = set[int](), dict[Place, int]()  # houses to look at; the offsets to commit
        self.fault: Exception | None = None

    def stop(self) -> None:
        """End the thread after the present attempt."""
        self._stopping.set()

    def run(self) -> None:
        """Publish until stop() is called."""
        try:
            self._reader.consumer.assign(self._places)
            while not self._stopping.is_set():
                self._step()
        except RegistryFault:  # stopped while it waited for the registry
            pass
        except Exception as error:  # the service raises it
            self.fault = error
        finally:
            self._leave()
            self._reader.consumer.close()

    def _step(self) -> None:
        messages = list(self._reader.messages(POLL_S))
        for message in messages:
            self._take(message)
        self._taken |= after(messages)
        if len(self._reader.ends) < len(self._places):
            return
        for house_id in self._changed:
            self._look(house_id)
        self._changed.clear()
        self._deliver()

    def _take(self, message: Message) -> None:
        """Take a message of one of the topics. A deleted house has one without a value."""
        name = self._reader.name(message)
        if name == "daily_energy" and is_history(message.key(), now_ms()):
            return
        if name == "houses" and message.value() is None:
            with suppress(ValueError):
                self._changed.add(house_id := int(message.key() or b""))
                self._home.forget_house(house_id)
            return
        if not (record := self._reader.record(message)) or not self._home.shows(record["house_id"]):
            return
        self._changed.add(record["house_id"])
        if name == "houses":
            self._home.take_house(record)
        elif name == "alerts":
            self._home.take_alert(record)
        else:
            self._home.take_energy(record, now_ms())

    def _look(self, house_id: int) -> None:
        try:
            self._retained.want(house_id, self._home.payloads(house_id, now_ms()))
        except Exception:  # one house's fault must not end it for the others
            log.exception("house %s cannot be shown in Home Assistant: a fault of this program", house_id)

    def _deliver(self) -> None:
        """Publish what is due, then commit the offsets that it follows from."""
        if self._session and not self._session.is_up:
            self._failed("the connection broke")
        for topic in self._session.take_retained() if self._session else ():
            self._retained.found(topic)
        due = self._retained.due
        if (due or not self._session) and self._attempts.is_due:
            try:
                self._publish()
            except DeliveryFault as error:
                self._failed(str(error))
            except FAULTS as error:
                self._failed(why(error, self._config.broker.tls))
        self._metrics.pending.labels(self._config.name).set(len(due))
        if not due:
            self._reader.commit(self._taken)
            self._taken.clear()

    def _publish(self) -> None:
        """Publish what is due; on a new connection, then also that the states are right."""
        is_new = not self._session
        if not self._session:
            self._session = Session(self._config.broker, will=(self._home.topics.status, OFFLINE))
            self._session.look_for_retained(self._retained.patterns)
            self._retained.connected()
        messages = list(self._retained.due.items()) + ([(self._home.topics.status, ONLINE)] if is_new else [])
        self._session.publish(messages, retain=True)
        self._retained.published()
        self._attempts.worked(len(messages))
        if is_new:
            log.info("route %s: %s messages are published at %s", self._config.name, f"{len(messages):,}", self._config)

    def _failed(self, reason: str) -> None:
        self._attempts.failed(reason)
        if self._session:
            self._session.close()
            self._session = None

    def _leave(self) -> None:
        """Disconnect. Home Assistant then shows the entities as unavailable."""
        if self._session:
            with suppress(DeliveryFault, *FAULTS), self._session:
                self._session.publish([(self._home.topics.status, OFFLINE)], retain=True)

"""Sends alerts by the routes in SMW_NOTIFY_ROUTES: `python -m notify.service`, or `./smw notify`.

Guarantee: every event that matters reaches its receiver at least once, whatever fails in between. What is to be delivered is in the topic
notifications before the offset of the alert is committed, and what was delivered once the receiver has acknowledged it. A crash between
the acknowledgement and its record repeats one message of each route, with the same fingerprints and key.
"""

from __future__ import annotations

import logging
import signal
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, OFFSET_STORED, Consumer, KafkaError, KafkaException, Message, TopicPartition

from notify.alerts import FORGOTTEN_AFTER, Ages, Desk
from notify.directory import Directory
from notify.ledger import Ledger
from notify.metrics import NotifyMetrics
from notify.receivers import keep_quiet, receiver
from notify.routes import Routes, load
from notify.worker import Worker
from smartmeter import logs, reports
from smartmeter.errors import UserError
from smartmeter.kafka import connection
from smartmeter.kafka.consumers import NOTIFIED_OF, notify_group
from smartmeter.kafka.offsets import Lags
from smartmeter.local_days import now_ms
from smartmeter.messages import codec
from smartmeter.messages.framing import framing
from smartmeter.messages.schemas import CodecError
from smartmeter.messages.single_object import RegistryFault
from smartmeter.messages.topics import topic
from smartmeter.metrics_server import served
from smartmeter.settings import SMW, Settings
from smartmeter.variables import SettingsError

POLL_S = 0.2
AT_A_TIME = 10_000
LAST_ATTEMPT_S = 15.0
"""How long an attempt that has begun may still take when the service is stopped."""

log = logging.getLogger("notify")


def routes_of(settings: Settings) -> Routes:
    """The routes in the file of the settings. Raises UserError."""
    if not settings.notify.routes:
        raise UserError("SMW_NOTIFY_ROUTES is empty: set it to a file of routes; docs/notifications.md has an example")
    return load(Path(settings.notify.routes))


class Notifier:
    """Runs until stop() is called. Raises UserError when Kafka cannot be used, or the routes have a mistake."""

    def __init__(self, settings: Settings, routes: Routes):
        self._settings, self._routes = settings, routes
        self._receivers = {route.name: receiver(route) for route in routes.routes}
        self._names = {topic(settings, name): name for name in NOTIFIED_OF}
        self._houses, self._stopping, self._errors = Directory(), False, connection.ErrorLog(settings, log)
        self._metrics = NotifyMetrics(self._receivers)
        self._workers: list[Worker] = []

    def stop(self) -> None:
        """End run() soon. A signal handler may call it."""
        self._stopping = True

    def run(self) -> None:
        """Deliver alerts until stop() is called."""
        connection.require_broker(self._settings)
        self._framing = framing(self._settings)
        self._ledger = Ledger(self._settings, lambda: self._stopping)
        self._consumer = Consumer(
            connection.consumer(self._settings, notify_group(self._settings))
            | {"auto.offset.reset": "earliest", "enable.partition.eof": True, "error_cb": self._errors.take}
        )
        try:
            with self._metrics_served():
                self._start()
                self._follow()
        except RegistryFault:  # stopped while it waited for the registry
            log.info("stopped while it waited")
        finally:
            for worker in self._workers:
                worker.stop()
            deadline = time.monotonic() + LAST_ATTEMPT_S
            for worker in self._workers:
                worker.join(max(deadline - time.monotonic(), 0))
            self._consumer.close()

    def _metrics_served(self) -> AbstractContextManager[None]:
        port = self._settings.notify.metrics_port
        if not port:
            return nullcontext()
        self._metrics.watch(Lags(self._settings, {notify_group(self._settings): (topic(self._settings, "alerts"),)}))
        return served(self._metrics.registry, self._settings, port, "the service notify", "SMW_NOTIFY_METRICS_PORT")

    def _start(self) -> None:
        """Read what was delivered and what is known of houses, then start the routes and read alerts from where the last run ended."""
        places = self._places()
        read = self._read_all([place for place in places if self._names[place.topic] != "alerts"])
        if self._stopping:
            return
        self._ledger.start(now_ms())
        ages = Ages(self._ledger.first_start_ms, round(self._settings.notify.max_age_s * 1000))
        for route in self._routes.routes:
            desk = Desk(route, ages)
            for (name, _), entry in self._ledger.found.items():
                if name == route.name:
                    desk.restore(entry)
            worker = Worker(desk, self._receivers[route.name], self._houses, self._ledger, self._metrics, self._routes.external_url)
            self._workers.append(worker)
        self._forget_routes(now_ms() - FORGOTTEN_AFTER * ages.max_age_ms)
        self._ledger.found.clear()
        alerts = [TopicPartition(place.topic, place.partition, OFFSET_STORED) for place in places if self._names[place.topic] == "alerts"]
        houses = [place for place in read if self._names[place.topic] == "houses"]
        self._consumer.assign([*alerts, *houses])
        names = ", ".join(f"{route.name} ({route.address})" for route in self._routes.routes)
        log.info("sending alerts from %s to %s", self._settings.kafka.address, names)

    def _forget_routes(self, before_ms: int) -> None:
        """Delete the records of routes that are no longer in the file, of alerts that ended before a time."""
        for (name, alert_id), entry in self._ledger.found.items():
            if name not in self._receivers and entry.alert["end"] < before_ms:
                self._ledger.forget(name, [alert_id])

    def _places(self) -> list[TopicPartition]:
        """All partitions of the topics, from their beginning. Raises UserError if one is missing."""
        known = self._consumer.list_topics(timeout=connection.PATIENCE_S).topics
        if missing := sorted(self._names.keys() - known.keys()):
            raise UserError(
                f"Kafka at {self._settings.kafka.address} has no topic {', '.join(missing)}, or does not let this user read it: "
                f"create it with {SMW} topics; docs/security.md lists the required rights"
            )
        return [TopicPartition(name, partition, OFFSET_BEGINNING) for name in self._names for partition in known[name].partitions]

    def _read_all(self, places: list[TopicPartition]) -> list[TopicPartition]:
        """Read partitions to their present end. Returns them, each with the offset of the next message."""
        self._consumer.assign(places)
        ends: dict[tuple[str, int], int] = {}
        while len(ends) < len(places) and not self._stopping:
            for message in self._consumer.consume(AT_A_TIME, POLL_S):
                if (error := message.error()) and error.code() == KafkaError._PARTITION_EOF:
                    ends[message.topic() or "", message.partition() or 0] = message.offset() or 0
                elif error:
                    self._errors.take(error)
                else:
                    self._take_known(message)
        return [TopicPartition(name, partition, offset) for (name, partition), offset in ends.items()]

    def _follow(self) -> None:
        """Hand alerts to the routes until stop() is called. The threads of the routes start with what earlier runs have left."""
        for worker in self._workers:
            worker.start()
        while not self._stopping:
            messages = []
            for message in self._consumer.consume(AT_A_TIME, POLL_S):
                if error := message.error():
                    self._errors.take(error)
                elif self._names[message.topic() or ""] == "houses":
                    self._take_known(message)
                else:
                    messages.append(message)
            if messages:
                self._errors.is_away = False
                self._take_alerts(messages)

    def _take_alerts(self, messages: list[Message]) -> None:
        """Hand alerts to all routes, then commit their offsets."""
        alerts = [record for message in messages if (record := self._decoded(message, "alert"))]
        if all(worker.take(alerts) for worker in self._workers):
            next_of = {(message.topic() or "", message.partition() or 0): (message.offset() or 0) + 1 for message in messages}
            try:
                self._consumer.commit(offsets=[TopicPartition(*place, offset) for place, offset in next_of.items()], asynchronous=False)
            except KafkaException as error:  # they are recorded; the next commit, or a repeat, makes up for it
                log.warning("Kafka: offsets not committed: %s", error.args[0].str())

    def _take_known(self, message: Message) -> None:
        """Take a message of the topics houses and notifications."""
        if self._names[message.topic() or ""] == "houses":
            if record := self._decoded(message, "house"):
                self._houses.take(record)
            return
        try:
            self._ledger.take(message)
        except CodecError as error:
            self._unreadable(message, str(error))

    def _decoded(self, message: Message, schema: str) -> Any:
        """The record of a message; None if it is none. The sink stores such a message in the table refused."""
        try:
            return codec.decode_as(schema, self._framing.received(message.value() or b"", lambda: self._stopping))
        except CodecError as error:
            self._unreadable(message, str(error))
            return None

    def _unreadable(self, message: Message, reason: str) -> None:
        self._metrics.unreadable.inc()
        log.warning("%s partition %s offset %s cannot be read: %s", message.topic(), message.partition(), message.offset(), reason)


def serve(settings: Settings, handle: Callable[[Notifier], None]) -> None:
    """Run the service until it is stopped. handle: what connects signals with the service. Raises UserError."""
    keep_quiet()
    notifier = Notifier(settings, routes_of(settings))
    handle(notifier)
    notifier.run()


def on_signals(notifier: Notifier) -> None:
    """Stop the service at SIGINT, SIGTERM or SIGHUP."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: notifier.stop())


def main() -> int:
    """Run the service until a signal stops it. Returns the exit code."""
    logs.configure("notify")
    try:
        serve(Settings.load(), on_signals)
    except (UserError, SettingsError) as error:
        return reports.fail("notify", str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())

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

from confluent_kafka import OFFSET_STORED, Message, TopicPartition

from notify.alerts import FORGOTTEN_AFTER, Ages, Desk
from notify.directory import Directory
from notify.home_publisher import HomePublisher
from notify.ledger import Ledger
from notify.metrics import NotifyMetrics
from notify.reader import Reader, after
from notify.receivers import keep_quiet, receiver
from notify.routes import Routes, load
from notify.worker import Worker
from smartmeter import logs, reports
from smartmeter.errors import UserError
from smartmeter.kafka import connection
from smartmeter.kafka.consumers import NOTIFIED_OF, SHOWN_AT_HOME, home_group, notify_group
from smartmeter.kafka.offsets import Lags
from smartmeter.local_days import now_ms
from smartmeter.messages.schemas import CodecError
from smartmeter.messages.single_object import RegistryFault
from smartmeter.messages.topics import topic
from smartmeter.metrics_server import served
from smartmeter.settings import Settings
from smartmeter.variables import SettingsError

POLL_S = 0.2
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
        self._houses, self._stopping = Directory(), False
        self._metrics = NotifyMetrics([*self._receivers, *([routes.home.name] if routes.home else [])])
        self._workers: list[Worker] = []
        self._home: HomePublisher | None = None

    def stop(self) -> None:
        """End run() soon. A signal handler may call it."""
        self._stopping = True

    def run(self) -> None:
        """Deliver alerts until stop() is called."""
        connection.require_broker(self._settings)
        self._ledger = Ledger(self._settings, lambda: self._stopping)
        self._errors = connection.ErrorLog(self._settings, log)
        group_id = notify_group(self._settings)
        self._reader = Reader(self._settings, group_id, NOTIFIED_OF, self._metrics, self._errors, lambda: self._stopping)
        try:
            with self._metrics_served():
                self._start()
                self._follow()
        except RegistryFault:  # stopped while it waited for the registry
            log.info("stopped while it waited")
        finally:
            for thread in self._threads:
                thread.stop()
            deadline = time.monotonic() + LAST_ATTEMPT_S
            for thread in self._threads:
                if thread.is_alive():
                    thread.join(max(deadline - time.monotonic(), 0))
            self._reader.consumer.close()

    @property
    def _threads(self) -> list[Worker | HomePublisher]:
        return [*self._workers, *([self._home] if self._home else [])]

    def _metrics_served(self) -> AbstractContextManager[None]:
        port = self._settings.notify.metrics_port
        if not port:
            return nullcontext()
        names_of: dict[str, tuple[str, ...]] = {notify_group(self._settings): ("alerts",)}
        if self._routes.home:
            names_of[home_group(self._settings)] = SHOWN_AT_HOME
        full_names = {group_id: tuple(topic(self._settings, name) for name in names) for group_id, names in names_of.items()}
        self._metrics.watch(Lags(self._settings, full_names))
        return served(self._metrics.registry, self._settings, port, "the service notify", "SMW_NOTIFY_METRICS_PORT")

    def _start(self) -> None:
        """Read what was delivered and what is known of houses, then start the routes and read alerts from where the last run ended."""
        places = self._reader.places()
        if self._routes.home:
            self._home = HomePublisher(self._settings, self._routes.home, self._routes.external_url, self._metrics, self._errors)
        read = self._read_all([place for place in places if self._reader.names[place.topic] != "alerts"])
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
        alerts = [
            TopicPartition(place.topic, place.partition, OFFSET_STORED) for place in places if self._reader.names[place.topic] == "alerts"
        ]
        houses = [place for place in read if self._reader.names[place.topic] == "houses"]
        self._reader.consumer.assign([*alerts, *houses])
        names = [f"{route.name} ({route.address})" for route in self._routes.routes]
        names += [f"{self._routes.home.name} ({self._routes.home})"] if self._routes.home else []
        log.info("sending alerts from %s to %s", self._settings.kafka.address, ", ".join(names))

    def _forget_routes(self, before_ms: int) -> None:
        """Delete the records of routes that are no longer in the file, of alerts that ended before a time."""
        for (name, alert_id), entry in self._ledger.found.items():
            if name not in self._receivers and entry.alert["end"] < before_ms:
                self._ledger.forget(name, [alert_id])

    def _read_all(self, places: list[TopicPartition]) -> list[TopicPartition]:
        """Read partitions to their present end. Returns them, each with the offset of the next message."""
        self._reader.consumer.assign(places)
        while len(self._reader.ends) < len(places) and not self._stopping:
            for message in self._reader.messages(POLL_S):
                self._take_known(message)
        return [TopicPartition(name, partition, offset) for (name, partition), offset in self._reader.ends.items()]

    def _follow(self) -> None:
        """Hand alerts to the routes until stop() is called. The threads of the routes start with what earlier runs have left."""
        for thread in self._threads:
            thread.start()
        while not self._stopping:
            messages = []
            for message in self._reader.messages(POLL_S):
                if self._reader.name(message) == "houses":
                    self._take_known(message)
                else:
                    messages.append(message)
            if messages:
                self._take_alerts(messages)
            if self._home and self._home.fault:
                raise self._home.fault

    def _take_alerts(self, messages: list[Message]) -> None:
        """Hand alerts to all routes, then commit their offsets."""
        alerts = [record for message in messages if (record := self._reader.record(message))]
        if all(worker.take(alerts) for worker in self._workers):
            self._reader.commit(after(messages))

    def _take_known(self, message: Message) -> None:
        """Take a message of the topics houses and notifications."""
        if self._reader.name(message) == "houses":
            if record := self._reader.record(message):
                self._houses.take(record)
            return
        try:
            self._ledger.take(message)
        except CodecError as error:
            self._reader.unreadable(message, str(error))


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

"""Delivers the messages of one route, in a thread of its own: a receiver that fails or hangs holds up no other."""

from __future__ import annotations

import logging
import threading
import time

from notify.alerts import Desk, Event
from notify.attempts import Attempts
from notify.directory import Directory
from notify.faults import DeliveryFault
from notify.ledger import Ledger
from notify.messages import message
from notify.metrics import NotifyMetrics
from notify.receivers import Receiver
from smartmeter.local_days import now_ms
from smartmeter.messages.records import AlertRecord

LOOK_EVERY_S = 0.5
FORGET_EVERY_S = 60.0

log = logging.getLogger("notify")


class Worker(threading.Thread):
    """A route at work."""

    def __init__(self, desk: Desk, receiver: Receiver, houses: Directory, ledger: Ledger, metrics: NotifyMetrics, external_url: str = ""):
        super().__init__(name=desk.route.name, daemon=True)
        self.desk, self.route = desk, desk.route
        self._receiver, self._houses, self._ledger, self._metrics, self._external_url = receiver, houses, ledger, metrics, external_url
        self._looking = threading.Lock()  # over the desk
        self._stopping = threading.Event()
        self._attempts = Attempts(desk.route.name, desk.route.address, metrics)
        self._forgot_s = 0.0

    def take(self, alerts: list[AlertRecord]) -> bool:
        """Take messages of the topic alerts. Returns once it is safe that they were read; False if the service is stopped before that."""
        with self._looking:
            entries = {entry.alert["alert_id"]: entry for alert in alerts if (entry := self.desk.take(alert, now_ms()))}
            # recorded under the lock, so that no delivery is recorded before what it delivers
            return self._ledger.keep(self.route.name, entries.values())

    def stop(self) -> None:
        """End the thread after the present attempt."""
        self._stopping.set()

    def run(self) -> None:
        """Deliver until stop() is called."""
        while not self._stopping.wait(LOOK_EVERY_S):
            try:
                self.step()
            except Exception:  # one route's fault must not end it for good
                log.exception("route %s: a fault of this program", self.route.name)
                self._attempts.failed("a fault of this program")

    def step(self) -> None:
        """Deliver what is due, and drop what no longer matters."""
        self._drop()
        if not self._attempts.is_due:
            return
        with self._looking:
            events = self.desk.due(now_ms(), self._houses.timezone)
        if events:
            self._deliver(events)

    def _drop(self) -> None:
        with self._looking:
            given_up, forgotten = self.desk.given_up(now_ms()), []
            if time.monotonic() - self._forgot_s > FORGET_EVERY_S:
                self._forgot_s, forgotten = time.monotonic(), self.desk.forgotten(now_ms())
            self._metrics.pending.labels(self.route.name).set(self.desk.pending())
            self._ledger.forget(self.route.name, given_up + forgotten)
        if given_up:
            self._metrics.dropped.labels(self.route.name).inc(len(given_up))
            log.warning("route %s: %s alerts were never delivered, and are no longer news", self.route.name, f"{len(given_up):,}")

    def _deliver(self, events: list[Event]) -> None:
        """Send one message, then record that. A crash in between repeats the message, under the same key."""
        name, built = self.route.name, message(self.route, events, self._houses, self._external_url)
        try:
            self._receiver.send(built)
        except DeliveryFault as error:
            self._attempts.failed(str(error), error.retry_after_s)
            return
        self._attempts.worked(1)
        log.info("route %s: sent: %s", name, built.title)
        for event in events:
            self._metrics.alerts.labels(name, event.what).inc()
        with self._looking:
            self._ledger.keep(name, self.desk.delivered(events, now_ms()))
            self._metrics.pending.labels(name).set(self.desk.pending())

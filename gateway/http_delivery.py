"""Sends what comes by HTTP to Kafka, in a thread of its own.

Requests that wait at the same time are sent together, and are answered once Kafka has acknowledged all of them.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TypeVar

from gateway.config import House
from gateway.http_bursts import Spans
from gateway.http_readings import Reading
from gateway.metrics import GatewayMetrics
from smartmeter.errors import UserError
from smartmeter.kafka.producer import Producer
from smartmeter.messages.codec import Burst
from smartmeter.retries import Backoff
from smartmeter.run import LIVE
from smartmeter.settings import Settings

DELIVERY_S = 10
"""How long Kafka may take. After that the client has its answer, and sends the request again."""
LONGEST_WAIT_S = 5.0
POLL_S = 0.2
Item = TypeVar("Item")

log = logging.getLogger("gateway")


class KafkaAway(Exception):
    """Kafka has not acknowledged a request."""


@dataclass(frozen=True)
class Parcel:
    """What a request brings of a house: readings, or a burst that its client has made. taken: done once Kafka has it; or KafkaAway."""

    house: House
    arrived_ms: int
    readings: Sequence[Reading] = ()
    burst: Burst | None = None
    taken: Future[None] = field(default_factory=Future)

    @property
    def size(self) -> int:
        """The number of its readings."""
        return len(self.readings) + (int(self.burst.counts.sum()) if self.burst else 0)

    @property
    def meter_ids(self) -> set[int]:
        """The meters that have a reading in it."""
        in_burst = self.burst.meter_ids[self.burst.counts > 0].tolist() if self.burst else ()
        return {reading.meter_id for reading in self.readings}.union(in_burst)

    def bursts(self, spans: Spans) -> list[Burst]:
        """Its bursts."""
        return [self.burst] if self.burst else spans.bursts(self.house, self.readings, self.arrived_ms)


class Delivery(threading.Thread):
    """Delivers parcels until it is stopped."""

    def __init__(self, settings: Settings, metrics: GatewayMetrics):
        super().__init__(name="http delivery", daemon=True)
        self._settings, self._metrics = settings, metrics
        self._parcels: queue.SimpleQueue[Parcel] = queue.SimpleQueue()
        self._spans = Spans(metrics.left_out)
        self._stopping, self._backoff = threading.Event(), Backoff()
        self._arrived: queue.SimpleQueue[tuple[int, int]] = queue.SimpleQueue()
        self.is_up = False
        """Whether Kafka takes messages."""

    def send(self, parcel: Parcel) -> None:
        """Send a parcel. Raises KafkaAway at once if Kafka does not take messages."""
        if not self.is_up:
            raise KafkaAway
        self._parcels.put(parcel)

    def arrived(self) -> set[tuple[int, int]]:
        """(house, meter) of what Kafka has taken since the last call."""
        return set(_drained(self._arrived))

    def stop(self) -> None:
        """End the thread soon. Call it once nobody waits any more."""
        self._stopping.set()

    def run(self) -> None:
        """Send until stop() is called."""
        while not self._stopping.is_set():
            try:
                with Producer(self._settings, LIVE, DELIVERY_S) as producer:
                    self._connected(producer)
            except UserError as error:
                self.is_up = False
                if not self._backoff.failures:
                    log.warning("no readings are taken by HTTP: %s", error)
                _refuse(_still_wanted(_drained(self._parcels)))
                self._stopping.wait(min(self._backoff.failed(), LONGEST_WAIT_S))

    def _connected(self, producer: Producer) -> None:
        """Send until stop() is called, or Kafka does not take it. Raises UserError."""
        if self._backoff.failures:
            log.info("readings are taken by HTTP again")
        self._backoff.worked()
        self.is_up = True
        while not self._stopping.is_set():
            try:
                first = self._parcels.get(timeout=POLL_S)
            except queue.Empty:
                continue
            parcels = _still_wanted([first, *_drained(self._parcels)])
            try:
                self._send(producer, parcels)
            except UserError:
                self.is_up = False
                _refuse(parcels)
                raise

    def _send(self, producer: Producer, parcels: Sequence[Parcel]) -> None:
        """Send parcels, and answer them once Kafka has all of them. Raises UserError."""
        for parcel in parcels:
            for burst in parcel.bursts(self._spans):
                producer.send_burst(burst)
        producer.flush()
        for parcel in parcels:
            self._metrics.http_readings.inc(parcel.size)
            for meter_id in parcel.meter_ids:
                self._arrived.put((parcel.house.house_id, meter_id))
            parcel.taken.set_result(None)


def _drained(items: queue.SimpleQueue[Item]) -> list[Item]:
    """What is in a queue now. Nobody else takes from it."""
    return [items.get_nowait() for _ in range(items.qsize())]


def _still_wanted(parcels: Sequence[Parcel]) -> list[Parcel]:
    """Those whose request has not ended meanwhile. From now on it waits for its answer."""
    return [parcel for parcel in parcels if parcel.taken.set_running_or_notify_cancel()]


def _refuse(parcels: Sequence[Parcel]) -> None:
    for parcel in parcels:
        parcel.taken.set_exception(KafkaAway())

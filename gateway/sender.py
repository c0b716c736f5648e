"""Sends what is in the spool to Kafka, in a thread of its own: a broker that is away holds up no meter."""

from __future__ import annotations

import logging
import threading

from gateway.config import Config
from gateway.disk_spool import Spool
from gateway.gathering import Gatherer
from gateway.metrics import GatewayMetrics
from generator.houses import description
from generator.places import places
from smartmeter.errors import UserError
from smartmeter.kafka.producer import Producer
from smartmeter.messages.codec import Burst
from smartmeter.messages.records import HouseRecord
from smartmeter.retries import Backoff
from smartmeter.settings import Settings

AT_A_TIME = 50_000
LONGEST_WAIT_S = 30.0

log = logging.getLogger("gateway")


def house_records(config: Config) -> list[HouseRecord]:
    """The houses of a configuration as records of the topic houses."""
    return [
        description(house.house_id, house.timezone, "gateway", house.zip, places().get(house.zip), house.meters) for house in config.houses
    ]


class Sender(threading.Thread):
    """Gathers entries for burst_s, sends them as bursts, and marks them as delivered once Kafka has them."""

    def __init__(self, settings: Settings, spool: Spool, config: Config, metrics: GatewayMetrics):
        super().__init__(name="sender", daemon=True)
        self._settings, self._spool, self._metrics = settings, spool, metrics
        self._stopping, self._backoff = threading.Event(), Backoff()
        self.fault: UserError | None = None
        """Why the thread has ended by itself: the disk failed."""
        self._gatherer = Gatherer({}, [], metrics.left_out)
        self._unsent: tuple[int, list[Burst]] = (0, [])  # how many entries were gathered, and their bursts
        self.use(config)

    def use(self, config: Config) -> None:
        """Send by this configuration from now on, and its houses first."""
        self._new = config

    def stop(self) -> None:
        """End the thread once Kafka has what is sent."""
        self._stopping.set()

    def run(self) -> None:
        """Send until stop() is called."""
        while not self._stopping.is_set():
            try:
                self._connected()
            except UserError as error:
                if self.fault:
                    return
                self._metrics.kafka_up.set(0)
                if not self._backoff.failures:
                    log.warning("readings wait on disk: %s", error)
                self._stopping.wait(min(self._backoff.failed(), LONGEST_WAIT_S))

    def _connected(self) -> None:
        """Send until stop() is called, or Kafka does not take it. Raises UserError."""
        with Producer(self._settings) as producer:
            self._sent_houses: Config | None = None
            while True:
                is_last = self._stopping.is_set()
                self._send(producer)
                if self._backoff.failures:
                    log.info("Kafka takes readings again")
                self._backoff.worked()
                self._metrics.kafka_up.set(1)
                if is_last:
                    return
                if self._spool.waiting < AT_A_TIME:
                    self._stopping.wait(self._new.burst_s)

    def _send(self, producer: Producer) -> None:
        config = self._new
        if config is not self._sent_houses:
            self._gatherer = self._gatherer_of(config)
            producer.send_houses(house_records(config))
            self._sent_houses = config
        if not self._unsent[0]:  # what Kafka did not take is sent again as it was: it may have taken a part
            entries = self._spool.read(AT_A_TIME)
            self._unsent = len(entries), list(self._gatherer.bursts(entries))
        gathered, bursts = self._unsent
        for burst in bursts:
            producer.send_burst(burst)
        producer.flush()
        try:
            self._spool.mark_delivered(gathered)
        except UserError as error:
            self.fault = error
            raise
        self._unsent = 0, []
        self._metrics.bursts.inc(len(bursts))
        self._metrics.sent.inc(sum(len(burst.deltas) for burst in bursts))

    def _gatherer_of(self, config: Config) -> Gatherer:
        timezones = {house.house_id: house.timezone for house in config.houses}
        gatherer = Gatherer(timezones, config.sources, self._metrics.left_out)
        gatherer.go_on_from(self._gatherer)
        return gatherer

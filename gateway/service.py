"""Receives what meters publish or post, and sends it to Kafka as bursts: `python -m gateway.service`, or `./smw gateway`.

Guarantee: a message of QoS 1 that the MQTT broker has is in the topic readings in the end, whatever fails in between. It is acknowledged once
its readings are on disk, and leaves the disk once Kafka has it. What is repeated after a crash has the times that it had, so the jobs count it
as duplicate. What comes by HTTP is acknowledged once Kafka has it.
"""

from __future__ import annotations

import logging
import math
import signal
import sys
import time
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np

from gateway.config import Config, load
from gateway.disk_spool import ENTRY, Spool
from gateway.http_server import HttpServer
from gateway.intake import Intake, Message
from gateway.link import Link
from gateway.metrics import GatewayMetrics
from gateway.sender import Sender
from gateway.silence import Silence
from smartmeter import logs, reports
from smartmeter.errors import UserError
from smartmeter.metrics_server import served
from smartmeter.settings import Settings
from smartmeter.variables import SettingsError

POLL_S = 0.2
AT_A_TIME = 5000
LOOK_EVERY_S = 1.0
LAST_SENDING_S = 15.0
"""How long Kafka may still take when the gateway is stopped. What it does not take stays on disk."""

log = logging.getLogger("gateway")


def config_of(settings: Settings) -> Config:
    """The configuration in the file of the settings. Raises UserError."""
    if not settings.gateway.config:
        raise UserError("there is no file of meters: give it with --config, or set SMW_GATEWAY_CONFIG; docs/connect.md has an example")
    return load(Path(settings.gateway.config))


class Gateway:
    """Runs until stop() is called. Raises UserError for a mistake in the configuration, or if the disk fails."""

    def __init__(self, settings: Settings):
        self._settings, self._config = settings, config_of(settings)
        self._metrics = GatewayMetrics()
        self._silence = Silence(self._config.meters, time.time())
        self._link = self._new_link()
        self._stopping = self._reloading = False
        self._is_full, self._looked_s = False, 0.0

    def stop(self) -> None:
        """End run() soon. A signal handler may call it."""
        self._stopping = True

    def reload(self) -> None:
        """Read the configuration again soon. A signal handler may call it."""
        self._reloading = True

    def run(self) -> None:
        """Receive and send until stop() is called."""
        folder = Path(self._settings.gateway.spool or self._settings.stack.home / "gateway")
        with self._metrics_served(), Spool(folder, round(self._settings.gateway.spool_mb * 1e6)) as self._spool:
            self._metrics.watch(self._spool)
            self._intake = Intake(self._config.sources, self._spool.newest(), self._spool.floor_ms, self._metrics.left_out)
            self._sender = Sender(self._settings, self._spool, self._config, self._metrics)
            self._http = self._new_http()
            self._start_link()
            self._sender.start()
            if self._http:
                self._http.start()
            try:
                while not self._stopping:
                    self._step()
            finally:
                if self._http:
                    self._http.stop()
                self._stop_link()
                self._sender.stop()
                self._sender.join(LAST_SENDING_S)

    def _step(self) -> None:
        """Write the messages that have arrived, then acknowledge them."""
        if self._reloading:
            self._reloading = False
            self._reload()
        if not self._link:
            time.sleep(POLL_S)
        elif messages := self._link.take(POLL_S, AT_A_TIME):
            with self._spool.moving:
                self._write(messages)
            if unknown := sorted({message.topic for message in messages if not self._intake.has(message.topic)}):
                self._link.forget(unknown)
            self._link.acknowledge(messages)
        if self._sender.fault:
            raise self._sender.fault
        if time.monotonic() - self._looked_s > LOOK_EVERY_S:
            self._looked_s = time.monotonic()
            self._look()

    def _write(self, messages: list[Message]) -> None:
        self._metrics.messages.inc(len(messages))
        entries = [entry for message in messages for entry in self._intake.entries(message)]
        if (room := self._spool.room()) < len(entries):
            self._metrics.left_out("spool full", len(entries) - room)
            if not self._is_full:
                log.error("the spool is full: newer readings are left out until Kafka takes the older ones (SMW_GATEWAY_SPOOL_MB)")
        self._is_full = room < len(entries)
        if kept := entries[:room]:
            self._spool.append(np.array(kept, ENTRY))
            self._metrics.taken.inc(len(kept))
        self._arrived({(entry.house_id, entry.meter_id) for entry in entries})

    def _arrived(self, meters: Collection[tuple[int, int]]) -> None:
        """Note readings of some meters: (house, meter)."""
        now_s = time.time()
        for source in self._config.meters:
            if (source.house_id, source.meter_id) in meters and self._silence.arrived(source, now_s):
                log.info("%s: it sends again", source)

    def _look(self) -> None:
        """Show which meters are silent."""
        now_s = time.time()
        if self._http:
            self._arrived(self._http.arrived())
        self._metrics.mqtt_up.set(self._link.is_up if self._link else math.nan)
        for source in self._silence.fallen(now_s):
            log.warning("%s: no reading for %.0f s", source, now_s - self._silence.newest_s[source])
        for source, newest_s in self._silence.newest_s.items():
            self._metrics.show(source, newest_s, self._silence.is_silent(source, now_s))

    def _reload(self) -> None:
        """Use the file as it is now. If it has mistakes, go on with the one before."""
        try:
            config = config_of(self._settings)
        except UserError as error:
            for sentence in str(error).splitlines():
                log.error("%s", sentence)
            log.error("the configuration stays as it was: correct the file, and send SIGHUP again")
            return
        before, self._config = self._config, config
        for source in self._silence.use(config.meters, time.time()):
            self._metrics.forget(source)
        self._intake.use(config.sources)
        self._sender.use(config)
        if config.http != before.http:
            log.warning("http: what has changed there takes a restart of the gateway")
        if self._http:
            self._http.use(config)
        if config.broker != before.broker:
            self._stop_link()
            self._link = self._new_link()
            self._start_link()
        elif self._link:
            self._link.use(source.topic for source in config.sources)
        log.info("the configuration was read again: %s meters", len(config.meters))

    def _new_link(self) -> Link | None:
        return Link(self._config.broker, (source.topic for source in self._config.sources)) if self._config.broker else None

    def _start_link(self) -> None:
        if self._link:
            self._link.start()

    def _stop_link(self) -> None:
        if self._link:
            self._link.stop()
            self._link.join(LAST_SENDING_S)

    def _new_http(self) -> HttpServer | None:
        return HttpServer(self._config.http, self._config, self._settings, self._metrics) if self._config.http else None

    def _metrics_served(self) -> AbstractContextManager[None]:
        if not (port := self._settings.gateway.metrics_port):
            return nullcontext()
        return served(self._metrics.registry, self._settings, port, "the gateway", "SMW_GATEWAY_METRICS_PORT")


def serve(settings: Settings, handle: Callable[[Gateway], None]) -> None:
    """Run the gateway until it is stopped. handle: what connects signals with it. Raises UserError."""
    gateway = Gateway(settings)
    handle(gateway)
    gateway.run()


def on_signals(gateway: Gateway) -> None:
    """Stop the gateway at SIGINT or SIGTERM, and read its configuration again at SIGHUP."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: gateway.stop())
    signal.signal(signal.SIGHUP, lambda *_: gateway.reload())


def main() -> int:
    """Run the gateway until a signal stops it. Returns the exit code."""
    logs.configure("gateway")
    try:
        serve(Settings.load(), on_signals)
    except (UserError, SettingsError) as error:
        return reports.fail("gateway", str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())

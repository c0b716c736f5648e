"""The attempts of a route to deliver: when the next is due, and what the metrics and the log show of them."""

from __future__ import annotations

import logging
import time

from notify.metrics import NotifyMetrics
from smartmeter.retries import Backoff

log = logging.getLogger("notify")


class Attempts:
    """Those of one route. address: where it delivers to; its text is logged, and holds no secret."""

    def __init__(self, name: str, address: object, metrics: NotifyMetrics):
        self._name, self._address, self._metrics = name, address, metrics
        self._backoff, self._not_before_s = Backoff(), 0.0

    @property
    def is_due(self) -> bool:
        """Whether the next one may begin."""
        return time.monotonic() >= self._not_before_s

    def failed(self, reason: str, least_wait_s: float = 0) -> None:
        """Note a failed attempt. The log has the first, and then fewer and fewer."""
        name, wait_s = self._name, max(self._backoff.failed(), least_wait_s)
        self._not_before_s = time.monotonic() + wait_s
        self._metrics.failures.labels(name).inc()
        self._metrics.up.labels(name).set(0)
        number = self._backoff.failures
        if number == 1:
            self._metrics.failing_since.labels(name).set_to_current_time()
        if number.bit_count() == 1:  # the first, second, fourth, eighth ...
            log.warning("route %s (%s): attempt %s failed: %s; the next is in %.0f s", name, self._address, number, reason, wait_s)

    def worked(self, messages: int) -> None:
        """Note that so many messages were acknowledged."""
        if self._backoff.failures:
            log.info("route %s: it works again", self._name)
        self._backoff.worked()
        self._metrics.up.labels(self._name).set(1)
        self._metrics.failing_since.labels(self._name).set(0)
        self._metrics.delivered_at.labels(self._name).set_to_current_time()
        self._metrics.messages.labels(self._name).inc(messages)

"""What the metrics and the log show of attempts."""

from __future__ import annotations

import logging

from notify.attempts import Attempts
from notify.metrics import FAILING_SINCE, UP, NotifyMetrics


def test_the_first_failure_is_logged_and_then_fewer(monkeypatch, caplog):
    monkeypatch.setattr("smartmeter.retries.FIRST_S", 1e-9)
    monkeypatch.setattr("smartmeter.retries.LONGEST_S", 1e-9)
    caplog.set_level(logging.INFO)
    metrics = NotifyMetrics(["mail"])
    attempts = Attempts("mail", "mailto://***", metrics)

    def value(name):
        return metrics.registry.get_sample_value(name, {"route": "mail"})

    assert attempts.is_due
    for _ in range(5):
        attempts.failed("it refuses")
    assert (value("smw_notify_failures_total"), value(UP), value(FAILING_SINCE) > 0) == (5, 0, True)
    attempts.worked(3)
    assert (value("smw_notify_messages_total"), value(UP), value(FAILING_SINCE)) == (3, 1, 0)
    sentence = "route mail (mailto://***): attempt {} failed: it refuses; the next is in 0 s"
    assert caplog.messages == [*(sentence.format(number) for number in (1, 2, 4)), "route mail: it works again"]


def test_the_next_one_is_due_after_the_wait_that_a_receiver_asks_for():
    attempts = Attempts("mail", "mailto://***", NotifyMetrics(["mail"]))
    attempts.failed("it refuses", least_wait_s=3600)
    assert not attempts.is_due

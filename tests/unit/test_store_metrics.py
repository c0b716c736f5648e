"""The sink's metrics."""

import math

import pytest
from prometheus_client import generate_latest

from smartmeter.errors import UserError
from store.metrics import SinkMetrics, unstored


class Lags:
    def __init__(self, found):
        self.found = found

    def by_group(self, timeout_s: float):
        if self.found is UserError:
            raise UserError("no broker")
        return {"group": self.found}


@pytest.mark.parametrize("lag, shown", [(7, 7), (0, 0), (None, 0), (UserError, math.nan)])
def test_messages_that_are_not_stored(lag, shown):
    assert unstored(Lags(lag)) == pytest.approx(shown, nan_ok=True)


def test_every_table_has_a_counter_from_the_start():
    metrics = SinkMetrics(("alerts", "late"))
    metrics.rows.labels("late").inc(3)
    text = generate_latest(metrics.registry).decode()
    assert 'smw_sink_rows_stored_total{table="alerts"} 0.0\n' in text and 'smw_sink_rows_stored_total{table="late"} 3.0\n' in text

"""The sink's metrics."""

import math
import socket

import pytest
from prometheus_client import generate_latest

from smartmeter.errors import UserError
from smartmeter.settings import Settings
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


def test_a_port_that_is_taken_is_reported():
    with socket.create_server(("127.0.0.1", 0)) as held:
        settings = Settings().but(sink_metrics_port=held.getsockname()[1])
        with (
            pytest.raises(
                UserError, match="the sink's metrics cannot be served at .* set SMW_SINK_METRICS_PORT to another port, or to 0 for none"
            ),
            SinkMetrics(()).served(settings, "group", ()),
        ):
            pass

"""The sink's metrics."""

from prometheus_client import generate_latest

from store.metrics import SinkMetrics


def test_every_table_has_a_counter_from_the_start():
    metrics = SinkMetrics(("alerts", "late"))
    metrics.rows.labels("late").inc(3)
    text = generate_latest(metrics.registry).decode()
    assert 'smw_sink_rows_stored_total{table="alerts"} 0.0\n' in text and 'smw_sink_rows_stored_total{table="late"} 3.0\n' in text

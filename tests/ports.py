"""Settings for services of a test's own."""

from __future__ import annotations

from pathlib import Path

from smartmeter import stack
from smartmeter.settings import Settings


def on_free_ports(home: Path, **others) -> Settings:
    """Settings whose ports are all free, none of them the usual one, which a test that runs beside this one might take meanwhile."""
    ports = dict(kafka="127.0.0.1:0", kafka_controller_port=0, clickhouse_url="http://127.0.0.1:0", flink_ui_port=0, dashboard_port=0,
                 flink_metrics_port=stack.free_port(), sink_metrics_port=stack.free_port())  # 0 would be none
    return stack.with_free_ports(Settings(home=home, **(ports | others)))

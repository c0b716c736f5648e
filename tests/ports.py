"""Settings for services of a test's own."""

from __future__ import annotations

from pathlib import Path

from smartmeter.settings import Settings
from stack import ports


def on_free_ports(home: Path, **others) -> Settings:
    """Settings with free ports only. None is a default port, which a test that runs at the same time might take."""
    usual = dict(
        kafka="127.0.0.1:0",
        kafka_controller_port=0,
        clickhouse_url="http://127.0.0.1:0",
        flink_ui_port=0,
        dashboard_port=0,
        flink_metrics_port=ports.free_port(),  # 0 would be none
        sink_metrics_port=ports.free_port(),
        notify_metrics_port=ports.free_port(),
        gateway_http_port=0,
        gateway_metrics_port=ports.free_port(),
    )
    return ports.with_free_ports(Settings().but(home=home, **(usual | others)))

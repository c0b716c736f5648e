"""Metrics for Prometheus."""

import socket
from urllib.request import urlopen

import pytest
from prometheus_client import CollectorRegistry, Gauge

from smartmeter.errors import UserError
from smartmeter.metrics_server import served
from smartmeter.settings import Settings
from stack.ports import free_port


def test_metrics_are_served_until_the_end():
    registry, port = CollectorRegistry(), free_port()
    Gauge("smw_test", "a test", registry=registry).set(3)
    url = f"http://127.0.0.1:{port}/metrics"
    with served(registry, Settings(), port, "the test", "SMW_TEST_PORT"), urlopen(url) as answer:
        assert "smw_test 3.0\n" in answer.read().decode()
    with pytest.raises(OSError):
        urlopen(url)


def test_a_port_that_is_taken_is_reported():
    reported = "the sink's metrics cannot be served at .* set SMW_SINK_METRICS_PORT to another port, or to 0 for none"
    with (
        socket.create_server(("127.0.0.1", 0)) as held,
        pytest.raises(UserError, match=reported),
        served(CollectorRegistry(), Settings(), held.getsockname()[1], "the sink", "SMW_SINK_METRICS_PORT"),
    ):
        pass

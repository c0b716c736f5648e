"""Ports of this machine."""

import socket
from urllib.parse import urlsplit

import pytest

from smartmeter.errors import UserError
from smartmeter.settings import Settings
from stack.ports import FIRST_OUTGOING_PORT, host_and_port, is_listening, listener_near, require_free_port, with_free_ports


@pytest.mark.parametrize("address, parts", [("127.0.0.1:9092", ("127.0.0.1", 9092)), ("a.b:0", ("a.b", 0)), ("[::1]:80", ("[::1]", 80))])
def test_host_and_port(address, parts):
    assert host_and_port(address, "SMW_KAFKA") == parts


@pytest.mark.parametrize("address", ["", "here", ":9092", "here:", "here:x", "here:-1"])
def test_an_address_that_is_none(address):
    with pytest.raises(UserError, match=f"^SMW_KAFKA={address}: it takes host:port, such as 127.0.0.1:9092$"):
        host_and_port(address, "SMW_KAFKA")


def test_a_port_that_is_taken_is_replaced_and_one_that_is_free_is_kept():
    with listener_near(0) as held:
        port = held.getsockname()[1]
        assert 10_000 <= port < FIRST_OUTGOING_PORT
        with listener_near(port) as other:
            assert other.getsockname()[1] != port
        assert is_listening(f"127.0.0.1:{port}")
        with pytest.raises(
            UserError, match=rf"^port {port} at 127.0.0.1 is not free \(Address already in use\): .* set SMW_FLINK_UI_PORT to another$"
        ):
            require_free_port(f"127.0.0.1:{port}", "SMW_FLINK_UI_PORT")
    assert not is_listening(f"127.0.0.1:{port}")
    require_free_port(f"127.0.0.1:{port}", "SMW_FLINK_UI_PORT")


def test_all_ports_of_a_stack_differ_and_0_for_metrics_stays():
    with socket.create_server(("127.0.0.1", 0)) as held:
        taken = held.getsockname()[1]
        settings = with_free_ports(
            Settings().but(kafka=f"127.0.0.1:{taken}", flink_ui_port=taken, dashboard_port=0, flink_metrics_port=0, sink_metrics_port=taken)
        )
    ports = [
        int(settings.kafka.address.split(":")[1]),
        settings.kafka.controller_port,
        urlsplit(settings.clickhouse.url).port,
        settings.flink.ui_port,
        settings.dashboard.port,
        settings.stack.sink_metrics_port,
    ]
    assert len(set(ports)) == 6 and taken not in ports and 0 not in ports and settings.stack.flink_metrics_port == 0

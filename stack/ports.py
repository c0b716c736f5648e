"""Ports of this machine: whether they are free, and how to find a free one."""

from __future__ import annotations

import os
import random
import socket
from contextlib import ExitStack, suppress
from urllib.parse import urlsplit

from smartmeter.errors import UserError
from smartmeter.settings import Settings
from stack.reserved_ports import reserve

LOOPBACK = "127.0.0.1"

FIRST_OUTGOING_PORT = 32_768  # Linux assigns ports from here on to outgoing connections


def with_free_ports(settings: Settings) -> Settings:
    """The settings with a free port in place of each port that is taken or 0, all at the loopback address.

    A metrics port of 0 stays 0: no metrics.
    """
    wanted = [
        host_and_port(settings.kafka.address, "SMW_KAFKA")[1],
        settings.kafka.controller_port,
        urlsplit(settings.clickhouse.url).port or 0,
        settings.flink.ui_port,
        settings.dashboard.port,
        settings.stack.flink_metrics_port,
        settings.stack.sink_metrics_port,
        settings.notify.metrics_port,
        settings.gateway.http_port,
        settings.gateway.metrics_port,
    ]
    with ExitStack() as held:  # all are held at once, so that they differ
        kafka, controller, clickhouse, flink, dashboard, flink_metrics, sink_metrics, notify_metrics, gateway_http, gateway_metrics = (
            held.enter_context(listener_near(port)).getsockname()[1] for port in wanted
        )
    return settings.but(
        kafka=f"{LOOPBACK}:{kafka}",
        kafka_controller_port=controller,
        clickhouse_url=f"http://{LOOPBACK}:{clickhouse}",
        flink_ui_port=flink,
        dashboard_port=dashboard,
        flink_metrics_port=settings.stack.flink_metrics_port and flink_metrics,
        sink_metrics_port=settings.stack.sink_metrics_port and sink_metrics,
        notify_metrics_port=settings.notify.metrics_port and notify_metrics,
        gateway_http_port=gateway_http,
        gateway_metrics_port=settings.gateway.metrics_port and gateway_metrics,
    )


def with_free_flink_port(settings: Settings) -> Settings:
    """The settings with a free port for Flink's web page."""
    return settings.but(flink_ui_port=free_port())


def free_port() -> int:
    """A free port, which listener_near gives to nobody else until this process ends."""
    with listener_near(0) as held:
        return int(held.getsockname()[1])


def listener_near(port: int) -> socket.socket:
    """A socket that listens at `port`, or at a free one that the system does not assign to outgoing connections.

    The free one is reserved: it is still free when this socket is closed and another program starts to listen there.
    """
    for candidate in [*[port] * (port > 0), *random.sample(range(10_000, FIRST_OUTGOING_PORT), 1000)]:
        if candidate == port or reserve(candidate):
            with suppress(OSError):
                return socket.create_server((LOOPBACK, candidate))
    raise UserError(f"no port from 10000 to {FIRST_OUTGOING_PORT} is free at {LOOPBACK}")


def require_free_port(address: str, variable: str) -> None:
    """Raise UserError, with the name of the setting, when nothing can listen at `address` (host:port)."""
    host, port = host_and_port(address, variable)
    try:
        socket.create_server((host, port)).close()
    except OSError as error:
        raise UserError(
            f"port {port} at {host} is not free ({os.strerror(error.errno or 0)}): "
            f"end the program that uses it, or set {variable} to another"
        ) from error


def is_listening(address: str) -> bool:
    """Whether anything accepts connections at `address` (host:port)."""
    host, port = address.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
        return True
    except OSError:
        return False


def host_and_port(address: str, variable: str) -> tuple[str, int]:
    """The parts of host:port. Raises UserError, with the name of the setting, for anything else."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise UserError(f"{variable}={address}: it takes host:port, such as {LOOPBACK}:9092")
    return host, int(port)

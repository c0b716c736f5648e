"""The services other than Kafka and Flink: ClickHouse's endpoint, the sink, notify, the gateway of meters, the metrics gateway and the dashboard.

start_endpoint and start_dashboard return once their service answers, the others at once.
"""

from __future__ import annotations

import ssl
import sys
from urllib.parse import urlsplit
from urllib.request import urlopen

from smartmeter.certificates import trusted
from smartmeter.run import LIVE, Run
from smartmeter.settings import ROOT, Settings
from stack.ports import require_free_port
from stack.processes import Processes, Watch

ANSWER_S = 10
"""How long a service may take to answer. The sink's metrics take seconds while Kafka is slow, or does not answer."""


def start_endpoint(processes: Processes, settings: Settings) -> None:
    """Start the ClickHouse endpoint at settings.clickhouse.url, and restart it whenever it crashes. Its data is in settings.stack.home."""
    require_free_port(urlsplit(settings.clickhouse.url).netloc, "SMW_CLICKHOUSE_URL")
    processes.start("endpoint", [sys.executable, "-P", "-m", "store.endpoint"], settings.environ())
    processes.wait_until(lambda: endpoint_answers(settings), f"no ClickHouse endpoint answers at {settings.clickhouse.url}")
    processes.watched["endpoint"] = Watch(lambda: None, lambda: start_endpoint(processes, settings))


def endpoint_answers(settings: Settings) -> bool:
    """Whether ClickHouse answers."""
    return answers(f"{settings.clickhouse.url}/ping", trusted(settings.clickhouse.ca, "SMW_CLICKHOUSE_CA"))


def answers(url: str, authorities: str | None = None) -> bool:
    """Whether an HTTP server answers within ANSWER_S. authorities: PEM file of the trusted certificate authorities; None: the system's."""
    try:
        context = ssl.create_default_context(cafile=authorities) if url.startswith("https:") else None
        with urlopen(url, timeout=ANSWER_S, context=context) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def start_sink(processes: Processes, settings: Settings, run: Run = LIVE) -> None:
    """Start the sink, from a run's topics to its tables in ClickHouse."""
    if settings.stack.sink_metrics_port:
        require_free_port(f"{settings.stack.metrics_address}:{settings.stack.sink_metrics_port}", "SMW_SINK_METRICS_PORT")
    processes.start("sink", [sys.executable, "-P", "-m", "store.sink"], settings.environ() | run.environ())


def start_notify(processes: Processes, settings: Settings) -> None:
    """Start the service that sends alerts by the routes in SMW_NOTIFY_ROUTES, unless that is empty."""
    if settings.notify.routes:
        if settings.notify.metrics_port:
            require_free_port(f"{settings.stack.metrics_address}:{settings.notify.metrics_port}", "SMW_NOTIFY_METRICS_PORT")
        processes.start("notify", [sys.executable, "-P", "-m", "notify.service"], settings.environ())


def start_meter_gateway(processes: Processes, settings: Settings) -> None:
    """Start the gateway for the meters in SMW_GATEWAY_CONFIG, unless that is empty."""
    if settings.gateway.config:
        if settings.gateway.metrics_port:
            require_free_port(f"{settings.stack.metrics_address}:{settings.gateway.metrics_port}", "SMW_GATEWAY_METRICS_PORT")
        processes.start("gateway", [sys.executable, "-P", "-m", "gateway.service"], settings.environ())


def start_gateway(processes: Processes, settings: Settings) -> None:
    """Start the server of Flink's metrics, unless SMW_FLINK_METRICS_PORT is 0."""
    if settings.stack.flink_metrics_port:
        require_free_port(f"{settings.stack.metrics_address}:{settings.stack.flink_metrics_port}", "SMW_FLINK_METRICS_PORT")
        processes.start("metrics", [sys.executable, "-P", "-m", "stack.metrics_gateway"], settings.environ())


def start_dashboard(processes: Processes, settings: Settings) -> None:
    """Start the dashboard at settings.dashboard.address and _port."""
    require_free_port(f"{settings.dashboard.address}:{settings.dashboard.port}", "SMW_DASHBOARD_PORT")
    processes.start(
        "dashboard",
        [
            sys.executable,
            "-P",
            "-m",
            "streamlit",
            "run",
            str(ROOT / "dashboard" / "server.py"),
            "--server.address",
            settings.dashboard.address,
            "--server.port",
            str(settings.dashboard.port),
            "--logger.messageFormat",
            "%(levelname)s %(message)s",
        ],
        settings.environ(),
    )
    url = dashboard_url(settings)
    processes.wait_until(lambda: answers(f"{url}/_stcore/health"), f"no dashboard answers at {url}")


def dashboard_url(settings: Settings) -> str:
    """The dashboard's address."""
    return f"http://{settings.dashboard.address}:{settings.dashboard.port}"


def metrics_urls(settings: Settings) -> dict[str, str]:
    """Part -> URL of its metrics for Prometheus, if it serves any."""
    ports = {
        "flink": settings.stack.flink_metrics_port,
        "sink": settings.stack.sink_metrics_port,
        "notify": settings.notify.routes and settings.notify.metrics_port,
        "gateway": settings.gateway.config and settings.gateway.metrics_port,
    }
    return {service: f"http://{settings.stack.metrics_address}:{port}/metrics" for service, port in ports.items() if port}

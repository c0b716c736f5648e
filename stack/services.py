"""The services other than Kafka and Flink: ClickHouse's endpoint, the sink, the metrics gateway and the dashboard.

start_endpoint and start_dashboard return once their service answers, start_sink and start_gateway at once.
"""

from __future__ import annotations

import ssl
import sys
from urllib.parse import urlsplit
from urllib.request import urlopen

from smartmeter.settings import ROOT, Settings
from stack.ports import require_free_port
from stack.processes import Processes, Watch


def start_endpoint(processes: Processes, settings: Settings) -> None:
    """Start the ClickHouse endpoint at settings.clickhouse_url, and restart it whenever it crashes. Its data is in settings.home."""
    require_free_port(urlsplit(settings.clickhouse_url).netloc, "SMW_CLICKHOUSE_URL")
    processes.start("endpoint", [sys.executable, "-P", "-m", "store.endpoint"], settings.environ())
    processes.wait_until(lambda: endpoint_answers(settings), f"no ClickHouse endpoint answers at {settings.clickhouse_url}")
    processes.watched["endpoint"] = Watch(lambda: None, lambda: start_endpoint(processes, settings))


def endpoint_answers(settings: Settings) -> bool:
    """Whether ClickHouse answers."""
    return answers(f"{settings.clickhouse_url}/ping", settings.clickhouse_ca)


def answers(url: str, authorities: str = "") -> bool:
    """Whether an HTTP server answers. authorities: PEM file of the trusted certificate authorities; empty: the system's."""
    try:
        with urlopen(url, timeout=1, context=ssl.create_default_context(cafile=authorities or None)) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def start_sink(processes: Processes, settings: Settings) -> None:
    """Start the sink, from the topics to ClickHouse."""
    if settings.sink_metrics_port:
        require_free_port(f"{settings.metrics_address}:{settings.sink_metrics_port}", "SMW_SINK_METRICS_PORT")
    processes.start("sink", [sys.executable, "-P", "-m", "store.sink"], settings.environ())


def start_gateway(processes: Processes, settings: Settings) -> None:
    """Start the server of Flink's metrics, unless SMW_FLINK_METRICS_PORT is 0."""
    if settings.flink_metrics_port:
        require_free_port(f"{settings.metrics_address}:{settings.flink_metrics_port}", "SMW_FLINK_METRICS_PORT")
        processes.start("metrics", [sys.executable, "-P", "-m", "stack.metrics_gateway"], settings.environ())


def start_dashboard(processes: Processes, settings: Settings) -> None:
    """Start the dashboard at settings.dashboard_address and _port."""
    require_free_port(f"{settings.dashboard_address}:{settings.dashboard_port}", "SMW_DASHBOARD_PORT")
    processes.start("dashboard", [
        sys.executable, "-P", "-m", "streamlit", "run", str(ROOT / "dashboard" / "server.py"),
        "--server.address", settings.dashboard_address, "--server.port", str(settings.dashboard_port),
        "--logger.messageFormat", "%(levelname)s %(message)s"], settings.environ())
    url = dashboard_url(settings)
    processes.wait_until(lambda: answers(f"{url}/_stcore/health"), f"no dashboard answers at {url}")


def dashboard_url(settings: Settings) -> str:
    """The dashboard's address."""
    return f"http://{settings.dashboard_address}:{settings.dashboard_port}"


def metrics_urls(settings: Settings) -> dict[str, str]:
    """Part -> URL of its metrics for Prometheus, if it serves any."""
    ports = {"flink": settings.flink_metrics_port, "sink": settings.sink_metrics_port}
    return {service: f"http://{settings.metrics_address}:{port}/metrics" for service, port in ports.items() if port}

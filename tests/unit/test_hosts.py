"""Which requests a server answers: by Host, Origin and Sec-Fetch-Site."""

from __future__ import annotations

import http.client
import socket
import threading
from contextlib import closing
from http.server import ThreadingHTTPServer

import pytest

from smartmeter.hosts import Gate, is_loopback
from smartmeter.kafka import offsets
from smartmeter.settings import Settings
from stack import metrics_gateway
from store.metrics import SinkMetrics

FAR = Settings().but(allowed_hosts="meters.example, proxy", allowed_origins="https://play.example")


def gate(address="127.0.0.1", settings=FAR, **others):
    return Gate(settings, address, **others)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1:8123",
        "localhost:1",
        "LOCALHOST",
        "localhost.",
        "[::1]:8123",
        "127.9.8.7",
        "meters.example",
        "proxy:80",
        None,
    ],
)
def test_its_own_hosts(host):
    assert gate().refusal({} if host is None else {"host": host}) is None


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8123",
        "localhost.evil.example",
        "192.0.2.1",
        "127.0.0.1.evil.example",
        "",
        "user@127.0.0.1",
        "127.0.0.1/evil",
        "[::1",
        "localhost#x",
        "xmeters.example",
        "2130706433",
        "0.0.0.0",
    ],
)
def test_other_hosts(host):
    assert "SMW_ALLOWED_HOSTS" in gate().refusal({"host": host})


def test_a_server_at_all_addresses_has_all_addresses_and_one_at_a_name_that_name():
    assert gate("0.0.0.0").refusal({"host": "192.0.2.1:9250"}) is None
    assert gate("::").refusal({"host": "[2001:db8::1]"}) is None
    assert gate("sink.internal").refusal({"host": "sink.internal:9250"}) is None
    assert gate("0.0.0.0").refusal({"host": "evil.example"})


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "http://127.0.0.1:3000", "file://", "https://play.example.evil", "http://play.example", "", "http://["],
)
def test_pages_of_other_origins(origin):
    assert "SMW_ALLOWED_ORIGINS" in gate().refusal({"host": "127.0.0.1:8123", "origin": origin, "sec-fetch-site": "cross-site"})


@pytest.mark.parametrize("origin", ["http://127.0.0.1:8123", "https://play.example", "https://meters.example"])
def test_pages_of_its_own_and_of_allowed_origins(origin):
    assert gate().refusal({"host": "127.0.0.1:8123", "origin": origin}) is None


def test_images_of_other_sites_are_refused_and_links_only_where_there_are_no_pages():
    host = {"host": "127.0.0.1:8123"}
    for site in ("cross-site", "same-site"):
        assert gate().refusal(host | {"sec-fetch-site": site, "sec-fetch-dest": "image"})
        assert gate().refusal(host | {"sec-fetch-site": site, "sec-fetch-dest": "document"})
        assert gate(pages=True).refusal(host | {"sec-fetch-site": site, "sec-fetch-dest": "image"})
        assert gate(pages=True).refusal(host | {"sec-fetch-site": site, "sec-fetch-dest": "document"}) is None
    for site in ("none", "same-origin"):
        assert gate().refusal(host | {"sec-fetch-site": site}) is None


def test_all_origins():
    everyone = gate(settings=Settings().but(allowed_origins="*"))
    assert everyone.refusal({"host": "localhost", "origin": "http://evil.example", "sec-fetch-site": "cross-site"}) is None
    assert everyone.refusal({"host": "evil.example"})


def answer(port: int, host: str, method: str = "GET") -> int:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request(method, "/metrics", headers={"Host": host})
        return connection.getresponse().status


def test_metrics_of_the_sink_and_of_flink(monkeypatch):
    monkeypatch.setattr(offsets, "METRIC_TIMEOUT_S", 0.1)  # no broker is there
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    settings = Settings().but(sink_metrics_port=port)
    with SinkMetrics(("late",)).served(settings, "group", ()):
        assert (answer(port, "localhost"), answer(port, "evil.example")) == (200, 403)
    metrics_gateway.Handler.pushed, metrics_gateway.Handler.gate = metrics_gateway.Pushed(), Gate(settings, settings.stack.metrics_address)
    with ThreadingHTTPServer(("127.0.0.1", 0), metrics_gateway.Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert [answer(server.server_port, host) for host in ("127.0.0.1", "evil.example")] == [200, 403]
        assert answer(server.server_port, "evil.example", "DELETE") == 403
        server.shutdown()


def test_what_only_this_machine_reaches():
    addresses = ("localhost", "127.0.0.1", "127.8.0.1", "::1", "0.0.0.0", "192.168.1.2", "sink.internal", "")
    assert [is_loopback(address) for address in addresses] == [True] * 4 + [False] * 4

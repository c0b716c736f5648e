"""Readings by HTTP, to a real Kafka: the bursts that come of them, and what becomes of requests when Kafka or the gateway ends."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import influxdb
import influxdb_client
import numpy as np
import pytest
from influxdb_client.client.write_api import SYNCHRONOUS

from gateway import http_delivery, service
from gateway.http_openapi import MOST_IN_FLIGHT_OF_HOUSE
from gateway.service import Gateway
from smartmeter.local_days import now_ms
from smartmeter.messages.codec import EXPORT, IMPORT, POWER, Burst, encode_burst
from stack import broker
from stack.ports import free_port
from tests.certificates import Authority
from tests.sinks import running
from tests.topics import records
from tests.waiting import STILL_S, until

TOKEN, NEW_TOKEN = "0123456789abcdef", "fedcba9876543210"
METERS = """
http: {address: 127.0.0.1MORE}
houses:
  - id: 7
    timezone: Europe/Amsterdam
    token: "${HOUSE_TOKEN}"
    meters:
      - {id: 1, label: mains, kind: mains, holds_s: 3600}
      - {id: 2, label: fridge, parent: 1, silent_s: 0.5}
"""
NAMES = ("watts", "watts", "import_wh", "export_wh")
QUANTITIES = {POWER: "watts", IMPORT: "energies", EXPORT: "energies"}


@pytest.fixture(autouse=True)
def is_quick(monkeypatch):
    monkeypatch.setattr("smartmeter.retries.FIRST_S", 0.05)
    monkeypatch.setattr(http_delivery, "LONGEST_WAIT_S", 0.2)
    monkeypatch.setattr(service, "POLL_S", 0.05)
    monkeypatch.setenv("HOUSE_TOKEN", TOKEN)


@pytest.fixture
def settings(with_topics, tmp_path):
    settings = with_topics.but(
        gateway_metrics_port=0,
        gateway_http_port=free_port(),
        gateway_config=str(tmp_path / "meters.yaml"),
        gateway_spool=str(tmp_path / "spool"),
    )
    write(settings)
    return settings


def write(settings, more="", token="${HOUSE_TOKEN}"):
    with open(settings.gateway.config, "w") as file:
        file.write(METERS.replace("MORE", more).replace("${HOUSE_TOKEN}", token))


def client(settings, scheme="http", **others):
    url = f"{scheme}://127.0.0.1:{settings.gateway.http_port}"
    return httpx.Client(base_url=url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=STILL_S, **others)


def is_up(client):
    try:
        return client.get("/health").status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def gateway_and_client(settings):
    with running(Gateway(settings)) as gateway, client(settings) as posting:
        until(lambda: is_up(posting))
        yield gateway, posting


def bursts(settings):
    """(start, end, [(meter, quantity, times, values)]) of each burst."""
    found = []
    for burst in records(settings, "readings"):
        at, of = 0, {"watts": 0, "energies": 0}
        quantities, channels = burst["quantities"] or [POWER] * len(burst["counts"]), []
        for meter, quantity, count in zip(burst["meter_ids"], quantities, burst["counts"]):
            column = QUANTITIES[quantity]
            values = burst[column][of[column] : of[column] + count]
            times = burst["start"] + np.cumsum(burst["deltas"][at : at + count]) * burst["tick_ms"]
            channels.append((meter, quantity, times.tolist(), np.cumsum(values).tolist() if quantity else values))
            at, of[column] = at + count, of[column] + count
        found.append((burst["start"], burst["end"], channels))
    return found


def metric(gateway, name):
    return {
        tuple(sample.labels.values()): sample.value
        for family in gateway._metrics.registry.collect()
        for sample in family.samples
        if sample.name == name
    }


def test_readings_lines_and_bursts_arrive_as_they_were_sent(settings):
    now = now_ms() // 1000 * 1000
    with gateway_and_client(settings) as (gateway, posting):
        body = [
            {"house": 7, "meter": 1, "time": now - 3000, "watts": 300, "import_kwh": 1234.567},
            {"meter": 1, "time": now - 5000, "watts": -100.5, "import_kwh": 1234.5},
            {"meter": 2, "time": (now - 5000) // 1000, "power": 25},
        ]
        for _ in range(2):
            answer = posting.post("/readings", json=body)
            assert (answer.status_code, answer.json()) == (202, {"readings": 5})
        until(lambda: metric(gateway, "smw_gateway_silent")["7", "2", "fridge"] == 1)
        write_as_influxdb_2(settings, 26.5, now - 2000)
        until(lambda: metric(gateway, "smw_gateway_silent")["7", "2", "fridge"] == 0)
        write_as_influxdb_1(settings, 27, now - 1500)
        mine = Burst(
            7,
            "Europe/Amsterdam",
            now - 1000,
            now,
            1,
            *(np.array(column, np.int32) for column in ([2], [2], [0, 500])),
            np.ones(2, np.float32),
        )
        assert posting.post("/bursts", content=encode_burst(mine), headers={"Content-Type": "avro/binary"}).status_code == 202
        assert posting.post("/readings", json=[*body, {"meter": 3, "watts": 1}]).status_code == 422
        assert metric(gateway, "smw_gateway_http_requests_total").items() >= {("202",): 3, ("204",): 2, ("422",): 1}.items()
        assert metric(gateway, "smw_gateway_http_readings_total") == {(): 14}
        write(settings, token=NEW_TOKEN)
        gateway.reload()
        until(lambda: posting.post("/readings", json={}).status_code == 401)
        assert posting.post("/readings", json={}, headers={"Authorization": f"Bearer {NEW_TOKEN}"}).status_code == 422
    first = [
        (now - 5000, now - 4999, [(2, POWER, [now - 5000], [25])]),
        (
            now - 5000,
            now - 2999,
            [(1, POWER, [now - 5000, now - 3000], [-100.5, 300]), (1, IMPORT, [now - 5000, now - 3000], [1_234_500_000, 1_234_567_000])],
        ),
    ]
    assert bursts(settings) == [
        *first,
        *first,
        (now - 4999, now - 1999, [(2, POWER, [now - 2000], [26.5])]),
        (now - 1999, now - 1499, [(2, POWER, [now - 1500], [27])]),
        (now - 1000, now, [(2, POWER, [now - 1000, now - 500], [1, 1])]),
    ]
    assert [burst["holds_s"] for burst in records(settings, "readings")][1] == [3600, 0]
    assert {meter["label"] for house in records(settings, "houses") for meter in house["meters"]} == {"mains", "fridge"}


def write_as_influxdb_2(settings, watts, at_ms):
    """Write a reading of meter 2 with the client of InfluxDB 2, packed, as Telegraf's output influxdb_v2 packs it."""
    url = f"http://127.0.0.1:{settings.gateway.http_port}"
    with influxdb_client.InfluxDBClient(url, TOKEN, org="", enable_gzip=True) as client:
        point = influxdb_client.Point("power").tag("house", "7").tag("meter", "2").field("watts", watts)
        client.write_api(SYNCHRONOUS).write("", record=point.time(at_ms, influxdb_client.WritePrecision.MS))


def write_as_influxdb_1(settings, watts, at_ms):
    """Write a reading of meter 2 with the client of InfluxDB 1, which takes no answer but 204."""
    with influxdb.InfluxDBClient("127.0.0.1", settings.gateway.http_port, "anyone", TOKEN, "power") as client:
        point = {"measurement": "power", "tags": {"meter": "2"}, "time": at_ms, "fields": {"watts": watts}}
        assert client.write_points([point], time_precision="ms")


def test_a_kafka_that_hangs_or_ends_takes_no_reading_with_it(settings, processes, monkeypatch):
    """Clients post at once, and send again what was not acknowledged, which a Kafka that hung may have. Each counts once, as the jobs count."""
    monkeypatch.setattr(http_delivery, "DELIVERY_S", 1)
    monkeypatch.setattr("smartmeter.kafka.connection.NOBODY_THERE_S", 0.3)
    statuses, is_over = [], threading.Event()

    def count(status, more):
        wanted = statuses.count(status) + more
        until(lambda: statuses.count(status) >= wanted)

    def post(posting, number):
        sent = 0
        while not is_over.is_set():
            body, status = {"meter": 1 + number % 2, "time": now_ms(), NAMES[number]: sent}, 0
            while status != 202:
                status = posting.post("/readings", json=body).status_code
                statuses.append(status)
                time.sleep(0.01)
            sent += 1
        return sent

    with gateway_and_client(settings) as (_, posting), ThreadPoolExecutor(len(NAMES)) as pool:
        posted = [pool.submit(post, posting, number) for number in range(len(NAMES))]
        kafka = processes.children["kafka"]
        try:
            count(202, 20)
            kafka.send_signal(signal.SIGSTOP)
            count(503, 1)
            assert posting.get("/health").json()["status"] == "fail"
            kafka.send_signal(signal.SIGCONT)
            count(202, 20)
        finally:
            kafka.send_signal(signal.SIGCONT)
            processes.stop("kafka")
            count(503, 1)
            broker.start_broker(processes, settings)
            count(202, 20)
            is_over.set()
        sent = [future.result() for future in posted]
    assert set(statuses) == {202, 503}
    assert counted(settings) == {(1, POWER): sent[0], (2, POWER): sent[1], (1, IMPORT): sent[2], (2, EXPORT): sent[3]}


def counted(settings):
    """(meter, quantity) -> its readings, each once: those of the first burst that covers their time."""
    found, covered = {}, {}
    for start, end, channels in bursts(settings):
        for meter, quantity, times, _ in channels:
            before = covered.setdefault((meter, quantity), [])
            found[meter, quantity] = found.get((meter, quantity), 0) + sum(
                not any(begin <= at < over for begin, over in before) for at in times
            )
            before.append((start, end))
    return found


def test_requests_in_flight_are_limited_and_answered_before_the_gateway_ends(settings, tmp_path):
    authority = Authority(tmp_path / "authority")
    certificate, key = authority.issue("127.0.0.1")
    write(settings, f", certificate: {certificate}, key: {key}")
    command = [sys.executable, "-P", "-m", "gateway.service"]
    with subprocess.Popen(command, env=os.environ | settings.environ(), stderr=subprocess.PIPE, text=True) as program:
        trusting = ssl.create_default_context(cafile=str(authority.file))
        try:
            with client(settings, "https", verify=trusting) as posting, ThreadPoolExecutor(MOST_IN_FLIGHT_OF_HOUSE) as pool:
                until(lambda: is_up(posting))
                may_end, begun = threading.Event(), threading.Semaphore(0)

                def slow():
                    yield b'{"meter": 1, '
                    begun.release()
                    may_end.wait(STILL_S)
                    yield b'"watts": 5}'

                def post():
                    with client(settings, "https", verify=trusting) as own:
                        return own.post("/readings", content=slow(), headers={"Content-Type": "application/json"}).status_code

                waiting = [pool.submit(post) for _ in range(MOST_IN_FLIGHT_OF_HOUSE)]
                for _ in waiting:
                    begun.acquire(timeout=STILL_S)
                answer = until(lambda: (found := posting.post("/readings", json={"meter": 2, "watts": 1})).status_code == 429 and found)
                assert answer.headers["Retry-After"] == "1"
                posting.close()
                program.send_signal(signal.SIGTERM)
                until(lambda: not is_listening(settings))
                may_end.set()
                assert [future.result() for future in waiting] == [202] * MOST_IN_FLIGHT_OF_HOUSE
            assert program.wait(STILL_S) == 0
        finally:
            program.kill()
        log = program.stderr.read()
    assert counted(settings)[1, POWER] == MOST_IN_FLIGHT_OF_HOUSE
    assert TOKEN not in log and "Traceback" not in log


def is_listening(settings):
    try:
        socket.create_connection(("127.0.0.1", settings.gateway.http_port), timeout=1).close()
        return True
    except OSError:
        return False

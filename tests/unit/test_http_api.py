"""What the API answers before anything is sent to Kafka, and that it refuses what Kafka has not acknowledged. tests/gateway has the rest."""

from __future__ import annotations

import gzip
import json
from base64 import b64encode
from dataclasses import replace

import numpy as np
import pytest
from jsonschema import validate
from prometheus_client import generate_latest
from starlette.testclient import TestClient

from gateway.config import Config
from gateway.http_api import Api
from gateway.http_delivery import Delivery
from gateway.http_openapi import MOST_BYTES, document
from gateway.metrics import GatewayMetrics
from smartmeter.local_days import now_ms
from smartmeter.messages.codec import Burst, encode_burst
from smartmeter.settings import Settings
from tests.unit.test_http_readings import HOUSE

TOKEN, OTHER = "token-of-the-house", "token-of-another-1"
GOOD = b'{"house": 7, "meter": 2, "watts": 5}'
JSON, LINES, AVRO = ({"Content-Type": kind} for kind in ("application/json", "text/plain; charset=utf-8", "avro/binary"))


class Client(TestClient):
    """Sends with the token of house 7. Kafka takes nothing, so 503 stands for what would be sent."""

    def __init__(self):
        self.metrics = GatewayMetrics()
        houses = (replace(HOUSE, token=TOKEN), replace(HOUSE, house_id=8, token=OTHER), replace(HOUSE, house_id=9))
        settings = Settings()
        api = Api(Config(None, houses), settings, Delivery(settings, self.metrics), self.metrics, "127.0.0.1")
        super().__init__(api.app, "http://127.0.0.1:8480", headers={"Authorization": f"Bearer {TOKEN}"})

    def status(self, path, body, **headers):
        answer = self.post(path, content=body, headers={name.replace("_", "-"): value for name, value in headers.items()})
        validate(answer.json(), document()["components"]["schemas"]["Refusal"])
        return answer.status_code


@pytest.fixture
def client():
    return Client()


def burst(**others):
    start = now_ms() - 10_000
    of = Burst(
        7,
        "Europe/Amsterdam",
        start,
        start + 5000,
        1000,
        *(np.array(column, np.int32) for column in ([2], [2], [0, 1])),
        np.ones(2, np.float32),
    )
    return encode_burst(replace(of, **others))


def basic(password):
    return f"Basic {b64encode(f'anyone:{password}'.encode()).decode()}"


@pytest.mark.parametrize("sent", [f"Bearer {TOKEN}", f"bearer {TOKEN}", f"Token {TOKEN}", basic(TOKEN)])
def test_what_could_be_sent_is_refused_until_kafka_has_it(client, sent):
    answer = client.post("/readings", content=GOOD, headers=JSON | {"Authorization": sent})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5") and "Kafka has not acknowledged" in answer.json()["message"]
    for path, body, kind in (
        ("/readings", b"m,meter=2 watts=1", LINES),
        ("/write?precision=s", b"m,meter=2 watts=1", {}),
        ("/api/v2/write?bucket=&org=", b"m,meter=2 watts=1", LINES),
        ("/bursts", burst(), AVRO),
    ):
        assert client.post(path, content=body, headers=kind).status_code == 503
    assert client.post("/readings", content=gzip.compress(GOOD), headers=JSON | {"Content-Encoding": "gzip"}).status_code == 503


@pytest.mark.parametrize(
    "sent", ["", "Bearer", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", basic(TOKEN[1:]), "Basic é", TOKEN, "Bearer ", "Bearer é"]
)
def test_a_token_is_needed(client, sent):
    answer = client.post("/readings", content=b"whatever", headers={"Authorization": sent.encode()})
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer") and TOKEN not in answer.text


def test_a_token_is_for_its_house_alone(client):
    body = json.dumps([{"house": 7, "meter": 2, "watts": 5}, {"house": 9, "meter": 2, "watts": 5}])
    for house_of in (TOKEN, OTHER):
        assert client.status("/readings", body, Authorization=f"Bearer {house_of}", **JSON) == 403
    assert client.status("/bursts", burst(), Authorization=f"Bearer {OTHER}", **AVRO) == 403


def test_each_mistake_is_listed_up_to_20(client):
    body = [{"meter": 2, "watts": 1}, *({"meter": 2, "watts": "x"} for _ in range(30))]
    answer = client.post("/readings", json=body)
    assert answer.status_code == 422 and answer.json()["message"] == "30 of 31 readings cannot be used, so nothing was taken"
    assert answer.json()["mistakes"] == [{"position": n, "mistake": "watts: 'x' is no number"} for n in range(2, 22)]


@pytest.mark.parametrize(
    "others, sentence",
    [
        (dict(timezone="Europe/Paris"), "timezone Europe/Paris: the house has Europe/Amsterdam"),
        (dict(meter_ids=np.array([1], np.int32)), "meter 1: no meter of the house has this number and sends by HTTP"),
        (dict(watts=np.array([1, np.nan], np.float32)), "1 readings of the burst have an impossible time or value"),
        (dict(deltas=np.array([0, 9], np.int32)), "2 readings of the burst have an impossible time or value"),
        (dict(end_ms=2**42), "too far in the future"),
        (dict(start_ms=9, end_ms=10), "a clock that was never set"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_burst_is_checked_as_the_jobs_do(client, others, sentence):
    answer = client.post("/bursts", content=burst(**others), headers=AVRO)
    assert answer.status_code == 422 and sentence in answer.json()["message"]


def test_what_is_no_burst(client):
    for payload, sentence in ((b"", "begins with nothing"), (burst()[:-1], "malformed"), (b"\0\0\0\0\1", "schema registry")):
        answer = client.post("/bursts", content=payload, headers=AVRO)
        assert answer.status_code == 422 and sentence in answer.json()["message"]


def test_bodies_and_their_types(client):
    bomb = gzip.compress(bytes(MOST_BYTES + 1))
    assert len(bomb) < 2000
    for expected, body, headers in (
        (413, bytes(MOST_BYTES + 1), JSON),
        (413, bomb, JSON | {"Content-Encoding": "gzip"}),
        (422, b"no gzip", JSON | {"Content-Encoding": "gzip"}),
        (422, gzip.compress(GOOD)[:-4], JSON | {"Content-Encoding": "gzip"}),
        (415, GOOD, JSON | {"Content-Encoding": "br"}),
        (415, GOOD, AVRO),
        (415, GOOD, {}),
        (422, GOOD, LINES),
    ):
        assert client.status("/readings", body, **headers) == expected, (expected, headers)
    assert client.status("/bursts", GOOD, **JSON) == 415
    assert client.status("/write?precision=fortnight", b"m,meter=2 watts=1") == 422


def test_requests_are_counted_by_their_status(client):
    client.post("/readings", json={})
    client.get("/readings")
    client.get("/readings", headers={"Host": "evil.example"})
    client.get("/readings", headers={"Origin": "http://evil.example"})
    text = generate_latest(client.metrics.registry).decode()
    for status, times in (("422", 1), ("405", 1), ("403", 2)):
        assert f'smw_gateway_http_requests_total{{status="{status}"}} {times}.0\n' in text


def test_health_and_the_document_need_no_token(client):
    answer = client.get("/health", headers={"Authorization": ""})
    assert answer.status_code == 503 and answer.json() == {
        "name": "smart-meter-watchdog",
        "status": "fail",
        "message": "Kafka takes no readings",
    }
    validate(answer.json(), document()["components"]["schemas"]["Health"])
    assert client.get("/openapi.json", headers={"Authorization": ""}).json() == document()

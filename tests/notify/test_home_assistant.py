"""Energy and alerts in a Home Assistant's broker: retained, right after a kill, and whatever was away."""

from __future__ import annotations

import json
import signal
import ssl
import threading
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from confluent_kafka import Producer
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from commands import status
from commands.cli import main
from notify.service import Notifier, routes_of
from smartmeter.kafka.consumers import SHOWN_AT_HOME, home_group
from smartmeter.kafka.offsets import Lags
from smartmeter.messages.topics import topic
from stack.ports import free_port
from tests.certificates import Authority
from tests.mosquitto import USER, Mosquitto
from tests.notify.receivers import SECRET
from tests.notify.test_service import alert, process, produce
from tests.sinks import running
from tests.store.test_sink import HOUSE
from tests.waiting import STILL_S, until

BASE = "smart_meter_watchdog"
STATUS, ALERTS, MAINS, FRIDGE = f"{BASE}/status", f"{BASE}/7/alerts", f"{BASE}/7/1/energy", f"{BASE}/7/2/energy"
CONFIGS = {f"homeassistant/sensor/{BASE}/7_{entity}/config" for entity in ("1_import", "1_export", "2_energy", "3_energy")}
ALERTS_CONFIG = f"homeassistant/binary_sensor/{BASE}/7_alerts/config"
OFF = {"problem": "OFF", "open_alerts": 0}


class Watcher:
    """What a broker publishes, and what it has retained, as somebody sees who subscribes to all."""

    def __init__(self):
        self.seen: list[tuple[str, str]] = []
        self.before: dict[str, str] = {}  # what was retained
        self.ready = threading.Event()

    def take(self, message):
        payload = message.payload.decode()
        if message.retain:
            self.before[message.topic] = payload
        elif message.topic == "watcher":  # comes after all that is retained
            self.ready.set()
        else:
            self.seen.append((message.topic, payload))

    @property
    def retained(self) -> dict[str, str]:
        """Topic -> what is retained by now."""
        return {topic: payload for topic, payload in (self.before | dict(self.seen)).items() if payload}

    def __call__(self, topic) -> dict:
        return json.loads(self.retained.get(topic, "{}"))

    @property
    def is_online(self) -> bool:
        return self.retained.get(STATUS) == "online"


@contextmanager
def watched(broker, ca):
    client, watcher = mqtt.Client(CallbackAPIVersion.VERSION2), Watcher()
    client.username_pw_set(USER, SECRET)
    client.tls_set_context(ssl.create_default_context(cafile=ca))
    client.on_message = lambda _, __, message: watcher.take(message)
    client.on_subscribe = lambda *_: client.publish("watcher", "all was sent", qos=1)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    client.subscribe("#", qos=1)
    assert watcher.ready.wait(STILL_S)
    try:
        yield watcher
    finally:
        client.disconnect()
        client.loop_stop()


@pytest.fixture
def ca(tmp_path):
    return Authority(tmp_path / "ca")


@pytest.fixture
def broker(tmp_path, ca):
    with Mosquitto(tmp_path, SECRET, certificate=ca.issue("127.0.0.1")) as broker:
        yield broker


@pytest.fixture
def settings(with_topics, tmp_path, broker, ca, monkeypatch):
    monkeypatch.setenv("MQTT_PASSWORD", SECRET)
    file = tmp_path / "routes.toml"
    file.write_text(
        f'[home_assistant]\nurl = "mqtts://127.0.0.1:{broker.port}"\nuser = "{USER}"\npassword = "${{MQTT_PASSWORD}}"\nca = "{ca.file}"\n'
        "houses = [7]\n"
    )
    return with_topics.but(notify_metrics_port=0, notify_routes=str(file))


@pytest.fixture(autouse=True)
def is_quick(monkeypatch):
    monkeypatch.setattr("smartmeter.retries.FIRST_S", 0.05)
    monkeypatch.setattr("notify.service.POLL_S", 0.05)
    monkeypatch.setattr("notify.home_publisher.POLL_S", 0.05)


TODAY = datetime.now(ZoneInfo(HOUSE["timezone"])).date()


def energy(meter_id, days_ahead, kwh, revision=1, exported_kwh=0.0, house_id=7):
    numbers = ("readings", "duplicates", "day_s", "refused", "gaps", "register_faults")
    lists = ("hour_starts", "hours", "hour_kwh", "hour_covered_s", "hour_exported_kwh")
    nothing = ("power_kwh", "power_exported_kwh", "register_kwh", "register_exported_kwh")
    return {
        "house_id": house_id,
        "meter_id": meter_id,
        "date": (TODAY - datetime(1970, 1, 1).date()).days + days_ahead,
        "kwh": kwh,
        "exported_kwh": exported_kwh,
        "final": False,
        "revision": revision,
        "covered_s": 1.0,
        "max_gap_s": 1.0,
        **dict.fromkeys(numbers, 0),
        **{name: [] for name in lists},
        **dict.fromkeys(nothing),
    }


def midnight(days_ahead):
    return datetime.combine(TODAY + timedelta(days=days_ahead), datetime.min.time(), ZoneInfo(HOUSE["timezone"])).isoformat()


def has_read_all(settings):
    """Whether all messages are published and committed."""
    names = tuple(topic(settings, name) for name in SHOWN_AT_HOME)
    return Lags(settings, {home_group(settings): names}).by_group(10) == {home_group(settings): 0}


def test_a_day_midnight_a_late_revision_alerts_and_a_kill(settings, broker, ca):
    produce(settings, "houses", HOUSE, {**HOUSE, "house_id": 8})
    produce(settings, "daily_energy", energy(1, -1, 9.0), energy(1, 0, 5.1234, exported_kwh=1.5), energy(1, 0, 1.0, house_id=8))
    with watched(broker, ca.file) as home:
        with process(settings) as service:
            until(lambda: home.is_online)
            assert home.retained.keys() == {STATUS, ALERTS, MAINS, FRIDGE, f"{BASE}/7/3/energy", ALERTS_CONFIG, *CONFIGS}
            assert home(MAINS) == {"last_reset": midnight(0), "import_kwh": 5.123, "export_kwh": 1.5} and home(ALERTS) == OFF
            produce(settings, "daily_energy", energy(2, 0, 1.25))
            until(lambda: home(FRIDGE)["energy_kwh"] == 1.25)
            produce(settings, "daily_energy", energy(2, 1, 0.05))
            until(lambda: home(FRIDGE) == {"last_reset": midnight(1), "energy_kwh": 0.05})
            produce(settings, "daily_energy", energy(2, 0, 1.5, revision=9))
            produce(settings, "alerts", alert(), alert(severity="critical", revision=2), alert(house_id=8))
            until(lambda: home(ALERTS).get("severity") == "critical" and has_read_all(settings))
            service.kill()
            until(lambda: home.retained[STATUS] == "offline")
        assert home(FRIDGE)["energy_kwh"] == 0.05 and home(MAINS) == {"last_reset": midnight(1), "import_kwh": 0.0, "export_kwh": 0.0}
        before = home.retained
        produce(settings, "daily_energy", energy(2, 1, 0.2, revision=2))
        produce(settings, "alerts", alert(3), alert(3, is_open=False, revision=2))
        begun = len(home.seen)
        with process(settings) as service:
            until(lambda: home.is_online)
            published = home.seen[begun:]
            assert published[-1] == (STATUS, "online"), "the states are right before anybody relies on them"
            assert dict(published) == before | {STATUS: "online", FRIDGE: f'{{"last_reset": "{midnight(1)}", "energy_kwh": 0.2}}'}
            assert len(published) == len(before), "each state came once: nothing flaps"
            produce(settings, "alerts", alert(is_open=False, severity="critical", revision=3))
            until(lambda: home(ALERTS) == OFF)
            service.send_signal(signal.SIGTERM)
            _, log = service.communicate(timeout=STILL_S)
            assert service.returncode == 0 and home.retained[STATUS] == "offline"
    with watched(broker, ca.file) as home:
        assert home.before == before | {STATUS: "offline", FRIDGE: home.before[FRIDGE], ALERTS: json.dumps(OFF)}
    assert "WARN" not in log and SECRET not in log


def test_what_is_gone_is_cleared_and_a_broker_that_was_away_has_all_again(settings, broker, ca, monkeypatch):
    monkeypatch.setattr("notify.reader.AT_A_TIME", 1)
    left, other = f"homeassistant/sensor/{BASE}/9_1_energy/config", "homeassistant/sensor/other/9_1_energy/config"
    publish(broker, ca.file, left, other)
    settings = settings.but(notify_metrics_port=free_port())
    url = f"http://127.0.0.1:{settings.notify.metrics_port}/metrics"
    produce(settings, "houses", HOUSE)
    produce(settings, "daily_energy", energy(2, 0, 1.25))
    produce(settings, "alerts", alert(3), alert(3, is_open=False, revision=2))
    with watched(broker, ca.file) as home, running(Notifier(settings, routes_of(settings))):
        until(lambda: home.is_online and left not in home.retained)
        assert home.retained[other] == "{}"
        assert [payload for name, payload in home.seen if name == ALERTS] == [json.dumps(OFF)], "what is over by now was never on"
        broker.stop()
        produce(settings, "alerts", alert())
        [problem] = until(lambda: status.failing_routes(url))
        assert problem.startswith("the route home_assistant of notify has failed since 20")
        assert not has_read_all(settings)
        broker.start()  # it keeps nothing on disk
        with watched(broker, ca.file) as again:
            until(lambda: again.is_online)
            assert again(ALERTS)["problem"] == "ON" and again(FRIDGE)["energy_kwh"] == 1.25 and again.retained.keys() >= CONFIGS
            until(lambda: has_read_all(settings) and not status.failing_routes(url))
            without_fridge = [meter for meter in HOUSE["meters"] if meter["meter_id"] != 2]
            produce(settings, "houses", {**HOUSE, "meters": without_fridge, "updated": HOUSE["updated"] + 1})
            until(lambda: FRIDGE not in again.retained)
            assert CONFIGS - again.retained.keys() == {f"homeassistant/sensor/{BASE}/7_2_energy/config"}
            delete(settings, 7)
            until(lambda: again.retained == {STATUS: "online"})


def test_a_test_message(settings, broker, ca, monkeypatch, capsys):
    for name, value in settings.environ().items():
        monkeypatch.setenv(name, value)
    with watched(broker, ca.file) as home:
        assert main(["notify", "--test"]) == 0
        until(lambda: home.seen == [(f"{BASE}/test", "a test, no state")])
    monkeypatch.setenv("MQTT_PASSWORD", f"{SECRET}-not")
    assert main(["notify", "--test"]) == 1
    file = Path(settings.notify.routes)
    file.write_text("\n".join(line for line in file.read_text().splitlines() if not line.startswith("ca")))
    assert main(["notify", "--test"]) == 1
    sent, refused, strange = capsys.readouterr().out.splitlines()
    assert sent == "home_assistant: sent" and refused == "home_assistant: failed: the broker refuses the connection: Not authorized"
    assert strange.startswith("home_assistant: failed: its certificate is not trusted (") and "set ca to the PEM file" in strange


def delete(settings, house_id):
    producer = Producer({"bootstrap.servers": settings.kafka.address})
    producer.produce(topic(settings, "houses"), None, b"%d" % house_id)
    assert producer.flush(STILL_S) == 0


def publish(broker, ca, *topics):
    """Retain an empty document in some topics."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.username_pw_set(USER, SECRET)
    client.tls_set_context(ssl.create_default_context(cafile=ca))
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    for name in topics:
        client.publish(name, "{}", qos=1, retain=True).wait_for_publish(STILL_S)
    client.disconnect()
    client.loop_stop()

"""The gateway between a real MQTT broker and a real Kafka: each reading arrives, whatever fails in between."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections import defaultdict
from contextlib import contextmanager
from itertools import islice, repeat

import numpy as np
import pytest
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from commands import status
from commands.cli import main
from gateway import service
from gateway.disk_spool import ENTRY
from gateway.link import Link
from gateway.metrics import REASONS
from gateway.service import Gateway
from smartmeter.errors import UserError
from smartmeter.messages.codec import EXPORT, IMPORT, POWER
from smartmeter.mqtt_broker import Broker
from stack import services
from stack.ports import free_port
from tests.certificates import Authority
from tests.mosquitto import USER, Mosquitto
from tests.sinks import running
from tests.topics import records
from tests.waiting import STILL_S, until

SECRET = "s3cr3t-9b1c"
METERS = """
broker: {{url: "{url}", user: meters, password: "${{MQTT_PASSWORD}}"{more}}}
burst_s: 0.1
houses:
  - id: 7
    timezone: Europe/Amsterdam
    zip: 02139
    meters:
      - {{id: 1, label: mains, kind: mains, preset: dsmr-reader, time: device}}
      - {{id: 2, label: fridge, preset: shelly, device: shellyplug-1, parent: 1}}
      - {{id: 3, label: lamp, topic: home/lamp, import_topic: lamp/energy, energy_unit: Wh}}
"""


BURST = ("start", "end", "deltas", "watts", "energies")


@pytest.fixture(autouse=True)
def is_quick(monkeypatch, caplog):
    monkeypatch.setattr("smartmeter.retries.FIRST_S", 0.05)
    monkeypatch.setattr(service, "POLL_S", 0.05)
    monkeypatch.setenv("MQTT_PASSWORD", SECRET)
    caplog.set_level(logging.INFO)


@pytest.fixture
def broker(tmp_path):
    with Mosquitto(
        tmp_path, SECRET, more=f"persistence true\npersistence_location {tmp_path}/\nautosave_interval 1\nautosave_on_changes true\n"
    ) as broker:
        yield broker


@pytest.fixture
def settings(with_topics, tmp_path):
    return with_topics.but(gateway_metrics_port=0, gateway_config=str(tmp_path / "meters.yaml"), gateway_spool=str(tmp_path / "spool"))


def write(settings, url, more="", text=METERS):
    with open(settings.gateway.config, "w") as file:
        file.write(text.format(url=url, more=more))


@contextmanager
def connected(broker):
    """A client of the broker, which sends as many messages at once as there are."""
    client, ready = mqtt.Client(CallbackAPIVersion.VERSION2), threading.Event()
    client.max_inflight_messages_set(0)
    client.username_pw_set(USER, SECRET)
    client.on_connect = lambda *_: ready.set()
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    assert ready.wait(60)
    try:
        yield client
    finally:
        client.disconnect()
        client.loop_stop()


@contextmanager
def devices(broker):
    """Publishes with QoS 1. Returns once the broker has acknowledged it."""
    with connected(broker) as client:

        def publish(topic, payload, **others):
            sent = client.publish(topic, payload if isinstance(payload, (str, bytes)) else json.dumps(payload), qos=1, **others)
            sent.wait_for_publish(STILL_S)

        yield publish


@contextmanager
def subscribed(settings):
    """The gateway, once the broker keeps messages for it."""
    with running(Gateway(settings)) as gateway:
        until(lambda: gateway._link.is_up)
        yield gateway


@contextmanager
def process(settings):
    """The gateway as a process of its own."""
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "gateway.service"], env=os.environ | settings.environ(), stderr=subprocess.PIPE, text=True
    ) as program:
        try:
            yield program
        finally:
            program.kill()


def channels(settings) -> dict[tuple[int, int], list[tuple[int, float]]]:
    """(meter, quantity) -> (time in ms, W or mWh) of its readings, each once, as the jobs count them: that of the first burst over its time."""
    found, covered = {}, {}
    for burst in records(settings, "readings"):
        start, end, deltas, powers, energies = (iter(burst[key]) if key.endswith("s") else burst[key] for key in BURST)
        for meter, count, quantity in zip(burst["meter_ids"], burst["counts"], burst["quantities"] or repeat(POWER)):
            times = start + np.cumsum([next(deltas) for _ in range(count)]) * burst["tick_ms"]
            values = [next(powers if quantity == POWER else energies) for _ in range(count)]
            for time, value in zip(times.tolist(), values if quantity == POWER else np.cumsum(values).tolist()):
                assert start <= time < end
                if not any(begin <= time < over for begin, over in covered.get((meter, quantity), [])):
                    found.setdefault((meter, quantity), []).append((time, value))
            covered.setdefault((meter, quantity), []).append((start, end))
    return found


def readings(settings) -> dict[int, list[tuple[int, float]]]:
    """Meter -> (time in ms, W) of its readings of power."""
    return {meter: found for (meter, quantity), found in channels(settings).items() if quantity == POWER}


def watts(settings, meter):
    return [power for _, power in readings(settings).get(meter, [])]


def metric(gateway, name) -> dict[tuple[str, ...], float]:
    """Values of the labels -> value."""
    samples = (sample for family in gateway._metrics.registry.collect() for sample in family.samples)
    return {tuple(sample.labels.values()): sample.value for sample in samples if sample.name == name}


def left_out(gateway) -> dict[str, float]:
    """Reason -> readings that were left out."""
    return {reason: readings for (reason,), readings in metric(gateway, "smw_gateway_left_out_total").items()}


def test_readings_of_a_house_arrive_and_what_cannot_be_used_holds_up_nothing(settings, broker):
    write(settings, f"mqtt://127.0.0.1:{broker.port}")
    with devices(broker) as publish:
        publish("home/lamp", "99", retain=True)  # of unknown age
        with subscribed(settings) as gateway:
            for bad in (b"\xff" * 1_000_000, "NaN", "on", '{"a": [[[', ""):
                publish("home/lamp", bad)
            publish("shellyplug-1/status/switch:0", {"id": 0, "output": True, "apower": 25.75, "aenergy": {"total": 913.252}})
            begin_s = service.time.time() - 100
            for second, (drawn, fed_in, register) in enumerate([("0.250", "0", "9007199254.740992"), ("0", "1.5", "9007199254.740993")]):
                publish(
                    "dsmr/json",
                    {
                        "timestamp": service.time.strftime("%Y-%m-%dT%H:%M:%SZ", service.time.gmtime(begin_s + second)),
                        "electricity_currently_delivered": drawn,
                        "electricity_currently_returned": fed_in,
                        "electricity_delivered_1": register,
                        "electricity_delivered_2": 1,
                        "electricity_returned_1": "0.001",
                        "electricity_returned_2": second,
                    },
                )
            publish("lamp/energy", "-1")
            publish("lamp/energy", "12.5")
            publish("home/lamp", "7.5")
            until(lambda: len(channels(settings)) == 7)
            counted = left_out(gateway)
    assert watts(settings, 3) == [7.5] and watts(settings, 2) == [25.75]
    (first, drawn), (second, fed_in) = readings(settings)[1]
    assert (second - first, first % 1000, drawn, fed_in) == (1000, 0, 250, -1500)
    found = {channel: [value for _, value in of_it] for channel, of_it in channels(settings).items()}
    assert (found[2, IMPORT], found[3, IMPORT]) == ([913_252], [12_500])
    assert (found[1, IMPORT], found[1, EXPORT]) == ([2**53 + 1_000_000, 2**53 + 1_000_001], [1_000, 1_001_000])
    assert counted == dict.fromkeys(REASONS, 0) | {"unusable": 6, "retained": 1}
    [house] = records(settings, "houses")
    assert (house["house_id"], house["zip"], house["city"]) == (7, "02139", "Cambridge")
    assert [(meter["label"], meter["kind"], meter["parent"]) for meter in house["meters"]] == [
        ("mains", "mains", 0),
        ("fridge", "appliance", 1),
        ("lamp", "appliance", 0),
    ]


def test_a_killed_gateway_loses_nothing_and_repeats_only_what_counts_as_duplicate(settings, broker):
    write(settings, f"mqtt://127.0.0.1:{broker.port}")
    with subscribed(settings):
        pass  # from now on the broker keeps messages
    published = 0
    with devices(broker) as publish:
        for kills in range(4):
            with process(settings) as program:
                until(lambda: len(watts(settings, 3)) >= 40 * kills)
                for _ in range(80):
                    published += 1
                    publish("home/lamp", str(published))
                program.kill()
    with subscribed(settings):
        until(lambda: len(watts(settings, 3)) >= published)
    assert watts(settings, 3) == list(range(1, published + 1))


def test_readings_wait_on_disk_while_kafka_is_away(settings, broker, caplog, monkeypatch):
    monkeypatch.setattr("smartmeter.kafka.connection.NOBODY_THERE_S", 0.3)
    write(settings, f"mqtt://127.0.0.1:{broker.port}")
    with devices(broker) as publish:
        with subscribed(settings.but(kafka=f"127.0.0.1:{free_port()}", gateway_spool_mb=50 * ENTRY.itemsize / 1e6)) as gateway:
            for n in range(60):
                publish("home/lamp", str(n))
            until(lambda: gateway._spool.waiting == 50 and left_out(gateway)["spool full"] == 10)
        with subscribed(settings) as gateway:
            publish("home/lamp", "99")
            until(lambda: len(watts(settings, 3)) == 51)
            until(lambda: gateway._spool.waiting == 0)
    assert watts(settings, 3) == [*range(50), 99]
    assert "no Kafka broker answers" in caplog.text and caplog.text.count("the spool is full") == 1


def test_each_reading_of_a_thousand_devices_and_of_one_that_floods_arrives_once(settings, tmp_path):
    sent = {f"{house}/{meter}": list(range(3)) for house in range(1, 51) for meter in range(1, 21)} | {"50/20": list(range(2000))}
    with Mosquitto(tmp_path, SECRET, more="max_queued_messages 100000\n") as broker:
        write(settings, f"mqtt://127.0.0.1:{broker.port}", text=METERS.partition("  - id: 7")[0] + houses_of(sent))
        with subscribed(settings) as gateway, connected(broker) as client:
            for number in range(2000):
                for topic, numbers in sent.items():
                    if number < len(numbers):
                        client.publish(topic, str(number), qos=1)
            until(
                lambda: (
                    metric(gateway, "smw_gateway_sent_readings_total")[()] + sum(left_out(gateway).values()) == sum(map(len, sent.values()))
                )
            )
            assert left_out(gateway) == dict.fromkeys(REASONS, 0)
    arrived = defaultdict(list)
    for burst in records(settings, "readings"):
        watts = iter(burst["watts"])
        for meter, count in zip(burst["meter_ids"], burst["counts"]):
            arrived[f"{burst['house_id']}/{meter}"] += islice(watts, count)
    assert arrived == sent


def houses_of(topics):
    """The part of a file that has the meters of topics such as 3/12: house 3, meter 12."""
    meters = defaultdict(list)
    for topic in topics:
        house, _, meter = topic.partition("/")
        meters[house].append(f"{{{{id: {meter}, label: x, topic: {topic}}}}}")
    return "".join(f"  - {{{{id: {house}, timezone: UTC, meters: [{', '.join(of_it)}]}}}}\n" for house, of_it in meters.items())


def test_a_broker_that_was_away_that_is_killed_and_restarted_has_what_was_published(settings, broker, tmp_path, caplog):
    broker.stop()
    write(settings, f"mqtt://127.0.0.1:{broker.port}")
    with running(Gateway(settings)) as gateway:
        until(lambda: "no connection (Connection refused)" in caplog.text)
        for n, end in enumerate((broker.stop, broker.kill, broker.kill)):
            broker.start()
            until(lambda: gateway._link.is_up)
            with devices(broker) as publish:
                publish("home/lamp", str(n))
                until(lambda: len(watts(settings, 3)) == n + 1)
            end()
    for n, end in enumerate((broker.stop, broker.kill), 3):  # while the gateway is away
        broker.start()
        with devices(broker) as publish:
            publish("home/lamp", f"{n}.5")
        until(lambda: f"{n}.5".encode() in (tmp_path / "mosquitto.db").read_bytes())
        end()
    broker.start()
    with subscribed(settings):
        until(lambda: len(watts(settings, 3)) == 5)
    assert watts(settings, 3) == [0, 1, 2, 3.5, 4.5]


def test_the_configuration_is_read_again_and_one_with_a_mistake_is_not_used(settings, broker, caplog):
    url = f"mqtt://127.0.0.1:{broker.port}"
    write(settings, url)
    with subscribed(settings) as gateway, devices(broker) as publish:
        publish("home/lamp", "1")
        write(settings, url, text=METERS.replace("topic: home/lamp", "topic: home/+"))
        gateway.reload()
        until(lambda: "the configuration stays as it was" in caplog.text)
        write(settings, url, text=METERS.replace("topic: home/lamp", "topic: home/bulb"))
        gateway.reload()
        until(lambda: "the configuration was read again" in caplog.text)
        publish("home/lamp", "2")
        until(lambda: publish("home/bulb", "3") or 3 in watts(settings, 3))
    assert set(watts(settings, 3)) == {1, 3}
    assert f"{settings.gateway.config}:11:37: topic: home/+: it takes the topic of one device" in caplog.text


def test_what_is_wrong_with_the_broker_is_one_sentence_and_the_gateway_goes_on(settings, broker, tmp_path, caplog):
    authority, other = Authority(tmp_path / "own"), Authority(tmp_path / "other")
    (folder := tmp_path / "tls").mkdir()
    (old := tmp_path / "expired").mkdir()
    with (
        Mosquitto(old, SECRET, certificate=authority.issue("127.0.0.1", days=-1)) as expired,
        Mosquitto(folder, SECRET, certificate=authority.issue("127.0.0.1")) as secured,
    ):
        for url, more, sentence in (
            (f"mqtt://127.0.0.1:{free_port()}", "", "no connection (Connection refused)"),
            (f"mqtt://127.0.0.1:{broker.port}", "", None),
            (f"mqtts://127.0.0.1:{broker.port}", "", "takes no TLS at this port"),
            (f"mqtt://127.0.0.1:{secured.port}", "", "it closes the connection: check the port, and write mqtts://"),
            (f"mqtts://127.0.0.1:{secured.port}", f", ca: {other.file}", "its certificate is not trusted ("),
            (f"mqtts://127.0.0.1:{expired.port}", f", ca: {authority.file}", "its certificate is not trusted (certificate has expired)"),
        ):
            text = METERS.replace('password: "${{MQTT_PASSWORD}}"{more}', "password: wrong") if sentence is None else METERS
            write(settings, url, more, text)
            with running(Gateway(settings)):
                until(lambda: (sentence or "it refuses the connection (Not authorized)") in caplog.text)
        write(settings, f"mqtts://127.0.0.1:{secured.port}", f", ca: {authority.file}")
        with subscribed(settings), devices(broker):
            pass
    assert SECRET not in caplog.text


def test_two_programs_with_one_client_id_are_reported(broker, caplog):
    links = [Link(Broker("127.0.0.1", broker.port, False, USER, SECRET), ["home/1"]) for _ in range(2)]
    for link in links:
        link.start()
    try:
        until(lambda: "the connection broke at once: perhaps another program has the client_id smart-meter-watchdog" in caplog.text)
        until(lambda: max(link._backoff.failures for link in links) > 1)
    finally:
        for link in links:
            link.stop()
            link.join(STILL_S)
    assert not any(link.is_alive() for link in links)


def test_the_command_shows_the_meters_and_all_mistakes(settings, capsys, monkeypatch):
    write(settings, "mqtt://127.0.0.1:1")
    assert main(["gateway", "--check", "--config", settings.gateway.config]) == 0
    shown = capsys.readouterr().out
    assert "house 7, meter 2, fridge, power: shellyplug-1/status/switch:0 apower\n" in shown
    assert "house 7, meter 3, lamp, import: lamp/energy\n3 meters, by MQTT from 127.0.0.1:1\n" in shown
    write(settings, "127.0.0.1", text=METERS.replace("kind: mains", "kind: main"))
    assert main(["gateway", "--check", "--config", settings.gateway.config]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert "meters.yaml:2:15: url: 127.0.0.1: it takes an address such as" in first
    assert "meters.yaml:9:37: kind: main: it takes one of mains, appliance" in second


def test_the_stack_starts_it_and_its_status_and_metrics_show_a_silent_meter(settings, broker, processes):
    settings = settings.but(gateway_metrics_port=free_port())
    services.start_meter_gateway(processes, settings.but(gateway_config=""))
    assert "gateway" not in processes.children
    write(settings, f"mqtt://127.0.0.1:{broker.port}", text=METERS.replace("topic: home/lamp", "topic: home/lamp, silent_s: 0.5"))
    services.start_meter_gateway(processes, settings)
    url = services.metrics_urls(settings)["gateway"]
    silent = "the meter lamp (3) of house 7 is silent: no reading has come for its silent_s"
    try:
        until(lambda: status.gateway_problems(url) == [silent])
        broker.stop()
        until(lambda: status.gateway_problems(url) == ["the gateway is not connected to its MQTT broker: its log has the reason", silent])
    finally:
        processes.stop("gateway")
    with pytest.raises(UserError, match="no gateway answers at .*: .*smw gateway starts it"):
        status.gateway_problems(url)
    assert "WARN gateway: house 7, lamp, topic home/lamp: no reading for" in processes.log("gateway").read_text()

"""A first meters.yaml from what a real MQTT broker delivers."""

from __future__ import annotations

import json
from itertools import islice, repeat

import pytest
from paho.mqtt import publish

from commands.cli import main
from gateway.config import load
from gateway.presets import PRESETS
from gateway.service import Gateway
from smartmeter.messages.codec import POWER
from smartmeter.progress import ProgressLine
from stack.ports import free_port
from tests.mosquitto import USER, Mosquitto
from tests.sinks import running
from tests.topics import records
from tests.unit.test_presets import DEVICES, READ, SENT
from tests.waiting import until

SECRET = "s3cr3t-9b1c"
NUMBERS = {f"home/{n}": 17 for n in range(30)}
TOPICS = sum(map(len, SENT.values())) + len(NUMBERS)


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    """Keeps what each kind of device publishes, and numbers of none: more messages than it delivers ahead of their acknowledgements."""
    with Mosquitto(tmp_path_factory.mktemp("broker"), SECRET) as broker:
        publish_all(broker, {topic: payload for of_it in SENT.values() for topic, payload in of_it.items()} | NUMBERS)
        yield broker


def publish_all(broker, sent, retain=True):
    messages = [(topic, json.dumps(payload), 1, retain) for topic, payload in sent.items()]
    publish.multiple(messages, "127.0.0.1", broker.port, auth={"username": USER, "password": SECRET})


def options(broker):
    return ["--broker", f"mqtt://127.0.0.1:{broker.port}", "--user", USER, "--password-file", "secret"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SMW_GATEWAY_CONFIG", raising=False)
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    return tmp_path


@pytest.fixture
def until_topics(monkeypatch):
    """Ends listening, as Ctrl-C does, once so many topics are seen."""

    def end(topics):
        def show(_, progress):
            if progress.done == topics:
                raise KeyboardInterrupt

        monkeypatch.setattr(ProgressLine, "is_due", lambda _: True)
        monkeypatch.setattr(ProgressLine, "show", show)

    return end


def test_a_first_file(broker, folder, until_topics, capsys):
    until_topics(TOPICS)
    assert main(["gateway", "--discover", "600", "--config", "new.yaml", *options(broker)]) == 0
    shown = capsys.readouterr().out
    assert f"found {len(PRESETS)} devices in " in shown and "shelly-gen1 shellyplug-s-1: 12.34 W, kept by the broker" in shown
    text = (folder / "new.yaml").read_text()
    assert "password_file: secret\n" in text and SECRET not in text and '# "home/29": 17\n' in text
    assert main(["gateway", "--config", "new.yaml", "--check"]) == 0
    assert "house 1, meter 1, dsmr, power: dsmr/json electricity_currently_delivered" in capsys.readouterr().out
    assert load(folder / "new.yaml").broker.password == SECRET


def test_what_each_device_measures_arrives_by_the_file_that_was_found(broker, folder, until_topics, with_topics):
    until_topics(TOPICS)
    assert main(["gateway", "--discover", "600", "--config", "new.yaml", *options(broker)]) == 0
    [house] = load(folder / "new.yaml").houses
    preset_of = {meter.meter_id: preset for meter in house.meters for preset, device in DEVICES.items() if meter.label == device}
    expected = {(meter, quantity): value for meter, preset in preset_of.items() for quantity, value in READ[preset].items()}
    settings = with_topics.but(gateway_metrics_port=0, gateway_config="new.yaml", gateway_spool=str(folder / "spool"))
    with running(Gateway(settings)) as gateway:
        until(lambda: gateway._link.is_up)
        publish_all(broker, {topic: payload for of_it in SENT.values() for topic, payload in of_it.items()}, retain=False)
        until(lambda: len(values(settings)) == len(expected))
    assert values(settings) == expected


def values(settings):
    """(meter, quantity) -> W or mWh of its first reading in Kafka."""
    found = {}
    for burst in records(settings, "readings"):
        watts, energies = iter(burst["watts"]), iter(burst["energies"])
        for meter, quantity, count in zip(burst["meter_ids"], burst["quantities"] or repeat(POWER), burst["counts"]):
            own = list(islice(watts if quantity == POWER else energies, count))
            if own:
                found.setdefault((meter, quantity), pytest.approx(own[0]))
    return found


def test_houses_for_a_file_that_has_a_broker(broker, folder, until_topics, capsys, monkeypatch):
    until_topics(TOPICS)
    monkeypatch.setenv("P", SECRET)
    begin = f"# mine\nbroker: {{url: 'mqtt://127.0.0.1:{broker.port}', user: {USER}, password: '${{P}}'}}"
    (folder / "meters.yaml").write_text(begin)
    assert main(["gateway", "--discover", "600"]) == 0
    text = (folder / "meters.yaml").read_text()
    assert text.startswith(f"{begin}\n# Edit what follows") and len(load(folder / "meters.yaml").meters) == len(PRESETS)
    assert main(["gateway", "--discover", "600"]) == 1
    assert "the file has houses already: give --config a new file" in capsys.readouterr().err
    assert (folder / "meters.yaml").read_text() == text


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        ([], "there is no meters.yaml: give the address of your broker, such as --broker mqtt://HOST:1883"),
        (["--broker", "localhost"], "smw: url: localhost: it takes an address such as mqtt://HOST:1883"),
        (["--broker", "mqtt://x", "--config", "secret"], "secret exists: give --config a new file, or leave out --broker"),
        (["--broker", "mqtt://x", "--config", "none/x"], "none/x cannot be written: give --config a file in a folder of yours"),
        (["--broker", "mqtt://x", "--user", "a", "--password-file", "no"], "password_file: no: it takes a file that can be read"),
    ],
)
def test_a_mistake_is_one_sentence(folder, capsys, arguments, sentence):
    assert main(["gateway", "--discover", "600", *arguments]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert sentence in line and sorted(file.name for file in folder.iterdir()) == ["secret"]


def test_a_broker_without_devices(folder, until_topics, capsys, tmp_path_factory):
    until_topics(1)
    with Mosquitto(tmp_path_factory.mktemp("other"), SECRET) as other:
        publish_all(other, {"home/pulse": 17})
        assert main(["gateway", "--discover", "600", *options(other)]) == 1
    out, err = capsys.readouterr()
    assert '# "home/pulse": 17\n' in out and "found 0 devices in 1 topics of 127.0.0.1:" in err
    assert sorted(file.name for file in folder.iterdir()) == ["secret"]


def test_a_broker_that_is_away(folder, until_topics, capsys):
    until_topics(0)
    url = f"mqtt://127.0.0.1:{free_port()}"
    assert main(["gateway", "--discover", "600", "--broker", url]) == 1
    assert f"no connection to the broker at {url.removeprefix('mqtt://')}" in capsys.readouterr().err

"""A first meters.yaml from what a real MQTT broker delivers."""

from __future__ import annotations

import json

import pytest
from paho.mqtt import publish

from commands.cli import main
from gateway.config import load
from gateway.presets import PRESETS
from smartmeter.progress import ProgressLine
from stack.ports import free_port
from tests.mosquitto import USER, Mosquitto
from tests.unit.test_presets import SENT

SECRET = "s3cr3t-9b1c"
NUMBERS = {f"home/{n}": 17 for n in range(30)}
TOPICS = sum(map(len, SENT.values())) + len(NUMBERS)


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    """Keeps what each kind of device publishes, and numbers of none: more messages than it delivers ahead of their acknowledgements."""
    with Mosquitto(tmp_path_factory.mktemp("broker"), SECRET) as broker:
        kept(broker, {topic: payload for of_it in SENT.values() for topic, payload in of_it.items()} | NUMBERS)
        yield broker


def kept(broker, sent):
    messages = [(topic, json.dumps(payload), 1, True) for topic, payload in sent.items()]
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
def until(monkeypatch):
    """Ends listening, as Ctrl-C does, once so many topics are seen."""

    def end(topics):
        def show(_, progress):
            if progress.done == topics:
                raise KeyboardInterrupt

        monkeypatch.setattr(ProgressLine, "is_due", lambda _: True)
        monkeypatch.setattr(ProgressLine, "show", show)

    return end


def test_a_first_file(broker, folder, until, capsys):
    until(TOPICS)
    assert main(["gateway", "--discover", "600", "--config", "new.yaml", *options(broker)]) == 0
    shown = capsys.readouterr().out
    assert f"found {len(PRESETS)} devices in " in shown and "shelly-gen1 shellyplug-s-1: 12.34 W, kept by the broker" in shown
    text = (folder / "new.yaml").read_text()
    assert "password_file: secret\n" in text and SECRET not in text and '# "home/29": 17\n' in text
    assert main(["gateway", "--config", "new.yaml", "--check"]) == 0
    assert "house 1, meter 1, dsmr, power: dsmr/json electricity_currently_delivered" in capsys.readouterr().out
    assert load(folder / "new.yaml").broker.password == SECRET


def test_houses_for_a_file_that_has_a_broker(broker, folder, until, capsys, monkeypatch):
    until(TOPICS)
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


def test_a_broker_without_devices(folder, until, capsys, tmp_path_factory):
    until(1)
    with Mosquitto(tmp_path_factory.mktemp("other"), SECRET) as other:
        kept(other, {"home/pulse": 17})
        assert main(["gateway", "--discover", "600", *options(other)]) == 1
    out, err = capsys.readouterr()
    assert '# "home/pulse": 17\n' in out and "found 0 devices in 1 topics of 127.0.0.1:" in err
    assert sorted(file.name for file in folder.iterdir()) == ["secret"]


def test_a_broker_that_is_away(folder, until, capsys):
    until(0)
    url = f"mqtt://127.0.0.1:{free_port()}"
    assert main(["gateway", "--discover", "600", "--broker", url]) == 1
    assert f"no connection to the broker at {url.removeprefix('mqtt://')}" in capsys.readouterr().err

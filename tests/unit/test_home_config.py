"""The table [home_assistant]: what it may hold, and the sentence for each mistake."""

from __future__ import annotations

import re

import pytest

from notify.routes import parse
from smartmeter.errors import UserError
from smartmeter.mqtt_broker import Broker
from smartmeter.settings import ROOT
from tests.certificates import Authority

URL = 'url = "mqtt://broker.example"'


@pytest.fixture
def read(tmp_path):
    """Reads the lines of a table, in a file of a folder of its own."""

    def parsed(lines, environ=None):
        return parse(f"[home_assistant]\n{lines}", tmp_path / "routes.toml", environ or {}).home

    return parsed


def test_an_address_is_enough(read):
    found = read(URL)
    assert found.broker == Broker("broker.example", 1883, False, client_id="smart_meter_watchdog_home_assistant")
    assert (found.topic, found.discovery_prefix, found.houses, found.min_severity) == (
        "smart_meter_watchdog",
        "homeassistant",
        frozenset(),
        "info",
    )


def test_all_keys(read, tmp_path):
    ca = Authority(tmp_path / "ca").file
    (tmp_path / "secret").write_text("hidden1\n")
    found = read(
        'url = "mqtts://broker.example"\nuser = "meters"\npassword_file = "secret"\nca = "ca/ca.pem"\ntopic = "cottage"\n'
        'discovery_prefix = "ha/found"\nhouses = [1, 2]\nmin_severity = "warning"'
    )
    assert found.broker == Broker("broker.example", 8883, True, "meters", "hidden1", str(ca), "cottage_home_assistant")
    assert (found.topic, found.discovery_prefix, found.houses, found.min_severity) == ("cottage", "ha/found", {1, 2}, "warning")
    assert "hidden1" not in repr(found) and str(found) == "mqtts://broker.example:8883"


def test_the_example_of_the_docs():
    [example] = re.findall(r"```toml\n(\[home_assistant\].*?)```", (ROOT / "docs" / "notifications.md").read_text(), re.DOTALL)
    variables = dict.fromkeys(re.findall(r"\$\{(\w+)\}", example), "value")
    assert parse(example, ROOT / "docs" / "routes.toml", variables).home.broker.password == "value"


@pytest.mark.parametrize(
    "lines, sentence",
    [
        ("", "routes.toml: home_assistant: it lacks the key url: write the address of the MQTT broker, such as mqtt://HOST:1883"),
        ('url = "broker"', "home_assistant: url: it takes an address such as mqtt://HOST:1883 or mqtts://HOST:8883"),
        ('url = "mqtt://h:x"', "home_assistant: url: it takes an address"),
        ('url = "mqtt://meters:hidden1@h"', "home_assistant: url: it takes an address"),
        ("url = 1883", "home_assistant: url: it takes an address"),
        (f'{URL}\ncolor = "red"', "home_assistant: there is no key color: it takes url, user, ca, password or password_file, topic, "),
        (f'{URL}\npassword = "hidden1"', "home_assistant: it has a password and no user: give it both"),
        (f'{URL}\nuser = "a"\npassword = "hidden1"\npassword_file = "b"', "home_assistant: give it either password or password_file"),
        (f"{URL}\nuser = 'a'\npassword = 5", "home_assistant: password takes a text in quotes"),
        (f'{URL}\nuser = "a"\npassword = "${{PW}}"', "home_assistant: password contains ${PW}, and this environment variable is not set: set it"),
        (f'{URL}\nuser = "a"\npassword_file = "none"', "home_assistant: password_file = 'none': it takes a file that can be read, with the password in it"),
        (f'{URL}\nca = "none.pem"', "home_assistant: ca="),
        (f'{URL}\ntopic = "a/b"', "home_assistant: topic = 'a/b': it takes up to 64 letters, digits and _ -"),
        (f'{URL}\ntopic = "+"', "home_assistant: topic = '+': it takes"),
        (f'{URL}\ndiscovery_prefix = "ha/#"', "home_assistant: discovery_prefix = 'ha/#': it takes the prefix that is set in Home Assistant"),
        (f"{URL}\nhouses = 1", "home_assistant: houses = 1: it takes a list of house numbers"),
        (f'{URL}\nmin_severity = "high"', "home_assistant: min_severity = 'high': it takes"),
        (f'{URL}\n[[route]]\nname = "home_assistant"\nurl = "tgram://1/2"', "two routes have the name home_assistant: give each its own"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence(read, lines, sentence):
    with pytest.raises(UserError) as error:
        read(lines)
    assert sentence in str(error.value) and "\n" not in str(error.value) and "hidden1" not in str(error.value)


def test_a_value_in_place_of_a_table(tmp_path):
    with pytest.raises(UserError, match=r"routes.toml: home_assistant takes keys: begin them with a line \[home_assistant\]"):
        parse("home_assistant = 1", tmp_path / "routes.toml", {})

"""meters.yaml: what it may hold, and a sentence with its place for each mistake."""

from pathlib import Path

import pytest

from gateway.config import ConfigError, load, parse
from generator.houses import Meter
from smartmeter.errors import UserError
from smartmeter.messages.codec import EXPORT, IMPORT, POWER

GOOD = """\
broker: {url: mqtts://broker.example, user: me, password: "${P}"}
houses:
  - id: 3
    timezone: Europe/Amsterdam
    zip: 01011
    meters:
      - {id: 1, label: mains, kind: mains, preset: dsmr-reader, time: device}
      - {id: 2, label: plug, preset: tasmota, device: kettle, parent: 1, holds_s: 3600}
      - {id: 3, label: roof, kind: solar, topic: sun/power, power: a.0, unit: kW, sign: -1, silent_s: 0}
"""


ONE = """\
broker: {{url: mqtt://broker.example}}
houses: [{{id: 3, timezone: UTC, meters: [{{id: 1, label: x, {}}}]}}]
"""
TASMOTA = [
    (POWER, "tele/n/SENSOR", "ENERGY.Power", 1),
    (IMPORT, "tele/n/SENSOR", "ENERGY.Total", 10**6),
    (EXPORT, "tele/n/SENSOR", "ENERGY.ExportActive", 10**6),
]


def read(text):
    return parse(text, Path("meters.yaml"), {"P": "secret"})


def mistakes(text):
    with pytest.raises(ConfigError) as raised:
        read(text)
    return str(raised.value).splitlines()


def test_a_good_file():
    config = read(GOOD)
    [house] = config.houses
    assert (config.broker.host, config.broker.port, config.broker.tls, config.broker.password) == ("broker.example", 8883, True, "secret")
    assert "secret" not in repr(config)
    assert (house.house_id, house.zip, config.burst_s) == (3, "01011", 1.0), "a zip is no octal number"
    assert house.meters == (Meter(1, "mains", "mains"), Meter(2, "plug", "appliance", 1), Meter(3, "roof", "solar"))
    mains, plug, roof = config.meters
    assert (mains.topic, mains.path.split()[0], mains.factor, mains.time) == (
        "dsmr/json",
        "electricity_currently_delivered",
        1000,
        "timestamp",
    )
    assert (plug.topic, plug.time, plug.holds_s, plug.silent_s) == ("tele/kettle/SENSOR", "", 3600, 3600)
    assert (roof.topic, roof.path, roof.factor, roof.silent_s) == ("sun/power", "a.0", -1000, 0)
    assert [(source.meter_id, source.quantity, source.path, source.factor, source.holds_s) for source in config.sources[3:]] == [
        (2, POWER, "ENERGY.Power", 1, 3600),
        (2, IMPORT, "ENERGY.Total", 10**6, 0),
        (2, EXPORT, "ENERGY.ExportActive", 10**6, 0),
        (3, POWER, "a.0", -1000, 0),
    ]


@pytest.mark.parametrize(
    "meter, found",
    [
        (
            "topic: t, power: p, import: i, export: e, energy_unit: kWh",
            [(POWER, "t", "p", 1), (IMPORT, "t", "i", 10**6), (EXPORT, "t", "e", 10**6)],
        ),
        ("topic: t, import: low + high, energy_unit: MWh", [(IMPORT, "t", "low + high", 10**9)]),
        ("topic: t, import_topic: u, energy_unit: Wh", [(POWER, "t", "", 1), (IMPORT, "u", "", 1000)]),
        ("topic: t, import_topic: t, import: i, energy_unit: Wh", [(IMPORT, "t", "i", 1000)]),
        ("export_topic: u, export: e, energy_unit: mWh", [(EXPORT, "u", "e", 1)]),
        ("topic: t, power: p, sign: -1, import: i, energy_unit: Wh", [(POWER, "t", "p", -1), (EXPORT, "t", "i", 1000)]),
        (
            "preset: esphome, device: n, import_topic: n/sensor/energy/state, energy_unit: kWh",
            [(POWER, "n/sensor/power/state", "", 1), (IMPORT, "n/sensor/energy/state", "", 10**6)],
        ),
        ("preset: tasmota, device: n, import: ENERGY.Today", [*TASMOTA[:1], (IMPORT, "tele/n/SENSOR", "ENERGY.Today", 10**6), TASMOTA[2]]),
        ("preset: tasmota, device: n, sign: -1", [(POWER, *TASMOTA[0][1:3], -1), (EXPORT, *TASMOTA[1][1:]), (IMPORT, *TASMOTA[2][1:])]),
        ("preset: shelly-gen1, topic: t", [(POWER, "t", "", 1)]),
        ("preset: tasmota, device: n, power: ENERGY.Power.1", [(POWER, "tele/n/SENSOR", "ENERGY.Power.1", 1)]),
        ("preset: tasmota, device: n, power: p, export: e", [(POWER, "tele/n/SENSOR", "p", 1), (EXPORT, "tele/n/SENSOR", "e", 10**6)]),
    ],
)
def test_where_registers_are(meter, found):
    config = read(ONE.format(meter))
    assert [(source.quantity, source.topic, source.path, source.factor) for source in config.sources] == found


def test_which_registers_a_device_may_lack_and_which_have_its_time():
    config = read(ONE.format("preset: tasmota, device: n, time: device, import_topic: u, export: ENERGY.Export"))
    assert [(source.quantity, source.is_optional, source.time) for source in config.sources] == [
        (POWER, False, "Time"),
        (IMPORT, False, ""),
        (EXPORT, False, "Time"),
    ]
    assert [source.is_optional for source in read(ONE.format("preset: tasmota, device: n")).sources] == [False, True, True]
    assert [source.is_optional for source in read(ONE.format("preset: shelly-gen1, device: n")).sources] == [False, False]


@pytest.mark.parametrize(
    "old, new, found",
    [
        (
            "timezone: Europe/Amsterdam",
            "timezone: Amsterdam",
            "4:15: timezone: Amsterdam: it takes an IANA time zone such as Europe/London",
        ),
        ("id: 3\n", "id: three\n", "3:9: id: three: it takes a whole number from 1 on"),
        ("unit: kW", "unit: kWh", "9:79: unit: kWh: it takes one of W, kW, mW"),
        ("preset: tasmota", "preset: tasmotta", "8:38: preset: tasmotta: it takes one of shelly, shelly-pm"),
        ("topic: sun/power", "topic: sun/#", "9:50: topic: sun/#: it takes the topic of one device, without the wildcards + and #"),
        (", device: kettle", "", "8:9: preset tasmota takes the device: write its name in the topic tele/{device}/SENSOR"),
        ("topic: sun/power, ", "", "9:9: a meter has neither preset nor topic: write where its readings come from"),
        ("label: plug, ", "", "8:9: a meter lacks the key label"),
        (
            "topic: sun/power, ",
            "import: a, energy_unit: Wh, ",
            "9:9: a meter has neither preset nor topic: write where its readings come from",
        ),
        ("unit: kW", "import: a", "9:9: energy_unit is missing: write in what the register counts, one of mWh, Wh, kWh, MWh, Wmin"),
        ("unit: kW", "energy_unit: W", "9:86: energy_unit: W: it takes one of mWh, Wh, kWh, MWh, Wmin"),
        ("unit: kW", "import_topic: a/#", "9:87: import_topic: a/#: it takes the topic of one device"),
        ("parent: 1", "parent: 9", "8:9: parent: 9 is no meter of the house: give the id of one, or leave it out"),
        ("parent: 1", "parent: 2", "8:9: parent: meter 2 would contain itself: correct the parent of one of these meters"),
        ("id: 3, label: roof", "id: 2, label: roof", "9:9: two meters of the house have the id 2: give each its own"),
        ("power: a.0", "powr: a.0", "9:61: a meter has no key powr: it takes id, label"),
        ("power: a.0", "topic: a", "9:61: a meter has the key topic twice: leave one out"),
        ("topic: sun/power", "topic: sun/power, time: device", "9:9: time: device takes a preset whose payload has a time"),
        ("url: mqtts://broker.example", "url: broker.example", "1:15: url: broker.example: it takes an address such as mqtt://HOST:1883"),
        ("broker.example", "broker.example:99999", "1:9: broker: url has no valid host and port"),
        ("user: me, ", "", "1:9: broker: it has a password and no user: give it both"),
        ("${P}", "${Q}", "1:9: password contains ${Q}, and this environment variable is not set: set it"),
        ('password: "${P}"', "password_file: none", "1:9: password_file: none: it takes a file that can be read"),
        ("url: mqtts://broker.example", "url: mqtts://broker.example, ca: none", "1:9: ca: none: it takes a file that can be read"),
        ("houses:", "house:", "2:1: the file has no key house: it takes broker, http, houses, burst_s"),
        ("    meters:", "    meters: 5\n    x:", "6:13: meters takes a list: begin each of its items with -"),
        ("holds_s: 3600", "holds_s: 90001", "8:83: holds_s: 90001: it takes a whole number of s, up to 90000 (25 h)"),
        ("holds_s: 3600", "silent_s: nan", "8:84: silent_s: nan: it takes a time in s; 0: never"),
        ("id: 1, label", "id: [1], label", "7:14: id:: it takes a whole number from 1 on"),
        ("houses:", "burst_s: 0\nhouses:", "2:10: burst_s: 0: it takes a time in s, from 0.1 to 3600"),
        ("label: roof", r'label: "a\nb"', r"9:24: label: a\nb: it takes a name such as mains or fridge"),
        ("houses:", "houses: [", "it is no YAML: "),
    ],
)
def test_a_mistake_is_one_sentence_with_its_place(old, new, found):
    lines = mistakes(GOOD.replace(old, new, 1))
    assert any(line.startswith(f"meters.yaml:{found}") or found in line for line in lines), lines
    assert len(lines) == 1 or new.startswith(("house:", "    meters: 5"))


def test_all_mistakes_are_reported():
    assert mistakes(GOOD.replace("kind: mains", "kind: main").replace("sign: -1", "sign: minus")) == [
        "meters.yaml:7:37: kind: main: it takes one of mains, appliance, solar, battery, ev",
        "meters.yaml:9:89: sign: minus: it takes one of 1, -1",
    ]


def test_a_mistake_hides_no_other():
    """A wrong zone, id or kind does not keep the rest of its house and meter from being checked."""
    found = mistakes(
        GOOD.replace("timezone: Europe/Amsterdam", "timezone: Amsterdam")
        .replace("parent: 1", "parent: 9")
        .replace("kind: solar, topic: sun/power", "kind: sun, topic: dsmr/json")
        .replace("power: a.0", "power: electricity_currently_delivered - electricity_currently_returned")
        + GOOD[GOOD.index("  - id: 3") :]
        .replace("id: 3\n", "id: three\n")
        .replace("id: 3,", "id: 2,")
        .replace("device: kettle", "device: pot")
    )
    assert [line.removeprefix("meters.yaml:") for line in found] == [
        "4:15: timezone: Amsterdam: it takes an IANA time zone such as Europe/London",
        "9:36: kind: sun: it takes one of mains, appliance, solar, battery, ev",
        "8:9: parent: 9 is no meter of the house: give the id of one, or leave it out",
        "10:9: id: three: it takes a whole number from 1 on",
        "16:9: two meters of the house have the id 2: give each its own",
        "9:9: roof has the same value of the topic dsmr/json as mains in line 7: give each its own",
        "14:9: mains has the same value of the topic dsmr/json as mains in line 7: give each its own",
    ]


def test_a_value_that_two_meters_share_and_a_house_that_comes_twice():
    twice = mistakes(GOOD + GOOD[GOOD.index("  - id: 3") :])
    assert twice[0].startswith("meters.yaml:10:5: two houses have the id 3: give each its own")
    assert twice[1].startswith("meters.yaml:14:9: mains has the same value of the topic dsmr/json as mains in line 7: give each its own")


@pytest.mark.parametrize("text", ["", "a: [", "- 1", "5", "&a [*a]", "broker: {}\nhouses: []", "\t", "? [a]\n: b"])
def test_what_is_no_such_file_is_sentences(text):
    assert all(line.startswith("meters.yaml") for line in mistakes(text))


def test_a_file_that_is_missing(tmp_path):
    with pytest.raises(UserError, match="none cannot be read .No such file"):
        load(tmp_path / "none")


HTTP = """\
http: {address: 0.0.0.0}
houses:
  - {id: 3, timezone: UTC, token: "${P}", meters: [{id: 1, label: x, holds_s: 60}, {id: 2, label: y, silent_s: 0}]}
"""


def read_http(text, token="token-of-16-signs"):
    return parse(text, Path("meters.yaml"), {"P": token})


def test_meters_by_http():
    config = read_http(HTTP)
    [house] = config.houses
    assert (config.broker, config.http.address, house.token, house.sources) == (None, "0.0.0.0", "token-of-16-signs", ())
    assert [(of.meter_id, of.topic, of.holds_s, of.silent_s) for of in config.meters] == [(1, "", 60, 600), (2, "", 0, 0)]
    assert list(house.by_http) == [1, 2] and "token-of" not in repr(config)


def test_a_house_may_have_meters_by_mqtt_and_http():
    config = read_http(
        GOOD.replace("houses:", "http: {}\nhouses:").replace("zip: 01011", "token: ${P}").replace(", preset: tasmota, device: kettle", "")
    )
    assert {source.meter_id for source in config.sources} == {1, 3} and [of.meter_id for of in config.meters] == [1, 3, 2]


@pytest.mark.parametrize(
    "old, new, found",
    [
        ("http: {address: 0.0.0.0}\n", "", "1:1: house 3 has a token, and the file has no http: add it"),
        (
            'token: "${P}", ',
            "",
            "3:37: a meter has neither preset nor topic: write where its readings come from, or give its house a token",
        ),
        ("label: x, holds_s: 60", "label: x, topic: a", "1:1: house 3 has meters by MQTT, and the file has no broker: add it"),
        ("label: x, holds_s: 60", "label: x, unit: kW", "3:52: unit: a meter by HTTP takes id, label, kind, parent, holds_s, silent_s"),
        ("${P}", "a b c d e f g h i j", "3:5: token: it takes 16 to 200 letters, digits and signs without a blank"),
        ("${P}", "${Q}", "3:5: token contains ${Q}, and this environment variable is not set: set it"),
        ('token: "${P}"', "token_file: none", "3:5: token_file: none: it takes a file that can be read"),
        ("token:", "token_file: none, token:", "3:5: give it either token or token_file"),
        ("address: 0.0.0.0", "address: a b", "1:17: address: a b: it takes an address of this machine"),
        ("address: 0.0.0.0", "certificate: none.pem", "1:7: http: set certificate and key to PEM files that belong together (No such file"),
        ("{address: 0.0.0.0}", "", "1:6: http takes keys and values: address, certificate, key"),
    ],
)
def test_a_mistake_about_http_is_one_sentence_with_its_place(old, new, found):
    with pytest.raises(ConfigError) as raised:
        read_http(HTTP.replace(old, new, 1))
    assert any(line.startswith(f"meters.yaml:{found}") for line in str(raised.value).splitlines()), str(raised.value)
    assert "token-of-16-signs" not in str(raised.value)


def test_houses_have_tokens_of_their_own():
    house = HTTP[HTTP.index("  - {") :]
    with pytest.raises(ConfigError, match="4:5: token: house 4 has that of another house: give each its own$"):
        read_http(HTTP + house.replace("id: 3", "id: 4"))


def test_a_part_that_no_house_uses():
    with pytest.raises(ConfigError, match="1:1: http: no house has a token: leave it out"):
        read_http(GOOD.replace("broker:", "http: {}\nbroker:"))
    with pytest.raises(ConfigError, match="1:1: broker: no house has meters by MQTT: leave it out"):
        read_http("broker: {url: mqtt://broker.example}\n" + HTTP)

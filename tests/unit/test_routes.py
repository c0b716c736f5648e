"""The file of routes: what it may hold, and the sentence for each mistake."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from notify.routes import QuietHours, load, parse, rank
from smartmeter.errors import UserError
from smartmeter.settings import ROOT

FILE = Path("routes.toml")


def route(lines: str = "", url: str = 'url = "webhook+http://host/x"', name: str = "a"):
    [found] = parse(f'[[route]]\nname = "{name}"\n{url}\n{lines}', FILE, {}).routes
    return found


def test_the_example_of_the_docs():
    example, *_ = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "notifications.md").read_text(), re.DOTALL)
    variables = dict.fromkeys(re.findall(r"\$\{(\w+)\}", example), "value")
    folder = ROOT / "docs"
    routes = parse(re.sub(r'url_file = ".*"', 'url = "ntfys://token/topic"', example), folder / "routes.toml", variables)
    assert len(routes.routes) >= 3 and routes.external_url
    assert any(found.quiet_hours for found in routes.routes) and any(found.digest_s for found in routes.routes)


def test_a_route_without_conditions_takes_all_at_once():
    found = route()
    assert found.takes(7, "level", "info") and (found.quiet_hours, found.digest_s, found.repeat_s, found.flood) == (None, 0, 0, 10)


def test_houses_kinds_and_severity_must_all_fit():
    found = route('houses = [1, 2]\nkinds = ["level"]\nmin_severity = "warning"')
    assert found.takes(1, "level", "warning") and found.takes(2, "level", "critical")
    assert not found.takes(3, "level", "critical") and not found.takes(1, "off", "critical") and not found.takes(1, "level", "info")


def test_an_unknown_severity_is_the_highest():
    assert rank("info") < rank("warning") < rank("critical") == rank("dire")


@pytest.mark.parametrize(
    "text, quiet, loud",
    [
        ("22:00-07:00", [22 * 60, 0, 7 * 60 - 1], [7 * 60, 12 * 60, 22 * 60 - 1]),
        ("09:30-17:00", [9 * 60 + 30, 16 * 60 + 59], [9 * 60 + 29, 17 * 60, 0]),
    ],
)
def test_quiet_hours(text, quiet, loud):
    found = route(f'quiet_hours = "{text}"').quiet_hours
    assert isinstance(found, QuietHours)
    assert all(map(found.contain, quiet)) and not any(map(found.contain, loud))


def test_an_address_from_variables_and_from_a_file(tmp_path):
    (tmp_path / "secret").write_text("ntfys://token/topic\n")
    (tmp_path / "routes.toml").write_text(
        '[[route]]\nname = "a"\nurl_file = "secret"\n[[route]]\nname = "b"\nurl = "tgram://${BOT}/${CHAT}"\n'
    )
    found = load(tmp_path / "routes.toml", {"BOT": "1:x", "CHAT": "2"})
    assert [r.address.url for r in found.routes] == ["ntfys://token/topic", "tgram://1:x/2"]
    assert "token" not in repr(found) and "1:x" not in repr(found)


URL = 'url = "webhook+http://host/x"'


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("", "routes.toml: it has no route: begin each with a line [[route]]"),
        ("[[route]", "routes.toml: it is no TOML ("),
        ('color = "red"', "routes.toml: there is no key color: it takes external_url, [[route]] and [home_assistant]"),
        ('external_url = "meters"', "routes.toml: external_url takes the dashboard's address"),
        (f"[[route]]\n{URL}", "routes.toml: route number 1: name takes up to 64 letters"),
        (f'[[route]]\nname = "a/b"\n{URL}', "routes.toml: route number 1: name takes up to 64 letters"),
        ('[[route]]\nname = "a"', "routes.toml: route a: give it either url or url_file"),
        (f'[[route]]\nname = "a"\n{URL}\nurl_file = "x"', "routes.toml: route a: give it either url or url_file"),
        ('[[route]]\nname = "a"\nurl_file = "none"', "routes.toml: route a: url_file = 'none': it takes a file that can be read"),
        ('[[route]]\nname = "a"\nurl = "tgram://${BOT}/1"', "route a: url contains ${BOT}, and this environment variable is not set: set it"),
        ('[[route]]\nname = "a"\nurl = "host"', "route a: url is no address: write one such as"),
        ('[[route]]\nname = "a"\nurl = "webhook+http://:80/x"', "route a: url has no valid host and port"),
        ('[[route]]\nname = "a"\nurl = "webhook+http://h:x/"', "route a: url has no valid host and port"),
        ('[[route]]\nname = "a"\nurl = "mqtt://h/"', "route a: url has no topic"),
        (f'[[route]]\nname = "a"\n{URL}\nhouse = 1', "route a: there is no key house: it takes name, url or url_file, houses, kinds"),
        (f'[[route]]\nname = "a"\n{URL}\nhouses = 1', "route a: houses = 1: it takes a list of house numbers, such as [1, 2]"),
        (f'[[route]]\nname = "a"\n{URL}\nhouses = [true]', "route a: houses = [True]: it takes"),
        (f'[[route]]\nname = "a"\n{URL}\nkinds = []', "route a: kinds = []: it takes"),
        (f'[[route]]\nname = "a"\n{URL}\nmin_severity = "high"', "route a: min_severity = 'high': it takes \"info\", \"warning\" or \"critical\""),
        (f'[[route]]\nname = "a"\n{URL}\nquiet_hours = "22-7"', "route a: quiet_hours = '22-7': it takes a span of the day such as \"22:00-07:00\""),
        (f'[[route]]\nname = "a"\n{URL}\nquiet_hours = "22:00-22:00"', "route a: quiet_hours = "),
        (f'[[route]]\nname = "a"\n{URL}\nquiet_hours = 22', "route a: quiet_hours = 22"),
        (f'[[route]]\nname = "a"\n{URL}\ndigest_s = -1', "route a: digest_s = -1: it takes a time in s; 0: none"),
        (f'[[route]]\nname = "a"\n{URL}\nrepeat_s = nan', "route a: repeat_s = nan: it takes a time in s; 0: never"),
        (f'[[route]]\nname = "a"\n{URL}\nrepeat_s = "1h"', "route a: repeat_s = '1h': it takes"),
        (f'[[route]]\nname = "a"\n{URL}\nflood = 0', "route a: flood = 0: it takes a number from 1 on"),
        (f'[[route]]\nname = "a"\n{URL}\n[[route]]\nname = "a"\n{URL}', "routes.toml: two routes have the name a: give each its own"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence(text, sentence):
    with pytest.raises(UserError) as error:
        parse(text, FILE, {})
    assert sentence in str(error.value) and "\n" not in str(error.value)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match="none.toml cannot be read .*: set SMW_NOTIFY_ROUTES to the file of routes"):
        load(tmp_path / "none.toml")


@pytest.mark.parametrize("url", ["webhook+http://u:hidden1@:80/x", "mqtt://u:hidden1@h", "hidden1"])
def test_no_sentence_shows_an_address(url):
    with pytest.raises(UserError) as error:
        route(url=f'url = "{url}"')
    assert "hidden1" not in str(error.value)

"""./smw generate: its arguments, and the days that it sends."""

import argparse
from datetime import UTC, datetime

import pytest

from commands import generate
from smartmeter import local_days
from smartmeter.errors import UserError
from smartmeter.local_days import local_date, midnight_ms
from smartmeter.settings import Settings


def parsed(*words):
    parser = argparse.ArgumentParser()
    generate.add_arguments(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize(
    "timezone", ["America/New_York", "Europe/London", "Asia/Kathmandu", "Pacific/Kiritimati", "Pacific/Pago_Pago", None]
)
@pytest.mark.parametrize(
    "now",
    [
        "2026-11-28T00:10",
        "2026-11-28T04:50",
        "2026-11-28T12:00",
        "2026-11-01T05:30",
        "2027-03-28T01:30",
        "2026-12-31T23:59",
        "2028-02-29T00:00",
        "2028-03-01T00:10",
    ],
)
def test_the_days_end_before_today_wherever_the_houses_are(now, timezone, tmp_path, monkeypatch):
    now_ms = round(datetime.fromisoformat(now).replace(tzinfo=UTC).timestamp() * 1000)
    monkeypatch.setattr(local_days, "now_ms", lambda: now_ms)
    words = ["--days", "1", "--houses", "20", *(["--timezone", timezone] if timezone else [])]
    houses, first, end = generate.plan(parsed(*words), Settings().but(home=tmp_path))
    assert (end - first).days == 1
    assert all(midnight_ms(end, house.timezone) <= now_ms for house in houses)  # a whole day, and none of it in the future
    assert min(local_date(now_ms, house.timezone) for house in houses) == end


@pytest.mark.parametrize(
    "words, message",
    [
        (["--houses", "0"], "--houses 0: give 1 or more"),
        (["--days", "0"], "--days 0: give 1 or more"),
        (["--burst-s", "0"], "--burst-s 0: give 1 or more"),
        (["--seed", "-1"], "--seed -1: give 0 or more"),
        (["--timezone", "Mars/Base"], "unknown time zone 'Mars/Base'"),
        (["--data", "/absent"], "/absent: there is no such folder"),
        (["--data", "/absent", "--days", "2"], "--days needs --start"),
        (["--live", "--speed", "2"], "--live takes neither --data nor --speed"),
    ],
)
def test_bad_arguments(tmp_path, words, message):
    with pytest.raises(UserError, match=message):
        generate.run(parsed(*words), Settings().but(home=tmp_path))


@pytest.mark.parametrize("words", [["--speed", "fast"], ["--speed", "0"], ["--start", "yesterday"]])
def test_arguments_that_do_not_parse(words, capsys):
    with pytest.raises(SystemExit):
        parsed(*words)
    assert repr(words[1]) in capsys.readouterr().err


def test_home_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="Not a directory; .* SMW_HOME one that can be written"):
        generate.run(parsed("--houses", "1"), Settings().but(home=tmp_path / "file" / "home"))

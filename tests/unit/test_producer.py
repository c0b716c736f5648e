"""The commands' arguments, the order of messages, and a broker that is not there."""

import argparse
import socket
from datetime import UTC, date, datetime

import pytest
from confluent_kafka.admin import AdminClient

from commands import generate
from generator.bursts import in_order
from generator.synthetic import synthetic_houses
from smartmeter import local_days
from smartmeter.errors import UserError
from smartmeter.kafka import connection
from smartmeter.kafka.producer import Producer
from smartmeter.local_days import local_date, midnight_ms
from smartmeter.messages.codec import decode, encode
from smartmeter.settings import Settings


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def parsed(*words):
    parser = argparse.ArgumentParser()
    generate.add_arguments(parser)
    return parser.parse_args(words)


def test_no_broker_is_one_sentence_within_ten_seconds(monkeypatch):
    address, waited = f"127.0.0.1:{free_port()}", []
    list_topics = AdminClient.list_topics
    monkeypatch.setattr(AdminClient, "list_topics", lambda self, timeout: waited.append(timeout) or list_topics(self, timeout=timeout))
    with pytest.raises(UserError) as error:
        Producer(Settings().but(kafka=address))
    assert sum(waited) < 10 > connection.PATIENCE_S
    assert str(error.value).startswith(f"no Kafka broker answers at {address}: ")
    assert "\n" not in str(error.value)


def test_bursts_of_all_houses_in_the_order_of_time():
    houses = synthetic_houses(3, seed=1, timezone="UTC") + synthetic_houses(5, seed=1)[3:]
    starts, last_end, readings = [], {}, 0
    for burst in in_order(houses, date(2024, 5, 1), date(2024, 5, 2), 3600):
        starts.append(burst.start_ms)
        assert last_end.setdefault(burst.house_id, burst.start_ms) == burst.start_ms  # a house's bursts tile its day
        last_end[burst.house_id] = burst.end_ms
        readings += burst.counts.sum()
    assert starts == sorted(starts) and len(starts) == 5 * 24
    assert readings == sum(2 * 86400 + 28800 * (len(house.meters) - 2) for house in houses)


def test_house_record_fits_its_schema():
    record = synthetic_houses(1, seed=1)[0].record()
    assert decode(encode("house", record)) == ("house", record)


@pytest.mark.parametrize("timezone", ["America/New_York", "Europe/London", "Asia/Kathmandu", "Pacific/Kiritimati", "Pacific/Pago_Pago", None])
@pytest.mark.parametrize("now", [
    "2026-11-28T00:10", "2026-11-28T04:50", "2026-11-28T12:00", "2026-11-01T05:30", "2027-03-28T01:30", "2026-12-31T23:59", "2028-02-29T00:00",
    "2028-03-01T00:10"])
def test_the_days_end_before_today_wherever_the_houses_are(now, timezone, tmp_path, monkeypatch):
    now_ms = round(datetime.fromisoformat(now).replace(tzinfo=UTC).timestamp() * 1000)
    monkeypatch.setattr(local_days, "now_ms", lambda: now_ms)
    words = ["--days", "1", "--houses", "20", *(["--timezone", timezone] if timezone else [])]
    houses, first, end = generate.plan(parsed(*words), Settings().but(home=tmp_path))
    assert (end - first).days == 1
    assert all(midnight_ms(end, house.timezone) <= now_ms for house in houses)  # a whole day, and none of it in the future
    assert min(local_date(now_ms, house.timezone) for house in houses) == end


@pytest.mark.parametrize("words, message", [
    (["--houses", "0"], "--houses 0: give 1 or more"),
    (["--days", "0"], "--days 0: give 1 or more"),
    (["--burst-s", "0"], "--burst-s 0: give 1 or more"),
    (["--seed", "-1"], "--seed -1: give 0 or more"),
    (["--timezone", "Mars/Base"], "unknown time zone 'Mars/Base'"),
    (["--data", "/absent"], "/absent: there is no such folder"),
    (["--data", "/absent", "--days", "2"], "--days needs --start"),
    (["--live", "--speed", "2"], "--live takes neither --data nor --speed"),
])
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

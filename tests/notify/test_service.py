"""The service on a real broker, with real receivers: each event arrives, once for good, whatever fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
from confluent_kafka import Producer

from commands import status
from commands.cli import main
from notify import receivers as own_receivers
from notify.routes import load
from notify.service import Notifier, routes_of
from smartmeter.errors import UserError
from smartmeter.local_days import now_ms
from smartmeter.messages import codec, topics
from smartmeter.retries import FIRST_S
from stack import services
from stack.ports import free_port
from tests.notify.receivers import SECRET, Mailbox, Webhook, mosquitto, subscribed
from tests.sinks import running
from tests.store.test_sink import HOUSE
from tests.topics import records
from tests.waiting import STILL_S, until


def alert(meter_id=2, *, ago_s=3, lasted_s=3, is_open=True, severity="warning", retracted=False, revision=1, house_id=7):
    """An alert that began some seconds ago. Its id is that of its meter alone, so that a later one of the meter changes it."""
    end = now_ms() - 1000 * ago_s + 1000 * lasted_s
    return {
        "alert_id": f"{house_id}/{meter_id}/1555200000123",
        "house_id": house_id,
        "meter_id": meter_id,
        "date": 18000,
        "start": end - 1000 * lasted_s,
        "end": end,
        "open": is_open,
        "retracted": retracted,
        "readings": 2,
        "peak_watts": 1431.0,
        "percentile_watts": 900.5,
        "limit_watts": 1310.0,
        "excess_kwh": 0.25,
        "revision": revision,
        "kind": "level",
        "severity": severity,
        "reason": "1,431 W, over its limit of 1,310 W, for 3 s",
        "ends_when": "it falls to 1,310 W or less for 60 s",
    }


def produce(settings, name, *sent):
    producer = Producer({"bootstrap.servers": settings.kafka.address})
    for record in sent:
        producer.produce(topics.topic(settings, name), codec.encode(topics.SCHEMA_OF[name], record), topics.key(name, record))
    assert producer.flush(STILL_S) == 0


def recorded(settings):
    """(route, alert) -> (what was delivered, how often), as in the topic."""
    found = {(r["route"], r["alert_id"]): (r["delivered"], r["count"]) for r in records(settings, "notifications")}
    return {key: value for key, value in found.items() if key[0]}


@pytest.fixture
def settings(with_topics, tmp_path):
    return with_topics.but(notify_metrics_port=0, notify_routes=str(tmp_path / "routes.toml"))


@pytest.fixture
def with_routes(settings):
    """Writes the file of routes: (name, address, further lines) each. Returns the settings."""

    def write(*routes):
        Path(settings.notify.routes).write_text(
            "\n".join(f'[[route]]\nname = "{name}"\nurl = "{url}"\n' + "\n".join(more) for name, url, *more in routes)
        )
        return settings

    return write


@pytest.fixture(autouse=True)
def looks_often(monkeypatch):
    """In this process, the service looks for alerts and for what is due more often than on its own."""
    monkeypatch.setattr("notify.service.POLL_S", 0.05)
    monkeypatch.setattr("notify.worker.LOOK_EVERY_S", 0.05)


@contextmanager
def started(settings):
    """The service, once it has recorded its first start. Alerts that are produced then are news."""
    with running(Notifier(settings, routes_of(settings))) as notifier:
        until(lambda: records(settings, "notifications"))
        yield notifier


@contextmanager
def process(settings):
    """The service as a process of its own, and what it has logged once it is killed or has ended."""
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "notify.service"], env=os.environ | settings.environ(), stderr=subprocess.PIPE, text=True
    ) as service:
        try:
            yield service
        finally:
            service.kill()


def test_an_alert_is_sent_when_it_opens_worsens_and_ends(with_routes):
    hook = Webhook()
    with hook.served() as url:
        settings = with_routes(("hook", url))
        produce(settings, "houses", HOUSE)
        with started(settings):
            produce(settings, "alerts", alert())
            until(lambda: len(hook.taken) == 1)
            produce(settings, "alerts", alert(revision=2, lasted_s=4), alert(revision=3, severity="critical"))
            until(lambda: len(hook.taken) == 2)
            produce(settings, "alerts", ended := alert(revision=4, severity="critical", is_open=False))
            until(lambda: recorded(settings).get(("hook", ended["alert_id"])) == ("resolved", 3))
    assert hook.events == [["opened"], ["worse"], ["over"]]
    [first], [last] = hook.taken[0]["alerts"], hook.taken[-1]["alerts"]
    assert hook.taken[0]["version"] == "4" and [document["status"] for document in hook.taken] == ["firing", "firing", "resolved"]
    assert (first["labels"]["severity"], first["labels"]["appliance"], first["endsAt"]) == ("warning", "fridge", "0001-01-01T00:00:00Z")
    assert first["fingerprint"] == last["fingerprint"] and last["endsAt"] > last["startsAt"]
    assert first["annotations"]["summary"].startswith(
        "house 7, Cambridge, fridge: new (warning, level): 1,431 W, over its limit of 1,310 W"
    )


def test_a_receiver_that_fails_and_hangs_gets_the_alert_once_and_holds_up_no_other(with_routes, monkeypatch):
    monkeypatch.setattr(own_receivers, "ATTEMPT_S", 2.0)
    bad, good = Webhook(500, "hang", 200), Webhook()
    with bad.served() as to_bad, good.served() as to_good:
        settings = with_routes(("bad", to_bad), ("good", to_good))
        with started(settings):
            produce(settings, "alerts", alert())
            until(lambda: good.taken)
            assert not bad.taken
            until(lambda: bad.taken)
            until(lambda: recorded(settings) == dict.fromkeys([("bad", alert()["alert_id"]), ("good", alert()["alert_id"])], ("firing", 1)))
    assert (len(bad.requests), len(set(bad.keys)), bad.events, good.events) == (3, 1, [["opened"]], [["opened"]])


def test_a_receiver_that_asks_for_it_is_left_alone(with_routes):
    hook = Webhook((429, "4"), 200)
    with hook.served() as url:
        settings = with_routes(("hook", url))
        with started(settings):
            produce(settings, "alerts", alert())
            until(lambda: hook.taken)
    refused, taken = hook.at_s
    assert taken - refused >= 4 > FIRST_S


def test_what_ends_while_a_receiver_is_away_is_one_message(with_routes):
    hook = Webhook(500, 500, 200)
    with hook.served() as url:
        settings = with_routes(("hook", url))
        with started(settings):
            produce(settings, "alerts", alert())
            until(lambda: hook.requests)
            produce(
                settings,
                "alerts",
                alert(is_open=False, revision=2),
                alert(3, retracted=True),
                alert(4),
                alert(4, retracted=True, revision=2),
            )
            until(lambda: hook.taken)
            time.sleep(2)
    assert hook.events == [["over"]]


def test_a_flood_is_one_mail(with_routes):
    box = Mailbox()
    with box.served() as url:
        settings = with_routes(("mail", url))
        with started(settings):
            produce(settings, "alerts", *(alert(meter_id) for meter_id in range(1, 301)))
            until(lambda: box.mails)
            until(lambda: len(recorded(settings)) == 300 and set(recorded(settings).values()) == {("firing", 1)})
    [mail] = box.mails
    text = mail.get_body(("plain",)).get_content()
    assert "300 alerts: 300 new" in mail["Subject"] and mail["To"] == "ann@example.org"
    assert text.count("house 7, meter ") == 20 and "... and 280 more" in text


def test_mqtt(with_routes, tmp_path):
    with mosquitto(tmp_path) as url, subscribed(urlsplit(url).port, "home/alerts") as published:
        settings = with_routes(("broker", url), ("wrong", url.replace(SECRET, f"{SECRET}-not")))
        with started(settings):
            produce(settings, "alerts", alert())
            until(lambda: published)
            until(lambda: recorded(settings).get(("broker", alert()["alert_id"])) == ("firing", 1))
            assert recorded(settings)["wrong", alert()["alert_id"]] == ("", 0)
    assert [document["alerts"][0]["labels"]["alert_id"] for document in published] == [alert()["alert_id"]]


def test_a_service_killed_after_a_delivery_repeats_it_once_with_the_same_key(with_routes):
    hook, killed = Webhook(), []
    with hook.served() as url:
        settings = with_routes(("hook", url))
        with process(settings) as service:
            hook.before = lambda number: killed or killed.append(service.kill()) or service.wait()
            until(lambda: records(settings, "notifications"))
            produce(settings, "alerts", alert())
            until(lambda: service.poll() is not None)
        assert recorded(settings) == {("hook", alert()["alert_id"]): ("", 0)}, "it was received, and that is not recorded"
        with process(settings) as service:
            until(lambda: recorded(settings) == {("hook", alert()["alert_id"]): ("firing", 1)})
            produce(settings, "alerts", alert(3))
            until(lambda: recorded(settings).get(("hook", alert(3)["alert_id"])) == ("firing", 1))
            service.send_signal(signal.SIGTERM)
            assert service.wait(STILL_S) == 0
    assert len(hook.requests) == 3 and hook.keys[0] == hook.keys[1] != hook.keys[2]
    assert hook.requests[0]["alerts"][0]["fingerprint"] == hook.requests[1]["alerts"][0]["fingerprint"]


def test_a_restart_sends_nothing_again_and_what_came_meanwhile(with_routes):
    hook = Webhook()
    with hook.served() as url:
        settings = with_routes(("hook", url))
        produce(settings, "alerts", alert(1, ago_s=60))  # it ended before the first start
        with started(settings):
            produce(settings, "alerts", alert(2))
            until(lambda: hook.taken)
        produce(settings, "alerts", alert(2, revision=2, retracted=True), alert(3), alert(4, ago_s=100_000))
        with started(settings):
            until(lambda: len(hook.taken) == 3)
            until(lambda: len([1 for state in recorded(settings).values() if state[1]]) == 2)
        with started(settings):
            produce(settings, "alerts", {**alert(3), "revision": 9})  # as a replay sends it
            produce(settings, "alerts", alert(5))
            until(lambda: len(hook.taken) == 4)
    sent = [(alert["labels"]["meter"], alert["annotations"]["event"]) for document in hook.taken for alert in document["alerts"]]
    assert sent[0] == ("2", "opened") and sorted(sent[1:3]) == [("2", "withdrawn"), ("3", "opened")] and sent[3:] == [("5", "opened")]


def test_a_dead_route_is_a_problem_in_status_and_a_metric_and_its_secrets_are_in_no_log(with_routes, tmp_path):
    dead = free_port()
    box = Mailbox()
    with ExitStack() as stack:
        good = stack.enter_context(Webhook().served())
        refuses = stack.enter_context(box.served()).replace(SECRET, f"{SECRET}-not")
        settings = with_routes(
            ("good", good),
            ("gone", f"webhook+http://meters:{SECRET}@127.0.0.1:{dead}/{SECRET}?token={SECRET}"),
            ("mail", refuses),
            ("broker", f"mqtt://meters:{SECRET}@127.0.0.1:{dead}/home/{SECRET}"),
            ("ntfy", f"ntfy://meters:{SECRET}@127.0.0.1:{dead}/{SECRET}"),
        ).but(notify_metrics_port=free_port())
        url = f"http://127.0.0.1:{settings.notify.metrics_port}/metrics"
        with process(settings) as service:
            until(lambda: records(settings, "notifications"))
            produce(settings, "alerts", alert())
            problems = until(lambda: len(found := status.failing_routes(url)) == 4 and found)
            with urlopen(url) as answer:
                metrics = answer.read().decode()
            shown = status.look(settings, "127.0.0.1:1")
            service.send_signal(signal.SIGTERM)
            _, log = service.communicate(timeout=STILL_S)
    assert all(f"the route {name} of notify has failed since 20" in " ".join(problems) for name in ("gone", "mail", "broker", "ntfy"))
    assert all("and 1 messages wait: notify's log has the reason" in problem for problem in problems)
    assert set(problems) <= set(shown["problems"]) and {"part": "notify", "at": url, "up": True, "reason": None} in shown["parts"]
    assert 'smw_notify_route_up{route="gone"} 0.0' in metrics and 'smw_notify_route_up{route="good"} 1.0' in metrics
    assert 'smw_notify_messages_total{route="good"} 1.0' in metrics and "smw_notify_unread_messages 0.0" in metrics
    assert "route gone (webhook+http://127.0.0.1:" in log and "attempt 1 failed: " in log
    for text in (log, metrics, json.dumps(shown)):
        assert SECRET not in text
    with pytest.raises(UserError, match="no notify answers at .*: .*smw notify starts it"):
        status.failing_routes(url)


def test_a_test_message_by_each_route(with_routes, monkeypatch, capsys):
    hook, box = Webhook(), Mailbox()
    with hook.served() as to_hook, box.served() as to_box:
        settings = with_routes(("hook", to_hook), ("mail", to_box))
        for name, value in settings.environ().items():
            monkeypatch.setenv(name, value)
        assert main(["notify", "--test"]) == 0
        assert capsys.readouterr().out == "hook: sent\nmail: sent\n"
        assert hook.taken[0]["alerts"][0]["labels"]["alertname"] == "test" and "a test of the route mail" in str(box.mails[0])
        with_routes(("hook", to_hook.replace("127.0.0.1", "127.0.0.2")), ("mail", to_box))
        assert main(["notify", "--test"]) == 1
    printed = capsys.readouterr()
    assert printed.out == "hook: failed: ConnectError: [Errno 111] Connection refused\nmail: sent\n" and SECRET not in str(printed)


def test_a_stack_starts_the_service_if_there_are_routes(with_routes, processes):
    hook = Webhook()
    with hook.served() as url:
        settings = with_routes(("hook", url)).but(notify_metrics_port=free_port())
        services.start_notify(processes, settings.but(notify_routes=""))
        assert "notify" not in processes.children
        services.start_notify(processes, settings)
        until(lambda: records(settings, "notifications"))
        produce(settings, "alerts", alert())
        until(lambda: recorded(settings).get(("hook", alert()["alert_id"])) == ("firing", 1))
        assert services.answers(services.metrics_urls(settings)["notify"])
        processes.stop("notify")
    log = processes.log("notify").read_text()
    assert "INFO notify: sending alerts from 127.0.0.1:" in log and "WARN" not in log and SECRET not in log


def test_a_broker_without_the_topics_is_a_sentence(kafka, tmp_path):
    file = tmp_path / "routes.toml"
    file.write_text('[[route]]\nname = "a"\nurl = "webhook+http://127.0.0.1:1/x"\n')
    settings = kafka.but(topic_prefix="none.", notify_metrics_port=0, notify_routes=str(file))
    with pytest.raises(UserError, match=r"has no topic none.alerts, .* read it: create it with .*smw topics"):
        Notifier(settings, load(file)).run()

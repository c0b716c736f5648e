"""What a running stack tells of itself: metrics for Prometheus, ./smw status, logs. One pipeline on real Flink serves all of it."""

import json
import math
import os
import re
import subprocess
import urllib.request
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace

import pytest
import yaml
from confluent_kafka import Producer
from prometheus_client.parser import text_string_to_metric_families

from smartmeter import gateway, logs, stack, topics
from smartmeter.flink import Flink
from smartmeter.offsets import Lags
from smartmeter.settings import ROOT, Settings
from smartmeter.status import look
from store.client import reader
from store.metrics import unstored
from tests.pipeline.conftest import all_stored
from tests.pipeline.flow import all_read, expected_of
from tests.pipeline.logs import make_log, produce
from tests.topics import messages
from tests.waiting import STILL_S, until

OF_OPERATORS = "flink_taskmanager_job_task_operator_"
OURS = f"{OF_OPERATORS}smartmeter_"
OF_JOBS = "flink_jobmanager_job_"
DASHBOARD = json.loads((ROOT / "observability" / "grafana-dashboard.json").read_text())


@pytest.fixture(scope="module")
def log():
    return make_log(seed=12)


@pytest.fixture(scope="module")
def settings(kafka, clickhouse):
    with ExitStack() as held:
        flink, flink_metrics, sink_metrics = (held.enter_context(stack.listener_near(0)).getsockname()[1] for _ in range(3))
    return replace(clickhouse, topic_prefix="observed.", clickhouse_database="observed", window_days=2, checkpoint_every_s=1.0,
                   flink_ui_port=flink, flink_metrics_port=flink_metrics, sink_metrics_port=sink_metrics)


@pytest.fixture(scope="module")
def expected(log, settings):
    return expected_of(settings, log)


@pytest.fixture(scope="module")
def observed(settings, processes, log):
    """The settings of a pipeline that has read the log, and whose sink has stored all; it still runs."""
    stack.create_topics(settings)
    produce(settings, log.messages)
    stack.start_gateway(processes, settings)
    stack.start_sink(processes, settings)
    stack.start_job(processes, settings)
    until(lambda: all_read(settings) and all_stored(settings))
    producer = Producer({"bootstrap.servers": settings.kafka})
    producer.produce(topics.topic(settings, "alerts"), b"not Avro", b"?")  # a compacted topic takes no message without a key
    assert producer.flush(STILL_S) == 0
    until(lambda: scraped(settings, "sink")["smw_sink_records_refused_total"][()] == 1)
    until(lambda: sum(scraped(settings, "flink").get(f"{OURS}readings_used", {}).values()))
    yield settings
    for name in ("pipeline", "sink", "metrics"):
        processes.stop(name)


@pytest.fixture(scope="module")
def flink(observed, log):
    """Flink's metrics, as pushed after the last message."""
    until(lambda: total(scraped(observed, "flink"), "bursts") == len(log.bursts))
    return scraped(observed, "flink")


def scraped(settings, part: str) -> dict[str, dict[tuple, float]]:
    """Name of a sample -> values of its labels topic or table, and subtask_index -> value; as Prometheus' own parser reads them."""
    with urllib.request.urlopen(stack.metrics_urls(settings)[part], timeout=STILL_S) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    found: dict[str, dict[tuple, float]] = {}
    for sample in (sample for family in families for sample in family.samples):
        labels = tuple(sample.labels[name] for name in ("topic", "table", "operator_name", "subtask_index") if name in sample.labels)
        found.setdefault(sample.name, {})[labels] = sample.value
    return found


def total(metrics: dict, name: str) -> float:
    return sum(metrics[OURS + name].values())


# Flink's metrics

def test_what_is_counted_is_what_the_oracle_finds(flink, log, expected):
    names = ("bursts", "dead_letters", "readings", "readings_used", "readings_duplicate", "readings_late", "open_alerts")
    assert {name: total(flink, name) for name in names} == {
        "bursts": len(log.bursts), "dead_letters": len(log.dead), "readings": log.readings - log.dead_readings,
        "readings_used": expected.used, "readings_duplicate": expected.duplicates, "readings_late": expected.late.total(),
        "open_alerts": sum(alert.open for alert in expected.alerts.values())}
    assert min(total(flink, name) for name in names) > 0
    assert total(flink, "alerts_opened") - total(flink, "alerts_closed") == total(flink, "open_alerts")
    assert total(flink, "alerts_opened") >= len(expected.alerts) > 100


def test_results_are_counted_by_topic(flink, observed):
    counted = Counter()
    for (topic, *_), number in flink[f"{OURS}topic_results"].items():
        counted[topic] += number
    assert counted.keys() == set(topics.RESULTS)
    for topic in ("alerts", "thresholds", "late", "dead_letter"):
        assert counted[topic] == len(messages(observed, topic)) - (topic == "alerts"), topic  # one of them is not Flink's


def test_the_newest_reading_is_of_the_log(flink, log):
    [newest_s] = [value for value in flink[f"{OURS}newest_reading_s"].values() if value]
    assert min(burst.start_ms for burst in log.bursts) / 1000 <= newest_s < max(burst.end_ms for burst in log.bursts) / 1000


def test_flink_tells_of_lag_state_and_restarts(flink):
    assert sum(flink[f"{OF_OPERATORS}pendingRecords"].values()) == 0
    assert sum(flink[f"{OF_JOBS}lastCheckpointFullSize"].values()) > 10_000
    assert sum(flink[f"{OF_JOBS}numRestarts"].values()) == 0


def test_metrics_are_served_at_loopback_only(observed):
    for port in (observed.flink_metrics_port, observed.sink_metrics_port):
        listening = subprocess.run(["grep", "-h", f":{port:04X} 00000000:0000 0A", "/proc/net/tcp", "/proc/net/tcp6"], capture_output=True, text=True).stdout
        assert [line.split()[1] for line in listening.splitlines()] == [f"0100007F:{port:04X}"]


def test_what_is_unstored_is_not_known_while_kafka_is_away():
    assert math.isnan(unstored(Lags(Settings(kafka="127.0.0.1:1"), {"sink": ("alerts",)})))


def test_what_was_pushed_long_ago_is_served_no_more(monkeypatch):
    pushed = gateway.Pushed()
    pushed.put("/metrics/job/a", b"a 1\n")
    now = gateway.time.monotonic()
    monkeypatch.setattr(gateway.time, "monotonic", lambda: now + gateway.STALE_S * 0.5)
    pushed.put("/metrics/job/b", b"b 1\n")
    assert pushed.text() == b"a 1\nb 1\n"
    monkeypatch.setattr(gateway.time, "monotonic", lambda: now + gateway.STALE_S * 1.25)
    assert pushed.text() == b"b 1\n"
    pushed.remove("/metrics/job/b")
    assert pushed.text() == b""


# The sink's metrics

def test_the_sink_tells_what_it_has_stored(observed):
    sink, client = scraped(observed, "sink"), reader(observed)
    rows = {table: number for (table,), number in sink["smw_sink_rows_stored_total"].items()}
    for table in ("late", "dead_letter", "power_profile"):
        assert rows[table] == client.query(f"SELECT count() FROM {table} FINAL").first_row[0] > 0
    assert rows["daily_energy"] >= client.query("SELECT count() FROM daily_energy FINAL").first_row[0] > 0
    assert rows["acknowledgements"] == 0
    assert sink["smw_sink_unstored_messages"][()] == 0 and sink["smw_sink_clickhouse_up"][()] == 1
    newest = client.query("SELECT toUnixTimestamp(max(modification_time)) FROM system.parts WHERE database = 'observed' AND table = 'daily_energy'").first_row[0]
    assert abs(sink["smw_sink_last_insert_timestamp_seconds"][()] - newest) < 60


# ./smw status

def status(settings, *options) -> tuple[int, str]:
    done = subprocess.run([ROOT / "smw", "status", *options], env=os.environ | settings.environ(), capture_output=True, text=True)
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_status_of_a_stack_that_runs(observed, expected, log):
    code, said = status(observed, "--json")
    told = json.loads(said)
    assert (code, told["problems"]) == (0, [])
    assert {part["part"]: part["up"] for part in told["parts"]} == {
        "kafka": True, "clickhouse": True, "flink": True, "sink": True, "dashboard": False}
    [job] = told["jobs"]
    assert (job["name"], job["state"], job["parallelism"], job["restarts"]) == ("pipeline", "RUNNING", 2, 0)
    assert job["checkpoint_bytes"] > 10_000 and job["checkpoint_unix_s"] > job["since_unix_s"] > 1.7e9
    assert told["unread_messages"] == {"pipeline": 0} and told["unstored_messages"] == 0
    results = told["results"]
    assert results["newest_day"] == max(day for _, _, day in expected.days).isoformat()
    assert results["open_alerts"] == sum(alert.open for alert in expected.alerts.values())
    assert (results["late_readings"], results["dead_letters"]) == (expected.late.total(), len(log.dead))
    assert results["newest_dead_letter_reason"]
    assert told["disk"]["kafka_bytes"] > 10_000 and told["disk"]["free_bytes"] > 0


def test_the_screen_tells_the_same(observed, log, expected):
    code, said = status(observed)
    assert code == 0 and said.endswith("\nAll is well.\n")
    assert re.search(r"^kafka +up +127.0.0.1:\d+$", said, re.MULTILINE) and re.search(r"^pipeline +RUNNING +\S+ +2 +0 +\d+ s ago", said, re.MULTILINE)
    assert f"{expected.late.total():,} readings late, {len(log.dead)} dead letters" in said


def test_status_where_nothing_runs(observed, tmp_path):
    nowhere = replace(observed, home=tmp_path, kafka="127.0.0.1:1", clickhouse_url="http://127.0.0.1:1", flink_ui_port=1, sink_metrics_port=1,
                      dashboard_port=1, schema_registry_url="http://127.0.0.1:1")
    code, said = status(nowhere, "--json")
    told = json.loads(said)
    assert code == 1 and len(told["problems"]) == 5 and not any(part["up"] for part in told["parts"])
    assert (told["jobs"], told["unread_messages"], told["results"], told["disk"]) == ([], None, None, {})
    code, said = status(nowhere)
    assert code == 1 and len(re.findall("^! ", said, re.MULTILINE)) == 5


def test_a_job_that_is_missing_is_a_problem(observed, monkeypatch):
    monkeypatch.setattr(Flink, "described_jobs", lambda self: [])
    told = look(observed, f"127.0.0.1:{observed.flink_ui_port}")
    assert told["problems"] == [f"no job runs in the Flink at http://127.0.0.1:{observed.flink_ui_port}"]


# Logs

@pytest.mark.parametrize("name", ["kafka", "endpoint", "sink", "pipeline"])
def test_each_line_of_each_log_is_in_the_format(observed, processes, name):
    lines = processes.log(name).read_text().splitlines()
    assert lines and {(found := logs.LINE.fullmatch(line)) and found["part"] for line in lines} == {name}


def test_the_jobs_log_has_what_its_python_workers_say(observed, processes):
    assert "sdk_worker.py" in processes.log("pipeline").read_text()


# The Grafana dashboard

def test_the_dashboard_has_what_grafanas_model_asks_for():
    assert DASHBOARD.keys() >= {
        "uid", "title", "tags", "timezone", "editable", "graphTooltip", "panels", "time", "timepicker", "templating", "annotations", "refresh",
        "schemaVersion", "version", "links"}
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [(x, y) for panel in panels for at in [panel["gridPos"]]
              for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])]
    assert len(set(places)) == len(places) and max(x for x, _ in places) < 24
    [source] = [variable["name"] for variable in DASHBOARD["templating"]["list"] if variable["type"] == "datasource"]
    for panel in panels:
        assert panel["title"] and panel["type"] in ("row", "timeseries", "stat")
        for target in panel.get("targets", []):
            assert target["refId"] and target["expr"] and target["datasource"] == {"type": "prometheus", "uid": f"${{{source}}}"}


def test_all_metrics_of_the_dashboard_are_there(flink, observed):
    asked = {name for panel in DASHBOARD["panels"] for target in panel.get("targets", [])
             for name in re.findall(r"\b(?:flink|smw)_\w+", target["expr"])}
    assert len(asked) > 20 and asked - flink.keys() - scraped(observed, "sink").keys() == set()


def test_all_metrics_of_the_document_are_there(flink, observed):
    asked = set(re.findall(r"`((?:flink|smw)_\w+)", (ROOT / "docs" / "observability.md").read_text()))
    assert len(asked) > 20 and asked - flink.keys() - scraped(observed, "sink").keys() == set()


def test_prometheus_is_told_the_usual_ports():
    jobs = yaml.safe_load((ROOT / "observability" / "prometheus.yml").read_text())["scrape_configs"]
    targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in jobs}
    assert targets == {part: [url.split("/")[2]] for part, url in stack.metrics_urls(Settings()).items()}

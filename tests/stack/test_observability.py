"""What a running stack reports: metrics for Prometheus, ./smw status, logs. One pipeline on real Flink serves all tests."""

import http.client
import json
import math
import os
import re
import ssl
import subprocess
import time
import urllib.request
from collections import Counter

import pytest
import yaml
from confluent_kafka import Producer
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from commands import status
from gateway.metrics import GatewayMetrics
from notify.metrics import NotifyMetrics
from smartmeter import logs
from smartmeter.kafka import offsets, topic_admin
from smartmeter.kafka.offsets import Lags, uncommitted
from smartmeter.messages import topics
from smartmeter.messages.codec import encode_burst
from smartmeter.settings import ROOT, Settings
from smartmeter.state_folders import folder_at
from stack import local_flink, metrics_gateway, ports, rest_keys, savepoints, services
from stack.flink import Flink
from store import schema
from store.client import reader, writer
from store.metrics import SinkMetrics
from tests.pipeline.conftest import all_stored
from tests.pipeline.flow import all_read, expected_of
from tests.pipeline.logs import make_log, produce
from tests.ports import on_free_ports
from tests.processes import command_line
from tests.topics import messages
from tests.unit.logs import burst
from tests.waiting import STILL_S, until

OF_OPERATORS = "flink_taskmanager_job_task_operator_"
OURS = f"{OF_OPERATORS}smartmeter_"
OF_JOBS = "flink_jobmanager_job_"
OF_OTHERS = {
    name
    for metrics in (NotifyMetrics(["mail"]), GatewayMetrics())
    for name in re.findall(r"^# TYPE (smw_\w+)", generate_latest(metrics.registry).decode(), re.MULTILINE)
}
"""Metrics of ./smw notify and ./smw gateway, which tests/notify and tests/gateway run."""
DASHBOARD = json.loads((ROOT / "observability" / "grafana-dashboard.json").read_text())


@pytest.fixture(scope="module")
def log():
    return make_log(seed=14)


@pytest.fixture(scope="module")
def settings(kafka, clickhouse):
    return clickhouse.but(
        topic_prefix="observed.",
        clickhouse_database="observed",
        window_days=2,
        checkpoint_every_s=1.0,
        flink_ui_port=ports.free_port(),
        flink_metrics_port=ports.free_port(),
        sink_metrics_port=ports.free_port(),
    )


@pytest.fixture(scope="module")
def expected(log, settings):
    return expected_of(settings, log)


@pytest.fixture(scope="module")
def observed(settings, processes, log):
    """The settings of a pipeline that has read the log, and whose sink has stored all; it still runs."""
    topic_admin.create_topics(settings)
    produce(settings, log.messages)
    services.start_gateway(processes, settings)
    services.start_sink(processes, settings)
    local_flink.start_job(processes, settings)
    until(lambda: all_read(settings) and all_stored(settings))
    producer = Producer({"bootstrap.servers": settings.kafka.address})
    producer.produce(topics.topic(settings, "alerts"), b"not Avro", b"?")  # a compacted topic takes no message without a key
    assert producer.flush(STILL_S) == 0
    until(lambda: scraped(settings, "sink")["smw_sink_records_refused_total"][()] == 1)
    until(lambda: sum(scraped(settings, "flink").get(f"{OURS}readings_used", {}).values()))
    yield settings
    for name in ("pipeline", "sink", "metrics"):
        processes.stop(name)


@pytest.fixture(scope="module")
def flink(observed, log):
    """Flink's metrics, as pushed once the last reading was counted as something."""

    def complete():
        found = scraped(observed, "flink")
        counted = sum(sum(found.get(f"{OURS}readings_{kind}", {}).values()) for kind in ("used", "duplicate", "refused", "late"))
        return found if counted == log.readings - log.dead_readings else None

    return until(complete)


def scraped(settings, service: str) -> dict[str, dict[tuple, float]]:
    """Name of a sample -> values of its labels topic or table, and subtask_index -> value; as Prometheus' own parser reads them."""
    with urllib.request.urlopen(services.metrics_urls(settings)[service], timeout=STILL_S) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    found: dict[str, dict[tuple, float]] = {}
    for sample in (sample for family in families for sample in family.samples):
        labels = tuple(sample.labels[name] for name in ("topic", "table", "operator_name", "subtask_index") if name in sample.labels)
        found.setdefault(sample.name, {})[labels] = sample.value
    return found


def total(metrics: dict, name: str) -> float:
    return sum(metrics[OURS + name].values())


def test_what_a_killed_flink_leaves_is_where_the_next_start_removes_it(observed):
    """A copy of a jar of 42 MB."""
    assert len(list((observed.stack.home / "tmp").glob("flink-table-planner_*.jar"))) == 1


# Flink's metrics


def test_what_is_counted_is_what_the_oracle_finds(flink, log, expected):
    names = (
        "bursts",
        "dead_letters",
        "readings",
        "readings_used",
        "readings_duplicate",
        "readings_refused",
        "readings_late",
        "open_alerts",
    )
    assert {name: total(flink, name) for name in names} == {
        "bursts": len(log.bursts),
        "dead_letters": len(log.dead),
        "readings": log.readings - log.dead_readings,
        "readings_used": expected.used,
        "readings_duplicate": expected.duplicates,
        "readings_late": expected.late.total(),
        "readings_refused": expected.refused,
        "open_alerts": sum(alert.open for alert in expected.alerts.values()),
    }
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


def test_flink_reports_lag_state_and_restarts(flink):
    assert sum(flink[f"{OF_OPERATORS}pendingRecords"].values()) == 0
    assert sum(flink[f"{OF_JOBS}lastCheckpointFullSize"].values()) > 10_000
    assert sum(flink[f"{OF_JOBS}numRestarts"].values()) == 0


OPERATORS_OF_EVERY_RELEASE = {"1_source": "d3f21cabc6fe0fdf76c8be915bdb22a2", "houses": "f290ae7f492a2d33649f51da4aced528"}
"""uid -> the operator's id that Flink makes of it. With another one, a job would start without the state that a release left."""


def test_a_savepoint_is_taken_of_a_job_that_goes_on(observed):
    done = subprocess.run([ROOT / "smw", "savepoint"], env=os.environ | observed.environ(), text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    metadata = (folder_at(savepoints.require_savepoint(done.stdout.splitlines()[-1])) / savepoints.METADATA).read_bytes()
    for operator in OPERATORS_OF_EVERY_RELEASE.values():
        assert bytes.fromhex(operator) in metadata
    assert list(Flink(f"127.0.0.1:{observed.flink.ui_port}").jobs().values()) == ["pipeline"]


def test_metrics_are_served_at_loopback_only(observed):
    for port in (observed.stack.flink_metrics_port, observed.stack.sink_metrics_port):
        listening = subprocess.run(
            ["grep", "-h", f":{port:04X} 00000000:0000 0A", "/proc/net/tcp", "/proc/net/tcp6"], capture_output=True, text=True
        ).stdout
        assert [line.split()[1] for line in listening.splitlines()] == [f"0100007F:{port:04X}"]


def test_unstored_messages_are_unknown_while_kafka_is_down(no_kafka, monkeypatch):
    monkeypatch.setattr(offsets, "METRIC_TIMEOUT_S", 0.5)
    assert math.isnan(uncommitted(Lags(Settings().but(kafka=no_kafka), {"sink": ("alerts",)})))


def test_old_pushed_metrics_are_no_longer_served(monkeypatch):
    pushed = metrics_gateway.Pushed()
    pushed.put("/metrics/job/a", b"a 1\n")
    now = metrics_gateway.time.monotonic()
    monkeypatch.setattr(metrics_gateway.time, "monotonic", lambda: now + metrics_gateway.STALE_S * 0.5)
    pushed.put("/metrics/job/b", b"b 1\n")
    assert pushed.text() == b"a 1\nb 1\n"
    monkeypatch.setattr(metrics_gateway.time, "monotonic", lambda: now + metrics_gateway.STALE_S * 1.25)
    assert pushed.text() == b"b 1\n"
    pushed.remove("/metrics/job/b")
    assert pushed.text() == b""


# The sink's metrics


def test_the_sink_reports_what_it_has_stored(observed):
    sink, client = scraped(observed, "sink"), reader(observed)
    rows = {table: number for (table,), number in sink["smw_sink_rows_stored_total"].items()}
    for table in ("late", "dead_letter", "power_profile"):
        assert rows[table] == client.query(f"SELECT count() FROM {table} FINAL").first_row[0] > 0
    assert rows["daily_energy"] >= client.query("SELECT count() FROM daily_energy FINAL").first_row[0] > 0
    assert rows["acknowledgements"] == rows["rules"] == 0
    assert sink["smw_sink_unstored_messages"][()] == 0 and sink["smw_sink_clickhouse_up"][()] == 1
    newest = client.query(
        "SELECT toUnixTimestamp(max(modification_time)) FROM system.parts WHERE database = 'observed' AND table = 'daily_energy'"
    ).first_row[0]
    assert abs(sink["smw_sink_last_insert_timestamp_seconds"][()] - newest) < 60


# ./smw status


def ask_status(settings, *options) -> tuple[int, str]:
    done = subprocess.run([ROOT / "smw", "status", *options], env=os.environ | settings.environ(), capture_output=True, text=True)
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_status_of_a_stack_that_runs(observed, expected, log):
    code, printed = ask_status(observed, "--json")
    report = json.loads(printed)
    assert (code, report["problems"]) == (0, [])
    assert {service["part"]: service["up"] for service in report["parts"]} == {
        "kafka": True,
        "clickhouse": True,
        "flink": True,
        "sink": True,
        "dashboard": False,
    }
    [job] = report["jobs"]
    assert (job["name"], job["state"], job["parallelism"], job["restarts"]) == ("pipeline", "RUNNING", 2, 0)
    assert job["checkpoint_bytes"] > 10_000 and job["checkpoint_unix_s"] > job["since_unix_s"] > 1.7e9
    assert report["unread_messages"] == {"pipeline": 0} and report["unstored_messages"] == 0
    results = report["results"]
    assert results["newest_day"] == max(day for _, _, day in expected.days).isoformat()
    assert results["open_alerts"] == sum(alert.open for alert in expected.alerts.values())
    assert (results["late_readings"], results["dead_letters"]) == (expected.late.total(), len(log.dead))
    assert (results["refused_readings"], results["refused_messages"]) == (expected.refused, 1)
    assert results["newest_dead_letter_reason"]
    last = {(house, meter): day for house, meter, day in sorted(expected.days) if expected.final[house, meter, day]}
    of_last = [expected.days[*meter, day] for meter, day in last.items()]
    assert results["sparse_meters"] == sum(day.gaps >= 3 and 10 * day.gaps >= len(day.readings) for day in of_last) > 0
    assert report["disk"]["kafka_bytes"] > 10_000 and report["disk"]["free_bytes"] > 0


def test_the_screen_shows_the_same(observed, log, expected):
    code, printed = ask_status(observed)
    assert code == 0 and printed.endswith("\nAll is well.\n")
    assert re.search(r"^kafka +up +127.0.0.1:\d+$", printed, re.MULTILINE) and re.search(
        r"^pipeline +RUNNING +\S+ +2 +0 +\d+ s ago", printed, re.MULTILINE
    )
    assert (
        f"{expected.late.total():,} readings late, {expected.refused:,} of no possible power or time; "
        f"1 messages in refused, {len(log.dead)} in dead_letter, the newest of 20"
    ) in printed
    assert re.search(r"^sparse: +\d meters whose readings lie farther apart than they hold", printed, re.MULTILINE)


def test_a_sink_is_up_while_its_metrics_wait_for_kafka(tmp_path):
    settings = on_free_ports(tmp_path)
    metrics = SinkMetrics(("late",))
    with metrics.served(settings, "sink", ("late",)):  # no Kafka is there
        assert not services.answers(settings.clickhouse.url)
        assert services.answers(services.metrics_urls(settings)["sink"])


def test_status_where_nothing_runs(observed, tmp_path):
    nowhere = observed.but(
        home=tmp_path,
        kafka="127.0.0.1:1",
        clickhouse_url="http://127.0.0.1:1",
        flink_ui_port=1,
        sink_metrics_port=1,
        dashboard_port=1,
        schema_registry_url="http://127.0.0.1:1",
    )
    code, printed = ask_status(nowhere, "--json")
    report = json.loads(printed)
    assert code == 1 and len(report["problems"]) == 5 and not any(service["up"] for service in report["parts"])
    assert (report["jobs"], report["unread_messages"], report["results"], report["disk"]) == ([], None, None, {})
    assert len(re.findall("^! ", status.screen(report), re.MULTILINE)) == 5


def test_a_job_that_is_missing_is_a_problem(observed, monkeypatch):
    monkeypatch.setattr(Flink, "described_jobs", lambda self: [])
    report = status.look(observed, f"127.0.0.1:{observed.flink.ui_port}")
    assert report["problems"] == [f"no job runs in the Flink at http://127.0.0.1:{observed.flink.ui_port}"]


@pytest.mark.parametrize("received_ms", [2**63 - 1, 253_402_300_800_000, -1, -(2**63)])
def test_a_dead_letter_of_any_time_and_reason_is_shown(observed, received_ms):
    settings = observed.but(clickhouse_database=f"extreme_{received_ms % 997}")
    client = writer(settings)
    schema.create(client, settings)
    client.command(
        "INSERT INTO dead_letter (partition, offset, received, reason, payload) "
        f"SELECT 1, 1, reinterpret(toInt64({received_ms}), 'DateTime64(3)'), 'a\\x1b[31mb\u202e', 'x'"
    )
    report = status.look(settings, f"127.0.0.1:{settings.flink.ui_port}")
    assert report["results"]["newest_dead_letter_reason"] == "a\x1b[31mb\u202e" and re.fullmatch(
        r"\d{4}-.*Z", report["results"]["newest_dead_letter"]
    )
    assert "a\\x1b[31mb\\u202e" in status.screen(report) and "\x1b" not in status.screen(report)


# Flink's door

JSON, FORM = {"Content-Type": "application/json"}, {"Content-Type": "multipart/form-data; boundary=x"}
JAR = b'--x\r\nContent-Disposition: form-data; name="jarfile"; filename="a.jar"\r\nContent-Type: application/x-java-archive\r\n\r\nPK\r\n--x--\r\n'


def response_code(settings, method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b"", port: int = 0) -> int:
    """The status of a request to Flink's page, as any page in a browser could send it."""
    connection = http.client.HTTPConnection("127.0.0.1", port or settings.flink.ui_port, timeout=30)
    connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    answer.read()
    assert not any(name.lower().startswith("access-control") for name, _ in answer.getheaders())
    connection.close()
    return answer.status


@pytest.mark.parametrize(
    "headers, status",
    [
        ({}, 200),
        ({"Host": "localhost:1"}, 200),
        ({"Origin": "http://localhost:1", "Host": "localhost:1"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "image"}, 403),
    ],
)
def test_flinks_page_answers_to_its_own_host_and_origin(observed, headers, status):
    for path in ("/", "/overview"):
        assert response_code(observed, "GET", path, headers) == status


def test_no_page_of_another_origin_runs_or_ends_anything(observed):
    [job_id] = Flink(f"127.0.0.1:{observed.flink.ui_port}").jobs()
    savepoint = b'{"targetDirectory": "/tmp", "target-directory": "/tmp"}'
    for method, path, headers, body in (
        ("POST", "/jars/upload", FORM, JAR),
        ("POST", "/v1/jars/upload", FORM, JAR),
        ("POST", "/jobs", FORM, JAR),
        ("GET", "/jars", {}, b""),
        ("POST", "/jars/x_a.jar/run", {"Content-Type": "text/plain"}, b"{}"),
        ("DELETE", "/cluster", {}, b""),
        ("OPTIONS", "/jobs", {}, b""),
        *(
            ("GET", f"{version}/jobs/{job_id}/yarn{dash}{what}", {}, b"")
            for version in ("", "/v1", "/v2")
            for dash in ("-", "%2D")
            for what in ("cancel", "stop")
        ),
        ("PATCH", f"/jobs/{job_id}?mode=cancel", {}, b""),
        ("POST", f"/jobs/{job_id}/stop", {"Content-Type": "text/plain"}, savepoint),
        ("POST", f"/jobs/{job_id}/savepoints", {}, savepoint),
        ("POST", f"/jobs/{job_id}/stop", JSON | {"Origin": "http://evil.example"}, savepoint),
    ):
        assert response_code(observed, method, path, headers, body) == 403, (method, path)
    assert response_code(observed, "POST", f"/jobs/{job_id}/stop", JSON, b" " * 20_000) == 413
    assert list(Flink(f"127.0.0.1:{observed.flink.ui_port}").jobs()) == [job_id]


def test_flinks_own_port_requires_its_key(observed, processes):
    [option] = [word for word in command_line(processes.children["pipeline"].pid).split(b"\0") if word.startswith(b"rest.bind-port=")]
    port = int(option.partition(b"=")[2])
    keys = local_flink.rest_keys_of(observed, "pipeline")
    assert {file.stat().st_mode & 0o777 for file in keys.iterdir()} == {0o600} and keys.stat().st_mode & 0o777 == 0o700
    for url in (f"https://127.0.0.1:{port}/overview", f"http://127.0.0.1:{port}/overview"):
        with pytest.raises((OSError, http.client.HTTPException)):
            urllib.request.urlopen(url, context=ssl._create_unverified_context(), timeout=10).read()
    with urllib.request.urlopen(f"https://127.0.0.1:{port}/overview", context=rest_keys.client_context(keys), timeout=10) as answer:
        assert json.load(answer)["jobs-running"] == 1
    with urllib.request.urlopen(f"https://127.0.0.1:{port}/config", context=rest_keys.client_context(keys), timeout=10) as answer:
        assert not any(json.load(answer)["features"].values())


# Logs


@pytest.mark.parametrize("name", ["kafka", "endpoint", "sink", "pipeline", "flink_page"])
def test_each_line_of_each_log_is_in_the_format(observed, processes, name):
    lines = processes.log(name).read_text().splitlines()
    assert lines and {(found := logs.LINE.fullmatch(line)) and found["source"] for line in lines} == {name}


def test_the_jobs_log_has_the_output_of_its_python_workers(observed, processes):
    assert "sdk_worker.py" in processes.log("pipeline").read_text()


# The Grafana dashboard


def test_the_dashboard_has_what_grafanas_model_requires():
    assert DASHBOARD.keys() >= {
        "uid",
        "title",
        "tags",
        "timezone",
        "editable",
        "graphTooltip",
        "panels",
        "time",
        "timepicker",
        "templating",
        "annotations",
        "refresh",
        "schemaVersion",
        "version",
        "links",
    }
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [
        (x, y)
        for panel in panels
        for at in [panel["gridPos"]]
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(set(places)) == len(places) and max(x for x, _ in places) < 24
    [source] = [variable["name"] for variable in DASHBOARD["templating"]["list"] if variable["type"] == "datasource"]
    for panel in panels:
        assert panel["title"] and panel["type"] in ("row", "timeseries", "stat")
        for target in panel.get("targets", []):
            assert target["refId"] and target["expr"] and target["datasource"] == {"type": "prometheus", "uid": f"${{{source}}}"}


def test_all_metrics_of_the_dashboard_are_there(flink, observed):
    queried = {
        name
        for panel in DASHBOARD["panels"]
        for target in panel.get("targets", [])
        for name in re.findall(r"\b(?:flink|smw)_\w+", target["expr"])
    }
    assert len(queried) > 20 and queried - flink.keys() - scraped(observed, "sink").keys() - OF_OTHERS == set()


def test_all_metrics_of_the_document_are_there(flink, observed):
    documented = set(re.findall(r"`((?:flink|smw)_\w+)", (ROOT / "docs" / "observability.md").read_text()))
    assert len(documented) > 20 and documented - flink.keys() - scraped(observed, "sink").keys() - OF_OTHERS == set()


def test_prometheus_targets_the_default_ports():
    jobs = yaml.safe_load((ROOT / "observability" / "prometheus.yml").read_text())["scrape_configs"]
    targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in jobs}
    assert targets == {service: [url.split("/")[2]] for service, url in services.metrics_urls(Settings()).items()}


SILENT_HOUSE, SILENT_HOURS, USUAL_DAYS = 40, 3, 9


def test_a_house_that_has_sent_nothing_for_hours_has_an_open_alert(observed):
    """It sent a reading a minute for nine days, so it may be silent for an hour."""
    now_minute = round(time.time()) // 60
    last, first = now_minute - 60 * SILENT_HOURS, now_minute - 60 * SILENT_HOURS - 1440 * USUAL_DAYS
    bursts = [
        burst(60_000 * at, 60_000 * (at + 60), {1: [(60_000 * m, 50.0 + m % 7) for m in range(at, at + 60)]}, "UTC", SILENT_HOUSE)
        for at in range(first, last, 60)
    ]
    produce(observed, [(b"%d" % SILENT_HOUSE, encode_burst(b)) for b in bursts])
    client = reader(observed)
    query = f"SELECT meter_id, open, toUnixTimestamp(start) FROM alerts FINAL WHERE kind = 'silent' AND house_id = {SILENT_HOUSE}"
    until(lambda: client.query(query).result_rows)
    assert client.query(query).result_rows == [(0, True, 60 * (last + 60))]

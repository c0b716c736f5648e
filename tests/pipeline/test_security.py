"""The whole flow through a Kafka with TLS, users and rights, and a ClickHouse with TLS: results, refusals, and no secret anywhere."""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import shlex
import stat
import subprocess
import sys
from datetime import date
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import confluent_kafka
import pytest
from confluent_kafka import KafkaError
from confluent_kafka.admin import AclOperation, ResourceType

from generator.synthetic import synthetic_houses
from notify.routes import load
from notify.service import Notifier
from smartmeter.errors import UserError
from smartmeter.kafka import connection, topic_admin
from smartmeter.kafka.consumers import SHOWN_AT_HOME, home_group
from smartmeter.kafka.offsets import Lags
from smartmeter.kafka.producer import Producer, ProducerError
from smartmeter.messages.codec import encode
from smartmeter.messages.topics import RESULTS, SCHEMA_OF
from smartmeter.settings import ROOT, Settings
from stack import local_flink, services
from stack.processes import Processes
from store.client import reader
from store.sink import Sink
from tests import secured
from tests.certificates import Authority
from tests.mosquitto import USER, Mosquitto
from tests.notify.receivers import Webhook
from tests.notify.test_service import alert
from tests.pipeline.conftest import all_stored, judge_tables
from tests.pipeline.flow import expected_of, stored_readings
from tests.pipeline.logs import make_log, produce
from tests.ports import on_free_ports
from tests.processes import command_line
from tests.sinks import running
from tests.topics import records
from tests.waiting import STILL_S, until

MARK = "Marked" + secrets.token_hex(8)
"""Part of every password; so the tests search for it in everything that anybody may read."""
PASSWORD = f"""{MARK} it's "50\\%" """.strip()
USERS = ("generator", "jobs", "sink", "notify", "dashboard")
FLINK_PROGRAM_FAILED = 31
NO_LOGS = {"kafka", "clickhouse", "certificates", "tmp", "kafka.properties", "keystore.pem"}
"""In SMW_HOME: data, the configuration of the tests' broker, and Flink's folder, in which the job is."""


def documented_rights() -> list[tuple[str, ResourceType, str, AclOperation]]:
    """(user, kind, name, operation) of each right in docs/security.md."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--allow-principal")
    parser.add_argument("--operation")
    parser.add_argument("--topic", action="append", default=[])
    parser.add_argument("--group", action="append", default=[])
    rights = []
    for line in re.findall(r"^ +(--allow-principal .*)$", (ROOT / "docs" / "security.md").read_text(), re.MULTILINE):
        given = parser.parse_args(shlex.split(line))
        operation = AclOperation[given.operation.upper()]
        for kind, names in ((ResourceType.TOPIC, given.topic), (ResourceType.GROUP, given.group)):
            rights += [(given.allow_principal.removeprefix("User:"), kind, name, operation) for name in names]
    return rights


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("secured")


@pytest.fixture(scope="module")
def authority(home):
    return Authority(home / "certificates")


@pytest.fixture(scope="module")
def own_processes(home):
    """Those of this module; the fixture `processes` runs the shared broker, which one test needs too."""
    with Processes(home) as own_processes:
        yield own_processes


@pytest.fixture(scope="module")
def admin(home, authority, own_processes):
    """Settings of the admin of a broker that has all topics, and the documented users with the documented rights."""
    free = on_free_ports(home)
    certificate, key = authority.issue("127.0.0.1")
    settings = free.but(
        kafka="localhost:" + free.kafka.address.rpartition(":")[2],
        kafka_tls=True,
        kafka_ca=str(authority.file),
        kafka_user="admin",
        kafka_password=f"{MARK}-admin",
        clickhouse_url=free.clickhouse.url.replace("http:", "https:"),
        clickhouse_ca=str(authority.file),
        clickhouse_certificate=str(certificate),
        clickhouse_key=str(key),
        clickhouse_password=PASSWORD,
        clickhouse_reader_password=PASSWORD + "r",
        checkpoint_every_s=1.0,
        window_days=2,
    )
    secured.start_broker(own_processes, settings, authority)
    topic_admin.create_topics(settings)
    for user in USERS:
        secured.add_user(settings, user, PASSWORD + user)
    secured.allow(settings, documented_rights())
    return settings


def of_user(admin: Settings, user: str) -> Settings:
    return admin.but(kafka_user=user, kafka_password=PASSWORD + user)


@pytest.fixture(scope="module")
def log():
    log = make_log(3, {1: ("America/New_York", date(2011, 3, 12))})
    log.houses = [synthetic_houses(1, seed=1)[0].record()]
    return log


@pytest.fixture(scope="module")
def flow(admin, own_processes, log):
    """The whole flow, running, once all of the log is stored. Returns a client on the tables."""
    with Producer(of_user(admin, "generator")) as producer:
        producer.send_house(log.houses[0])
    produce(of_user(admin, "generator"), log.messages)
    services.start_endpoint(own_processes, admin)
    services.start_sink(own_processes, of_user(admin, "sink"))
    local_flink.start_job(own_processes, of_user(admin, "jobs"))
    client = until(lambda: reader(admin))
    until(lambda: stored_readings(client) == log.readings - log.dead_readings and all_stored(of_user(admin, "dashboard")))
    own_processes.check()
    return client


def test_results_are_what_the_oracle_finds(flow, admin, log):
    judge_tables(flow, expected_of(admin, log), ended=False)
    assert flow.query("SELECT house_id FROM houses FINAL").result_rows == [(1,)]


@pytest.fixture(scope="module")
def refused_for_a_while(flow, admin, own_processes):
    """The flow, after the passwords of the sink and the jobs were wrong until both had noticed."""
    for user in ("sink", "jobs"):
        secured.add_user(admin, user, f"{MARK} another")
    until(
        lambda: (
            own_processes.log("sink").read_text().count("waiting: Kafka at")
            and "SaslAuthenticationException" in own_processes.log("pipeline").read_text()
        )
    )
    for user in ("sink", "jobs"):
        secured.add_user(admin, user, PASSWORD + user)
    return flow


def test_a_password_that_turns_wrong_holds_them_up_until_it_is_right_again(refused_for_a_while, admin, own_processes):
    more = make_log(4, {9: ("UTC", date(2011, 3, 12))})
    produce(of_user(admin, "generator"), more.messages)
    newest = max(date for _, _, date in expected_of(admin, more).days)
    until(lambda: refused_for_a_while.query("SELECT max(date) FROM daily_energy FINAL WHERE house_id = 9").first_row[0] == newest)
    own_processes.check()
    output = own_processes.log("sink").read_text()
    assert output.count("waiting:") == output.count("refuses the user or the password: set SMW_KAFKA_USER and SMW_KAFKA_PASSWORD") == 1


def test_no_secret_is_in_logs_or_checkpoints(refused_for_a_while, home):
    tops = [path for path in home.iterdir() if path.name not in NO_LOGS]
    files = [
        Path(folder, name) for top in tops for folder, _, names in os.walk(top) for name in names
    ]  # what vanishes meanwhile does not matter
    assert {"sink.log", "pipeline.log", "endpoint.log", "_metadata"} <= {path.name for path in files}
    logs = [path for path in files if path.suffix == ".log"]
    until(lambda: any("SMW_KAFKA_PASSWORD_FILE" in path.read_text(errors="replace") for path in logs))  # Flink's environment, at a restart
    secret = [path for path in files if MARK.encode() in content(path)]
    assert {path.relative_to(home) for path in secret} == {
        Path("run/kafka_password"),
        Path("run/clickhouse_password"),
        Path("run/clickhouse_reader_password"),
    }
    assert {stat.S_IMODE(path.stat().st_mode) for path in [*secret, home / "tmp"]} == {0o600, 0o700}


def content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:  # a checkpoint that is no longer kept
        return b""


def test_no_secret_is_in_the_list_of_processes(flow):
    lines = [command_line(int(path.name)) for path in Path("/proc").glob("[0-9]*")]
    assert any(b"store.sink" in line for line in lines) and any(b"jobs/pipeline.py" in line for line in lines)
    assert [line for line in lines if MARK.encode() in line] == []


def test_no_secret_is_in_flinks_answers(flow, admin):
    answers = dict(flink_answers(f"http://127.0.0.1:{admin.flink.ui_port}"))
    assert {"/jobmanager/config", "/jobmanager/log"} <= set(answers)
    assert [path for path, answer in answers.items() if MARK.encode() in answer] == []


def flink_answers(url: str):
    """(path, answer) of everything that Flink's REST API shows of itself and its jobs."""

    def ask(path: str) -> bytes:
        try:
            with urlopen(url + path, timeout=STILL_S) as answer:
                return answer.read()
        except HTTPError as error:
            return error.read()

    paths = ["/config", "/jobmanager/config", "/jobmanager/environment", "/jobmanager/log", "/jobmanager/stdout", "/jobmanager/thread-dump"]
    for job in json.loads(ask("/jobs"))["jobs"]:
        at = f"/jobs/{job['id']}"
        paths += [
            at,
            *(
                f"{at}/{what}"
                for what in (
                    "config",
                    "plan",
                    "exceptions",
                    "checkpoints",
                    "checkpoints/config",
                    "accumulators",
                    "jobmanager/config",
                    "jobmanager/environment",
                )
            ),
        ]
        paths += [f"{at}/vertices/{vertex['id']}" for vertex in json.loads(ask(at))["vertices"]]
    for manager in json.loads(ask("/taskmanagers"))["taskmanagers"]:
        paths += [f"/taskmanagers/{manager['id']}", f"/taskmanagers/{manager['id']}/log", f"/taskmanagers/{manager['id']}/stdout"]
    return ((path, ask(path)) for path in paths)


def test_no_secret_is_in_flinks_error_for_a_table_that_it_cannot_make(admin):
    output = run(
        admin,
        "from pyflink.datastream import StreamExecutionEnvironment as E; from pyflink.table import StreamTableEnvironment as T; "
        "from jobs.flink import kafka_tables; from smartmeter.run import Run; from smartmeter.settings import Settings; tables = T.create(E.get_execution_environment()); "
        "kafka_tables.readings(tables, Settings.load(), Run()); tables.sql_query('SELECT * FROM readings')",
    )
    assert "Could not find any factory for identifier 'kafka'" in output and "sasl.jaas.config" in output
    assert MARK not in output


def run(settings: Settings, code: str) -> str:
    """The output of a Python program."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], env=os.environ | settings.environ(), capture_output=True, text=True, timeout=STILL_S
    )
    return done.stdout + done.stderr


NO_PASSWORD = "Kafka at .* refuses the user or the password: set SMW_KAFKA_USER and SMW_KAFKA_PASSWORD"
WRONG = {
    "password": (dict(kafka_password=f"{MARK} wrong"), NO_PASSWORD),
    "user": (dict(kafka_user="nobody"), NO_PASSWORD),
    "authority": (dict(kafka_ca="stranger"), r"the certificate of Kafka at .* is not trusted \(.*\): set SMW_KAFKA_CA to the PEM file"),
    "system's authorities": (dict(kafka_ca=""), r"the certificate of Kafka at .* is not trusted \(.*\): set SMW_KAFKA_CA to the PEM file"),
    "host": (dict(kafka="127.0.0.1"), "the certificate of Kafka at .* is for another host name"),
    "neither TLS nor user": (
        dict(kafka_tls=False, kafka_ca="", kafka_user="", kafka_password=""),
        "Kafka at .* takes TLS only: set SMW_KAFKA_TLS=true",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_every_part_reports_a_fault_in_one_sentence(wrong, admin, own_processes, home):
    changes, sentence = WRONG[wrong]
    settings = admin.but(
        **changes
        | {
            name: value
            for name, value in (
                ("kafka_ca", str(Authority(home / "certificates" / "stranger").file)),
                ("kafka", admin.kafka.address.replace("localhost", "127.0.0.1")),
            )
            if changes.get(name)
        }
    )
    for action in (
        Producer,
        topic_admin.create_topics,
        lambda settings: Sink(settings).run(),
        lambda settings: local_flink.start_job(own_processes, settings),
        lambda settings: Lags(settings, {"pipeline": ("readings",)}).by_group(2),
    ):
        with pytest.raises(UserError, match=f"^{sentence}") as error:
            action(settings)
        assert MARK not in str(error.value) and "\n" not in str(error.value)


def test_a_user_may_be_what_is_missing(admin):
    assert "or SMW_KAFKA_USER and SMW_KAFKA_PASSWORD if it requires a user" in connection.why_not(
        admin.but(kafka_user="", kafka_password=""), patience_s=1
    )


def test_tls_or_a_user_where_there_is_none(kafka, admin):
    plain = kafka.kafka.address
    assert "takes no TLS at this port" in connection.why_not(admin.but(kafka=plain))
    assert "does not accept SCRAM-SHA-512 users at this port" in connection.why_not(admin.but(kafka=plain, kafka_tls=False, kafka_ca=""))


def test_programs_end_with_the_sentence(admin):
    settings = of_user(admin, "jobs").but(kafka_password=f"{MARK} wrong")
    commands = {
        "smw": [sys.executable, "-P", "-m", "commands", "topics"],
        "sink": [sys.executable, "-P", "-m", "store.sink"],
        "flink": local_flink.flink_run_command(settings, local_flink.PIPELINE_JOB),
    }
    running = {
        name: subprocess.Popen(
            command, env=os.environ | local_flink.flink_environ(settings), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for name, command in commands.items()
    }
    output = {name: process.communicate(timeout=STILL_S)[0] for name, process in running.items()}
    assert [process.returncode for process in running.values()] == [1, 1, FLINK_PROGRAM_FAILED]
    assert re.fullmatch(f"smw: {NO_PASSWORD}\n", output["smw"]) and re.fullmatch(f"sink: {NO_PASSWORD}\n", output["sink"])
    assert re.search(f"^smw: {NO_PASSWORD}$", output["flink"], re.MULTILINE)
    assert not any(MARK in text for text in output.values())


def test_missing_rights_are_reported(admin):
    with pytest.raises(UserError, match="^Kafka at .* does not let user generator do that .*authorization failed.*docs/security.md"):
        Sink(of_user(admin, "generator").but(sink_metrics_port=0)).run()
    with (
        pytest.raises(ProducerError, match="^Kafka at .* does not let user sink do that .*authorization failed"),
        Producer(of_user(admin, "sink")) as producer,
    ):
        producer.send_house(synthetic_houses(1, seed=1)[0].record())
    with pytest.raises(UserError, match="^Kafka at .* does not let user generator do that .*[Aa]uthorization failed"):
        topic_admin.create_topics(of_user(admin, "generator"))


def test_notify_needs_no_other_rights(admin, tmp_path):
    hook = Webhook()
    with hook.served() as url, Mosquitto(tmp_path, "a password") as mqtt:
        (tmp_path / "routes.toml").write_text(
            f'[[route]]\nname = "hook"\nurl = "{url}"\n'
            f'[home_assistant]\nurl = "mqtt://127.0.0.1:{mqtt.port}"\nuser = "{USER}"\npassword = "a password"\n'
        )
        settings = of_user(admin, "notify").but(notify_metrics_port=0, notify_routes=str(tmp_path / "routes.toml"))
        with running(Notifier(settings, load(tmp_path / "routes.toml"))):
            until(lambda: records(admin, "notifications"))
            client = confluent_kafka.Producer(connection.client(of_user(admin, "jobs")))
            client.produce("alerts", encode("alert", record := alert()), record["alert_id"])
            client.flush(STILL_S)
            until(lambda: any(found["count"] for found in records(admin, "notifications")))
            until(lambda: Lags(admin, {home_group(admin): SHOWN_AT_HOME}).by_group(10)[home_group(admin)] == 0)
    assert hook.events == [["opened"]]


def test_topics_that_are_there_take_no_right_to_create_them(admin):
    secured.allow(admin, [("generator", ResourceType.TOPIC, name, AclOperation.DESCRIBE) for name in SCHEMA_OF])
    until(lambda: topic_admin.create_topics(of_user(admin, "generator")) is None)


def test_no_user_has_more_rights_than_documented(admin):
    rights = documented_rights()
    assert {user for user, *_ in rights} == set(USERS)
    writes = {(user, name) for user, kind, name, operation in rights if operation == AclOperation.WRITE}
    assert writes == {
        ("generator", "readings"),
        ("generator", "houses"),
        ("notify", "notifications"),
        ("dashboard", "acknowledgements"),
        ("dashboard", "rules"),
    } | {("jobs", name) for name in RESULTS}
    for user, name in (("generator", "alerts"), ("jobs", "readings"), ("sink", "daily_energy"), ("dashboard", "readings")):
        assert written(of_user(admin, user), name) == KafkaError.TOPIC_AUTHORIZATION_FAILED, (user, name)


def written(settings: Settings, name: str) -> int | None:
    """The code of the error with which Kafka refuses a message."""
    errors = []
    client = confluent_kafka.Producer(connection.client(settings))
    client.produce(name, b"?", on_delivery=lambda error, _: errors.append(error and error.code()))
    client.flush(STILL_S)
    return errors[0]


@pytest.mark.parametrize(
    "wrong, sentence",
    [
        (
            dict(clickhouse_ca="stranger"),
            r"the certificate of ClickHouse at https://127.* is not trusted \(.*\); set SMW_CLICKHOUSE_CA to the PEM file",
        ),
        (
            dict(clickhouse_ca=""),
            r"the certificate of ClickHouse at https://127.* is not trusted \(.*\); set SMW_CLICKHOUSE_CA to the PEM file",
        ),
        (dict(clickhouse_url="https://localhost"), "the certificate of ClickHouse at https://localhost.* is for another host name"),
        (dict(clickhouse_url="http://127.0.0.1", clickhouse_ca=""), "ClickHouse does not answer at http://127"),
        (dict(clickhouse_reader_password=f"{MARK} wrong"), "ClickHouse at https://127.* refuses the user or the password"),
    ],
)
def test_a_fault_of_clickhouse_is_reported_in_one_sentence(flow, admin, home, wrong, sentence):
    port = admin.clickhouse.url.rpartition(":")[2]
    if wrong.get("clickhouse_ca"):
        wrong = dict(clickhouse_ca=str(Authority(home / "certificates" / "stranger").file))
    if "clickhouse_url" in wrong:
        wrong = wrong | dict(clickhouse_url=f"{wrong['clickhouse_url']}:{port}")
    with pytest.raises(UserError, match=f"^{sentence}") as error:
        reader(admin.but(**wrong))
    assert MARK not in str(error.value) and "\n" not in str(error.value)


def test_smw_sql_over_tls(flow, admin):
    done = subprocess.run(
        [sys.executable, "-P", "-m", "commands", "sql", "SELECT min(house_id) AS first FROM houses", "--format", "csv"],
        env=os.environ | admin.environ(),
        capture_output=True,
        text=True,
        timeout=STILL_S,
    )
    assert (done.stdout, done.stderr) == ('"first"\n1\n', "")

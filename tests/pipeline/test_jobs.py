"""The pipeline on real Kafka, Flink and ClickHouse, judged by the oracle; the same to the last bit at any parallelism, and from an archive.

Its producer sends transactions: half are aborted, and the last stays open. The producer of house 2 gives Kafka seconds for a time. The run
at_4 has a schema registry, and several producers with all framings; the registry is away for a while. The run at_1 has none, and is a replay
from an archive: the topic no longer has a message.
"""

import io
import os
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise

import fastavro
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

from smartmeter.kafka import connection, topic_admin
from smartmeter.kafka.offsets import Offsets
from smartmeter.messages import archive_files
from smartmeter.messages.codec import encode_burst
from smartmeter.messages.registry import ID_END
from smartmeter.messages.schemas import MARKER
from smartmeter.messages.single_object import REGISTRY_MARKER
from smartmeter.messages.topics import RESULTS, SCHEMA_OF, topic
from smartmeter.run import Run
from smartmeter.settings import ROOT, Settings
from store.client import reader
from tests.pipeline.conftest import TABLES, judge_tables, log_of, rows, run_job, store_all, values
from tests.pipeline.flow import expected_of
from tests.pipeline.framings import UNKNOWN_ID, Producers, unusable
from tests.pipeline.logs import SIGNED_HOUSE, make_houses, make_log, make_rules, produced_in_transactions, steady
from tests.registries import PASSWORDS, Door, start_registry
from tests.registry.evolved import avsc
from tests.topics import messages, records, send
from tests.waiting import STILL_S, until

WINDOW_DAYS = 2
HOUSE_OF_TRANSACTIONS, TWO_HOURS_FROM_MS = 131, 1_365_724_800_000
PARALLELISM = {"at_1": 1, "at_4": 4}
"""Of each run, by its name."""
INTO = "again"
"""Name of the results of the run at_1."""
ARCHIVED = ["--from", "2011-03-01", "--to", "2013-11-30"]


@pytest.fixture(scope="module")
def log():
    log = make_log(seed=11)
    log.rules, log.houses = make_rules(), make_houses()
    two_hours = steady(HOUSE_OF_TRANSACTIONS, TWO_HOURS_FROM_MS, TWO_HOURS_FROM_MS + 7_200_000, 100.0)
    log.bursts.extend(two_hours)
    log.messages.extend((b"%d" % HOUSE_OF_TRANSACTIONS, encode_burst(burst)) for burst in two_hours)
    return log


@pytest.fixture(scope="module")
def expected(log):
    return expected_of(Settings().but(window_days=WINDOW_DAYS), log)


@pytest.fixture(scope="module")
def registry(processes, tmp_path_factory):
    return start_registry(processes, tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def door(registry):
    with Door(registry.url) as door:
        yield door


@pytest.fixture(scope="module")
def settings_of(kafka, clickhouse, door):
    """Name of a run -> its settings."""
    settings_of = {
        name: clickhouse.but(topic_prefix=f"{name}.", clickhouse_database=name, parallelism=parallelism, window_days=WINDOW_DAYS)
        for name, parallelism in PARALLELISM.items()
    }
    of_registry = dict(schema_registry_url=door.url, schema_registry_user="ann", schema_registry_password=PASSWORDS["ann"])
    return settings_of | {"at_4": settings_of["at_4"].but(**of_registry)}


@pytest.fixture(scope="module")
def results_of(settings_of):
    """Name of a run -> the settings with the topics and tables of its results."""
    return settings_of | {"at_1": settings_of["at_1"].but(topic_prefix=f"at_1.{INTO}.", clickhouse_database=f"at_1_{INTO}")}


@pytest.fixture(scope="module")
def registry_client(registry):
    """The registry's client of another party."""
    return SchemaRegistryClient({"url": registry.url})


@pytest.fixture(scope="module")
def producers(settings_of, registry_client):
    return Producers(settings_of["at_4"], registry_client)


@pytest.fixture(scope="module")
def with_ids(settings_of, log):
    """The messages of the run at_4 whose ids cannot be used -> the reason."""
    return unusable(settings_of["at_4"], encode_burst(log.bursts[0]))


@pytest.fixture(scope="module")
def log_of_run(log, with_ids):
    """Name of a run -> its log."""
    return {
        "at_1": log,
        "at_4": replace(log, messages=[*log.messages, *((b"1", value) for value in with_ids)], dead=[*log.dead, *with_ids]),
    }


def send_rules_and_houses(settings, log) -> None:
    """Create the topics of a run, and send all but the readings."""
    topic_admin.create_topics(settings)
    send(settings, "rules", *log.rules)
    send(settings, "houses", *log.houses)


@pytest.fixture(scope="module")
def from_kafka(settings_of, processes, log_of_run, producers, door):
    """A client on the tables of the run at_4."""
    settings, log = settings_of["at_4"], log_of_run["at_4"]
    dead = set(log.dead)

    def written(value: bytes | None) -> bytes | None:
        return value if (value or b"") in dead else producers.written(value)

    send_rules_and_houses(settings, log)
    with produced_in_transactions(settings, log.messages, timestamps_of(log), written), ThreadPoolExecutor() as threads:
        was_shut = threads.submit(shut_until_the_job_waits, door, log_of(settings, "pipeline"))
        run_job(settings, "pipeline")
        assert was_shut.result()
    return store_all(settings, processes)


def shut_until_the_job_waits(door, job_log) -> bool:
    """Shut the door once the job has its own ids, until a worker logs that it waits for another one."""
    had = len(door.requested)
    until(lambda: len(door.requested) == had + len(SCHEMA_OF))
    with door.shut():
        return until(lambda: "waiting: no schema registry answers" in job_log.read_text())


def timestamps_of(log) -> list[int]:
    """Kafka's time of each message: the begin of its burst, or of the one before, of house 2 in seconds."""
    start_of, timestamps = {encode_burst(burst): burst.start_ms for burst in log.bursts}, []
    for _, value in log.messages:
        timestamps.append(start_of.get(value) or timestamps[-1])
    return [time // 1000 if key == b"2" and value in start_of else time for (key, value), time in zip(log.messages, timestamps)]


@pytest.fixture(scope="module")
def settings(settings_of):
    """Those of the run at_1."""
    return settings_of["at_1"]


def smw(settings, *arguments) -> str:
    """What a command prints."""
    done = subprocess.run([ROOT / "smw", *arguments], env=os.environ | settings.environ(), text=True, capture_output=True, timeout=STILL_S)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def folder(settings, log, tmp_path_factory):
    """An archive of the log, which was made in two runs; the topic has lost everything since."""
    send_rules_and_houses(settings, log)
    with produced_in_transactions(settings, log.messages, timestamps_of(log)):
        pass
    folder = tmp_path_factory.mktemp("archive")
    smw(settings, "archive", *ARCHIVED, "--houses", "2-2", "--into", str(folder))
    output = smw(settings, "archive", *ARCHIVED, "--into", str(folder))
    bursts = len(log.bursts) + sum(value in log.dead for _, value in log.messages if value and archive_files.cut(0, 0, 0, b"", value)[1])
    assert f" {bursts:,} bursts with " in output and f" {len(log.messages) - bursts:,} messages that are not bursts" in output
    in_topic = [(m.partition(), m.offset(), m.timestamp()[1], m.key(), m.value()) for m in messages(settings, "readings")]
    assert sorted(in_topic) == sorted((*m[:4], m.value) for path in folder.rglob("*.avro") for m in archive_files.read(path))
    lose_readings(settings)
    return folder


def lose_readings(settings) -> None:
    """What retention does: the topic's messages go, all of them."""
    with Offsets(settings, ("readings",), "none") as offsets:
        ends = [TopicPartition(*place, end) for place, (_, end) in offsets.bounds().items()]
        client = connection.admin(settings)  # its futures end with it
        for deleted in client.delete_records(ends).values():
            deleted.result()
        assert all(begin == end for begin, end in offsets.bounds().values())


@pytest.fixture(scope="module")
def from_archive(settings, folder, results_of):
    """A client on the tables of the run at_1."""
    assert "messages of Kafka's log" in smw(settings, "replay", *ARCHIVED, "--into", INTO, "--archive", str(folder))
    return reader(results_of["at_1"])


@pytest.fixture(scope="module")
def clients(from_archive, from_kafka):
    """Name of a run -> a client on the tables into which it brought its log."""
    clients = {"at_1": from_archive, "at_4": from_kafka}
    yield clients
    for client in clients.values():
        client.close()


@pytest.fixture(params=PARALLELISM)
def name(request):
    return request.param


@pytest.fixture
def client(name, clients):
    return clients[name]


def test_the_tables_are_what_the_oracle_finds(client, expected):
    judge_tables(client, expected, ended=True)
    assert {row["day_s"] / 3600 for row in rows(client, "daily_energy")} == {23, 24, 25}
    assert expected.late.total() > 100
    assert len(expected.alerts) > 300 and sum(alert.readings > 1 for alert in expected.alerts.values()) > 50
    assert {alert.meter_id for alert in expected.alerts.values()} == {1, 2, 7}
    assert {"limit", "overrun", "idle", "schedule"} <= {alert.kind for alert in expected.alerts.values()}
    assert client.query("SELECT sum(part = 0) > 10000, sum(part > 0) > 1000 FROM power_profile FINAL").first_row == (True, True)


def test_two_hours_that_were_aborted_at_5_kw_and_committed_at_100_w(client):
    [row] = [row for row in rows(client, "daily_energy") if row["house_id"] == HOUSE_OF_TRANSACTIONS]
    assert row["kwh"] == pytest.approx(0.1997, abs=5e-5) and row["readings"] == 720 and row["duplicates"] == 0


def test_the_descriptions_make_mains_and_appliances_of_other_meters_than_the_guess(log, expected):
    """The limit of mains is 3 kW over the peak, that of an appliance 30 W. Meter 1 of house 1 is mains by both."""
    guessed = expected_of(Settings().but(window_days=WINDOW_DAYS), replace(log, houses=[]))
    differences = {
        (house, meter): round((threshold.limit_watts or 0) - guessed.thresholds[house, day].meters[meter].limit_watts)
        for (house, day), version in sorted(expected.thresholds.items())
        for meter, threshold in version.meters.items()
        if not threshold.warming_up and not guessed.thresholds[house, day].meters[meter].warming_up
    }
    assert differences.pop((SIGNED_HOUSE, 2)) < -30, "solar has no limit"
    assert {of: watts for of, watts in differences.items() if watts} == {(1, 7): 2970, (3, 1): -2970, (3, 2): 2970}


def test_versions_follow_each_other_without_a_hole(name, clients, results_of, expected):
    versions = {(r["house_id"], r["date"]): (r["valid_from"], r["valid_to"]) for r in records(results_of[name], "thresholds")}
    days = {
        (house, (date - min(d for h, d in expected.thresholds if h == house)).days): version
        for (house, date), version in expected.thresholds.items()
    }
    assert sorted(versions.values()) == sorted((v.valid_from, v.valid_to) for v in days.values())
    for house in (1, 2, 3):
        spans = sorted(span for (h, _), span in versions.items() if h == house)
        assert spans[0][0] == 0 and all(a[1] == b[0] for a, b in pairwise(spans))


def test_dead_letters_are_kept_to_the_byte(name, client, log_of_run):
    found = list(client.query("SELECT hex(payload) AS payload, reason FROM dead_letter FINAL").named_results())
    assert sorted(bytes.fromhex(row["payload"]) for row in found) == sorted(log_of_run[name].dead)
    assert len(found) > 10 and all(row["reason"] for row in found)


def test_totals_add_up(client, log, expected):
    energy, late = rows(client, "daily_energy"), rows(client, "late")
    used, duplicate = sum(r["readings"] for r in energy), sum(r["duplicates"] for r in energy)
    refused = sum(r["refused"] for r in energy)
    assert used + duplicate + refused + sum(r["readings"] for r in late) + log.dead_readings == log.readings
    assert (used, duplicate, refused) == (expected.used, expected.duplicates, expected.refused)
    of_power = sum(len(day.times[0]) for day in expected.days.values())
    assert of_power == client.query("SELECT sum(readings) FROM power_by_minute").first_row[0]
    assert duplicate > 100 and refused > 100 and used - of_power > 1000 and sum(r["register_faults"] for r in energy) > 10


@pytest.mark.parametrize("table", TABLES)
def test_results_are_the_same_to_the_last_bit_in_every_run(clients, table):
    without_ids = "NOT startsWith(payload, char(0))" if table == "dead_letter" else "1"
    at_1, at_4 = (values(client, table, without_ids) for client in clients.values())
    assert len(at_1) >= 10 and at_1 == at_4


def test_a_message_with_an_id_that_cannot_be_used_is_kept_with_the_reason(clients, with_ids):
    letters = clients["at_4"].query("SELECT hex(payload), reason FROM dead_letter FINAL").result_rows
    assert with_ids.items() <= {bytes.fromhex(payload): reason for payload, reason in letters}.items()


def test_the_readings_were_in_both_framings(clients, settings_of):
    found = messages(settings_of["at_4"], "readings")
    assert {message.value()[:1] for message in found if message.value()} >= {MARKER[:1], REGISTRY_MARKER}


@pytest.mark.parametrize("result", RESULTS)
def test_confluents_own_deserializer_reads_every_result(clients, settings_of, registry_client, result):
    settings = settings_of["at_4"]
    found, schema = messages(settings, result), fastavro.parse_schema(avsc(SCHEMA_OF[result]))
    read, place = AvroDeserializer(registry_client), SerializationContext(topic(settings, result), MessageField.VALUE)
    assert len(found) >= 10
    for message in found:
        again = io.BytesIO()
        fastavro.schemaless_writer(again, schema, read(message.value(), place))
        assert message.value()[:1] == REGISTRY_MARKER and message.value()[ID_END:] == again.getvalue()


def test_a_worker_requests_each_unknown_id_once_and_no_other(clients, door, producers):
    requests = Counter(path.split("?")[0] for path in door.requested if path.startswith("/schemas/"))
    assert set(requests) == {f"/schemas/ids/{number}" for number in (producers.later_id, producers.first_id, UNKNOWN_ID)}
    assert max(requests.values()) <= PARALLELISM["at_4"]


def test_a_replay_from_the_archive_has_late_readings_and_leaves_no_topic_behind(from_archive, settings):
    assert len(values(from_archive, "late")) > 20
    assert topic(settings, "readings", Run(archived=True)) not in connection.admin(settings).list_topics(timeout=STILL_S).topics


@pytest.mark.parametrize(
    "command, sentence",
    [
        (["archive", "--from", "2013-04-12", "--to", "2013-04-13"], "keeps no readings of 2013-04-12 to 2013-04-13"),
        (["archive", "--from", "2013-04-12", "--to", "2013-04-11"], "give the last day not before the first"),
        (["replay", "--from", "2013-04-12", "--to", "2013-04-13", "--archive", "/nowhere"], "/nowhere has no readings of 2013-04-12"),
    ],
)
def test_an_impossible_request_is_reported_in_one_sentence(settings, folder, command, sentence):
    done = subprocess.run([ROOT / "smw", *command], env=os.environ | settings.environ(), text=True, capture_output=True)
    assert done.returncode == 1 and sentence in done.stderr and len(done.stderr.splitlines()) == 1

"""The pipeline with a registry: a log in all framings, from several producers, gives the oracle's tables."""

from __future__ import annotations

import io
import threading
from collections import Counter
from itertools import cycle

import fastavro
import pytest
from confluent_kafka.schema_registry import Schema
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from smartmeter.kafka import topic_admin
from smartmeter.messages.codec import decode
from smartmeter.messages.framing import framing
from smartmeter.messages.schemas import FIRST_BURST_HEADER, HEADER_BYTES, MARKER, SCHEMA_DIR
from smartmeter.messages.topics import RESULTS, SCHEMA_OF, topic
from tests.pipeline.conftest import judge_tables, log_of, run_job, store_all
from tests.pipeline.flow import expected_of
from tests.pipeline.logs import NO_BURST, make_log, produce
from tests.registry.conftest import PASSWORDS
from tests.registry.evolved import avsc, with_field
from tests.topics import messages
from tests.waiting import until

WINDOW_DAYS = 2
UNKNOWN_ID = 2**31 - 1
ID_BYTES = 5
AWAY = "waiting: no schema registry answers"


@pytest.fixture(scope="module")
def log():
    return make_log(seed=23)


@pytest.fixture(scope="module")
def settings(kafka, clickhouse, door):
    return kafka.but(
        clickhouse_url=clickhouse.clickhouse.url,
        clickhouse_database="with_registry",
        topic_prefix="with_registry.",
        parallelism=2,
        window_days=WINDOW_DAYS,
        schema_registry_url=door.url,
        schema_registry_user="ann",
        schema_registry_password=PASSWORDS["ann"],
    )


@pytest.fixture(scope="module")
def later_id(settings, client):
    """The id of a version of the bursts' schema that has a field more, in the registry after ours."""
    framing(settings)
    return client.register_schema(f"{settings.kafka.topic_prefix}readings-value", with_field("reading_burst"))


@pytest.fixture(scope="module")
def first_id(settings, client):
    """The id of the first schema of bursts, as the release before registered it."""
    framing(settings)
    schema = Schema((SCHEMA_DIR / "earlier" / "reading_burst-1.avsc").read_text(), "AVRO")
    return client.register_schema(f"{settings.kafka.topic_prefix}readings-value", schema)


def first(message: bytes, before: bytes) -> bytes:
    """A burst as the release before wrote it, which knew no holds; `before` comes before the record."""
    return before + message[HEADER_BYTES:-3] if message.endswith(bytes(3)) else message


@pytest.fixture(scope="module")
def dead(settings, log):
    """The messages that cannot be used: those of the log, and some with an id."""
    sent = framing(settings).sent
    return [*log.dead, b"\0" + UNKNOWN_ID.to_bytes(4, "big") + log.messages[0][1], sent(NO_BURST), sent(log.messages[0][1])[:-1], b"\0\0"]


@pytest.fixture(scope="module")
def tables(settings, processes, client, door, later_id, first_id, log, dead):
    """A client on the tables into which the log was brought, its bursts written in six ways by turns; meanwhile the registry was away."""
    place = SerializationContext(topic(settings, "readings"), MessageField.VALUE)
    foreign, later = (
        AvroSerializer(client, schema, conf={"auto.register.schemas": False})
        for schema in ((SCHEMA_DIR / "reading_burst.avsc").read_text(), with_field("reading_burst").schema_str)
    )
    ways = cycle(
        [
            lambda message: message,
            framing(settings).sent,
            lambda message: foreign(decode(message)[1], place),
            lambda message: later(decode(message)[1] | {"firmware": "2.1"}, place),
            lambda message: first(message, FIRST_BURST_HEADER),
            lambda message: first(message, b"\0" + first_id.to_bytes(4, "big")),
        ]
    )
    topic_admin.create_topics(settings)
    produce(
        settings,
        [(key, value if (value or b"") in log.dead else next(ways)(value)) for key, value in log.messages]
        + [(b"1", value) for value in dead[len(log.dead) :]],
    )
    fault = threading.Thread(target=shut_until_the_job_waits, args=(door, log_of(settings, "pipeline")))
    fault.start()
    run_job(settings, "pipeline")
    fault.join()
    client = store_all(settings, processes)
    yield client
    client.close()


def shut_until_the_job_waits(door, job_log) -> None:
    """Shut the door once the job has its own ids, until a worker logs that it waits for another one."""
    had = len(door.requested)
    until(lambda: len(door.requested) == had + len(SCHEMA_OF))
    with door.shut():
        until(lambda: AWAY in job_log.read_text())


def test_the_tables_are_what_the_oracle_finds(tables, log, settings):
    judge_tables(tables, expected_of(settings, log), ended=True)


def test_dead_letters_are_kept_as_they_came_with_the_reason(tables, dead):
    found = {
        bytes.fromhex(row["payload"]): row["reason"]
        for row in tables.query("SELECT hex(payload) AS payload, reason FROM dead_letter FINAL").named_results()
    }
    assert set(found) == set(dead)
    assert [found[payload] for payload in dead[-4:]] == [
        f"the schema registry has no schema with the id {UNKNOWN_ID}",
        "a message of schema house, where a reading_burst was expected",
        "malformed reading_burst: it ends too early",
        "it ends within the id of its schema",
    ]


def test_the_job_waits_while_the_registry_is_down(tables, settings):
    assert AWAY in log_of(settings, "pipeline").read_text()


def test_the_readings_were_in_both_framings(tables, settings):
    assert Counter(message.value()[:1] for message in messages(settings, "readings") if message.value()).keys() >= {MARKER[:1], b"\0"}


@pytest.mark.parametrize("name", RESULTS)
def test_confluents_own_deserializer_reads_every_result(tables, settings, client, name):
    found, schema = messages(settings, name), fastavro.parse_schema(avsc(SCHEMA_OF[name]))
    read, place = AvroDeserializer(client), SerializationContext(topic(settings, name), MessageField.VALUE)
    assert len(found) >= 10
    for message in found:
        again = io.BytesIO()
        fastavro.schemaless_writer(again, schema, read(message.value(), place))
        assert message.value()[:1] == b"\0" and message.value()[ID_BYTES:] == again.getvalue()


def test_a_worker_requests_each_unknown_id_once_and_no_other(tables, settings, door, later_id, first_id):
    requests = Counter(path.split("?")[0] for path in door.requested if path.startswith("/schemas/"))
    assert set(requests) == {f"/schemas/ids/{number}" for number in (later_id, first_id, UNKNOWN_ID)}
    assert max(requests.values()) <= settings.flink.parallelism

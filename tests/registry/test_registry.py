"""A real registry: our schemas are registered and compatible, ids of others are looked up, and each fault is reported in one sentence."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from datetime import UTC, datetime

import numpy as np
import pytest
from confluent_kafka import Producer as KafkaProducer
from confluent_kafka.schema_registry import Schema
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from pyflink.common import Row

from dashboard import connection
from dashboard.acknowledgements import acknowledge
from dashboard.sending import send
from jobs.core.state import HouseState
from jobs.spikes import SpikesJoin
from jobs.warm_up import Flink
from smartmeter.errors import UserError
from smartmeter.kafka.producer import Producer
from smartmeter.messages.codec import Burst, decode, encode, encode_burst
from smartmeter.messages.framing import framing
from smartmeter.messages.rules import no_rule
from smartmeter.messages.schemas import HEADER_BYTES, HEADERS, SCHEMA_DIR, CodecError
from smartmeter.messages.topics import SCHEMA_OF, topic
from smartmeter.settings import ROOT, Settings
from stack import services
from store.client import reader
from tests.pipeline.conftest import rows
from tests.registries import PASSWORDS
from tests.registry.evolved import with_field, with_type, without_field
from tests.topics import messages
from tests.waiting import STILL_S, until

LATE = dict(
    partition=1,
    offset=2,
    house_id=3,
    date=14_000,
    start=1_209_600_000_000,
    end=1_209_600_001_000,
    readings=5,
    kwh=1.5,
    house_time=1_209_700_000_000,
    reason="its day was closed",
)

BURST = Burst(
    7,
    "UTC",
    10**12,
    10**12 + 3000,
    1000,
    np.array([1], np.int32),
    np.array([2], np.int32),
    np.array([0, 1], np.int32),
    np.array([1.5, 2.5], np.float32),
)


@pytest.fixture
def settings(registry, request):
    """Settings of the registry, with subjects that belong to one test alone."""
    prefix = f"{request.node.name}.".translate(str.maketrans("[]/ ", "...."))
    return Settings().but(schema_registry_url=registry.url, topic_prefix=prefix)


def register(client, settings, name: str, schema: Schema) -> int:
    """Register a schema as another party would, in the subject of the topic `name`."""
    return client.register_schema(f"{settings.kafka.topic_prefix}{name}-value", schema)


def with_id(number: int, body: bytes) -> bytes:
    return b"\0" + number.to_bytes(4, "big") + body


def through(door, settings, user: str = "ann", password: str = PASSWORDS["ann"]):
    """The settings by which the registry is reached through its door."""
    return settings.but(schema_registry_url=door.url, schema_registry_user=user, schema_registry_password=password)


def test_every_topic_has_its_schema_in_a_subject_of_its_own(settings, client):
    framed = framing(settings)
    for name, schema in SCHEMA_OF.items():
        known = client.get_latest_version(f"{settings.kafka.topic_prefix}{name}-value")
        assert known.version == 1
        assert known.schema.schema_str == (SCHEMA_DIR / f"{schema}.avsc").read_text().strip()  # its times and docs with it
        assert framed.sent(HEADERS[schema]) == with_id(known.schema_id, b"")
    framing.cache_clear()
    assert framing(settings).sent(HEADERS["late"]) == framed.sent(HEADERS["late"])
    assert client.get_versions(f"{settings.kafka.topic_prefix}late-value") == [1]


def test_confluents_own_deserializer_reads_what_we_send(settings, client):
    read = AvroDeserializer(client)(framing(settings).sent(encode("late", LATE)), SerializationContext("late", MessageField.VALUE))
    assert (read["date"].isoformat(), read["start"].isoformat()) == ("2008-05-01", "2008-05-01T00:00:00+00:00")
    assert {name: read[name] for name in ("partition", "offset", "house_id", "readings", "kwh", "reason")} == {
        name: LATE[name] for name in ("partition", "offset", "house_id", "readings", "kwh", "reason")
    }


def test_a_pickled_reader_requests_none_of_our_ids(settings, door):
    framed = pickle.loads(pickle.dumps(framing(through(door, settings))))
    door.requested.clear()
    assert framed.received(framed.sent(encode("late", LATE))) == encode("late", LATE)
    assert not door.requested


def test_a_record_of_a_later_or_an_earlier_version_is_read_as_ours(settings, client):
    earlier = without_field("reading_burst", "tick_ms")
    register(client, settings, "readings", earlier)
    framed = framing(settings)
    later = with_field("reading_burst")
    register(client, settings, "readings", later)
    record, place = decode(encode_burst(BURST))[1], SerializationContext(topic(settings, "readings"), MessageField.VALUE)
    for schema, more in ((later, {"firmware": "2.1"}), (earlier, {})):
        foreign = AvroSerializer(client, schema.schema_str)(record | more, place)
        assert framed.received(foreign) == encode_burst(BURST)


def test_an_unusable_id_is_requested_once_and_refused_with_a_reason(settings, client, door):
    framed = framing(through(door, settings))
    other = register(client, settings, "other", Schema('{"type": "record", "name": "Other", "fields": []}', "AVRO"))
    text = register(client, settings, "text", Schema('{"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}', "JSON"))
    door.requested.clear()
    for _ in range(3):
        for number, reason in (
            (99_999, "the schema registry has no schema with the id 99999"),
            (other, f"the schema with the id {other} is none of those in avro/"),
            (text, f"the schema with the id {text} is not of Avro but JSON"),
        ):
            with pytest.raises(CodecError, match=f"^{reason}$"):
                framed.received(with_id(number, b"any"))
    assert len(door.requested) == 3


@pytest.mark.parametrize(
    "level, theirs, fields",
    [
        ("BACKWARD", with_type("alert", "meter_id", "string"), "meter_id"),
        ("BACKWARD", without_field("alert", "house_id", "limit_watts"), "house_id, limit_watts"),
        ("FORWARD", with_field("alert", {"name": "wanted", "type": "int"}), "wanted"),
    ],
    ids=["type", "default", "forward"],
)
def test_an_incompatible_schema_is_refused(settings, client, level, theirs, fields):
    register(client, settings, "alerts", theirs)
    client.set_compatibility(f"{settings.kafka.topic_prefix}alerts-value", level)
    with pytest.raises(UserError) as refused:
        framing(settings)
    assert str(refused.value) == (
        f"avro/alert.avsc is incompatible with what the schema registry at {settings.registry.url} has of subject "
        f"{settings.kafka.topic_prefix}alerts-value in {fields}: keep the type of each field and give a new field a default, or set "
        "SMW_TOPIC_PREFIX to use other topics"
    )


def test_a_compatible_schema_becomes_the_next_version(settings, client):
    register(client, settings, "alerts", with_type("alert", "peak_watts", "float"))
    framing(settings)
    assert client.get_versions(f"{settings.kafka.topic_prefix}alerts-value") == [1, 2]


@pytest.mark.parametrize(
    "user, password, sentence",
    [
        ("ann", "wrong", "does not let in the user ann: set SMW_SCHEMA_REGISTRY_USER and SMW_SCHEMA_REGISTRY_PASSWORD"),
        ("", "", "does not let in anyone without a user: set SMW_SCHEMA_REGISTRY_USER and SMW_SCHEMA_REGISTRY_PASSWORD"),
        (
            "reader",
            PASSWORDS["reader"],
            "does not let the user reader read or register schemas: give that right, or set SMW_SCHEMA_REGISTRY_USER",
        ),
    ],
)
def test_missing_permission_is_reported_in_one_sentence(settings, door, user, password, sentence):
    with pytest.raises(UserError) as refused:
        framing(through(door, settings, user, password))
    assert str(refused.value) == f"the schema registry at {door.url} {sentence}"


def test_a_read_only_user_can_use_registered_schemas(settings, door):
    framed = framing(settings)
    assert framing(through(door, settings, "reader", PASSWORDS["reader"])).sent(HEADERS["late"]) == framed.sent(HEADERS["late"])


def test_tls(settings, registry):
    secure = settings.but(schema_registry_url=registry.secure_url)
    with pytest.raises(
        UserError,
        match=f"^the certificate of the schema registry at {registry.secure_url} is not trusted "
        r"\(unable to get local issuer certificate\): set SMW_SCHEMA_REGISTRY_CA to the PEM file",
    ):
        framing(secure)
    for wrong in (str(registry.authority) + "x", __file__):
        with pytest.raises(UserError, match=f"^SMW_SCHEMA_REGISTRY_CA={wrong}: it cannot be read as a PEM file of certificates"):
            framing(secure.but(schema_registry_ca=wrong))
    trusting = framing(secure.but(schema_registry_ca=str(registry.authority)))
    assert trusting.sent(HEADERS["late"]) == framing(settings).sent(HEADERS["late"])


@pytest.mark.parametrize(
    "command",
    [["commands", "topics"], ["commands", "generate", "--houses", "1", "--days", "1"], ["store.sink"]],
    ids=["topics", "generate", "sink"],
)
def test_a_program_without_its_registry_ends_with_one_sentence(kafka, registry, command):
    away = registry.url.replace("/apis", "/nothing")
    done = subprocess.run(
        [sys.executable, "-P", "-m", *command],
        cwd=ROOT,
        text=True,
        capture_output=True,
        env=os.environ | kafka.but(schema_registry_url=away).environ(),
    )
    assert done.returncode == 1
    sentence = done.stderr.splitlines()[-1].split(": ", 1)[1]
    assert sentence == (
        f"no schema registry answers at {away} (404): SMW_SCHEMA_REGISTRY_URL takes the address of an API like Confluent's; "
        "Apicurio's ends with /apis/ccompat/v7"
    )


def test_the_spikes_job_reads_thresholds_in_either_framing(settings):
    message = encode(
        "threshold",
        dict(
            house_id=7,
            date=14_000,
            valid_from=0,
            valid_to=10**13,
            quantile=0.97,
            window_days=7,
            revision=1,
            meters=[dict(meter_id=1, percentile_watts=50.0, readings=9000, covered_s=9000.0, warming_up=False, limit_watts=120.0)],
        ),
    )
    versions = []
    for setting, payload in ((settings, message), (settings, framing(settings).sent(message)), (Settings(), message)):
        join, flink = SpikesJoin(setting), Flink()
        join.open(flink)
        assert not list(join.process_element2(Row(7, payload), flink))
        versions.append(HouseState(flink, 7).get("versions"))
    assert versions[0] and versions[0] == versions[1] == versions[2]


def test_the_producer_and_the_dashboard_send_with_ids(with_topics, registry, client, monkeypatch):
    settings = with_topics.but(schema_registry_url=registry.url)
    house = dict(
        house_id=7,
        timezone="UTC",
        source="a test",
        zip="",
        city="",
        state="",
        latitude=None,
        longitude=None,
        population=None,
        meters=[dict(meter_id=1, label="mains", kind="mains", parent=0)],
        updated=1_209_600_000_000,
    )
    with Producer(settings) as producer:
        producer.send_house(house)
        producer.send_burst(BURST)
    for name, value in settings.environ().items():
        monkeypatch.setenv(name, value)
    connection.settings.clear()
    acknowledge("7/1/1209600000000", 7, "the kettle")
    send("rules", no_rule(7, 1, 1_209_600_060_000, 1_209_600_000_000) | {"limit_watts": 2000.5}, "not sent")
    connection.settings.clear()
    read = {}
    for name in ("houses", "readings", "acknowledgements", "rules"):
        [message] = messages(settings, name)
        read[name] = AvroDeserializer(client)(message.value(), SerializationContext(topic(settings, name), MessageField.VALUE))
    assert read["houses"] == house | {"updated": datetime(2008, 5, 1, tzinfo=UTC)}
    assert (read["readings"]["house_id"], read["readings"]["watts"]) == (7, [1.5, 2.5])
    assert (read["acknowledgements"]["alert_id"], read["acknowledgements"]["note"]) == ("7/1/1209600000000", "the kettle")
    assert (read["rules"]["meter_id"], read["rules"]["limit_watts"]) == (1, 2000.5)


def test_looking_up_an_id_waits_while_the_registry_is_down(settings, client, door, caplog):
    framed = framing(through(door, settings))
    later = register(client, settings, "late", with_field("late"))
    message = with_id(later, encode("late", LATE)[HEADER_BYTES:] + b"\x02x")
    received = []
    waiting = threading.Thread(target=lambda: received.append(framed.received(message)))
    with door.shut():
        waiting.start()
        until(lambda: f"waiting: no schema registry answers at {door.url}" in caplog.text)
        assert not received
    waiting.join(30)
    assert received == [encode("late", LATE)]


def test_the_sink_waits_while_the_registry_is_down_and_can_be_stopped(with_topics, clickhouse, client, door, processes):
    settings = through(door, with_topics.but(clickhouse_url=clickhouse.clickhouse.url, clickhouse_database="of_registry"))
    framing(settings)
    log = processes.log("sink")
    services.start_sink(processes, settings)
    tables = until(lambda: reader(settings))
    first = register(client, settings, "late", with_field("late"))
    body = encode("late", LATE)[HEADER_BYTES:] + b"\0"
    produce(settings, "late", with_id(99_999, body), with_id(first, body))
    until(lambda: [row["readings"] for row in rows(tables, "late")] == [5])
    assert "cannot be stored: the schema registry has no schema with the id 99999" in log.read_text()
    second = register(client, settings, "late", with_field("late", {"name": "note", "type": "string", "default": ""}))
    with door.shut():
        produce(settings, "late", with_id(second, encode("late", LATE | {"offset": 3})[HEADER_BYTES:] + b"\0"))
        until(lambda: f"waiting: no schema registry answers at {door.url}" in log.read_text())
        sink = processes.children["sink"]
        processes.stop("sink")
        assert sink.returncode == 0 and "stopped while it waited" in log.read_text()
    services.start_sink(processes, settings)
    until(lambda: sorted(row["offset"] for row in rows(tables, "late")) == [2, 3])
    processes.stop("sink")


def produce(settings, name: str, *messages: bytes) -> None:
    producer = KafkaProducer({"bootstrap.servers": settings.kafka.address})
    for message in messages:
        producer.produce(topic(settings, name), message)
    assert producer.flush(STILL_S) == 0

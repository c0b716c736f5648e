"""Ids of a registry in front of messages. No test calls a service."""

from __future__ import annotations

import pytest
from confluent_kafka.schema_registry import Schema
from fastavro.utils import generate_many
from hypothesis import given
from hypothesis import strategies as st

from smartmeter.messages.codec import decode, encode
from smartmeter.messages.framing import Framing
from smartmeter.messages.registry import Registry, RegistryFraming
from smartmeter.messages.schemas import FIRST_BURST_HEADER, HEADER_BYTES, HEADERS, SCHEMA_DIR, SCHEMAS, CodecError

RECORDS = {name: next(generate_many(schema, 1)) for name, schema in SCHEMAS.items()}
IDS = st.lists(st.integers(0, 2**32 - 1), min_size=len(SCHEMAS), max_size=len(SCHEMAS), unique=True)
NOBODY = Registry("http://127.0.0.1:1")


@given(IDS, st.sampled_from(sorted(SCHEMAS)))
def test_what_is_sent_with_an_id_is_received_as_it_was(ids, name):
    messages, message = RegistryFraming(NOBODY, dict(zip(SCHEMAS, ids))), encode(name, RECORDS[name])
    sent = messages.sent(message)
    assert sent == b"\0" + dict(zip(SCHEMAS, ids))[name].to_bytes(4, "big") + message[HEADER_BYTES:]
    assert messages.received(sent) == message
    assert messages.received(message) == message


@given(IDS, st.binary(max_size=50).filter(lambda payload: payload[:1] != b"\0"))
def test_what_begins_otherwise_is_left_as_it_is(ids, payload):
    assert RegistryFraming(NOBODY, dict(zip(SCHEMAS, ids))).received(payload) == payload == Framing().received(payload)


@given(st.binary(max_size=3))
def test_an_id_that_ends_too_early_is_named(rest):
    with pytest.raises(CodecError, match="^it ends within the id of its schema$"):
        RegistryFraming(NOBODY, {}).received(b"\0" + rest)


def test_of_many_messages_each_is_received_in_its_own_framing():
    messages, message = RegistryFraming(NOBODY, {"late": 7}), encode("late", RECORDS["late"])
    payloads = [message, messages.sent(message), b"", b"\0", b"{}"]
    assert messages.all_received(payloads) == ([message, message, b"", b"\0", b"{}"], {3: "it ends within the id of its schema"})
    assert payloads[1] == messages.sent(message)
    assert [decode(found)[0] for found in messages.all_received(payloads)[0][:2]] == ["late", "late"]


def test_an_id_of_the_first_bursts_gives_their_header_and_their_bytes_as_they_are():
    class Known(Registry):
        def query(self, request):
            return Schema((SCHEMA_DIR / "earlier" / "reading_burst-1.avsc").read_text(), "AVRO")

    messages = RegistryFraming(Known("http://127.0.0.1:1"), {"reading_burst": 7})
    assert messages.received(b"\0\0\0\0\x06" + b"any") == FIRST_BURST_HEADER + b"any"
    assert messages.received(b"\0\0\0\0\x07" + b"any") == HEADERS["reading_burst"] + b"any"

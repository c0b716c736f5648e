"""Bursts as several producers write them that know a schema registry or do not, and messages with ids that cannot be used."""

from __future__ import annotations

from itertools import cycle

from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from smartmeter.messages.codec import decode
from smartmeter.messages.framing import framing
from smartmeter.messages.schemas import FIRST_BURST_HEADER, HEADER_BYTES, SCHEMA_DIR
from smartmeter.messages.topics import topic
from smartmeter.settings import Settings
from tests.pipeline.logs import NO_BURST
from tests.registry.evolved import with_field

UNKNOWN_ID = 2**31 - 1


class Producers:
    """Producers that write a burst each by turns, in six ways."""

    def __init__(self, settings: Settings, client: SchemaRegistryClient):
        """client: that of another party. later_id, first_id: of a version that has a field more, and of the release before."""
        sent, readings = framing(settings).sent, topic(settings, "readings")
        later, first_release = with_field("reading_burst"), (SCHEMA_DIR / "earlier" / "reading_burst-1.avsc").read_text()
        self.later_id = client.register_schema(f"{readings}-value", later)
        self.first_id = client.register_schema(f"{readings}-value", Schema(first_release, "AVRO"))
        place = SerializationContext(readings, MessageField.VALUE)
        by_ours, by_later = (
            AvroSerializer(client, schema, conf={"auto.register.schemas": False})
            for schema in ((SCHEMA_DIR / "reading_burst.avsc").read_text(), later.schema_str)
        )
        self._ways = cycle(
            [
                lambda message: message,
                sent,
                lambda message: by_ours(decode(message)[1], place),
                lambda message: by_later(decode(message)[1] | {"firmware": "2.1"}, place),
                lambda message: first(message, FIRST_BURST_HEADER),
                lambda message: first(message, b"\0" + self.first_id.to_bytes(4, "big")),
            ]
        )

    def written(self, message: bytes) -> bytes:
        """A message in single-object framing, as the next producer writes it."""
        return next(self._ways)(message)


def first(message: bytes, before: bytes) -> bytes:
    """A burst as the release before wrote it, which knew no holds; `before` comes before the record."""
    return before + message[HEADER_BYTES:-3] if message.endswith(bytes(3)) else message


def unusable(settings: Settings, burst: bytes) -> dict[bytes, str]:
    """Message that cannot be used -> the reason in its dead letter. burst: one in single-object framing."""
    sent = framing(settings).sent
    return {
        b"\0" + UNKNOWN_ID.to_bytes(4, "big") + burst: f"the schema registry has no schema with the id {UNKNOWN_ID}",
        sent(NO_BURST): "a message of schema house, where a reading_burst was expected",
        sent(burst)[:-1]: "malformed reading_burst: it ends too early",
        b"\0\0": "it ends within the id of its schema",
    }

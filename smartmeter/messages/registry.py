"""The schema registry, through Confluent's API, which other registries offer too, and the message framing with its ids."""

from __future__ import annotations

import json
import logging
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TypeVar, cast

import httpx2
from avro.compatibility import ReaderWriterCompatibilityChecker
from avro.errors import AvroException
from avro.schema import parse
from cachetools import TTLCache
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from smartmeter.errors import UserError
from smartmeter.messages.codec import encode, read_record
from smartmeter.messages.schemas import HEADER_BYTES, HEADER_OF, HEADERS, SCHEMA_DIR, SCHEMAS, CodecError, parsed
from smartmeter.messages.schemas import Schema as AvroSchema
from smartmeter.messages.single_object import REGISTRY_MARKER, Framing, RegistryFault
from smartmeter.messages.topics import SCHEMA_OF, topic
from smartmeter.run import Run
from smartmeter.settings import Settings

ID_END = len(REGISTRY_MARKER) + 4
TIMEOUT_S = 30.0
RETRY_S = (0.5, 1, 2, 5)
REFUSED_FOR_S = 60
"""How long an unusable id is not looked up again."""

NOT_FOUND = (40401, 40402, 40403)
"""Error codes of the API: no such subject, version, schema. A 404 without one does not come from a registry."""

T = TypeVar("T")
log = logging.getLogger("registry")


@dataclass(frozen=True)
class Registry:
    """The registry's address and the user: all that a worker on another machine needs."""

    url: str
    user: str = ""
    password: str = field(default="", repr=False)
    authorities: str = field(default="", repr=False)  # trusted certificates, as PEM; empty: the system's

    @classmethod
    def of(cls, settings: Settings) -> Registry:
        """Raises UserError when the certificates cannot be read."""
        ca = settings.registry.ca
        try:
            authorities = Path(ca).read_text() if ca else ""
            ssl.create_default_context(cadata=authorities)
        except (OSError, ValueError) as error:
            raise UserError(f"SMW_SCHEMA_REGISTRY_CA={ca}: it cannot be read as a PEM file of certificates ({error})") from None
        return cls(settings.registry.url, settings.registry.user, settings.registry.password, authorities)

    def query(self, request: Callable[[SchemaRegistryClient], T]) -> T | None:
        """The result of request(client); None if the registry does not have what it looks up. Raises RegistryFault."""
        try:
            return request(_client(self))
        except SchemaRegistryError as error:
            if error.error_code in NOT_FOUND:
                return None
            raise RegistryFault(self._refusal(error)) from None
        except (httpx2.HTTPError, ValueError) as error:
            raise RegistryFault(self._silence(error)) from None

    def agree(self, subject: str, name: str) -> int:
        """The id of our schema `name` in a subject. Registers the schema there if necessary.

        Raises UserError when it is incompatible with the subject's schemas, and RegistryFault.
        """
        ours = (SCHEMA_DIR / f"{name}.avsc").read_text().strip()  # stripped, as Confluent's own serializers do
        schema = Schema(ours, "AVRO")
        if known := self.query(lambda client: client.lookup_schema(subject, schema)):
            return cast(int, known.schema_id)
        latest = self.query(lambda client: client.get_latest_version(subject))
        if latest and not self.query(lambda client: client.test_compatibility_all_versions(subject, schema)):
            raise UserError(
                f"avro/{name}.avsc is incompatible with what the schema registry at {self.url} has of subject {subject}"
                f"{_where(ours, latest.schema.schema_str)}: keep the type of each field and give a new field a default, or set "
                "SMW_TOPIC_PREFIX to use other topics"
            )
        return cast(int, self.query(lambda client: client.register_schema(subject, schema)))

    def _refusal(self, error: SchemaRegistryError) -> str:
        who = f"the user {self.user}" if self.user else "anyone without a user"
        if error.http_status_code == 401:
            return f"the schema registry at {self.url} does not let in {who}: set SMW_SCHEMA_REGISTRY_USER and SMW_SCHEMA_REGISTRY_PASSWORD"
        if error.http_status_code == 403:
            return f"the schema registry at {self.url} does not let {who} read or register schemas: give that right, or set SMW_SCHEMA_REGISTRY_USER"
        if error.http_status_code == 404:
            return (
                f"no schema registry answers at {self.url} (404): SMW_SCHEMA_REGISTRY_URL takes the address of an API like Confluent's; "
                "Apicurio's ends with /apis/ccompat/v7"
            )
        return f"the schema registry at {self.url} refuses: {' '.join(str(error.error_message).split())} ({error.http_status_code})"

    def _silence(self, error: Exception) -> str:
        _, untrusted, reason = str(error).partition("certificate verify failed: ")
        if untrusted:
            return (
                f"the certificate of the schema registry at {self.url} is not trusted ({reason.partition(' (_ssl')[0]}): "
                "set SMW_SCHEMA_REGISTRY_CA to the PEM file of the authority that signed it"
            )
        return (
            f"no schema registry answers at {self.url} ({error or type(error).__name__}): start it, or set SMW_SCHEMA_REGISTRY_URL to "
            "its address"
        )


@cache
def _client(registry: Registry) -> SchemaRegistryClient:
    properties = {"url": registry.url, "timeout": TIMEOUT_S, "max.retries": 0}
    if registry.user:
        properties["basic.auth.user.info"] = f"{registry.user}:{registry.password}"
    if not registry.authorities:
        return SchemaRegistryClient(properties)
    with NamedTemporaryFile("w", suffix=".pem") as file:  # the client takes a file, and reads it at once
        file.write(registry.authorities)
        file.flush()
        return SchemaRegistryClient(properties | {"ssl.ca.location": file.name})


def _where(ours: str, theirs: str | None) -> str:
    """The fields in which two schemas are incompatible, in words; empty if they cannot be determined."""
    for reader, writer in ((ours, theirs or ""), (theirs or "", ours)):
        try:
            found = ReaderWriterCompatibilityChecker().get_compatibility(parse(reader), parse(writer))
        except AvroException:
            break
        if places := sorted({int(place.split("/")[2]) for place in found.locations if place.startswith("/fields/")}):
            return " in " + ", ".join(json.loads(reader)["fields"][place]["name"] for place in places)
    return ""


def registry_framing(settings: Settings, run: Run) -> RegistryFraming:
    """The framing with the registry's ids of our schemas, after registering them there. Raises UserError."""
    registry = Registry.of(settings)
    return RegistryFraming(
        registry, {schema: registry.agree(f"{topic(settings, name, run)}-value", schema) for name, schema in SCHEMA_OF.items()}
    )


@dataclass(frozen=True)
class Writer:
    """How the records under an id were written: with a version of our schema `name`."""

    name: str
    header: bytes | None  # in single-object framing; None: neither this release nor an earlier one has this version
    version: AvroSchema | None = None


class RegistryFraming(Framing):
    """Messages with the id of their schema. The ids of our own schemas are known from the start, any other id is looked up once."""

    def __init__(self, registry: Registry, ids: dict[str, int]):
        """ids: name of a schema -> its id."""
        self._registry = registry
        self._header_of = {HEADERS[name]: REGISTRY_MARKER + number.to_bytes(4, "big") for name, number in ids.items()}
        self._writer_of = {number: Writer(name, HEADERS[name]) for name, number in ids.items()}
        self._refused: TTLCache[int, str] = TTLCache(1000, REFUSED_FOR_S)  # id -> reason

    def sent(self, message: bytes) -> bytes:
        """A message of ours with the id of its schema."""
        return self._header_of[message[:HEADER_BYTES]] + message[HEADER_BYTES:]

    def received(self, payload: bytes, given_up: Callable[[], bool] = lambda: False) -> bytes:
        """See Framing."""
        if not payload.startswith(REGISTRY_MARKER):
            return payload
        if len(payload) < ID_END:
            raise CodecError("it ends within the id of its schema")
        writer = self._writer(int.from_bytes(payload[1:ID_END], "big"), given_up)
        if writer.header:
            return writer.header + payload[ID_END:]
        return encode(writer.name, read_record(writer.name, payload, ID_END, writer.version))

    def _writer(self, number: int, given_up: Callable[[], bool]) -> Writer:
        """How the records under an id were written. Raises CodecError for an unusable id, RegistryFault once given_up() is true."""
        if number in self._writer_of:
            return self._writer_of[number]
        if reason := self._refused.get(number):
            raise CodecError(reason)
        try:
            self._writer_of[number] = _writer(number, self._patiently(lambda client: client.get_schema(number), given_up))
        except CodecError as error:
            self._refused[number] = str(error)
            raise
        return self._writer_of[number]

    def _patiently(self, request: Callable[[SchemaRegistryClient], T], given_up: Callable[[], bool]) -> T | None:
        """The registry's answer, however long it is away: no message is refused because the registry could not be reached."""
        failures = 0
        while True:
            try:
                return self._registry.query(request)
            except RegistryFault as fault:
                if given_up():
                    raise
                if not failures:
                    log.warning("waiting: %s", fault)
            time.sleep(RETRY_S[min(failures, len(RETRY_S) - 1)])
            failures += 1


def _writer(number: int, schema: Schema | None) -> Writer:
    """How the records under an id were written, from its schema. Raises CodecError when it is not one of ours."""
    if schema is None:
        raise CodecError(f"the schema registry has no schema with the id {number}")
    if schema.schema_type != "AVRO":
        raise CodecError(f"the schema with the id {number} is not of Avro but {schema.schema_type}")
    try:
        version, canonical = parsed(json.loads(schema.schema_str or ""))
    except Exception as error:  # fastavro raises many kinds
        raise CodecError(f"the schema with the id {number} cannot be used: {error}") from error
    for name, ours in SCHEMAS.items():
        if isinstance(version, dict) and version.get("name") == ours["name"]:
            return Writer(name, HEADER_OF.get(canonical), version)
    raise CodecError(f"the schema with the id {number} is none of those in avro/")

"""What was delivered, kept in the compacted topic notifications: one record for each route and alert."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from typing import Literal, cast

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from notify.alerts import Entry
from smartmeter.kafka import connection
from smartmeter.messages import codec
from smartmeter.messages.framing import framing
from smartmeter.messages.records import NotificationRecord
from smartmeter.messages.topics import key, topic
from smartmeter.settings import Settings

WRITE_S = 30.0
RETRY_S = 1.0
FIRST_START = b"/"
"""Key of the record of the first start: no route, no alert."""

log = logging.getLogger("notify")


class Ledger:
    """Reads and writes the records. Several threads may write."""

    def __init__(self, settings: Settings, given_up: Callable[[], bool]):
        self._topic, self._framing, self._given_up = topic(settings, "notifications"), framing(settings), given_up
        self._writing = threading.Lock()
        self._producer = Producer(
            connection.client(settings)
            | {"enable.idempotence": True, "linger.ms": 0, "compression.type": "lz4", "delivery.timeout.ms": round(WRITE_S * 1000)}
        )
        self.first_start_ms = 0
        self.found: dict[tuple[str, str], Entry] = {}  # (route, alert) -> entry, as read

    def take(self, message: Message) -> None:
        """Take a message of the topic. Raises CodecError if it is none."""
        payload, name = message.value(), message.key() or b""
        route, _, alert_id = (name if isinstance(name, bytes) else name.encode()).decode().partition("/")
        if payload is None:
            self.found.pop((route, alert_id), None)
            return
        record = cast(NotificationRecord, codec.decode_as("notification", self._framing.received(payload, self._given_up)))
        if not record["route"]:
            self.first_start_ms = record["delivered_at"]
            return
        self.found[record["route"], record["alert_id"]] = Entry(
            codec.decode_as("alert", record["alert"]),
            cast(Literal["", "firing", "resolved"], record["delivered"]),
            record["severity"],
            record["count"],
            record["delivered_at"],
            record["pending_since"],
        )

    def start(self, now_ms: int) -> None:
        """Record the first start, unless that was done before."""
        if not self.first_start_ms:
            self.first_start_ms = now_ms
            blank = NotificationRecord(
                route="", alert_id="", alert=b"", delivered="", severity="", count=0, delivered_at=now_ms, pending_since=0
            )
            self._until_written([(FIRST_START, self._encoded(blank))])

    def keep(self, route: str, entries: Iterable[Entry]) -> bool:
        """Record entries of a route. Returns once they are safe; False if the service is stopped before that."""
        records = [_record(route, entry) for entry in entries]
        return self._until_written([(key("notifications", record), self._encoded(record)) for record in records])

    def forget(self, route: str, alert_ids: Iterable[str]) -> bool:
        """Delete the records of alerts. Returns as keep does."""
        return self._until_written([(f"{route}/{alert_id}".encode(), None) for alert_id in alert_ids])

    def _encoded(self, record: NotificationRecord) -> bytes:
        return self._framing.sent(codec.encode("notification", record))

    def _until_written(self, messages: list[tuple[bytes, bytes | None]]) -> bool:
        """Write messages, however long Kafka is away. A repeat has the same keys, so it does no harm."""
        has_failed = False
        while messages:
            if (fault := self._write(messages)) is None:
                break
            if self._given_up():
                return False
            if not has_failed:
                log.warning("waiting: what was delivered cannot be recorded: %s", fault)
            has_failed = True
            threading.Event().wait(RETRY_S)
        if has_failed:
            log.info("Kafka is back")
        return True

    def _write(self, messages: list[tuple[bytes, bytes | None]]) -> str | None:
        """Write messages once. Returns the fault, if there is one."""
        faults: list[str] = []

        def written(error: KafkaError | None, _: Message) -> None:
            if error:
                faults.append(error.str())

        with self._writing:
            for name, payload in messages:
                self._produce(name, payload, written)
            left = self._producer.flush(WRITE_S + 5)
        return faults[0] if faults else "no broker answers" if left else None

    def _produce(self, name: bytes, payload: bytes | None, written: Callable[[KafkaError | None, Message], None]) -> None:
        while True:
            try:
                return self._producer.produce(self._topic, payload, name, on_delivery=written)
            except BufferError:
                self._producer.poll(0.1)
            except KafkaException as error:
                return written(error.args[0], cast(Message, None))


def _record(route: str, entry: Entry) -> NotificationRecord:
    return {
        "route": route,
        "alert_id": entry.alert["alert_id"],
        "alert": codec.encode("alert", entry.alert),
        "delivered": entry.delivered,
        "severity": entry.severity,
        "count": entry.count,
        "delivered_at": entry.delivered_ms,
        "pending_since": entry.pending_ms,
    }

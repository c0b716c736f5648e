"""Turns MQTT messages into entries of the spool, and counts what it leaves out."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, NamedTuple

from gateway.disk_spool import BY_ARRIVAL
from gateway.payloads import Missing, Unusable, document
from gateway.source import Source, is_sane, stamp_ms
from smartmeter.arrays import Rows
from smartmeter.terminal import printable

log = logging.getLogger("gateway")

MOST_REMEMBERED = 65_536
Place = tuple[int, int, int, int]
"""(house, meter, quantity, MQTT's packet identifier) of a reading."""


class Entry(NamedTuple):
    """The fields of gateway.disk_spool.ENTRY, in its order."""

    house_id: int
    arrived_ms: int
    device_ms: int
    digest: int
    meter_id: int
    message_id: int
    watts: float
    quantity: int
    mwh: int
    checksum: int = 0


@dataclass(frozen=True)
class Message:
    """What a broker has delivered. connection: number of the connection, on which alone it can be acknowledged."""

    topic: str
    payload: bytes
    message_id: int  # 0: it needs no acknowledgement
    is_repeat: bool  # it was delivered before, and not acknowledged
    is_retained: bool  # it is of unknown age
    arrived_ms: int
    connection: int

    @property
    def digest(self) -> int:
        """A number that differs from that of any other message."""
        body = self.topic.encode(errors="surrogatepass") + b"\0" + self.payload
        return int.from_bytes(blake2b(body, digest_size=8).digest(), "little")


class Intake:
    """The sources by their topic.

    remembered: the newest entries of the spool, in which a repeated message is looked up. floor_ms: house -> the time at which its next
    reading arrives at the earliest. left_out: called with (reason, readings).
    """

    def __init__(self, sources: Iterable[Source], remembered: Rows, floor_ms: Callable[[int], int], left_out: Callable[[str, int], None]):
        self._floor_ms, self._left_out = floor_ms, left_out
        self._newest_ms: dict[tuple[int, int, int], int] = {}
        self._seen: dict[Place, int] = {}
        self._doubts: Counter[tuple[str, str]] = Counter()
        self.use(sources)
        for entry in remembered[-MOST_REMEMBERED:].tolist():
            self._remember(Entry(*entry))

    def use(self, sources: Iterable[Source]) -> None:
        """Take these sources from now on."""
        self._of_topic: dict[str, list[Source]] = {}
        for source in sources:
            self._of_topic.setdefault(source.topic, []).append(source)

    def has(self, topic: str) -> bool:
        """Whether a meter has this topic."""
        return topic in self._of_topic

    def entries(self, message: Message) -> list[Entry]:
        """The readings in a message. One without any that can be read is left out once for each of its meters."""
        sources = self._of_topic.get(message.topic, [])
        meters = {(source.house_id, source.meter_id): source for source in sources}.values()
        if not sources:
            self._doubt("unknown topic", message.topic, printable(f"no meter of the configuration has the topic {message.topic}"))
        if message.is_retained:
            self._left_out("retained", len(meters))
            return []
        try:
            found = document(message.payload)
        except Unusable as error:
            for source in meters:
                self._doubt("unusable", source.topic, f"{source}: {error}")
            return []
        return [entry for source in sources if (entry := self._entry(source, message, found)) is not None]

    def _entry(self, source: Source, message: Message, found: Any) -> Entry | None:
        place = (source.house_id, source.meter_id, source.quantity, message.message_id)
        if message.is_repeat and self._seen.get(place) == message.digest:
            self._left_out("repeated", 1)
            return None
        try:
            watts, mwh = source.read(found)
        except Unusable as error:
            if not (source.is_optional and isinstance(error, Missing)):
                self._doubt("unusable", source.topic, f"{source}: {error}")
            return None
        arrived_ms, device_ms = self._stamp(source, message.arrived_ms), source.time_ms(found)
        if source.time and (device_ms is None or not is_sane(device_ms, arrived_ms)):
            self._warn("clock", source.topic, f"{source}: its time is missing or wrong, so the time of arrival is used")
            device_ms = arrived_ms
        at_ms = BY_ARRIVAL if device_ms is None else device_ms
        entry = Entry(source.house_id, arrived_ms, at_ms, message.digest, source.meter_id, message.message_id, watts, source.quantity, mwh)
        self._remember(entry)
        return entry

    def _stamp(self, source: Source, arrived_ms: int) -> int:
        """A time of arrival that no reading of the channel has yet, and no burst covers.

        So messages that come at once, as a broker delivers what it has kept, all count.
        """
        newest_ms = self._newest_ms.get((source.house_id, source.meter_id, source.quantity), 0)
        return stamp_ms(arrived_ms, max(self._floor_ms(source.house_id), newest_ms + 1))

    def _remember(self, entry: Entry) -> None:
        """Note that the spool has an entry. The oldest that were noted are forgotten."""
        self._newest_ms[entry.house_id, entry.meter_id, entry.quantity] = entry.arrived_ms
        if entry.message_id:
            place = (entry.house_id, entry.meter_id, entry.quantity, entry.message_id)
            self._seen.pop(place, None)
            self._seen[place] = entry.digest
            if len(self._seen) > MOST_REMEMBERED:
                del self._seen[next(iter(self._seen))]

    def _doubt(self, reason: str, topic: str, sentence: str) -> None:
        self._left_out(reason, 1)
        self._warn(reason, topic, sentence)

    def _warn(self, reason: str, topic: str, sentence: str) -> None:
        """Log the first of its kind, then the second, fourth, eighth and so on."""
        self._doubts[reason, topic] += 1
        if (times := self._doubts[reason, topic]).bit_count() == 1:
            log.warning("%s%s", sentence, "" if times == 1 else f" ({times} times)")

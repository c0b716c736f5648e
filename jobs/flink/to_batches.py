"""Reduces messages of the topic readings to batches of houses: a function of Flink's Table API, many messages a call."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pyflink.table import DataTypes
from pyflink.table.udf import FunctionContext, ScalarFunction

from jobs.core.batches import Batches, Wanted, house_batches
from jobs.core.guard import LONGEST_REASON, Guard
from jobs.core.house_days import Rules
from jobs.core.jumps import max_jump_ms
from jobs.core.overlaps import Horizon
from jobs.core.readings import read
from jobs.core.sections import sections_in
from jobs.flink.metrics import Counts, own_group
from smartmeter.arrays import Ints
from smartmeter.local_days import NEVER, days_of
from smartmeter.messages.codec import encode
from smartmeter.messages.framing import framing
from smartmeter.run import LIVE, Run
from smartmeter.settings import Settings

MOST_BYTES_AT_ONCE = 16 << 20
"""Most bytes of messages that are decoded together. Decoding takes up to 15 times as much memory."""

MOST_SECTIONS_AT_ONCE = 200_000
"""Most sections (176 bytes each) that messages decoded together may give."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h

OF_SHARD = DataTypes.ROW(
    [
        DataTypes.FIELD("shard", DataTypes.BIGINT()),
        DataTypes.FIELD("batches", DataTypes.BYTES()),
        DataTypes.FIELD("dead_letter", DataTypes.BYTES()),
    ]
)
"""A row that to_batches returns: the packed batches of a shard of houses, or a dead letter. Rows after the last are all null."""
RowOfShard = tuple[int | None, bytes | None, bytes | None]


@dataclass(frozen=True)
class Messages:
    """Messages of the topic readings."""

    payloads: list[bytes]
    partition: Ints  # of each message
    offset: Ints  # of each message
    received_ms: Ints  # Kafka timestamp of each

    def __len__(self) -> int:
        return len(self.payloads)

    def halves(self) -> tuple[Messages, Messages] | None:
        """The first half and the second half; None for a single message."""
        middle = len(self) // 2
        return (self[:middle], self[middle:]) if middle else None

    def __getitem__(self, where: slice) -> Messages:
        return Messages(self.payloads[where], self.partition[where], self.offset[where], self.received_ms[where])

    def of_bounded_size(self) -> Iterator[Messages]:
        """Yield the messages in pieces of at most MOST_BYTES_AT_ONCE, or of one message."""
        begin = size = 0
        for i, payload in enumerate(self.payloads):
            if size + len(payload) > MOST_BYTES_AT_ONCE and i > begin:
                yield self[begin:i]
                begin, size = i, 0
            size += len(payload)
        yield self[begin:]


class ToBatches(ScalarFunction):
    """Converts messages, many a call, to one row (OF_SHARD) a shard of houses. Null rows fill up to the number of messages."""

    def __init__(self, settings: Settings, wanted: Wanted, keys: list[int], run: Run = LIVE):
        self.rules = Rules.of(settings)
        self.max_ahead_ms = round(settings.rules.max_ahead_s * 1000)
        self.max_jump_ms = max_jump_ms(settings)
        self.oldest_ms = settings.rules.oldest_ms
        self.only_house = run.house
        self.last_day = run.days[-1] if run.days and run.with_late else None
        self.wanted, self.keys = wanted, keys
        self.framing = framing(settings, run)

    def open(self, function_context: FunctionContext) -> None:
        """Called by Flink before the first call: make this worker's memory and metrics."""
        keep_freed_memory()
        self.horizon = Horizon(self.rules.allowed_lateness_ms, self.max_jump_ms)
        group = own_group(function_context.get_metric_group())
        self.counts = Counts(group, ("bursts", "readings", "dead_letters", "messages_failed"))
        self.guard = Guard()
        self.newest_reading_s = 0
        group.gauge("newest_reading_s", lambda: self.newest_reading_s)

    def eval(self, value: pd.Series, partition: pd.Series, offset: pd.Series, timestamp: pd.Series) -> pd.DataFrame:
        """The rows (OF_SHARD) of messages, filled up to as many rows. Each argument has a value a message."""
        received_ms = timestamp.to_numpy("datetime64[ms]").astype(np.int64)
        messages = Messages([payload or b"" for payload in value], partition.to_numpy(), offset.to_numpy(), received_ms)
        rows = [row for piece in messages.of_bounded_size() for row in self.rows_of(piece)]
        self.counts.report()
        rows += [(None,) * 3] * (len(value) - len(rows))
        return pd.DataFrame(rows, columns=OF_SHARD.names, dtype=object)

    def rows_of(self, messages: Messages) -> list[RowOfShard]:
        """The rows (OF_SHARD) of messages, at most as many as messages. A message on which this fails becomes a dead letter."""
        return self.guard.each(messages, self.rows, Messages.halves, self.failed)

    def rows(self, messages: Messages) -> list[RowOfShard]:
        """The rows (OF_SHARD) of messages, at most as many as messages. Raises if any message cannot be processed."""
        payloads, refused = self.framing.all_received(messages.payloads)
        if self.last_day is not None:
            payloads = self.without_later(payloads, self.last_day)
        readings, reasons = read(payloads, round(time.time() * 1000) + self.max_ahead_ms, len(self.keys), self.oldest_ms)
        if sections_in(readings) > MOST_SECTIONS_AT_ONCE and (halves := messages.halves()):
            return [row for half in halves for row in self.rows_of(half)]
        reasons |= refused
        partitions, offsets = (column[readings.bursts["message"]] for column in (messages.partition, messages.offset))
        may_overlap = self.horizon.passed(readings.bursts, messages.partition, messages.offset)
        batches = house_batches(readings, partitions, offsets, self.rules.max_sample_period_ms, self.wanted, may_overlap)
        if self.only_house:
            batches, reasons = batches.of(self.only_house), {}
        rows: list[RowOfShard] = [(self.keys[shard], body, None) for shard, body in batches.by_shard(len(self.keys))]
        rows += [self.dead_letter(messages, i, reason) for i, reason in reasons.items()]
        self.count(readings.bursts["newest_ms"], batches, reasons)
        return rows

    def failed(self, messages: Messages, reason: str) -> list[RowOfShard]:
        """The row for a single message that could not be processed."""
        self.counts.add("messages_failed")
        self.counts.add("dead_letters")
        return [] if self.only_house else [self.dead_letter(messages, 0, reason)]

    def dead_letter(self, messages: Messages, i: int, reason: str) -> RowOfShard:
        """The row for message i, which cannot be used."""
        offset = int(messages.offset[i])
        return (
            self.keys[offset % len(self.keys)],
            None,
            encode(
                "dead_letter",
                {
                    "partition": int(messages.partition[i]),
                    "offset": offset,
                    "received": int(messages.received_ms[i]),
                    "reason": reason[:LONGEST_REASON],
                    "payload": messages.payloads[i],
                },
            ),
        )

    def without_later(self, messages: list[bytes], last_day: int) -> list[bytes]:
        """The messages, with those emptied that start after the last day of a replay may be closed, so none closes a day too early."""
        readings, _ = read(messages, round(time.time() * 1000) + self.max_ahead_ms, len(self.keys), self.oldest_ms)
        begun = days_of(readings.zones, readings.bursts["zone"], readings.bursts["start_ms"] - self.rules.allowed_lateness_ms)
        later = set(readings.bursts["message"][begun > last_day].tolist())
        return [b"" if i in later else message for i, message in enumerate(messages)]

    def count(self, newest_ms: Ints, batches: Batches, reasons: dict[int, str]) -> None:
        """Count the contents of a call. newest_reading_s is the median over its bursts, so a house with a wrong clock has no effect."""
        self.counts.add("bursts", len(newest_ms))
        self.counts.add("readings", int(batches.sections["readings"].sum() + batches.sections["refused"].sum()))
        self.counts.add("dead_letters", len(reasons))
        if len(known := newest_ms[newest_ms > NEVER]):
            self.newest_reading_s = int(np.median(known)) // 1000


def keep_freed_memory() -> None:
    """Let this process reuse the memory of large arrays. By default glibc returns it to the system and faults it in again each time.

    Page faults would otherwise take half the time of vectorised work on batches of a few MB.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_MMAP_THRESHOLD, 32 << 20)
        libc.mallopt(M_TRIM_THRESHOLD, 256 << 20)

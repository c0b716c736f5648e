"""Measures the pipeline over any number of readings. They are sent while it runs, and Kafka keeps only those that it has not used yet.

The readings are copies of a day of a few synthetic houses, over as many days as needed. The producer waits if it is too far ahead. What the
pipeline has committed is deleted (Kafka checks every 5 minutes for segments that it can remove). The time runs from the first readings in
the topic daily_energy until it contains as many as were sent. Memory is that of all processes of the pipeline.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from datetime import date
from pathlib import Path

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from bench import measure
from bench.copies import READINGS_PER_DAY, TIMEZONE, Copies
from bench.measure import Target, Usage, shown
from smartmeter.errors import UserError
from smartmeter.kafka import connection
from smartmeter.kafka.offsets import Offsets
from smartmeter.kafka.producer import Producer
from smartmeter.local_days import midnight_ms
from smartmeter.messages import topics
from smartmeter.messages.codec import decode
from smartmeter.messages.framing import framing
from smartmeter.settings import Settings
from stack import local_flink
from stack.processes import Processes

FIRST_MS = midnight_ms(date(2011, 4, 18), TIMEZONE)
MOST_DAYS = 5_000  # more would reach into the future
BURST_S = 300
AHEAD = 200_000_000
"""Most readings that may wait in Kafka. The pipeline commits every 10 s, and uses fewer than this in that time."""

FULL_SIZE = 12e9
"""Number of readings in the 600 million records of the system that this one replaces."""

SEGMENT = {"segment.bytes": str(32 << 20), "file.delete.delay.ms": "1000"}
LOOK_S, REPORT_S, PATIENCE_S = 1, 10, 120


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ./smw bench long."""
    parser.add_argument("--readings", type=measure.quantity, default=1_000_000_000, help="approximate number of readings (default 1e9)")
    parser.add_argument("--houses", type=measure.quantity, default=20, help="how many houses, of 20 meters each (default 20)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="folder for the JSON (default: SMW_HOME/bench)")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Measure, print and save. Returns 1 if readings are missing."""
    days = args.readings / args.houses / READINGS_PER_DAY
    if days > MOST_DAYS:
        raise UserError(f"--houses {args.houses}: this many readings of so few houses would reach into the future; use more houses")
    with measure.workplace(settings) as (here, processes):
        small_segments(here)
        local_flink.start_job(processes, here)
        with Stream(here, processes, args.readings) as stream:
            stream.send(Copies(args.houses, BURST_S), math.ceil(days * 86_400 / BURST_S))
            stream.finish()
    return report(stream, args, settings)


def small_segments(settings: Settings) -> None:
    """Configure the topic readings with small segments, which Kafka can remove soon and one by one."""
    changes = [ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in SEGMENT.items()]
    resource = ConfigResource(ResourceType.TOPIC, topics.topic(settings, "readings"), incremental_configs=changes)
    client = connection.admin(settings)
    for altered in client.incremental_alter_configs([resource]).values():
        altered.result()


class Stream:
    """Sends readings through the pipeline, and records how many were sent and used, with the time and memory."""

    def __init__(self, settings: Settings, processes: Processes, expected: int):
        self.settings, self.processes, self.expected = settings, processes, expected
        self.sent, self.used_of = 0, Used(settings)
        self.usage = Usage(processes, local_flink.PIPELINE_JOB.stem)
        self.looks: list[tuple[float, int, float, float]] = []  # (s, readings used, MB of memory, MB in Kafka)
        self.begun = self.reported_s = 0.0
        self._admin = connection.admin(settings)
        self._committed = Offsets(settings, ("readings",), settings.kafka.topic_prefix + local_flink.PIPELINE_JOB.stem)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_) -> None:
        self.used_of.close()
        self._committed.__exit__()

    @property
    def seconds(self) -> float:
        return self.looks[-1][0]

    @property
    def used(self) -> int:
        return self.looks[-1][1] if self.looks else 0

    def send(self, copies: Copies, steps: int) -> None:
        """Send `steps` steps of bursts, as fast as the pipeline keeps up."""
        with Producer(self.settings) as producer:
            for step in range(steps):
                self.sent += copies.send_step(producer, step, FIRST_MS + step * copies.burst_ms)
                if step == 0:
                    self.processes.wait_until(lambda: self.used_of.total() > 0, "the pipeline has used nothing", PATIENCE_S)
                    self.begun = time.monotonic()
                while self.sent - self.used > AHEAD:
                    self.look()
                    time.sleep(LOOK_S)
                if not self.looks or time.monotonic() - self.begun > self.seconds + LOOK_S:
                    self.look()

    def finish(self) -> None:
        """Wait until all sent readings have been used, or no more are for PATIENCE_S."""
        at, before = time.monotonic(), self.used
        while self.used < self.sent and time.monotonic() < at + PATIENCE_S:
            time.sleep(LOOK_S / 5)
            self.look()
            if self.used > before:
                at, before = time.monotonic(), self.used

    def look(self) -> None:
        """Record the progress, and let Kafka delete what has been used."""
        self.processes.check()
        self.delete()
        seconds = time.monotonic() - self.begun
        self.looks.append((seconds, self.used_of.total(), self.usage.sample().resident_mb, measure.kafka_bytes(self.settings) / 1e6))
        if seconds > self.reported_s + REPORT_S:
            self.reported_s = seconds
            _, used, memory_mb, kafka_mb = self.looks[-1]
            left_s = max(self.expected - used, 0) * seconds / used
            print(
                f"{used:,} readings used of {self.expected:,}, {used / seconds / 1e6:.1f} M/s, about {left_s:,.0f} s left; "
                f"{memory_mb:,.0f} MB of memory, {kafka_mb:,.0f} MB in Kafka",
                file=sys.stderr,
            )

    def delete(self) -> None:
        committed = [TopicPartition(*place, offset) for place, offset in self._committed.committed().items()]
        for deleted in self._admin.delete_records(committed).values():
            deleted.result()

    def tenths(self) -> list[dict]:
        """Readings/s and the median of memory in each tenth of the time."""
        found = []
        for tenth in range(10):
            begin, end = (self.seconds * (n / 10) for n in (tenth, tenth + 1))
            looks = [look for look in self.looks if begin <= look[0] <= end]
            found.append(
                {
                    "readings_per_s": (looks[-1][1] - looks[0][1]) / (looks[-1][0] - looks[0][0]) if len(looks) > 1 else None,
                    "memory_mb": statistics.median(look[2] for look in looks) if looks else None,
                }
            )
        return found


class Used:
    """Counts the readings that the pipeline has used, from the topic daily_energy."""

    def __init__(self, settings: Settings):
        self._consumer = Consumer({"bootstrap.servers": settings.kafka.address, "group.id": "long", "enable.auto.commit": False})
        self._framing = framing(settings)
        full = topics.topic(settings, "daily_energy")
        self._consumer.assign([TopicPartition(full, partition, OFFSET_BEGINNING) for partition in range(settings.kafka.partitions)])
        self._readings_of: dict[bytes, int] = {}  # key -> readings of its newest message
        self._total = 0

    def total(self) -> int:
        """Read the new messages. Returns the number of readings used so far."""
        while messages := self._consumer.consume(10_000, 0):
            for message in messages:
                if message.error():
                    raise KafkaException(message.error())
                readings = decode(self._framing.received(message.value()))[1]["readings"]
                self._total += readings - self._readings_of.get(message.key(), 0)
                self._readings_of[message.key()] = readings
        return self._total

    def close(self) -> None:
        self._consumer.close()


def report(stream: Stream, args: argparse.Namespace, settings: Settings) -> int:
    """Print the figures and save them."""
    tenths, rate = stream.tenths(), stream.used / stream.seconds
    first, last = (tenths[i]["memory_mb"] for i in (0, -1))
    reached = [Target("memory in the last tenth of the time, times the first", last / first, most=1.1)]
    figures = {
        "houses": args.houses,
        "sent": stream.sent,
        "used": stream.used,
        "seconds": stream.seconds,
        "readings_per_s": rate,
        "cpu_s_per_million_readings": stream.usage.cpu_s / stream.used * 1e6,
        "peak_mb": stream.usage.peak_mb,
        "most_mb_in_kafka": max(look[3] for look in stream.looks),
        "tenths": tenths,
        "hours_for_full_size": FULL_SIZE / rate / 3600,
    }
    path = measure.save(
        args.out or settings.stack.home / "bench", "long", settings, **figures, targets=[target.record() for target in reached]
    )
    rows = [[str(number), shown(tenth["readings_per_s"], 2, 1e-6), shown(tenth["memory_mb"])] for number, tenth in enumerate(tenths, 1)]
    print(
        f"\n{stream.sent:,} readings sent, {stream.used:,} used: {'none is missing' if stream.sent == stream.used else 'THEY DIFFER'}\n"
        f"{stream.seconds:,.1f} s, {rate / 1e6:.2f} M readings/s, {figures['cpu_s_per_million_readings']:.2f} CPU s per M, "
        f"peak memory {figures['peak_mb']:,.0f} MB, at most {figures['most_mb_in_kafka']:,.0f} MB of readings in Kafka\n"
        f"{FULL_SIZE / 1e9:.0f} billion readings would take {figures['hours_for_full_size']:.2f} hours\n"
    )
    print(measure.table(["tenth", "M readings/s", "memory, MB"], rows, 1), "", *reached, sep="\n")
    print(f"\nSaved as {path}")
    return 0 if stream.sent == stream.used else 1

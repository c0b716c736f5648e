"""Bytewax: a dataflow in Python, in two processes with a worker each, which share the topic's partitions.

The process that reads a burst decodes it with fastavro and reduces it in NumPy, so little data moves between processes. The
summaries are keyed by house, and a stateful step joins each meter's bursts and keeps the days.

Tuned: processes instead of threads, which would share one interpreter lock; 1,000 messages a batch of the source.
"""

from __future__ import annotations

import io
import math
import multiprocessing
import shutil
import sys
import time
from pathlib import Path

import bytewax.operators as op
import fastavro
from bytewax.connectors.files import DirSink
from bytewax.connectors.kafka import KafkaSource, KafkaSourceMessage
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulBatchLogic
from bytewax.run import cli_main
from confluent_kafka import OFFSET_BEGINNING

from bench.peers import CORES, arguments, carry_out, report
from bench.peers.house_days import HouseDays, Summary, summarise
from smartmeter.messages.schemas import HEADER_BYTES, SCHEMAS
from stack.ports import LOOPBACK, free_port

BEGUN = multiprocessing.Value("d", math.inf)
"""When the first partition was opened. Before that, the processes connect to each other."""


class Readings(KafkaSource):
    """The topic, from its beginning to its end."""

    def __init__(self, kafka: str, topic: str):
        super().__init__([kafka], [topic], tail=False, starting_offset=OFFSET_BEGINNING, batch_size=1000)

    def build_part(self, *args):
        with BEGUN:
            BEGUN.value = min(BEGUN.value, time.monotonic())
        return super().build_part(*args)


def flow(source: Readings, out: Path) -> Dataflow:
    """Topic -> summaries of bursts -> by house -> a line of CSV for each meter and day."""
    dataflow = Dataflow("daily_energy")
    # If a step fails, Bytewax only reports that a thread panicked, so carry_out prints the reason.
    summaries = op.map("decode", op.input("readings", dataflow, source), lambda message: carry_out(lambda: summary(message)))
    days = op.stateful_batch("days", summaries, House)
    lines = op.map("lines", days, lambda item: (item[0], ",".join(map(str, (item[0], *item[1])))))
    op.output("csv", lines, DirSink(out, CORES))
    return dataflow


def summary(message: KafkaSourceMessage) -> tuple[str, Summary]:
    """(house, summary) of a message."""
    burst = fastavro.schemaless_reader(io.BytesIO(message.value[HEADER_BYTES:]), SCHEMAS["reading_burst"], None)
    return str(burst["house_id"]), summarise(
        *(burst[name] for name in ("timezone", "start", "tick_ms", "meter_ids", "counts", "deltas", "watts"))
    )


class House(StatefulBatchLogic):
    """The state of one house. It emits the house's days at the end of the topic."""

    def __init__(self, state: HouseDays | None):
        self.days = state or HouseDays()

    def on_batch(self, values: list[Summary]):
        for burst in values:
            self.days.add(burst)
        return [], StatefulBatchLogic.RETAIN

    def on_eof(self):
        return self.days.results(), StatefulBatchLogic.DISCARD

    def snapshot(self) -> HouseDays:
        return self.days


def main() -> None:
    args = arguments(__doc__)
    out = args.out / "daily_energy.csv"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    addresses = [f"{LOOPBACK}:{free_port()}" for _ in range(CORES)]
    workers = [multiprocessing.Process(target=work, args=(args.kafka, args.topic, out, addresses, i)) for i in range(CORES)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        sys.exit(1)  # the worker has printed the reason
    report(time.monotonic() - BEGUN.value)


def work(kafka: str, topic: str, out: Path, addresses: list[str], number: int) -> None:
    """Run one process of the dataflow's cluster. If it fails, it prints the reason."""
    carry_out(lambda: cli_main(flow(Readings(kafka, topic), out), workers_per_process=1, process_id=number, addresses=addresses))


if __name__ == "__main__":
    carry_out(main)

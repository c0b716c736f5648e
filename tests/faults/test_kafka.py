"""What happens to Kafka while data flows, three brokers of it: one is restarted, the leader of a partition is killed, partitions
are added, ten times as much comes at once. Afterwards the tables are what the oracle finds.

Houses move to other partitions when some are added. Were a house's burst in its new partition read before one that still waits in the
old one, and its day closed by it, that one would be late. So the messages sent meanwhile are from the middle of a day.
"""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np

from smartmeter.kafka import topic_admin
from smartmeter.kafka.offsets import Offsets
from smartmeter.messages.codec import encode_burst
from stack import local_flink, services
from stack.processes import Processes
from store.client import reader
from tests.faults.brokers import Brokers
from tests.pipeline.flow import Flow, all_read, judge_stack, settings_of_a_stack
from tests.pipeline.logs import BURST_MS, Log, disturb, house_bursts
from tests.waiting import until

HOUSES = {house: ("America/New_York", date(2013, 4, 4) + timedelta(days=house)) for house in range(1, 9)}
A_DAY = 86_400_000 // BURST_MS
CALM_S = 90  # or until what happens meanwhile has happened
BEFORE, MOVE, AFTER = "before", "while partitions are added", "after"
SPANS = {BEFORE: slice(0, 2 * A_DAY + 30), MOVE: slice(2 * A_DAY + 30, 2 * A_DAY + 80), AFTER: slice(2 * A_DAY + 80, None)}
"""Of a house's bursts; the third day's morning and evening bound the middle one."""


def pieces_of_a_log(seed: int) -> tuple[Log, dict[str, list]]:
    """A log, and its messages part by part, each disturbed for itself; the middle one is not."""
    rng = np.random.default_rng(seed)
    houses = [house_bursts(house, *place, rng) for house, place in HOUSES.items()]
    log, pieces = Log([], [], [], 0), {}
    for name, span in SPANS.items():
        queues = [bursts[span] if name == MOVE else disturb(bursts[span], rng) for bursts in houses]
        order = rng.permutation(np.repeat(np.arange(len(queues)), list(map(len, queues))))
        bursts = [queues[house].pop(0) for house in order.tolist()]
        pieces[name] = [(b"%d" % burst.house_id, encode_burst(burst)) for burst in bursts]
        log.bursts += bursts
        log.messages += pieces[name]
    return log, pieces


def read_from(settings, partition: int) -> bool:
    """Whether a checkpoint of the job holds something of a partition of readings."""
    with Offsets(settings, ("readings",), f"{settings.kafka.topic_prefix}pipeline") as offsets:
        return offsets.committed()["readings", partition] > 0


def test_whatever_happens_to_kafka_nothing_is_lost(tmp_path):
    log, pieces = pieces_of_a_log(seed=17)
    settings = settings_of_a_stack(tmp_path).but(partitions=2)
    with Processes(tmp_path) as processes:
        brokers = Brokers(processes, settings)
        settings = brokers.settings
        topic_admin.create_topics(settings)
        services.start_endpoint(processes, settings)
        services.start_sink(processes, settings)
        local_flink.start_job(processes, settings)

        calm = Flow(settings, pieces[BEFORE], CALM_S, shares=2)
        calm.start()
        until(lambda: read_from(settings, 0))
        brokers.restart(brokers.leader("thresholds"))
        victim = brokers.leader("readings")
        calm.go_on()
        brokers.kill(victim)
        calm.hurry()
        calm.end()
        assert brokers.leader("readings") != victim
        brokers.start(victim)
        brokers.wait_for_all()
        until(lambda: all_read(settings))

        meanwhile = Flow(settings, pieces[MOVE], 8)
        meanwhile.start()
        brokers.add_partitions(4)
        meanwhile.end()
        until(lambda: not processes.check() and all_read(settings) and all(read_from(settings, partition) for partition in range(4)))

        burst = Flow(settings, pieces[AFTER], len(pieces[AFTER]) / len(pieces[BEFORE]) * CALM_S / 10)
        burst.start()
        burst.end()
        judge_stack(processes, settings, reader(settings), log)
        processes.check()

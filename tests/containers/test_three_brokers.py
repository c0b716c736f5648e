"""docker-compose.cluster.yml in a Docker engine: three brokers, of which any one may be away."""

from __future__ import annotations

from store.client import writer
from tests.containers.test_one_broker import SHARE_S, from_outside
from tests.faults.pieces import AFTER, BEFORE, MOVE, pieces_of_a_log
from tests.pipeline.flow import Flow, judge_stack
from tests.stack.containers import CLUSTER

BROKERS = {"kafka-1": 9092, "kafka-2-1": 9094, "kafka-3-1": 9095}
"""Container -> port on this machine."""


def test_each_broker_may_be_away(started, tmp_path):
    compose = started(CLUSTER)
    settings = from_outside(tmp_path).but(kafka=",".join(f"127.0.0.1:{port}" for port in BROKERS.values()))
    log, pieces = pieces_of_a_log(seed=29)
    flow = Flow(settings, pieces[BEFORE] + pieces[MOVE] + pieces[AFTER], SHARE_S * len(BROKERS), shares=len(BROKERS))
    flow.start()
    for name in BROKERS:
        service = name.removesuffix("-1")
        compose("stop", service)
        flow.go_on()
        compose.up()
        compose.kill(name)
    flow.end()
    judge_stack(compose, settings, writer(settings, settings.clickhouse.database), log)

"""An archive takes the place of Kafka's log: what the topic no longer has is replayed from files, to the last bit."""

from __future__ import annotations

import os
import subprocess

import pytest
from confluent_kafka import TopicPartition

from smartmeter.kafka import connection, topic_admin
from smartmeter.kafka.offsets import Offsets
from smartmeter.messages import archive_files
from smartmeter.messages.codec import encode_burst
from smartmeter.messages.topics import topic
from smartmeter.run import Run
from smartmeter.settings import ROOT
from store.client import reader
from tests.pipeline.conftest import TABLES, judge_tables, run_job, store_all, values
from tests.pipeline.flow import expected_of
from tests.pipeline.logs import HOUSES, make_log, produce
from tests.topics import messages
from tests.waiting import STILL_S

DAYS = ["--from", "2011-03-01", "--to", "2013-11-30"]
LOG = make_log(seed=29, houses={1: HOUSES[1], 2: HOUSES[2], 150: HOUSES[3]})


@pytest.fixture(scope="module")
def settings(clickhouse, kafka):
    return clickhouse.but(topic_prefix="archive.", clickhouse_database="archive", window_days=2, parallelism=2)


@pytest.fixture(scope="module")
def original(settings, processes):
    """A client on the tables of the log as it was processed first. The producer of house 2 gives Kafka seconds for a time."""
    topic_admin.create_topics(settings)
    start_of, timestamps = {encode_burst(burst): burst.start_ms for burst in LOG.bursts}, []
    for _, value in LOG.messages:
        timestamps.append(start_of.get(value) or timestamps[-1])
    timestamps = [time // 1000 if key == b"2" and value in start_of else time for (key, value), time in zip(LOG.messages, timestamps)]
    produce(settings, LOG.messages, timestamps)
    run_job(settings, "pipeline")
    return store_all(settings, processes)


def smw(settings, *arguments) -> str:
    """What a command prints."""
    done = subprocess.run([ROOT / "smw", *arguments], env=os.environ | settings.environ(), text=True, capture_output=True, timeout=STILL_S)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def folder(original, settings, tmp_path_factory):
    """An archive of the log, which was made in two runs; the topic has lost everything since."""
    folder = tmp_path_factory.mktemp("archive")
    smw(settings, "archive", *DAYS, "--houses", "2-2", "--into", str(folder))
    output = smw(settings, "archive", *DAYS, "--into", str(folder))
    bursts = len(LOG.bursts) + sum(value in LOG.dead for _, value in LOG.messages if value and archive_files.cut(0, 0, 0, b"", value)[1])
    assert f" {bursts:,} bursts with " in output and f" {len(LOG.messages) - bursts:,} messages that are not bursts" in output
    in_topic = [(m.partition(), m.offset(), m.timestamp()[1], m.key(), m.value()) for m in messages(settings, "readings")]
    assert sorted(in_topic) == sorted((*m[:4], m.value) for path in folder.rglob("*.avro") for m in archive_files.read(path))
    lose_readings(settings)
    return folder


def lose_readings(settings) -> None:
    """What retention does: the topic's messages go, all of them."""
    with Offsets(settings, ("readings",), "none") as offsets:
        ends = [TopicPartition(*place, end) for place, (_, end) in offsets.bounds().items()]
        client = connection.admin(settings)  # its futures end with it
        for deleted in client.delete_records(ends).values():
            deleted.result()
        assert all(begin == end for begin, end in offsets.bounds().values())


def test_a_replay_from_the_archive_gives_what_the_log_gave(original, settings, folder):
    assert "messages of Kafka's log" in smw(settings, "replay", *DAYS, "--into", "again", "--archive", str(folder))
    client = reader(settings.but(clickhouse_database="archive_again"))
    for table in TABLES:
        assert values(client, table) == values(original, table), table
    assert len(values(client, "late")) > 20 and len(values(client, "dead_letter")) == len(LOG.dead) > 10
    judge_tables(client, expected_of(settings, LOG), ended=True)
    assert topic(settings, "readings", Run(archived=True)) not in connection.admin(settings).list_topics(timeout=STILL_S).topics


@pytest.mark.parametrize(
    "command, sentence",
    [
        (["archive", "--from", "2013-04-12", "--to", "2013-04-13"], "keeps no readings of 2013-04-12 to 2013-04-13"),
        (["archive", "--from", "2013-04-12", "--to", "2013-04-11"], "give the last day not before the first"),
        (["replay", "--from", "2013-04-12", "--to", "2013-04-13", "--archive", "/nowhere"], "/nowhere has no readings of 2013-04-12"),
    ],
)
def test_an_impossible_request_is_reported_in_one_sentence(settings, folder, command, sentence):
    done = subprocess.run([ROOT / "smw", *command], env=os.environ | settings.environ(), text=True, capture_output=True)
    assert done.returncode == 1 and sentence in done.stderr and len(done.stderr.splitlines()) == 1

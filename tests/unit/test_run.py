"""One run of a job: what it reads, and where its results go."""

import pytest

from smartmeter.kafka.consumers import sink_group
from smartmeter.messages.topics import configuration, topic
from smartmeter.run import LIVE, Run
from smartmeter.settings import DAY_MS, Settings
from smartmeter.variables import SettingsError
from store.schema import database

REPLAY = Run(
    bounded=True,
    into="again",
    replay_from="2011-04-20",
    replay_to="2011-04-21",
    offsets="partition:0,offset:42",
    house=7,
    with_late=True,
    archived=True,
    anew=5,
)


def test_a_job_gets_its_run_through_its_environment():
    assert REPLAY.environ() == {
        "SMW_BOUNDED": "True",
        "SMW_INTO": "again",
        "SMW_REPLAY_FROM": "2011-04-20",
        "SMW_REPLAY_TO": "2011-04-21",
        "SMW_REPLAY_OFFSETS": "partition:0,offset:42",
        "SMW_REPLAY_HOUSE": "7",
        "SMW_REPLAY_WITH_LATE": "True",
        "SMW_REPLAY_ARCHIVED": "True",
        "SMW_REPLAY_ANEW": "5",
    }
    assert Run.load(REPLAY.environ()) == REPLAY and Run.load({}) == LIVE


@pytest.mark.parametrize(
    "environ, sentence",
    [
        (dict(SMW_BOUNDED="perhaps"), "SMW_BOUNDED='perhaps': it takes true or false"),
        (dict(SMW_INTO="a-b"), "SMW_INTO=a-b: it takes letters, digits and underscores"),
        (dict(SMW_REPLAY_FROM="yesterday"), "SMW_REPLAY_FROM=yesterday: it takes a date such as 2026-11-01"),
        (dict(SMW_REPLAY_FROM="2026-11-02"), "SMW_REPLAY_TO=: it takes a date that is not before SMW_REPLAY_FROM"),
        (
            dict(SMW_REPLAY_FROM="2026-11-02", SMW_REPLAY_TO="2026-11-01"),
            "SMW_REPLAY_TO=2026-11-01: it takes a date that is not before SMW_REPLAY_FROM",
        ),
    ],
)
def test_a_run_that_cannot_be_is_refused(environ, sentence):
    with pytest.raises(SettingsError) as refused:
        Run.load(environ)
    assert str(refused.value) == sentence


def test_the_days_of_a_replay_and_where_it_begins_to_read():
    assert REPLAY.days == range(15084, 15086) and LIVE.days is None
    assert REPLAY.start_ms(limit_days=7) == (15084 - 7 - 7 - 3) * DAY_MS
    assert Run(replay_from="1970-01-05", replay_to="1970-01-05").start_ms(limit_days=7) == 0


def test_a_run_names_its_database_its_sink_and_its_topics():
    settings = Settings().but(topic_prefix="x.", clickhouse_database="house", readings_retention_days=3)
    assert (database(settings, LIVE), database(settings, REPLAY)) == ("house", "house_again")
    assert (sink_group(settings), sink_group(settings, REPLAY)) == ("x.smw-sink", "x.again.smw-sink")
    assert (topic(settings, "readings"), topic(settings, "readings", REPLAY)) == ("x.readings", "x.archived.readings")
    retention_ms = [configuration(settings, "readings", 4, run)["retention.ms"] for run in (LIVE, REPLAY)]
    assert retention_ms == [str(3 * DAY_MS), "-1"]

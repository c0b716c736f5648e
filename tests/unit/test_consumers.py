"""Names of consumer groups."""

import pytest

from smartmeter.kafka.consumers import JOBS, REPLAY, STORED, group_of, sink_group
from smartmeter.messages.topics import SCHEMA_OF
from smartmeter.settings import Settings


@pytest.mark.parametrize(
    "fields, job, sink",
    [
        (dict(), "spikes", "smw-sink"),
        (dict(topic_prefix="x."), "x.spikes", "x.smw-sink"),
        (dict(into="again"), "spikes", "again.smw-sink"),
        (dict(topic_prefix="x.", into="again"), "x.spikes", "x.again.smw-sink"),
    ],
)
def test_each_set_of_results_has_a_sink_of_its_own(fields, job, sink):
    assert (group_of(Settings().but(**fields), "spikes"), sink_group(Settings().but(**fields))) == (job, sink)


def test_every_topic_is_read():
    assert {name for names in (*JOBS.values(), STORED) for name in names} == set(SCHEMA_OF)
    assert REPLAY not in JOBS

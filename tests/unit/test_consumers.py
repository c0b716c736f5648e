"""Names of consumer groups."""

import pytest

from smartmeter.kafka.consumers import JOBS, NOTIFIED_OF, REPLAY, STORED, group_of, home_group, notify_group, sink_group
from smartmeter.messages.topics import SCHEMA_OF
from smartmeter.run import Run
from smartmeter.settings import Settings


@pytest.mark.parametrize(
    "prefix, into, job, sink",
    [
        ("", "", "spikes", "smw-sink"),
        ("x.", "", "x.spikes", "x.smw-sink"),
        ("", "again", "spikes", "again.smw-sink"),
        ("x.", "again", "x.spikes", "x.again.smw-sink"),
    ],
)
def test_each_set_of_results_has_a_sink_of_its_own(prefix, into, job, sink):
    settings = Settings().but(topic_prefix=prefix)
    assert (group_of(settings, "spikes"), sink_group(settings, Run(into=into))) == (job, sink)


def test_the_groups_of_notify_have_the_prefix():
    settings = Settings().but(topic_prefix="x.")
    assert (notify_group(settings), home_group(settings)) == ("x.smw-notify", "x.smw-home-assistant")


def test_every_topic_is_read():
    assert {name for names in (*JOBS.values(), STORED, NOTIFIED_OF) for name in names} == set(SCHEMA_OF)
    assert REPLAY not in JOBS

"""The topics: keys, names and how they are kept."""

from __future__ import annotations

import pytest

from smartmeter.messages.topics import COMPACTED, RESULTS, SCHEMA_OF, key, topic
from smartmeter.run import Run
from smartmeter.settings import Settings

RECORD = {
    "alert_id": "7/1/1555200000123",
    "house_id": 7,
    "meter_id": 1,
    "date": 18000,
    "valid_from": 1_555_200_060_000,
    "partition": 3,
    "offset": 9,
    "route": "mail",
}


@pytest.mark.parametrize(
    "name, expected",
    [
        ("readings", b"7"),
        ("houses", b"7"),
        ("power_profile", b"7"),
        ("daily_energy", b"7/1/18000"),
        ("thresholds", b"7/18000"),
        ("alerts", b"7/1/1555200000123"),
        ("acknowledgements", b"7/1/1555200000123"),
        ("rules", b"7/1/1555200060000"),
        ("notifications", b"mail/7/1/1555200000123"),
        ("late", b"3/9"),
        ("dead_letter", b"3/9"),
    ],
)
def test_keys(name, expected):
    assert key(name, RECORD) == expected


def test_a_set_of_results_has_the_topics_of_results_to_itself_and_shares_the_others():
    settings = Settings().but(topic_prefix="x.")
    named = {name: topic(settings, name, Run(into="again")) for name in SCHEMA_OF}
    assert named == {name: f"x.again.{name}" if name in RESULTS else f"x.{name}" for name in SCHEMA_OF}
    assert set(SCHEMA_OF) - set(RESULTS) == {"readings", "houses", "acknowledgements", "rules", "notifications"}


def test_which_topics_are_compacted():
    assert set(COMPACTED) == {"houses", "daily_energy", "thresholds", "alerts", "acknowledgements", "rules", "notifications"}

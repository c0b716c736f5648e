"""Live bursts: from where the topic ends; tests/stack/test_live.py has the rest, on a real broker."""

from datetime import UTC, date, datetime
from itertools import islice

import pytest

from generator.live import bursts_since
from generator.synthetic import synthetic_houses


def utc_ms(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    "zone, first, since, starts",
    [
        ("UTC", date(2024, 5, 1), "1970-01-01T00:00", "2024-05-01T00:00"),  # an empty topic
        ("UTC", date(2024, 5, 1), "2024-05-03T10:20", "2024-05-03T11:00"),
        ("UTC", date(2024, 5, 1), "2024-05-03T10:00", "2024-05-03T10:00"),
        ("America/New_York", date(2024, 5, 1), "2024-05-03T02:00", "2024-05-03T02:00"),  # still the day before there
        ("UTC", date(2024, 5, 9), "2024-05-03T10:00", "2024-05-09T00:00"),
    ],
)
def test_bursts_go_on_where_the_topic_ends(zone, first, since, starts):
    houses = synthetic_houses(2, seed=1, timezone=zone)
    found = [burst.start_ms for burst in islice(bursts_since(houses, first, utc_ms(since), 3600), 4)]
    assert found == [utc_ms(starts), utc_ms(starts), utc_ms(starts) + 3_600_000, utc_ms(starts) + 3_600_000]

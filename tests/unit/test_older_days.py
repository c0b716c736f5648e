"""Days that are older than what their house has sent: what is kept of them, and what they need."""

from dataclasses import replace
from datetime import date

import pytest

from commands import older_days
from smartmeter.errors import UserError
from smartmeter.messages.archive_files import imported_files, read
from smartmeter.messages.codec import encode_burst
from smartmeter.settings import Settings
from tests.unit.logs import HOUR_MS, NEW_YORK, START_MS, burst

BURSTS = [
    burst(START_MS + hour * HOUR_MS, START_MS + (hour + 1) * HOUR_MS, {1: [(START_MS + hour * HOUR_MS, 100)]}, house_id=house)
    for hour in (0, 3, 30)
    for house in (1, 2)
]


def test_older_days_are_kept_in_the_archive_and_counted(tmp_path):
    zones = {1: "UTC", 2: NEW_YORK}
    days = older_days.keep([replace(one, timezone=zones[one.house_id]) for one in BURSTS], tmp_path)
    assert (days.first, days.last, days.houses, days.readings) == (date(2011, 4, 18), date(2011, 4, 19), zones, 6)
    files = imported_files(tmp_path)
    assert [m.value for m in read(files[1])] == [encode_burst(replace(one, timezone="UTC")) for one in BURSTS if one.house_id == 1]


class WithJobs:
    """A Flink that runs some jobs."""

    def __init__(self, *names: str):
        self.jobs, self.url = (lambda: {f"id of {name}": name for name in names}), "http://x"


@pytest.mark.parametrize("names", [(), ("daily_energy",), ("pipeline", "daily_energy")])
def test_they_need_the_pipeline_alone(tmp_path, monkeypatch, names):
    monkeypatch.setattr(older_days, "Flink", lambda address: WithJobs(*names))
    settings = Settings().but(home=tmp_path)
    assert older_days.take_in([], tmp_path / "archive", settings) == 0
    with pytest.raises(UserError, match="^some of these days are older .*: its pipeline as the only job in the Flink at http://x$"):
        older_days.take_in(BURSTS, tmp_path / "archive", settings)
    assert not (tmp_path / "archive").exists()
    assert older_days.pipeline(WithJobs("pipeline")) == "id of pipeline"

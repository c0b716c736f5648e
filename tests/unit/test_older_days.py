"""Days that are older than what their house has sent: what is kept of them, and what they need."""

from dataclasses import replace
from datetime import date
from importlib import metadata

import pytest

from commands import older_days
from smartmeter.errors import UserError
from smartmeter.messages.archive_files import imported_files, read
from smartmeter.messages.codec import encode_burst
from smartmeter.settings import Settings
from smartmeter.state_folders import address
from stack import savepoints
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
        self.jobs, self.url, self.address = (lambda: {f"id of {name}": name for name in names}), "http://x", "x"

    def version(self):
        return metadata.version("apache-flink")

    def slots(self):
        return 2, 2


@pytest.mark.parametrize("names", [(), ("daily_energy",), ("pipeline", "daily_energy")])
def test_on_a_stack_they_need_the_pipeline_alone(tmp_path, monkeypatch, names):
    monkeypatch.setattr(older_days, "Flink", lambda address: WithJobs(*names))
    settings = Settings().but(home=tmp_path)
    of_stack = older_days.pipeline_of(settings, None, None, False)
    assert older_days.take_in([], tmp_path / "archive", of_stack, settings) == 0
    with pytest.raises(UserError, match="^some of these days are older .*: its pipeline as the only job in the Flink at http://x; for a "):
        older_days.take_in(BURSTS, tmp_path / "archive", of_stack, settings)
    assert not (tmp_path / "archive").exists()


def test_a_stack_needs_a_folder_for_savepoints(tmp_path, monkeypatch):
    monkeypatch.setattr(older_days, "Flink", lambda address: WithJobs("pipeline"))
    older_days.OfStack(Settings().but(home=tmp_path)).require_ready()
    with pytest.raises(UserError, match="^SMW_CHECKPOINT_DIR=s3://b: older days need a folder of this machine"):
        older_days.OfStack(Settings().but(home=tmp_path, checkpoint_dir="s3://b")).require_ready()


@pytest.mark.parametrize("given", [("flink-1:8081", None), (None, "/shared/savepoint-1")])
def test_a_cluster_needs_its_address_and_a_savepoint(given):
    with pytest.raises(UserError, match="^give --jobmanager together with --from-savepoint, "):
        older_days.pipeline_of(Settings(), *given, False)


def test_a_cluster_needs_a_stopped_pipeline_and_savepoints_that_can_be_read_here(tmp_path, monkeypatch):
    savepoint = tmp_path / "savepoint-1"

    def refused(*jobs: str, **options) -> str:
        monkeypatch.setattr(older_days, "Flink", lambda address: WithJobs(*jobs))
        of_cluster = older_days.pipeline_of(Settings().but(home=tmp_path, **options), "x", str(savepoint), False)
        with pytest.raises(UserError) as error:
            older_days.take_in(BURSTS, tmp_path / "archive", of_cluster, Settings().but(home=tmp_path))
        return str(error.value)

    assert refused().startswith("SMW_CHECKPOINT_DIR is not set")
    assert refused("pipeline", checkpoint_dir=str(tmp_path)).startswith("pipeline runs already in the Flink at http://x")
    assert refused(checkpoint_dir="s3://b") == "s3://b: older days need savepoints in a folder that this machine reads too"
    assert refused(checkpoint_dir=str(tmp_path)).startswith(f"{savepoint} is no savepoint")
    assert not (tmp_path / "archive").exists()


def test_the_new_savepoint_is_published_with_its_offsets_where_a_start_finds_it(tmp_path, capsys, monkeypatch):
    settings = Settings().but(checkpoint_dir=str(tmp_path))
    made = tmp_path / "savepoints" / "pipeline.anew" / "savepoint-2"
    made.mkdir(parents=True)
    (made / savepoints.METADATA).touch()
    published = older_days.publish(address(str(made)), {0: 7, 1: 9}, settings)
    assert savepoints.newest_state(settings, "pipeline") == published
    assert savepoints.run_from(published).offsets == "partition:0,offset:7;partition:1,offset:9"
    monkeypatch.setattr(older_days, "Flink", lambda address: WithJobs())
    older_days.OfCluster(settings, "x", "/s", False).go_on(published)
    where = tmp_path / "savepoints" / "pipeline" / "savepoint-2"
    assert capsys.readouterr().out.endswith(f" submit pipeline --jobmanager x --from-savepoint {where}\n")

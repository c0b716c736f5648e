"""./smw replay: arguments that are refused before anything is started, and its progress."""

import argparse
from dataclasses import replace

import pytest

from commands import older_days, replay
from smartmeter.errors import UserError
from smartmeter.reports import Progress
from smartmeter.settings import Settings
from tests.unit.test_older_days import BURSTS

DAYS = ["--from", "2026-11-01", "--to", "2026-11-02"]


@pytest.mark.parametrize(
    "words, message",
    [
        ([*DAYS, "--with-late"], "^--with-late reorders the readings of one house: give it with --house$"),
        (
            ["--from", "2026-11-02", "--to", "2026-11-01"],
            "^--from 2026-11-02 --to 2026-11-01 --into '': give two dates such as 2026-11-01, the last not",
        ),
        (["--from", "November", "--to", "2026-11-01"], "^--from November --to 2026-11-01"),
        ([*DAYS, "--into", "a-b"], "--into 'a-b': give two dates .* and a name of letters, digits and underscores$"),
    ],
)
def test_arguments_that_are_refused(tmp_path, words, message):
    parser = argparse.ArgumentParser()
    replay.add_arguments(parser)
    with pytest.raises(UserError, match=message):
        replay.run(parser.parse_args(words), Settings().but(home=tmp_path))


def test_a_replays_progress_from_the_start_of_flink_to_the_last_result(monkeypatch):
    now_s = [100.0]
    monkeypatch.setattr(replay.time, "monotonic", lambda: now_s[0])
    work = replay.Work.__new__(replay.Work)
    work.messages, work.begun, work.reading_since = 1200, 90.0, 90.0
    waiting = Progress("messages read", 0, 1200, 10.0, state="Flink is starting")
    assert work.progress(False, 1200) == waiting
    now_s[0] = 105.0
    assert work.progress(False, 700) == Progress("messages read", 500, 1200, 15.0, per_s=100.0, left_s=7.0)
    assert work.progress(True, 20) == replace(waiting, done=1200, elapsed_s=15.0, state="20 results to be stored")


def test_a_replay_reads_kafkas_log_alone_unless_bursts_were_imported_past_it(tmp_path):
    settings = Settings().but(home=tmp_path)

    def reads(*words: str) -> tuple[bool, bool]:
        parser = argparse.ArgumentParser()
        replay.add_arguments(parser)
        args = parser.parse_args([*DAYS, *words])
        of_run, messages = replay.messages_of(args, replay.run_of(args), settings)
        return of_run.archived, messages is not None

    assert reads() == (False, False)
    older_days.keep([BURSTS[0]], tmp_path / "archive")
    assert reads() == reads("--house", str(BURSTS[0].house_id)) == reads("--archive") == (True, True)
    assert reads("--archive", str(tmp_path / "elsewhere")) == (True, True)
    assert reads("--house", "5") == (False, False)
    with pytest.raises(UserError, match="elsewhere has no readings of 2026-11-01"):
        reads("--house", "5", "--archive", str(tmp_path / "elsewhere"))


class Ending:
    """A job that makes results for some seconds after its last message, and then ends."""

    logs = "/logs"

    def __init__(self, now_s: list[float], makes_until_s: float, ends_at_s: float):
        self.now_s, self.makes_until_s, self.ends_at_s, self.settings, self.made_s = now_s, makes_until_s, ends_at_s, Settings(), 0.0

    def has_ended(self) -> bool:
        return self.now_s[0] >= self.ends_at_s

    def unread(self) -> int:
        return 0

    unstored = unread

    def has_made_results(self) -> bool:
        before, self.made_s = self.made_s, min(self.now_s[0], self.makes_until_s)
        return self.made_s > before

    def is_due(self) -> bool:
        return False


@pytest.mark.parametrize(("makes_until_s", "ends_at_s", "fails"), [(0.0, 500.0, False), (5000.0, 5200.0, False), (3000.0, 9000.0, True)])
def test_a_job_that_still_makes_results_is_awaited(monkeypatch, makes_until_s, ends_at_s, fails):
    now_s = [0.0]
    monkeypatch.setattr(replay.time, "monotonic", lambda: now_s[0])
    monkeypatch.setattr(replay.time, "sleep", lambda seconds: now_s.__setitem__(0, now_s[0] + 10))
    job = Ending(now_s, makes_until_s, ends_at_s)
    if fails:
        with pytest.raises(UserError, match="the job made no progress for .* s; its logs are /logs"):
            replay.follow(job, job, job)
        assert makes_until_s < now_s[0] < makes_until_s + 2 * (replay.STALLED_S + job.settings.flink.stalled_s) + 20
    else:
        replay.follow(job, job, job)
        assert now_s[0] == ends_at_s

"""./smw replay: arguments that are refused before anything is started, and its progress."""

import argparse
from dataclasses import replace

import pytest

from commands import replay
from smartmeter.errors import UserError
from smartmeter.reports import Progress
from smartmeter.settings import Settings

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

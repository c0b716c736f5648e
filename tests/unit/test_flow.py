"""The options of Flink that depend on the run and on the settings."""

from __future__ import annotations

from jobs.flink.flow import flink_options
from smartmeter.run import LIVE, Run
from smartmeter.settings import Settings

TOLERATED = "execution.checkpointing.tolerable-failed-checkpoints"


def test_a_checkpoint_that_fails_fails_a_live_run_alone():
    assert TOLERATED not in flink_options("pipeline", Settings(), LIVE)
    assert flink_options("pipeline", Settings(), Run(bounded=True))[TOLERATED] == "2147483647"


def test_a_run_in_which_houses_begin_anew_has_sources_of_its_own():
    of_uids = "table.exec.uid.format"
    live, anew = (flink_options("pipeline", Settings(), run)[of_uids] for run in (LIVE, Run(anew=5)))
    assert (live, anew) == ("<id>_<transformation>", "anew_<id>_<transformation>")


def test_checkpoints_can_be_off():
    every = {name for name in flink_options("pipeline", Settings(), LIVE) if "checkpointing" in name}
    off = {name for name in flink_options("pipeline", Settings().but(checkpoint_every_s=0.0), LIVE) if "checkpointing" in name}
    assert "execution.checkpointing.interval" in every and off == {"execution.checkpointing.incremental"}

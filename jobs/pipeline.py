"""The whole pipeline as one job: topic readings, read and decoded once -> all result topics.

readings --> batches of sections, histograms, minutes and readings, a house each (kafka_tables.batches)
         --> Thresholds, Spikes and Watch (which thus have each version as soon as it is made), DailyEnergy (which may leave out the
             glitches that Spikes finds), PowerProfile
         --> results
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from jobs import spikes
from jobs.core.watch import Watch
from jobs.daily_energy import DailyEnergy
from jobs.flink import flow
from jobs.power_profile import PowerProfile
from jobs.thresholds import Thresholds

if __name__ == "__main__":
    flow.run(
        "pipeline",
        lambda settings: [Thresholds(settings), *spikes.stages(settings), Watch(settings), DailyEnergy(settings), PowerProfile()],
    )

"""Daily energy, thresholds and spikes as one job: jobs/pipeline.py without the power profile, which no peer computes."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from jobs.daily_energy import DailyEnergy
from jobs.flink import flow
from jobs.spikes import Spikes
from jobs.thresholds import Thresholds

if __name__ == "__main__":
    flow.run("three_jobs", lambda settings: [Thresholds(settings), Spikes(settings), DailyEnergy(settings)])

"""Draws comparison.json as bars of readings/s, on a logarithmic scale.

python -P bench/plot.py comparison.json comparison.png
"""

from __future__ import annotations

import json
import sys

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

LIMITS = {"generator", "Flink", "confluent-kafka"}
LIMIT_COLOUR, OURS_COLOUR, PEER_COLOUR = "#999999", "#0072B2", "#E69F00"  # of Okabe and Ito, distinguishable for the colour-blind


def main(source: str, target: str) -> None:
    with open(source) as file:
        comparison = json.load(file)
    runs = [run for run in comparison["runs"] if run["readings_per_s"]]
    names = [f"{run['engine']}: {run['work']}" for run in runs]
    rates = [run["readings_per_s"] for run in runs]
    figure, axes = pyplot.subplots(figsize=(10, 0.42 * len(runs) + 1.6), layout="constrained")
    bars = axes.barh(names, rates, color=[colour(run["engine"]) for run in runs])
    axes.bar_label(bars, [f"{rate / 1e6:.2f} M/s" for rate in rates], padding=4)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlim(min(rates) / 2, max(rates) * 3)
    axes.set_xlabel("readings/s")
    axes.spines[["top", "right"]].set_visible(False)
    data, machine = comparison["data"], comparison["machine"]
    axes.set_title(f"{data['readings'] / 1e6:,.0f} M readings of {data['houses']} houses from Kafka, {machine['cores']} cores", loc="left")
    figure.savefig(target, dpi=120)


def colour(engine: str) -> str:
    return LIMIT_COLOUR if engine in LIMITS else OURS_COLOUR if engine == "ours" else PEER_COLOUR


if __name__ == "__main__":
    main(*sys.argv[1:])

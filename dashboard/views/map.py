"""Map: energy and alerts by zip, on outlines that need no internet access."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from dashboard import charts, queries
from dashboard.connection import results
from dashboard.controls import csv_button, keep, no_results_yet, pick_days, start
from dashboard.kept import kept


@dataclass(frozen=True)
class Measure:
    """A column of queries.energy_by_zip, and its title."""

    column: str
    title: str


MEASURES = {
    "per household": Measure("kwh_per_house_day", "kWh a household and day"),
    "total": Measure("kwh", "energy, kWh"),
    "alerts": Measure("alerts", "alerts"),
}

st.title("Map")
first_day, last_day = queries.days(results()).values()
if last_day is None:
    no_results_yet()
with st.container(horizontal=True, vertical_alignment="bottom"):
    first, last = pick_days(first_day, last_day)
    start("measure", str, MEASURES.__contains__, "per household")
    name = st.segmented_control("Show", list(MEASURES), key="measure", required=True, persist_state="session")
    keep("measure", name)
assert name  # guaranteed by required
measure = MEASURES[name]
zips = kept(queries.energy_by_zip, results(), first, last)
if zips.empty:
    st.info("No house with results for these days has a place. Places come from the topic `houses`.")
    st.stop()
zips = zips.sort_values(measure.column, ascending=False)
placed = zips.dropna(subset=["latitude", "longitude"])
left, right = st.columns([3, 2])
if len(placed):
    left.vega_lite_chart(charts.zip_map(placed, measure.column, measure.title), alt=f"Map of {measure.title} by zip")
if len(placed) < len(zips):
    left.caption(f"Without coordinates, so only in the table: {len(zips) - len(placed)}.")
right.dataframe(
    zips,
    hide_index=True,
    column_order=("zip", "city", "state", "houses", "kwh_per_house_day", "kwh", "alerts"),
    column_config={
        "kwh": st.column_config.NumberColumn("kWh", format="%.1f", help="Energy of all houses."),
        "kwh_per_house_day": st.column_config.NumberColumn("kWh a day", format="%.2f", help="Energy per household and day."),
    },
)
with right:
    csv_button(zips, "energy_by_zip.csv")

"""Quality: days whose figures may not be whole, why, and the way back."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from dashboard import charts, queries
from dashboard.connection import results
from dashboard.controls import csv_button, no_results_yet, pick_days
from smartmeter.settings import SMW

MOST = 1000
MOST_SAVED = 1_000_000
COLUMNS: dict[str, Any] = {
    "house_id": st.column_config.NumberColumn("house", format="%d"), "city": "city", "date": st.column_config.DateColumn("local day"),
    "coverage_percent": st.column_config.NumberColumn("covered, %", format="%.1f"),
    "longest_gap_min": st.column_config.NumberColumn("longest gap, min", format="%.0f"),
    "late_readings": st.column_config.NumberColumn("late", format="localized"), "refused": st.column_config.NumberColumn("refused", format="localized"),
    "reason": "reason", "way_back": "way back",
}


def reason(day) -> str:
    """What is wrong with a day (a row of queries.doubtful_days), in words."""
    reasons = []
    if not day.known:
        reasons.append("no result" if day.late_readings else "no readings came")
    elif day.coverage_percent < charts.WHOLE_PERCENT:
        reasons.append(f"covered for {day.coverage_percent:.0f} %")
    if day.late_readings:
        reasons.append(f"{day.late_readings:,} readings came late: {day.late_reason}")
    if day.refused:
        reasons.append(f"{day.refused:,} readings refused")
    return "; ".join(reasons)


def way_back(day) -> str:
    """The command that makes a day's results of all that was sent; empty where that is what they are made of."""
    if not day.late_readings or (day.known and day.coverage_percent >= charts.WHOLE_PERCENT):
        return ""
    return f"{SMW} replay --from {day.date:%Y-%m-%d} --to {day.date:%Y-%m-%d} --house {day.house_id} --with-late"


def explained(days: pd.DataFrame) -> pd.DataFrame:
    """Days as the table has them."""
    known = days["known"] == 1
    return days.assign(
        coverage_percent=days["coverage_percent"].where(known), longest_gap_min=(days["longest_gap_s"] / 60).where(known),
        reason=[reason(day) for day in days.itertuples()], way_back=[way_back(day) for day in days.itertuples()])


st.title("Quality")
totals = queries.totals(results())
if totals["last"] is None:
    no_results_yet()
st.caption("Days of a house that have no result between its first and its last, that have late or refused readings, or that were measured for less "
           f"than {charts.WHOLE_PERCENT} % of their time.")
with st.container(horizontal=True, vertical_alignment="bottom"):
    first, last = pick_days(totals["first"], totals["last"], most=366)
    house_id = st.number_input("House (0: all)", 0, 2**53 - 1, key="quality_house")
db = results()
days = queries.doubtful_days(db, first, last, house_id, MOST)
if days.empty:
    st.info("There is no such day.", icon=":material/check:")
    st.stop()
total = int(days["total"].iloc[0])
st.caption(f"{total:,} day{'' if total == 1 else 's'}" if total == len(days) else f"{len(days):,} of {total:,} days, the newest")
st.dataframe(explained(days), hide_index=True, column_order=list(COLUMNS), column_config=COLUMNS)
csv_button(lambda: explained(queries.doubtful_days(db, first, last, house_id, MOST_SAVED))[list(COLUMNS)], "doubtful_days.csv")
st.caption("A day whose readings came after it was closed, such as by a burst of a clock that was ahead, is made again from all that was sent by the "
           "command beside it. Days on which nothing came are empty until their readings are sent, and replayed.")

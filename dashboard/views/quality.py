"""Quality: days whose figures may be incomplete, the reason, and the command that repairs them."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from dashboard import charts, queries
from dashboard.connection import results
from dashboard.controls import csv_button, no_results_yet, pick_days
from dashboard.kept import kept
from smartmeter.settings import SMW

MOST = 1000
MOST_SAVED = 1_000_000
COLUMNS: dict[str, Any] = {
    "house_id": st.column_config.NumberColumn("house", format="%d"),
    "city": "city",
    "date": st.column_config.DateColumn("local day"),
    "coverage_percent": st.column_config.NumberColumn("covered, %", format="%.1f"),
    "longest_gap_min": st.column_config.NumberColumn("longest gap, min", format="%.0f"),
    "late_readings": st.column_config.NumberColumn("late", format="localized"),
    "refused": st.column_config.NumberColumn("refused", format="localized"),
    "reason": "reason",
    "way_back": "way back",
}
SPARSE: dict[str, Any] = {
    "house_id": st.column_config.NumberColumn("house", format="%d"),
    "meter_id": st.column_config.NumberColumn("meter", format="%d"),
    "label": "label",
    "last_sparse_day": st.column_config.DateColumn("local day"),
    "apart_s": st.column_config.NumberColumn("apart, s", format="%.0f"),
    "missing_percent": st.column_config.NumberColumn("not covered, %", format="%.0f"),
    "sparse_days": st.column_config.NumberColumn("days so far", format="localized"),
}

FAULTS: dict[str, Any] = {
    "house_id": st.column_config.NumberColumn("house", format="%d"),
    "meter_id": st.column_config.NumberColumn("meter", format="%d"),
    "label": "label",
    "date": st.column_config.DateColumn("local day"),
    "register_faults": st.column_config.NumberColumn("faults", format="localized"),
    "register_kwh": st.column_config.NumberColumn("register, kWh", format="%.3f"),
    "power_kwh": st.column_config.NumberColumn("power, kWh", format="%.3f"),
    "difference_kwh": st.column_config.NumberColumn("difference, kWh", format="%.3f"),
}
DIFFERENCES: dict[str, Any] = {
    "house_id": st.column_config.NumberColumn("house", format="%d"),
    "meter_id": st.column_config.NumberColumn("meter", format="%d"),
    "label": "label",
    "way": "way",
    "days": st.column_config.NumberColumn("days", format="localized"),
    "register_kwh": st.column_config.NumberColumn("register, kWh", format="%.3f"),
    "power_kwh": st.column_config.NumberColumn("power, kWh", format="%.3f"),
    "difference_kwh": st.column_config.NumberColumn("difference, kWh", format="%.3f"),
    "difference_percent": st.column_config.NumberColumn("difference, %", format="%.1f"),
}


def reason(day: Any) -> str:
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


def way_back(day: Any) -> str:
    """The command that recomputes a day from all readings that were sent; empty if none were late or the day is fully covered."""
    if not day.late_readings or (day.known and day.coverage_percent >= charts.WHOLE_PERCENT):
        return ""
    return f"{SMW} replay --from {day.date:%Y-%m-%d} --to {day.date:%Y-%m-%d} --house {day.house_id} --with-late"


def explained(days: pd.DataFrame) -> pd.DataFrame:
    """Days as shown in the table."""
    known = days["known"] == 1
    return days.assign(
        coverage_percent=days["coverage_percent"].where(known),
        longest_gap_min=(days["longest_gap_s"] / 60).where(known),
        reason=[reason(day) for day in days.itertuples()],
        way_back=[way_back(day) for day in days.itertuples()],
    )


def show_sparse(meters: pd.DataFrame) -> None:
    """Meters whose readings lie farther apart than they hold (queries.sparse_meters)."""
    total = int(meters["total"].iloc[0])
    st.warning(
        f"{total:,} meter{'' if total == 1 else 's'} with energy missing: readings lie farther apart than they hold. Let the producer "
        "state how long a reading holds (holds_s of the burst), or raise SMW_MAX_GAP_S, then replay the days.",
        icon=":material/timelapse:",
    )
    st.dataframe(meters, hide_index=True, column_order=list(SPARSE), column_config=SPARSE)


def show_faults(days: pd.DataFrame) -> None:
    """Days with faults of registers (queries.register_faults)."""
    total = int(days["total"].iloc[0])
    st.warning(
        f"{total:,} day{'' if total == 1 else 's'} of registers that fell, or rose by more than SMW_MAX_CONNECTION_KW delivers: these "
        "differences do not count.",
        icon=":material/electric_meter:",
    )
    st.dataframe(days, hide_index=True, column_order=list(FAULTS), column_config=FAULTS)


def show_differences(meters: pd.DataFrame) -> None:
    """Meters whose register and power differ (queries.register_differences)."""
    total = int(meters["total"].iloc[0])
    st.warning(
        f"{total:,} meter{'' if total == 1 else 's'} whose register and power differ by more than 5 % in these days: readings of power are "
        "missing, or have another scale or sign.",
        icon=":material/balance:",
    )
    st.dataframe(meters, hide_index=True, column_order=list(DIFFERENCES), column_config=DIFFERENCES)


st.title("Quality")
first_day, last_day = queries.days(results()).values()
if last_day is None:
    no_results_yet()
st.caption(
    "Days without a result between a house's first and last one, days with late or refused readings, and days that are over and "
    f"under {charts.WHOLE_PERCENT} % covered."
)
with st.container(horizontal=True, vertical_alignment="bottom"):
    first, last = pick_days(first_day, last_day, most=366)
    house_id = st.number_input("House (0: all)", 0, 2**53 - 1, key="quality_house")
db = results()
if not (sparse := kept(queries.sparse_meters, db, house_id, MOST)).empty:
    show_sparse(sparse)
if not (faults := kept(queries.register_faults, db, first, last, house_id, MOST)).empty:
    show_faults(faults)
if not (differences := kept(queries.register_differences, db, first, last, house_id, MOST)).empty:
    show_differences(differences)
days = kept(queries.doubtful_days, db, first, last, house_id, MOST)
if days.empty:
    st.info("No matching days.", icon=":material/check:")
    st.stop()
total = int(days["total"].iloc[0])
st.caption(f"{total:,} day{'' if total == 1 else 's'}" if total == len(days) else f"{len(days):,} of {total:,} days, the newest")
st.dataframe(explained(days), hide_index=True, column_order=list(COLUMNS), column_config=COLUMNS)
csv_button(lambda: explained(queries.doubtful_days(db, first, last, house_id, MOST_SAVED))[list(COLUMNS)], "doubtful_days.csv")
st.caption(
    "A day may be closed before its readings arrive, for example by a burst with a clock that is ahead. The command beside it recomputes "
    "the day from all readings that were sent. Days without readings stay empty until their readings are sent and replayed."
)

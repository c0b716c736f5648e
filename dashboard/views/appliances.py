"""Appliances: the share of each in a house's energy, and the percentile that its power usually stays below."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import pandas as pd
import streamlit as st

from dashboard import charts, queries
from dashboard.connection import results
from dashboard.controls import House, csv_button, pick_days, pick_house


def with_unmetered(appliances: pd.DataFrame, days: pd.DataFrame) -> pd.DataFrame:
    """Energy by day and label (date, label, kwh). The rest, consumed but measured by no appliance's meter, gets a label of its own."""
    by_label = appliances.groupby(["date", "label"], as_index=False)["kwh"].sum()
    metered = by_label.groupby("date")["kwh"].sum()
    rest = days.set_index("date")["kwh"] - metered.reindex(days["date"]).fillna(0).to_numpy()
    return pd.concat([by_label, pd.DataFrame({"date": rest.index, "label": charts.UNMETERED, "kwh": rest.clip(lower=0).to_numpy()})])


def by_parent(appliances: pd.DataFrame) -> pd.DataFrame:
    """Appliances (queries.appliance_energy) with each watt once: kwh is what no meter under the appliance's measures; measured_kwh, all of it.

    A meter with others under it is labelled as the rest of them. under: the label of the meter above; empty if there is none.
    """
    label_of = appliances.drop_duplicates("meter_id").set_index("meter_id")["label"]
    is_parent = appliances["meter_id"].isin(appliances["parent"])
    return appliances.assign(
        label=appliances["label"].where(~is_parent, appliances["label"] + ", rest"),
        under=appliances["parent"].map(label_of).fillna(""),
        measured_kwh=appliances["kwh"],
        kwh=appliances["own_kwh"],
    )


def show_figures(metered_kwh: float, consumed_kwh: float | None, whole: str) -> None:
    """Show the energy of the appliances, of the whole house (None: no mains), and the share, in figures."""
    with st.container(horizontal=True):
        st.metric("Appliances, kWh", f"{metered_kwh:,.1f}", border=True, help="Measured by the appliances' own meters.")
        st.metric(f"{whole.capitalize()}, kWh", "–" if consumed_kwh is None else f"{consumed_kwh:,.1f}", border=True)
        st.metric(
            f"Share of the {whole}",
            f"{100 * metered_kwh / consumed_kwh:.0f} %" if consumed_kwh else "–",
            border=True,
            help="Measured by the appliances' own meters; – without a mains meter.",
        )


def show_shares(energy: pd.DataFrame, appliances: pd.DataFrame, consumed_kwh: float | None, whole: str, house: House) -> None:
    """Show each appliance's energy and share of the whole house, as a chart and a table; appliances: as by_parent gives them."""
    shares = energy.groupby("label", as_index=False)["kwh"].sum().sort_values("kwh", ascending=False)
    shares["share_percent"] = 100 * shares["kwh"] / consumed_kwh if consumed_kwh else None
    if (appliances["under"] != "").any():
        above = appliances.groupby("label").agg(
            under=("under", lambda under: ", ".join(sorted(set(under)))), measured_kwh=("measured_kwh", "sum")
        )
        shares = shares.join(above, on="label")
    left, right = st.columns([3, 2])
    left.altair_chart(charts.ranking(shares), alt=f"Energy by appliance with its share of the {whole} in percent")
    left.caption(f"Figure beside each bar: its share of the {whole}, in %.")
    right.dataframe(
        shares,
        hide_index=True,
        column_config={
            "label": "appliance",
            "kwh": st.column_config.NumberColumn("energy, kWh", format="%.2f"),
            "share_percent": st.column_config.NumberColumn("share, %", format="%.1f", help=f"Of the {whole}."),
            "under": st.column_config.TextColumn("under", help="The meter that measures its power too."),
            "measured_kwh": st.column_config.NumberColumn("with all under it, kWh", format="%.2f"),
        },
    )
    with right:
        csv_button(shares, f"appliances_{house.house_id}.csv")


def show_percentiles(house: House, meters: pd.DataFrame, first: date, last: date) -> None:
    """Show the percentile of the picked meters by day."""
    st.subheader("Power that each appliance usually stays below")
    start, end = (datetime.combine(day, time(), UTC) for day in (first, last + timedelta(days=1)))
    found = queries.thresholds(results(), house.house_id, meters["meter_id"].tolist(), start, end).merge(meters, on="meter_id")
    if found.empty:
        st.info("There are no thresholds yet: a meter has them once it has a day of readings.")
        return
    found["name"] = found["label"] + " (" + found["meter_id"].astype(str) + ")"
    names = found["name"].drop_duplicates().tolist()
    picked = st.multiselect("Meters", names, default=names[:6], max_selections=8, key="percentile_meters")
    st.altair_chart(charts.percentiles(found[found["name"].isin(picked)], picked), alt="Percentile of the power of each meter by day")
    quantile, table = found["quantile"].iloc[-1], found[["date", "name", "percentile_watts", "limit_watts", "warming_up"]]
    st.caption(
        f"The {100 * quantile:g}th percentile of the readings of the days before. Each day's value applies from one hour after midnight."
    )
    csv_button(table, f"thresholds_{house.house_id}.csv")


st.title("Appliances")
house = pick_house()
with st.container(horizontal=True, vertical_alignment="bottom"):
    first, last = pick_days(house.first, house.last)
meters = queries.meters(results(), house.house_id)
appliances = by_parent(queries.appliance_energy(results(), house.house_id, first, last))
days = queries.energy_of_house(results(), house.house_id, first, last)
if appliances.empty:
    st.info("No appliance of this house has results for these days.")
    st.stop()
has_mains = (meters["kind"] == "mains").any()
energy = with_unmetered(appliances, days) if has_mains else appliances
whole = "consumption" if meters["kind"].isin(["solar", "battery"]).any() else "mains"
metered_kwh, consumed_kwh = appliances["kwh"].sum(), days["kwh"].sum() if has_mains else None
show_figures(metered_kwh, consumed_kwh, whole)
st.subheader("Energy by day")
st.altair_chart(charts.stacked_days(*charts.ranked(energy, "date", "kwh")), alt="Energy by day, appliances stacked")
st.subheader("Ranking")
show_shares(energy, appliances, consumed_kwh, whole, house)
if not has_mains:
    st.caption("This house has no mains meter: shares are unknown.")
elif metered_kwh > consumed_kwh:
    st.caption(f"The appliances' meters add up to more than the {whole}: some of them overlap, or the mains were measured for less time.")
show_percentiles(house, meters, first, last)

"""Overview: the amount of data, today's energy, and the state of the pipeline."""

from __future__ import annotations

import time
from datetime import timedelta

import pandas as pd
import streamlit as st

from dashboard import charts, queries
from dashboard.connection import explained, results, settings
from dashboard.controls import csv_button, is_today, no_results_yet
from dashboard.kept import kept
from smartmeter.errors import UserError
from smartmeter.kafka.consumers import ConsumerLags

KAFKA_PATIENCE_S = 2
REFRESH_S = 2
MOST_REASONS = 20


@st.fragment(run_every=REFRESH_S)
def figures() -> None:
    """The figures so far, refreshed every few seconds."""
    with explained():
        totals, health = kept(queries.totals, results()), queries.health(results())
        last = totals["last"]
        days = kept(queries.energy_of_all, results(), last - timedelta(days=1), last)
        newest, before = (days[days["date"] == pd.Timestamp(day)] for day in (last, last - timedelta(days=1)))
        name = "today" if is_today(last, queries.timezones(results())) else f"on {last:%a} {last.day} {last:%b %Y}"
        so_far = "" if newest["final"].all() else " so far"
        with st.container(horizontal=True):
            st.metric("Houses", f"{totals['houses']:,}", border=True, help=f"{totals['meters']:,} meters")
            st.metric("Readings", in_words(totals["readings"]), border=True, help=f"{totals['readings']:,} readings used")
            show_day(f"kWh {name}{so_far}", newest, totals["houses"], "All houses, on the newest local day that has results.")
            show_day("kWh the day before", before, totals["houses"], "All houses, on the local day before that one.")
            kinds = queries.alert_counts(results(), show="open").groupby("kind")["alerts"].sum()
            open_by_kind = "".join(f"; open: {number:,} {kind}" for kind, number in kinds.items())
            st.metric("Open alerts", f"{health['open_alerts']:,}", border=True, help=f"{health['alerts']:,} alerts in all{open_by_kind}")
        st.subheader("Pipeline")
        with st.container(horizontal=True):
            st.metric(
                "Last result",
                in_time(time.time() - totals["newest_ms"] / 1000),
                border=True,
                help="Time since the newest result was computed.",
            )
            st.metric(
                "Late readings",
                f"{health['late']:,}",
                border=True,
                help="Readings that could not be used; the table late lists them with the reason.",
            )
            st.metric(
                "Dead letters",
                f"{health['dead']:,}",
                border=True,
                help="Messages that could not be used; the table dead_letter holds them.",
            )


def show_day(label: str, day: pd.DataFrame, houses: int, meaning: str) -> None:
    """Show the energy of a day (a row of queries.energy_of_all, or none). If it is incomplete, also its coverage and houses."""
    if day.empty:
        st.metric(label, "–", "no results", "off", border=True, delta_arrow="off", help=meaning)
        return
    [(kwh, counted, covered)] = day[["kwh", "houses", "coverage_percent"]].to_numpy()
    whole = covered >= charts.WHOLE_PERCENT and counted == houses
    measured = None if whole else f"{covered:.0f} % covered, {counted:,.0f} of {houses:,} houses"
    st.metric(label, f"{kwh:,.0f}" if kwh >= 10 else f"{kwh:,.2f}", measured, "off", border=True, delta_arrow="off", help=meaning)


@st.fragment(run_every=REFRESH_S)
def lags() -> None:
    """The number of messages that the sink, and each job that has run, have still to read."""
    try:
        found = consumer_lags().by_name(KAFKA_PATIENCE_S)
    except UserError as error:
        st.warning(str(error), icon=":material/cloud_off:")
        return
    with st.container(horizontal=True):
        for name, lag in found.items():
            if lag is not None:
                st.metric(f"Lag of {name}", f"{lag:,}", border=True, help="Messages not yet read, as of the last checkpoint.")


@st.cache_resource(show_spinner=False)
def consumer_lags() -> ConsumerLags:
    """The ConsumerLags shared by all sessions of this dashboard."""
    return ConsumerLags(settings())


def in_words(count: int) -> str:
    """A count with at most four digits: 174,988,800 becomes 175.0 M."""
    for unit, size in (("G", 1e9), ("M", 1e6)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count:,}"


def in_time(seconds: float) -> str:
    """A time in words: 75 becomes 1 min ago."""
    for unit, size in (("days", 2 * 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / (86_400 if unit == 'days' else size):,.0f} {unit} ago"
    return f"{max(seconds, 0):.0f} s ago"


st.title("Overview")
last_day = queries.days(results())["last"]
if last_day is None:
    no_results_yet()
figures()
lags()
st.subheader("Energy of all houses")
days = kept(queries.energy_of_all, results(), last_day - timedelta(days=29), last_day)
st.altair_chart(charts.columns_by_day(days, "kwh", "energy, kWh"), alt="Energy of all houses by day")
st.caption("Pale: day in progress in some house, or under 99 % covered.")
csv_button(days, "energy_of_all.csv")
letters = queries.dead_letters(results(), MOST_REASONS + 1)
if not letters.empty:
    st.subheader("Dead letters")
    if len(letters) > MOST_REASONS:
        st.caption(f"The {MOST_REASONS} most frequent reasons; the table dead_letter has all of them.")
    st.dataframe(
        letters.head(MOST_REASONS), hide_index=True, column_config={"last_received": st.column_config.DatetimeColumn("last received (UTC)")}
    )

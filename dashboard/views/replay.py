"""Replay: recomputes past days from Kafka's log and replaces their results."""

from __future__ import annotations

import streamlit as st

from dashboard import queries
from dashboard.connection import explained, results
from dashboard.controls import no_results_yet, pick_days
from dashboard.kept import kept
from dashboard.replays import Replay, change, replays
from smartmeter.errors import INTERRUPTED

REFRESH_S = 1


@st.fragment(run_every=REFRESH_S)
def progress() -> None:
    """The progress of the newest replay, and what it has replaced."""
    replay = replays().newest
    if not replay:
        return
    with explained():
        house = f", house {replay.house_id}" if replay.house_id else ""
        st.subheader(f"{replay.first} to {replay.last}{house}")
        with st.container():  # one element, whatever it shows: those below keep their places, and none is seen twice
            show_state(replay)
        after = kept(queries.replayed, results(), replay.first, replay.last, replay.house_id)
        done = kept(queries.made_since, results(), replay.first, replay.last, replay.house_id, replay.begun_ms)
        with st.container(horizontal=True):
            st.metric("Results recomputed", f"{done:,} of {after['rows']:,}", border=True, help="Rows of daily energy.")
            st.metric(
                "Energy, kWh",
                f"{after['kwh']:,.3f}",
                change(after["kwh"], replay.before["kwh"]),
                "off",
                border=True,
                delta_arrow="off",
                help="Of all meters. The change is relative to the results before the replay.",
            )
            st.metric(
                "Alerts", f"{after['alerts']:,}", f"{after['alerts'] - replay.before['alerts']:+,}", "off", border=True, delta_arrow="off"
            )


def show_state(replay: Replay) -> None:
    """A progress bar while the replay runs; afterwards whether it succeeded."""
    running = replay.running  # before its report: that of a replay that has ended is complete
    report, code = replay.report, replay.process.returncode
    if running:
        st.progress(report.progress.share if report.progress else 0.0, str(report.progress or "Starting ..."))
        st.button("Stop", on_click=replays().stop)
    elif code < 0 or code == INTERRUPTED:
        st.error("The replay was stopped.", icon=":material/error:")
    elif code:
        st.error(report.error or f"The replay has failed; its log is {replay.log}", icon=":material/error:")
    else:
        st.success("All results of these days have been recomputed.", icon=":material/check:")


st.title("Replay")
st.caption(
    "The days are read again from Kafka's log and go through the same jobs, and the new results replace the old ones. "
    "The same readings give the same results, to the last bit."
)
first_day, last_day = queries.days(results()).values()
if last_day is None:
    no_results_yet()
with st.container(horizontal=True, vertical_alignment="bottom"):
    first, last = pick_days(first_day, last_day, most=1)
    house_id = st.number_input("House (0: all)", 0, 2**53 - 1, key="replay_house")
    newest = replays().newest
    running = newest is not None and newest.running
    if st.button("Replay", type="primary", disabled=running):
        replays().start(first, last, house_id, queries.replayed(results(), first, last, house_id))
        st.rerun()
progress()

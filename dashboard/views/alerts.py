"""Alerts as they happen, newest first. Each can be viewed and acknowledged."""

from __future__ import annotations

import math
import re
from datetime import date, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import streamlit as st

from dashboard import charts, meter_rules, pictures, queries, rules
from dashboard.acknowledgements import LONGEST_NOTE, acknowledge
from dashboard.charts import Span
from dashboard.connection import explained, results, settings
from dashboard.controls import csv_button, keep, start, zone
from dashboard.kept import kept
from dashboard.notifications import notify
from dashboard.pictures import KINDS
from dashboard.sending import author
from smartmeter.errors import UserError
from smartmeter.messages.records import RuleRecord
from smartmeter.messages.rules import fault_of, no_rule
from smartmeter.spike import make_spike

REFRESH_S = 0.5
CURVE_EVERY_S = 5
MOST = 200
MOST_SAVED = 1_000_000
MOST_POINTS = 720
ALERT_ID = re.compile(r"(\d+/\d+/-?\d+(/[a-z]+)?)?", re.ASCII)
SEVERITIES = ("critical", "warning", "info")
SHOW = {"all": "All", "open": "Open", "new": "Not acknowledged"}
COLUMNS: dict[str, Any] = {
    "state": "state",
    "house_id": st.column_config.NumberColumn("house", format="%d"),
    "city": "city",
    "label": "appliance",
    "alert_kind": "kind",
    "severity": "severity",
    "reason": st.column_config.TextColumn("reason", width="medium"),
    "ends_when": st.column_config.TextColumn("ends when", width="small"),
    "began": "began (local time)",
    "minutes": st.column_config.NumberColumn("lasted, min", format="%.1f"),
    "seen": "acknowledged",
    "note": "note",
}


def pick_filters() -> dict[str, Any]:
    """The user's filters, as arguments of queries.alerts."""
    labels = ["", *kept(queries.alert_labels, results())]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        start("show", str, SHOW.__contains__, "all")
        show = st.segmented_control("Show", list(SHOW), format_func=SHOW.__getitem__, key="show", required=True, persist_state="session")
        start("of_house", int, lambda house_id: 0 <= house_id < 2**53, 0)
        house_id = st.number_input("House (0: all)", 0, 2**53 - 1, key="of_house", persist_state="session")
        start("appliance", str, labels.__contains__, "")
        label = st.selectbox("Appliance", labels, format_func=lambda label: label or "all", key="appliance", persist_state="session")
        meter_id = pick_meter(house_id) if house_id else -1
        kind, severity = pick_one("Kind", "kind", KINDS), pick_one("Severity", "severity", dict.fromkeys(SEVERITIES, ""))
    for key, value in (("show", show), ("of_house", house_id or ""), ("appliance", label), ("kind", kind), ("severity", severity)):
        keep(key, value)
    keep("of_meter", "" if meter_id < 0 else meter_id)
    return dict(show=show, house_id=house_id, meter_id=meter_id, label=label, kind=kind, severity=severity)


def pick_meter(house_id: int) -> int:
    """The meter of a house that the user picks; 0: the whole house, -1: all."""
    meters = queries.meters(results(), house_id)
    names = {-1: "all", 0: "the house"} | {row.meter_id: f"{row.label} ({row.meter_id})" for row in meters.itertuples()}
    start("of_meter", int, names.__contains__, -1)
    meter_id: int = st.selectbox("Meter", list(names), format_func=names.__getitem__, key="of_meter", persist_state="session")
    return meter_id


def pick_one(name: str, key: str, meanings: dict[str, str]) -> str:
    """The value that the user picks; an empty text: all. meanings: value -> what is shown beside it."""
    names = {"": "all"} | {value: f"{value}: {meaning}" if meaning else value for value, meaning in meanings.items()}
    start(key, str, names.__contains__, "")
    value: str = st.selectbox(name, list(names), format_func=names.__getitem__, key=key, persist_state="session")
    return value


@st.fragment(run_every=REFRESH_S)
def live(filters: dict[str, Any], notices: bool) -> None:
    """One page of the alerts, queried twice a second, and a button to save all of them."""
    with explained():
        db, counts = results(), queries.alert_counts(results(), **filters)
        total = int(counts["alerts"].sum())
        pages = max(1, math.ceil(total / MOST))
        page = st.session_state["alerts_page"] = min(st.session_state.get("alerts_page", 1), pages)
        alerts = queries.alerts(db, MOST, MOST * (page - 1), **filters)
        if notices:
            notify(alerts if page == 1 else queries.alerts(db, MOST, **filters))
        if alerts.empty:
            st.info("No matching alerts.", icon=":material/check:")
            return
        show_counts(counts)
        st.caption(f"{counted(len(alerts), total, page)}, newest first. Select a row for details.")
        ids = alerts["alert_id"].tolist()
        key = f"alerts {hash(tuple(ids))}"  # a new table for other rows, so that a selection stays with its alert
        st.dataframe(
            shown(alerts),
            hide_index=True,
            column_order=list(COLUMNS),
            column_config=COLUMNS,
            key=key,
            on_select=lambda: pick(ids, key),
            selection_mode="single-row",
            height=380,
        )
        with st.container(horizontal=True, vertical_alignment="bottom"):
            csv_button(lambda: queries.alerts(db, MOST_SAVED, **filters), "alerts.csv")
            if pages > 1:
                st.number_input(f"Page of {pages:,}", 1, pages, key="alerts_page")
        if st.session_state.pop("picked", False):
            st.rerun()


def show_counts(counts: pd.DataFrame) -> None:
    """The number of alerts (queries.alert_counts), in all and by kind and severity."""
    by_severity = counts.groupby("severity")["alerts"].sum()
    with st.container(horizontal=True):
        st.metric("Alerts", f"{counts['alerts'].sum():,}", border=True)
        st.metric("Open", f"{counts['open'].sum():,}", border=True)
        for severity in SEVERITIES:
            st.metric(severity.capitalize(), f"{by_severity.get(severity, 0):,}", border=True)
    st.table(by_kind(counts))


def by_kind(counts: pd.DataFrame) -> pd.DataFrame:
    """The number of alerts of each kind (index), most first: alerts, open, and one column for each severity.

    A kind that this release does not know counts as other: the table would show its name as Markdown.
    """
    counts = counts.assign(kind=counts["kind"].where(counts["kind"].isin(list(KINDS)), "other"))
    of_kind = counts.groupby("kind")[["alerts", "open"]].sum()
    of_severity = counts.pivot_table("alerts", "kind", "severity", "sum", fill_value=0).reindex(columns=SEVERITIES, fill_value=0)
    return of_kind.join(of_severity.astype(int)).sort_values("alerts", ascending=False, kind="stable")


def counted(shown: int, total: int, page: int) -> str:
    """The number of alerts shown, and which ones of how many."""
    if shown == total:
        return f"{total:,} alert{'' if total == 1 else 's'}"
    return f"{shown:,} of {total:,} alerts ({MOST * (page - 1) + 1:,} to {MOST * (page - 1) + shown:,})"


def pick(ids: list[str], key: str) -> None:
    """Store the alert that was selected in the table."""
    rows = st.session_state[key]["selection"]["rows"]
    st.session_state["alert"] = ids[rows[0]] if rows else ""
    st.session_state["picked"] = True


def shown(alerts: pd.DataFrame) -> pd.DataFrame:
    """Alerts as shown in the table: the state as a word, times in each house's time zone."""
    return alerts.assign(
        state=["open" if is_open else "over" for is_open in alerts["open"]],
        began=[local(at, zone) for at, zone in zip(alerts["start"], alerts["timezone"])],
        seen=["" if pd.isna(at) else local(at, zone) for at, zone in zip(alerts["acknowledged"], alerts["timezone"])],
        minutes=alerts["duration_s"] / 60,
    )


def local(at: pd.Timestamp, timezone: str) -> str:
    """A time as shown by the house's clock, to the second."""
    return f"{at.astimezone(zone(timezone)):%Y-%m-%d %H:%M:%S}"


def detail(alert_id: str) -> None:
    """One alert: its meter and time, the power curve around it, and its acknowledgement."""
    found = queries.alert(results(), alert_id)
    if found.empty:
        st.info("The selected alert does not exist (any more): later readings may have retracted it.")
        return
    alert = found.iloc[0]
    st.subheader(f"House {alert['house_id']}, {local(alert['start'], alert['timezone'])}")
    st.text(", ".join(filter(None, (alert["label"] or f"meter {alert['meter_id']}", alert["city"]))))
    if alert["reason"]:
        st.text(f"{alert['severity']}, {alert['alert_kind']}: {alert['reason']}")
    if alert["open"] and alert["ends_when"]:
        st.text(f"It ends when {alert['ends_when']}.")
    st.button(
        "Open the house",
        on_click=choose,
        args=(int(alert["house_id"]), int(alert["meter_id"]), alert["date"].date()),
        key="open",
        icon=":material/home:",
    )
    if page := st.session_state.pop("chosen", ""):
        st.switch_page(f"views/{page}.py")
    st.fragment(curve, run_every=CURVE_EVERY_S if alert["open"] else None)(alert_id)
    of_rule(alert)
    acknowledgement(alert_id)


def choose(house_id: int, meter_id: int, day: date) -> None:
    """Make the page Home show this meter on this day."""
    st.session_state.update(house=house_id, meter=meter_id, date=day, span="day", chosen="home")


def choose_rule(house_id: int, meter_id: int) -> None:
    """Make the page Rules show this meter."""
    st.session_state.update(house=house_id, meter=meter_id, chosen="rules")


def of_rule(alert: pd.Series) -> None:
    """What a user can do about the rule by which an alert was opened: state that it was normal, or go to the meter's rule."""
    house_id, meter_id, house_zone = int(alert["house_id"]), int(alert["meter_id"]), zone(alert["timezone"])
    set_for = st.session_state.setdefault("normal", {})  # alert_id -> from when on
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if meter_rules.can_be_normal(alert):
            valid_from, live = rules.proposal(house_id, house_zone)
            name = "This is normal" if live else f"This is normal, from {meter_rules.local(valid_from, house_zone)} on"
            done = alert["alert_id"] in set_for
            if st.button(name, key="normal_button", icon=":material/thumb_up:", disabled=done):
                set_for |= declare_normal(alert, valid_from)
        own = alert["alert_kind"] in pictures.OF_OWN_RULES
        name = "Change its rule" if own else "Its rule"
        st.button(name, on_click=choose_rule, args=(house_id, meter_id), key="rule", icon=":material/tune:")
    if alert["alert_id"] in set_for:
        st.caption(normal_while(house_id, meter_id, set_for[alert["alert_id"]], house_zone))


def normal_while(house_id: int, meter_id: int, valid_from: int, house_zone: ZoneInfo) -> str:
    """From when on such an alert is normal, and until when if a later rule of the meter is set already."""
    replaced = meter_rules.next_from(rules.known(house_id), meter_id, valid_from)
    begins = f"Such an alert is normal from {meter_rules.local(valid_from, house_zone)} on"
    return f"{begins}." if replaced is None else f"{begins}, until the meter's next rule begins, {meter_rules.local(replaced, house_zone)}."


def declare_normal(alert: pd.Series, valid_from: int) -> dict[str, int]:
    """Send the rule of an alert's meter with what makes it normal. Returns its id and from when on that holds; nothing if it is not sent."""
    house_id, meter_id, now = int(alert["house_id"]), int(alert["meter_id"]), rules.now_ms()
    rule = meter_rules.in_force(rules.known(house_id), meter_id, valid_from) or no_rule(house_id, meter_id, valid_from, now)
    rule = meter_rules.from_then(meter_rules.with_normal(rule, alert), valid_from, author(), now)
    try:
        if fault := fault_of(rule):
            raise UserError(fault)
        rules.send_rule(rule)
    except UserError as error:
        st.error(str(error), icon=":material/cloud_off:")
        return {}
    st.toast("Sent. The page Rules shows it once it is stored.")
    return {str(alert["alert_id"]): valid_from}


def curve(alert_id: str) -> None:
    """The picture of why: the meter's power around the alert, with what is usual for it."""
    with explained():
        found = queries.alert(results(), alert_id)
        if found.empty:
            return
        alert = found.iloc[0]
        house_id, meter_id = int(alert["house_id"]), int(alert["meter_id"])
        meter_ids = measured_by(alert)
        now = alert["start"]
        in_force = queries.thresholds(results(), house_id, meter_ids if meter_id == 0 else [meter_id], now, now + timedelta(milliseconds=1))
        known = in_force[in_force["longest_gap_minutes"].notna() | (in_force["longest_silence_minutes"].notna() & (meter_id == 0))]
        usual = known.iloc[0] if len(known) else None
        rule = rule_of(alert)
        lasts = pictures.usual_minutes(alert, usual) or pictures.allowed_minutes(alert, rule)
        span = Span(
            int(pictures.begins(alert, lasts).timestamp()) // 60 * 60,
            int((alert["end"] + pictures.AROUND).timestamp()) // 60 * 60 + 60,
            zone(alert["timezone"]),
            MOST_POINTS,
        )
        power = queries.power(results(), house_id, meter_ids, span.start_s, span.end_s, span.step_s)
        if power.empty:
            st.info("The power of these minutes is not stored yet: it follows about 10 s after a minute ends.")
            return
        if alert["alert_kind"] == "hour":
            power = pictures.beside(power, meter_id)
        elif meter_id == 0:
            power = pictures.of_house(power)
        draw(alert, power, usual, rule, span)


def rule_of(alert: pd.Series) -> RuleRecord | None:
    """The rule by which an alert of a kind of users' own rules was opened; None for other kinds, or if it is not stored."""
    if alert["alert_kind"] not in pictures.OF_OWN_RULES:
        return None
    stored = queries.rules(results(), int(alert["house_id"]))
    return meter_rules.own_rule(stored, int(alert["meter_id"]), int(alert["start"].timestamp() * 1000))


def measured_by(alert: pd.Series) -> list[int]:
    """The meters whose power the picture of an alert needs: its own; for what no meter measures, all; for a whole house, its mains."""
    if alert["meter_id"] and alert["alert_kind"] != "hour":
        return [int(alert["meter_id"])]
    meters = queries.meters(results(), int(alert["house_id"]))
    mains = meters[meters["kind"] == "mains"]
    wanted = meters if alert["meter_id"] or mains.empty else mains
    return [int(meter_id) for meter_id in wanted["meter_id"]]


def draw(alert: pd.Series, power: pd.DataFrame, usual: pd.Series | None, rule: RuleRecord | None, span: Span) -> None:
    """Draw the picture of an alert from the power in the span, and state what it shows."""
    house_id, meter_ids = int(alert["house_id"]), [int(alert["meter_id"])]
    versions = queries.thresholds(results(), house_id, meter_ids, span.start, span.end)
    alerts = queries.alerts_between(results(), house_id, meter_ids, span.start, span.end)
    shown = pictures.picture(alert, power, usual, versions, span.zone, rule)
    if alert["alert_kind"] in pictures.OF_LEVEL:
        chart = charts.power_curve(power, versions.dropna(subset="limit_watts"), alerts, span)
    else:
        chart = charts.alert_picture(power, shown, alerts[alerts["alert_id"] == alert["alert_id"]], span)
    st.altair_chart(chart, alt="Power of the meter around the alert")
    st.caption(shown.caption)


@st.fragment(run_every=2 * REFRESH_S)
def acknowledgement(alert_id: str) -> None:
    """The alert's acknowledgement and note, with a form to acknowledge it or take that back."""
    with explained():
        found = queries.alert(results(), alert_id)
        if found.empty:
            return
        alert = found.iloc[0]
        seen = not pd.isna(alert["acknowledged"])
        if seen:
            st.success(f"Acknowledged at {local(alert['acknowledged'], alert['timezone'])}", icon=":material/check:")
            if remark := ": ".join(filter(None, (alert["author"], alert["note"]))):
                st.text(remark)
        try:
            with st.form(f"acknowledge {alert_id}", border=False), st.container(horizontal=True, vertical_alignment="bottom"):
                note = st.text_input("Note", alert["note"] if seen else "", max_chars=LONGEST_NOTE, key=f"note {alert_id}")
                if st.form_submit_button("Change the note" if seen else "Acknowledge", type="primary"):
                    acknowledge(alert_id, int(alert["house_id"]), note)
                    st.toast("Sent. It appears here once it is stored.")
            if seen and st.button("Take back"):
                acknowledge(alert_id, int(alert["house_id"]), "", withdrawn=True)
        except UserError as error:
            st.error(str(error), icon=":material/cloud_off:")


def spike_button(broker: str) -> None:
    """The button of ./smw demo --live: a simulated device draws far more than usual for some seconds."""
    if st.button("Make a spike", icon=":material/bolt:", help="A simulated refrigerator draws 3 kW more for 20 s."):
        try:
            make_spike(broker)
            st.toast("Sent. An alert appears within some seconds.")
        except UserError as error:
            st.error(str(error), icon=":material/cloud_off:")


st.title("Alerts")
if settings().dashboard.live_demo:
    spike_button(settings().dashboard.live_demo)
filters = pick_filters()
notices = st.toggle(
    "Desktop notifications",
    key="notices",
    persist_state="session",
    help="For alerts that arrive while this page is open. Your browser will ask for permission.",
)
live(filters, notices)
start("alert", str, ALERT_ID.fullmatch, "")
keep("alert", st.session_state["alert"])
if st.session_state["alert"]:
    detail(st.session_state["alert"])

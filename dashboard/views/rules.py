"""Rules: what users have set for the alerts of a meter or a house, now and before, and a form that sets it anew."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, time
from typing import Any, NamedTuple

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard import meter_rules, queries, rules
from dashboard.connection import explained, results
from dashboard.controls import WHOLE_HOUSE, House, csv_button, pick_house, pick_meter
from dashboard.meter_rules import clock_of, entered, local, minute_of, wall_clock
from dashboard.sending import author
from smartmeter.errors import UserError
from smartmeter.messages.records import RuleRecord
from smartmeter.messages.rules import LONGEST_MINUTES, SENSITIVITIES, fault_of, no_rule
from smartmeter.power import MOST_WATTS

REFRESH_S = 1
FIRST, LAST = date(2001, 1, 1), date(2199, 12, 31)
COLUMNS: dict[str, Any] = {
    "valid_from": "from (local time)",
    "valid_to": "until",
    "rule": st.column_config.TextColumn("rule", width="large"),
    "author": "set by",
    "written": "set (local time)",
}


class Offer(NamedTuple):
    """What the form shows before a user changes it."""

    key: str  # of its widgets: another form for another house, meter or rule
    rule: RuleRecord
    valid_from: int
    valid_to: int | None  # when the meter's next rule that is set already begins
    live: bool  # whether the house sends readings


@st.fragment(run_every=REFRESH_S)
def shown(house: House, meter_id: int) -> None:
    """What holds for the meter now, and a table of all of its rules. Runs the page again once a rule that was sent is stored."""
    with explained():
        waited = len(st.session_state.get(rules.SENT, []))
        stored = queries.rules(results(), house.house_id)
        waiting = [rule for rule in rules.pending(stored, house.house_id) if rule["meter_id"] == meter_id]
        valid_from, live = rules.proposal(house.house_id, house.zone)
        at = rules.now_ms() if live else valid_from
        st.subheader("What holds now" if live else f"What holds at the newest reading, {local(at, house.zone)}")
        for sentence in meter_rules.holding(stored, meter_id, at, house.zone):
            st.text(sentence)
        for rule in waiting:
            st.info(f"The rule from {local(rule['valid_from'], house.zone)} on is sent. It appears here once it is stored.")
        table = versions([rule for rule in stored if rule["meter_id"] == meter_id], house)
        if len(table):
            st.dataframe(table, hide_index=True, column_config=COLUMNS)
            csv_button(lambda: table, f"rules_{house.house_id}_{meter_id}.csv")
        if len(st.session_state.get(rules.SENT, [])) < waited:
            st.rerun()


def versions(stored: list[RuleRecord], house: House) -> pd.DataFrame:
    """The rules of one meter, newest first, as shown in a table."""
    ends = [local(rule["valid_from"], house.zone) for rule in stored[1:]] + [""]
    rows = [
        (
            local(rule["valid_from"], house.zone),
            end,
            " ".join(meter_rules.sentences(rule, house.zone)),
            rule["author"],
            local(rule["written"], house.zone),
        )
        for rule, end in zip(stored, ends)
    ]
    return pd.DataFrame(rows[::-1], columns=list(COLUMNS))


def offer(house: House, meter_id: int) -> Offer:
    """The rule that the form starts from: that in force when a new one would begin. What was offered stays while the form is there."""
    valid_from, live = rules.proposal(house.house_id, house.zone)
    known = rules.known(house.house_id)
    rule = meter_rules.in_force(known, meter_id, valid_from) or no_rule(house.house_id, meter_id, valid_from, 0)
    key = f"rule {house.house_id}/{meter_id}/{rule['written'] and rule['valid_from']}/{rule['written']}"
    if f"{key} from day" not in st.session_state:
        st.session_state[f"{key} offered"] = valid_from
    offered = st.session_state[f"{key} offered"]
    return Offer(key, rule, offered, meter_rules.next_from(known, meter_id, offered), live)


def form(house: House, meter_id: int) -> None:
    """The form with every field of a rule, and what follows from its buttons."""
    offered = offer(house, meter_id)
    st.subheader("Set a rule")
    with st.form(offered.key):
        fields: dict[str, Any] = {}
        slots: dict[str, DeltaGenerator] = {}
        pick_valid_from(offered, house, fields, slots)
        for pick in (
            (pick_sensitivity, pick_muted)
            if meter_id == WHOLE_HOUSE
            else (pick_sensitivity, pick_limit, pick_times, pick_muted, pick_normal)
        ):
            pick(offered, house, fields, slots)
        with st.container(horizontal=True):
            save = st.form_submit_button("Save", type="primary")
            remove = st.form_submit_button("Remove the rule")
    if save or remove:
        submit(house, meter_id, fields if save else {"valid_from": fields["valid_from"], "withdrawn": True}, slots)


def submit(house: House, meter_id: int, fields: Mapping[str, Any], slots: Mapping[str, DeltaGenerator]) -> None:
    """Send what was entered, or show beside its field what is wrong with it. slots: field, as fault_of names it -> where to show that."""
    now = rules.now_ms()
    rule: RuleRecord = {**no_rule(house.house_id, meter_id, 0, now), **fields, "author": author()}  # type: ignore[typeddict-item]
    if fault := fault_of(rule):
        field, sentence = meter_rules.fault_in_words(fault)
        slots.get(field, slots["valid_from"]).error(sentence, icon=":material/error:")
        return
    try:
        rules.send_rule(rule)
    except UserError as error:
        st.error(str(error), icon=":material/cloud_off:")
        return
    st.rerun()  # the form starts from what was sent; if it were replaced later, it would lose what is entered meanwhile


def pick_valid_from(offered: Offer, house: House, fields: dict[str, Any], slots: dict[str, DeltaGenerator]) -> None:
    """From when on the rule holds."""
    at = wall_clock(offered.valid_from, house.zone)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        day = st.date_input("Valid from", at.date(), FIRST, LAST, key=f"{offered.key} from day", format="YYYY-MM-DD")
        clock = st.time_input("At", at.time(), key=f"{offered.key} from time", step=60)
    assert day and clock  # they start with a value, which cannot be cleared
    fields["valid_from"] = entered(day, clock, offered.valid_from, house.zone)
    if fields["valid_from"] == offered.valid_from:  # not changed: what is proposed now
        fields["valid_from"], _ = rules.proposal(house.house_id, house.zone)
    slots["valid_from"] = st.container()
    proposed = "two full minutes after you save it" if offered.live else "the minute after its newest reading, since the house is not live"
    st.caption(
        f"The house's local time, in {house.zone.key}. Unless you change it: {proposed}. A reading that was judged before stays as it was "
        "judged; replay past days to judge them by a rule."
    )
    if offered.valid_to is not None:
        st.caption(f"It holds until the next rule that is set already begins, {local(offered.valid_to, house.zone)}.")


def preset(key: str, value: object) -> str:
    """Set a new widget to a value, and return its key. A widget whose default is a value cannot be cleared; one that is set to it can."""
    if key not in st.session_state:
        st.session_state[key] = value
    return key


def pick_sensitivity(offered: Offer, _: House, fields: dict[str, Any], slots: dict[str, DeltaGenerator]) -> None:
    """How sensitive the alerts are."""
    fields["sensitivity"] = st.selectbox(
        "Sensitivity",
        SENSITIVITIES,
        SENSITIVITIES.index(offered.rule["sensitivity"]),
        key=f"{offered.key} sensitivity",
        help=" ".join(meter_rules.SENSITIVE.values()),
    )
    slots["sensitivity"] = st.container()


def pick_limit(offered: Offer, _: House, fields: dict[str, Any], slots: dict[str, DeltaGenerator]) -> None:
    """The meter's own limit, and for how long it may be over that."""
    rule = offered.rule
    with st.container(horizontal=True, vertical_alignment="bottom"):
        key = preset(f"{offered.key} limit_watts", rule["limit_watts"])
        fields["limit_watts"] = st.number_input("Own limit, W", 0.0, MOST_WATTS, None, placeholder="none", key=key)
        fields["limit_minutes"] = st.number_input(
            "May be exceeded for, min", 0, LONGEST_MINUTES, rule["limit_minutes"], key=f"{offered.key} limit_minutes"
        )
    slots["limit_watts"] = slots["limit_minutes"] = st.container()


def pick_times(offered: Offer, _: House, fields: dict[str, Any], slots: dict[str, DeltaGenerator]) -> None:
    """For how long the meter may be on and off, and the hours in which it must be off."""
    rule = offered.rule
    with st.container(horizontal=True, vertical_alignment="bottom"):
        for field, label, minutes in (
            ("longest_on_minutes", "Longest time on, min", rule["longest_on_minutes"]),
            ("longest_off_minutes", "Longest time off, min", rule["longest_off_minutes"]),
        ):
            key = preset(f"{offered.key} {field}", minutes)
            fields[field] = st.number_input(label, 0, LONGEST_MINUTES, None, placeholder="any", key=key)
    slots["longest_on_minutes"] = slots["longest_off_minutes"] = st.container()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        for field, label, minute in (("off_from", "Must be off from", rule["off_from"]), ("off_to", "Must be off until", rule["off_to"])):
            key = preset(f"{offered.key} {field}", None if minute is None else clock_of(minute))
            fields[field] = minute_of(st.time_input(label, None, key=key, step=60))
    slots["off_from and off_to"] = st.container()


def pick_muted(offered: Offer, house: House, fields: dict[str, Any], slots: dict[str, DeltaGenerator]) -> None:
    """Until when there are no alerts."""
    until = offered.rule["muted_until"]
    until = until if until and until > offered.valid_from else None
    at = None if until is None else wall_clock(until, house.zone)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        key = preset(f"{offered.key} muted day", at and at.date())
        day = st.date_input("No alerts until", None, FIRST, LAST, key=key, format="YYYY-MM-DD")
        clock = st.time_input("Until this time", at.time() if at else time(), key=f"{offered.key} muted time", step=60)
    assert clock is not None  # it starts with a value, which cannot be cleared
    fields["muted_until"] = entered(day, clock, until, house.zone) if day else None
    slots["muted_until"] = st.container()


def pick_normal(offered: Offer, _: House, fields: dict[str, Any], slots: dict[str, DeltaGenerator]) -> None:
    """Which of what is normal stays so."""
    normal = offered.rule["normal"]
    names = {meter_rules.normal_sentence(one): one for one in normal}
    fields["normal"] = []
    if names:
        kept = st.multiselect("Normal; take away what no longer is", list(names), list(names), key=f"{offered.key} normal")
        fields["normal"] = [names[name] for name in kept]
    slots["normal"] = st.container()


st.title("Rules")
house = pick_house()
meter_id = pick_meter(queries.meters(results(), house.house_id))
shown(house, meter_id)
form(house, meter_id)

"""The rules of a house as the pages need them: those that are stored and those just sent, and from when on a new one is to hold."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from datetime import time as clock
from zoneinfo import ZoneInfo

import streamlit as st

from dashboard import meter_rules, queries
from dashboard.connection import results
from dashboard.sending import send
from smartmeter.messages.records import RuleRecord

SENT = "rules sent"
STORED_WITHIN_MS = 60_000


def now_ms() -> int:
    """The present time."""
    return round(time.time() * 1000)


def newest_ms(house_id: int, zone: ZoneInfo) -> int | None:
    """The end of the minute of a house's newest reading; None while it has no result. Without its power profile: the end of its last day."""
    newest_s, last = queries.newest(results(), house_id)
    if newest_s is not None:
        return 1000 * newest_s
    return None if last is None else round(datetime.combine(last + timedelta(days=1), clock(), zone).timestamp() * 1000)


def send_rule(rule: RuleRecord) -> None:
    """Send a rule, and keep it until it is stored. Raises UserError if Kafka does not accept it."""
    send("rules", rule, "The rule is not set")
    st.session_state.setdefault(SENT, []).append(rule)


def pending(stored: list[RuleRecord], house_id: int) -> list[RuleRecord]:
    """The rules of a house that this session has sent in the last minute and that are not stored yet."""
    newest = {(rule["meter_id"], rule["valid_from"]): rule["written"] for rule in stored}
    st.session_state[SENT] = [
        rule
        for rule in st.session_state.get(SENT, [])
        if now_ms() - rule["written"] < STORED_WITHIN_MS
        and (rule["house_id"] != house_id or newest.get((rule["meter_id"], rule["valid_from"]), -1) < rule["written"])
    ]
    return [rule for rule in st.session_state[SENT] if rule["house_id"] == house_id]


def known(house_id: int) -> list[RuleRecord]:
    """All rules of a house, by valid_from, and then those sent."""
    stored = queries.rules(results(), house_id)
    return stored + pending(stored, house_id)


def proposal(house_id: int, zone: ZoneInfo) -> tuple[int, bool]:
    """(from when on a new rule of a house is to hold, whether the house is live)."""
    newest, now = newest_ms(house_id, zone), now_ms()
    return meter_rules.proposed(newest, now), meter_rules.is_live(newest, now)

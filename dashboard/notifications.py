"""Desktop notifications of new alerts, by the browser's own Notification interface."""

from __future__ import annotations

import pandas as pd
import streamlit as st

SCRIPT = """
export default function ({ data, parentElement }) {
    const button = parentElement.querySelector("button");
    const show = () => { button.hidden = !("Notification" in window) || Notification.permission !== "default"; };
    button.onclick = () => Notification.requestPermission().then(show);
    show();
    const told = (parentElement.told ??= new Set());
    for (const { id, title, body } of data) {
        if (!told.has(id) && "Notification" in window && Notification.permission === "granted") {
            told.add(id);
            new Notification(title, { body, tag: id });
        }
    }
}
"""

_mount = st.components.v2.component("notifications", html="<button hidden>Allow notifications</button>", js=SCRIPT)


def notify(alerts: pd.DataFrame) -> None:
    """Tell of the alerts (queries.alerts) that were not there when this was called for the first time in a session."""
    known = st.session_state.setdefault("known_alerts", set(alerts["alert_id"]))
    new = alerts[~alerts["alert_id"].isin(known)]
    _mount(key="notifications", data=[{
        "id": alert.alert_id, "title": f"House {alert.house_id}: {alert.label or 'meter ' + str(alert.meter_id)}",
        "body": f"{alert.peak_watts:,.0f} W, limit {alert.limit_watts:,.0f} W"} for alert in new.itertuples()])

"""Desktop notifications of new alerts, through the browser's Notification interface."""

from __future__ import annotations

import pandas as pd
import streamlit as st

SCRIPT = """
export default function ({ data, parentElement }) {
    const button = parentElement.querySelector("button");
    const show = () => { button.hidden = !("Notification" in window) || Notification.permission !== "default"; };
    button.onclick = () => Notification.requestPermission().then(show);
    show();
    const shown = (parentElement.shown ??= new Set());
    for (const { id, title, body } of data) {
        if (!shown.has(id) && "Notification" in window && Notification.permission === "granted") {
            shown.add(id);
            new Notification(title, { body, tag: id });
        }
    }
}
"""

_mount = st.components.v2.component("notifications", html="<button hidden>Allow notifications</button>", js=SCRIPT)


def notify(alerts: pd.DataFrame) -> None:
    """Notify the user of the alerts (queries.alerts) that were not there at the session's first call."""
    known = st.session_state.setdefault("known_alerts", set(alerts["alert_id"]))
    new = alerts[~alerts["alert_id"].isin(known)]
    _mount(
        key="notifications",
        data=[
            {
                "id": alert.alert_id,
                "title": f"House {alert.house_id}: {alert.label or 'meter ' + str(alert.meter_id)}",
                "body": alert.reason,
            }
            for alert in new.itertuples()
        ],
    )

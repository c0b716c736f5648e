"""Acknowledgements of alerts, as messages of the topic acknowledgements."""

from __future__ import annotations

import time

from dashboard.sending import author, send

LONGEST_NOTE = 500


def acknowledge(alert_id: str, house_id: int, note: str, withdrawn: bool = False) -> None:
    """Acknowledge an alert, or withdraw its acknowledgement. Raises UserError if Kafka does not accept it."""
    record = {
        "alert_id": alert_id,
        "house_id": house_id,
        "note": note[:LONGEST_NOTE],
        "author": author(),
        "withdrawn": withdrawn,
        "acknowledged": round(time.time() * 1000),
    }
    send("acknowledgements", record, "The alert is not acknowledged")

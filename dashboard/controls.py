"""Choices that a user makes on several pages. They start from the URL, persist from page to page, and are written back to the URL."""

from __future__ import annotations

import csv
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import pandas as pd
import streamlit as st

from dashboard import queries
from dashboard.connection import results
from dashboard.kept import kept
from smartmeter import timezones
from smartmeter.settings import SMW

T = TypeVar("T")
MOST_LISTED = 1000
"""Houses that a user picks from a list. Any other is picked by its number."""

WHOLE_HOUSE = 0
"""The meter_id of what is about no single meter."""


@dataclass(frozen=True)
class House:
    """A house, and the first and last local day on which it has results."""

    house_id: int
    timezone: str
    zip: str
    first: date
    last: date

    @property
    def zone(self) -> ZoneInfo:
        """The house's time zone; UTC if its name is unknown."""
        return zone(self.timezone)


def house_name(row: Any) -> str:
    """A house (a row of queries.houses) as shown to the user, such as House 12 · Springfield IL 62701."""
    place = " ".join(filter(None, (row.city, row.state, row.zip)))
    return f"House {row.house_id}" + (f" · {place}" if place else "")


def zone(name: str) -> ZoneInfo:
    """The time zone with this name; UTC if there is none."""
    return timezones.zone(name if timezones.is_timezone(name) else "UTC")


def is_today(day: date, timezones: Iterable[str], now: datetime | None = None) -> bool:
    """Whether it is now that day in any of the time zones."""
    return any((now or datetime.now(UTC)).astimezone(zone(name)).date() == day for name in timezones)


def pick_house() -> House:
    """The house that the user picks, from a list of the first ones or by its number. Stops the page if there are no results yet."""
    listed = kept(queries.houses, results(), MOST_LISTED + 1)
    if listed.empty:
        no_results_yet()
    names = {row.house_id: house_name(row) for row in listed.head(MOST_LISTED).itertuples()}

    def has_results(house_id: int | None) -> bool:
        return house_id in names or (house_id is not None and len(queries.house(results(), house_id)) > 0)

    if isinstance(typed := st.session_state.get("house"), str):
        number = house_number(typed)
        st.session_state["house"] = number if has_results(number) else None  # then the previous one stays
    start("house", int, has_results, min(names))
    [picked] = queries.house(results(), st.session_state["house"]).itertuples()
    names.setdefault(picked.house_id, house_name(picked))
    st.selectbox(
        "House",
        list(names),
        format_func=lambda house_id: names.get(house_id, str(house_id)),
        key="house",
        persist_state="session",
        accept_new_options=True,
        help=f"The list has the first {MOST_LISTED:,} houses. Type the number of any other." if len(listed) > MOST_LISTED else None,
    )
    if isinstance(typed, str) and house_number(typed) != picked.house_id:
        st.warning("No house with results has that number.")
    keep("house", picked.house_id)
    return House(picked.house_id, picked.timezone, picked.zip, picked.first.date(), picked.last.date())


def house_number(text: str) -> int | None:
    """The house that a user means by a text such as 12, House 12 or its name; None if it is none."""
    number = re.fullmatch(r"\s*(?:house\s*)?(\d{1,18})\s*(?:·.*)?", text, re.ASCII | re.IGNORECASE)
    return int(number[1]) if number else None


def pick_meter(meters: pd.DataFrame) -> int:
    """The meter of a house (queries.meters) that the user picks, or WHOLE_HOUSE. The default is the mains if the house has one such meter."""
    names = {WHOLE_HOUSE: "whole house"} | {row.meter_id: f"{row.label} ({row.meter_id})" for row in meters.itertuples()}
    mains = meters[meters["kind"] == "mains"]["meter_id"]
    start("meter", int, names.__contains__, int(mains.iloc[0]) if len(mains) == 1 else WHOLE_HOUSE)
    meter_id: int = st.selectbox("Meter", list(names), format_func=names.__getitem__, key="meter", persist_state="session")
    keep("meter", meter_id)
    return meter_id


def pick_day(label: str, key: str, first: date, last: date, default: date) -> date:
    """A day from first to last that the user picks."""
    start(key, date.fromisoformat, lambda day: first <= day <= last, default)
    day = st.date_input(label, None, first, last, key=key, format="YYYY-MM-DD", persist_state="session")
    assert day is not None  # start has given it a value
    keep(key, day)
    return day


def pick_days(first: date, last: date, most: int = 30) -> tuple[date, date]:
    """The first and last day that the user picks; by default, the newest `most` days."""
    begin = pick_day("From", "from", first, last, max(first, last - timedelta(days=most - 1)))
    return begin, pick_day("To", "to", begin, last, last)


def start(key: str, parse: Callable[[str], T], fits: Callable[[T], object], default: T) -> None:
    """Set the widget with this key to its previous value, else that in the URL, else the default. Values that do not fit are ignored."""
    value = st.session_state.get(key)
    if value is None:
        try:
            value = parse(st.query_params.get(key, ""))
        except ValueError:
            value = None
    if value is None or not fits(value):
        value = default
    st.session_state[key] = value  # even if unchanged: it may belong to a widget of another page


def keep(key: str, value: object) -> None:
    """Write a picked value to the URL; an empty text removes it."""
    if value == "":
        st.query_params.pop(key, None)
    elif st.query_params.get(key) != str(value):
        st.query_params[key] = str(value)


def no_results_yet() -> None:
    """Show that there are no results yet, and stop the page."""
    st.info(
        f"There are no results yet. Send readings, for example with `{SMW} generate --houses 5 --days 3`; "
        "results appear here a few seconds later.",
        icon=":material/hourglass_empty:",
    )
    st.stop()


FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""First characters by which a spreadsheet may take a text for a formula (OWASP, "CSV Injection"). The last four are full-width."""


def to_csv(table: pd.DataFrame) -> str:
    """A table as CSV without formulas: a text that looks like one gets an apostrophe before it. Numbers are unchanged."""

    def plain(value: Any) -> Any:
        return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value

    columns = [
        column.astype(object).map(plain) if column.dtype == object or isinstance(column.dtype, pd.CategoricalDtype) else column
        for _, column in table.items()
    ]
    return (
        pd.concat(columns, axis=1).to_csv(index=False, header=[plain(name) for name in table.columns], quoting=csv.QUOTE_NONNUMERIC)
        if columns
        else ""
    )


SAVE = """
export default function ({ data, parentElement, setTriggerValue }) {
    if (!data || data.id === parentElement.saved) return;
    parentElement.saved = data.id;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([data.text], { type: "text/csv" }));
    link.download = data.name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    setTriggerValue("saved", data.id);
}
"""

_save = st.components.v2.component("save", html="<span hidden></span>", js=SAVE)


def csv_button(table: pd.DataFrame | Callable[[], pd.DataFrame], file_name: str, key: str | None = None) -> None:
    """Offer a table as a CSV file. A function is called only when the user wants the file.

    A function's table is sent to the browser as a message. Streamlit's own deferred download would lose it on pages that refresh, because
    each refresh, in any session, removes the file.
    """
    key, icon = key or file_name, ":material/download:"
    if isinstance(table, pd.DataFrame):
        st.download_button("CSV", to_csv(table), file_name, "text/csv", key=key, icon=icon, on_click="ignore", disabled=table.empty)
        return
    file = f"{key} file"
    if st.button("CSV", key=key, icon=icon):
        st.session_state[file] = {"id": time.time_ns(), "name": file_name, "text": to_csv(table())}
    _save(key=f"{key} save", data=st.session_state.get(file), on_saved_change=lambda: st.session_state.pop(file, None))

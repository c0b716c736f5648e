"""The dashboard's connection to ClickHouse, and the message shown while there is none."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import Error as ClickHouseError

from dashboard import queries
from smartmeter.errors import UserError
from smartmeter.settings import Settings
from store import client as clickhouse

TRY_AGAIN_EVERY_S = 2


@st.cache_resource(show_spinner=False)
def settings() -> Settings:
    """The settings that the dashboard was started with."""
    return Settings.load()


@st.cache_resource(show_spinner=False)
def results() -> Client:
    """The read-only client shared by all sessions. Raises UserError if there is no connection."""
    return clickhouse.reader(settings())


@contextmanager
def explained() -> Iterator[None]:
    """If ClickHouse cannot be used, show the reason in place of the rest of the page, and run the page again once it can."""
    try:
        yield
    except ClickHouseError as error:
        show_and_wait(clickhouse.reason(error, settings()))
    except UserError as error:
        show_and_wait(str(error))


def show_and_wait(sentence: str) -> None:
    """Show a message, and run the page again once ClickHouse has the tables."""
    st.error(sentence, icon=":material/cloud_off:")
    st.caption("This page continues as soon as ClickHouse answers.")
    wait_for_tables(time.monotonic())


@st.fragment(run_every=TRY_AGAIN_EVERY_S)
def wait_for_tables(shown_at: float) -> None:
    """Run the page again once there are tables, but not immediately: a page that fails for another reason would rerun without pause."""
    if time.monotonic() - shown_at < TRY_AGAIN_EVERY_S / 2:
        return
    try:
        ready = queries.has_tables(results())
    except (ClickHouseError, UserError):
        return
    if ready:
        st.rerun()

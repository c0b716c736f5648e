"""The dashboard's frame: its pages, who may see them, and the message shown while ClickHouse is away. Run by ./smw dashboard.

The pages are in views/, not in pages/: Streamlit would also serve a folder named pages/, past this frame and its login.
"""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from dashboard.connection import explained

PAGES = [
    st.Page("views/overview.py", title="Overview", icon=":material/dashboard:", default=True),
    st.Page("views/home.py", title="Home", icon=":material/home:"),
    st.Page("views/appliances.py", title="Appliances", icon=":material/kitchen:"),
    st.Page("views/map.py", title="Map", icon=":material/map:"),
    st.Page("views/alerts.py", title="Alerts", icon=":material/notifications:"),
    st.Page("views/rules.py", title="Rules", icon=":material/tune:"),
    st.Page("views/quality.py", title="Quality", icon=":material/fact_check:"),
    st.Page("views/sql.py", title="SQL", icon=":material/database:"),
    st.Page("views/replay.py", title="Replay", icon=":material/history:"),
]


def admitted() -> bool:
    """Whether the pages may be shown: to everyone without a login provider in secrets.toml, else only after login."""
    if not st.secrets.load_if_toml_exists() or "auth" not in st.secrets:
        return True
    if st.user.is_logged_in:
        st.sidebar.caption(f"Logged in as {st.user.get('email') or st.user.get('name')}")
        st.sidebar.button("Log out", on_click=st.logout)
        return True
    st.title("Smart Meter Watchdog")
    st.button("Log in", on_click=st.login, type="primary")
    return False


st.set_page_config(page_title="Smart Meter Watchdog", page_icon=str(Path(__file__).with_name("icon.svg")), layout="wide")
page = st.navigation(PAGES, position="top")
if admitted():
    with explained():
        page.run()

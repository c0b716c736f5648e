"""The dashboard as a web server that answers only at its own host names. Run by ./smw dashboard; its frame is app.py."""

from __future__ import annotations

import streamlit as st
from starlette.middleware import Middleware

from smartmeter.hosts import Gate, OwnHost
from smartmeter.settings import Settings

_settings = Settings.load()
app = st.App("app.py", middleware=[Middleware(OwnHost, gate=Gate(_settings, _settings.dashboard.address, pages=True))])

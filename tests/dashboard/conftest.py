"""Fixtures: a database with the results of results.py, an empty one, and the dashboard's pages on them, run in this process."""

from __future__ import annotations

from functools import cache

import pytest
import streamlit as st
from streamlit.components.v2 import manifest_scanner
from streamlit.runtime.scriptrunner.script_cache import ScriptCache
from streamlit.testing.v1 import AppTest, app_test, local_script_runner

from smartmeter.settings import ROOT, Settings
from store import client, schema
from tests.dashboard import results
from tests.waiting import STILL_S


@pytest.fixture(scope="session", autouse=True)
def prepared_once():
    """Prepare once, as a server does, what AppTest prepares for each page that it opens: it looks for components of Streamlit in all
    installed packages, compiles the scripts, and connects to ClickHouse, which takes a second in all.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest_scanner, "scan_component_manifests", cache(manifest_scanner.scan_component_manifests))
        for module in (app_test, local_script_runner):
            patch.setattr(module, "ScriptCache", cache(ScriptCache))
        patch.setattr(client, "reader", cache(client.reader))
        yield


def database(clickhouse: Settings, name: str) -> Settings:
    """Settings with a database of that name, with all tables and views."""
    settings = clickhouse.but(clickhouse_database=name)
    schema.create(client.writer(settings), settings)
    return settings


@pytest.fixture(scope="session")
def stored(clickhouse):
    """Settings whose database holds the results of results.py."""
    settings = database(clickhouse, "dashboard")
    results.insert_all(client.writer(settings, settings.clickhouse.database))
    return settings


@pytest.fixture(scope="session")
def empty(clickhouse):
    """Settings whose database has all tables and views, and no row."""
    return database(clickhouse, "dashboard_empty")


@pytest.fixture(scope="session")
def db(stored):
    return client.reader(stored)


@pytest.fixture(scope="session")
def nothing(empty):
    return client.reader(empty)


@pytest.fixture
def dashboard_on(kafka, monkeypatch):
    """dashboard_on(settings) gives a function that opens a page by its name and the parameters of its URL."""

    def on(settings: Settings):
        for name, value in settings.environ().items():
            monkeypatch.setenv(name, value)
        st.cache_resource.clear()
        return page

    yield on
    st.cache_resource.clear()


def page(name: str = "overview", **query: str) -> AppTest:
    """A page in the dashboard's frame that has run once."""
    app = frame()
    app.query_params.update(query)
    return ran(app.switch_page(f"views/{name}.py"))


def frame() -> AppTest:
    """The dashboard before it has run."""
    return AppTest.from_file(ROOT / "dashboard" / "app.py", default_timeout=STILL_S)


def ran(changed) -> AppTest:
    """The dashboard once it has run with a widget, or itself, changed. Fails when it shows an exception."""
    app = changed.run()
    assert not app.exception, app.exception[0].message
    return app


def texts(elements) -> list[str]:
    return [element.value for element in elements]


def metrics(app: AppTest) -> dict[str, str]:
    """The values of the metrics; of those with the same label the last one's."""
    return {metric.label: metric.value for metric in app.metric}


@pytest.fixture
def visit(dashboard_on, stored):
    """Opens pages of the dashboard on the results of results.py."""
    return dashboard_on(stored)

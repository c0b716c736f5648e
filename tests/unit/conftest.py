"""Failed assertions of the helpers show their values, as those of the test files do. Tests that count what is drawn draw the same in each run."""

import pytest
from hypothesis.internal.cache import LRUCache
from hypothesis.internal.conjecture import providers
from hypothesis.internal.constants_ast import Constants

pytest.register_assert_rewrite("tests.unit.driver", "tests.unit.flink_stand_in", "tests.unit.outcomes")


@pytest.fixture
def drawn_alike(monkeypatch):
    """Hypothesis draws the same in each run. It would also draw constants in the sources of the modules that other tests have imported."""
    monkeypatch.setattr(providers, "_get_local_constants", Constants)
    monkeypatch.setattr(providers, "CONSTANTS_CACHE", LRUCache(1024))

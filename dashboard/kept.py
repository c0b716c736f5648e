"""Answers that took ClickHouse long. They are kept for a while and shared by all sessions, so its work does not grow with the open pages."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast
from weakref import WeakValueDictionary

import streamlit as st

LONG_S = 0.3
"""An answer that took less is never kept."""

TIMES = 20
"""An answer is kept for this many times as long as it took."""

P = ParamSpec("P")
T = TypeVar("T")


class Kept:
    """The kept answers, by query and arguments."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._answers: dict[Any, tuple[Any, float]] = {}  # and until when each is kept
        self._lock = threading.Lock()
        self._locks: WeakValueDictionary[Any, threading.Lock] = WeakValueDictionary()  # of the keys for which a session waits

    def answer(self, key: Any, query: Callable[[], T]) -> T:
        """The kept answer under a key, else that of the query. Sessions that need the same one at the same time share one query."""
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            found = self._answers.get(key)
            begun = self._clock()
            if found and begun < found[1]:
                return cast(T, found[0])
            answer = query()
            ended = self._clock()
        with self._lock:
            self._answers = {key: kept for key, kept in self._answers.items() if ended < kept[1]}
            if ended - begun > LONG_S:
                self._answers[key] = answer, ended + TIMES * (ended - begun)
        return answer


@st.cache_resource(show_spinner=False)
def _kept() -> Kept:
    return Kept()


def kept(query: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """The answer of a function of dashboard/queries.py, perhaps a kept one."""
    key = (query.__name__, arguments, tuple(named.items()))
    return _kept().answer(key, lambda: query(*arguments, **named))

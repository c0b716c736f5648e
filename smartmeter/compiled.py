"""The decorator of functions that Numba compiles: plain loops over NumPy arrays, at the speed of C.

Compiled code is cached in __pycache__, so only the first process to call a function waits for the compiler. The cache is keyed by the
content of the sources: a copy in another folder, or with other file times, uses it too.
"""

from __future__ import annotations

import builtins
import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any


def _python_print() -> Any:
    """Python's own print. PyFlink's worker replaces it with a method, with which Numba cannot be imported."""
    return getattr(getattr(print, "__self__", None), "_print", print)


_print, builtins.print = print, _python_print()
try:
    from numba import njit
    from numba.core import caching
    from numba.core.types import unliteral
finally:
    builtins.print = _print


def sources_stamp(root: Path) -> str:
    """A hash of all sources under root that have compiled functions."""
    stamp = hashlib.sha256()
    for source in sorted(path for folder in ("jobs", "smartmeter") for path in (root / folder).rglob("*.py")):
        if b"\n@compiled" in (text := source.read_bytes()):
            stamp.update(text)
    return stamp.hexdigest()


STAMP = sources_stamp(Path(__file__).resolve().parent.parent)


class _InTree(caching.InTreeCacheLocator):
    """Numba's own stamp covers one file: it would keep a function after a change to a function that it calls in another file."""

    def get_source_stamp(self) -> str:
        return STAMP


class _UserProvided(caching.UserProvidedCacheLocator):
    get_source_stamp = _InTree.get_source_stamp


class _UserWide(caching.UserWideCacheLocator):
    get_source_stamp = _InTree.get_source_stamp

    def ensure_cache_path(self) -> None:
        """The last resort: where nothing can be written, as in a container with a read-only root, what is there is read."""
        with suppress(OSError):
            super().ensure_cache_path()  # type: ignore[no-untyped-call]


class _CacheFiles(caching.CompileResultCacheImpl):
    _locator_classes = [_UserProvided, _InTree, _UserWide]  # noqa: RUF012 (as Numba has it)


class _Cache(caching.FunctionCache):
    _impl_class = _CacheFiles

    def save_overload(self, sig: object, data: object) -> None:
        with suppress(OSError):  # of a folder that cannot be written
            super().save_overload(sig, data)  # type: ignore[no-untyped-call]


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, compiled on its first call with each combination of argument types, or loaded from the cache."""
    dispatcher: Callable[..., Any] = njit(function)
    dispatcher._cache = _Cache(function)  # type: ignore[attr-defined, no-untyped-call]  # both are Numba's
    by_types = dispatcher.get_call_template  # type: ignore[attr-defined]
    # Numba would compile the function once more for a call with a constant, and again for the constant's type.
    dispatcher.get_call_template = lambda args, kws: by_types(tuple(map(unliteral, args)), kws)  # type: ignore[attr-defined]
    return dispatcher

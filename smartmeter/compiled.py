"""The mark of functions that Numba compiles: plain loops over NumPy arrays, at the speed of C.

What is compiled is kept in __pycache__, so that only the first process to call a function waits for its compiler.
"""

from __future__ import annotations

import builtins


def _python_print():
    """Python's own print, where PyFlink's worker has put a method of its own in its place, on which Numba's import stumbles."""
    return getattr(getattr(print, "__self__", None), "_print", print)


_print, builtins.print = print, _python_print()
try:
    from numba import njit
finally:
    builtins.print = _print

compiled = njit(cache=True)

"""Warming up: no loop is left for a job to wait for."""

import importlib
import pkgutil
import subprocess
import sys

import jobs
from smartmeter.settings import ROOT

NOT_COMPILED = """
import sys
from numba.core.dispatcher import Dispatcher
from jobs import warm_up
warm_up.main()
loops = {f"{module.__name__}.{name}": value for module in list(sys.modules.values()) if module.__name__.startswith(("jobs.", "smartmeter."))
         for name, value in vars(module).items() if isinstance(value, Dispatcher)}
ready, unseen = set(), [loop for loop in loops.values() if loop.signatures]
while unseen:  # a loop that comes from the cache has those that it calls in it
    if (loop := unseen.pop()) not in ready:
        ready.add(loop)
        called = (loop.py_func.__globals__.get(name) for name in loop.py_func.__code__.co_names)
        unseen += [other for other in called if isinstance(other, Dispatcher)]
print(len(loops), sorted(name for name, loop in loops.items() if loop not in ready))
"""


def test_every_compiled_loop_is_compiled_by_it():
    results = subprocess.run(
        [sys.executable, "-P", "-c", NOT_COMPILED], cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
    )
    count, none = results.stdout.split(" ", 1)
    assert none.strip() == "[]"
    modules = [importlib.import_module(module.name) for module in pkgutil.walk_packages(jobs.__path__, "jobs.")]
    assert int(count) >= sum(hasattr(value, "py_func") for module in modules for value in vars(module).values())

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

COMPILED_LATER = """
import sys
from datetime import date, timedelta
from numba.core.dispatcher import Dispatcher
from generator.bursts import in_order
from generator.synthetic import SyntheticHouse
from jobs import warm_up
from smartmeter.settings import Settings
from tests.unit.driver import pipeline

def signatures():
    return {(name, str(signature)) for module in list(sys.modules.values()) if module.__name__.startswith("jobs.")
            for name, value in vars(module).items() if isinstance(value, Dispatcher) for signature in value.signatures}

warm_up.main()
before, first = signatures(), date(2026, 3, 3)
bursts = list(in_order([SyntheticHouse(1, seed=1)], first, first + timedelta(days=9), 6 * 3600))
_, ended, _ = pipeline(bursts, [3, 8, 1], Settings())
print(len(ended.last("alerts")) > 0, sorted(name for name, _ in signatures() - before))
"""


def test_a_generated_house_needs_no_loop_for_other_types():
    """Where the compiled loops of the image cannot be added to, each worker would compile them again."""
    assert printed_by(COMPILED_LATER) == "True []\n"


def test_every_compiled_loop_is_compiled_by_it():
    count, none = printed_by(NOT_COMPILED).split(" ", 1)
    assert none.strip() == "[]"
    modules = [importlib.import_module(module.name) for module in pkgutil.walk_packages(jobs.__path__, "jobs.")]
    assert int(count) >= sum(hasattr(value, "py_func") for module in modules for value in vars(module).values())


def printed_by(program: str) -> str:
    run = subprocess.run([sys.executable, "-P", "-c", program], cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout

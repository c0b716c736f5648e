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
print(len(loops), sorted(name for name, loop in loops.items() if not loop.signatures))
"""


def test_every_compiled_loop_is_compiled_by_it(tmp_path):
    results = subprocess.run([sys.executable, "-P", "-c", NOT_COMPILED], cwd=ROOT, env={"PYTHONPATH": str(ROOT), "NUMBA_CACHE_DIR": str(tmp_path)},
                          capture_output=True, text=True, check=True)
    count, none = results.stdout.split(" ", 1)
    assert none.strip() == "[]"
    modules = [importlib.import_module(module.name) for module in pkgutil.walk_packages(jobs.__path__, "jobs.")]
    assert int(count) >= sum(hasattr(value, "py_func") for module in modules for value in vars(module).values())

"""The compiled loops of this checkout, for copies of it: to compile them takes the better part of a minute."""

from __future__ import annotations

import shutil
from pathlib import Path

from smartmeter.settings import ROOT


def copy_compiled(folder: Path, leave_out: str = "") -> None:
    """Copy all of them into another root folder, but those of the function leave_out (module.function)."""
    for compiled in ROOT.glob("[!.]*/**/__pycache__/*.nb[ic]"):
        if compiled.name.split("-")[0] != leave_out:
            target = folder / compiled.relative_to(ROOT)
            target.parent.mkdir(exist_ok=True)
            shutil.copy2(compiled, target)

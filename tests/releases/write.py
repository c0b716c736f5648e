"""Keeps the state that this release leaves: `python -m tests.releases.write NAME`. README.md describes the file."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

from smartmeter.messages.codec import encode_burst
from tests.releases.log import BOUNDS, DESCRIPTIONS, END_MINUTE, RULES, SETTING, bursts
from tests.unit.driver import pipeline


def main() -> None:
    """Write the log's messages, and the state of the operator after those before the release's end."""
    before, after = ([encode_burst(b) for b in bursts(*span)] for span in ((0, END_MINUTE), (END_MINUTE, BOUNDS[-1])))
    _, _, flink = pipeline(before, [3], SETTING, rules=RULES, houses=DESCRIPTIONS, ends=False)
    values = {f"before/{number:03}": message for number, message in enumerate(before)}
    values |= {f"after/{number:03}": message for number, message in enumerate(after)}
    values |= {f"state/{shard}/{key}": value for shard, of_shard in flink.state.items() for key, value in of_shard.items()}
    folder = Path(__file__).parent / sys.argv[1]
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / "state.zip", "w") as file:
        for name, value in sorted(values.items()):
            file.writestr(zipfile.ZipInfo(name), value, zipfile.ZIP_DEFLATED)


if __name__ == "__main__":
    main()

"""How tests and benchmarks start Chromium: the system's, without a window, going nowhere by itself.

The headless shell, Chromium without its own user interface, takes 16 s of CPU for what the whole program takes 28 s.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from shutil import which

from playwright.sync_api import Page, expect, sync_playwright

from tests.waiting import STILL_S

PAGES = ("overview", "home", "appliances", "map", "alerts", "rules", "quality", "sql", "replay")
PATIENCE_MS = STILL_S * 1000
CHROMIUM = dict(
    executable_path=which("chromium-headless-shell") or which("chromium"),
    args=[
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ],
)

expect.set_options(timeout=PATIENCE_MS)


@contextmanager
def browser_page() -> Iterator[Page]:
    """A page in a browser of its own."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(**CHROMIUM)
        yield browser.new_page()
        browser.close()

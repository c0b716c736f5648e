"""Time zones of the IANA database, from the pinned package tzdata.

Every program takes names and rules from that package, never from the files of its machine. So results do not depend on where a job runs,
and no name from outside becomes a path.
"""

from __future__ import annotations

import zoneinfo
from functools import cache, lru_cache
from importlib.resources import files

from smartmeter.errors import UserError

NO_PLACES = {"Factory", "localtime", "posixrules"}
"""Names in the database that are not a place or rule of their own."""

zoneinfo.reset_tzpath(())
zoneinfo.ZoneInfo.clear_cache()


@cache
def names() -> frozenset[str]:
    """The canonical names and their links, about 600."""
    return frozenset((files("tzdata") / "zones").read_text().split()) - NO_PLACES


def is_timezone(name: str) -> bool:
    """Whether this is a name of the database."""
    return name in names()


@lru_cache
def zone(name: str) -> zoneinfo.ZoneInfo:
    """The time zone of a name. Raises UserError for one that is not in the database."""
    if not is_timezone(name):
        raise UserError(f"unknown time zone {name[:100]!r}: give an IANA name such as Europe/London")
    return zoneinfo.ZoneInfo(name)

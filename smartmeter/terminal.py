"""Text from outside on a terminal. Its control characters could move the cursor, overwrite the screen, or worse."""

from __future__ import annotations

import re

CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters of C0 and C1, bidirectional controls, line and paragraph separators, lone surrogates."""


def printable(text: str, keep: str = "") -> str:
    """The text with control characters other than `keep` escaped as in Python: \\x1b for ESC.

    >>> printable("a\\x1b[2Jb\\n")
    'a\\\\x1b[2Jb\\\\n'
    """
    return CONTROL.sub(lambda found: found[0] if found[0] in keep else found[0].encode("unicode_escape").decode(), text)

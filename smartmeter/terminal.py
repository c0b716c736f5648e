"""Text from outside on a terminal: it may hold control characters, by which it could move the cursor, change what stands there, or worse."""

from __future__ import annotations

import re

CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters of C0 and C1, those that change the direction of text, line and paragraph separators, lone surrogates."""


def printable(text: str, keep: str = "") -> str:
    """The text with each control character, but those to be kept, as Python would write it: \\x1b for ESC.

    >>> printable("a\\x1b[2Jb\\n")
    'a\\\\x1b[2Jb\\\\n'
    """
    return CONTROL.sub(lambda found: found[0] if found[0] in keep else found[0].encode("unicode_escape").decode(), text)

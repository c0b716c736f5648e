"""The one kind of error that the command line shows as a sentence, without a traceback; and how a program of ours ends that crashed."""

CRASHED = 70
"""Exit code of a program of ours that has crashed; EX_SOFTWARE of sysexits.h."""


class UserError(Exception):
    """A mistake that the user can mend; its message is the one sentence that is shown."""

"""The error that the command line shows as one sentence without a traceback, and exit codes."""

CRASHED = 70
"""Exit code of a program of this project that has crashed: EX_SOFTWARE of sysexits.h."""
INTERRUPTED = 130
"""Exit code of a command that was ended by Ctrl-C, or by another signal that asks it to end."""


class UserError(Exception):
    """A mistake that the user can correct. Its message is the one sentence that is shown."""

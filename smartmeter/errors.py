"""The error that the command line shows as one sentence without a traceback, and the exit code of a crash."""

CRASHED = 70
"""Exit code of a program of this project that has crashed: EX_SOFTWARE of sysexits.h."""


class UserError(Exception):
    """A mistake that the user can correct. Its message is the one sentence that is shown."""

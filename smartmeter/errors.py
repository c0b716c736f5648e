"""The one kind of error that the command line shows as a sentence, without a traceback."""


class UserError(Exception):
    """A mistake that the user can mend; its message is the one sentence that is shown."""

"""The one exception that reaches a person as a single line."""


class InputError(ValueError):
    """What somebody gave us cannot be used. The message says what, which file, and what to do.

    Command-line programs print it as one line and exit with code 2; anything else is a bug and keeps its traceback.
    """

"""The error of the stack. Nothing here imports more than Python has."""


class StackError(RuntimeError):
    """The servers do not do as they should; the message names the server, the reason and where to look."""

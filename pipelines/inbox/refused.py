"""Why an object cannot be used, or not yet."""

from __future__ import annotations


class Refused(Exception):
    """The content or the name of an object cannot be used; the message names what and the remedy."""

    def __init__(self, reason: str, detail: str, *, may_pass: bool = False) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail
        self.may_pass = may_pass
        """It may be that the upload is not finished: the file is left alone for `inbox.settle_s` first."""


class Waits(Exception):
    """An object stays where it is until a later poll; the message says for what."""

"""The outcomes of one attempt at a request, by what to do next."""

from __future__ import annotations

from dataclasses import dataclass

from hpt_core.rollout.endpoint.response_log import PromptRefused, ServerResponse


@dataclass(frozen=True)
class TransientFailure:
    """This attempt failed; another one may succeed."""

    reason: str
    wait: float = 0.0
    """Seconds that the server asks the client to wait."""
    refusal: bool = False
    """If all attempts end so, the server may refuse this prompt."""


@dataclass(frozen=True)
class Declined:
    """The server declines the request: because of this prompt, or as it would decline any."""

    reason: str
    remedy: str = "Change the parameter that the server does not accept"
    names_parameter: bool = False
    """The server names what it does not accept, and every request has that."""


@dataclass(frozen=True)
class PermanentFailure:
    """Every request will fail until a person changes something."""

    reason: str
    remedy: str
    """A format string with the fields `key` and `section`, which the client fills in."""


class RequestFailed(Exception):
    """A request failed for good, so no further request is started."""

    def __init__(self, reason: str, remedy: str) -> None:
        """`remedy` is a format string as in `PermanentFailure`."""
        self.reason, self.remedy = reason, remedy


Reply = ServerResponse | PromptRefused | TransientFailure | Declined | PermanentFailure

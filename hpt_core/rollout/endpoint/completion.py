"""Logged replies as completions."""

from __future__ import annotations

from hpt_core.config.endpoint import Reasoning
from hpt_core.rollout.endpoint.finish_reason import end_of
from hpt_core.rollout.endpoint.message import with_reasoning
from hpt_core.rollout.endpoint.response_log import PromptRefused, ServerResponse
from hpt_core.types import Completion


def as_completion(
    reply: ServerResponse | PromptRefused, max_tokens: int, reasoning: Reasoning = "omit"
) -> Completion:
    """The reply as a completion, billed with `max_tokens` if the server did not count its tokens."""
    tokens = max_tokens if reply.tokens is None else reply.tokens
    if isinstance(reply, PromptRefused):
        return Completion("", (), (), "stop", billed=tokens, error=reply.reason)
    response = reply.content
    if reply.reasoning is not None and reasoning == "think":
        response = with_reasoning(reply.content, reply.reasoning)
    end = end_of(reply.finish_reason)
    if any("\ud800" <= c <= "\udfff" for c in response):
        error = "the response holds half a surrogate pair"
    elif not response.strip() and reply.reasoning is not None:
        error = (
            f"the model wrote reasoning only, and no answer (finish_reason {reply.finish_reason!r}); raise "
            "max_new_tokens if it was cut off"
        )
    elif end == "stop" or end == "length":
        return Completion(response, (), (), end, billed=tokens)
    else:
        error = f"the server ended it with finish_reason {reply.finish_reason!r}"
    return Completion("", (), (), "stop", billed=tokens, error=error)

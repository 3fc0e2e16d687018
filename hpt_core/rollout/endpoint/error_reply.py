"""What to do after an error of a server."""

from __future__ import annotations

import re
from collections.abc import Collection

from hpt_core.rollout.endpoint import error_words as words
from hpt_core.rollout.endpoint.outcome import Declined, PermanentFailure, Reply, TransientFailure
from hpt_core.rollout.endpoint.response_log import PromptRefused
from hpt_core.rollout.endpoint.server_error import ServerError

RETRIED = {408, 409, 424, 425, 429, 498, 499}
"""Status codes below 500 after which a request is sent again; all codes from 500 on are retried too. TGI
sends 424 where a generation failed, Groq 498 where its capacity is exceeded."""
OF_EVERY_REQUEST = {401, 402, 404, 405, 407}
"""Status codes for a key, an account, an address or a proxy; not 403, which xAI's filter sends too."""
SET_KEY = "Set {key} to a key that this server accepts"
REMEDIES = {
    401: SET_KEY,
    402: "Top up the account",
    403: "Set {key} to a key that may use this model, or correct {section}.model",
    404: "Correct {section}.model or {section}.url",
    407: "Put the proxy's user and password into the proxy variable",
}
CORRECT_URL = (
    "Correct {section}.url: it is the address up to the version, mostly with /v1 at its end; Azure needs "
    "{section}.query: {{api-version: ...}} too"
)


def read_error(status: int, error: ServerError, reason: str, wait: float, fields: Collection[str]) -> Reply:
    """What an error means, by its words first: hosts choose the status code as they like."""
    if error.says(words.ACCOUNT) or (status == 429 and not wait and error.says(words.SOFT_QUOTA)):
        return PermanentFailure(reason, "Top up the account, or have it activated")
    if error.says(words.TOO_LARGE):
        return Declined(reason, "Lower max_new_tokens, or raise the account's limit of tokens per minute")
    if status in RETRIED:
        return TransientFailure(reason, wait)
    if status in (400, 422) and error.says(words.BUSY):
        return TransientFailure(reason, wait)
    of_prompt = status in (413, 451) or error.says(words.FILTERED) or error.says(words.CONTEXT)
    if of_prompt and status not in OF_EVERY_REQUEST:
        return PromptRefused(reason)
    if status >= 500:
        return TransientFailure(reason, wait)
    if error.says(words.KEY):
        return PermanentFailure(reason, SET_KEY)
    if status in (404, 405) and not error.says(r"\bmodel|deployment|endpoints found"):
        return PermanentFailure(reason, CORRECT_URL)
    if status in REMEDIES:
        return PermanentFailure(reason, REMEDIES[status])
    return _declined(error, reason, fields)


def _declined(error: ServerError, reason: str, fields: Collection[str]) -> Declined | PermanentFailure:
    if error.says(words.TLS_PORT):
        return PermanentFailure(reason, "Write https:// in {section}.url")
    if error.says(words.ONLY_STREAM):
        return PermanentFailure(reason, "Set {section}.stream: true")
    if named := _named_parameter(error, fields):
        better = re.search(r"use ['\"`]?(\w+)['\"`]? instead", error.words)
        new = better[1] if better else "null"
        change = "renames it" if better else f"leaves it out, unless another value of {named} does"
        remedy = f"{{section}}.parameters: {{{{{named}: {new}}}}} {change}"
        change_it = f"Change the parameter that the server does not accept: {remedy}"
        if named == "seed" and error.says(words.SEED):
            return PermanentFailure(
                reason, change_it
            )  # Other seeds may pass, so this says nothing of the prompt.
        # A limit of tokens may be that of this prompt with its response.
        return Declined(reason, change_it, names_parameter=error.says(words.NOT_TAKEN))
    if error.says(words.NO_SYSTEM):
        return Declined(reason, "Set {section}.system_prompt: null", names_parameter=True)
    if error.says(words.MODEL):
        return PermanentFailure(reason, REMEDIES[404])
    return Declined(reason)


def _named_parameter(error: ServerError, fields: Collection[str]) -> str | None:
    """The field of the request that the error names; `max_tokens` has several names."""
    for name in sorted(set(fields) - {"model", "messages", "stream"}):
        aliases = r"max_(new_|completion_|output_)?tokens" if name == "max_tokens" else re.escape(name)
        if error.says(rf"(?<![\w-]){aliases}(?![\w-])"):
            return name
    return None

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
OF_THE_REQUEST = {400, 406, 413, 415, 422}
"""Status codes with which a server declines a request: this prompt, or every one."""
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
    if status in OF_THE_REQUEST and error.says(words.BUSY):
        return TransientFailure(reason, wait)
    if _may_concern_one_prompt(status) and (error.says(words.FILTERED) or error.says(words.CONTEXT)):
        return PromptRefused(reason)
    if status in (413, 451):
        return PromptRefused(reason)
    if status >= 500:
        return TransientFailure(reason, wait)
    if error.says(words.KEY):
        return PermanentFailure(reason, SET_KEY)
    if status in OF_THE_REQUEST:
        return _declined(error, reason, fields)
    if status in (404, 405) and not error.says(r"\bmodel|deployment|endpoints found"):
        return PermanentFailure(reason, CORRECT_URL)
    return PermanentFailure(reason, REMEDIES.get(status, CORRECT_URL))


def _may_concern_one_prompt(status: int) -> bool:
    """True unless it is a code for a key, an account or an address; xAI's filter answers with 403."""
    return status in (403, 451) or status in OF_THE_REQUEST or status >= 500


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

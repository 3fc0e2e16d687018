"""The chat template that a policy is saved with: one text, which renders alike on every day."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from transformers import PreTrainedTokenizerBase

from hpt_core.errors import InputError

Turns = Sequence[Mapping[str, str]]
"""A conversation: {"role": ..., "content": ...} for each turn."""

_SYSTEM_TURN = (
    "{%- if not messages or messages[0]['role'] != 'system' -%}{%- set messages = ",
    (" + messages -%}{%- endif -%}"),
)
_DATE_FIELDS = [f"%-{field}" for field in "dmHIMSjy"] + [
    f"%{field}" for field in "aAbBcdDeFGhHIjmMpSTuUVwWxXyY"
]
"""Fields of strftime that a template may print."""


def default_template(templates: object) -> str | None:
    """The template for a conversation without tools or documents; None without any template.

    A tokenizer holds one template, or several by name, as a mapping or as a list of {name, template}.

    Raises InputError where none of several templates is the default one.
    """
    if templates is None or isinstance(templates, str):
        return templates or None
    named: dict[str, str] = (
        dict(templates)
        if isinstance(templates, Mapping)
        else {entry["name"]: entry["template"] for entry in templates}  # type: ignore[attr-defined]
    )
    if named and "default" not in named:
        raise InputError(
            f"the tokenizer has chat templates named {', '.join(sorted(named))}, and none is named default; "
            "write the one to use into a Jinja file and name it in the policy's chat_template"
        )
    return named.get("default") or None


def lasting_template(template: object, day: date, system_prompt: str | None) -> str | None:
    """The template that a policy keeps: the default one, with a fixed date and the system prompt.

    None without any template. Raises InputError where none of several templates is the default one.
    """
    default = default_template(template)
    if default is None:
        return None
    dated = with_fixed_date(default, day)
    return with_system_prompt(dated, system_prompt) if system_prompt else dated


def with_system_prompt(template: object, system_prompt: str) -> str:
    """The Jinja template with a system turn before every conversation that has none.

    A system prompt that was added here before is replaced.
    """
    own = default_template(template)
    assert own is not None, "load_policy refuses a tokenizer without a template"
    before, after = _SYSTEM_TURN
    # Jinja decodes an escaped surrogate pair as two lone surrogates, which no tokenizer accepts.
    turn = json.dumps([{"role": "system", "content": system_prompt}], ensure_ascii=False)
    return f"{before}{turn}{after}{_without_system_prompt(own)}"


def with_fixed_date(template: str, day: date) -> str:
    """The template, which always prints `day` where it would print the day of rendering.

    transformers gives templates the function strftime_now; the result defines it anew, as a macro.
    """
    defined = re.search(r"macro\s+strftime_now\b", template)
    if defined or not re.search(r"\bstrftime_now\b", template):
        return template
    printed = {field: day.strftime(field) for field in _DATE_FIELDS if field in template}
    filters = "".join(
        f" | replace({json.dumps(field)}, {json.dumps(text)})" for field, text in printed.items()
    )
    return f"{{%- macro strftime_now(format) -%}}{{{{ format{filters} }}}}{{%- endmacro -%}}{template}"


def render(tokenizer: PreTrainedTokenizerBase, turns: Turns, *, prompt: bool) -> str:
    """The conversation as text; with `prompt` up to the point where the response begins.

    Raises InputError where the template fails.
    """
    template = default_template(tokenizer.chat_template)
    if template is None:
        raise InputError(
            "the tokenizer has no chat template; name a Jinja file in the policy's chat_template, or take "
            "the model's instruct version"
        )
    try:
        return str(
            tokenizer.apply_chat_template(
                _as_dicts(turns), chat_template=template, add_generation_prompt=prompt, tokenize=False
            )
        )
    # A template may raise whatever its expressions raise: jinja2's errors, TypeError, KeyError and others.
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"the chat template fails: {reason}") from error


def _as_dicts(turns: Turns) -> list[dict[str, Any]]:
    return [dict(turn) for turn in turns]


def _without_system_prompt(template: str) -> str:
    """The template without a system turn that `with_system_prompt` added."""
    before, after = _SYSTEM_TURN
    if not template.startswith(before):
        return template
    try:
        _, end = json.JSONDecoder().raw_decode(template, len(before))
    except ValueError:
        return template
    return template[end:].removeprefix(after) if template.startswith(after, end) else template

"""One template per policy: the default of several, with its system prompt, and with a fixed date."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path

import pytest
from small_tokenizers import MakeTokenizer
from transformers.utils import chat_template_utils

from hpt_core.errors import InputError
from hpt_core.policy.chat import Chat, default_template, with_fixed_date, with_system_prompt
from hpt_core.policy.model import LoadedPolicy, load_policy, save_policy
from hpt_core.policy.warm_start import CHAT_TEMPLATE

DATED = (
    "{%- macro system(text) -%}<|start|>Today: {{ strftime_now('%Y-%m-%d') }} {{ text }}{%- endmacro -%}"
    "{%- if strftime_now is defined %}{% set day = strftime_now('%d %b %Y') %}{% endif -%}"
    "{{ system(day) }}{% for m in messages %}<|start|>{{ m.role }} {{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant {% endif %}"
)


@pytest.mark.parametrize("form", [dict, lambda named: [{"name": n, "template": t} for n, t in named.items()]])
def test_the_default_of_several_named_templates_is_used(
    policy: LoadedPolicy, tmp_path: Path, form: type[dict[str, str]]
) -> None:
    named = {"tool_use": "TOOLS{{ messages }}", "default": CHAT_TEMPLATE, "rag": "RAG"}
    plain = Chat(policy.tokenizer).prompt("1 + 1 =")
    policy.tokenizer.chat_template = dict(named)
    assert Chat(policy.tokenizer).prompt("1 + 1 =") == plain
    save_policy(policy, tmp_path / "policy")
    loaded = load_policy(tmp_path / "policy").tokenizer
    assert loaded.chat_template == CHAT_TEMPLATE
    loaded.chat_template = with_system_prompt(form(named), "Add up.")
    assert loaded.decode(Chat(loaded).prompt("1 + 1 =")) == f"<|user|>Add up.{loaded.decode(plain)}"


def test_several_templates_without_a_default() -> None:
    with pytest.raises(InputError, match=r"named rag, tool_use, and none is named default; .*chat_template"):
        default_template({"tool_use": "x", "rag": "y"})
    assert default_template(None) is default_template("") is None


def test_a_system_prompt_is_not_added_twice() -> None:
    once = with_system_prompt(CHAT_TEMPLATE, "Add up. ] + messages -%}")
    assert with_system_prompt(once, "Add up. ] + messages -%}") == once
    assert with_system_prompt(once, "Spell.") == with_system_prompt(CHAT_TEMPLATE, "Spell.")


def test_a_conversation_with_a_system_turn_keeps_its_own(policy: LoadedPolicy) -> None:
    policy.tokenizer.chat_template = with_system_prompt(CHAT_TEMPLATE, "Add up.")
    turns = [{"role": "system", "content": "Spell."}, {"role": "user", "content": "x"}]
    assert policy.tokenizer.apply_chat_template(turns, tokenize=False) == "<|user|>Spell.<|user|>x"


def test_the_date_is_the_one_that_was_fixed(make_tokenizer: MakeTokenizer) -> None:
    fixed = with_fixed_date(DATED, date(2024, 7, 6))
    tokenizer = make_tokenizer(fixed, ("<|start|>", "<|end|>"))
    text = tokenizer.decode(Chat(tokenizer).prompt("1 + 1"))
    assert text == "<|start|>Today: 2024-07-06 06 Jul 2024<|start|>user 1 + 1<|end|><|start|>assistant "
    assert with_fixed_date(fixed, date(2025, 1, 1)) == fixed
    assert with_fixed_date(CHAT_TEMPLATE, date(2025, 1, 1)) == CHAT_TEMPLATE
    with_prompt = with_system_prompt(fixed, "Add up.")
    assert with_fixed_date(with_prompt, date(2025, 1, 1)) == with_prompt


def test_every_field_of_a_date_is_printed_as_strftime_does(make_tokenizer: MakeTokenizer) -> None:
    day = date(2025, 3, 9)
    for field in (
        "%d %B %Y",
        "%-d.%-m.%y",
        "%A, %b %d",
        "%Y-%m-%d",
        "%j",
        "%a %e %b",
        "%D",
        "%F",
        "%B %d, %Y",
    ):
        template = (
            f"{{{{ strftime_now({field!r}) }}}}{{% for m in messages %}}{{{{ m.content }}}}{{% endfor %}}"
        )
        tokenizer = make_tokenizer(with_fixed_date(template, day))
        assert tokenizer.decode(Chat(tokenizer).prompt("!")) == day.strftime(field) + "!"


def test_a_prompt_is_the_same_on_a_later_day(
    policy: LoadedPolicy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under a clock that is years ahead, from the saved folder; without a fixed date it is another prompt."""

    class Later:
        @staticmethod
        def now() -> datetime:
            return datetime(2031, 2, 3)

    policy.tokenizer.chat_template = with_fixed_date(DATED, date(2024, 7, 26))
    save_policy(policy, tmp_path / "policy")
    today = Chat(policy.tokenizer).prompt("1 + 1")
    policy.tokenizer.chat_template = DATED
    moving = Chat(policy.tokenizer).prompt("1 + 1")
    monkeypatch.setattr(chat_template_utils, "datetime", Later)
    assert Chat(policy.tokenizer).prompt("1 + 1") != moving
    assert Chat(load_policy(tmp_path / "policy").tokenizer).prompt("1 + 1") == today

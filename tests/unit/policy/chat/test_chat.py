"""Text to tokens under the chat template of a policy's folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpt_core.policy.chat import Chat, with_system_prompt
from hpt_core.policy.model import LoadedPolicy, load_policy, save_policy
from hpt_core.types import Prompt


def test_prompt_and_response_make_up_the_conversation(policy: LoadedPolicy) -> None:
    chat = Chat(policy.tokenizer)
    turns = [{"role": "user", "content": "1 + 1 ="}, {"role": "assistant", "content": "2"}]
    conversation = policy.tokenizer.apply_chat_template(turns, return_dict=False)
    assert chat.prompt("1 + 1 =") + chat.response("2") == conversation
    assert chat.response("2")[-1] == policy.tokenizer.eos_token_id


@pytest.mark.parametrize(
    "system",
    ["Think step by step.", 'Box "the" answer\nas \\boxed{…}.', "{{ messages }} {% raw %} -%}", "Naïve 🦊 𐍈"],
)
def test_a_system_prompt_survives_save_and_load(policy: LoadedPolicy, tmp_path: Path, system: str) -> None:
    tokenizer = policy.tokenizer
    plain = Chat(tokenizer).prompt("1 + 1 =")
    tokenizer.chat_template = with_system_prompt(tokenizer.chat_template, system)
    save_policy(policy, tmp_path / "policy")
    loaded = load_policy(tmp_path / "policy").tokenizer
    tokens = Chat(loaded).prompt("1 + 1 =")
    assert loaded.decode(tokens) == f"<|user|>{system}{loaded.decode(plain)}"
    assert tokens[-len(plain) :] == plain


def test_a_prompt_over_the_limit_is_listed_with_its_length(policy: LoadedPolicy) -> None:
    chat = Chat(policy.tokenizer)
    prompts = [Prompt(text, text, "0", "exact", "s", "mit") for text in ("1234", "12345", "123456")]
    limit = len(chat.prompt("12345"))
    encoded = chat.encode(prompts, limit)
    assert encoded.too_long == {"123456": limit + 1}
    assert encoded.prompts == {text: chat.prompt(text) for text in ("1234", "12345")}

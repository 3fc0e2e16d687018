"""The stage `base` settles a policy's template and end tokens, or refuses the template on one line."""

from __future__ import annotations

import logging
from datetime import date
from pathlib import Path

import pytest
from pydantic import ValidationError

from hpt_core.config import Policy
from hpt_core.errors import InputError
from hpt_core.policy.chat import Chat
from hpt_core.policy.model import LoadedPolicy, load_policy, save_policy, stop_tokens
from hpt_core.policy.warm_start import CHAT_TEMPLATE
from pipelines.base import settle_template

PRETRAINED = Policy(model="published/model")


def test_the_built_in_template_stays_as_it_is(policy: LoadedPolicy) -> None:
    before = policy.model.generation_config.to_dict()
    settle_template(policy, PRETRAINED, "base")
    assert policy.tokenizer.chat_template == CHAT_TEMPLATE
    assert policy.model.generation_config.to_dict() == before


def test_a_date_is_fixed_to_that_of_the_parameters(policy: LoadedPolicy, tmp_path: Path) -> None:
    policy.tokenizer.chat_template = "{{ strftime_now('%d %b %Y') }} " + CHAT_TEMPLATE
    settle_template(policy, Policy(model="published/model", template_date="2025-03-09"), "base")
    save_policy(policy, tmp_path / "policy")
    loaded = load_policy(tmp_path / "policy").tokenizer
    assert loaded.decode(Chat(loaded).prompt("1 + 1")) == "09 Mar 2025 <|user|>1 + 1<|assistant|>"


def test_a_date_in_the_parameters() -> None:
    unquoted = Policy.model_validate({"model": "m", "template_date": date(2025, 3, 9)})
    assert unquoted.template_date == "2025-03-09"
    with pytest.raises(ValidationError, match="'9 March' is no date; write it as YYYY-MM-DD"):
        Policy(model="m", template_date="9 March")


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ messages[0].content[:9] }}", "leaves the problem out"),
        ("{% if %}", "chat template fails"),
        (CHAT_TEMPLATE.partition("{% if add_generation_prompt %}")[0], "has no generation prompt"),
    ],
)
def test_a_template_that_would_train_on_something_else(
    policy: LoadedPolicy, template: str, message: str
) -> None:
    policy.tokenizer.chat_template = template
    with pytest.raises(InputError, match=message) as refusal:
        settle_template(policy, PRETRAINED, "base")
    assert str(refusal.value).startswith("base 'published/model': ") and "\n" not in str(refusal.value)


def test_a_system_prompt_that_the_template_refuses(policy: LoadedPolicy) -> None:
    refuses = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    policy.tokenizer.chat_template = refuses + CHAT_TEMPLATE
    with pytest.raises(InputError, match=r"no system role; .*remove system_prompt"):
        settle_template(policy, Policy(model="published/model", system_prompt="Add up."), "base")


def test_what_parts_by_white_space_is_said(policy: LoadedPolicy, caplog: pytest.LogCaptureFixture) -> None:
    policy.tokenizer.chat_template = CHAT_TEMPLATE.replace("<|assistant|>{{", "<|assistant|> {{").replace(
        "%}<|assistant|>{% endif", "%}<|assistant|>\n{% endif"
    )
    with caplog.at_level(logging.WARNING):
        settle_template(policy, PRETRAINED, "base")
    assert "base 'published/model': white space differs" in caplog.text


def test_the_saved_folder_has_all_end_tokens(policy: LoadedPolicy, tmp_path: Path) -> None:
    end, user = (policy.tokenizer.convert_tokens_to_ids(token) for token in ("<|end|>", "<|user|>"))
    policy.tokenizer.eos_token = "<|user|>"
    policy.model.generation_config.eos_token_id = policy.model.config.eos_token_id = user
    settle_template(policy, PRETRAINED, "base")
    save_policy(policy, tmp_path / "policy")
    loaded = load_policy(tmp_path / "policy")
    assert sorted(loaded.model.generation_config.eos_token_id) == sorted((end, user))
    assert stop_tokens(loaded) == {end, user}

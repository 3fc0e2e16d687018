"""Prompts and responses under templates that behave as published ones do: their ends, their thinking."""

from __future__ import annotations

from pathlib import Path

import pytest
from published_templates import FAMILIES, QWEN3_HYBRID, QWEN3_THINKING, R1
from small_tokenizers import MakeTokenizer
from transformers import PreTrainedTokenizerFast

from hpt_core.policy.chat import Chat
from hpt_core.policy.template_checks import template_findings

THOUGHT = "<think>\nI add.\n</think>\n\nIt is 42."


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def tokenizer(family: str, make_tokenizer: MakeTokenizer) -> PreTrainedTokenizerFast:
    published = FAMILIES[family]
    return make_tokenizer(published.template, published.special, published.added, eos=published.eos)


def test_a_demonstration_ends_with_the_template_s_end_of_turn(
    family: str, tokenizer: PreTrainedTokenizerFast
) -> None:
    end = tokenizer.convert_tokens_to_ids(FAMILIES[family].end)
    chat = Chat(tokenizer)
    response = chat.response("It is 42.")
    assert response[-1] == chat.end_token == end
    assert response.count(end) == 1
    assert chat.text(response).endswith("It is 42.")


def test_what_is_trained_on_is_what_the_template_writes(
    family: str, tokenizer: PreTrainedTokenizerFast
) -> None:
    """Token by token, up to white space after the end of turn; R1's turn drops what its prompt opens."""
    chat = Chat(tokenizer)
    trained = chat.prompt("What is 6 x 7?") + chat.response("It is 42.")
    turns = [{"role": "user", "content": "What is 6 x 7?"}, {"role": "assistant", "content": "It is 42."}]
    written = tokenizer.apply_chat_template(turns, return_dict=False)
    if family == "r1":
        opened = tokenizer.encode("<think>\n\n</think>\n\n", add_special_tokens=False)
        at = written.index(tokenizer.convert_tokens_to_ids("<Assistant>")) + 1
        written = [*written[:at], *opened, *written[at:]]
        assert tokenizer.decode(trained) == tokenizer.decode(written)
        return
    if family == "glm 4":  # whose turn ends where the next one begins
        written.append(tokenizer.convert_tokens_to_ids("<|user|>"))
    if family == "qwen 3 thinking":  # whose prompt ends within the two line breaks of an empty block
        assert tokenizer.decode(written).startswith(tokenizer.decode(trained))
        return
    assert written[: len(trained)] == trained
    assert tokenizer.decode(written[len(trained) :]).strip() in ("", tokenizer.eos_token)


def test_every_family_passes_the_checks_of_base(tokenizer: PreTrainedTokenizerFast) -> None:
    assert [f for f in template_findings(tokenizer) if f.verdict != "ok" and f.check != "begins once"] == []


@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize("template", [R1, QWEN3_HYBRID, QWEN3_THINKING])
@pytest.mark.parametrize(
    "response", [THOUGHT, THOUGHT.removeprefix("<think>\n"), "It is 42.", "<think>I add.</think>It is 42."]
)
def test_thinking_is_opened_once_and_closed_once(
    make_tokenizer: MakeTokenizer, template: str, response: str, special: bool
) -> None:
    tags, marks = ("<think>", "</think>"), ("<|im_start|>", "<|im_end|>", "<User>", "<Assistant>")
    tokenizer = make_tokenizer(
        template,
        (*marks, *(tags if special else ())),
        () if special else tags,
        eos="</s>" if template is R1 else "<|im_end|>",
    )
    chat = Chat(tokenizer)
    conversation = chat.prompt("6 x 7") + chat.response(response)
    assert [conversation.count(tokenizer.convert_tokens_to_ids(tag)) for tag in tags] == [1, 1]
    text = chat.text(chat.response(response))
    thought, _, answer = text.partition("</think>")
    assert ("I add." in thought) == ("I add." in response)
    assert thought.startswith("<think>") and answer.strip() == "It is 42."


def test_a_qwen_turn_has_the_white_space_of_its_template(make_tokenizer: MakeTokenizer) -> None:
    tokenizer = make_tokenizer(QWEN3_HYBRID, ("<|im_start|>", "<|im_end|>"), ("<think>", "</think>"))
    chat = Chat(tokenizer)
    assert tokenizer.decode(chat.response("<think>I add.</think>It is 42.")) == f"{THOUGHT}<|im_end|>"


def test_a_template_that_strips_thinking_does_not_strip_it_from_a_demonstration(
    make_tokenizer: MakeTokenizer,
) -> None:
    chat = Chat(make_tokenizer(R1, ("<User>", "<Assistant>"), ("<think>", "</think>")))
    assert chat.tokenizer.decode(chat.response(THOUGHT)) == "I add.\n</think>\n\nIt is 42.</s>"


def test_other_tags_of_thinking_become_those_that_the_prompt_opened(make_tokenizer: MakeTokenizer) -> None:
    chat = Chat(make_tokenizer(R1, ("<User>", "<Assistant>"), ("<think>", "</think>")))
    response = chat.response("<thinking>I add.</thinking>It is 42.")
    assert chat.tokenizer.decode(response) == "I add.</think>It is 42.</s>"


@pytest.mark.parametrize("special", [True, False])
def test_what_was_sampled_has_the_thinking_tags(make_tokenizer: MakeTokenizer, special: bool) -> None:
    """Also where they are special tokens, and where the prompt has the opening one."""
    tags = ("<think>", "</think>")
    marks = ("<User>", "<Assistant>", *(tags if special else ()))
    chat = Chat(make_tokenizer(R1, marks, () if special else tags))
    prompt = chat.prompt("6 x 7, with <think>")
    cut = chat.tokenizer.encode("I add \\boxed{42}", add_special_tokens=False)
    assert chat.completion(prompt, cut) == "<think>\nI add \\boxed{42}"
    whole = chat.tokenizer.encode("I add.</think>42</s>", add_special_tokens=False)
    assert chat.completion(prompt, whole) == "<think>\nI add.</think>42"
    assert chat.completion([*prompt, *cut], whole) == "I add.</think>42", "the prompt ends in a hint"


def test_a_response_begins_with_the_space_that_the_template_puts_before_it(
    make_tokenizer: MakeTokenizer,
) -> None:
    """` The` is one token, which follows `Assistant:` in the template's own turn."""
    tokenizer = make_tokenizer(Path("conf/chat/plain.jinja").read_text())
    chat = Chat(tokenizer)
    response = chat.response("The sum")
    assert tokenizer.convert_ids_to_tokens(response[:1]) == ["ĠThe"]
    turns = [{"role": "user", "content": "1 + 1"}, {"role": "assistant", "content": "The sum"}]
    written = tokenizer.apply_chat_template(turns, return_dict=False)
    trained = chat.prompt("1 + 1") + response
    assert written[: len(trained)] == trained
    assert tokenizer.decode(written[len(trained) :]).strip() == ""

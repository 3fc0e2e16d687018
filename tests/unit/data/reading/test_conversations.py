"""Problems and responses in conversations: roles, turns, thinking, content of parts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rows_of_sources import Lines, Q, expert_rows, prompt_rows, reject, values

from hpt_core.config import DecontaminationConfig
from hpt_core.data.reading.records import SourceRow
from hpt_core.data.reading.sources import read_rows


@pytest.mark.parametrize(
    ("user", "assistant"),
    [
        ("user", "assistant"),
        ("human", "gpt"),
        ("USER", "ASSISTANT"),
        ("User", "Chatbot"),
        ("human", "bot"),
        ("user", "model"),
    ],
)
@pytest.mark.parametrize("keys", [("role", "content"), ("from", "value")])
def test_the_usual_names_of_roles_and_keys_need_no_mention(
    jsonl: Lines, user: str, assistant: str, keys: tuple[str, str]
) -> None:
    chat = [
        dict(zip(keys, turn, strict=True)) for turn in (("system", "Think."), (user, Q), (assistant, "42"))
    ]
    columns = {"problem": "conversations", "response": "conversations"}
    for value in (chat, json.dumps(chat), repr(chat)):
        [row] = expert_rows(jsonl("e.jsonl", {"conversations": value}), columns=columns)
        assert isinstance(row, SourceRow), row
        assert (dict(row.values), row.unused_turns) == ({"problem": Q, "response": "42"}, ("system",))


def test_other_names_of_roles_and_keys_are_configured(jsonl: Lines) -> None:
    chat = [{"speaker": "pupil", "utterance": Q}, {"speaker": "tutor", "utterance": "42"}]
    columns = {"problem": "chat", "response": "chat"}
    turns = {"role": "speaker", "text": "utterance", "user": ["pupil"], "assistant": ["tutor"]}
    [read] = values(expert_rows(jsonl("e.jsonl", {"chat": chat}), columns=columns, turns=turns))
    assert read == {"problem": Q, "response": "42"}
    _, detail = reject(
        expert_rows(jsonl("e.jsonl", {"chat": chat}), columns=columns, turns=turns | {"user": []})
    )
    assert "'pupil'" in detail and "`turns: {user: [pupil]}`" in detail


@pytest.mark.parametrize(
    ("use", "read", "unused"),
    [("last", ("3+3", "6"), ("earlier", "tool")), ("first", ("1+1", "2"), ("later", "tool"))],
)
def test_one_exchange_of_a_conversation_is_read_and_the_others_are_named(
    jsonl: Lines, use: str, read: tuple[str, str], unused: tuple[str, ...]
) -> None:
    chat = [("user", "1+1"), ("assistant", "2"), ("tool", "log"), ("user", "3+3"), ("assistant", "6")]
    row = {"messages": [{"role": role, "content": text} for role, text in chat]}
    columns = {"problem": "messages", "response": "messages"}
    [only] = expert_rows(jsonl("e.jsonl", row), columns=columns, turns={"use": use})
    assert isinstance(only, SourceRow)
    assert (only.values["problem"], only.values["response"]) == read and only.unused_turns == unused


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "thinking"])
def test_thinking_in_a_field_of_its_own_is_kept_or_left_out_as_the_source_says(
    jsonl: Lines, key: str
) -> None:
    reply = {"role": "assistant", "content": "It is 42.", key: "Six sevens."}
    path = jsonl("e.jsonl", {"messages": [{"role": "user", "content": Q}, reply]})
    columns = {"problem": "messages", "response": "messages"}
    reason, detail = reject(expert_rows(path, columns=columns))
    assert reason == "thinking_not_said" and f"'{key}'" in detail and "`turns: {thinking: keep}`" in detail
    for thinking, response in (
        ("keep", "<think>\nSix sevens.\n</think>\n\nIt is 42."),
        ("drop", "It is 42."),
    ):
        [read] = values(expert_rows(path, columns=columns, turns={"thinking": thinking}))
        assert read["response"] == response


def test_a_reply_that_holds_its_thinking_already_is_taken_as_it_is(jsonl: Lines) -> None:
    text = "<think>\nSix sevens.\n</think>\n\nIt is 42."
    reply = {"role": "assistant", "content": text, "reasoning_content": "Six sevens."}
    path = jsonl("e.jsonl", {"messages": [{"role": "user", "content": Q}, reply]})
    [read] = values(expert_rows(path, columns={"problem": "messages", "response": "messages"}))
    assert read["response"] == text


def test_the_content_of_a_turn_may_be_a_list_of_parts(jsonl: Lines) -> None:
    chat = [
        {"role": "user", "content": [{"type": "text", "text": Q}]},
        {
            "role": "assistant",
            "content": [{"type": "thinking", "thinking": "Six sevens."}, {"type": "text", "text": "42"}],
        },
    ]
    path = jsonl("e.jsonl", {"messages": chat})
    columns = {"problem": "messages", "response": "messages"}
    assert reject(expert_rows(path, columns=columns))[0] == "thinking_not_said"
    [read] = values(expert_rows(path, columns=columns, turns={"thinking": "keep"}))
    assert read == {"problem": Q, "response": "<think>\nSix sevens.\n</think>\n\n42"}


@pytest.mark.parametrize("name", ["orz.json", "orz.jsonl"])
def test_a_row_that_is_a_list_of_turns(tmp_path: Path, name: str) -> None:
    def row(problem: str, answer: str) -> list[dict[str, Any]]:
        truth = {"ground_truth": {"value": answer, "pass_at_n": 0.5}}
        return [{"from": "human", "value": problem}, {"from": "assistant"} | truth]

    rows = [row(Q, "42"), row("1+1", "2")]
    path = tmp_path / name
    text = (
        json.dumps(rows, indent=1) if name == "orz.json" else "".join(json.dumps(row) + "\n" for row in rows)
    )
    path.write_text(text)
    columns = {"problem": "turns", "answer": "turns.1.ground_truth.value"}
    assert values(prompt_rows(path, columns=columns)) == [
        {"problem": Q, "answer": "42"},
        {"problem": "1+1", "answer": "2"},
    ]
    _, detail = reject(prompt_rows(path, columns={"problem": "turns"})[:1])
    assert "`columns: {answer: turns.1.ground_truth.value}`" in detail


def test_problems_without_answers_may_stand_in_conversations(jsonl: Lines) -> None:
    row = {"prompt": [{"role": "user", "content": f"Solve it.\n\n{Q}"}]}
    entry = {"read": "prompt", "unwrap": "Solve it. {problem}"}
    keys = {"name": "exam", "file": str(jsonl("exam.jsonl", row)), "columns": {"problem": entry}}
    [source] = DecontaminationConfig.model_validate({"against": [keys]}).against
    assert [read["problem"] for read in values(list(read_rows(source)))] == [Q]

"""What `columns` can say: one row of each published shape becomes the right problem, answer and responses."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError
from rows_of_sources import Lines, Q, expert_rows, prompt_rows, reject, values

from hpt_core.config import ExpertSource
from hpt_core.data.reading.records import Reject, SourceRow

REPO = Path(__file__).parents[4]


@pytest.mark.parametrize(
    ("row", "columns", "problem", "answer"),
    [
        pytest.param(
            {"Body": "Ann has 6 bags of 7 figs.", "Question": "How many figs?", "Answer": 42.0},
            {"problem": "{Body} {Question}", "answer": "Answer"},
            "Ann has 6 bags of 7 figs. How many figs?",
            "42.0",
            id="SVAMP",
        ),
        pytest.param(
            {"instruction": "Multiply.", "input": "6, 7", "output": "42"},
            {"problem": "{instruction}\n\n{input?}", "answer": "output"},
            "Multiply.\n\n6, 7",
            "42",
            id="Alpaca",
        ),
        pytest.param(
            {"instruction": "What is 6 times 7?", "input": "", "output": "42"},
            {"problem": "{instruction}\n\n{input}\n\nAnswer at once.", "answer": "output"},
            "What is 6 times 7?\n\nAnswer at once.",
            "42",
            id="Alpaca, empty input",
        ),
        pytest.param(
            {"instruction": "What is 6 times 7?", "input": None, "output": "42"},
            {"problem": "{instruction}\n\n{input?}", "answer": "output"},
            Q,
            "42",
            id="Alpaca, null input",
        ),
        pytest.param(
            {"problem": Q, "value": "x^{2}"},
            {"answer": "\\boxed{{{value}}}"},
            Q,
            "\\boxed{x^{2}}",
            id="braces of LaTeX around a value",
        ),
        pytest.param(
            {"q": Q, "value": 42},
            {"problem": "{q} Answer in \\boxed{}.", "answer": "{value}"},
            f"{Q} Answer in \\boxed{{}}.",
            "42",
            id="an empty pair of braces",
        ),
        pytest.param(
            {"prompt": [{"role": "user", "content": Q}], "reward_model": {"ground_truth": "42"}},
            {"problem": "prompt[0].content", "answer": "reward_model.ground_truth"},
            Q,
            "42",
            id="verl, with an index in brackets",
        ),
        pytest.param(
            {"prompt": [{"role": "user", "content": Q}], "reward_model": {"ground_truth": '["42"]'}},
            {"problem": "prompt", "answer": "reward_model.ground_truth"},
            Q,
            "42",
            id="Skywork-OR1: a list of one answer, as JSON",
        ),
        pytest.param(
            {"prompt": Q, "solutions": ["42", "6 \\times 7"]},
            {"problem": "prompt", "answer": "solutions[0]"},
            Q,
            "42",
            id="the first of a list",
        ),
        pytest.param(
            {"problem": Q, "answers": ["-2", "0", "2"]},
            {"answer": {"read": "answers", "join": ", "}},
            Q,
            "-2, 0, 2",
            id="a list that together is the answer",
        ),
        pytest.param(
            {"problem": Q, "extra_info": '{"answer": {"value": 42}}'},
            {"answer": "extra_info.answer.value"},
            Q,
            "42",
            id="a path into a text that holds JSON",
        ),
        pytest.param(
            {"a.b": Q, "m": {"x.y": "42"}},
            {"problem": "a.b", "answer": "m.x.y"},
            Q,
            "42",
            id="names with dots",
        ),
        pytest.param(
            {"question": Q, "answer": 2},
            {"problem": "question", "answer": {"read": "answer", "map": {"0": "A", "1": "B", "2": "C"}}},
            Q,
            "C",
            id="MMLU: the index of a choice",
        ),
        pytest.param(
            {"question": Q, "answer": True},
            {"problem": "question", "answer": {"read": "answer", "map": {"true": "Yes", "false": "No"}}},
            Q,
            "Yes",
            id="BoolQ",
        ),
        pytest.param(
            {"question": "Which?", "options": ["6", "42"], "answer": "B"},
            {"problem": "{question}\n(A) {options.0}\n(B) {options[1]}"},
            "Which?\n(A) 6\n(B) 42",
            "B",
            id="options in a template",
        ),
        pytest.param(
            {
                "messages": json.dumps(
                    [{"role": "user", "content": Q}, {"role": "assistant", "content": "42"}]
                )
            },
            {"problem": "messages", "answer": "messages"},
            Q,
            "42",
            id="a chat as JSON, whose reply is the answer",
        ),
    ],
)
def test_a_prompt(
    jsonl: Lines, row: dict[str, Any], columns: dict[str, Any], problem: str, answer: str
) -> None:
    [read] = values(prompt_rows(jsonl("p.jsonl", row), columns=columns))
    assert read == {"problem": problem, "answer": answer}


DAPO_BEFORE = (
    "Solve the following math problem step by step. The last line of your response should be of the form "
    "Answer: $Answer (without quotes) where $Answer is the answer to the problem.\n\n"
)
DAPO_AFTER = '\n\nRemember to put your answer on its own line after "Answer:".'


@pytest.mark.parametrize(
    "template",
    [DAPO_BEFORE + "{problem}" + DAPO_AFTER, "Solve the following {_}\n\n{problem}\n\nRemember {_}"],
)
def test_a_prompt_is_taken_out_of_its_instruction(jsonl: Lines, template: str) -> None:
    problem = "Let $S$ be a set.\n\nFind $|S|$."
    wrapped, other = DAPO_BEFORE + problem + DAPO_AFTER, "Find $|S|$."
    rows = [
        {
            "prompt": [{"content": text, "role": "user"}],
            "reward_model": {"ground_truth": "34", "style": "rule"},
        }
        for text in (wrapped, wrapped.replace("\n\n", " \r\n \n"), other)
    ]
    columns = {"problem": {"read": "prompt", "unwrap": template}, "answer": "reward_model.ground_truth"}
    one, two, bare = prompt_rows(jsonl("dapo.jsonl", *rows), columns=columns)
    assert isinstance(one, SourceRow) and one.values == {"problem": problem, "answer": "34"}
    assert isinstance(two, SourceRow) and two.values["problem"].split() == problem.split()
    assert isinstance(bare, Reject) and (bare.line, bare.reason) == (3, "not_wrapped")
    assert "'Find $|S|$.'" in bare.detail


THINK = "<think>\n{thinking}\n</think>\n\n{answer}"
R1 = {
    "question": Q,
    "final_answer": "42",
    "r1_solution_1": "a 42",
    "r1_solution_2": "b 42",
    "r1_solution_3": "c 41",
}


@pytest.mark.parametrize(
    ("row", "columns", "responses"),
    [
        pytest.param(
            R1,
            {"problem": "question", "response": ["r1_solution_1", "r1_solution_2", "r1_solution_3"]},
            ["a 42", "b 42", "c 41"],
            id="DeepMath",
        ),
        pytest.param(
            {"problem": Q, "thinking_trajectories": ["Six sevens."], "attempt": "42"},
            {"response": "<think>\n{thinking_trajectories.0}\n</think>\n\n{attempt}"},
            ["<think>\nSix sevens.\n</think>\n\n42"],
            id="s1K",
        ),
        pytest.param(
            {"problem": Q, "thoughts": ["Six.", "Seven."], "answers": ["42", "43"]},
            {"response": "<think>{thoughts.*}</think>{answers.*}"},
            ["<think>Six.</think>42", "<think>Seven.</think>43"],
            id="a template over lists",
        ),
        pytest.param(
            {"question": {"problem": Q, "pre_generated_steps": ["6 times 7", "is 42.", "# Answer\n\n42"]}},
            {
                "problem": "question.problem",
                "response": {"read": "question.pre_generated_steps", "join": "\n\n"},
            },
            ["6 times 7\n\nis 42.\n\n# Answer\n\n42"],
            id="PRM800K",
        ),
        pytest.param(
            {
                "problem": Q,
                "label": {"steps": [{"completions": [{"text": t}, {"text": "no"}]} for t in "ab"]},
            },
            {"response": {"read": "label.steps.*.completions.0.text", "join": "\n"}},
            ["a\nb"],
            id="PRM800K: the first completion of each step",
        ),
        pytest.param(
            {"problem": Q, "generations": '["a", "b"]'},
            {"response": "generations.*"},
            ["a", "b"],
            id="a list as JSON",
        ),
        pytest.param(
            {"problem": Q, "solutions": ["a", "b"], "gpt4": "c", "claude": None},
            {"response": ["solutions", "gpt4", "claude?"]},
            ["a", "b", "c"],
            id="columns and lists of responses, one of which may be missing",
        ),
    ],
)
def test_responses(jsonl: Lines, row: dict[str, Any], columns: dict[str, Any], responses: list[str]) -> None:
    rows = expert_rows(jsonl("e.jsonl", row), columns=columns)
    assert [read["response"] for read in values(rows)] == responses
    assert {read["problem"] for read in values(rows)} == {Q}
    several = isinstance(columns["response"], list) or "*" in columns["response"]
    numbers = list(range(len(responses))) if several else [None]
    assert [row.sample for row in rows if isinstance(row, SourceRow)] == numbers


@pytest.mark.parametrize(
    "steps",
    [
        ["Six sevens.", "So the answer is 42."],
        ["Step 1: six sevens.", "Step 2: 42."],
        ["6 \\times 7", "\\boxed{42}"],
    ],
)
def test_steps_are_no_responses_unless_the_source_says_so(jsonl: Lines, steps: list[str]) -> None:
    path = jsonl("e.jsonl", {"problem": Q, "steps": steps})
    reason, detail = reject(expert_rows(path, columns={"response": "steps"}))
    assert reason == "steps_or_responses"
    assert '{read: steps, join: "\\n\\n"}' in detail and "steps.*" in detail
    joined = values(expert_rows(path, columns={"response": {"read": "steps", "join": "\n\n"}}))
    assert [read["response"] for read in joined] == ["\n\n".join(steps)]
    each = values(expert_rows(path, columns={"response": "steps.*"}))
    assert [read["response"] for read in each] == steps


@pytest.mark.parametrize(
    ("row", "columns", "reason", "parts"),
    [
        (
            {"question": Q, "answer": "42"},
            {},
            "missing_column",
            ["'question'", "`columns: {problem: question}`"],
        ),
        ({"problem": Q, "answer": None}, {}, "missing_column", ["'answer'", "null"]),
        (
            {"problem": Q, "reward_model": {"ground_truth": "42"}},
            {},
            "missing_column",
            ["'reward_model.ground_truth'", "`columns: {answer: reward_model.ground_truth}`"],
        ),
        (
            {"Body": "a", "Question": "b", "answer": "42"},
            {},
            "missing_column",
            ['`columns: {problem: "{Body} {Question}"}`'],
        ),
        ({"problem": Q, "answer": {"value": "42"}}, {}, "wrong_type", ["answer.value"]),
        ({"problem": Q, "answer": [42]}, {}, "wrong_type", ["answer.0"]),
        ({"problem": Q, "answer": ["1", "2"]}, {}, "several_answers", ["join", "answer.0"]),
        ({"problem": Q, "answer": True}, {}, "wrong_type", ["bool", "map"]),
        (
            {"a": "x", "b": None, "answer": "1"},
            {"problem": "{a} {b}"},
            "missing_column",
            ["'b' is null", "{b?}"],
        ),
        ({"a": ["x", "y"], "answer": "1"}, {"problem": "{a}"}, "wrong_type", ["{a.*}", "{a.0}", "join"]),
        (
            {"a": [1, {"b": 2}], "answer": "1"},
            {"problem": {"read": "a", "join": " "}},
            "wrong_type",
            ["item 1 of 'a' is dict"],
        ),
    ],
)
def test_a_row_that_cannot_be_read_says_what_would_read_it(
    jsonl: Lines, row: dict[str, Any], columns: dict[str, Any], reason: str, parts: list[str]
) -> None:
    found, detail = reject(prompt_rows(jsonl("p.jsonl", row), columns=columns))
    assert found == reason
    for part in parts:
        assert part in detail


def test_an_exact_answer_keeps_its_brackets(jsonl: Lines) -> None:
    path = jsonl("p.jsonl", {"problem": "Write a list of x.", "answer": '["x"]'})
    assert values(prompt_rows(path, kind="exact"))[0]["answer"] == '["x"]'
    assert values(prompt_rows(path, kind="math"))[0]["answer"] == "x"


def test_an_interval_is_no_list_of_answers(jsonl: Lines) -> None:
    path = jsonl("p.jsonl", {"problem": "Where?", "answer": "[0, 1]"})
    assert values(prompt_rows(path))[0]["answer"] == "[0, 1]"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"problem": "{a"}, "single brace"),
        ({"problem": {"read": "x", "jion": ","}}, "jion"),
        ({"problem": {"read": "x", "unwrap": "no part"}}, "keeps one part"),
        ({"problem": {"read": "x", "right_from": 0.5}}, "keep and score have it"),
        ({"problem": {"read": "x", "author": "y"}}, "only entries of `response`"),
        ({"problem": ["x", "y"]}, "only `response` may be a list"),
        ({"keep": {"read": "x", "right_from": 0.5, "map": {"a": True}}}, "drop one of the two"),
        ({"response": []}, "at least 1"),
    ],
)
def test_an_entry_that_means_nothing_is_refused_with_the_parameters(
    columns: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        ExpertSource(name="e", kind="teacher", file="e.jsonl", columns=columns)


SHAPES = re.findall(r"```yaml\n(# A template.*?)```", (REPO / "docs/data.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("shape", yaml.safe_load(SHAPES[0]), ids=lambda shape: str(list(shape["row"])))
def test_each_row_of_the_document_is_read(jsonl: Lines, shape: dict[str, Any]) -> None:
    path, columns = jsonl("rows.jsonl", shape["row"]), shape["columns"]
    experts = "response" in columns
    rows = values(expert_rows(path, columns=columns) if experts else prompt_rows(path, columns=columns))
    for read in rows:
        assert "6 times 7?" in read["problem"] or "figs" in read["problem"] or "x^2" in read["problem"]
        assert ("42" if experts else read["answer"]) in read.get("response", read.get("answer"))


def test_a_missing_one_of_several_responses_shows_the_columns_of_the_row(jsonl: Lines) -> None:
    path = jsonl("e.jsonl", {"problem": Q, "gpt4": "42", "claude": "42"})
    good, bad = expert_rows(path, columns={"response": ["gpt4", "claud"]})
    assert isinstance(good, SourceRow) and isinstance(bad, Reject)
    assert bad.reason == "missing_column" and "['claude', 'gpt4', 'problem']" in bad.detail

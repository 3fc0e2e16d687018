"""Rows of well-known data sets in the exact shape in which they are published, and what a person reads there.

Names and types of columns follow the data sets' cards; the texts are those of items.py. This file has sets of
problems with reference answers; shapes_of_demonstrations.py and shapes_of_choices.py have the others.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.unit.data.inspection.items import MATH, SCHOOL, Item

Of = Callable[[Item], Any]


@dataclass(frozen=True)
class Expert:
    """What a person reads as demonstrations: the responses to an item, who wrote them, and their marks."""

    response: Of
    kind: str = "human"
    score: Of | None = None
    keep: Of | None = None


@dataclass(frozen=True)
class Shape:
    """A published data set: its rows, and how a person reads them."""

    row: Of
    items: Sequence[Item] = MATH
    problem: Of = lambda item: item.problem
    answer: Of | None = lambda item: item.answer
    """None where the set has no reference answers."""
    kind: str = "math"
    experts: tuple[Expert, ...] = ()
    suffix: str = ".parquet"


def user(text: str) -> dict[str, str]:
    return {"content": text, "role": "user"}


def assistant(text: str) -> dict[str, str]:
    return {"content": text, "role": "assistant"}


def from_human(text: str) -> dict[str, str]:
    return {"from": "human", "value": text}


def from_gpt(text: str) -> dict[str, str]:
    return {"from": "gpt", "value": text}


DAPO = (
    "Solve the following math problem step by step. The last line of your response should be of the form "
    "Answer: $Answer (without quotes) where $Answer is the answer to the problem.\n\n{}\n\nRemember to put "
    'your answer on its own line after "Answer:".'
)
VERL = '{} Let\'s think step by step and output the final answer after "####".'
LUFFY = (
    "Your task is to follow a systematic, thorough reasoning process before providing the final solution. "
    "Structure your response into two sections: Thought and Solution, with <think> and </think>."
)
HASHED = Expert(lambda item: item.hashed)


def _verl(item: Item, prompt: list[dict[str, str]], truth: str, source: str, **extra: Any) -> dict[str, Any]:
    return {
        "data_source": source,
        "prompt": prompt,
        "ability": "math",
        "reward_model": {"ground_truth": truth, "style": "rule"},
        "extra_info": {"index": f"{item.number:05d}-9b1d", **extra},
    }


def _orz(item: Item) -> list[dict[str, Any]]:
    return [from_human(item.problem), {"from": "assistant", "ground_truth": {"value": item.answer}}]


PROMPTS: dict[str, Shape] = {
    "BytedTsinghua-SIA/DAPO-Math-17k": Shape(
        lambda i: _verl(i, [user(DAPO.format(i.problem))], i.answer, "math_dapo")
    ),
    "open-r1/DAPO-Math-17k-Processed": Shape(
        lambda i: {
            "prompt": i.problem,
            "solution": i.answer,
            "data_source": "math_dapo",
            "source_prompt": [user(DAPO.format(i.problem))],
            "ability": "MATH",
            "reward_model": {"ground_truth": i.answer, "style": "rule-lighteval/MATH_v2"},
            "extra_info": {"index": f"9a9b6eb4-a1cb-49d1-8c1e-62eaf2f7407{i.number}"},
        }
    ),
    "Skywork/Skywork-OR1-RL-Data": Shape(
        lambda i: _verl(
            i,
            [user(i.problem)],
            json.dumps([i.answer]),
            "train-math-deepscaler",
            model_difficulty={
                "DeepSeek-R1-Distill-Qwen-1.5B": i.number,
                "DeepSeek-R1-Distill-Qwen-7B": 8 - i.number,
            },
        )
    ),
    "verl gsm8k": Shape(
        lambda i: {
            "data_source": "openai/gsm8k",
            "prompt": [user(VERL.format(i.problem))],
            "ability": "math",
            "reward_model": {"ground_truth": i.answer, "style": "rule"},
            "extra_info": {
                "answer": i.hashed,
                "index": i.number - 1,
                "question": i.problem,
                "split": "train",
            },
        },
        items=SCHOOL,
        kind="gsm8k",
        experts=(HASHED,),
    ),
    "Elliott/Openr1-Math-46k-8192": Shape(
        lambda i: {
            "data_source": "openr1",
            "prompt": [{"content": LUFFY, "role": "system"}, user(i.problem)],
            "target": [assistant(i.trace)],
            "ability": "math",
            "reward_model": {"ground_truth": i.answer, "style": "rule"},
            "extra_info": {"index": -1, "split": "default"},
        },
        experts=(Expert(lambda i: i.trace, "teacher"),),
    ),
    "Open-Reasoner-Zero/orz_math_57k (file)": Shape(_orz, suffix=".json"),
    "Open-Reasoner-Zero/orz_math_57k (hub)": Shape(lambda i: dict(zip("01", _orz(i), strict=True))),
    "SynthLabsAI/Big-Math-RL-Verified": Shape(
        lambda i: {
            "problem": i.problem,
            "answer": i.answer,
            "source": ("olympiads", "orca_math")[i.number % 2],
            "domain": ["Mathematics -> Algebra -> Other"],
            "llama8b_solve_rate": i.number / 7,
        }
    ),
    "agentica-org/DeepScaleR-Preview-Dataset": Shape(
        lambda i: {"problem": i.problem, "answer": i.answer, "solution": i.solution if i.number % 3 else ""},
        experts=(Expert(lambda i: i.solution if i.number % 3 else None),),
    ),
    "nvidia/AceReason-Math": Shape(lambda i: {"problem": i.problem, "answer": i.answer}, suffix=".jsonl"),
    "POLARIS-Project/Polaris-Dataset-53K": Shape(
        lambda i: {"difficulty": f"{i.number}/8", "problem": i.problem, "answer": i.answer}
    ),
    "allenai/RLVR-MATH": Shape(
        lambda i: {"messages": [user(i.problem)], "ground_truth": i.answer, "dataset": "MATH"}
    ),
    "TIGER-Lab/WebInstruct-verified": Shape(
        lambda i: {
            "id": 100 + 7 * i.number,
            "question": i.problem,
            "answer": i.answer,
            "answer_type": ("Float", "Expression")[i.number % 2],
            "category": "Mathematics",
            "difficulty": "University",
        }
    ),
    "HuggingFaceH4/MATH-500": Shape(
        lambda i: {
            "problem": i.problem,
            "solution": i.solution,
            "answer": i.answer,
            "subject": ("Algebra", "Geometry")[i.number % 2],
            "level": 1 + i.number % 5,
            "unique_id": f"test/algebra/{1000 + 37 * i.number}.json",
        },
        experts=(Expert(lambda i: i.solution),),
        suffix=".jsonl",
    ),
    "EleutherAI/hendrycks_math": Shape(
        lambda i: {
            "problem": i.problem,
            "level": f"Level {1 + i.number % 5}",
            "type": ("Algebra", "Geometry")[i.number % 2],
            "solution": i.solution,
        },
        answer=lambda i: i.solution,
        experts=(Expert(lambda i: i.solution),),
    ),
    "Maxwell-Jia/AIME_2024": Shape(
        lambda i: {
            "ID": f"2024-I-{i.number}",
            "Problem": i.problem,
            "Solution": i.prose,
            "Answer": int(i.answer),
        },
        items=SCHOOL,
        experts=(Expert(lambda i: i.prose),),
        suffix=".jsonl",
    ),
    "openai/gsm8k main": Shape(
        lambda i: {"question": i.problem, "answer": i.hashed},
        items=SCHOOL,
        answer=lambda i: i.hashed,
        kind="gsm8k",
        experts=(HASHED,),
    ),
    "openai/gsm8k socratic": Shape(
        lambda i: {"question": i.problem, "answer": f"What comes first? ** {i.hashed}"},
        items=SCHOOL,
        answer=lambda i: f"What comes first? ** {i.hashed}",
        kind="gsm8k",
        experts=(Expert(lambda i: f"What comes first? ** {i.hashed}"),),
    ),
    "ChilleD/SVAMP": Shape(
        lambda i: {
            "ID": f"chal-{i.number}",
            "Body": i.problem.rpartition(". ")[0] + ".",
            "Question": i.problem.rpartition(". ")[2],
            "Equation": f"( {i.number}.0 + 1.0 )",
            "Answer": i.answer,
            "Type": ("Addition", "Subtraction")[i.number % 2],
        },
        items=SCHOOL,
    ),
    "MU-NLPC/Calc-asdiv": Shape(
        lambda i: {
            "id": f"nluds-{i.number:04d}",
            "body": i.problem.rpartition(". ")[0] + ".",
            "question": i.problem.rpartition(". ")[2],
            "solution_type": "Addition",
            "result": i.answer,
        },
        items=SCHOOL,
    ),
    "prompt, answer (HPT's JSON)": Shape(lambda i: {"prompt": i.problem, "answer": i.answer}, suffix=".json"),
}
"""Name of the data set -> its shape."""

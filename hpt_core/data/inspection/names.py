"""What the name of a field says of its role: how much its words are those of a problem, an answer and so on.

Names decide between fields whose contents would both do, and never make a field fit whose contents do not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

Role = Literal["problem", "answer", "response", "thinking", "mark", "author", "context"]

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")

_FOR: Mapping[Role, Mapping[str, float]] = {
    "problem": {
        **dict.fromkeys(("problem", "question", "query", "exercise", "puzzle"), 3.0),
        **dict.fromkeys(("prompt", "instruction", "stem", "task"), 2.5),
        **dict.fromkeys(("input", "goal", "instructions"), 2.0),
        **dict.fromkeys(("messages", "conversations", "conversation", "turns", "user", "human", "ask"), 1.0),
    },
    "answer": {
        **dict.fromkeys(
            ("answer", "answers", "truth", "gold", "reference", "label", "correct", "target"), 2.5
        ),
        **dict.fromkeys(("result", "key", "ans", "expected", "solution", "final"), 1.5),
    },
    "response": {
        **dict.fromkeys(("response", "responses", "solution", "solutions", "completion", "completions"), 3.0),
        **dict.fromkeys(("generation", "generations", "output", "outputs", "rationale", "explanation"), 3.0),
        **dict.fromkeys(("attempt", "attempts", "chosen", "target", "cot", "trace", "traces", "reply"), 2.5),
        **dict.fromkeys(("reasoning", "answer", "trajectory", "messages", "conversations", "steps"), 1.5),
        **dict.fromkeys(("proof", "derivation", "demonstration", "assistant", "samples"), 2.5),
    },
    "thinking": dict.fromkeys(
        ("thinking", "think", "thought", "thoughts", "reasoning", "trajectory", "trajectories", "scratchpad"),
        3.0,
    ),
    "mark": {
        **dict.fromkeys(("correct", "correctness", "verified", "grade", "passed", "right", "accepted"), 3.0),
        **dict.fromkeys(
            ("valid", "complete", "keep", "score", "reward", "rating", "judgement", "verdict"), 2.0
        ),
        **dict.fromkeys(("finish", "stop"), 1.0),
    },
    "author": dict.fromkeys(("model", "author", "generator", "annotator", "teacher"), 3.0),
    "context": dict.fromkeys(
        ("body", "context", "input", "passage", "paragraph", "background", "story"), 3.0
    ),
}
_AGAINST: Mapping[Role, frozenset[str]] = {
    "problem": frozenset(
        [
            "type",
            "source",
            "original",
            "id",
            "is",
            "valid",
            "level",
            "topic",
            "system",
            "template",
            "count",
            "length",
            "tokens",
            "difficulty",
            "hint",
            "category",
            "answer",
            "solution",
            "response",
            "output",
            "idx",
            "index",
            "rewritten",
            "source",
            "wrong",
        ]
    ),
    "answer": frozenset(
        [
            "type",
            "source",
            "predicted",
            "prediction",
            "generated",
            "generation",
            "style",
            "id",
            "level",
            "count",
            "length",
            "tokens",
            "difficulty",
            "score",
            "wrong",
            "incorrect",
            "distractor",
            "attempt",
            "rate",
            "grade",
            "original",
            "content",
            "think",
            "rationale",
            "index",
            "kind",
            "metadata",
            "uuid",
        ]
    ),
    "response": frozenset(
        [
            "rejected",
            "reason",
            "system",
            "metadata",
            "test",
            "tests",
            "case",
            "cases",
            "code",
            "starter",
            "grade",
            "hint",
            "critique",
            "template",
            "wrong",
            "incorrect",
            "source",
            "type",
            "id",
            "length",
            "tokens",
            "count",
            "uuid",
            "prompt",
            "question",
            "problem",
            "reference",
            "feedback",
        ]
    ),
    "thinking": frozenset(["type", "complete", "grade", "reason", "length", "tokens", "id"]),
    "mark": frozenset(
        ["answer", "rate", "difficulty", "solve", "count", "length", "rejected", "chosen", "index", "choice"]
    ),
    "author": frozenset(["difficulty", "reward", "id", "url"]),
    "context": frozenset(["id", "type", "length", "tokens"]),
}
PENALTY = 3.0


def words(name: str) -> list[str]:
    """The words of a name in lower case: r1, solution, 1 of `r1_solution_1`; is, Valid of `isValid`."""
    return [word.lower() for word in _WORD.findall(name)]


def weight(name: str, role: Role) -> float:
    """How strongly `name` speaks for `role`: 3 for its usual name, 0 for a name that says nothing."""
    parts = words(name)
    best = max((_FOR[role].get(word, 0.0) for word in parts), default=0.0)
    return best - PENALTY * (not _AGAINST[role].isdisjoint(parts))


_MODELS = frozenset(
    [
        "generated",
        "generation",
        "generations",
        "model",
        "deepseek",
        "r",
        "gpt",
        "claude",
        "gemini",
        "qwen",
        "qwq",
        "llama",
        "mistral",
        "attempt",
        "attempts",
        "trajectory",
        "trajectories",
        "sampled",
        "samples",
        "prediction",
        "llm",
        "ai",
        "chatgpt",
        "chosen",
    ]
)
_LIKELY_MODELS = frozenset(["response", "responses", "output", "outputs", "completion", "completions"])


def names_a_model(name: str) -> bool:
    """Whether a name says that a model wrote the texts, as `r1_solution_1` and `generations` do."""
    return not _MODELS.isdisjoint(words(name))


def suggests_a_model(name: str) -> bool:
    """Whether texts under such a name are mostly a model's, as `output` of Alpaca."""
    return not _LIKELY_MODELS.isdisjoint(words(name))


def stem(name: str) -> str:
    """The name without a number at its end, which numbered columns share: `r1_solution`."""
    return re.sub(r"[_\s-]?\d+$", "", name)


def shared_words(a: str, b: str) -> int:
    """How many words two names share: `deepseek_grade` and `deepseek_attempt` share one."""
    return len(set(words(a)) & set(words(b)))

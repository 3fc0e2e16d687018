"""What the name of a field says of its role: how much its words are those of a problem, an answer and so on.

Names decide between fields whose contents would both do, and never make a field fit whose contents do not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

Role = Literal["problem", "answer", "response", "thinking", "mark", "author", "context"]


def _weights(text: str) -> dict[str, float]:
    """Word -> weight, of lines such as "3: problem question"."""
    lines = (line.partition(":") for line in text.strip().splitlines())
    return {word: float(weight) for weight, _, words in lines for word in words.split()}


_FOR: Mapping[Role, Mapping[str, float]] = {
    "problem": _weights("""
        3: problem question query exercise puzzle
        2.5: prompt instruction stem task
        2: input goal
        1: message conversation turn user human ask
    """),
    "answer": _weights("""
        2.5: answer truth gold reference label correct target
        1.5: result key ans expected solution final
    """),
    "response": _weights("""
        3: response solution completion generation output rationale explanation
        2.5: attempt chosen target cot trace reply proof derivation demonstration assistant sample
        1.5: reasoning answer trajectory message conversation step
    """),
    "thinking": _weights("3: thinking think thought reasoning trajectory trajectories scratchpad"),
    "mark": _weights("""
        3: correct correctness verified grade passed right accepted
        2: valid complete keep score reward rating judgement verdict
        1: finish stop
    """),
    "author": _weights("3: model author generator annotator teacher"),
    "context": _weights("3: body context input passage paragraph background story"),
}
_AGAINST: Mapping[Role, str] = {
    "problem": "type source original id is valid level topic system template count length token difficulty "
    "hint category answer solution response output idx index rewritten wrong",
    "answer": "type source predicted prediction generated generation style id level count length token "
    "difficulty score wrong incorrect distractor attempt rate grade original content think rationale index "
    "kind metadata uuid",
    "response": "rejected reason system metadata test case code starter grade hint critique template "
    "wrong incorrect source type id length token count uuid prompt question problem reference feedback",
    "thinking": "type complete grade reason length token id",
    "mark": "rate difficulty solve count length rejected chosen index choice",
    "author": "difficulty reward id url",
    "context": "id type length token system source template",
}
"""Role -> words of names that speak against it."""
PENALTY = 3.0
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")


def words(name: str) -> list[str]:
    """The words of a name in lower case and in the singular: r1 and solution of `r1_solutions`."""
    return [_singular(word.lower()) for word in _WORD.findall(name)]


def _singular(word: str) -> str:
    return word.removesuffix("s") if len(word) > 4 and not word.endswith("ss") else word


def weight(name: str, role: Role) -> float:
    """How strongly `name` speaks for `role`: 3 for its usual name, 0 for a name that says nothing."""
    parts = words(name)
    best = max((_FOR[role].get(word, 0.0) for word in parts), default=0.0)
    return best - PENALTY * (not set(_AGAINST[role].split()).isdisjoint(parts))


_MODELS = (
    "generated generation model deepseek r gpt claude gemini qwen qwq llama mistral attempt trajectory "
    "trajectorie sampled sample prediction llm ai chatgpt chosen generator teacher"
)
_LIKELY_MODELS = "response output completion"


def names_a_model(name: str) -> bool:
    """Whether a name says that a model wrote the texts, as `r1_solution_1` and `generations` do."""
    return not set(_MODELS.split()).isdisjoint(words(name))


def suggests_a_model(name: str) -> bool:
    """Whether texts under such a name are mostly a model's, as `output` of Alpaca."""
    return not set(_LIKELY_MODELS.split()).isdisjoint(words(name))


def stem(name: str) -> str:
    """The name without a number at its end, which numbered columns share: `r1_solution`."""
    return re.sub(r"[_\s-]?\d+$", "", name)


def shared_words(a: str, b: str) -> int:
    """How many words two names share: `deepseek_grade` and `deepseek_attempt` share one."""
    return len(set(words(a)) & set(words(b)))

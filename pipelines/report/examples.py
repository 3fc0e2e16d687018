"""Which responses the report shows: one prompt for each way in which policies can agree or differ."""

from __future__ import annotations

from dataclasses import dataclass

from hpt_core.seeds import derive
from hpt_core.types import Prompt
from pipelines.report.results import BASE, ResponseRow, Results

MAX_CHARACTERS = 900
"""Length at which a response or a problem is cut."""
HEADINGS = (
    "The base policy fails, every arm succeeds",
    "The base policy fails, the arms disagree",
    "The base policy succeeds, an arm fails",
    "No policy succeeds",
)


@dataclass(frozen=True)
class Excerpt:
    """The start of a text, and the number of characters after it."""

    text: str
    left_out: int


@dataclass(frozen=True)
class Example:
    """One prompt and the first response of every policy to it."""

    heading: str
    count: int
    """Prompts of the benchmark that the heading describes."""
    prompt: Prompt
    problem: Excerpt
    responses: dict[str, tuple[ResponseRow, Excerpt]]


def choose(results: Results, benchmark: str, seed: int) -> list[Example]:
    """An example for each heading that describes some prompt, drawn by `seed`."""
    first: dict[str, dict[str, ResponseRow]] = {}
    for policy in results.policies:
        for row in results.responses[policy][benchmark]:
            if row["sample"] == 0:
                first.setdefault(row["prompt_id"], {})[policy] = row
    described: dict[str, list[str]] = {heading: [] for heading in HEADINGS}
    for prompt_id, rows in first.items():
        if (heading := _heading(rows)) is not None:
            described[heading].append(prompt_id)
    examples = []
    for heading, prompt_ids in described.items():
        if not prompt_ids:
            continue
        prompt_id = min(prompt_ids, key=lambda prompt_id: derive(seed, "example", benchmark, prompt_id))
        prompt = results.prompts[benchmark][prompt_id]
        responses = {policy: (row, excerpt(row["response"])) for policy, row in first[prompt_id].items()}
        examples.append(Example(heading, len(prompt_ids), prompt, excerpt(prompt.problem), responses))
    return examples


def excerpt(text: str) -> Excerpt:
    """The first characters, with control characters made visible."""
    visible = "".join(
        chr(0x2400 + ord(c)) if ord(c) < 32 and c not in "\n\t" else c
        for c in text[:MAX_CHARACTERS].replace("\r\n", "\n")
    )
    return Excerpt(visible, max(0, len(text) - MAX_CHARACTERS))


def _heading(rows: dict[str, ResponseRow]) -> str | None:
    """None where every policy succeeds: this shows no difference."""
    arms = [row["correct"] for policy, row in rows.items() if policy != BASE]
    if rows[BASE]["correct"]:
        return None if all(arms) else HEADINGS[2]
    if not any(arms):
        return HEADINGS[3]
    return HEADINGS[0] if all(arms) else HEADINGS[1]

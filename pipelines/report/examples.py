"""Which responses to show: one prompt of each way in which the policies can agree or differ."""

from __future__ import annotations

from dataclasses import dataclass

from hpt_core.seeds import derive
from hpt_core.types import Prompt
from pipelines.report.results import BASE, Results, Row

SHOWN = 900
"""Characters of a response or a problem that are shown."""


@dataclass(frozen=True)
class Excerpt:
    """The start of a text, and how much of it is left out."""

    text: str
    left_out: int


@dataclass(frozen=True)
class Example:
    """One prompt and the first response of every policy to it."""

    heading: str
    alike: int
    """Prompts of the benchmark that the policies treat in this way."""
    prompt: Prompt
    problem: Excerpt
    responses: dict[str, tuple[Row, Excerpt]]


def choose(results: Results, benchmark: str, seed: int) -> list[Example]:
    """Up to four examples, each drawn by `seed` from its kind; the kinds that do not occur are left out."""
    first: dict[str, dict[str, Row]] = {}
    for policy in results.policies:
        for row in results.responses[policy][benchmark]:
            if row["sample"] == 0:
                first.setdefault(row["prompt_id"], {})[policy] = row
    kinds: dict[str, list[str]] = {heading: [] for heading in HEADINGS}
    for prompt_id, rows in first.items():
        kinds[_heading(rows)].append(prompt_id)
    examples = []
    for heading in HEADINGS[:4]:
        if not kinds[heading]:
            continue
        prompt_id = min(kinds[heading], key=lambda one: derive(seed, "example", benchmark, one))
        prompt = results.prompts[benchmark][prompt_id]
        shown = {policy: (row, excerpt(row["response"])) for policy, row in first[prompt_id].items()}
        examples.append(Example(heading, len(kinds[heading]), prompt, excerpt(prompt.problem), shown))
    return examples


HEADINGS = (
    "The base policy fails, every arm succeeds",
    "The base policy fails, the arms disagree",
    "The base policy succeeds, an arm fails",
    "No policy succeeds",
    "Every policy succeeds",
)


def excerpt(text: str) -> Excerpt:
    """The first characters, with control characters made visible."""
    visible = "".join(
        chr(0x2400 + ord(c)) if ord(c) < 32 and c not in "\n\t" else c
        for c in text[:SHOWN].replace("\r\n", "\n")
    )
    return Excerpt(visible, max(0, len(text) - SHOWN))


def _heading(rows: dict[str, Row]) -> str:
    arms = [row["correct"] for policy, row in rows.items() if policy != BASE]
    if rows[BASE]["correct"]:
        return HEADINGS[4] if all(arms) else HEADINGS[2]
    if not any(arms):
        return HEADINGS[3]
    return HEADINGS[0] if all(arms) else HEADINGS[1]

"""The registry of published benchmarks: where their rows are, and how HPT's authors sample them.

`hpt_core.data.reading.benchmarks` turns their rows into problems. A revision is a commit of the hub's
repository, a license is the one that the data set's card states.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

ORIGINS = ("file", "hub", "reasoning_gym")
"""Keys that say where the rows of a source are; a source has one of them."""


@dataclass(frozen=True)
class Benchmark:
    """One published benchmark, as HPT (arXiv 2509.04419, section 4) evaluates it."""

    name: str
    answer_kind: str
    license: str
    origin: Mapping[str, Any]
    """Keys of a prompt source: hub, subset, split and revision, or reasoning_gym, size and seed."""
    samples: int = 1
    """Responses per problem: k of avg@k."""
    temperature: float = 0.6
    top_p: float = 0.95

    def complete(self, keys: Mapping[str, Any]) -> dict[str, Any]:
        """`keys` of a source, completed from the registry; a source with an origin of its own keeps it."""
        present = {key: value for key, value in keys.items() if key not in ORIGINS or value is not None}
        origin = {} if present.keys() & set(ORIGINS) else self.origin
        return {"answer_kind": self.answer_kind, "license": self.license, **origin, **present}


def _hub(repository: str, subset: str | None, split: str, revision: str) -> Mapping[str, Any]:
    return MappingProxyType({"hub": repository, "subset": subset, "split": split, "revision": revision})


def _tasks(*names: str) -> list[Benchmark]:
    """A hundred problems of each reasoning-gym task at its default difficulty, from a fixed seed."""
    return [
        Benchmark(
            f"rg_{name}",
            f"reasoning_gym:{name}",
            "Apache-2.0",
            MappingProxyType({"reasoning_gym": name, "size": 100, "seed": 900_000}),
        )
        for name in names
    ]


_ALL = (
    Benchmark(
        "aime24",
        "math",
        "Apache-2.0",
        _hub("math-ai/aime24", None, "test", "83a7f387baaa524a8bda0022eac0541582297103"),
        samples=32,
    ),
    Benchmark(
        "aime25",
        "math",
        "Apache-2.0",
        _hub("math-ai/aime25", None, "test", "563bb8404243c5f09de6ec262f2db674fe5bce9b"),
        samples=32,
    ),
    Benchmark(
        "amc23",
        "math",
        "Apache-2.0",
        _hub("math-ai/amc23", None, "test", "80815d37005feb82cd7f8fbc6901d5d3eff43057"),
        samples=32,
    ),
    Benchmark(
        "math500",
        "math",
        "unknown",
        _hub("HuggingFaceH4/MATH-500", None, "test", "6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be"),
    ),
    Benchmark(
        "minerva",
        "math",
        "unknown",
        _hub("math-ai/minervamath", None, "test", "ee46ddc498933b1977577953250ca5c66be64f96"),
    ),
    Benchmark(
        "olympiadbench",
        "math",
        "Apache-2.0",
        # The part that papers report: open-ended, text only, in English, from competitions.
        _hub(
            "Hothan/OlympiadBench",
            "OE_TO_maths_en_COMP",
            "train",
            "91184b52131e7fc9455fef848035173aea8cc01a",
        ),
    ),
    Benchmark(
        "gpqa_diamond",
        "choice",
        "CC-BY-4.0",
        # The data set is gated: consent on its page and HF_TOKEN are needed to download it.
        _hub("Idavidrein/gpqa", "gpqa_diamond", "train", "633f5ee89ab8ad4522a9f850766b73f62147ffdd"),
    ),
    Benchmark(
        "arc_challenge",
        "choice",
        "CC-BY-SA-4.0",
        _hub("allenai/ai2_arc", "ARC-Challenge", "test", "210d026faf9955653af8916fad021475a3f00453"),
    ),
    Benchmark(
        "gsm8k",
        "gsm8k",
        "MIT",
        _hub("openai/gsm8k", "main", "test", "740312add88f781978c0658806c59bc2815b9866"),
    ),
    *_tasks(
        "basic_arithmetic",
        "chain_sum",
        "countdown",
        "gcd",
        "knights_knaves",
        "leg_counting",
        "number_sorting",
        "spell_backward",
        "word_sorting",
    ),
)

BENCHMARKS: Mapping[str, Benchmark] = MappingProxyType({entry.name: entry for entry in _ALL})

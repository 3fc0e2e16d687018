"""The candidates for training prompts: compared with benchmarks and with each other, then kept or dropped."""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import get_args

import numpy as np
import numpy.typing as npt

from hpt_core.config import CurateConfig
from hpt_core.data.curation.decontamination import BenchmarkIndex, BenchmarkProblem, Match, Rule
from hpt_core.data.curation.dedup import REASONS, BandKeys, Repeats, mark_exact, mark_near
from hpt_core.data.curation.filters import training_filters
from hpt_core.data.curation.minhash import band_keys, word_hashes
from hpt_core.data.curation.read_prompts import read_prompts
from hpt_core.data.curation.report import CurationReport
from hpt_core.data.curation.spool import Spool, SpooledPrompt
from hpt_core.data.curation.text_normalize import figures_key, normalized_text
from hpt_core.data.problems import overlap_key
from hpt_core.data.progress import with_progress
from hpt_core.data.reading.records import Reject
from hpt_core.seeds import derive
from hpt_core.types import Prompt

BATCH = 256
"""Prompts whose fingerprints are computed together."""

RULES: tuple[Rule, ...] = get_args(Rule)


@dataclass
class Candidates:
    """N prompts that may be trained on, with their fingerprints and their matches without numbers.

    A prompt that is a benchmark problem with its numbers has been dropped before.
    """

    spool: Spool
    band_keys: BandKeys
    ids: array[int] = field(default_factory=lambda: array("Q"))
    """[N] the prompt_id as a number."""
    match: array[int] = field(default_factory=lambda: array("i"))
    """[N] `Match.problem`; -1 without a match."""
    rule: array[int] = field(default_factory=lambda: array("b"))
    """[N] index in RULES."""
    overlap: array[float] = field(default_factory=lambda: array("f"))
    """[N] `Match.overlap`."""
    templates: set[int] = field(default_factory=set)
    """Benchmark problems whose matches do not count."""

    def matched(self, index: int) -> bool:
        return self.match[index] >= 0 and self.match[index] not in self.templates

    def prompts(self, indices: Iterable[int]) -> Iterator[Prompt]:
        return (self.spool[index].prompt for index in indices)


def gather(
    config: CurateConfig, index: BenchmarkIndex, report: CurationReport, candidates: Candidates
) -> None:
    """Read the training sources into `candidates`; drop benchmark problems with their numbers at once."""
    rows = read_prompts("train", config.train, training_filters(config), report, lambda row: None)
    while batch := list(islice(rows, BATCH)):
        texts = [normalized_text(prompt.problem) for _, prompt in batch]
        matches = index.match([prompt.problem for _, prompt in batch], texts)
        remaining = [i for i, match in enumerate(matches) if not (match and match.with_numbers)]
        for (row, prompt), match in zip(batch, matches, strict=True):
            if match and match.with_numbers:
                benchmark_problem = index.problems[match.problem]
                reason = "in_benchmark" if match.rule == "same_text" else "near_benchmark"
                report.drop("train", row.reject(reason, _match_detail(match, benchmark_problem)))
                report.add_match(benchmark_problem, match, row.source, row.where, prompt.problem)
                continue
            candidates.spool.add(row, prompt)
            candidates.ids.append(int(prompt.prompt_id, 16))
            match = match or Match(-1, "same_text", 0.0)
            candidates.match.append(match.problem)
            candidates.rule.append(RULES.index(match.rule))
            candidates.overlap.append(match.overlap)
        if config.near_duplicates is not None:
            figures = [figures_key(batch[i][1].problem, batch[i][1].answer) for i in remaining]
            words = word_hashes([texts[i] for i in remaining])
            candidates.band_keys.add(band_keys(*words, np.array(figures, dtype=np.uint64)))


def mark_templates(index: BenchmarkIndex, report: CurationReport, candidates: Candidates) -> None:
    """Decide which benchmark problems are templates, from different prompts only.

    Copies of one leaked problem must not make it a template.
    """
    _, first = np.unique(np.array(candidates.ids, dtype=np.uint64), return_index=True)
    match = np.array(candidates.match, dtype=np.int32)[first]
    candidates.templates = index.templates(match[match >= 0], len(first))
    report.set_templates([index.problems[problem] for problem in sorted(candidates.templates)])


def mark_repeats(config: CurateConfig, candidates: Candidates) -> Repeats:
    """Decide which of the candidates without a benchmark match repeat another."""
    match = np.array(candidates.match, dtype=np.int32)
    unmatched: npt.NDArray[np.bool_] = (match < 0) | np.isin(match, sorted(candidates.templates))
    repeats = Repeats(len(candidates.spool))
    mark_exact(repeats, np.array(candidates.ids, dtype=np.uint64), unmatched, candidates.spool)
    if config.near_duplicates is not None:
        mark_near(repeats, candidates.band_keys, unmatched, candidates.spool, config.near_duplicates)
    return repeats


def draw_dev(candidates: Candidates, repeats: Repeats, size: int, seed: int) -> list[int]:
    """Indices of the dev prompts, drawn by a seeded hash of their ids."""
    ids = ((i, f"{candidates.ids[i]:016x}") for i in range(len(candidates.spool)))
    ranks = (
        (derive(seed, "dev", prompt_id), prompt_id, i)
        for i, prompt_id in ids
        if not repeats.reason[i] and not candidates.matched(i)
    )
    return sorted(i for *_, i in heapq.nsmallest(size, ranks))


def training_prompts(
    candidates: Candidates, repeats: Repeats, dev: set[int], index: BenchmarkIndex, report: CurationReport
) -> Iterator[Prompt]:
    """The prompts to train on. Each candidate is counted as kept (for training or dev) or as dropped."""
    dev_keys: dict[str, str] = {}
    for i in sorted(dev):
        prompt = candidates.spool[i].prompt
        dev_keys.setdefault(overlap_key(prompt.problem), prompt.prompt_id)
    for i, spooled in enumerate(with_progress(candidates.spool, "write prompts")):
        prompt = spooled.prompt
        if candidates.matched(i):
            match = Match(candidates.match[i], RULES[candidates.rule[i]], candidates.overlap[i])
            benchmark_problem = index.problems[match.problem]
            report.drop("train", spooled.reject("near_benchmark", _match_detail(match, benchmark_problem)))
            report.add_match(benchmark_problem, match, prompt.source, spooled.where, prompt.problem)
        elif repeats.reason[i]:
            report.drop("train", repeat_reject(spooled, i, repeats, candidates.spool))
        elif i not in dev and (twin := dev_keys.get(overlap_key(prompt.problem))):
            detail = f"differs from dev prompt {twin} in case or punctuation only"
            report.drop("train", spooled.reject("in_dev", detail))
        else:
            report.keep("train", prompt.source)
            if i not in dev:
                yield prompt


def _match_detail(match: Match, problem: BenchmarkProblem) -> str:
    relation = {
        "same_text": "is",
        "inside": "holds",
        "same_wording": "the same but for its numbers as",
        "beginning": "the beginning of",
        "shared_grams": f"shares {match.overlap:.0%} of the shorter one's word grams with",
    }[match.rule]
    return (
        f"{relation} prompt {problem.prompt_id} of benchmark {problem.benchmark!r}: {problem.problem[:120]!r}"
    )


def repeat_reject(spooled: SpooledPrompt, index: int, repeats: Repeats, spool: Spool) -> Reject:
    """The reject of the prompt at `index`, which names the prompt that it repeats or contradicts."""
    reason, other = REASONS[repeats.reason[index] - 1], spool[int(repeats.partner[index])]
    if reason == "conflicting_answers":
        answers = f"{spooled.prompt.answer!r} at {spooled.where}, {other.prompt.answer!r} at {other.where}"
        return spooled.reject(reason, f"the same problem has {answers}")
    if reason == "duplicate":
        return spooled.reject(reason, f"same problem as {other.where}")
    kept = repeats.kept(index)
    detail = f"{repeats.similarity[index]:.0%} alike, with the same figures and answer, to {other.where}"
    if kept != repeats.partner[index]:
        detail += f", itself for {spool[kept].where}"
    return spooled.reject(reason, f"{detail}, which is kept")

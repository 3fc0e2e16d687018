"""Prompts of the training sources: read, compared with benchmarks and with each other, and what stays."""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import get_args

import numpy as np
import numpy.typing as npt

from hpt_core.config import CurateConfig
from hpt_core.data.curation.decontamination import Index, Known, Match, Rule
from hpt_core.data.curation.dedup import REASONS, Bands, Repeats, mark_exact, mark_near
from hpt_core.data.curation.filters import training_filters
from hpt_core.data.curation.minhash import band_keys, word_hashes
from hpt_core.data.curation.read_prompts import read_prompts
from hpt_core.data.curation.report import CurationReport
from hpt_core.data.curation.spool import Entry, Spool
from hpt_core.data.curation.text_normalize import normalized_text, twin_key
from hpt_core.data.problems import overlap_key
from hpt_core.data.progress import watched
from hpt_core.data.reading.records import Reject
from hpt_core.seeds import derive
from hpt_core.types import Prompt

BATCH = 256
"""Prompts whose fingerprints are computed together."""

RULES: tuple[Rule, ...] = get_args(Rule)


@dataclass
class Prompts:
    """Prompts to train on, but for those that are a benchmark problem with its own numbers, and their
    fingerprints."""

    spool: Spool
    bands: Bands
    ids: array[int] = field(default_factory=lambda: array("Q"))
    match: array[int] = field(default_factory=lambda: array("i"))
    """`Match.problem`; -1 where there is none."""
    rule: array[int] = field(default_factory=lambda: array("b"))
    """Place in RULES."""
    overlap: array[float] = field(default_factory=lambda: array("f"))
    template: set[int] = field(default_factory=set)
    """Benchmark problems whose matches are none."""

    def matched(self, at: int) -> bool:
        return self.match[at] >= 0 and self.match[at] not in self.template


def gather(config: CurateConfig, index: Index, ledger: CurationReport, found: Prompts) -> None:
    """Read the training sources; a benchmark problem with its own numbers goes at once."""
    rows = read_prompts("train", config.train, training_filters(config), ledger, lambda row: None)
    while batch := list(islice(rows, BATCH)):
        wordings = [normalized_text(prompt.problem) for _, prompt in batch]
        matches = index.match([prompt.problem for _, prompt in batch], wordings)
        left = [at for at, match in enumerate(matches) if not (match and match.with_numbers)]
        for (row, prompt), match in zip(batch, matches, strict=True):
            if match and match.with_numbers:
                known = index.known[match.problem]
                reason = "in_benchmark" if match.rule == "same_text" else "near_benchmark"
                ledger.drop("train", row.reject(reason, _told(match, known)))
                ledger.contaminated(known, match, row.source, row.where, prompt.problem)
                continue
            found.spool.add(row, prompt)
            found.ids.append(int(prompt.prompt_id, 16))
            match = match or Match(-1, "same_text", 0.0)
            found.match.append(match.problem)
            found.rule.append(RULES.index(match.rule))
            found.overlap.append(match.overlap)
        if config.near_duplicates is not None:
            twins = [twin_key(batch[at][1].problem, batch[at][1].answer) for at in left]
            words = word_hashes([wordings[at] for at in left])
            found.bands.add(band_keys(*words, np.array(twins, dtype=np.uint64)))


def mark_templates(index: Index, ledger: CurationReport, found: Prompts) -> None:
    """Decide which benchmark problems are templates: copies of a leak make it none."""
    _, first = np.unique(np.array(found.ids, dtype=np.uint64), return_index=True)
    match = np.array(found.match, dtype=np.int32)[first]
    found.template = index.templates(match[match >= 0], len(first))
    ledger.templates([index.known[at] for at in sorted(found.template)])


def mark_repeats(config: CurateConfig, found: Prompts) -> Repeats:
    """Decide on repeats among what benchmark matches leave."""
    match = np.array(found.match, dtype=np.int32)
    alive: npt.NDArray[np.bool_] = (match < 0) | np.isin(match, sorted(found.template))
    repeats = Repeats(len(found.spool))
    mark_exact(repeats, np.array(found.ids, dtype=np.uint64), alive, found.spool)
    if config.near_duplicates is not None:
        mark_near(repeats, found.bands, alive, found.spool, config.near_duplicates)
    return repeats


def draw_dev(found: Prompts, repeats: Repeats, size: int, seed: int) -> list[int]:
    """Places of the dev prompts, drawn by a seeded hash of their ids."""
    ids = ((at, f"{found.ids[at]:016x}") for at in range(len(found.spool)))
    ranks = (
        (derive(seed, "dev", name), name, at)
        for at, name in ids
        if not repeats.reason[at] and not found.matched(at)
    )
    return sorted(at for *_, at in heapq.nsmallest(size, ranks))


def kept(
    found: Prompts, repeats: Repeats, dev: set[int], index: Index, ledger: CurationReport
) -> Iterator[Prompt]:
    """The prompts to train on; every other one is kept for dev or dropped, and counted."""
    owners: dict[str, str] = {}
    for at in sorted(dev):
        prompt = found.spool[at].prompt
        owners.setdefault(overlap_key(prompt.problem), prompt.prompt_id)
    for at, entry in enumerate(watched(found.spool, "write prompts")):
        if found.matched(at):
            match = Match(found.match[at], RULES[found.rule[at]], found.overlap[at])
            known = index.known[match.problem]
            ledger.drop("train", entry.reject("near_benchmark", _told(match, known)))
            ledger.contaminated(known, match, entry.prompt.source, entry.where, entry.prompt.problem)
        elif repeats.reason[at]:
            ledger.drop("train", repeated(entry, at, repeats, found.spool))
        elif at not in dev and (owner := owners.get(overlap_key(entry.prompt.problem))):
            detail = f"differs from dev prompt {owner} in case or punctuation only"
            ledger.drop("train", entry.reject("in_dev", detail))
        else:
            ledger.keep("train", entry.prompt.source)
            if at not in dev:
                yield entry.prompt


def _told(match: Match, known: Known) -> str:
    what = {
        "same_text": "is",
        "inside": "holds",
        "same_wording": "the same but for its numbers as",
        "beginning": "the beginning of",
        "shared_grams": f"shares {match.overlap:.0%} of the shorter one's word grams with",
    }[match.rule]
    return f"{what} prompt {known.prompt_id} of benchmark {known.benchmark!r}: {known.problem[:120]!r}"


def repeated(entry: Entry, at: int, repeats: Repeats, spool: Spool) -> Reject:
    """The entry at `at` as a reject that says which one it repeats, or contradicts."""
    reason, other = REASONS[repeats.reason[at] - 1], spool[int(repeats.partner[at])]
    if reason == "conflicting_answers":
        told = f"{entry.prompt.answer!r} at {entry.where}, {other.prompt.answer!r} at {other.where}"
        return entry.reject(reason, f"the same problem has {told}")
    if reason == "duplicate":
        return entry.reject(reason, f"same problem as {other.where}")
    kept = repeats.kept(at)
    detail = f"{repeats.similarity[at]:.0%} alike, with the same figures and answer, to {other.where}"
    if kept != repeats.partner[at]:
        detail += f", itself for {spool[kept].where}"
    return entry.reject(reason, f"{detail}, which is kept")

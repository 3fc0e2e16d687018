"""The search for training prompts that are benchmark problems: unchanged, with other numbers, or cut short.

Two rules compare a whole problem with its numbers, then three compare without numbers, in this order:

- `same_text`: equal but for case, quotes and a closing mark (`problems.overlap_key`).
- `inside`: the prompt contains a benchmark problem, equal in the same sense and as whole sentences, which has
  at least `min_words` / 2 different words and numbers.
- `same_wording`: equal but for the numbers, with at least `min_words` / 2 different words.
- `beginning`: a longer benchmark problem begins with the prompt, whose last word may be cut and is left out;
  with as many different words.
- `shared_grams`: with numbers as one sign, the two share `overlap` of the grams (8 words in a row, Brown et
  al. 2020 take 13) that the shorter one has, and the shared ones have at least `min_words` different words.
  Because the share is of the shorter text, the rule finds a changed problem inside a longer prompt, and also
  the middle part of a problem.

Problems of a generated task have one phrasing and differ in numbers or in a word, so only the first two rules
may hold for them. What many problems share is therefore the phrasing of a task and does not identify a
problem: a gram, a beginning or a whole text of more than `max_problems` benchmark problems counts for none of
them (and a problem that nothing else identifies is not searched inside longer prompts). Where a benchmark has
only a few problems of a task, the training prompts show it: a benchmark problem that more than a tenth of the
different training prompts, or more than 200 of them, match by one of the last three rules is a template
(`BenchmarkIndex.templates`), and prompts that match it by these rules are kept. The first two rules always
hold, however often a problem leaks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from hpt_core.config import DecontaminationConfig
from hpt_core.data.curation.inverted_index import InvertedIndex, whole_text_hashes, with_owners
from hpt_core.data.curation.minhash import Hashes, Indices, beginning_hashes, gram_hashes, word_hashes
from hpt_core.data.curation.passages import Passage
from hpt_core.data.curation.text_normalize import distinctive_words, normalized_text, numbers
from hpt_core.data.problems import overlap_key

Rule = Literal["same_text", "inside", "same_wording", "beginning", "shared_grams"]

TEMPLATE_SHARE, TEMPLATE_ROWS = 0.1, 200
"""A benchmark problem that more than this share, or this number, of the prompts match is a template."""


@dataclass(frozen=True)
class BenchmarkProblem:
    """A problem that no training prompt may equal."""

    benchmark: str
    prompt_id: str
    problem: str


@dataclass(frozen=True)
class Match:
    """The benchmark problem that a training prompt equals, and the rule that matched."""

    problem: int
    """Its index in `BenchmarkIndex.problems`."""
    rule: Rule
    overlap: float
    """Share of the shorter text's grams; 1 for the other rules."""

    @property
    def with_numbers(self) -> bool:
        """Whether the match is a whole problem with its numbers; such a match is never one of a template."""
        return self.rule in ("same_text", "inside")


class BenchmarkIndex:
    """The problems of all benchmarks, in which training prompts are searched."""

    def __init__(self, problems: Iterable[BenchmarkProblem], config: DecontaminationConfig) -> None:
        self.config = config
        by_key: dict[str, int] = {}
        self.problems: list[BenchmarkProblem] = []
        for problem in problems:
            count = len(self.problems)
            if by_key.setdefault(overlap_key(problem.problem), count) == count:
                self.problems.append(problem)
        self._by_key, self._keys = by_key, list(by_key)
        texts = [normalized_text(problem.problem) for problem in self.problems]
        words, offsets = word_hashes(texts)
        grams = gram_hashes(words, offsets, config.gram)
        self._grams = InvertedIndex(*with_owners(*grams), config.max_problems)
        self._lengths = np.diff(offsets)
        starts = beginning_hashes(words, offsets)
        self._beginnings = InvertedIndex(*with_owners(starts, offsets), config.max_problems)
        self._wholes = InvertedIndex(*whole_text_hashes(starts, offsets), config.max_problems)
        self._rare_grams = np.bincount(self._grams.owners[self._grams.rare], minlength=len(self.problems))
        self._short = self._index_short_problems(words, offsets, texts)

    def match(self, problems: Sequence[str], texts: Sequence[str]) -> list[Match | None]:
        """For each problem (`texts`: its `normalized_text`) the benchmark problem that it is, or None."""
        words, offsets = word_hashes(texts)
        starts = np.concatenate((np.zeros(2, np.uint64), beginning_hashes(words, offsets)))
        same = self._wholes.find(starts[offsets[1:] + 1]).tolist()
        beginnings = self._beginnings.find(starts[offsets[1:]]).tolist()
        grams, begins = gram_hashes(words, offsets, self.config.gram)
        short = self._short_candidates(words, offsets)
        hits, rare = self._grams.find(grams), ~np.isin(grams, self._grams.common)
        matches: list[Match | None] = []
        for row, (problem, text) in enumerate(zip(problems, texts, strict=True)):
            passage = Passage(problem)
            equal = self._by_key.get(passage.key)
            span, row_words = slice(begins[row], begins[row + 1]), text.split()
            if equal is not None:
                matches.append(Match(equal, "same_text", 1.0))
            elif (inner := self._contained(passage, short.get(row, []))) is not None:
                matches.append(Match(inner, "inside", 1.0))
            elif same[row] >= 0 and self._identifies(row_words):
                matches.append(Match(self._wholes.problems_at(same[row])[0], "same_wording", 1.0))
            elif (longer := self._longer(beginnings[row], row_words)) is not None:
                matches.append(Match(longer, "beginning", 1.0))
            else:
                rare_grams = len(set(grams[span][rare[span]].tolist()))
                matches.append(self._match_grams(passage, row_words, hits[span].tolist(), rare_grams))
        return matches

    def _longer(self, beginning: int, words: Sequence[str]) -> int | None:
        """The first problem with this beginning (an index in `_beginnings`) and more words than `words`."""
        if beginning < 0 or not self._identifies(words[:-1]):
            return None
        problems = self._beginnings.problems_at(beginning)
        return next((problem for problem in problems if self._lengths[problem] > len(words)), None)

    def _identifies(self, words: Sequence[str]) -> bool:
        """Whether `words` has enough different words to identify a problem that contains all of them."""
        return 2 * distinctive_words(set(words)) >= self.config.min_words

    def _index_short_problems(
        self, words: Hashes, offsets: Indices, texts: Sequence[str]
    ) -> dict[int, InvertedIndex]:
        """Number of words -> the problems of that length that `shared_grams` cannot find."""
        config, lengths = self.config, self._lengths.tolist()
        by_length: dict[int, list[int]] = {}
        for problem, (text, length) in enumerate(zip(texts, lengths, strict=True)):
            count = distinctive_words(set(text.split()))
            short = count < config.min_words or length < config.gram or not self._rare_grams[problem]
            if short and 2 * (count + len(numbers(self._keys[problem]))) >= config.min_words:
                by_length.setdefault(length, []).append(problem)
        indexes = {}
        for length, problems in sorted(by_length.items()):
            owners = np.array(problems)
            grams, begins = gram_hashes(words, offsets, length)
            indexes[length] = InvertedIndex(grams[begins[owners]], owners, config.max_problems)
        return indexes

    def _short_candidates(self, words: Hashes, offsets: Indices) -> dict[int, list[int]]:
        """Row -> the short problems whose words, without the numbers, occur in it one after the other."""
        candidates: dict[int, list[int]] = {}
        for length, index in self._short.items():
            grams, begins = gram_hashes(words, offsets, length)
            hits = index.find(grams)
            for at in np.flatnonzero(hits >= 0).tolist():
                row = int(np.searchsorted(begins, at, side="right")) - 1
                candidates.setdefault(row, []).extend(index.problems_at(hits[at]))
        return candidates

    def _contained(self, passage: Passage, problems: Iterable[int]) -> int | None:
        return next((problem for problem in problems if passage.contains(self._keys[problem])), None)

    def _match_grams(
        self, passage: Passage, words: list[str], hits: Sequence[int], rare_grams: int
    ) -> Match | None:
        """The match among the benchmark problems with enough overlap: the one that the passage contains, else
        the one with the most overlap, and the first of equals.

        `hits`: for each gram its index in `_grams`, or -1; `rare_grams`: how many different ones are rare.
        """
        shared: Counter[int] = Counter()
        for hit in {hit for hit in hits if hit >= 0}:
            shared.update(self._grams.problems_at(hit))
        if not shared:
            return None
        shares = [
            (count / min(rare_grams, int(self._rare_grams[problem])), -problem)
            for problem, count in shared.items()
        ]
        enough = sorted((share for share in shares if share[0] >= self.config.overlap), reverse=True)
        if not enough:
            return None
        if (inner := self._contained(passage, (-negated for _, negated in enough))) is not None:
            return Match(inner, "inside", 1.0)
        overlap, problem = enough[0][0], -enough[0][1]
        shared_words: set[str] = set()
        for at, hit in enumerate(hits):
            if hit >= 0 and problem in self._grams.problems_at(hit):
                shared_words.update(words[at : at + self.config.gram])
        if distinctive_words(shared_words) < self.config.min_words:
            return None
        return Match(problem, "shared_grams", overlap)

    def templates(self, matches: npt.NDArray[np.int32], rows: int) -> set[int]:
        """The benchmark problems that are templates.

        `matches`: `Match.problem` of each training prompt that a rule without numbers matched, among `rows`
        different prompts.
        """
        most = max(self.config.max_problems, min(TEMPLATE_ROWS, rows * TEMPLATE_SHARE))
        counts = np.bincount(matches, minlength=len(self.problems))
        return set(np.flatnonzero(counts > most).tolist())

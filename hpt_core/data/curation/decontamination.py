"""Which training prompts are benchmark problems: as they stand, with other numbers, or cut short.

Two rules for a whole problem with its numbers, then three without them, in this order:

- `same_text`: equal but for case, quotes and a closing mark (`problems.overlap_key`).
- `inside`: it holds a benchmark problem, equal so far and as sentences of its own, with at least
  `min_words` / 2 different words and numbers.
- `same_wording`: equal but for the numbers, with at least `min_words` / 2 different words.
- `beginning`: all of it but the last word, which may be cut, is how a longer benchmark problem begins; of as
  many different words.
- `shared_grams`: with numbers as one sign, the two share `overlap` of the grams (8 words in a row, Brown et
  al. 2020 take 13) that the shorter one has, and the shared ones have at least `min_words` different words.
  As the shorter text is the measure, a changed problem inside a longer prompt is found, and so is its middle.

Generated tasks have one wording and differ in numbers or in a word, so only the first two rules may hold for
them. What many problems share is therefore the wording of a task and not the mark of a problem: a gram, a
beginning or a whole wording of more than `max_problems` benchmark problems counts for none (nor is a problem
without another mark looked for inside longer prompts). Where a benchmark has only a few problems of a task,
training shows it: a benchmark problem that more than a tenth of the different training prompts, or more than
200 of them, match by one of the last three rules is a template (`Index.templates`), and what so matches it is
kept. The first two rules hold always, however often a problem leaks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from hpt_core.config import DecontaminationConfig
from hpt_core.data.curation.inverted_index import InvertedIndex, owned, wholes
from hpt_core.data.curation.minhash import Hashes, Places, beginning_hashes, gram_hashes, word_hashes
from hpt_core.data.curation.passages import Passage
from hpt_core.data.curation.text_normalize import distinctive_words, normalized_text, numbers
from hpt_core.data.problems import overlap_key

Rule = Literal["same_text", "inside", "same_wording", "beginning", "shared_grams"]

TEMPLATE_SHARE, TEMPLATE_ROWS = 0.1, 200
"""Of the training prompts: a benchmark problem that is the same as more of them is a template."""


@dataclass(frozen=True)
class Known:
    """A benchmark problem."""

    benchmark: str
    prompt_id: str
    problem: str


@dataclass(frozen=True)
class Match:
    """A benchmark problem that a training prompt is."""

    problem: int
    """Its place in `Index.known`."""
    rule: Rule
    overlap: float
    """Share of the shorter text's grams; 1 for the other rules."""

    @property
    def with_numbers(self) -> bool:
        """Whether it is a whole problem, numbers included: then it is never one of a template."""
        return self.rule in ("same_text", "inside")


class Index:
    """The problems of all benchmarks, to look training prompts up in."""

    def __init__(self, known: Iterable[Known], config: DecontaminationConfig) -> None:
        self.config = config
        keys: dict[str, int] = {}
        self.known: list[Known] = []
        for one in known:
            if keys.setdefault(overlap_key(one.problem), len(self.known)) == len(self.known):
                self.known.append(one)
        self._keys, self._texts = keys, list(keys)
        wordings = [normalized_text(one.problem) for one in self.known]
        words, offsets = word_hashes(wordings)
        self._grams = InvertedIndex(*owned(*gram_hashes(words, offsets, config.gram)), config.max_problems)
        self._lengths = np.diff(offsets)
        starts = beginning_hashes(words, offsets)
        self._beginnings = InvertedIndex(*owned(starts, offsets), config.max_problems)
        self._wholes = InvertedIndex(*wholes(starts, offsets), config.max_problems)
        self._sizes = np.bincount(self._grams.owners[self._grams.rare], minlength=len(self.known))
        self._short = self._by_length(words, offsets, wordings)

    def match(self, problems: Sequence[str], wordings: Sequence[str]) -> list[Match | None]:
        """For each problem (and its `normalized_text`) the benchmark problem that it is, if any."""
        words, offsets = word_hashes(wordings)
        starts = np.concatenate((np.zeros(2, np.uint64), beginning_hashes(words, offsets)))
        same = self._wholes.find(starts[offsets[1:] + 1]).tolist()
        beginnings = self._beginnings.find(starts[offsets[1:]]).tolist()
        grams, begins = gram_hashes(words, offsets, self.config.gram)
        shorts = self._shorts(words, offsets)
        hits, rare = self._grams.find(grams), ~np.isin(grams, self._grams.common)
        found: list[Match | None] = []
        for row, (problem, text) in enumerate(zip(problems, wordings, strict=True)):
            passage = Passage(problem)
            known = self._keys.get(passage.key)
            span, words_ = slice(begins[row], begins[row + 1]), text.split()
            if known is not None:
                found.append(Match(known, "same_text", 1.0))
            elif (held := self._held(passage, shorts.get(row, []))) is not None:
                found.append(Match(held, "inside", 1.0))
            elif same[row] >= 0 and self._tells(words_):
                found.append(Match(self._wholes.of(same[row])[0], "same_wording", 1.0))
            elif (longer := self._begun(beginnings[row], words_)) is not None:
                found.append(Match(longer, "beginning", 1.0))
            else:
                ours = grams[span][rare[span]].tolist()
                found.append(self._by_grams(passage, words_, hits[span].tolist(), len(set(ours))))
        return found

    def _begun(self, place: int, words: Sequence[str]) -> int | None:
        """The first problem at `place` of the beginnings that goes on after as many words as these."""
        if place < 0 or not self._tells(words[:-1]):
            return None
        return next((at for at in self._beginnings.of(place) if self._lengths[at] > len(words)), None)

    def _tells(self, words: Sequence[str]) -> bool:
        """Whether a text has enough different words to be known by them all."""
        return 2 * distinctive_words(set(words)) >= self.config.min_words

    def _by_length(self, words: Hashes, offsets: Places, wordings: Sequence[str]) -> dict[int, InvertedIndex]:
        """Number of words -> the problems of so many that `shared_grams` does not know by their grams."""
        config, lengths = self.config, self._lengths.tolist()
        problems: dict[int, list[int]] = {}
        for at, (text, length) in enumerate(zip(wordings, lengths, strict=True)):
            count = distinctive_words(set(text.split()))
            short = count < config.min_words or length < config.gram or not self._sizes[at]
            if short and 2 * (count + len(numbers(self._texts[at]))) >= config.min_words:
                problems.setdefault(length, []).append(at)
        postings = {}
        for length, group in sorted(problems.items()):
            owners = np.array(group)
            grams, begins = gram_hashes(words, offsets, length)
            postings[length] = InvertedIndex(grams[begins[owners]], owners, config.max_problems)
        return postings

    def _shorts(self, words: Hashes, offsets: Places) -> dict[int, list[int]]:
        """Row -> the short problems of which it has all words in a row, whatever the numbers."""
        rows: dict[int, list[int]] = {}
        for length, postings in self._short.items():
            grams, begins = gram_hashes(words, offsets, length)
            hits = postings.find(grams)
            for at in np.flatnonzero(hits >= 0).tolist():
                row = int(np.searchsorted(begins, at, side="right")) - 1
                rows.setdefault(row, []).extend(postings.of(hits[at]))
        return rows

    def _held(self, passage: Passage, problems: Iterable[int]) -> int | None:
        return next((at for at in problems if passage.holds(self._texts[at])), None)

    def _by_grams(self, passage: Passage, words: list[str], hits: Sequence[int], ours: int) -> Match | None:
        """Of the benchmark problems with enough overlap the one that is inside, else the one with the most;
        the first of equals.

        `hits`: for each gram its place among the rare ones, or -1; `ours`: how many different ones are rare.
        """
        shared: Counter[int] = Counter()
        for at in {at for at in hits if at >= 0}:
            shared.update(self._grams.of(at))
        if not shared:
            return None
        shares = [(count / min(ours, int(self._sizes[owner])), -owner) for owner, count in shared.items()]
        enough = sorted((share for share in shares if share[0] >= self.config.overlap), reverse=True)
        if not enough:
            return None
        if (held := self._held(passage, (-owner for _, owner in enough))) is not None:
            return Match(held, "inside", 1.0)
        overlap, owner = enough[0]
        having: set[str] = set()
        for place, at in enumerate(hits):
            if at >= 0 and -owner in self._grams.of(at):
                having.update(words[place : place + self.config.gram])
        return (
            Match(-owner, "shared_grams", overlap)
            if distinctive_words(having) >= self.config.min_words
            else None
        )

    def templates(self, matches: npt.NDArray[np.int32], rows: int) -> set[int]:
        """The benchmark problems that are templates: of `rows` different prompts, `matches` has the
        `Match.problem` of each that a rule without numbers matched."""
        most = max(self.config.max_problems, min(TEMPLATE_ROWS, rows * TEMPLATE_SHARE))
        counts = np.bincount(matches, minlength=len(self.known))
        return set(np.flatnonzero(counts > most).tolist())

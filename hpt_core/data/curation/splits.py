"""The check that no problem is in two of training, dev and the benchmarks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hpt_core.data.problems import overlap_key
from hpt_core.errors import InputError
from hpt_core.types import Prompt


class Splits:
    """The split of each problem, by id and by overlap key, so that a change of case does not hide it."""

    def __init__(self) -> None:
        self._split_of: dict[str, str] = {}

    def claim(self, split: str, prompt: Prompt) -> None:
        self.check(split, prompt)
        for key in (prompt.prompt_id, overlap_key(prompt.problem)):
            self._split_of[key] = split

    def check(self, split: str, prompt: Prompt) -> None:
        """Raises InputError if another split has the problem."""
        for key in (prompt.prompt_id, overlap_key(prompt.problem)):
            if self._split_of.get(key, split) != split:
                raise InputError(
                    f"prompt {prompt.prompt_id} stands in {split} and in {self._split_of[key]} "
                    f"({prompt.problem[:80]!r}, source {prompt.source!r}); remove it from one of the "
                    f"two sources in params.yaml (curate.train, curate.benchmarks)"
                )


def check_disjoint(
    train: Iterable[Prompt], dev: Iterable[Prompt], benchmarks: Mapping[str, Iterable[Prompt]]
) -> bool:
    """Return True, or raise InputError that names a problem in two of training, dev and the benchmarks.

    Only dev and the benchmarks are held in memory.
    """
    splits = Splits()
    for prompts in benchmarks.values():
        for prompt in prompts:
            splits.claim("benchmarks", prompt)
    for prompt in dev:
        splits.claim("dev", prompt)
    for prompt in train:
        splits.check("train", prompt)
    return True

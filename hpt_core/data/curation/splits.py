"""No problem on two sides: in training, in dev, in a benchmark."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hpt_core.data.problems import overlap_key
from hpt_core.errors import InputError
from hpt_core.types import Prompt


class Splits:
    """Who has which problem; overlap keys as well as ids, so that a change of case is no way around it."""

    def __init__(self) -> None:
        self._owner: dict[str, str] = {}

    def claim(self, split: str, prompt: Prompt) -> None:
        self.check(split, prompt)
        for key in (prompt.prompt_id, overlap_key(prompt.problem)):
            self._owner[key] = split

    def check(self, split: str, prompt: Prompt) -> None:
        """Raises InputError where another split has the problem."""
        for key in (prompt.prompt_id, overlap_key(prompt.problem)):
            if self._owner.get(key, split) != split:
                raise InputError(
                    f"prompt {prompt.prompt_id} stands in {split} and in {self._owner[key]} "
                    f"({prompt.problem[:80]!r}, source {prompt.source!r}); remove it from one of the "
                    f"two sources in params.yaml (curate.train, curate.benchmarks)"
                )


def check_disjoint(
    train: Iterable[Prompt], dev: Iterable[Prompt], benchmarks: Mapping[str, Iterable[Prompt]]
) -> bool:
    """True, or InputError naming a problem that two of training, dev and evaluation share.

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

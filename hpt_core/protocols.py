"""What the trainer sees of the world: an engine that samples, a verifier, a metric sink."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from hpt_core.config import Sampling
from hpt_core.types import Completion, Verdict

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class RolloutEngine(Protocol):
    """Samples responses from the weights that it holds."""

    @property
    def policy(self) -> str:
        """Hash of the weights in use."""

    def generate(
        self, prompts: Sequence[Sequence[int]], seeds: Sequence[int], sampling: Sampling
    ) -> list[Completion]:
        """One completion for each pair of prompt tokens and seed, in order.

        The same weights, prompt, seed and sampling give the same completion.
        """

    def load_weights(self, model: PreTrainedModel) -> None:
        """Take over the weights of `model`."""


class Verifier(Protocol):
    """Judges responses against reference answers."""

    def verify(self, items: Sequence[tuple[str, str, str]]) -> list[Verdict]:
        """One verdict for each (response, gold, kind), in order."""


class MetricSink(Protocol):
    """Takes the metrics of a step."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None: ...

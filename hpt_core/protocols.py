"""What the trainer sees of the world: something that samples, a verifier, a metric sink."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from hpt_core.config import Sampling
from hpt_core.types import Completion, Verdict

if TYPE_CHECKING:
    from transformers import PreTrainedModel


P = TypeVar("P", contravariant=True)
"""A prompt: tokens where the tokenizer is here, text where a server has it."""


class Sampler(Protocol[P]):
    """Samples responses."""

    @property
    def policy(self) -> str:
        """What answers: the hash of the weights in use, or a served model's name and revision."""

    def generate(self, prompts: Sequence[P], seeds: Sequence[int], sampling: Sampling) -> list[Completion]:
        """One completion for each pair of prompt and seed, in order.

        Raises EngineError where the rest cannot be sampled.
        """


class RolloutEngine(Sampler[Sequence[int]], Protocol):
    """Samples from weights that can be replaced, and that are named by their hash.

    The same weights, prompts, seeds and sampling give the same completions, after a restart too.
    """

    def load_weights(self, model: PreTrainedModel, policy: str) -> None:
        """Take over the weights of `model`, whose hash is `policy`."""

    def sleep(self) -> None:
        """Give back the memory that only sampling needs, until `load_weights`."""


class Verifier(Protocol):
    """Judges responses against reference answers."""

    def verify(self, items: Sequence[tuple[str, str, str]]) -> list[Verdict]:
        """One verdict for each (response, gold, kind), in order."""


class MetricSink(Protocol):
    """Takes the metrics of a step."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None: ...

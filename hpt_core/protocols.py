"""The interfaces that the trainer and the stages depend on: a sampler, a verifier, a metric sink."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from hpt_core.config import Sampling
from hpt_core.types import Completion, Verdict

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


P = TypeVar("P", contravariant=True)
"""A prompt: token ids for an engine in this process, text for a server that has its own tokenizer."""


Progress = Callable[[int, int], None]
"""(number of responses that are finished, number that were asked for) -> None."""


def unheard(finished: int, asked: int) -> None:
    """The progress of sampling that nobody follows."""


class PassingWeights(Protocol):
    """The weights of a model, which can be passed over once and are named then."""

    @property
    def model(self) -> PreTrainedModel:
        """The model that they are of, or another one of its class and shape."""

    @property
    def base(self) -> str:
        """The name of the weights that these adapters are added to; empty for all weights of a model."""

    @property
    def name(self) -> str:
        """The hash of the weights, after the last of them; with `base`, of both."""

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        """All that an output depends on by the names of the plain model, in order of name.

        With `base`, the factors of the adapters (`policy.weights.adapters`).
        """


class Sampler(Protocol[P]):
    """Samples responses."""

    @property
    def policy(self) -> str:
        """The policy that is sampled: the hash of its weights, or a served model's name and revision."""

    def generate(self, prompts: Sequence[P], seeds: Sequence[int], sampling: Sampling) -> list[Completion]:
        """One completion for each pair of prompt and seed, in order.

        Raises EngineError if the sampler cannot finish.
        """


class RolloutEngine(Sampler[Sequence[int]], Protocol):
    """A sampler whose weights can be replaced; `policy` is their hash.

    The same weights, prompts, seeds and sampling parameters give the same completions, also after a restart.
    """

    def load_weights(self, weights: PassingWeights) -> None:
        """Take over the weights in one pass over them; `policy` is then their name.

        Adapters replace the adapters of before. The engine must have the weights that they are added to.
        All ranks of a sharded model call this together.
        """

    def sleep(self) -> None:
        """Free the memory that only sampling needs, until `load_weights`."""


class ReportingEngine(RolloutEngine, Protocol):
    """An engine that tells how far `generate` has come, after each of its forward passes."""

    progress: Progress


class Verifier(Protocol):
    """Judges responses against reference answers."""

    def verify(self, items: Sequence[tuple[str, str, str]]) -> list[Verdict]:
        """One verdict for each (response, gold, kind), in order."""


class MetricSink(Protocol):
    """Receives the metrics of each step."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None: ...

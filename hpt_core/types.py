"""The values that pass between the parts: frozen, with a shape for each tensor field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

FinishReason = Literal["stop", "length"]
ExpertKind = Literal["human", "teacher", "program"]


@dataclass(frozen=True)
class Prompt:
    """A problem with its reference answer and the way to check a response against it."""

    prompt_id: str
    """From the normalised problem, so that the same problem has the same id in every source."""
    problem: str
    answer: str
    answer_kind: str
    """math, gsm8k, choice, exact or reasoning_gym:NAME (see `hpt_core.verifier`)."""
    source: str
    license: str


@dataclass(frozen=True)
class Trajectory:
    """An expert trajectory: one worked response to one prompt, with its provenance."""

    trajectory_id: str
    prompt_id: str
    response: str
    kind: ExpertKind
    source: str
    author: str
    """Who wrote it; for a teacher, its model and revision."""
    license: str
    sampling: str
    """JSON: how a teacher was sampled; "{}" for people and programs."""
    verified: bool
    n_tokens: int
    """Length under the tokenizer of the starting policy, end-of-turn token included."""
    sha256: str
    weight: float = 1.0
    """Of its source, where an arm draws at random."""
    base_logp: float | None = None
    """Mean nats per token under the starting policy, end-of-turn token included; None where no one asked."""


@dataclass(frozen=True)
class Verdict:
    """What the verifier says of one response."""

    correct: bool
    extracted: str | None
    """The answer found in the response; None when there is none."""
    error: str | None = None
    """Why there is no judgement (time-out, unreadable reference); such a response has no reward."""


@dataclass(frozen=True)
class Completion:
    """One sampled response, as an engine returns it."""

    response: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    """log pi(token) at the sampling temperature, one for each of token_ids; none where nobody says."""
    finish_reason: FinishReason
    billed: int | None = None
    """Tokens as a server counts them that does not say which they are."""
    error: str | None = None
    """Why there is no response (a server refused the prompt); such a completion takes no part in anything."""

    @property
    def n_tokens(self) -> int:
        return len(self.token_ids) if self.billed is None else self.billed


@dataclass(frozen=True)
class Responses:
    """What one policy said to one prompt, and what the verifier says of it."""

    prompt: Prompt
    completions: list[Completion]
    verdicts: list[Verdict]


@dataclass(frozen=True)
class Rollout:
    """A completion of a policy for a training prompt, with its verified reward."""

    prompt_id: str
    sample: int
    step: int
    """The training step that asked for it; 0 for the rollouts of the starting policy."""
    completion: Completion
    reward: float | None
    """None where the verifier could not judge it: such a rollout takes no part in anything."""
    policy: str
    """Hash of the weights that produced it."""


@dataclass(frozen=True)
class RowInfo:
    """What is known of B rows before any forward pass: enough for every weight but the ratio.

    A group is a prompt: its rollouts, and its demonstration where it has one.
    """

    reward: Tensor
    """[B] float, the verified reward; a demonstration's is read by the methods that rank it (LUFFY)."""
    group: Tensor
    """[B] int64, rows of one prompt share a number."""
    expert: Tensor
    """[B] bool, the row is a demonstration."""
    length: Tensor
    """[B] int64, response tokens."""
    value: Tensor | None = None
    """[B, T] float, V before each token under the policy that sampled, for PPO; not read past `length`."""


@dataclass(frozen=True)
class Tokens:
    """B rows of at most T response tokens, rollouts and demonstrations together."""

    logp: Tensor
    """[B, T] float, log pi_theta(token); carries the gradient."""
    logp_old: Tensor
    """[B, T] float, log-probability under the policy that sampled the row; of demonstrations only PSFT
    and RL-PLUS read it, the policy before the step's first update."""
    mask: Tensor
    """[B, T] bool, True on response tokens."""
    reward: Tensor
    """[B] float."""
    group: Tensor
    """[B] int64."""
    expert: Tensor
    """[B] bool."""
    entropy: Tensor | None = None
    """[B, T] float, entropy of the next-token distribution, in nats; SRFT weighs by it."""
    value: Tensor | None = None
    """[B, T] float, V before each token under the policy that sampled: what PPO's advantage is made of."""
    logp_sampled: Tensor | None = None
    """[B, T] float, what the sampler itself said of a rollout, whose kernels and types are not the trainer's;
    with it logp_old is the trainer's own."""

    @property
    def rows(self) -> RowInfo:
        return RowInfo(self.reward, self.group, self.expert, self.mask.sum(1), self.value)

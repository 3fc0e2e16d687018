"""The values that pass between packages: frozen dataclasses, with a dtype and a shape for each tensor field.

The letters of a shape are B rows, T response tokens. The tests check dtypes and shapes of all instances
(tests/shape_checks.py); production code does not, and this module loads without torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int64
    from torch import Tensor

FinishReason = Literal["stop", "length"]
ExpertKind = Literal["human", "teacher", "program"]


@dataclass(frozen=True)
class Prompt:
    """A problem with its reference answer and the way to check a response against it."""

    prompt_id: str
    """A hash of the normalised problem, so that the same problem has the same id in every source."""
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
    """Who wrote the response; for a teacher, its model and revision."""
    license: str
    sampling: str
    """JSON: how a teacher was sampled; "{}" for people and programs."""
    verified: bool
    n_tokens: int
    """Length under the tokenizer of the starting policy, end-of-turn token included."""
    sha256: str
    weight: float = 1.0
    """Weight of the trajectory's source, for arms that draw demonstrations at random."""
    base_logp: float | None = None
    """Mean nats per token under the starting policy, end-of-turn token included; None if not computed."""


@dataclass(frozen=True)
class Gold:
    """The reference answer of a data set to one problem."""

    where: str
    """File and line, or file and row."""
    answer: str
    kind: str
    solution: str | None = None
    """The full solution that ends in the answer, if the data set has one."""


@dataclass(frozen=True)
class Verdict:
    """The verifier's judgement of one response."""

    correct: bool
    extracted: str | None
    """The answer found in the response; None when there is none."""
    error: str | None = None
    """Why there is no judgement: the response exceeded a limit, or a failure that is not the response's, such
    as an unreadable reference or a killed process."""
    over_limit: bool = False
    """The error is the response's own: grading it exceeded the limit of time, memory or stack. Callers
    grade it a second time, with more time; if it exceeds that limit too, it counts as not solved."""
    score: float | None = None
    """Credit from 0 to 1, the reward, of a kind that gives credit in part; None for other kinds. `correct`
    means full credit."""


@dataclass(frozen=True)
class Completion:
    """One sampled response, as an engine returns it."""

    response: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    """log pi(token) at the sampling temperature, one for each of token_ids; empty if the engine has none."""
    finish_reason: FinishReason
    billed: int | None = None
    """Number of tokens that a server counted, for servers that return no token ids."""
    error: str | None = None
    """Why there is no response (a server refused the prompt); such a completion is not used."""

    @property
    def n_tokens(self) -> int:
        return len(self.token_ids) if self.billed is None else self.billed


@dataclass(frozen=True)
class Responses:
    """The completions of one policy for one prompt, with their verdicts."""

    prompt: Prompt
    completions: list[Completion]
    verdicts: list[Verdict]


@dataclass(frozen=True)
class Rollout:
    """A completion of a policy for a training prompt, with its verified reward."""

    prompt_id: str
    sample: int
    step: int
    """The training step that sampled it; 0 for the rollouts of the starting policy."""
    completion: Completion
    reward: float | None
    """0 if grading the response exceeded the verifier's limits. None if the verifier failed for another
    reason; such a rollout is not used."""
    policy: str
    """Hash of the weights that produced it."""
    over_limit: bool = False
    """Grading the response exceeded the verifier's limits."""


@dataclass(frozen=True)
class RowInfo:
    """What is known about B rows before a forward pass: enough for every weight except the ratio.

    A group is a prompt: its rollouts, and its demonstration if it has one.
    """

    reward: Float[Tensor, "B"]
    """The verified reward. A demonstration's reward is read only by methods that rank demonstrations
    (LUFFY)."""
    group: Int64[Tensor, "B"]
    """Rows of one prompt share a number."""
    expert: Bool[Tensor, "B"]
    """True if the row is a demonstration."""
    length: Int64[Tensor, "B"]
    """Number of response tokens."""
    value: Float[Tensor, "B T"] | None = None
    """V before each token under the policy that sampled, for PPO; columns past `length` are not read."""


@dataclass(frozen=True)
class Tokens:
    """B rows of at most T response tokens, rollouts and demonstrations together."""

    logp: Float[Tensor, "B T"]
    """log pi_theta(token); carries the gradient."""
    logp_old: Float[Tensor, "B T"]
    """Log-probability under the policy that sampled the row. For a demonstration it is that of the policy
    before the step's first update, and only PSFT and RL-PLUS read it."""
    mask: Bool[Tensor, "B T"]
    """True on response tokens."""
    reward: Float[Tensor, "B"]
    """The verified reward."""
    group: Int64[Tensor, "B"]
    """Rows of one prompt share a number."""
    expert: Bool[Tensor, "B"]
    """True if the row is a demonstration."""
    entropy: Float[Tensor, "B T"] | None = None
    """Entropy of the next-token distribution, in nats; SRFT weights rows by it."""
    value: Float[Tensor, "B T"] | None = None
    """V before each token under the policy that sampled; PPO computes its advantage from it."""
    logp_sampled: Float[Tensor, "B T"] | None = None
    """Log-probability as the sampler reported it for a rollout. The sampler's kernels and dtypes differ from
    the trainer's; where this is set, logp_old is the trainer's own."""

    @property
    def rows(self) -> RowInfo:
        return RowInfo(self.reward, self.group, self.expert, self.mask.sum(1), self.value)

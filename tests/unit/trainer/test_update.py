"""One update: the same gradient for every cut, no pass without a gradient, no step on a NaN."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from hpt_core.config import KLConfig, OptimizerConfig, TrainConfig
from hpt_core.errors import TrainingError
from hpt_core.policy.batching import TrainingRow, micro_batches, pad
from hpt_core.policy.logprobs import token_logprobs
from hpt_core.policy.model import LoadedPolicy, weights_hash
from hpt_core.policy.module import PolicyModule
from hpt_core.rollout.group import Group
from hpt_core.trainer.batch import rows_of
from hpt_core.trainer.measures.metrics import Totals
from hpt_core.trainer.mini_batch import Learner
from hpt_core.trainer.ranks import ALONE
from hpt_core.trainer.reference_policy import Reference
from hpt_core.trainer.step import update

OPTIONS = {"gamma": 0.25, "sft_coefficient": 0.7, "length": 40}
HUGE = 1e9


class Recorder(torch.optim.SGD):
    """Records the gradient of each step before it steps."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__(model.parameters(), lr=0.1)
        self.model, self.seen = model, list[dict[str, Tensor]]()

    def step(self, closure: Any = None) -> None:
        self.seen.append(
            {name: p.grad.clone() for name, p in self.model.named_parameters() if p.grad is not None}
        )
        super().step()


def config(**changes: Any) -> TrainConfig:
    return TrainConfig(
        **{
            "steps": 1,
            "prompts_per_step": 4,
            "optimizer": OptimizerConfig(lr=1e-3),
            "clip_norm": HUGE,
            **changes,
        }
    )


def step(
    policy: LoadedPolicy, groups: list[Group], *, reference: Reference | None = None, **changes: Any
) -> tuple[Totals, list[dict[str, Tensor]]]:
    recorder = Recorder(policy.model)
    policy_module, settings = PolicyModule(policy.model), config(**changes)
    learner = Learner(
        policy_module,
        [recorder],
        settings,
        OPTIONS,
        temperature=0.9,
        reference=reference or Reference(policy_module, ALONE),
    )
    return update(learner, rows_of(groups)), recorder.seen


@pytest.fixture
def groups(make_group: Callable[..., Group]) -> list[Group]:
    """Mixed with and without an expert, failed with an expert, failed without, and solved."""
    return [
        make_group("12 + 3", [1, 0, 1], "human"),
        make_group("4", [0, 0, 0], "teacher"),
        make_group("a longer problem", [0, 1, 0]),
        make_group("5 + 5 - 5", [0, 0, 0]),
        make_group("6", [1, 1, 1], "human"),
    ]


@pytest.fixture
def rows_seen(policy: LoadedPolicy) -> list[int]:
    """The number of rows of each forward pass."""
    seen: list[int] = []
    policy.model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    return seen


@pytest.mark.parametrize("architecture", ["policy", "absolute"])
def test_likelihood_is_that_of_each_row_alone(
    request: pytest.FixtureRequest, groups: list[Group], architecture: str
) -> None:
    policy = request.getfixturevalue(architecture)
    policy.model.double()
    rows, temperature = rows_of(groups), 0.8
    logp, entropy, _ = token_logprobs(policy.model, pad(rows, 0, torch.device("cpu")), temperature)
    for row, got, spread in zip(rows, logp, entropy, strict=True):
        logits = policy.model(torch.tensor([[*row.prompt, *row.response]]), use_cache=False).logits[0]
        logprobs = (logits[len(row.prompt) - 1 : -1] / temperature).log_softmax(-1)
        n = len(row.response)
        expected = logprobs[range(n), list(row.response)]
        assert_close(got[:n], expected, rtol=0, atol=1e-12)
        assert_close(
            spread[:n], torch.distributions.Categorical(logits=logprobs).entropy(), rtol=0, atol=1e-12
        )


@pytest.mark.parametrize(
    ("extra", "rollouts"),
    [
        ({}, 3 + 3),
        # A regulariser is over solved and hopeless groups, too, if the gate keeps their rollouts.
        ({"entropy_coefficient": 0.01}, 3 + 3 + 3 + 3),
        ({"entropy_coefficient": 0.01, "kl": KLConfig(coefficient=0.1)}, 3 + 3 + 3 + 3),
    ],
)
def test_the_gradient_does_not_depend_on_the_cut(
    policy: LoadedPolicy, groups: list[Group], extra: dict[str, Any], rollouts: int
) -> None:
    # In float64, so that the order of the sums is the only difference left.
    policy.model.double()
    start = {name: value.clone() for name, value in policy.model.state_dict().items()}
    gradients = []
    for budget in (10**6, 120, 1):
        policy.model.load_state_dict(start)
        totals, (gradient,) = step(policy, groups, microbatch_tokens=budget, **extra)
        gradients.append(gradient)
        assert (totals["rows_trained"], totals["rows_expert"]) == (rollouts + 1, 1)
    assert max(float(g.abs().max()) for g in gradients[0].values()) > 1e-3
    for other in gradients[1:]:
        assert_close(other, gradients[0], rtol=1e-9, atol=1e-13)


def test_micro_batches_hold_every_active_row_once_within_the_budget(groups: list[Group]) -> None:
    rows = rows_of(groups)
    active = torch.tensor([i % 3 != 1 for i in range(len(rows))])
    cut = list(micro_batches(rows, active, 100))
    assert sorted(i for part in cut for i in part) == active.nonzero().squeeze(1).tolist()
    assert len(cut) > 2
    for part in cut:
        shape = pad([rows[i] for i in part], 0, torch.device("cpu")).input_ids.shape
        assert shape.numel() <= 100 or len(part) == 1


def test_a_step_raises_the_objective_of_rollouts(
    policy: LoadedPolicy, make_group: Callable[..., Group]
) -> None:
    """Dr.GRPO without clip maximises the sum over tokens of ratio * (reward - mean of the group)."""
    group = make_group("12 + 3", [1, 0, 1])
    batch = pad(rows_of([group]), 0, torch.device("cpu"))
    advantage = torch.tensor([1 / 3, -2 / 3, 1 / 3])

    def objective() -> float:
        with torch.no_grad():
            logp = token_logprobs(policy.model, batch, 0.9).logp
        return float((((logp - batch.logp_old).exp() * batch.mask).sum(1) * advantage).sum())

    before = objective()
    step(policy, [group], clip_norm=0.01, entropy_coefficient=0.0)
    assert objective() > before


def test_the_entropy_bonus_raises_entropy(policy: LoadedPolicy, make_group: Callable[..., Group]) -> None:
    group = make_group("12 + 3", [1, 0, 1])
    batch = pad(rows_of([group]), 0, torch.device("cpu"))

    def entropy() -> float:
        with torch.no_grad():
            return float(token_logprobs(policy.model, batch, 0.9)[1][batch.mask].mean())

    before = entropy()
    totals, _ = step(policy, [group], clip_norm=0.01, entropy_coefficient=1000.0)
    assert totals.mean("entropy", "tokens_rollout") == pytest.approx(before, rel=1e-5)
    assert entropy() > before


def test_a_kl_leads_back_to_the_starting_policy(
    policy: LoadedPolicy, make_group: Callable[..., Group]
) -> None:
    group = make_group("6", [1, 1, 1])  # nothing to learn but the KL
    start = Reference(PolicyModule(policy.model), ALONE)
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    distances = []
    for _ in range(3):
        totals, _ = step(
            policy, [group], reference=start, kl=KLConfig(coefficient=1.0, estimate="k2"), clip_norm=0.05
        )
        distances.append(totals.mean("kl_reference", "tokens_referred"))
    assert distances[0] > distances[1] > distances[2] > 0


def test_a_step_makes_a_demonstration_likelier(
    policy: LoadedPolicy, make_group: Callable[..., Group]
) -> None:
    group = make_group("4", [0, 0, 0], "teacher")
    batch = pad([row for row in rows_of([group]) if row.kind], 0, torch.device("cpu"))
    before = float(token_logprobs(policy.model, batch, 0.9)[0].sum().detach())
    step(policy, [group], clip_norm=0.05)
    assert float(token_logprobs(policy.model, batch, 0.9)[0].sum().detach()) > before


def test_equal_rewards_cost_no_forward_pass(
    policy: LoadedPolicy, make_group: Callable[..., Group], rows_seen: list[int]
) -> None:
    before = weights_hash(policy.model)
    solved, hopeless = make_group("6", [1, 1, 1], "human"), make_group("5", [0, 0, 0])
    totals, gradients = step(policy, [solved, hopeless])
    assert (rows_seen, gradients) == ([], [])
    assert totals["updates_empty"] == 1 and totals["rows_trained"] == 0
    assert weights_hash(policy.model) == before
    step(policy, [solved, make_group("7", [1, 0, 0], "human"), hopeless])
    assert sum(rows_seen) == 3, "the rollouts of the mixed group and nothing else"


def test_a_nan_in_the_loss_names_the_prompts(policy: LoadedPolicy, groups: list[Group]) -> None:
    with torch.no_grad():
        next(policy.model.parameters()).fill_(torch.nan)
    with pytest.raises(TrainingError, match=r"loss is nan on prompts .*12 \+ 3.*lower train\.optimizer\.lr"):
        step(policy, groups)


@pytest.mark.parametrize("factor", [torch.inf, torch.nan])
def test_a_gradient_without_a_norm_stops_before_the_step(
    policy: LoadedPolicy, groups: list[Group], factor: float
) -> None:
    before = weights_hash(policy.model)
    next(policy.model.parameters()).register_hook(lambda gradient: gradient * factor)
    with pytest.raises(TrainingError, match=r"gradient norm is (nan|inf) on prompts 12 \+ 3, 4, "):
        step(policy, groups)
    assert weights_hash(policy.model) == before


@pytest.mark.parametrize("algorithm", ["sft", "dft", "psft", "trsft"])
def test_a_mini_batch_without_a_demonstration_is_an_empty_update(
    policy: LoadedPolicy, make_group: Callable[..., Group], rows_seen: list[int], algorithm: str
) -> None:
    before = weights_hash(policy.model)
    for groups in ([make_group("4", []), make_group("5", [])], [make_group("4", [0, 1])], []):
        totals, gradients = step(policy, groups, algorithm=algorithm)
        assert (totals["updates_empty"], totals["updates"], gradients, rows_seen) == (1, 0, [], [])
    assert weights_hash(policy.model) == before


def test_a_mini_batch_of_demonstrations_is_empty_for_a_method_of_rollouts(
    policy: LoadedPolicy, make_group: Callable[..., Group]
) -> None:
    totals, gradients = step(policy, [make_group("4", [], "human")], algorithm="grpo")
    assert (totals["updates_empty"], gradients) == (1, [])


def test_rows_that_the_algorithm_cannot_use(policy: LoadedPolicy, make_group: Callable[..., Group]) -> None:
    with pytest.raises(TrainingError, match=r"algorithm grpo: group 0 has a single row.*\(prompts 4\)"):
        step(policy, [make_group("4", [0])], algorithm="grpo")


def test_too_large_a_gradient_is_skipped_and_counted(policy: LoadedPolicy, groups: list[Group]) -> None:
    before = weights_hash(policy.model)
    totals, gradients = step(policy, groups, skip_norm=1e-6)
    assert (totals["updates_skipped"], totals["updates"], gradients) == (1, 1, [])
    assert weights_hash(policy.model) == before
    assert all(p.grad is None for p in policy.model.parameters()), "nothing is left for the next step"
    totals, gradients = step(policy, groups, skip_norm=HUGE)
    assert (totals["updates_skipped"], len(gradients)) == (0, 1)
    assert weights_hash(policy.model) != before


def test_clipping_bounds_the_gradient(policy: LoadedPolicy, groups: list[Group]) -> None:
    totals, (gradient,) = step(policy, groups, clip_norm=0.01)
    norm = torch.stack([g.norm() for g in gradient.values()]).norm()
    assert totals["updates_clipped"] == 1 and totals["grad_norm"] > 0.01
    assert_close(float(norm), 0.01, rtol=1e-3, atol=0)


def test_sums_by_kind(policy: LoadedPolicy, groups: list[Group]) -> None:
    rows = [row for row in rows_of(groups) if row.prompt_id == "4" and row.kind]
    with torch.no_grad():
        logp, _, _ = token_logprobs(policy.model, pad(rows, 0, torch.device("cpu")), 0.9)
    totals, _ = step(policy, groups)
    assert totals.mean("nll/teacher", "tokens/teacher") == pytest.approx(-float(logp.mean()), rel=1e-5)
    assert totals.mean("nll/human", "tokens/human") is None, "both humans' prompts went to their rollouts"


def test_a_row_knows_its_length() -> None:
    assert TrainingRow("p", [1, 2], [3, 4, 5], [], 1.0, 0, "human").length == 5

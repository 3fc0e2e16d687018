"""Dropout: off where a probability is compared with the old policy's, on in plain imitation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_run import Sink, last, run_of
from torch.testing import assert_close
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    MixtralConfig,
    MixtralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
    SeedOssConfig,
    SeedOssForCausalLM,
)

from hpt_core.config import ImportanceConfig, LoraConfig, OptimizerConfig
from hpt_core.policy.batching import pad
from hpt_core.policy.logprobs import checkpoint_layers
from hpt_core.policy.model import LoadedPolicy, weights_hash
from hpt_core.policy.module import PolicyModule
from hpt_core.rollout.group import Group, Task
from hpt_core.trainer.batch import rows_of
from hpt_core.trainer.checkpoint import Checkpoints
from hpt_core.trainer.loop import train
from hpt_core.upge import ALGORITHMS

SHAPE: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,
}
OPT = {**SHAPE, "ffn_dim": 64, "word_embed_proj_dim": 32, "init_std": 0.3, "dropout": 0.5, "layerdrop": 0.5}
RANDOM: dict[str, Callable[[int], PreTrainedModel]] = {
    # Modules, rates that a layer reads from the config, a whole layer that is left out, the noise of a
    # router.
    "gpt2": lambda size: GPT2LMHeadModel(
        GPT2Config(
            vocab_size=size,
            n_embd=32,
            n_layer=2,
            n_head=2,
            n_positions=128,
            initializer_range=0.3,
            resid_pdrop=0.5,
        )
    ),
    "seed_oss": lambda size: SeedOssForCausalLM(
        SeedOssConfig(vocab_size=size, **SHAPE, head_dim=16, residual_dropout=0.5, attention_dropout=0.5)
    ),
    "opt": lambda size: OPTForCausalLM(OPTConfig(vocab_size=size, **OPT)),
    "mixtral": lambda size: MixtralForCausalLM(
        MixtralConfig(vocab_size=size, **SHAPE, num_local_experts=2, router_jitter_noise=0.5)
    ),
}
STILL = OptimizerConfig(lr=1e-12)
"""The policy does not move, so that every update is on fresh rollouts."""


@pytest.fixture(params=RANDOM)
def noisy(request: pytest.FixtureRequest, policy: LoadedPolicy) -> LoadedPolicy:
    """A model that draws random numbers in training mode."""
    torch.manual_seed(7)
    return LoadedPolicy(RANDOM[request.param](len(policy.tokenizer)).eval(), policy.tokenizer)


@pytest.mark.parametrize("updates", [1, 2])
@pytest.mark.parametrize("limits", [None, ImportanceConfig()])
def test_the_ratio_of_a_fresh_rollout_is_one(
    noisy: LoadedPolicy, tasks: list[Task], tmp_path: Path, updates: int, limits: ImportanceConfig | None
) -> None:
    keys = {"updates_per_step": updates, "importance": limits, "optimizer": STILL}
    sink = last(noisy, tasks, "grpo", tmp_path, steps=2, **keys)
    for metrics in sink.steps.values():
        assert metrics["ratio/mean"] == pytest.approx(1, abs=1e-5)
        # Where the trainer computes pi_old in the update itself, not even rounding stands between the two.
        assert metrics["ratio/mean"] == 1 or updates > 1 or limits is None
        assert metrics["ratio/clipped"] == 0 and metrics["kl/old"] < 1e-7


@pytest.mark.parametrize("algorithm", ["hpt", "psft", "reinforce"])
def test_adapters_drop_nothing_beside_an_old_policy(
    policy: LoadedPolicy, tasks: list[Task], tmp_path: Path, algorithm: str
) -> None:
    keys: dict[str, Any] = {"lora": LoraConfig(rank=2, alpha=64.0), "steps": 2}
    norms = []
    for dropout in (0.0, 0.5):
        keys["lora"] = LoraConfig(rank=2, alpha=64.0, dropout=dropout)
        sink = last(policy, tasks, algorithm, tmp_path / str(dropout), **keys)
        norms.append([metrics["grad_norm"] for metrics in sink.steps.values()])
    assert norms[0] == norms[1]


@pytest.mark.parametrize("algorithm", ["sft", "dft", "trsft"])
def test_plain_imitation_has_dropout(
    policy: LoadedPolicy, tasks: list[Task], tmp_path: Path, algorithm: str
) -> None:
    norms = []
    for dropout in (0.0, 0.5):
        lora = LoraConfig(rank=2, alpha=64.0, dropout=dropout)
        sink = last(policy, tasks, algorithm, tmp_path / str(dropout), lora=lora, steps=2)
        norms.append([metrics["grad_norm"] for metrics in sink.steps.values()])
    assert norms[0] != norms[1]


def test_these_methods_have_dropout() -> None:
    assert {name for name, method in ALGORITHMS.items() if method.dropout} == {"sft", "dft", "trsft"}


@pytest.mark.parametrize("algorithm", ["grpo", "sft"])
def test_a_resumed_run_draws_the_same(
    noisy: LoadedPolicy, tasks: list[Task], tmp_path: Path, algorithm: str
) -> None:
    keys: dict[str, Any] = {"importance": ImportanceConfig(), "checkpoint_every": 1}
    whole, again = (run_of(noisy, tasks, algorithm, steps=2, **keys) for _ in range(2))
    train(whole, Checkpoints(tmp_path / "whole", "f"), Sink())
    train(run_of(noisy, tasks, algorithm, steps=1, **keys), Checkpoints(tmp_path / "cut", "f"), Sink())
    train(again, Checkpoints(tmp_path / "cut", "f"), Sink())
    assert weights_hash(again.policy.model) == weights_hash(whole.policy.model)
    assert weights_hash(whole.policy.model) != weights_hash(noisy.model)


@pytest.mark.parametrize("dropout", [False, True])
def test_layers_that_recompute_have_dropout_only_where_the_others_have_it(
    noisy: LoadedPolicy, make_group: Callable[..., Group], dropout: bool
) -> None:
    module = PolicyModule.of(noisy.model, values=False, dropout=dropout)
    batch = pad(rows_of([make_group("12 + 3", [1, 0])]), 0, torch.device("cpu"))

    def gradient(seed: int) -> list[torch.Tensor]:
        torch.manual_seed(seed)
        module.train()
        parameters = [p for p in module.parameters() if p.requires_grad]
        grads = torch.autograd.grad(module(batch, 1.0).logp.sum(), parameters, allow_unused=True)
        return [g for g in grads if g is not None]

    plain = gradient(1)
    checkpoint_layers(noisy.model, dropout=dropout)
    recomputed = gradient(1)
    assert_close(recomputed, plain, rtol=0, atol=0)
    same = all(torch.equal(a, b) for a, b in zip(gradient(2), plain, strict=False))
    assert same != dropout
    assert not any(layer.training for layer in module.eval().modules())

"""An engine that samples another policy than the trainer's is found, and the right one passes."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import Gemma2Config, Gemma2ForCausalLM

from hpt_core.config import LoraConfig, OptimizerConfig, RolloutConfig, Sampling, TrainConfig
from hpt_core.errors import TrainingError
from hpt_core.policy.lora import with_lora
from hpt_core.policy.model import LoadedPolicy
from hpt_core.policy.module import PolicyModule
from hpt_core.policy.weights.hashed import HashedWeights
from hpt_core.protocols import PassingWeights
from hpt_core.rollout.engine_check import LONGEST_PROMPT, PROMPTS, EngineCheck, few
from hpt_core.rollout.engines.decoding import Decoder
from hpt_core.rollout.engines.hf import HFEngine
from hpt_core.rollout.group import Group, Task
from hpt_core.trainer.checkpoint import Checkpoints
from hpt_core.trainer.context import TrainContext
from hpt_core.trainer.loop import train
from hpt_core.types import Completion, Verdict

MakeGroup = Callable[..., Group]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def check_of(
    policy: LoadedPolicy, engine: Any, prompts: list[list[int]], dtype: str = "float32", module: Any = None
) -> EngineCheck:
    rollout = RolloutConfig(
        max_prompt_tokens=60, max_new_tokens=20, group_size=2, temperature=0.8, dtype=dtype
    )
    return EngineCheck(engine, module or policy.model, policy.model, prompts, rollout)


def engine_with(policy: LoadedPolicy, change: Callable[[Any], object], dtype: str = "float32") -> HFEngine:
    """An engine for a changed copy of the policy."""
    copied = policy._replace(model=copy.deepcopy(policy.model))
    engine = HFEngine(copied, dtype=DTYPES[dtype])
    with torch.no_grad():
        change(engine.model)
    return engine


def softcapped(policy: LoadedPolicy) -> LoadedPolicy:
    """A Gemma 2 whose attention scores are large, so that their softcap matters; eager code alone has it."""
    torch.manual_seed(3)
    config = Gemma2Config(
        vocab_size=len(policy.tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        query_pre_attn_scalar=1,
        attn_logit_softcapping=5.0,
        attn_implementation="eager",
    )
    model = Gemma2ForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(10.0)
    return LoadedPolicy(model, policy.tokenizer)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["policy", "absolute", "gemma"])
def test_the_right_engine_passes_and_nothing_changes(
    name: str,
    dtype: str,
    request: pytest.FixtureRequest,
    policy: LoadedPolicy,
    prompt_tokens: list[list[int]],
) -> None:
    chosen = softcapped(policy) if name == "gemma" else request.getfixturevalue(name)
    chosen.model.train()
    engine, state = HFEngine(chosen, dtype=DTYPES[dtype]), torch.get_rng_state()
    assert check_of(chosen, engine, prompt_tokens, dtype).fault() is None
    assert chosen.model.training and torch.equal(torch.get_rng_state(), state)


FAULTS: dict[str, Callable[[Any], object]] = {
    "other weights": lambda model: [p.add_(0.2 * p.std() * torch.randn_like(p)) for p in model.parameters()],
    "a layer of another policy": lambda model: model.model.layers[0].mlp.down_proj.weight.mul_(-1),
    "another rope": lambda model: model.model.rotary_emb.inv_freq.mul_(8.0),
    "a dropped softcap": lambda model: model.set_attn_implementation("sdpa"),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("fault", FAULTS)
def test_another_policy_is_found(
    fault: str, dtype: str, policy: LoadedPolicy, prompt_tokens: list[list[int]]
) -> None:
    torch.manual_seed(1)
    chosen = softcapped(policy) if "softcap" in fault else policy
    found = check_of(chosen, engine_with(chosen, FAULTS[fault], dtype), prompt_tokens, dtype).fault()
    assert found is not None and "\n" not in found
    assert f"rollout.engine hf in {dtype} samples another policy" in found and "nats on average" in found
    assert ("set rollout.dtype: float32 or rollout.engine: vllm" in found) == (dtype == "bfloat16")


def test_a_cache_that_is_ignored_is_found(
    policy: LoadedPolicy, prompt_tokens: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def extend(self: Decoder, tokens: torch.Tensor) -> torch.Tensor:
        return self.model(input_ids=tokens[:, None], use_cache=False).logits[:, -1]

    engine = HFEngine(policy)
    monkeypatch.setattr(Decoder, "extend", extend)
    assert "ignores its cache" in (check_of(policy, engine, prompt_tokens).fault() or "")


class SecondBest:
    """Takes the second most likely token for the most likely one, and reports its true log-probability."""

    policy = ""

    def __init__(self, engine: HFEngine) -> None:
        self.engine = engine

    def generate(self, prompts: Any, seeds: Any, sampling: Sampling) -> list[Completion]:
        if sampling.temperature > 0:
            return self.engine.generate(prompts, seeds, sampling)
        completions = []
        for prompt in prompts:
            logp = self.engine.model(torch.tensor([prompt])).logits[0, -1].log_softmax(-1)
            value, token = logp.topk(2)
            completions.append(Completion("", (int(token[1]),), (float(value[1]),), "length"))
        return completions


def test_a_greedy_token_that_is_not_the_most_likely_is_found(
    policy: LoadedPolicy, prompt_tokens: list[list[int]]
) -> None:
    found = check_of(policy, SecondBest(HFEngine(policy)), prompt_tokens).fault()
    assert found is not None and "one of its greedy tokens is" in found


@pytest.mark.parametrize("size", [3e-5, 1e-3, 0.3])
def test_an_update_that_the_engine_missed_is_found_however_small(
    policy: LoadedPolicy, prompt_tokens: list[list[int]], size: float
) -> None:
    module = PolicyModule(policy.model)
    engine = engine_with(policy, lambda model: None)
    missing, following = (check_of(policy, engine, prompt_tokens, module=module) for _ in range(2))
    assert missing.fault() is None and following.fault() is None
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.add_(size * parameter.std() * torch.randn_like(parameter))
    found = missing.fault()
    assert found is not None and "did not take over all updated weights" in found
    engine.load_weights(HashedWeights(policy.model))
    assert following.fault() is None


def test_adapters_that_are_left_out_of_a_push_are_found(
    policy: LoadedPolicy, prompt_tokens: list[list[int]]
) -> None:
    engine = engine_with(policy, lambda model: None)
    adapted = with_lora(policy, LoraConfig(rank=2), seed=3)
    missing, following = (check_of(adapted, engine, prompt_tokens) for _ in range(2))
    assert missing.fault() is None and following.fault() is None
    with torch.no_grad():
        for name, parameter in adapted.model.named_parameters():
            if "lora_B" in name:
                nn.init.normal_(parameter, std=0.01)
    assert missing.fault() is not None
    engine.load_weights(HashedWeights(adapted.model))
    assert following.fault() is None


def test_few_prompts_of_all_lengths_are_checked() -> None:
    prompts = [[1] * length for length in range(1, 2 * LONGEST_PROMPT)]
    assert [len(prompt) for prompt in few(prompts)] == [1, 171, 341, LONGEST_PROMPT] and PROMPTS == 4
    assert few([[1] * 900, [1] * 800]) == [(1,) * 800], "the shortest, if all are long"
    assert few([[5], [5]]) == [(5,)]


class ByLength:
    def verify(self, items: Any) -> list[Verdict]:
        return [Verdict(len(response) % 2 == 0, None) for response, _, _ in items]


class Sink:
    def log(self, step: int, metrics: Any) -> None: ...


class Deaf(HFEngine):
    """Says that it has the newest weights, and keeps its own."""

    def load_weights(self, weights: PassingWeights) -> None:
        deque(weights, maxlen=0)
        self.policy = weights.name


@pytest.mark.parametrize("engine_class", [Deaf, HFEngine])
def test_training_ends_after_the_first_push_that_was_not_taken_over(
    engine_class: type[HFEngine], policy: LoadedPolicy, make_group: MakeGroup, tmp_path: Path
) -> None:
    tasks: list[Task] = [make_group(f"{i} + {i}", [0]).task for i in range(8)]
    # Nothing but this check would see an update as small as that of a usual learning rate.
    config = TrainConfig(algorithm="grpo", steps=3, prompts_per_step=4, optimizer=OptimizerConfig(lr=1e-5))
    rollout = RolloutConfig(max_prompt_tokens=60, max_new_tokens=12, group_size=4)
    engine = engine_class(policy._replace(model=copy.deepcopy(policy.model)))
    run = TrainContext(policy, engine, ByLength(), tasks, tasks[:1], config, rollout, seed=3)
    checkpoints = Checkpoints(tmp_path / "c", "f")
    if engine_class is HFEngine:
        train(run, checkpoints, Sink())
        return
    with pytest.raises(
        TrainingError, match=r"samples another policy .* did not take over all updated weights"
    ):
        train(run, checkpoints, Sink())

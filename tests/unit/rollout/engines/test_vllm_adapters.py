"""Adapters that vLLM adds while it computes: the policy of a merged push, and no second push of the base."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from policies import sharp_policy, skip_without_vllm
from torch import Tensor
from torch.testing import assert_close

from hpt_core.config import (
    LoraConfig,
    OptimizerConfig,
    RolloutConfig,
    Sampling,
    TrainConfig,
    VLLMConfig,
    WarmStart,
)
from hpt_core.errors import EngineError, InputError, TrainingError
from hpt_core.policy.chat import Chat
from hpt_core.policy.lora import with_lora
from hpt_core.policy.model import LoadedPolicy, weights_hash
from hpt_core.policy.weights.adapters import adapter_weights
from hpt_core.policy.weights.hashed import HashedWeights
from hpt_core.policy.weights.merged import base_weights
from hpt_core.protocols import PassingWeights
from hpt_core.rollout.engine_check import EngineCheck
from hpt_core.rollout.engines import vllm, vllm_adapters
from hpt_core.rollout.engines.vllm import VLLMEngine
from hpt_core.rollout.engines.vllm_adapters import adapter_settings
from hpt_core.rollout.group import Task
from hpt_core.trainer.checkpoint import Checkpoints
from hpt_core.trainer.context import TrainContext
from hpt_core.trainer.loop import train
from hpt_core.types import Prompt, Verdict

skip_without_vllm()

TEXTS = ["State the final answer: 3 + 4 =", "3 + 4 = 7\n\\boxed{7}", "Spell this word backward: stop"]
GREEDY = Sampling(temperature=0.0, max_new_tokens=20)
WARM = Sampling(temperature=0.7, max_new_tokens=20)
LORA = LoraConfig(rank=3, alpha=7.0)
"""A rank that vLLM has no room of, and a scale that is no power of two."""
ROLLOUT = RolloutConfig(
    engine="vllm",
    vllm=VLLMConfig(lora=True, cpu_cache_gib=1),
    group_size=4,
    max_prompt_tokens=40,
    max_new_tokens=12,
    temperature=0.9,
)


class Counting(VLLMEngine):
    """Counts the bytes that each `load_weights` is given."""

    def load_weights(self, weights: PassingWeights) -> None:
        self.__dict__.setdefault("bytes", []).append(0)
        super().load_weights(Counted(weights, self))

    def count(self, tensor: Tensor) -> None:
        self.__dict__["bytes"][-1] += tensor.nbytes

    @property
    def pushed(self) -> list[int]:
        found: list[int] = self.__dict__["bytes"]
        return found


class Counted:
    def __init__(self, weights: PassingWeights, engine: Counting) -> None:
        self.weights, self.engine = weights, engine
        self.model, self.base = weights.model, weights.base

    @property
    def name(self) -> str:
        return self.weights.name

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        for name, tensor in self.weights:
            self.engine.count(tensor)
            yield name, tensor


@pytest.fixture(scope="module")
def policy(sizes: WarmStart) -> LoadedPolicy:
    """Two heads of 32, the smallest that vLLM takes on a CPU."""
    return sharp_policy(sizes.model_copy(update={"hidden_size": 64}), TEXTS)


@pytest.fixture(scope="module")
def engine(policy: LoadedPolicy) -> Counting:
    return Counting(policy, slots=64, config=VLLMConfig(cpu_cache_gib=1), adapters=LORA)


def adapted(policy: LoadedPolicy, seed: int, size: float = 0.5) -> LoadedPolicy:
    """The policy with adapters that are not zero, unless `size` is 0."""
    built = with_lora(policy._replace(model=copy.deepcopy(policy.model)), LORA, seed=3)
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in built.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_().mul_(size)
    return built


def served(engine: VLLMEngine, policy: LoadedPolicy) -> HashedWeights:
    """Have the engine serve the adapters of the policy on the base that it has."""
    adapters = HashedWeights(policy.model, adapter_weights, engine.base)
    engine.load_weights(adapters)
    return adapters


def prompts_for(policy: LoadedPolicy) -> list[list[int]]:
    chat = Chat(policy.tokenizer)
    return [chat.prompt(text) for text in ("1", "1 + 2 =", "Spell: kayak", "12 - 3 + 45 - 6 =", "?!")]


@pytest.mark.parametrize("sampling", [GREEDY, WARM], ids=["greedy", "warm"])
def test_served_adapters_sample_what_a_merged_push_samples(
    policy: LoadedPolicy, engine: Counting, sampling: Sampling
) -> None:
    prompts, found = prompts_for(policy), []
    for seed in (1, 2):
        one = adapted(policy, seed)
        engine.load_weights(HashedWeights(one.model))
        merged = engine.generate(prompts, range(5), sampling)
        engine.load_weights(HashedWeights(one.model, base_weights))
        base = engine.generate(prompts, range(5), sampling)
        served(engine, one)
        found.append(engine.generate(prompts, range(5), sampling))
        for other, expected in zip(found[-1], merged, strict=True):
            assert other.token_ids == expected.token_ids
            assert_close(torch.tensor(other.logprobs), torch.tensor(expected.logprobs), rtol=0, atol=1e-4)
        assert [c.token_ids for c in found[-1]] != [c.token_ids for c in base], "the adapters do something"
    assert [c.token_ids for c in found[0]] != [c.token_ids for c in found[1]], "the second replaced the first"
    assert weights_hash(one.model) != engine.policy


class ByLength:
    def verify(self, items: Any) -> list[Verdict]:
        return [Verdict(len(response) % 2 == 0, None) for response, _, _ in items]


class Sink:
    def __init__(self) -> None:
        self.steps: list[Any] = []

    def log(self, step: int, metrics: Any) -> None:
        self.steps.append(metrics)


def run_of(policy: LoadedPolicy, engine: Counting) -> TrainContext:
    tasks = [
        Task(Prompt(f"p{i}", "", "", "exact", "s", "mit"), tokens, None, [])
        for i, tokens in enumerate(prompts_for(policy))
    ]
    optimizer = OptimizerConfig(lr=1e-2)
    config = TrainConfig(algorithm="grpo", steps=4, prompts_per_step=5, optimizer=optimizer, lora=LORA)
    return TrainContext(policy, engine, ByLength(), tasks, tasks[:1], config, ROLLOUT, seed=3)


def test_training_pushes_the_base_once_and_then_adapters_alone(
    policy: LoadedPolicy, engine: Counting, tmp_path: Path
) -> None:
    trained = adapted(policy, 1, size=0.0)
    sink, checkpoints = Sink(), Checkpoints(tmp_path / "c", "f")
    engine.pushed.clear()
    train(run_of(trained, engine), checkpoints, sink)
    base, adapters = (
        sum(tensor.nbytes for _, tensor in part(trained.model)) for part in (base_weights, adapter_weights)
    )
    assert engine.pushed == [base] + [adapters] * 5, "before each step, and for the dev prompts at the end"
    names = {row["policy"] for row in checkpoints.rows("rollouts", 4)}
    assert len(names) == 4
    last = HashedWeights(trained.model, adapter_weights, weights_hash(policy.model))
    assert dict(last) and engine.policy == last.name and last.name not in names
    for metrics in sink.steps:
        assert metrics["staleness"] == 0
        assert 0 < metrics["sampler/difference_max"] < 1e-3, "a sampler one step behind differs by more"


def test_an_engine_that_ignores_adapters_is_found_after_the_first_update(
    policy: LoadedPolicy, engine: Counting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm, "request_for", lambda number: None)
    sink = Sink()
    with pytest.raises(TrainingError, match=r"such as adapters.*set rollout\.vllm\.lora: false"):
        train(run_of(adapted(policy, 1, size=0.0), engine), Checkpoints(tmp_path / "c", "f"), sink)
    assert not sink.steps, "new adapters are zero, so that the weights of the first step are right"


def test_a_layer_that_vllm_has_no_place_for(policy: LoadedPolicy, engine: Counting) -> None:
    one = adapted(policy, 1)
    engine.load_weights(HashedWeights(one.model, base_weights))

    def renamed(model: Any) -> Iterable[tuple[str, Tensor]]:
        return ((name.replace("layers.1", "layers.7"), tensor) for name, tensor in adapter_weights(model))

    with pytest.raises(
        InputError, match=r"no layer for the adapters of model\.layers\.7.*leave these layers"
    ):
        engine.load_weights(HashedWeights(one.model, renamed, engine.base))
    assert engine.policy == "", "partly loaded adapters have no name"
    with pytest.raises(AssertionError, match="belong to other weights"):
        engine.load_weights(HashedWeights(one.model, adapter_weights, "another base"))


def test_what_vllm_is_started_with(policy: LoadedPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = adapter_settings(LORA, policy.model, torch.float32)
    assert settings["max_lora_rank"] == 8 and settings["max_loras"] == 1
    every = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
    assert settings["lora_target_modules"] == every
    some = LoraConfig(rank=512, targets=["self_attn.q_proj", "v_proj"])
    settings = adapter_settings(some, policy.model, torch.bfloat16)
    assert settings["max_lora_rank"] == 512 and settings["lora_target_modules"] == ["q_proj", "v_proj"]
    monkeypatch.setattr(vllm_adapters.torch.cuda, "is_available", lambda: True)
    with pytest.raises(InputError, match=r"set rollout\.dtype: bfloat16, or rollout\.vllm\.lora: false"):
        adapter_settings(LORA, policy.model, torch.float32)


SIZES = {
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 128,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": None,
}


def of_family(family: str, policy: LoadedPolicy) -> LoadedPolicy:
    """A random policy of the family."""
    torch.manual_seed(3)
    sizes = {**SIZES, "vocab_size": len(policy.tokenizer)}
    model = getattr(transformers, f"{family}ForCausalLM")(getattr(transformers, f"{family}Config")(**sizes))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return LoadedPolicy(model.eval(), policy.tokenizer)


# Qwen2 has biases, one layer of Phi-3 computes q, k and v, and vLLM has no code of its own for SmolLM3.
@pytest.mark.slow
@pytest.mark.parametrize("family", ["Qwen2", "Phi3", "SmolLM3"])
def test_a_family_with_served_adapters(policy: LoadedPolicy, family: str) -> None:
    plain = of_family(family, policy)
    engine = VLLMEngine(plain, slots=8, config=ROLLOUT.vllm, adapters=LORA)
    built = with_lora(plain, LORA, seed=3)
    engine.load_weights(HashedWeights(built.model, base_weights))
    check = EngineCheck(engine, built.model, built.model, prompts_for(policy), ROLLOUT)
    served(engine, built)
    assert check.fault() is None
    with torch.no_grad():
        for name, parameter in built.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_().mul_(0.5)
    assert check.fault() is not None, "the engine has the adapters of before"
    served(engine, built)
    assert check.fault() is None


@pytest.mark.slow
def test_a_family_whose_adapters_vllm_cannot_add(policy: LoadedPolicy) -> None:
    built = of_family("Bloom", policy)
    with pytest.raises(EngineError, match=r"did not start.*LoRA.*set rollout\.vllm\.lora: false"):
        VLLMEngine(built, slots=8, config=ROLLOUT.vllm, adapters=LoraConfig())

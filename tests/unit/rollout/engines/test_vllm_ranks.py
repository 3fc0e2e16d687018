"""Ranks with an engine each, or with one engine for several of them: the run of a single process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import vllm_rank_worker
from policies import moved, sharp_policy, skip_without_vllm
from safetensors.torch import load_file
from torch.testing import assert_close

from hpt_core.config import LoraConfig, RolloutConfig, Sampling, VLLMConfig, WarmStart
from hpt_core.policy.chat import Chat
from hpt_core.policy.lora import with_lora
from hpt_core.policy.model import load_policy, save_policy
from hpt_core.policy.weights.adapters import adapter_weights
from hpt_core.policy.weights.hashed import HashedWeights
from hpt_core.policy.weights.merged import base_weights
from hpt_core.rollout.engines.hf import HFEngine
from hpt_core.rollout.replicas.channel import Channel
from hpt_core.rollout.replicas.engine import Replicas
from pipelines.stage.sampler import build_replica

skip_without_vllm()

ROOT = Path(__file__).parents[4]
TEXTS = ["State the final answer: 3 + 4 =", "3 + 4 = 7\n\\boxed{7}", "Spell this word backward: kayak ?!"]
RESPONSES = (vllm_rank_worker.STEPS * 4 + 2) * len(vllm_rank_worker.PROMPTS)
"""Four rollouts a step and two evaluations of the dev prompts."""


def trained(policy: Path, ranks: int, tensor_parallel: int, out: Path, adapters: str = "none") -> Path:
    """The folder that a run of so many ranks left."""
    out.mkdir()
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    command = [vllm_rank_worker.__file__, str(policy), str(tensor_parallel), str(out), adapters]
    done = subprocess.run(
        [sys.executable, *(launcher if ranks > 1 else []), *command],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return out


@pytest.fixture(scope="module")
def folder(sizes: WarmStart, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two heads of 32, the smallest that vLLM takes on a CPU."""
    path = tmp_path_factory.mktemp("policy")
    save_policy(sharp_policy(sizes.model_copy(update={"hidden_size": 64}), TEXTS), path)
    return path


@pytest.fixture(scope="module")
def alone(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(folder, 1, 1, tmp_path_factory.mktemp("alone") / "out")


def record(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "record.json").read_text())
    return found


@pytest.mark.parametrize(
    ("ranks", "tensor_parallel"),
    [(2, 2), pytest.param(2, 1, marks=pytest.mark.slow), pytest.param(4, 2, marks=pytest.mark.slow)],
)
def test_ranks_sample_and_learn_as_one(
    folder: Path, alone: Path, tmp_path: Path, ranks: int, tensor_parallel: int
) -> None:
    out = trained(folder, ranks, tensor_parallel, tmp_path / "out")
    assert_same_run(out, alone)
    judged = [int((out / f"judged.{rank}").read_text()) for rank in range(ranks)]
    assert sum(judged) == RESPONSES and max(judged) < RESPONSES, "ranks that are one engine share the judging"


@pytest.fixture(scope="module")
def merged(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(folder, 1, 1, tmp_path_factory.mktemp("merged") / "out", "merged")


@pytest.mark.slow
@pytest.mark.parametrize(("ranks", "tensor_parallel"), [(2, 2), (2, 1)])
def test_ranks_that_serve_adapters_learn_as_one_that_merges_them(
    folder: Path, merged: Path, tmp_path: Path, ranks: int, tensor_parallel: int
) -> None:
    out = trained(folder, ranks, tensor_parallel, tmp_path / "out", "served")
    assert_same_run(out, merged)
    assert record(out)["policy"] != record(merged)["policy"], "the name covers base and adapters apart"


def assert_same_run(out: Path, other: Path) -> None:
    found, expected = record(out), record(other)
    for one, two in zip(expected["rollouts"], found["rollouts"], strict=True):
        assert two["token_ids"] == one["token_ids"], "the seeds decide, and not who samples"
        assert two["reward"] == one["reward"]
        assert two["logprobs"] == pytest.approx(one["logprobs"], abs=1e-4)
    # The sampler's rounding differs with the rows beside a row, and is a part of the ratios.
    weights = [load_file(folder / "weights.safetensors") for folder in (out, other)]
    assert_close(*weights, rtol=1e-4, atol=1e-6)
    for one, two in zip(expected["metrics"], found["metrics"], strict=True):
        assert two["staleness"] == 0 and two["sampler/difference_max"] < 1e-3
        assert two["reward/mean"] == one["reward/mean"] and 0 < one["reward/mean"] < 1
    assert len({row["policy"] for row in found["rollouts"]}) == vllm_rank_worker.STEPS


def test_a_replica_samples_with_vllm_what_it_was_sent(folder: Path) -> None:
    policy = load_policy(folder)
    rollout = RolloutConfig(
        engine="vllm",
        vllm=VLLMConfig(cpu_cache_gib=1),
        group_size=4,
        max_prompt_tokens=40,
        max_new_tokens=12,
    )
    prompts = [Chat(policy.tokenizer).prompt(text) for text in vllm_rank_worker.PROMPTS]
    greedy = Sampling(temperature=0.0, max_new_tokens=12)
    replicas = Replicas(partial(build_replica, rollout, folder), 1, threads=1, device=torch.device("cpu"))
    found = []
    try:
        for sent in (policy, moved(policy, 0.5)):
            replicas.load_weights(HashedWeights(sent.model))
            found.append([c.token_ids for c in replicas.generate(prompts, [0] * len(prompts), greedy)])
            expected = HFEngine(sent).generate(prompts, [0] * len(prompts), greedy)
            assert found[-1] == [completion.token_ids for completion in expected]
    finally:
        replicas.close()
    assert found[0] != found[1]


@pytest.mark.slow
def test_a_replica_serves_adapters_that_it_was_sent_without_the_base(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy, lora, sent = load_policy(folder), LoraConfig(rank=3, alpha=7.0), list[int]()
    vllm = VLLMConfig(cpu_cache_gib=1, lora=True)
    rollout = RolloutConfig(engine="vllm", vllm=vllm, group_size=4, max_prompt_tokens=40, max_new_tokens=12)
    prompts = [Chat(policy.tokenizer).prompt(text) for text in vllm_rank_worker.PROMPTS]
    greedy = Sampling(temperature=0.0, max_new_tokens=12)

    def counted(channel: Channel, tensor: torch.Tensor, real: Any = Channel.broadcast) -> None:
        sent[-1] += tensor.nbytes
        real(channel, tensor)

    monkeypatch.setattr(Channel, "broadcast", counted)
    build = partial(build_replica, rollout, folder, lora)
    replicas = Replicas(build, 1, threads=1, device=torch.device("cpu"))
    adapted, base, found = with_lora(policy, lora, seed=3).model, "", []
    try:
        for part in (base_weights, adapter_weights, adapter_weights):
            sent.append(0)
            weights = HashedWeights(adapted, part, base)
            replicas.load_weights(weights)
            base = base or weights.name
            assert replicas.policy == weights.name
            found.append([c.token_ids for c in replicas.generate(prompts, [0] * len(prompts), greedy)])
            expected = HFEngine(policy).generate(prompts, [0] * len(prompts), greedy)
            assert found[-1] == [completion.token_ids for completion in expected]
            assert sent[-1] == sum(tensor.nbytes for _, tensor in part(adapted))
            if len(found) == 2:
                with torch.no_grad():
                    for name, parameter in adapted.named_parameters():
                        if "lora_B" in name:
                            parameter.normal_().mul_(0.5)
    finally:
        replicas.close()
    assert found[0] == found[1] != found[2], "new adapters are zero"

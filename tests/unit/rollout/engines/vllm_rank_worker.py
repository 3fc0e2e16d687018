"""Training with vLLM in any number of ranks: `vllm_rank_worker.py POLICY TENSOR_PARALLEL OUT ADAPTERS`.

ADAPTERS: none, merged into the weights of each push, or served by vLLM.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from hpt_core.config import LoraConfig, OptimizerConfig, RolloutConfig, TrainConfig, VLLMConfig
from hpt_core.policy.chat import Chat
from hpt_core.policy.lora import with_lora
from hpt_core.policy.model import load_policy
from hpt_core.policy.weights.merged import merged_weights
from hpt_core.rollout.engines.vllm import VLLMEngine
from hpt_core.rollout.group import Task
from hpt_core.trainer.checkpoint import Checkpoints
from hpt_core.trainer.context import TrainContext
from hpt_core.trainer.loop import train
from hpt_core.trainer.ranks import join, leave
from hpt_core.types import Prompt, Verdict

STEPS = 4
PROMPTS = ("1", "1 + 2 =", "Spell: kayak", "12 - 3 + 45 - 6 =", "?!")
"""No multiple of the ranks."""


class ByLength:
    """Counts the responses that this rank has judged."""

    def __init__(self) -> None:
        self.judged = 0

    def verify(self, items: Any) -> list[Verdict]:
        self.judged += len(items)
        return [Verdict(len(response) % 2 == 0, None) for response, _, _ in items]


class Sink:
    def log(self, step: int, metrics: Any) -> None: ...


def main(folder: Path, tensor_parallel: int, out: Path, adapters: str) -> None:
    ranks = join()
    torch.set_num_threads(1)
    policy, verifier = load_policy(folder), ByLength()
    chat = Chat(policy.tokenizer)
    tasks = [
        Task(Prompt(f"p{i}", "", "", "exact", "s", "mit"), chat.prompt(text), None, [])
        for i, text in enumerate(PROMPTS)
    ]
    lora = None if adapters == "none" else LoraConfig(rank=3, alpha=7.0)
    config = TrainConfig(
        algorithm="grpo",
        steps=STEPS,
        prompts_per_step=5,
        optimizer=OptimizerConfig(lr=1e-3 if lora is None else 1e-2),
        lora=lora,
        dev_every=2,
    )
    served = lora if adapters == "served" else None
    vllm = VLLMConfig(cpu_cache_gib=1, tensor_parallel=tensor_parallel, lora=served is not None)
    rollout = RolloutConfig(engine="vllm", vllm=vllm, group_size=4, max_prompt_tokens=40, max_new_tokens=12)
    engine = VLLMEngine(policy, 32, config=vllm, ranks=ranks.count, adapters=served)
    if lora is not None:
        policy = with_lora(policy, lora, seed=3)
    run = TrainContext(policy, engine, verifier, tasks, tasks, config, rollout, seed=3, ranks=ranks)
    checkpoints = Checkpoints(out / "checkpoints", "f", ranks=ranks)
    train(run, checkpoints, Sink())
    weights = {name: weight.clone() for name, weight in merged_weights(policy.model)}
    (out / f"judged.{ranks.index}").write_text(str(verifier.judged))
    if ranks.main:
        save_file(weights, out / "weights.safetensors")
        record = {
            "policy": engine.policy,
            "rollouts": list(checkpoints.rows("rollouts", STEPS)),
            "metrics": checkpoints.metrics(STEPS),
        }
        (out / "record.json").write_text(json.dumps(record))
    leave(ranks)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])

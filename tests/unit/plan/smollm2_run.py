"""A training run of a random model in the shape of SmolLM2-135M, and what its ranks had in memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from model_configs import SMOLLM2_135M
from transformers import LlamaConfig, LlamaForCausalLM

from hpt_core import tables
from hpt_core.policy.chat import Chat
from hpt_core.policy.model import LoadedPolicy, save_policy
from hpt_core.policy.warm_start import build_tokenizer
from hpt_core.types import Prompt, Trajectory
from pipelines import paths

REPO = Path(__file__).parents[3]
PROMPT, DEMONSTRATION, RESPONSE = 64, 128, 16
"""Tokens: each prompt and each demonstration is as long as the parameters allow, as the plan assumes."""
# Two prompts and two micro-batches for each rank: the second has the gradients of the first beside it. The
# random policy solves nothing, so that each update is on the demonstrations.
PARAMS = """
seed: 3
threads: 1
curate:
  train: [{{name: s, reasoning_gym: chain_sum, size: 1, seed: 1}}]
  dev_size: 1
  max_problem_chars: 1000
  benchmarks: {{held: [{{name: s, reasoning_gym: chain_sum, size: 1, seed: 2}}]}}
base: {{model: models/base}}
teacher: null
rollout: {{group_size: 8, max_prompt_tokens: {prompt}, max_new_tokens: {response}}}
experts: {{max_tokens: {demonstration}, licenses: [mit], sources: [{{name: worked, kind: program}}]}}
arms: {{program: {{mix: {{program: 1.0}}}}}}
train:
  gate: {{gamma: 0.25}}
  steps: 2
  ranks: {ranks}
  prompts_per_step: {prompts}
  microbatch_tokens: {tokens}
  optimizer: {{name: adamw, lr: 0.00001}}
evaluate: {{samples: 2}}
verifier: {{workers: 1}}
tracking: {{experiment: e, registered_model: m}}
schedule: {{cron: "0 2 * * *", timezone: UTC}}
"""
# As `python -m pipelines.train` starts its ranks.
LAUNCHER = """
import sys
from pipelines.stage.rank_processes import start
sys.exit(start(int(sys.argv[1]), sys.argv[2:], threads=1))
"""


def save_model(folder: Path) -> Chat:
    """Write the model with the tokenizer of the policies that are built here; returns its chat."""
    tokenizer = build_tokenizer([problem(1)])
    tokens = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    torch.manual_seed(0)
    save_policy(LoadedPolicy(LlamaForCausalLM(LlamaConfig(**SMOLLM2_135M, **tokens)), tokenizer), folder)
    return Chat(tokenizer)


def problem(number: int, filling: int = 0) -> str:
    return f"{number:04d} + {number:04d} =" + "." * filling


def make_project(root: Path, model: Path, chat: Chat, ranks: int) -> Path:
    """Inputs of the stage `train`."""
    filling = PROMPT - len(chat.prompt(problem(1)))
    response = "." * (DEMONSTRATION - len(chat.response("")))
    prompts = [
        Prompt(f"p{n}", problem(n, filling), "9", "exact", "made", "mit") for n in range(2 * ranks + 1)
    ]
    assert {len(chat.prompt(prompt.problem)) for prompt in prompts} == {PROMPT}
    assert len(chat.response(response)) == DEMONSTRATION
    experts = [
        tables.as_row(
            Trajectory(
                f"t-{name}", name, response, "program", "s", "a", "mit", "{}", True, DEMONSTRATION, "0"
            )
        )
        for name in (prompt.prompt_id for prompt in prompts[:-1])
    ]
    rows = [tables.as_row(prompt) for prompt in prompts]
    tables.write(root / paths.TRAIN_PROMPTS, rows[:-1], tables.PROMPTS)
    tables.write(root / paths.DEV_PROMPTS, rows[-1:], tables.PROMPTS)
    demonstrations = ({name: row[name] for name in tables.DEMONSTRATIONS.names} for row in experts)
    tables.write(root / paths.demonstrations("program"), demonstrations, tables.DEMONSTRATIONS)
    (root / paths.BASE_MODEL).parent.mkdir(parents=True)
    (root / paths.BASE_MODEL).symlink_to(model)
    sizes = {"prompt": PROMPT, "response": RESPONSE, "demonstration": DEMONSTRATION}
    text = PARAMS.format(ranks=ranks, prompts=2 * ranks, tokens=PROMPT + DEMONSTRATION, **sizes)
    (root / "params.yaml").write_text(text)
    return root


@dataclass(frozen=True)
class Resident:
    """Bytes of one rank."""

    peaks: dict[str, int]
    """Moment of a plan -> those that were resident at most."""
    before: int
    """Those before the model was read."""
    afterwards: int
    """Those at the end, without tensors; more than `before`, since libraries load a part when it is used."""

    def of_model(self, moment: str) -> int:
        return self.peaks[moment] - (self.before if moment == "engine start" else self.afterwards)


def resident_memory(project: Path, ranks: int) -> list[Resident]:
    """What each rank of the run had in memory.

    glibc's malloc is told to return freed tensors to the system at once, by a threshold for mmap that stays
    at its default. Otherwise the threshold rises to 32 MiB, and malloc keeps what is freed below that.
    """
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPO),
        "OMP_NUM_THREADS": "1",
        "MALLOC_MMAP_THRESHOLD_": os.environ.get("MALLOC_MMAP_THRESHOLD_", str(128 * 1024)),
    }
    script = str(Path(__file__).with_name("resident_rank.py"))
    command = [sys.executable, "-c", LAUNCHER, str(ranks), script, "program"]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [Resident(**json.loads((project / f"memory.{rank}.json").read_text())) for rank in range(ranks)]

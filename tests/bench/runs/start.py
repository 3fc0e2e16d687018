"""Private memory of each of two ranks, from its imports to its first rollout, in sizes of the model."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from functools import wraps
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from hpt_core import tables
from hpt_core.policy.model import LoadedPolicy, save_policy
from hpt_core.policy.warm_start import build_tokenizer
from hpt_core.trainer import rollout_queue
from hpt_core.trainer.sampling import EngineWeights
from hpt_core.trainer.train_state import TrainState
from hpt_core.types import Prompt
from pipelines import train
from pipelines.params import recipes
from pipelines.stage import training_sampler
from pipelines.stage.rank_processes import start
from pipelines.stage.training_data import TrainingFiles
from tests.bench.inputs import load_model
from tests.bench.table import show

RANKS = 2
ARM = "human"
EVERY = 0.1
"""Seconds between two looks at the memory."""
ROOT = Path(__file__).parents[3]


def engine_start(folder: Path | None) -> None:
    """Start training with two ranks and a sampler in bfloat16, for each engine that is installed.

    The same with a model of one narrow layer shows what modules that are imported late, vLLM's cache and the
    engine itself take.
    """
    policy = LoadedPolicy(load_model(folder), build_tokenizer(["What is 12 + 34 =", "\\boxed{7}"]))
    narrow = policy._replace(model=_narrow(policy.model))
    added = _size(policy.model) - _size(narrow.model)
    rows = []
    for engine in ("hf", *(["vllm"] if find_spec("vllm") else [])):
        of_ranks = zip(_phases(policy, engine), _phases(narrow, engine), strict=True)
        for rank, (phases, narrow_phases) in enumerate(of_ranks):
            least = 0
            for (phase, _, peak), (_, _, narrow_peak) in zip(phases, narrow_phases, strict=True):
                least = max(least, narrow_peak)
                beyond = f"{(peak - least) / added - 1 / RANKS:.2f}"
                rows.append([f"{engine}, rank {rank}", phase, _mib(peak), _mib(least), beyond])
    show(
        f"Peaks of private memory beyond the imports, MiB; model in float32: {_mib(_size(policy.model))}",
        ["engine", "phase", "peak", "narrow model", "models beyond the shard"],
        rows,
    )


def _narrow(model: PreTrainedModel) -> PreTrainedModel:
    """A model with the vocabulary of `model` and hardly anything else."""
    config = LlamaConfig(
        vocab_size=model.config.vocab_size,
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=1,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config)


def _size(model: PreTrainedModel) -> int:
    return sum(parameter.nbytes for parameter in model.parameters())


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f}"


def _phases(policy: LoadedPolicy, engine: str) -> list[list[tuple[str, int, int]]]:
    """The phases of each rank of a run with this policy and engine."""
    with tempfile.TemporaryDirectory() as name:
        _write_project(Path(name), policy, engine)
        return _ranks(Path(name))


def _write_project(root: Path, policy: LoadedPolicy, engine: str) -> None:
    """Write a project that is ready to train."""
    files = TrainingFiles(root)
    save_policy(policy, files.base)
    prompts = [
        Prompt(f"p{i}", f"What is {i} + {7 * i}?", str(8 * i), "exact", "made", "mit") for i in range(64)
    ]
    tables.write(files.train, map(tables.as_row, prompts[:-8]), tables.PROMPTS)
    tables.write(files.dev, map(tables.as_row, prompts[-8:]), tables.PROMPTS)
    tables.write(files.demonstrations(ARM), [], tables.DEMONSTRATIONS)
    (root / "conf").symlink_to(ROOT / "conf")
    overrides = [
        f"gsm8k={root}",
        f"model={files.base}",
        f"++rollout.engine={engine}",
        f"++train.ranks={RANKS}",
        "++train.algorithm=grpo",
    ]
    recipes.write(root, "gsm8k_smoke", overrides)


def _ranks(root: Path) -> list[list[tuple[str, int, int]]]:
    """The phases of each rank of a run of the project."""
    os.environ["PYTHONPATH"] = str(ROOT)
    with chdir(root):
        assert start(RANKS, ["-m", "tests.bench.runs.start"], threads=1) == 0
        return [json.loads(Path(f"memory.{rank}.json").read_text()) for rank in range(RANKS)]


class PrivateMemory(threading.Thread):
    """Looks at the private memory of this process (its unique set size, proc(5)) until the process ends."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.first = self.peak = self.now()
        self.phases: list[tuple[str, int, int]] = []

    def now(self) -> int:
        """Bytes that no other process shares."""
        lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
        return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))

    def run(self) -> None:
        while True:
            self.peak = max(self.peak, self.now())
            threading.Event().wait(EVERY)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        self.peak = self.now()
        yield
        now = self.now()
        self.phases.append((name, now - self.first, max(self.peak, now) - self.first))

    def around(self, owner: Any, name: str, phase: str) -> None:
        function: Callable[..., Any] = getattr(owner, name)

        @wraps(function)
        def measured(*arguments: Any, **options: Any) -> Any:
            with self.phase(phase):
                return function(*arguments, **options)

        setattr(owner, name, measured)


def _rank() -> None:
    """Train until the first rollout."""
    if find_spec("vllm"):
        import vllm  # noqa: F401
    memory = PrivateMemory()
    memory.start()

    def first_rollout(*_: object) -> None:
        Path(f"memory.{os.environ['RANK']}.json").write_text(json.dumps(memory.phases))
        sys.exit()

    memory.around(train, "spread", "the model is read")
    memory.around(train, "weights_hash", "the model is hashed")
    memory.around(training_sampler, "_engine_of_rank", "the engine starts")
    memory.around(TrainState, "of", "the model is sharded")
    memory.around(EngineWeights, "push", "the first push, and the engine's check")
    rollout_queue.sample_groups = first_rollout
    sys.argv = [sys.argv[0], ARM]
    train.main()


if __name__ == "__main__":
    _rank()

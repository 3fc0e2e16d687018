"""A hundred steps of HPT with the settings of the recipe `gsm8k`, and their memory beside `hpt plan`'s."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from zlib import crc32

import torch

from hpt_core.policy.chat import Chat
from hpt_core.policy.model import LoadedPolicy
from hpt_core.policy.warm_start import build_tokenizer
from hpt_core.rollout.group import Task
from hpt_core.trainer.checkpoint import Checkpoints
from hpt_core.trainer.context import TrainContext
from hpt_core.trainer.loop import train
from hpt_core.types import Prompt, Trajectory, Verdict
from pipelines.params import Params, load_params, recipes
from pipelines.plan.devices import DEVICES, Device, device
from pipelines.plan.memory import RESERVED
from pipelines.plan.plan import Request, plan
from pipelines.stage.sampler import build_engine
from tests.bench.inputs import GPU, load_model
from tests.bench.table import show

STEPS = 100 if GPU else 3
ENGINE = "vllm" if find_spec("vllm") else "hf"
RESPONSE = 320 if ENGINE == "vllm" else 64
"""Longest response, in tokens. With `hf` the launch of kernels bounds each token, so that fewer must do."""
PHASES = ("generate", "verify", "compare", "update", "push")
ROOT = Path(__file__).parents[3]


class ByText:
    """Judges by a checksum of the response: half are right, whatever the policy writes."""

    def verify(self, items: Sequence[tuple[str, str, str]]) -> list[Verdict]:
        return [Verdict(crc32(response.encode()) % 2 == 0, None) for response, _, _ in items]


class Measured:
    """The metrics of every step, and the peak of the memory that torch has allocated on the GPU."""

    def __init__(self) -> None:
        self.rows: list[Mapping[str, float]] = []
        self.peak = 0

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self.rows.append(metrics)
        if step % 10 == 0:
            spent = ", ".join(f"{phase} {self.median_of(f'seconds/{phase}'):.2f}" for phase in PHASES)
            print(f"step {step} of {STEPS}, medians in seconds: {spent}", flush=True)
        if GPU:
            self.peak = max(self.peak, torch.cuda.max_memory_allocated())

    def median_of(self, name: str) -> float:
        found = [row[name] for row in self.rows if name in row]
        return median(found) if found else 0.0


def hundred_steps(folder: Path | None) -> None:
    """Train from `folder`, or from random weights, on made sums; half of the rollouts count as right."""
    measured = Measured()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        policy = LoadedPolicy(load_model(folder).eval(), build_tokenizer(["What is 12 + 34 =", "\\boxed{7}"]))
        policy.model.config.save_pretrained(root / "model")
        params = _params(root)
        tasks = _tasks(policy)
        context = TrainContext(
            policy=policy,
            engine=build_engine(params, policy),
            verifier=ByText(),
            tasks=tasks,
            dev=tasks[:2],
            config=params.train,
            rollout=params.rollout,
            seed=params.seed,
        )
        train(context, Checkpoints(root / "checkpoints", "one"), measured)
        planned = plan(params, Request(_device()))
    weights = sum(parameter.numel() for parameter in policy.model.parameters())
    # The plan counts the CUDA context, too, which torch does not allocate.
    expected = max(moment.total for moment in planned.moments) - RESERVED * planned.device.memory
    memory = ["peak memory, GiB", f"{measured.peak / 2**30:.1f}", f"{expected / 2**30:.1f}"]
    show(
        f"{STEPS} steps of gsm8k's settings, {weights / 1e9:.2f}B weights, {ENGINE}, {_machine()}",
        ["what", "measured", "hpt plan"],
        [
            *([memory] if GPU else []),
            ["seconds of a step", f"{_step(measured):.2f}", f"{planned.effort.step_seconds:.2f}"],
            *(
                [f"  seconds/{phase}", f"{measured.median_of(f'seconds/{phase}'):.2f}", ""]
                for phase in PHASES
            ),
            ["tokens/s, sampling", f"{measured.median_of('tokens_per_s/generate'):,.0f}", ""],
            ["tokens/s, update", f"{measured.median_of('tokens_per_s/update'):,.0f}", ""],
            ["MFU of the update", f"{measured.median_of('mfu'):.0%}", ""],
            ["sampler/difference, nats", f"{measured.median_of('sampler/difference'):.3f}", ""],
        ],
    )


def _params(root: Path) -> Params:
    overrides = [
        f"gsm8k={root}",
        f"model={root / 'model'}",
        f"train.steps={STEPS}",
        "train.warmup_steps=0",
        "train.cooldown_steps=0",
        "train.prompts_per_step=16",
        f"train.dev_every={STEPS}",
        f"train.checkpoint_every={STEPS}",
        f"++rollout.engine={ENGINE}",
        f"rollout.max_new_tokens={RESPONSE}",
        f"experts.max_tokens={RESPONSE}",
        "rollout.max_prompt_tokens=64",
    ]
    (root / "conf").symlink_to(ROOT / "conf")
    recipes.write(root, "gsm8k", overrides)
    return load_params(root / "params.yaml")


def _tasks(policy: LoadedPolicy) -> list[Task]:
    chat, tasks = Chat(policy.tokenizer), []
    for i in range(256):
        prompt = Prompt(f"p{i}", f"What is {i} + {7 * i}?", str(8 * i), "exact", "made", "mit")
        answer = f"\\boxed{{{8 * i}}}"
        expert = Trajectory(f"t{i}", f"p{i}", answer, "human", "s", "a", "mit", "{}", True, 5, "0")
        tasks.append(Task(prompt, chat.prompt(prompt.problem), expert, chat.response(expert.response)))
    return tasks


def _step(measured: Measured) -> float:
    """Median seconds of a step's phases together, without checkpoints and dev prompts."""
    return sum(measured.median_of(f"seconds/{phase}") for phase in PHASES)


def _device() -> Device:
    """The card of the table whose name and memory are this GPU's; another card is planned as the H100 is."""
    if not GPU:
        return device("cpu")
    card = torch.cuda.get_device_properties()
    named = [each for name, each in DEVICES.items() if name.split("-")[0] in card.name.lower()]
    return min(named, key=lambda each: abs(each.memory - card.total_memory), default=device("h100-80g"))


def _machine() -> str:
    return torch.cuda.get_device_name() if GPU else f"{torch.get_num_threads()} threads"

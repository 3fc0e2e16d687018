"""What the project does with one family: eight checks, each passed, refused with a reason, or failed.

The policy on disk is a random small model that transformers itself saved. The model in memory from which it
was saved, with eager attention, without a cache and one row at a time, says what is right.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from hpt_core.config import GateConfig, LoraConfig, OptimizerConfig, RolloutConfig, Sampling, TrainConfig
from hpt_core.errors import REPORTED_ERRORS, InputError
from hpt_core.policy.batching import TrainingRow, pad
from hpt_core.policy.chat import Chat
from hpt_core.policy.logprobs import token_logprobs
from hpt_core.policy.lora import with_lora
from hpt_core.policy.model import LoadedPolicy, load_policy, save_policy, weights_hash
from hpt_core.policy.weights.hashed import HashedWeights
from hpt_core.rollout.engine_check import EngineCheck
from hpt_core.rollout.engines.hf import HFEngine
from hpt_core.rollout.group import Task
from hpt_core.trainer.checkpoint import Checkpoints
from hpt_core.trainer.context import TrainContext
from hpt_core.trainer.loop import train
from hpt_core.types import Prompt, Trajectory, Verdict

from .zoo import build, tokenizer

PROBLEMS = ["1", "State the final answer: 3 + 4 =", "Spell: kayak", "12 - 3 + 45 - 6 = ?"]
RESPONSE = "7 as ever \\boxed{7}"
WARM = Sampling(temperature=0.9, max_new_tokens=16)
GREEDY = Sampling(temperature=0.0, max_new_tokens=16)
TOLERANCE = 1e-4
"""Nats, in float32."""
CPU = torch.device("cpu")


class Mismatch(AssertionError):
    """A result that is silently wrong."""


@dataclass
class Family:
    """A family under test: the truth in memory, and its folder."""

    model_type: str
    folder: Path
    notes: dict[str, float | str] = field(default_factory=dict)

    @cached_property
    def truth(self) -> LoadedPolicy:
        built = build(self.model_type)
        built.model.set_attn_implementation("eager")
        return built

    @cached_property
    def prompts(self) -> list[list[int]]:
        return [Chat(self.truth.tokenizer).prompt(problem) for problem in PROBLEMS]

    @cached_property
    def path(self) -> Path:
        """The folder of the policy, as transformers saves it."""
        built = build(self.model_type)
        built.model.save_pretrained(self.folder / "policy")
        built.tokenizer.save_pretrained(self.folder / "policy")
        return self.folder / "policy"

    def loaded(self) -> LoadedPolicy:
        return load_policy(self.path)

    @cached_property
    def rows(self) -> list[TrainingRow]:
        """Rows of many lengths, drawn from no model."""
        draw = torch.Generator().manual_seed(1)
        responses = [torch.randint(4, 200, (n,), generator=draw).tolist() for n in (20, 3, 11, 1)]
        return [
            TrainingRow("p", prompt, response, (), 1.0, 0, "human")
            for prompt, response in zip(self.prompts, responses, strict=True)
        ]

    def plain(self, prompt: Sequence[int], response: Sequence[int], temperature: float = 1.0) -> Tensor:
        """log pi [T, V] of each position of the response, from one plain forward pass."""
        logits = self.truth.model(input_ids=torch.tensor([[*prompt, *response]]), use_cache=False).logits[0]
        if not logits.isfinite().all():
            raise Mismatch("the plain forward pass itself is not finite")
        return (logits[len(prompt) - 1 : -1].float() / temperature).log_softmax(-1)


def load(family: Family) -> None:
    """The loaded policy is the one in memory."""
    policy = family.loaded()
    theirs = dict(family.truth.model.named_parameters())
    ours = dict(policy.model.named_parameters())
    if missing := sorted(set(theirs) ^ set(ours)):
        raise Mismatch(f"other parameters: {missing[:3]}")
    for name, weight in theirs.items():
        if not torch.equal(weight, ours[name]):
            raise Mismatch(f"{name} differs")
    _same("loaded", _logits(policy, family), _logits(family.truth, family), family)


def template(family: Family) -> None:
    """The chat template gives the tokens of the policy's own vocabulary."""
    chat = Chat(family.loaded().tokenizer)
    if [chat.prompt(problem) for problem in PROBLEMS] != family.prompts:
        raise Mismatch("the loaded tokenizer gives other prompts")
    if chat.response(RESPONSE) != Chat(tokenizer()).response(RESPONSE):
        raise Mismatch("the loaded tokenizer gives another response")


@torch.no_grad()
def greedy(family: Family) -> None:
    """The engine's greedy tokens in one batch are those of `generate` on each prompt alone."""
    policy = family.loaded()
    engine = HFEngine(policy)
    rollout = RolloutConfig(group_size=2, max_prompt_tokens=64, max_new_tokens=GREEDY.max_new_tokens)
    if fault := EngineCheck(engine, policy.model, policy.model, family.prompts, rollout).fault():
        raise InputError(fault)  # as every run begins
    completions = engine.generate(family.prompts * 2, [0] * 8, GREEDY)
    spread = len({token for completion in completions for token in completion.token_ids})
    family.notes["greedy/distinct"] = spread
    for completion, prompt in zip(completions, family.prompts * 2, strict=True):
        _greedy_of(family, prompt, list(completion.token_ids), "the engine")
    for prompt, completion in zip(family.prompts, completions, strict=False):
        made = family.truth.model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            do_sample=False,
            max_new_tokens=GREEDY.max_new_tokens,
            eos_token_id=tokenizer().eos_token_id,
            pad_token_id=tokenizer().pad_token_id,
        )[0, len(prompt) :].tolist()
        if made != list(completion.token_ids):
            _greedy_of(family, prompt, made, "generate")


def _greedy_of(family: Family, prompt: list[int], tokens: list[int], who: str) -> None:
    """Each token is the most likely one in a plain forward pass, up to rounding."""
    logp = family.plain(prompt, tokens)
    loss = logp.amax(1) - logp[range(len(tokens)), tokens]
    family.notes[f"greedy/{who}"] = max(float(loss.max()), float(family.notes.get(f"greedy/{who}", 0)))
    if float(loss.max()) > TOLERANCE:
        raise Mismatch(f"{who}: a token is {float(loss.max()):.2g} nats below the most likely one")


def sample(family: Family) -> None:
    """The engine's log-probabilities are those of a plain forward pass."""
    policy = family.loaded()
    completions = HFEngine(policy).generate(family.prompts * 2, range(8), WARM)
    with torch.no_grad():
        for completion, prompt in zip(completions, family.prompts * 2, strict=True):
            ids = list(completion.token_ids)
            expected = family.plain(prompt, ids, WARM.temperature)[range(len(ids)), ids]
            _same("engine", torch.tensor(completion.logprobs), expected, family)


def trained(family: Family) -> None:
    """The trainer's log-probabilities and gradient, in a batch with padding, are those of plain forwards."""
    policy = family.loaded()
    batch = pad(family.rows, 0, CPU)
    for _ in range(2):  # the first call finds out how the model computes its logits
        outputs = token_logprobs(policy.model, batch, WARM.temperature)
    total = torch.zeros(())
    for i, row in enumerate(family.rows):
        ids = list(row.response)
        expected = family.plain(row.prompt, ids, WARM.temperature)[range(len(ids)), ids]
        total = total + expected.sum()
        _same("trainer", outputs.logp[i, : len(ids)].detach(), expected.detach(), family)
    outputs.logp.sum().backward()
    total.backward()
    ours, theirs = _gradient(policy), _gradient(family.truth)
    family.truth.model.zero_grad()
    if ours.shape != theirs.shape:
        raise Mismatch("gradients of other parameters")
    error = float((ours - theirs).norm() / theirs.norm())
    family.notes["gradient"] = error
    if not error < 1e-3:
        raise Mismatch(f"the trainer's gradient is {error:.2g} off")


def _gradient(policy: LoadedPolicy) -> Tensor:
    named = sorted(policy.model.named_parameters())
    return torch.cat([p.grad.flatten() for _, p in named if p.grad is not None])


class EveryOther:
    """Calls every other response right, so that each group is mixed."""

    def verify(self, items: Sequence[tuple[str, str, str]]) -> list[Verdict]:
        return [Verdict(i % 2 == 0, None) for i in range(len(items))]


class Sink:
    def log(self, step: int, metrics: object) -> None:
        pass


def step(family: Family) -> None:
    """One step of the trainer's loop changes the weights, and all of them stay finite."""
    policy = family.loaded()
    before = {name: p.detach().clone() for name, p in policy.model.named_parameters()}
    _train(family, policy, TrainConfig(**STEP))
    moved = [name for name, p in policy.model.named_parameters() if not torch.equal(p, before[name])]
    family.notes["step/still"] = ",".join(sorted(set(before) - set(moved))[:4])
    if not moved:
        raise Mismatch("no weight changed")
    if not all(p.isfinite().all() for p in policy.model.parameters()):
        raise Mismatch("a weight is not finite")


STEP = {
    "steps": 1,
    "prompts_per_step": 4,
    "gate": GateConfig(gamma=0.25),
    "optimizer": OptimizerConfig(lr=1e-3),
    "microbatch_tokens": 512,
}


def _train(family: Family, policy: LoadedPolicy, config: TrainConfig) -> None:
    chat = Chat(policy.tokenizer)
    tasks = []
    for problem in PROBLEMS:
        prompt = Prompt(problem, problem, "7", "exact", "made", "mit")
        expert = Trajectory(problem, problem, RESPONSE, "human", "s", "a", "mit", "{}", True, 5, "0")
        tasks.append(Task(prompt, chat.prompt(problem), expert, chat.response(RESPONSE)))
    rollout = RolloutConfig(group_size=4, max_prompt_tokens=64, max_new_tokens=12)
    engine = HFEngine(policy if config.lora is None else policy._replace(model=copy.deepcopy(policy.model)))
    if config.lora is not None:
        with_lora(policy, config.lora, seed=1)
    run = TrainContext(policy, engine, EveryOther(), tasks, tasks[:2], config, rollout, seed=3)
    train(run, Checkpoints(family.folder / "checkpoints", "f"), Sink())


def saved(family: Family) -> None:
    """A trained policy that is saved and loaded again has the same hash and the same logits."""
    policy = family.loaded()
    torch.manual_seed(4)
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    save_policy(policy, family.folder / "trained")
    again = load_policy(family.folder / "trained")
    if weights_hash(policy.model) != weights_hash(again.model):
        raise Mismatch("another hash")
    _same("saved", _logits(again, family), _logits(policy, family), family)


def lora(family: Family) -> None:
    """Adapters on every linear layer, pushed into the engine or merged and saved, give the same logits."""
    policy = family.loaded()
    engine = HFEngine(policy._replace(model=copy.deepcopy(policy.model)))
    bare = _logits(policy, family)
    with_lora(policy, LoraConfig(rank=3, alpha=7.5), seed=1)
    token_logprobs(policy.model, pad(family.rows, 0, CPU), 1.0).logp.sum().backward()
    torch.manual_seed(2)
    with torch.no_grad():
        for name, parameter in policy.model.named_parameters():
            # Without a gradient an adapter stays 0: Jamba reads the weights of a layer that it never calls.
            if "lora_B" in name and parameter.grad is not None and parameter.grad.any():
                parameter.add_(torch.randn_like(parameter), alpha=0.03)
    adapted = _logits(policy, family)
    change = float((adapted - bare).abs().max())
    family.notes["lora/change"] = change
    if change < 0.01:
        raise Mismatch("the adapters change nothing")
    engine.load_weights(HashedWeights(policy.model))
    _same("pushed", _logits(LoadedPolicy(engine.model, policy.tokenizer), family), adapted, family)
    save_policy(policy, family.folder / "merged")
    again = load_policy(family.folder / "merged")
    if weights_hash(policy.model) != weights_hash(again.model):
        raise Mismatch("another hash")
    _same("merged", _logits(again, family), adapted, family)


@torch.no_grad()
def _logits(policy: LoadedPolicy, family: Family) -> Tensor:
    """log pi of a long row, from a plain forward pass."""
    row = family.rows[0]
    policy.model.eval()
    logits = policy.model(input_ids=torch.tensor([[*row.prompt, *row.response]]), use_cache=False).logits
    return logits[0].float().log_softmax(-1)


def _same(what: str, ours: Tensor, expected: Tensor, family: Family) -> None:
    error = float((ours - expected).abs().max())
    family.notes[what] = max(error, float(family.notes.get(what, 0.0)))
    if not error <= TOLERANCE:
        raise Mismatch(f"{what}: {error:.2g} nats off")


CHECKS: dict[str, Callable[[Family], None]] = {
    "load": load,
    "template": template,
    "greedy": greedy,
    "sample": sample,
    "train": trained,
    "step": step,
    "save": saved,
    "LoRA": lora,
}


@dataclass(frozen=True)
class Outcome:
    """Passed if there is no reason; refused with an error of ours, or failed."""

    reason: str = ""
    failed: bool = False

    @property
    def mark(self) -> str:
        return "FAILED" if self.failed else "✗" if self.reason else "✓"


def survey(model_type: str, folder: Path) -> tuple[dict[str, Outcome], dict[str, float | str]]:
    """The outcome of each check, and the largest deviations. A refusal to load or to sample ends it."""
    family = Family(model_type, folder)
    outcomes: dict[str, Outcome] = {}
    for name, check in CHECKS.items():
        try:
            check(family)
            outcomes[name] = Outcome()
        except REPORTED_ERRORS as error:
            outcomes[name] = Outcome(_reason(error, folder))
            if name in ("load", "greedy"):
                break  # as a run ends there, in its first stage
        except Mismatch as error:
            outcomes[name] = Outcome(str(error), failed=True)
        except Exception as error:
            outcomes[name] = Outcome(f"{type(error).__name__}: {_reason(error, folder)}", failed=True)
    return outcomes, family.notes


def _reason(error: Exception, folder: Path) -> str:
    """The message without its remedies, and without what varies: the folder, nats, the order of sets."""
    message = " ".join(str(error).replace(f"{folder}/", "").split()).partition("; ")[0]
    message = re.sub(r"\b\d[\d.e+-]* (nats|at most)", r"some \1", message)
    return re.sub(r"\{(.*?)\}", lambda found: ", ".join(sorted(found[1].split(", "))), message)

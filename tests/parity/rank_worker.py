"""Gradients of a mini-batch of a tiny Llama, on one rank of any number: `python rank_worker.py FOLDER`."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.tensor import DTensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from hpt_core.config import ImportanceConfig, KLConfig, OptimizerConfig, TrainConfig
from hpt_core.errors import InputError, TrainingError
from hpt_core.policy import host_moments
from hpt_core.policy.batching import TrainingRow
from hpt_core.policy.context_parallel import attend_in_context
from hpt_core.policy.logprobs import checkpoint_layers
from hpt_core.policy.model import LoadedPolicy, merged_weights
from hpt_core.policy.module import PolicyModule
from hpt_core.policy.optimizers import build_optimizers
from hpt_core.policy.weights import hashed as hashed_weights
from hpt_core.policy.weights.gathering import full_tensor
from hpt_core.trainer import batch, sharding
from hpt_core.trainer.measures.metrics import Totals
from hpt_core.trainer.mini_batch import Learner
from hpt_core.trainer.old_logprobs import with_old_logprobs
from hpt_core.trainer.ranks import Ranks, join, leave
from hpt_core.trainer.reference_policy import Reference
from hpt_core.trainer.sharding import shard, spread
from hpt_core.trainer.step import update
from hpt_core.upge.options import Importance

OPTIONS = {"gamma": 0.25, "sft_coefficient": 0.7, "length": 20}
VOCABULARY = 37
"""No multiple of the ranks, like the other sizes: shards of unequal size."""
POISON = 36
"""A token that only one row has."""


def model(tied: bool) -> LlamaForCausalLM:
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=20,
        intermediate_size=27,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=tied,
        initializer_range=0.3,
    )
    return LlamaForCausalLM(shape).double()


def of_main(ranks: Ranks, tied: bool) -> PreTrainedModel:
    """The model, which only the main rank has made; the others have one without weights."""
    return spread(lambda: LoadedPolicy(model(tied), None), ranks).model  # type: ignore[arg-type]


def ragged(poisoned: int | None = None) -> list[TrainingRow]:
    """Groups with and without a demonstration, of mixed and of equal rewards."""
    draw = random.Random(3)

    def tokens(most: int) -> list[int]:
        return [draw.randrange(1, POISON) for _ in range(draw.randint(1, most))]

    rows = []
    for group, (rewards, kind) in enumerate(
        [((1, 0, 1), "human"), ((0, 0, 0, 0), "teacher"), ((0, 1), None), ((0, 0), None), ((1, 1), "human")]
    ):
        prompt = tokens(9)
        for reward in rewards:
            response = tokens(19)
            logp_old = [-3.0 * draw.random() for _ in response]
            rows.append(TrainingRow(f"p{group}", prompt, response, logp_old, float(reward), group, None))
        if kind:
            rows.append(TrainingRow(f"p{group}", prompt, tokens(19), (), 1.0, group, kind))
    if poisoned is not None:
        rows[poisoned] = TrainingRow(**{**vars(rows[poisoned]), "response": [5, POISON]})
        rows[poisoned] = TrainingRow(**{**vars(rows[poisoned]), "logp_old": [-1.0, -1.0]})
    return rows


def config(**changes: Any) -> TrainConfig:
    return TrainConfig(
        **{
            "steps": 1,
            "prompts_per_step": 5,
            "optimizer": OptimizerConfig(lr=1e-3),
            "clip_norm": 1e9,
            "entropy_coefficient": 0.01,
            "microbatch_tokens": 60,
            **changes,
        }
    )


MASKED: dict[str, Any] = {
    "algorithm": "dr_grpo",
    "importance": ImportanceConfig(level="sequence", kind="mask", low=0.6, high=1.6),
}
"""A method whose rollouts an option takes out in part."""


class Recorder(torch.optim.Optimizer):
    """Keeps the gradient of the step, and takes none."""

    def __init__(self, parameters: dict[str, torch.nn.Parameter]) -> None:
        super().__init__(parameters.values(), {})
        self.parameters, self.seen = parameters, dict[str, Tensor]()

    def step(self) -> None:
        for name, parameter in self.parameters.items():
            if parameter.grad is not None:
                self.seen[name] = full_tensor(parameter.grad).clone()


def gradient(
    ranks: Ranks, tied: bool, rows: list[TrainingRow], **changes: Any
) -> tuple[dict[str, Tensor], Totals]:
    """Of the policy some way from where it started, with all that the configuration asks for."""
    asked = config(**changes)
    policy_module = PolicyModule.of(of_main(ranks, tied), values=asked.algorithm == "ppo").double()
    if (context := ranks.context()) is not None:
        attend_in_context(policy_module.model)
        policy_module.context = context
    if asked.gradient_checkpointing:
        checkpoint_layers(policy_module.model, dropout=False)
    reference = Reference(policy_module, ranks) if asked.kl.coefficient else None
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in policy_module.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    shard(policy_module, ranks)
    policy_module.check_context()
    recorder = Recorder(dict(policy_module.named_parameters()))
    options = dict[str, Any](OPTIONS)
    if asked.importance is not None:
        options["importance"] = Importance(**asked.importance.model_dump())
        rows = sampled(policy_module, rows, asked, ranks)
    rows = with_old_logprobs(policy_module, rows, asked, 0.9, ranks)
    totals = update(Learner(policy_module, [recorder], asked, options, 0.9, ranks, reference), rows)
    return recorder.seen, totals


def sampled(
    policy_module: PolicyModule, rows: list[TrainingRow], asked: TrainConfig, ranks: Ranks
) -> list[TrainingRow]:
    """The rows with log-probabilities of a sampler that are some way from the trainer's own."""
    draw, several = random.Random(5), asked.model_copy(update={"updates_per_step": 2})
    own = with_old_logprobs(policy_module, rows, several, 0.9, ranks)
    return [
        replace(row, logp_sampled=[p + draw.gauss(0, 0.3) for p in row.logp_old if row.kind is None])
        for row in own
    ]


def all_to(rank: int) -> Callable[[list[int], int], list[list[int]]]:
    """A `deal` that leaves the other ranks with nothing."""
    return lambda lengths, count: [list(range(len(lengths))) if r == rank else [] for r in range(count)]


def message_of_a_nan(ranks: Ranks) -> str:
    """What `update` raises where one row overflows."""
    policy_module = PolicyModule(model(tied=True))

    def overflow(module: torch.nn.Module, args: tuple[Tensor], out: Tensor) -> Tensor:
        return out.masked_fill((args[0] == POISON)[..., None], torch.nan)

    policy_module.model.get_input_embeddings().register_forward_hook(overflow)
    shard(policy_module, ranks)
    before = dict(merged_weights(policy_module.model))
    optimizers = build_optimizers(policy_module.model, OptimizerConfig(lr=1e-3))
    try:
        update(Learner(policy_module, optimizers, config(), OPTIONS, 0.9, ranks), ragged(poisoned=0))
    except TrainingError as error:
        after = dict(merged_weights(policy_module.model))
        assert all(torch.equal(after[name], before[name]) for name in before)
        return str(error)
    return "none"


def trained(ranks: Ranks, *, offloaded: bool) -> dict[str, Tensor]:
    """Weights after three steps of Muon and AdamW, whose moments may wait in host memory."""
    policy_module = PolicyModule(model(tied=True))
    shard(policy_module, ranks)
    muon = OptimizerConfig(name="muon", lr=1e-3, weight_decay=0.1)
    optimizers = build_optimizers(policy_module.model, muon)
    if offloaded:
        host_moments.offload(optimizers)
    learner = Learner(policy_module, optimizers, config(clip_norm=0.5), OPTIONS, 0.9, ranks)
    for _ in range(3):
        update(learner, ragged())
    return dict(merged_weights(policy_module.model))


def held(ranks: Ranks) -> dict[str, int]:
    """Elements: the most that this rank holds while the weights are sent, its shards, the largest unit."""
    policy_module = PolicyModule(of_main(ranks, tied=True))
    sizes = {True: 0, False: 0}
    for name, parameter in policy_module.named_parameters():
        sizes[".layers." in name] += parameter.numel()
    counts, broadcast = [0], torch.distributed.broadcast

    def counting(tensor: Tensor, src: int) -> None:
        broadcast(tensor, src)
        locals_ = (getattr(p, "_local_tensor", p) for p in policy_module.parameters())
        counts.append(tensor.numel() + sum(each.numel() for each in locals_ if not each.is_meta))

    torch.distributed.broadcast = counting
    shard(policy_module, ranks)
    torch.distributed.broadcast = broadcast
    shards = sum(p.to_local().numel() for p in policy_module.parameters() if isinstance(p, DTensor))
    return {"most": max(counts), "shards": shards, "unit": max(sizes[True] // 3, sizes[False])}


def gathered(ranks: Ranks) -> dict[str, Any]:
    """The loss on a row by where layers are gathered in bfloat16, and the types of weights and of a layer."""
    torch.manual_seed(0)
    found: dict[str, Any] = {}
    for kind in (torch.float32, torch.bfloat16):
        policy_module = PolicyModule(of_main(ranks, tied=True).float())
        shard(policy_module, ranks, kind)
        seen: list[str] = []
        layer = policy_module.model.model.layers[0].self_attn.q_proj
        layer.register_forward_hook(lambda module, *_, seen=seen: seen.append(str(module.weight.dtype)))
        optimizer = torch.optim.AdamW(policy_module.parameters(), lr=1e-3)
        learner = Learner(policy_module, [optimizer], config(autocast="bfloat16"), OPTIONS, 0.9, ranks)
        norm = update(learner, ragged())["grad_norm"]
        own = {str(p.dtype) for p in policy_module.parameters()}
        found[str(kind)] = {"grad_norm": norm, "layer": seen[0], "weights": sorted(own)}
    return found


def size_of_a_layer() -> int:
    return sum(parameter.nbytes for parameter in model(tied=True).model.layers[0].parameters())


def units() -> list[list[int]]:
    """Numbers of layers in each unit, by the size of a unit: more than a layer, a layer, more than all."""
    policy_module, layer, found = PolicyModule(model(tied=True)), size_of_a_layer(), []
    for sharding.UNIT in (layer + 1, layer, 9 * layer):
        found.append([len(unit) for unit in sharding._units(policy_module)])
    sharding.UNIT = 0
    return found


def message_of_shared_layers(ranks: Ranks) -> str:
    """What `shard` raises where two layers are one."""
    policy_module = PolicyModule(model(tied=True))
    layers = policy_module.model.model.layers
    layers[1].mlp.down_proj.weight = layers[0].mlp.down_proj.weight
    try:
        shard(policy_module, ranks)
    except InputError as error:
        return str(error)
    return "none"


def message_of_kept_weights(ranks: Ranks) -> str:
    """What `shard` raises where a model keeps its norms in float32, and bfloat16 is to be gathered."""
    policy_module = PolicyModule(model(tied=True))
    policy_module.model._keep_in_fp32_modules_strict = {"norm"}
    try:
        shard(policy_module, ranks, torch.bfloat16)
    except InputError as error:
        return str(error)
    return "none"


def message_of_attention_alone(ranks: Ranks) -> str:
    """What `check_context` raises where a layer's attention sees the slice of its own rank alone."""
    policy_module = PolicyModule(model(tied=True))
    policy_module.context = ranks.sharing_rows(ranks.count).context()
    shard(policy_module, ranks)
    try:
        policy_module.check_context()
    except InputError as error:
        return str(error)
    return "none"


def hashed(ranks: Ranks) -> tuple[str, int]:
    """The name of the weights, and how many of them this rank hashed."""
    policy_module = PolicyModule(model(tied=True))
    shard(policy_module, ranks)
    counted, sha256 = list[Tensor](), hashed_weights._sha256

    def counting(tensor: Tensor) -> str:
        counted.append(tensor)
        return sha256(tensor)

    hashed_weights._sha256 = counting
    name = hashed_weights.weights_hash(policy_module.model)
    hashed_weights._sha256 = sha256
    return name, len(counted)


def main(folder: Path) -> None:
    ranks = join()
    dealt = batch.deal
    results: dict[str, Tensor] = {}
    sums: dict[str, dict[str, float]] = {}

    def keep(case: str, tied: bool, rows: list[TrainingRow], **changes: Any) -> None:
        grads, totals = gradient(ranks, tied, rows, **changes)
        results.update({f"{case}/{name}": tensor for name, tensor in grads.items()})
        sums[case] = dict(totals.sums)

    keep("all in the root", True, ragged())
    sharding.UNIT = size_of_a_layer() + 1
    keep("two layers a unit", True, ragged())
    keep("two layers a unit, ppo", False, ragged(), algorithm="ppo", kl=KLConfig(coefficient=0.1))
    keep("two layers a unit, masked", True, ragged(), **MASKED, gradient_checkpointing=True)
    sharding.UNIT = 0  # Each of these small layers is a unit, as a layer of a larger model is.
    for tied in (True, False):
        keep(f"tied {tied}", tied, ragged())
    keep("clipped", True, ragged(), clip_norm=0.1)
    keep("ppo", False, ragged(), algorithm="ppo", kl=KLConfig(coefficient=0.1))
    keep("masked", True, ragged(), **MASKED)
    one = [row for row in ragged() if row.prompt_id == "p1"]
    keep("one row", True, one, entropy_coefficient=0.0)
    if ranks.count > 1:
        alone = ranks
        for sharing in sorted({2, ranks.count}):
            ranks, name = alone.sharing_rows(sharing), f"{sharing} share"
            keep(f"{name} tied True", True, ragged())
            keep(f"{name} ppo", False, ragged(), algorithm="ppo", kl=KLConfig(coefficient=0.1))
            keep(f"{name} masked", True, ragged(), **MASKED, gradient_checkpointing=True)
        ranks = alone
    for case in ("trained", "offloaded"):
        weights = trained(ranks, offloaded=case == "offloaded")
        results.update({f"{case}/{name}": tensor for name, tensor in weights.items()})
    if ranks.count > 1:
        for rank in range(ranks.count):
            batch.deal = all_to(rank)
            keep(f"all on rank {rank}", True, ragged())
    # The last rank alone meets the NaN.
    (folder / f"nan.{ranks.index}").write_text(message_of_a_nan(ranks))
    batch.deal = dealt
    if ranks.count > 1:
        found = {"held": held(ranks), "gathered": gathered(ranks), "shared": message_of_shared_layers(ranks)}
        found["units"] = units()
        found["kept"] = message_of_kept_weights(ranks)
        found["alone"] = message_of_attention_alone(ranks)
        (folder / f"sharding.{ranks.index}").write_text(json.dumps(found))
    (folder / f"hash.{ranks.index}").write_text(json.dumps(hashed(ranks)))
    (folder / f"sums.{ranks.index}").write_text(json.dumps(sums))
    if ranks.main:
        save_file(results, folder / "gradients.safetensors")
    leave(ranks)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))

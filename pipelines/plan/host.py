"""Bytes of a rank's host memory beside an update, where the processors train (`--device cpu`).

On a GPU these are in host memory, which no moment of a plan sums.
"""

from __future__ import annotations

from pipelines.plan.sampler import sampler
from pipelines.plan.sizes import FLOAT, Line, Moment, Sizes, weights

LIBRARIES = 610 * 2**20
"""Resident memory of a rank after a run, without its tensors: Python 3.11, torch 2.13 for CPUs, transformers
5.19 and what they import (`tests/unit/plan/test_resident_memory.py` measures it)."""
FINITE = 7
"""Bytes of a weight while it is looked for NaN: its absolute value, and three masks (`Tensor.isfinite`)."""
GLOO = 2
"""Times of its size that a tensor takes while gloo gathers it: ProcessGroupGloo gathers into a buffer."""


def libraries() -> Line:
    return Line(
        "interpreter and libraries",
        LIBRARIES,
        "resident without a model, measured",
        "tests/unit/plan/test_resident_memory.py",
    )


def loading(sizes: Sizes) -> Moment:
    """The main rank reads the model, makes its trials, and sends it to the others."""
    shape, ranks = sizes.shape, sizes.ranks
    whole = Line(
        "whole model, float32",
        FLOAT * shape.parameters,
        f"4 B x {shape.parameters:,} weights" + (", on the main rank" if ranks > 1 else ""),
        "hpt_core/policy/loading/checked.py",
        "base.model",
    )
    check = Line(
        "a weight, looked for NaN",
        FINITE * shape.head,
        f"{FINITE} B x {shape.head:,} of the largest",
        "hpt_core/policy/loading/weight_checks.py",
    )
    later = [] if _arrives_later(sizes) else sampler(sizes, cache=False)
    if ranks > 1:
        amount, formula = FLOAT * shape.parameters / ranks, f"4 B x weights / {ranks} ranks, made beside it"
        later.append(
            Line("weights, float32, a shard", amount, formula, "hpt_core/trainer/sharding.py", "train.ranks")
        )
    if sizes.has_reference:
        amount, formula = FLOAT * shape.parameters, "4 B x weights, before it is sharded"
        later.append(Line("KL's reference", amount, formula, "hpt_core/trainer/reference_policy.py"))
    fullest = max([check], later, key=_total)
    of_others = FLOAT * (shape.parameters / ranks + max(shape.root, shape.layer))
    alone = max(0.0, whole.amount + _total(fullest) - of_others) if ranks > 1 else 0.0
    return Moment("engine start", [whole, *fullest, libraries()], alone)


def copied(sizes: Sizes) -> Line:
    """What a checkpoint takes in host memory until it is written."""
    return Line(
        "copy of shards and moments",
        FLOAT * (sizes.shape.trained + sizes.moments) / sizes.ranks,
        f"4 B x (trained weights and moments) / {sizes.ranks} ranks",
        "hpt_core/trainer/checkpoint.py",
        "train.ranks",
    )


def checkpoint(sizes: Sizes, steady: list[Line]) -> Moment:
    """A checkpoint is written in the background, beside the next step's sampling."""
    lines = [*steady, *sampler(sizes, cache=True), copied(sizes), libraries()]
    return Moment("a checkpoint is written", lines)


def saving(sizes: Sizes) -> list[Moment]:
    """The main rank gathers the trained model; the optimizers are gone, and the sampler is not.

    Nothing where the model is whole already.
    """
    shape, ranks = sizes.shape, sizes.ranks
    if ranks == 1 and sizes.params.train.lora is None:
        return []
    whole = FLOAT * sizes.plain
    lines = [
        weights(sizes),
        *sampler(sizes, cache=False),
        Line(
            "whole model, float32",
            whole,
            f"4 B x {sizes.plain:,}, gathered on the main rank",
            "hpt_core/policy/model.py",
            "base.model",
        ),
        libraries(),
    ]
    # The other ranks drop each tensor that they help to gather.
    of_main = whole - GLOO * FLOAT * shape.head if ranks > 1 else 0.0
    return [Moment("the model is saved", lines, max(0.0, of_main))]


def _arrives_later(sizes: Sizes) -> bool:
    """Whether the sampler's copy has no memory before the first push fills it."""
    return sizes.params.rollout.engine == "hf" and (sizes.ranks > 1 or sizes.params.train.lora is not None)


def _total(lines: list[Line]) -> float:
    return sum(line.amount for line in lines)

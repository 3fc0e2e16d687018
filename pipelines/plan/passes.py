"""Bytes of the forward and backward passes of a micro-batch, and of the optimizer's step."""

from __future__ import annotations

from collections.abc import Iterator

from transformers import PretrainedConfig

from hpt_core.policy.lm_head import tile_shape
from pipelines.plan.shape import kept_for_backward
from pipelines.plan.sizes import FLOAT, HALF, Line, Sizes, dtype_bytes

SHARDING, LOGPROBS, LM_HEAD, BATCHING, OPTIMIZERS = (
    f"hpt_core/{file}.py"
    for file in (
        "trainer/sharding",
        "policy/logprobs",
        "policy/lm_head",
        "policy/batching",
        "policy/optimizers",
    )
)
TOKENS, CHECKPOINTING = "train.microbatch_tokens", "train.gradient_checkpointing"
TILES = 3
"""Tiles of the LM head at a time: the scores, what they become, and their cast."""


def passes(sizes: Sizes, config: PretrainedConfig) -> tuple[str, list[Line]]:
    """The fullest moment of an update, and what is then in memory beside weights, gradients and moments."""
    train = sizes.params.train
    arguments = (config, train.lora, sizes.sequences, sizes.longest, train.autocast)
    checkpointing, gathered = train.gradient_checkpointing, sizes.gathered
    all_kept = kept_for_backward(*arguments, gathered=gathered, checkpointing=False)
    kept = all_kept
    if checkpointing:
        kept = kept_for_backward(*arguments, gathered=gathered, checkpointing=True)
    whole = f"{sizes.sequences} x {sizes.longest:,} tokens"
    lasting = [
        Line(
            "activations" + (", recomputed" if checkpointing else ""),
            kept + gathered * sizes.shape.width * sizes.tokens,
            f"saved by autograd for {whole} (a pass without memory), and the head's inputs",
            "pipelines/plan/shape.py",
            TOKENS if checkpointing else CHECKPOINTING,
        ),
        *_mask(sizes, whole),
    ]
    cast = Line(
        "weights in bfloat16",
        HALF * sizes.shape.in_layers,
        f"2 B x {sizes.shape.in_layers:,}: autocast keeps its copies",
        LOGPROBS,
        CHECKPOINTING,
    )
    if _casts(sizes) and not checkpointing:
        lasting.append(cast)
    of_layer = all_kept / sizes.shape.layers
    moments = {
        "the end of the forward pass": [*_forward(sizes, cast, of_layer)],
        "the LM head's backward pass": [*_head(sizes)],
        "a layer's backward pass": [*_backward(sizes, of_layer)],
    }
    when = max(moments, key=lambda name: sum(line.amount for line in moments[name]))
    fullest = [*lasting, *moments[when]]
    step = _optimizer_step(sizes)
    if step.amount > sum(line.amount for line in fullest):
        return "the optimizer's step", [step]
    return when, fullest


def _forward(sizes: Sizes, cast: Line, of_layer: float) -> Iterator[Line]:
    train, shape = sizes.params.train, sizes.shape
    yield from _gathered(sizes, layers=2)
    if train.gradient_checkpointing:
        # Autocast keeps its copies of trained weights until the pass ends, and none of frozen ones.
        if _casts(sizes) and train.lora is None:
            yield cast
        yield Line("one layer's activations", of_layer, f"of {shape.layers} layers", LOGPROBS, TOKENS)


def _head(sizes: Sizes) -> Iterator[Line]:
    shape = sizes.shape
    yield from _gathered(sizes, layers=0)
    if sizes.ranks > 1:
        yield _root_again(sizes)
    elif shape.head_trained:
        yield Line(
            "the LM head's gradient", FLOAT * shape.head, f"4 B x {shape.head:,}", LM_HEAD, "train.lora"
        )
    rows, columns = tile_shape(sizes.tokens, FLOAT, "cpu" if sizes.device.shared else "cuda")
    size = FLOAT * rows * min(columns, shape.vocabulary)
    yield Line("tiles of the LM head", TILES * size, f"{TILES} x {rows:,} x {columns:,} scores", LM_HEAD)
    inputs = FLOAT * shape.width * sizes.tokens
    yield Line("gradient of its inputs", inputs, f"4 B x {sizes.tokens:,} x {shape.width:,}", LM_HEAD, TOKENS)


def _root_again(sizes: Sizes) -> Line:
    """What gathers the root for its backward pass, then the LM head's gradient, which is in float32."""
    shape, size = sizes.shape, sizes.gathered
    what = "the root, gathered again"
    if size == FLOAT:
        return Line(what, FLOAT * shape.root, "its buffer, then its gradient", SHARDING)
    gradient = (FLOAT + size) * shape.head if shape.head_trained else 0
    how = f"the larger of {size} B x root and {FLOAT + size} B x LM head: its gradient and the cast of it"
    return Line(what, max(size * shape.root, gradient), how, SHARDING)


def _backward(sizes: Sizes, of_layer: float) -> Iterator[Line]:
    train, shape = sizes.params.train, sizes.shape
    yield from _gathered(sizes, layers=2)
    if sizes.ranks > 1 and shape.head_trained:
        # FSDP2 reduces the root's gradient when its backward pass is over.
        amount = sizes.gathered * (shape.head + shape.layer) + FLOAT * shape.layer
        how = f"{sizes.gathered} B x (LM head and a layer), and 4 B x the layer for the sum"
        yield Line("gradients before reduction", amount, how, SHARDING)
    times, what = 1, "their gradients"
    if train.gradient_checkpointing:
        times, what = 2, "2 x: recomputed, and their gradients"
        if _casts(sizes):
            yield Line("a layer in bfloat16", HALF * shape.layer, f"2 B x {shape.layer:,}", LOGPROBS)
    yield Line("one layer's activations", times * of_layer, what, LOGPROBS, TOKENS)


def _gathered(sizes: Sizes, layers: int) -> Iterator[Line]:
    shape = sizes.shape
    if sizes.ranks > 1:
        amount = sizes.gathered * (shape.root + layers * shape.layer)
        what = "root" + (f" and {layers} layers" if layers else "")
        formula = f"{sizes.gathered} B x ({what})"
        key = "train.gathered_dtype" if sizes.gathered == FLOAT else "train.lora"
        yield Line("gathered weights", amount, formula, SHARDING, key)


def _casts(sizes: Sizes) -> bool:
    """Whether autocast makes copies of the weights, which are not gathered in bfloat16 already."""
    return sizes.params.train.autocast == "bfloat16" and sizes.gathered == FLOAT


def _mask(sizes: Sizes, whole: str) -> Iterator[Line]:
    if sizes.params.train.packing:
        each = 1 + dtype_bytes(sizes.params.train.autocast)
        amount = each * sizes.sequences * sizes.longest**2
        yield Line("mask of packed rows", amount, f"{each} B x {whole} x length", BATCHING, "train.packing")


def _optimizer_step(sizes: Sizes) -> Line:
    """On a GPU, AdamW takes the root of all second moments at once."""
    weights = sizes.shape.largest if sizes.offloaded else sizes.shape.trained
    amount = 0.0 if sizes.device.shared else FLOAT * weights / sizes.ranks
    return Line("roots of the moments", amount, "4 B x stepped at once / ranks", OPTIMIZERS, "train.ranks")

"""Bytes of the sampler on a device that trains, and the rows that its cache holds."""

from __future__ import annotations

from pipelines.plan.sizes import FLOAT, HALF, Line, Sizes, dtype_bytes

HF, VLLM = "hpt_core/rollout/engines/hf.py", "hpt_core/rollout/engines/vllm.py"
DRAWN = 6 * FLOAT
"""Bytes for each row and token of the vocabulary while a token is drawn: logits and log-probabilities in
float32, probabilities and their sums in float64 (hpt_core/rollout/engines/sampling.py)."""


def sampler(sizes: Sizes, *, cache: bool) -> list[Line]:
    """The engine's memory on a device that trains; none with replicas, which have devices of their own."""
    rollout, train = sizes.params.rollout, sizes.params.train
    if rollout.placement == "separate":
        return []
    if rollout.engine == "vllm":
        return [copy_of_weights(sizes)]
    copies = sizes.ranks > 1 or train.lora is not None or rollout.dtype != "float32"
    lines = [copy_of_weights(sizes)] if copies else []
    return [*lines, rows_of_engine(sizes, sizes.ranks)] if cache else lines


def copy_of_weights(sizes: Sizes) -> Line:
    """The engine's own weights; vLLM's with its cache."""
    rollout, size, plain = sizes.params.rollout, dtype_bytes(sizes.params.rollout.dtype), sizes.plain
    if rollout.engine == "hf":
        how = f"{size} B x {plain:,}: a whole one in each process"
        return Line(f"sampler's copy, {rollout.dtype}", size * plain, how, HF, "rollout.engine")
    if not sizes.device.shared:
        return Line(
            "vLLM: weights, cache, graphs",
            rollout.vllm.memory * sizes.device.memory,
            f"rollout.vllm.memory {rollout.vllm.memory} x device",
            VLLM,
            "rollout.vllm.memory",
        )
    return Line(
        "vLLM: weights and cache",
        size * plain / rollout.vllm.tensor_parallel + rollout.vllm.cpu_cache_gib * 2**30,
        f"{size} B x weights / tensor_parallel + rollout.vllm.cpu_cache_gib",
        VLLM,
        "rollout.vllm.cpu_cache_gib",
    )


def rows_of_engine(sizes: Sizes, engines: int) -> Line:
    """Cache and logits of the rows that one of several engines hf decodes at once."""
    rollout, shape, size = sizes.params.rollout, sizes.shape, dtype_bytes(sizes.params.rollout.dtype)
    rows = min(rollout.slots, -(-sizes.params.train.prompts_per_step // engines) * rollout.group_size)
    context = rollout.max_prompt_tokens + rollout.max_new_tokens
    drawn = DRAWN + (HALF if size == HALF else 0)
    return Line(
        "keys and values of the rows",
        size * shape.cached * rows * context + drawn * rows * shape.vocabulary,
        f"{size} B x {shape.cached:,} x {rows} rows x {context:,} tokens, and {drawn} B x rows x "
        f"{shape.vocabulary:,} to draw a token",
        "hpt_core/rollout/engines/{hf,decoding,sampling}.py",
        "rollout.slots",
    )


def cache_tokens(sizes: Sizes) -> float:
    """Tokens that vLLM's cache of one engine holds, over its ranks."""
    rollout, shape, device = sizes.params.rollout, sizes.shape, sizes.device
    size, parallel = dtype_bytes(rollout.dtype), rollout.vllm.tensor_parallel
    room: float = rollout.vllm.cpu_cache_gib * 2**30
    if not device.shared:
        room = rollout.vllm.memory * device.memory - size * shape.parameters / parallel
    return room * parallel / (size * shape.cached)


def asleep(sizes: Sizes) -> list[Line]:
    """Host memory of vLLM's weights while the policy trains, where adapters alone come with each push."""
    rollout, shape = sizes.params.rollout, sizes.shape
    if not rollout.vllm.lora or sizes.device.shared or rollout.placement == "separate":
        return []
    size = dtype_bytes(rollout.dtype)
    return [
        Line(
            "B of host memory while vLLM sleeps, each rank",
            size * (shape.parameters - shape.trained) / rollout.vllm.tensor_parallel,
            f"{size} B x weights / tensor_parallel",
            "hpt_core/rollout/engines/vllm.py",
            "rollout.vllm.lora",
        )
    ]

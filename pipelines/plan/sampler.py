"""Bytes of the sampler on a device that trains, and the rows that its cache holds."""

from __future__ import annotations

from pipelines.plan.sizes import FLOAT, Line, Sizes, dtype_bytes


def sampler(sizes: Sizes, *, cache: bool) -> list[Line]:
    """The engine's memory on a device that trains; none with replicas, which have devices of their own."""
    rollout, shape, train = sizes.params.rollout, sizes.shape, sizes.params.train
    if rollout.placement == "separate":
        return []
    size = dtype_bytes(rollout.dtype)
    plain = shape.parameters - (shape.trained if train.lora else 0)
    copies = sizes.ranks > 1 or train.lora is not None or rollout.dtype != "float32"
    if rollout.engine == "vllm":
        if not sizes.device.shared:
            return [
                Line(
                    "vLLM: weights, cache, graphs",
                    rollout.vllm.memory * sizes.device.memory,
                    f"rollout.vllm.memory {rollout.vllm.memory} x device",
                    "hpt_core/rollout/engines/vllm.py",
                    "rollout.vllm.memory",
                )
            ]
        return [
            Line(
                "vLLM: weights and cache",
                size * plain / rollout.vllm.tensor_parallel + rollout.vllm.cpu_cache_gib * 2**30,
                f"{size} B x weights / tensor_parallel + rollout.vllm.cpu_cache_gib",
                "hpt_core/rollout/engines/vllm.py",
                "rollout.vllm.cpu_cache_gib",
            )
        ]
    lines = []
    if copies:
        lines.append(
            Line(
                f"sampler's copy, {rollout.dtype}",
                size * plain,
                f"{size} B x {plain:,}: whole on each rank",
                "hpt_core/rollout/engines/hf.py",
                "rollout.engine",
            )
        )
    if cache:
        rows = min(rollout.slots, -(-train.prompts_per_step // sizes.ranks) * rollout.group_size)
        context = rollout.max_prompt_tokens + rollout.max_new_tokens
        lines.append(
            Line(
                "keys and values of the rows",
                size * shape.cached * rows * context + 2 * FLOAT * rows * shape.vocabulary,
                f"{size} B x {shape.cached:,} x {rows} rows x {context:,} tokens, and two rows of logits",
                "hpt_core/rollout/engines/{hf,decoding}.py",
                "rollout.slots",
            )
        )
    return lines


def cache_tokens(sizes: Sizes) -> float:
    """Tokens that vLLM's cache of one engine holds, over its ranks."""
    rollout, shape, device = sizes.params.rollout, sizes.shape, sizes.device
    size, parallel = dtype_bytes(rollout.dtype), rollout.vllm.tensor_parallel
    room: float = rollout.vllm.cpu_cache_gib * 2**30
    if not device.shared:
        room = rollout.vllm.memory * device.memory - size * shape.parameters / parallel
    return room * parallel / (size * shape.cached)

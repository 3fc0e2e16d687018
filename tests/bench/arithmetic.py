"""The share of the machine's matrix multiplication rate that forward and backward passes reach."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

from hpt_core.policy.batching import TrainingRow, pad
from hpt_core.policy.logprobs import autocast
from hpt_core.policy.module import PolicyModule
from hpt_core.trainer.measures.throughput import flops
from tests.bench.inputs import GPU, load_model
from tests.bench.table import REPETITIONS, seconds, show

ROWS, LENGTH, SIDE = (8, 2048, 8192) if GPU else (8, 128, 2048)


def forward_backward(folder: Path | None) -> None:
    """Measure 6 x weights x tokens + 6 x layers x hidden x length^2 operations (causal attention) per second.

    Recomputation adds nothing to the count. Every row has the full length, and all of its tokens but the
    first are response tokens, so that each of them needs the LM head too.
    """
    model = load_model(folder).train()
    policy_module, batch = PolicyModule(model), pad(_rows(model.config.vocab_size), 0, model.device)
    left, right = (torch.randn(SIDE, SIDE, device=model.device).bfloat16() for _ in range(2))

    def step() -> None:
        with autocast(model.device, "bfloat16"):
            logp = policy_module(batch, 1.0).logp
        logp[batch.mask].sum().backward()
        model.zero_grad(set_to_none=True)

    passes, products = [], []
    for _ in range(1 + REPETITIONS):
        passes.append(_timed(step))
        products.append(_timed(lambda: torch.mm(left, right), times=10))
    passes, products = passes[1:], products[1:]
    achieved = flops(model, [LENGTH] * ROWS) / median(passes)
    rate = 2 * SIDE**3 / median(products)
    show(
        f"Forward and backward, bfloat16, {ROWS} x {LENGTH} tokens, {_machine()}",
        ["what", "time", "GFLOP/s", "share", "required"],
        [
            [f"product of {SIDE} x {SIDE}", seconds(products), f"{rate / 1e9:.0f}", "", ""],
            [
                "forward and backward",
                seconds(passes),
                f"{achieved / 1e9:.0f}",
                f"{achieved / rate:.0%}",
                "50%",
            ],
        ],
    )


def _machine() -> str:
    return torch.cuda.get_device_name() if GPU else f"{torch.get_num_threads()} threads"


def _rows(vocabulary: int) -> list[TrainingRow]:
    random = torch.Generator().manual_seed(0)
    rows = []
    for i in range(ROWS):
        tokens = torch.randint(3, vocabulary, (LENGTH,), generator=random).tolist()
        rows.append(TrainingRow(str(i), tokens[:1], tokens[1:], [0.0] * (LENGTH - 1), 1.0, i, None))
    return rows


def _timed(call: Callable[[], object], times: int = 1) -> float:
    start = time.perf_counter()
    for _ in range(times):
        call()
    if GPU:
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / times

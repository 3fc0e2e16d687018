"""Tensor fields have the dtypes and shapes that they declare: checked in tests, free in production."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from hpt_core.policy.batching import Padded, TrainingRow, pad
from hpt_core.policy.logprobs import TokenLogprobs
from hpt_core.types import RowInfo, Tokens


def tokens() -> Tokens:
    """Three rows of at most four tokens."""
    return Tokens(
        logp=torch.zeros(3, 4),
        logp_old=torch.zeros(3, 4),
        mask=torch.ones(3, 4, dtype=torch.bool),
        reward=torch.zeros(3),
        group=torch.zeros(3, dtype=torch.int64),
        expert=torch.zeros(3, dtype=torch.bool),
    )


def padded() -> Padded:
    row = TrainingRow("p", [1, 2], [3, 4, 5], (), 1.0, 0, None)
    return pad([row, row], 0, torch.device("cpu"))


def outputs() -> TokenLogprobs:
    return TokenLogprobs(torch.zeros(3, 4), torch.zeros(3, 4), None)


REFUSED: list[tuple[Callable[[], object], str, Tensor]] = [
    (tokens, "mask", torch.ones(3, 5, dtype=torch.bool)),
    (tokens, "mask", torch.ones(3, 4)),
    (tokens, "logp", torch.zeros(3, 4, dtype=torch.int64)),
    (tokens, "logp_old", torch.zeros(3, 1)),
    (tokens, "reward", torch.zeros(3, 1)),
    (tokens, "group", torch.zeros(3)),
    (tokens, "expert", torch.zeros(2, dtype=torch.bool)),
    (tokens, "entropy", torch.zeros(3)),
    (tokens, "value", torch.zeros(4, 3)),
    (tokens, "logp_sampled", torch.zeros(3, 4, dtype=torch.int32)),
    (lambda: tokens().rows, "length", torch.ones(2, dtype=torch.int64)),
    (lambda: tokens().rows, "length", torch.ones(3)),
    (lambda: tokens().rows, "value", torch.zeros(3)),
    (padded, "input_ids", torch.zeros(2, 5)),
    (padded, "start", torch.zeros(3, dtype=torch.int64)),
    (padded, "logp_old", torch.zeros(2, 3, dtype=torch.float64)),
    (padded, "recorded", torch.zeros(2, 3, dtype=torch.bool)),
]


@pytest.mark.parametrize(("make", "field", "wrong"), REFUSED, ids=[field for _, field, _ in REFUSED])
def test_a_wrong_dtype_or_shape_is_refused(make: Callable[[], object], field: str, wrong: Tensor) -> None:
    instance = make()
    with pytest.raises(TypeError, match=rf"\.(mask|{field}) is "):
        replace(instance, **{field: wrong})  # type: ignore[type-var]


@pytest.mark.parametrize("field", ["logp", "entropy", "value"])
def test_wrong_outputs_of_a_policy_are_refused(field: str) -> None:
    fields = outputs()._asdict()
    for wrong in (torch.zeros(3, 4, dtype=torch.int64), torch.zeros(4), torch.zeros(3, 5)):
        with pytest.raises(TypeError, match=r"TokenLogprobs\.\w+ is torch"):
            TokenLogprobs(**fields | {field: wrong})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_every_float_type_is_a_float(dtype: torch.dtype, device: str) -> None:
    logp = torch.zeros(3, 4, dtype=dtype, device=device)
    assert replace(tokens(), logp=logp, entropy=logp, value=logp).logp is logp
    assert TokenLogprobs(logp, logp, logp).value is logp


def test_the_values_of_row_info_may_be_wider_than_a_micro_batch() -> None:
    rows = tokens().rows
    assert isinstance(rows, RowInfo) and rows.length.tolist() == [4, 4, 4]
    assert replace(rows, value=torch.zeros(3, 9)).value is not None


def test_production_needs_neither_jaxtyping_nor_torch_for_the_types() -> None:
    script = (
        "import sys; sys.modules['jaxtyping'] = None\n"
        "from hpt_core.types import Tokens\n"
        "assert 'torch' not in sys.modules\n"
        "assert Tokens(*'123456').mask == '3', 'and nothing is checked'\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)

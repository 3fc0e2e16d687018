"""Which models may share rows, and how a row is cut; `tests/parity/test_ranks.py` compares the gradients."""

from __future__ import annotations

import pytest
import torch
from torch.distributed import ProcessGroup

from hpt_core.errors import InputError
from hpt_core.policy.batching import TrainingRow, pad
from hpt_core.policy.context_parallel import Context, attend_in_context, part_of
from hpt_core.policy.logprobs import token_logprobs
from tests.unit.policy.small_models import small_model


def test_slices_have_each_token_once() -> None:
    rows = [([1, 2], [3, 4, 5, 6, 7]), ([8], [9])]
    batch = pad([TrainingRow("", *row, (), 0.0, 0, None) for row in rows], 0, torch.device("cpu"))
    parts = [part_of(batch, Context(ProcessGroup(0, 3), index, 3)) for index in range(3)]
    assert torch.cat([part.input_ids for part in parts], 1)[:, :7].equal(batch.input_ids)
    places = torch.cat([part.arguments["position_ids"] for part in parts], 1)
    assert places.tolist() == [list(range(9))]
    found = [
        (*place, int(part.input_ids[sequence, column]), int(token))
        for part in parts
        for *place, sequence, column, token in zip(
            part.row.tolist(), part.position.tolist(), part.sequence, part.column, part.token, strict=True
        )
    ]
    # Row, place in the response, the token before, and the token.
    assert sorted(found) == [
        (0, 0, 2, 3),
        (0, 1, 3, 4),
        (0, 2, 4, 5),
        (0, 3, 5, 6),
        (0, 4, 6, 7),
        (1, 0, 8, 9),
    ]


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_without_a_context_nothing_changes(family: str) -> None:
    model = small_model(family)
    batch = pad([TrainingRow("", [5, 7], [3, 4, 2], (), 0.0, 0, None)], 0, model.device)
    before = token_logprobs(model, batch, 0.7)
    attend_in_context(model)
    torch.testing.assert_close(token_logprobs(model, batch, 0.7), before, rtol=0, atol=0)


@pytest.mark.parametrize("family", ["gemma2", "mamba", "llama4_text", "bloom"])
def test_what_is_not_plain_causal_attention_is_refused(family: str) -> None:
    with pytest.raises(InputError, match=r"train.context_parallel: .*ForCausalLM has layers .*; set it to 1"):
        attend_in_context(small_model(family))

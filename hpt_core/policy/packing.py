"""Whether a model keeps rows apart that share a sequence; found by trying it.

Transformers makes a block-causal mask from position ids that begin again at 0. Recurrent layers read across
the rows all the same, some models take no position ids, and none declares it.
"""

from __future__ import annotations

import torch
from transformers import PreTrainedModel

from hpt_core.errors import InputError, one_line

TOLERANCE = 5e-3
"""Largest deviation, relative to the spread of the log-probabilities over the vocabulary. A model that reads
across rows deviates by about 1, rounding by less than 1e-4."""
LENGTHS = (7, 4)
"""Of the two rows of the trial, in tokens."""


@torch.no_grad()
def check_packing(model: PreTrainedModel) -> None:
    """Raises InputError where the outputs for packed rows are not those for each row alone."""
    training = model.training
    model.eval()  # type: ignore[no-untyped-call]
    try:
        fault = _fault(model)
    # A model may raise anything about an argument that it does not know.
    except Exception as error:
        fault = one_line(error, 120)
    finally:
        model.train(training)
    if fault is not None:
        raise InputError(
            f"train.packing: {type(model).__name__} does not keep the rows of a sequence apart ({fault}); "
            "set it to false"
        )


def _fault(model: PreTrainedModel) -> str | None:
    vocabulary = model.config.get_text_config().vocab_size
    rows = [[(5 + 7 * i + length) % vocabulary for i in range(length)] for length in LENGTHS]
    device = model.device
    alone = torch.cat([model(torch.tensor([row], device=device), use_cache=False).logits[0] for row in rows])
    ids = torch.tensor([[token for row in rows for token in row]], device=device)
    positions = torch.tensor([[i for row in rows for i in range(len(row))]], device=device)
    packed = model(ids, position_ids=positions, use_cache=False).logits[0]
    expected, found = (logits.float().log_softmax(-1) for logits in (alone, packed))
    off = float(((found - expected).abs().amax(-1) / expected.std(-1)).max())
    return None if off <= TOLERANCE else f"log-probabilities are off by {off:.2g} of their spread"

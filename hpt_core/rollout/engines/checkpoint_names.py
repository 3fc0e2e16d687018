"""A policy's weights with the names and shapes of its published checkpoint, which vLLM's loaders read.

Transformers holds the experts of a layer as one tensor and renames others when it loads a checkpoint, and
`save_pretrained` undoes that. So does this, a layer at a time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import groupby

from torch import Tensor
from transformers import PreTrainedModel
from transformers.core_model_loading import revert_weight_conversion

LAYER = re.compile(r".*?\.\d+\.")
"""The beginning of a parameter's name that its layer's other parameters share."""


def checkpoint_weights(
    model: PreTrainedModel, weights: Iterable[tuple[str, Tensor]]
) -> Iterator[tuple[str, Tensor]]:
    """The `weights` of `model`, in order of name, as `save_pretrained` would write them.

    No copy of all of them is made.
    """
    for _, of_layer in groupby(weights, _layer):
        yield from revert_weight_conversion(model, dict(of_layer)).items()


def _layer(named: tuple[str, Tensor]) -> str:
    match = LAYER.match(named[0])
    return match.group() if match else named[0]

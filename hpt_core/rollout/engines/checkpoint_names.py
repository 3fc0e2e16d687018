"""A policy's weights with the names and shapes of its published checkpoint, which vLLM's loaders read.

Transformers holds the experts of a layer as one tensor and renames others when it loads a checkpoint, and
`save_pretrained` undoes that. So does this, a layer at a time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from heapq import merge
from itertools import groupby
from operator import itemgetter

from torch import Tensor
from transformers import PreTrainedModel
from transformers.core_model_loading import revert_weight_conversion

from hpt_core.policy.merged_weights import merged_weights, persistent_buffers

LAYER = re.compile(r".*?\.\d+\.")
"""The beginning of a parameter's name that its layer's other parameters share."""


def checkpoint_weights(model: PreTrainedModel) -> Iterator[tuple[str, Tensor]]:
    """The weights of `merged_weights` as `save_pretrained` would write them; no copy of all of them is made.

    For a sharded model all ranks must exhaust the iterator.
    """
    # vLLM starts with dummy weights, so what is saved and not trained (a router's bias) is pushed as well.
    named = merge(merged_weights(model), persistent_buffers(model), key=itemgetter(0))
    for _, weights in groupby(named, _layer):
        yield from revert_weight_conversion(model, dict(weights)).items()


def _layer(named: tuple[str, Tensor]) -> str:
    match = LAYER.match(named[0])
    return match.group() if match else named[0]

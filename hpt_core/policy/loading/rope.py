"""Rotary positions that do not depend on the rows that happen to be in one batch.

transformers recomputes the frequencies of `longrope` (Phi-3) and `dynamic` rope in each forward pass, from
the longest row of the batch: one row beyond the original length changes the log-probabilities of all others,
and a text that grows beyond it while it is sampled has keys of both kinds in its cache. Here the frequencies
stay those of the original length for the whole run, and longer rows are refused (`sizes.check_positions`).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from transformers import PreTrainedConfig, PreTrainedModel

FIXED = "fixed"
"""A rope type under which transformers keeps the frequencies that a module has."""


def fix_rope(model: PreTrainedModel) -> None:
    """Use the frequencies of the original length in every later forward pass of `model`."""
    module: Any
    for module in model.modules():
        kinds = getattr(module, "rope_type", None)
        if isinstance(kinds, dict):
            module.rope_type = {layer: FIXED if _changes(kind) else kind for layer, kind in kinds.items()}
        elif _changes(kinds):
            module.rope_type = FIXED
        else:
            continue
        for name, original in list(module.named_buffers(recurse=False)):
            if name.endswith("original_inv_freq"):
                setattr(module, name.replace("original_", ""), original.clone())


def changing_length(config: PreTrainedConfig) -> int | None:
    """The length beyond which the config's rope changes; None if it never does.

    A longrope whose short and long factors are equal never does.
    """
    lengths = [
        parameters.get("original_max_position_embeddings") or config.max_position_embeddings
        for parameters in _parameters(config)
        if _changes(parameters["rope_type"])
        and (parameters["rope_type"] != "longrope" or parameters["short_factor"] != parameters["long_factor"])
    ]
    return min(lengths, default=None)


def fixed_rope_config(config: PreTrainedConfig) -> PreTrainedConfig:
    """The config with the rope that `fix_rope` keeps, for an engine that has rules of its own.

    vLLM takes longrope's long factors where its own limit is beyond the original length, and always scales a
    dynamic rope to its full length.
    """
    fixed = copy.deepcopy(config)
    for parameters in _parameters(fixed.get_text_config()):
        if parameters["rope_type"] == "longrope":
            parameters["long_factor"] = parameters["short_factor"]
        elif parameters["rope_type"] == "dynamic" and not parameters.get("alpha"):
            parameters["rope_type"] = "default"
    return fixed


def _changes(kind: object) -> bool:
    """Whether transformers recomputes the frequencies of this rope type, by the test that it uses itself."""
    return isinstance(kind, str) and ("dynamic" in kind or kind == "longrope")


def _parameters(config: PreTrainedConfig) -> Iterator[dict[str, Any]]:
    """The rope parameters of the model, or those of each type of layer."""
    parameters = getattr(config, "rope_parameters", None) or {}
    candidates = [parameters, *parameters.values()]
    yield from (entry for entry in candidates if isinstance(entry, dict) and "rope_type" in entry)

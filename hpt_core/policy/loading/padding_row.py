"""The embedding of the padding token, as it is on disk."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open
from torch import nn
from transformers import PreTrainedModel


@torch.no_grad()
def read_padding_rows(model: PreTrainedModel, folder: Path) -> None:
    """Read the embeddings' padding rows from the safetensors files of `folder` once more.

    Some families of transformers 5.19 (Youtu) set them to zero after reading them. With a tied LM head such a
    row is trained like all others, so a saved policy would come back as another one.
    """
    rows = {
        f"{name}.weight": module
        for name, module in model.named_modules()
        if isinstance(module, nn.Embedding) and module.padding_idx is not None
    }
    for path in sorted(folder.glob("*.safetensors")) if rows else ():
        with safe_open(path, "pt") as weights:
            for key in rows.keys() & weights.keys():
                padding = rows[key].padding_idx
                rows[key].weight[padding] = weights.get_slice(key)[padding].to(rows[key].weight)

"""A policy as a transformers folder: load it and save it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hpt_core.errors import InputError
from hpt_core.policy.chat import Chat, default_template
from hpt_core.policy.loading.checked import load_checked
from hpt_core.policy.weights.hashed import weights_hash
from hpt_core.policy.weights.merged import merged_weights, persistent_buffers

__all__ = [
    "LoadedPolicy",
    "load_policy",
    "merged_weights",
    "save_policy",
    "stop_tokens",
    "weights_hash",
]


class LoadedPolicy(NamedTuple):
    """A causal language model and its tokenizer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


def load_policy(
    name: str | Path,
    *,
    revision: str | None = None,
    chat_template: str | None = None,
    device: str | None = None,
) -> LoadedPolicy:
    """A causal language model in float32 and its tokenizer, from a local folder or by hub id.

    A Path is a local folder and is never looked up on the hub. The model is on `device`, by default the
    GPU if there is one. `chat_template` is Jinja text that replaces the tokenizer's own template.

    Raises InputError if model or tokenizer cannot be read or trained, if the model is not the one on disk
    (`folder_checks` and `weight_checks` say what is looked for), or if the tokenizer has no chat template.
    """
    loaded = load_checked(name, revision)
    model, tokenizer = loaded.model, loaded.tokenizer
    tokenizer.chat_template = chat_template or default_template(tokenizer.chat_template)
    if tokenizer.chat_template is None:
        raise InputError(
            f"model {str(name)!r}: its tokenizer has no chat template; name a Jinja file in the policy's "
            "chat_template, or take the model's instruct version"
        )
    if tokenizer.eos_token_id is None:
        raise InputError(f"model {str(name)!r}: its tokenizer has no end-of-turn token (eos_token)")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return LoadedPolicy(model.to(device).eval(), tokenizer)  # type: ignore[arg-type]


def save_policy(policy: LoadedPolicy, folder: Path, *, write: bool = True) -> None:
    """Write an ordinary transformers folder; the same weights give the same bytes.

    For a sharded policy all ranks call this, and one of them with `write`.
    """
    weights: dict[str, Tensor] = {}
    for name, weight in merged_weights(policy.model):
        if write:
            weights[name] = weight.cpu()
    if write:
        folder.mkdir(parents=True, exist_ok=True)
        buffers = dict(persistent_buffers(policy.model))
        policy.model.save_pretrained(folder, state_dict=buffers | weights)
        policy.tokenizer.save_pretrained(folder)


def stop_tokens(policy: LoadedPolicy) -> frozenset[int]:
    """Token ids that end a response, for every engine and for the demonstrations.

    Those of the model's config, of its generation config and of the tokenizer, and the chat template's end of
    turn. Published models name some of them in one place only.
    """
    model, tokenizer = policy.model, policy.tokenizer
    found = {tokenizer.eos_token_id}
    for config in (model.config, model.config.get_text_config(), model.generation_config):
        token_ids = getattr(config, "eos_token_id", None)
        found.update(token_ids if isinstance(token_ids, list | tuple) else [token_ids])
    if tokenizer.chat_template is not None:
        found.add(Chat(tokenizer).end_token)
    return frozenset(token for token in found if token is not None and token >= 0)

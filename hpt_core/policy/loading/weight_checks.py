"""Whether a loaded model is the one on disk: every weight read, every one finite, every token embedded."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hpt_core.errors import one_line
from hpt_core.policy.loading.folder_checks import refusal

SHOWN = 3
"""Names that a message lists before it counts the rest."""
BEGINNING = 7
"""Length of the row whose logits the longer row must have, too."""
LAYER = re.compile(r"\.\d+\.")
TELLTALE = {
    r"lora_|base_layer": "they hold LoRA adapters: merge_and_unload() them, and save the model again",
    r"qweight|qzeros|absmax|SCB|weight_scale|_blocks$|_scales$": (
        "they are quantised: take the bfloat16 release, or dequantise it"
    ),
    r"(^|\.)(score|classifier|classification_head|qa_outputs|v_head|value_head)\.": (
        "they are a classification, reward or value model: take the language model that it was made from"
    ),
}
"""Pattern of an unexpected name -> the likely cause and the remedy."""


class LoadedModel(NamedTuple):
    """A model with what transformers says about its loading."""

    name: str
    """The local folder, or the hub id."""
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    info: Mapping[str, Any]
    """`output_loading_info` of `from_pretrained`: missing_keys, unexpected_keys and mismatched_keys."""


def every_weight_read(loaded: LoadedModel) -> None:
    """A weight without a match on disk would be random, and one on disk without a use is another model's."""
    missing, unexpected = (sorted(loaded.info[key]) for key in ("missing_keys", "unexpected_keys"))
    shapes = {name: (tuple(disk), tuple(model)) for name, disk, model in loaded.info["mismatched_keys"]}
    found = [
        f"{len(names)} {what} ({_some(names)})"
        for what, names in (
            ("of the model's weights are not on disk", missing),
            ("on disk are not the model's", unexpected),
            ("differ in shape", [f"{name} {disk} for {model}" for name, (disk, model) in shapes.items()]),
        )
        if names
    ]
    if found:
        cause = _likely_cause(missing, unexpected, shapes)
        raise refusal(loaded.name, f"its weights do not fit its config.json: {', '.join(found)}; {cause}")


def _some(names: Collection[str]) -> str:
    names = list(names)
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def _likely_cause(missing: list[str], unexpected: list[str], shapes: Collection[str]) -> str:
    for pattern, cause in TELLTALE.items():
        if any(re.search(pattern, name) for name in unexpected):
            return cause
    for long, short, remedy in (
        (unexpected, missing, "remove {!r} from the beginning of the names on disk"),
        (missing, unexpected, "put {!r} before the names on disk"),
    ):
        prefixes = {a.removesuffix(b) for a in long for b in short if a != b and a.endswith(f".{b}")}
        if len(prefixes) == 1:
            return f"they were saved from a wrapped model: {remedy.format(prefixes.pop())}"
    if shapes:
        return "config.json belongs to another size of the model: copy the one that belongs to the weights"
    if not unexpected and not any(LAYER.search(name) for name in missing):
        return (
            "they are a base model without its head, or tie_word_embeddings is wrong: save the whole causal "
            "language model"
        )
    if not missing:
        return "config.json describes a smaller model: copy the one that belongs to the weights"
    return "weights are lost or belong to another class: copy all files of the model again"


def weights_finite(loaded: LoadedModel) -> None:
    """NaN and infinity spread to every log-probability."""
    state: dict[str, torch.Tensor] = loaded.model.state_dict()
    broken = [
        name for name, weight in state.items() if weight.is_floating_point() and not weight.isfinite().all()
    ]
    if broken:
        raise refusal(
            loaded.name,
            f"{len(broken)} of its weights are NaN or infinite ({_some(broken)}); the training that made it "
            "diverged or the file is damaged: take an earlier checkpoint, or copy it again",
        )


def tokens_embedded(loaded: LoadedModel) -> None:
    """A token beyond the embedding is an index error, on a GPU one without a name."""
    vocabulary = loaded.tokenizer.get_vocab()
    rows = _embedding_rows(loaded.model)
    beyond = sorted((token, text) for text, token in vocabulary.items() if token >= rows)
    if beyond:
        raise refusal(
            loaded.name,
            f"its tokenizer has {len(beyond)} tokens beyond the {rows} rows of the embedding (the first is "
            f"{beyond[0][1]!r}, {beyond[0][0]}); take the tokenizer that belongs to the weights, or enlarge "
            f"the model: resize_token_embeddings({beyond[-1][0] + 1}) and save_pretrained",
        )
    if not set(vocabulary.values()) - set(loaded.tokenizer.added_tokens_decoder):
        raise refusal(
            loaded.name,
            "it has no tokenizer, or one without a vocabulary; copy the tokenizer's files (tokenizer.json, "
            "tokenizer_config.json) beside the weights",
        )


def _embedding_rows(model: PreTrainedModel) -> int:
    embedding: Any = model.get_input_embeddings()
    return len(embedding.weight)


@torch.no_grad()
def reads_the_past_alone(loaded: LoadedModel) -> None:
    """A model that looks ahead (BERT) loads as a language model and cannot be sampled token by token.

    Neither another last token nor more tokens (ProphetNet's relative positions) may change earlier logits.
    """
    rows = _embedding_rows(loaded.model)
    tokens = torch.arange(5, 17, device=loaded.model.device).remainder(rows).repeat(2, 1)
    tokens[1, -1] = (tokens[1, -1] + 1) % rows
    try:
        one, other = loaded.model(input_ids=tokens, use_cache=False).logits[:, :-1].float()
        short = loaded.model(input_ids=tokens[:1, :BEGINNING], use_cache=False).logits[0].float()
    # Each family has errors of its own for an input or a machine that it does not support.
    except Exception as error:
        raise refusal(
            loaded.name,
            f"its forward pass fails on {tokens.shape[1]} tokens ({one_line(error)}); take a causal language "
            "model that transformers runs here from input_ids alone",
        ) from error
    if not one.isfinite().all():
        raise refusal(
            loaded.name, "its logits are NaN or infinite in float32; take another checkpoint of the model"
        )
    change = torch.maximum((one - other).abs().max(), (one[:BEGINNING] - short).abs().max())
    if change > 1e-4 * one.abs().max():
        raise refusal(
            loaded.name,
            "its logits depend on later tokens, so that it is no causal language model; take a decoder-only "
            "model (for a BERT that was trained as one: is_decoder in its config.json)",
        )


MODEL_CHECKS: dict[str, Callable[[LoadedModel], None]] = {
    "every weight read from disk": every_weight_read,
    "weights finite": weights_finite,
    "tokens within the embedding": tokens_embedded,
    "reads the past alone": reads_the_past_alone,
}
"""Name of the check -> the check."""

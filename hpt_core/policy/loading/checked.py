"""A causal language model as it is on disk, or an error that says in one line what to do."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers.utils.hub import cached_file, extract_commit_hash

from hpt_core.errors import InputError, one_line
from hpt_core.policy.loading.attention import choose_attention
from hpt_core.policy.loading.folder_checks import FOLDER_CHECKS, ModelFiles, model_files, refusal
from hpt_core.policy.loading.padding_row import read_padding_rows
from hpt_core.policy.loading.rope import fix_rope
from hpt_core.policy.loading.weight_checks import MODEL_CHECKS, LoadedModel

UNREADABLE = (
    "give a local transformers folder, or a hub id with the hub within reach (and HF_TOKEN for a gated one)"
)


def load_checked(name: str | Path, revision: str | None) -> LoadedModel:
    """Model in float32 and tokenizer, after every check of `FOLDER_CHECKS` and `MODEL_CHECKS`.

    The model is on the CPU. Raises InputError with the remedy in one line.
    """
    files = read_files(name, revision)
    for check in FOLDER_CHECKS.values():
        check(files)
    loaded = load_unchecked(files, revision)
    for examine in MODEL_CHECKS.values():
        examine(loaded)
    return loaded


def resolve_commit(name: str, revision: str | None) -> str | None:
    """The commit that `revision` (a commit, tag or branch; None: the newest) of hub id `name` stands for now.

    Without the hub, as with HF_HUB_OFFLINE, it is that of the local cache. Raises InputError.
    """
    try:
        path = cached_file(name, "config.json", revision=revision)
    except (OSError, ValueError) as error:
        raise refusal(name, f"cannot be loaded ({one_line(error)}); {UNREADABLE}") from error
    return extract_commit_hash(None if path is None else str(path), None)


def read_files(name: str | Path, revision: str | None = None) -> ModelFiles:
    """The config and the file names of a local folder or a hub id. A Path is never looked up on the hub."""
    if isinstance(name, Path) and not name.is_dir():
        raise InputError(f"{name}: no such folder; run the stage that makes it (`dvc repro`)")
    try:
        return model_files(name, revision)
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise refusal(str(name), f"cannot be loaded ({one_line(error)}); {UNREADABLE}") from error


def load_unchecked(files: ModelFiles, revision: str | None = None) -> LoadedModel:
    """Model and tokenizer as transformers reads them, and what it says about the names of the weights.

    The model has an attention that leaves nothing out, and a rope that is the same in every batch.
    """
    name = files.name
    try:
        model, info = _read_model(name, revision)
    # Configs, weights and quantisers of other people's folders fail with errors of many kinds.
    except Exception as error:
        raise refusal(name, f"cannot be loaded ({one_line(error)}); {_remedy(error)}") from error
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, revision=revision, trust_remote_code=False)
    except Exception as error:
        raise refusal(
            name,
            f"its tokenizer cannot be loaded ({one_line(error)}); put the tokenizer's files "
            "(tokenizer.json, tokenizer_config.json) beside the weights",
        ) from error
    # Of a hub id, the folder of its cache that from_pretrained has filled.
    read_padding_rows(model, Path(str(cached_file(name, "config.json", revision=revision))).parent)
    choose_attention(model)
    fix_rope(model)
    _make_writable(name, model)
    return LoadedModel(name, model, tokenizer, info)


def _read_model(name: str, revision: str | None) -> tuple[PreTrainedModel, dict[str, Any]]:
    with _without_loading_table():
        # Weights of another shape are listed with the others, by `every_weight_read`.
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            name,
            revision=revision,
            dtype=torch.float32,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    model, info = loaded
    return model, info


def _make_writable(name: str, model: PreTrainedModel) -> None:
    """Correct a generation config that transformers reads but would not write, so that a policy can be saved.

    Some published models (Vicuna) set a temperature without `do_sample`.
    """
    config: Any = model.generation_config
    if config is None:
        return
    try:
        try:
            config.validate(strict=True)
        except ValueError:
            config.do_sample = True
            config.validate(strict=True)
    except ValueError as error:
        raise refusal(
            name, f"generation_config.json contradicts itself ({one_line(error)}); correct it"
        ) from error


def _remedy(error: Exception) -> str:
    if type(error).__name__ == "SafetensorError":
        return (
            "a weight file is cut off, or is the pointer that Git LFS leaves in its place; copy the model's "
            "files again, or run `git lfs pull` there"
        )
    if "weights_only" in str(error) or "Weights only" in str(error):
        return (
            "its .bin file is damaged, or holds Python objects that are not loaded here because they may run "
            "code; take the safetensors release, or load it where you trust it and save_pretrained() it"
        )
    return UNREADABLE


@contextmanager
def _without_loading_table() -> Iterator[None]:
    """Leave out transformers' table of the names that do not match: the error has them on one line."""

    def keep(record: logging.LogRecord) -> bool:
        return "LOAD REPORT" not in record.getMessage()

    logger = logging.getLogger("transformers.modeling_utils")
    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)

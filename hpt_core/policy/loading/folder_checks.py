"""What a model's folder holds that cannot be trained here, found in its config and its file names.

Each check reads no weight and raises InputError with the remedy in one line. `FOLDER_CHECKS` names them all.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from transformers import PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
)
from transformers.utils.hub import cached_file

from hpt_core.errors import InputError

DEQUANTISED = {
    "mxfp4": "quantization_config=Mxfp4Config(dequantize=True), dtype='bfloat16'",
    "fp8": "quantization_config=FineGrainedFP8Config(dequantize=True), dtype='bfloat16'",
    "compressed-tensors": "quantization_config=CompressedTensorsConfig(dequantize=True), dtype='bfloat16'",
}
"""quant_method -> the arguments with which transformers loads the folder dequantised."""
OTHER_SENSES = ("vision_config", "audio_config", "image_config", "video_config", "speech_config", "vq_config")
"""Keys of config.json that describe the part of a multimodal model that is no language model."""
ADAPTER = "adapter_config.json"
WEIGHTS = (".safetensors", ".bin", ".safetensors.index.json", ".bin.index.json")


class ModelFiles(NamedTuple):
    """A model before its weights are read."""

    name: str
    """The local folder, or the hub id."""
    config: Mapping[str, Any]
    """config.json; empty without one."""
    files: frozenset[str]
    """File names of a local folder; of a hub id, the ones that are asked for here."""


def model_files(name: str | Path, revision: str | None) -> ModelFiles:
    """The config and the file names of a local folder or a hub id. Raises OSError if out of reach."""
    folder = Path(name)
    if folder.is_dir():
        return ModelFiles(str(name), _config(folder), frozenset(path.name for path in folder.iterdir()))
    config, _ = PreTrainedConfig.get_config_dict(name, revision=revision)
    adapter = cached_file(name, ADAPTER, revision=revision, _raise_exceptions_for_missing_entries=False)
    return ModelFiles(str(name), config, frozenset([ADAPTER] if adapter else []))


def _config(folder: Path) -> Mapping[str, Any]:
    path = folder / "config.json"
    if not path.exists():
        return {}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); correct it, or copy the model again") from error
    if not isinstance(config, dict):
        raise InputError(f"{path}: not a JSON object; correct it, or copy the model again")
    return config


def refusal(model: str, reason: str) -> InputError:
    """The error that says why `model` is not trained; `reason` ends with the remedy."""
    return InputError(f"model {model!r}: {reason}")


def not_an_adapter(model: ModelFiles) -> None:
    """A LoRA adapter is no model: transformers would load its base model from wherever it is."""
    if ADAPTER in model.files:
        raise refusal(
            model.name,
            f"it has {ADAPTER}: a LoRA adapter, not a model; merge it into its base model first: "
            f"AutoPeftModelForCausalLM.from_pretrained({model.name!r}).merge_and_unload()"
            ".save_pretrained(OUT), and copy the tokenizer to OUT",
        )


def not_gguf(model: ModelFiles) -> None:
    """GGUF is llama.cpp's format; its weights are mostly quantised."""
    gguf = sorted(name for name in model.files if name.endswith(".gguf"))
    if gguf and not any(name.endswith(WEIGHTS) for name in model.files):
        raise refusal(
            model.name,
            f"its weights are GGUF ({gguf[0]}); take the model's safetensors release, or convert it: "
            f"AutoModelForCausalLM.from_pretrained({model.name!r}, gguf_file={gguf[0]!r})"
            ".save_pretrained(OUT), and the same with AutoTokenizer",
        )


def not_quantised(model: ModelFiles) -> None:
    """Quantised weights have no gradient, and whether they load depends on the machine."""
    text = model.config.get("text_config") or {}
    quantisation = model.config.get("quantization_config") or text.get("quantization_config")
    if not quantisation:
        return
    method = str(quantisation.get("quant_method") or "bitsandbytes")
    if method in DEQUANTISED:
        remedy = f"AutoModelForCausalLM.from_pretrained({model.name!r}, {DEQUANTISED[method]})"
    else:
        remedy = f"AutoModelForCausalLM.from_pretrained({model.name!r}).dequantize()"
    raise refusal(
        model.name,
        f"its weights are quantised ({method}), and training needs them whole; take the model's bfloat16 "
        f"release, or dequantise it once: {remedy}.save_pretrained(OUT), and copy the tokenizer to OUT",
    )


def text_only(model: ModelFiles) -> None:
    """The trainer feeds tokens alone, and pushes and saves a language model."""
    senses = [key for key in OTHER_SENSES if model.config.get(key)]
    if senses:
        raise refusal(
            model.name,
            f"a multimodal model (config.json has {', '.join(senses)}), and only text is trained here; take "
            "the family's text-only release, or save its language model as a folder of its own",
        )


def decoder_only(model: ModelFiles) -> None:
    """An encoder reads the prompt with other weights than the decoder, which no part here expects."""
    kind = model.config.get("model_type")
    translates = kind in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES
    if model.config.get("is_encoder_decoder") or (
        translates and kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    ):
        raise refusal(
            model.name,
            f"an encoder-decoder model ({kind}), and only causal language models are trained here; take a "
            "decoder-only model",
        )


def known_class(model: ModelFiles) -> None:
    """Code that comes with a model is never run: it could do anything, and no test here has seen it."""
    kind = model.config.get("model_type")
    if kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return
    if not model.config:
        raise refusal(
            model.name,
            "it has no config.json; name the folder that holds a model, such as a checkpoint in it",
        )
    if model.config.get("auto_map"):
        raise refusal(
            model.name,
            f"its class is code in its own folder (auto_map; model_type {kind!r}), which is not run here; "
            "take a release in a class of transformers, or a transformers version that has one",
        )
    if kind is None:
        raise refusal(
            model.name, "config.json has no model_type; copy the config.json that belongs to the weights"
        )
    unknown = "has no class for it" if kind not in CONFIG_MAPPING else "has no causal language model"
    raise refusal(
        model.name,
        f"transformers {unknown} (model_type {kind!r}); take a causal language model that it knows",
    )


FOLDER_CHECKS: dict[str, Callable[[ModelFiles], None]] = {
    "a model, not an adapter": not_an_adapter,
    "weights in safetensors, not GGUF": not_gguf,
    "weights not quantised": not_quantised,
    "text only": text_only,
    "no encoder": decoder_only,
    "a class of transformers": known_class,
}
"""Name of the check -> the check."""

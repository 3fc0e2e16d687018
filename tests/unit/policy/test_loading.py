"""A policy is the one on disk, or it is refused in one line that has the remedy."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    BertConfig,
    BertLMHeadModel,
    LlamaConfig,
    LlamaForSequenceClassification,
    LlamaModel,
    PreTrainedModel,
)

from hpt_core.errors import InputError
from hpt_core.policy.model import LoadedPolicy, load_policy, save_policy, weights_hash
from tests.unit.policy.small_models import FAMILIES, SIZES, VOCABULARY, logits, save, small_model

TOKENS = torch.arange(2, 26).view(2, 12)
Weights = dict[str, Tensor]


def rewrite(folder: Path, edit: Callable[[Weights], Weights]) -> None:
    path = folder / "model.safetensors"
    weights = {name: weight.contiguous() for name, weight in edit(load_file(path)).items()}
    save_file(weights, path, metadata={"format": "pt"})


def configure(folder: Path, **keys: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))


def refused(folder: Path, pattern: str) -> None:
    with pytest.raises(InputError) as caught:
        load_policy(folder)
    message = str(caught.value)
    assert re.search(pattern, message), message
    assert "\n" not in message and "\x1b" not in message and "; " in message, "one line, with the remedy"
    assert len(message) < 800, message


@pytest.fixture
def llama(policy: LoadedPolicy, tmp_path: Path) -> Path:
    return save(small_model("llama"), policy.tokenizer, tmp_path / "llama")


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_loaded_as_it_is_and_saved_as_it_was(
    policy: LoadedPolicy, tmp_path: Path, family: str
) -> None:
    model = small_model(family)
    loaded = load_policy(save(model, policy.tokenizer, tmp_path / "one"))
    assert weights_hash(loaded.model) == weights_hash(model)
    expected = logits(loaded.model, TOKENS)
    save_policy(loaded, tmp_path / "two")
    again = load_policy(tmp_path / "two").model
    assert weights_hash(again) == weights_hash(model)
    assert torch.equal(logits(again, TOKENS), expected)
    names = {name for name, _ in again.named_buffers()} & set(again.state_dict())
    for name in names:
        assert torch.equal(again.state_dict()[name], model.state_dict()[name]), name


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_checkpoint_in_half_precision_has_the_same_values_in_float32(
    policy: LoadedPolicy, tmp_path: Path, dtype: torch.dtype
) -> None:
    model = small_model("llama").to(dtype)
    loaded = load_policy(save(model, policy.tokenizer, tmp_path)).model
    for name, weight in loaded.named_parameters():
        assert weight.dtype == torch.float32
        assert torch.equal(weight, model.get_parameter(name).float()), name


WRONG_NAMES: dict[str, tuple[Callable[[Weights], Weights], str]] = {
    "torch.compile": (
        lambda w: {f"_orig_mod.{name}": weight for name, weight in w.items()},
        r"21 of the model's weights are not on disk \(lm_head\.weight, .*, \.\.\.\), 21 on disk are not the "
        r"model's \(_orig_mod\.lm_head.*; they were saved from a wrapped model: remove '_orig_mod\.'",
    ),
    "DataParallel": (
        lambda w: {f"module.{name}": weight for name, weight in w.items()},
        r"remove 'module\.'",
    ),
    "peft": (
        lambda w: {
            f"base_model.model.{name}".replace("q_proj.", "q_proj.base_layer."): weight
            for name, weight in w.items()
        },
        "they hold LoRA adapters: merge_and_unload",
    ),
    "no head": (
        lambda w: {name: weight for name, weight in w.items() if name != "lm_head.weight"},
        r"1 of the model's weights are not on disk \(lm_head\.weight\); .*base model without its head",
    ),
    "no layer": (
        lambda w: {name: weight for name, weight in w.items() if ".1." not in name},
        r"9 of the model's weights are not on disk \(model\.layers\.1\..*weights are lost",
    ),
    "a layer too many": (
        lambda w: w | {name.replace(".1.", ".2."): weight.clone() for name, weight in w.items()},
        r"9 on disk are not the model's \(model\.layers\.2\..*config\.json describes a smaller model",
    ),
    "a value head": (
        lambda w: w | {"v_head.summary.weight": torch.ones(1, 32)},
        "value model: take the language",
    ),
    "another size": (
        lambda w: w | {"model.norm.weight": torch.ones(16)},
        r"1 differ in shape \(model\.norm\.weight \(16,\) for \(32,\)\); config\.json belongs to another",
    ),
    "not a number": (
        lambda w: w | {"model.norm.weight": torch.full((32,), torch.nan)},
        r"1 of its weights are NaN or infinite \(model\.norm\.weight\)",
    ),
    "infinite": (lambda w: w | {"lm_head.weight": w["lm_head.weight"] / 0}, "NaN or infinite"),
}


@pytest.mark.parametrize("case", WRONG_NAMES)
def test_weights_that_are_not_the_models(llama: Path, case: str) -> None:
    edit, pattern = WRONG_NAMES[case]
    rewrite(llama, edit)
    refused(llama, pattern)


@pytest.mark.parametrize("family", ["qwen3_moe", "mixtral", "deepseek_v3"])
def test_a_lost_expert(policy: LoadedPolicy, tmp_path: Path, family: str) -> None:
    """transformers stacks the experts on disk to one tensor; with one of them missing its shape is wrong."""
    folder = save(small_model(family), policy.tokenizer, tmp_path)
    lost = [name for name in load_file(folder / "model.safetensors") if re.search(r"1\..*experts\.3\.", name)]
    assert len(lost) == 3
    rewrite(folder, lambda w: {name: weight for name, weight in w.items() if name not in lost})
    refused(folder, r"differ in shape \(model\.layers\.1\.mlp\.experts")


def test_models_of_another_kind(policy: LoadedPolicy, tmp_path: Path) -> None:
    sizes = {**SIZES, "pad_token_id": 0}
    others: dict[str, tuple[PreTrainedModel, str]] = {
        "classifier": (
            LlamaForSequenceClassification(LlamaConfig(**sizes)),
            r"score\.weight.*classification",
        ),
        "base": (LlamaModel(LlamaConfig(**sizes)), r"lm_head\.weight\).*base model without its head"),
        "bert": (BertLMHeadModel(BertConfig(**sizes)), "logits depend on later tokens"),
    }
    for name, (model, pattern) in others.items():
        refused(save(model, policy.tokenizer, tmp_path / name), pattern)
    tied = LlamaModel(LlamaConfig(**sizes, tie_word_embeddings=True))
    loaded = load_policy(save(tied, policy.tokenizer, tmp_path / "tied")).model
    assert torch.equal(loaded.lm_head.weight, tied.embed_tokens.weight), (
        "a tied head is nothing that is missing"
    )


QUANTISED = {
    "mxfp4": r"Mxfp4Config\(dequantize=True\)",
    "fp8": r"FineGrainedFP8Config\(dequantize=True\)",
    "compressed-tensors": r"CompressedTensorsConfig\(dequantize=True\)",
    "bitsandbytes": r"\.dequantize\(\)\.save_pretrained",
    "gptq": r"bfloat16 release",
    "awq": r"bfloat16 release",
}


@pytest.mark.parametrize("method", QUANTISED)
def test_quantised_weights(llama: Path, method: str) -> None:
    configure(llama, quantization_config={"quant_method": method, "bits": 4})
    refused(llama, rf"quantised \({method}\).*{QUANTISED[method]}")


CONFIGS: dict[str, tuple[dict[str, Any], str]] = {
    "multimodal": (
        {"model_type": "llava", "text_config": {}, "vision_config": {"a": 1}},
        "has vision_config",
    ),
    "hears": ({"audio_config": {"a": 1}}, "has audio_config"),
    "encoder-decoder": ({"model_type": "t5", "is_encoder_decoder": True}, r"encoder-decoder model \(t5\)"),
    "remote code": ({"model_type": "own", "auto_map": {"AutoModelForCausalLM": "own.Own"}}, "not run here"),
    "too new": ({"model_type": "llama9"}, "transformers has no class for it"),
    "no language model": ({"model_type": "vit"}, "transformers has no causal language model"),
    "no type": ({"model_type": None}, "config.json has no model_type"),
    "wrong type": ({"hidden_size": "wide"}, r"cannot be loaded \(StrictDataclassFieldValidationError"),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_configs_of_models_that_are_not_trained(llama: Path, case: str) -> None:
    keys, pattern = CONFIGS[case]
    configure(llama, **keys)
    refused(llama, pattern)


def test_own_code_beside_a_known_class_is_not_run(llama: Path) -> None:
    configure(llama, auto_map={"AutoModelForCausalLM": "own.Own"})
    (llama / "own.py").write_text("raise SystemExit('was run')")
    assert type(load_policy(llama).model).__module__.startswith("transformers.")


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_config_that_is_no_json_object(llama: Path, text: str) -> None:
    (llama / "config.json").write_text(text)
    refused(llama, r"config\.json: not (a )?JSON.*; correct it")


class Payload:
    """A Python object that a pickle would make on loading."""


def test_pickled_weights(llama: Path) -> None:
    weights = load_file(llama / "model.safetensors")
    (llama / "model.safetensors").unlink()
    torch.save(weights, llama / "pytorch_model.bin")
    assert torch.equal(load_policy(llama).model.lm_head.weight, weights["lm_head.weight"])
    torch.save(weights | {"x": Payload()}, llama / "pytorch_model.bin")
    refused(llama, "holds Python objects that are not loaded here")
    (llama / "pytorch_model.bin").write_bytes(b"garbage")
    refused(llama, "damaged")


def test_weights_that_were_not_copied_whole(llama: Path) -> None:
    path = llama / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    refused(llama, "cut off")
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1234567\n")
    refused(llama, "git lfs pull")


def test_sampling_defaults_that_transformers_would_not_write(
    policy: LoadedPolicy, llama: Path, tmp_path: Path
) -> None:
    """Vicuna's generation config has a temperature and no `do_sample`."""
    (llama / "generation_config.json").write_text('{"temperature": 0.9, "top_p": 0.6, "eos_token_id": 1}')
    save_policy(load_policy(llama), tmp_path / "saved")
    saved = json.loads((tmp_path / "saved" / "generation_config.json").read_text())
    assert (saved["do_sample"], saved["temperature"], saved["top_p"]) == (True, 0.9, 0.6)


def test_folders_without_a_model(tmp_path: Path, llama: Path) -> None:
    for folder, file in (("adapter", "adapter_config.json"), ("gguf", "model-q4.gguf")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / file).write_text("{}")
    refused(tmp_path / "adapter", r"a LoRA adapter, not a model; .*merge_and_unload\(\)")
    refused(tmp_path / "gguf", r"GGUF \(model-q4\.gguf\).*gguf_file='model-q4\.gguf'")
    (llama / "adapter_config.json").write_text("{}")
    refused(llama, "a LoRA adapter")
    refused(tmp_path, r"no config\.json; name the folder that holds a model")


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen2"])
def test_no_tokenizer(policy: LoadedPolicy, tmp_path: Path, family: str) -> None:
    """For some families transformers makes an empty tokenizer where there is none."""
    small_model(family).save_pretrained(tmp_path)
    refused(tmp_path, r"tokenizer.*tokenizer\.json, tokenizer_config\.json\) beside the weights")


def test_tokens_beyond_the_embedding(policy: LoadedPolicy, tmp_path: Path) -> None:
    size = len(policy.tokenizer)
    fits = save(small_model("llama", vocab_size=size), policy.tokenizer, tmp_path / "fits")
    assert load_policy(fits).model.lm_head.out_features == size < VOCABULARY
    short = save(small_model("llama", vocab_size=size - 1), policy.tokenizer, tmp_path / "short")
    refused(short, rf"1 tokens beyond the {size - 1} rows.*'<\|end\|>'.*resize_token_embeddings\({size}\)")


def test_the_table_of_transformers_is_not_printed(llama: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rewrite(llama, lambda w: {f"module.{name}": weight for name, weight in w.items()})
    refused(llama, "module")
    assert "LOAD REPORT" not in "".join(capfd.readouterr())

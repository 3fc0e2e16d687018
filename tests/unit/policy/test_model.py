"""Policies as transformers folders: loading, saving, hashing, and errors with a remedy."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from hpt_core.errors import InputError
from hpt_core.policy.model import LoadedPolicy, load_policy, save_policy, stop_tokens, weights_hash


@pytest.fixture
def folder(policy: LoadedPolicy, tmp_path: Path) -> Path:
    save_policy(policy, tmp_path / "policy")
    return tmp_path / "policy"


def test_saved_and_loaded(policy: LoadedPolicy, folder: Path) -> None:
    loaded = load_policy(folder)
    assert weights_hash(loaded.model) == weights_hash(policy.model)
    assert loaded.model.dtype == torch.float32 and not loaded.model.training
    assert loaded.tokenizer.chat_template == policy.tokenizer.chat_template
    assert loaded.tokenizer.get_vocab() == policy.tokenizer.get_vocab()


def test_the_same_weights_give_the_same_bytes(policy: LoadedPolicy, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "elsewhere")
    for source, out in ((folder, "one"), (tmp_path / "elsewhere", "two")):
        save_policy(load_policy(source), tmp_path / out)
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "two").iterdir())
    for name in names:
        one, two = ((tmp_path / out / name).read_bytes() for out in ("one", "two"))
        assert one == two and str(tmp_path).encode() not in one, name


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"models/base: no such folder; run the stage that makes it"):
        load_policy(tmp_path / "models/base")


@pytest.mark.parametrize(
    ("damage", "remedy"),
    [
        ("no weights", r"cannot be loaded \(.+\); give a local transformers folder"),
        ("weights cut short", r"cannot be loaded \(.+\); a weight file is cut off"),
        ("no config", "it has no config.json; name the folder that holds a model"),
        ("empty", "it has no config.json; name the folder that holds a model"),
    ],
)
def test_a_damaged_folder(folder: Path, damage: str, remedy: str) -> None:
    weights = folder / "model.safetensors"
    if damage == "no weights":
        weights.unlink()
    if damage == "weights cut short":
        weights.write_bytes(weights.read_bytes()[:-50])
    if damage == "no config":
        (folder / "config.json").unlink()
    if damage == "empty":
        for path in folder.iterdir():
            path.unlink()
    with pytest.raises(InputError, match=f"policy'?: {remedy}"):
        load_policy(folder)


def test_no_chat_template(policy: LoadedPolicy, folder: Path) -> None:
    policy.tokenizer.chat_template = None
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    policy.tokenizer.save_pretrained(folder)
    with pytest.raises(InputError, match="no chat template; name a Jinja file in the policy's chat_template"):
        load_policy(folder)
    template = "{{ messages[0].content }}"
    assert load_policy(folder, chat_template=template).tokenizer.chat_template == template


def test_no_end_token(folder: Path) -> None:
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({**settings, "eos_token": None}))
    with pytest.raises(InputError, match="no end-of-turn token"):
        load_policy(folder)


def test_stop_tokens_are_those_of_every_place_that_names_some(policy: LoadedPolicy) -> None:
    """config.json, generation_config.json, the tokenizer, and the template's end of turn."""
    tokenizer = policy.tokenizer
    end = tokenizer.convert_tokens_to_ids("<|end|>")
    policy.model.generation_config.eos_token_id, policy.model.config.eos_token_id = 3, [3, 4]
    assert stop_tokens(policy) == {end, 3, 4}
    tokenizer.eos_token = "<|user|>"
    assert stop_tokens(policy) == {end, tokenizer.eos_token_id, 3, 4}


def test_stop_tokens_are_those_of_the_tokenizer_and_the_generation_config(policy: LoadedPolicy) -> None:
    end = policy.tokenizer.eos_token_id
    policy.model.generation_config.eos_token_id = [3, 4]
    assert stop_tokens(policy) == {end, 3, 4}
    policy.model.generation_config.eos_token_id = None
    assert stop_tokens(policy) == {end}


def test_the_hash_depends_on_every_weight(policy: LoadedPolicy) -> None:
    before = weights_hash(policy.model)
    parameter = next(policy.model.parameters())
    with torch.no_grad():
        parameter[0, 0] = torch.nextafter(parameter[0, 0], torch.tensor(torch.inf))
    assert weights_hash(policy.model) != before, "the smallest change of one weight"
    assert weights_hash(policy.model.to(torch.bfloat16)) != before

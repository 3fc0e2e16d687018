"""What the files of a model say before anything loads it: which are missing, its template, its tokens."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from hpt_core.config import Policy
from pipelines.stage.check import Check

TOKENIZER, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"
TEMPLATES = ("chat_template.jinja", "chat_template.json", "additional_chat_templates")


def check_model(what: str, policy: Policy) -> Check:
    """A local folder is looked into; a hub id is not."""
    if policy.model is None:
        return Check(what, "built here")
    faults = []
    folder = Path(policy.model)
    if folder.is_dir():
        faults += _faults_of(folder, policy.chat_template is not None)
    elif policy.model.startswith((".", "/", "raw/", "models/")):
        faults.append(f"there is no folder {folder}; correct `model` in params.yaml")
    if policy.chat_template and not Path(policy.chat_template).is_file():
        faults.append(f"there is no file {policy.chat_template}; correct `chat_template` in params.yaml")
    return Check(what, "a folder" if folder.is_dir() else f"{policy.model} of the hub", errors=faults)


def _faults_of(folder: Path, has_template: bool) -> list[str]:
    faults = []
    if not (folder / "config.json").is_file():
        faults.append(f"{folder} has no config.json")
    if not any(folder.glob("*.safetensors")) and not any(folder.glob("*.bin")):
        faults.append(f"{folder} has no weights (*.safetensors)")
    if not any((folder / name).is_file() for name in (TOKENIZER, "tokenizer.model", "vocab.json")):
        faults.append(f"{folder} has no tokenizer ({TOKENIZER})")
    elif not has_template and not _template_in(folder):
        faults.append(
            f"{folder} has no chat template; name a Jinja file in `chat_template` (conf/chat/plain.jinja is "
            "one), or take the model's instruct version"
        )
    return faults


def _template_in(folder: Path) -> bool:
    if any((folder / name).exists() for name in TEMPLATES):
        return True
    try:
        config = json.loads((folder / TOKENIZER_CONFIG).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return False
    return bool(config.get("chat_template"))


def token_counter(policy: Policy) -> Callable[[str], int] | None:
    """Counts the tokens of a text, without a template; None where the tokenizer is not in a local folder.

    It reads one file, where transformers would take seconds to import.
    """
    file = Path(policy.model or "", TOKENIZER)
    if policy.model is None or not file.is_file():
        return None
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception:  # The library raises Exception itself; the stage that loads the model names the fault.
        return None
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False))

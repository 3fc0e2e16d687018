"""A model is data: no code of its folder runs, and one of the hub is read at a commit that is recorded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hpt_core.errors import InputError
from hpt_core.policy.model import load_policy

REPO = Path(__file__).parents[2]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
RESOLVE = """
from hpt_core.config import Policy
from pipelines.base import commit_of
for revision in (None, "main", "COMMIT"):
    print(commit_of(Policy(model="org/model", revision=revision)))
""".replace("COMMIT", COMMIT)


def test_a_branch_is_resolved_to_the_commit_that_it_is_today(tmp_path: Path) -> None:
    cached = tmp_path / "hub" / "models--org--model"
    snapshot = cached / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(COMMIT)
    ended = subprocess.run(
        [sys.executable, "-c", RESOLVE],
        env={**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(REPO)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stdout.split() == [COMMIT] * 3, ended.stderr


@pytest.mark.parametrize("code", [{"AutoModelForCausalLM": "evil.Model"}, {"AutoConfig": "evil.Config"}])
def test_code_in_a_folder_never_runs(code: dict[str, str], tmp_path: Path) -> None:
    config = {"model_type": "evil", "architectures": ["Model"], "auto_map": code}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'planted')!r}, 'w')")
    with pytest.raises(InputError):
        load_policy(tmp_path)
    assert not (tmp_path / "planted").exists()


def test_weights_that_unpickle_are_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'planted'}",)

    import torch

    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"]})
    )
    torch.save({"model.embed_tokens.weight": Evil()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError):
        load_policy(tmp_path)
    assert not (tmp_path / "planted").exists()


def test_no_module_trusts_remote_code() -> None:
    sources = [*(REPO / "hpt_core").rglob("*.py"), *(REPO / "pipelines").rglob("*.py")]
    assert not [path for path in sources if "trust_remote_code=True" in path.read_text()]

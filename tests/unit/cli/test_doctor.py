"""`hpt doctor` finds what is wrong with a model, says what to do, and goes on with the other checks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from hpt_core.config import RolloutConfig
from hpt_core.policy.model import LoadedPolicy, save_policy
from hpt_core.verifier import sandbox
from pipelines.cli.check_rows import Row, row
from pipelines.cli.doctor import check_sandbox
from pipelines.cli.main import main
from pipelines.cli.model_checks import Examination, Request

ROLLOUT = RolloutConfig(group_size=2, max_prompt_tokens=100, max_new_tokens=16, slots=8)


@pytest.fixture
def folder(policy: LoadedPolicy, tmp_path: Path) -> Path:
    save_policy(policy, tmp_path / "model")
    return tmp_path / "model"


def checks(model: Path, template: str | None = None, rollout: RolloutConfig = ROLLOUT) -> dict[str, Row]:
    rows = list(Examination(Request(str(model), rollout, chat_template=template)).rows())
    assert all("\n" not in row.detail for row in rows)
    assert len({row.check for row in rows}) == len(rows)
    return {row.check: row for row in rows}


def refused(rows: dict[str, Row]) -> list[str]:
    return [row.check for row in rows.values() if row.verdict == "refused"]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_healthy_model(folder: Path, dtype: str) -> None:
    rows = checks(folder, rollout=ROLLOUT.model_copy(update={"dtype": dtype}))
    assert {row.verdict for row in rows.values()} == {"ok"}
    assert f"{dtype}: " in rows["engine hf"].detail and "nats" in rows["engine hf"].detail
    assert "<|end|>" in rows["end tokens"].detail and rows["positions"].detail == "128"
    assert "LlamaForCausalLM" in rows["model and tokenizer load"].detail


def test_the_command_prints_a_table_and_the_status(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert (
        "every weight read" in printed
        and "no network, no writing" in printed
        and printed.rstrip().endswith("usable")
    )
    (folder / "chat_template.jinja").write_text("Hello")
    assert main(["doctor", str(folder)]) == 2
    assert "refuse it" in capsys.readouterr().out


def test_a_row_for_the_verifiers_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    assert row("sandbox", check_sandbox) == Row("sandbox", "ok", "no network, no writing")
    monkeypatch.setattr("pipelines.cli.doctor.ESCAPES", "raise SystemExit('writing is allowed')")
    found = row("sandbox", check_sandbox)
    assert (found.verdict, found.detail) == (
        "warning",
        "a grading process is not confined: writing is allowed",
    )
    monkeypatch.setattr(sandbox, "missing", lambda: ["the network"])
    assert "keeps the network" in row("sandbox", check_sandbox).detail


def test_a_template_that_leaves_the_problem_out_hides_nothing_else(folder: Path) -> None:
    rows = checks(folder, template="{% for m in messages %}Hello{% endfor %}")
    assert refused(rows) == ["template keeps the problem"]
    assert "leaves the problem out" in rows["template keeps the problem"].detail
    assert rows["engine hf"].verdict == rows["LoRA, merged and pushed"].verdict == "ok"


def test_weights_of_other_names_hide_nothing_else(folder: Path) -> None:
    file = folder / "model.safetensors"
    weights = {name.replace("model.layers.1.", "model.layers.7."): w for name, w in load_file(file).items()}
    save_file(weights, file, metadata={"format": "pt"})
    rows = checks(folder)
    assert refused(rows) == ["every weight read from disk"]
    assert "model.layers.1." in rows["every weight read from disk"].detail
    assert rows["engine hf"].verdict == "ok"


def test_a_model_that_does_not_load_still_has_its_template_checked(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"broken")
    rows = checks(folder)
    assert refused(rows) == ["model and tokenizer load"]
    assert rows["engine hf"] == Row("engine hf", "not run", "needs a model that loads")
    assert rows["greedy tokens"].verdict == "not run"
    (gone,) = (name for name in refused(checks(folder.parent / "nowhere" / "else")) if name == "model found")
    assert gone


def test_an_adapter_is_not_loaded_and_has_its_template_checked(folder: Path) -> None:
    """transformers would look for its base model, on the hub as well."""
    (folder / "config.json").unlink()
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "someone/base"}')
    rows = checks(folder)
    assert "merge it into its base model" in rows["a model, not an adapter"].detail
    assert rows["model and tokenizer load"].verdict == rows["engine hf"].verdict == "not run"
    assert rows["template keeps the problem"].verdict == "ok"


def test_an_end_token_that_is_text(folder: Path) -> None:
    """config.json without eos_token_id has the default of its class, whatever the tokenizer is."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "eos_token_id": 40}))
    row = checks(folder)["end tokens"]
    assert row.verdict == "warning" and "(40) is an ordinary token" in row.detail


def test_weights_that_are_not_finite(policy: LoadedPolicy, tmp_path: Path) -> None:
    with torch.no_grad():
        policy.model.model.layers[0].mlp.up_proj.weight[0, 0] = torch.nan
    save_policy(policy, tmp_path / "model")
    rows = checks(tmp_path / "model")
    assert {"weights finite", "engine hf"} <= set(refused(rows))
    assert rows["positions"].verdict == "ok"

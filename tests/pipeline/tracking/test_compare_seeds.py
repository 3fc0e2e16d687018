"""`hpt compare`: pooling over the seeds that MLflow has, and the view of the runs in MLflow."""

from __future__ import annotations

import copy
import json
import math
import subprocess
import webbrowser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from pipelines.cli import main
from pipelines.tracking import dvc_lock
from pipelines.tracking.comparison import seeds as compare_seeds


@pytest.fixture(scope="module")
def three_seeds(reproduced: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy published with seeds 7, 8 and 9; each further seed costs the program's arm one answer in 8."""
    import shutil

    from pipelines.tracking.publish import publish

    root = tmp_path_factory.mktemp("seeds") / "toy"
    shutil.copytree(reproduced, root, symlinks=True)
    path = root / "params.yaml"
    for seed in (7, 8, 9):
        if seed != 7:  # of which it is a copy
            path.write_text(path.read_text().replace(f"seed: {seed - 1}\n", f"seed: {seed}\n"))
            subprocess.run(["dvc", "repro", "-q"], cwd=root, check=True)
        assert publish(root).created == ["program", "human"]
    return root


def printed(root: Path) -> str:
    console = Console(width=120)
    with console.capture() as captured:
        compare_seeds.print_comparison(console, root, 5000)
    return captured.get()


def test_seeds_are_pooled_with_their_own_uncertainty(three_seeds: Path) -> None:
    text = " ".join(printed(three_seeds).split())
    assert "easy: 32 prompts, seeds 7, 8, 9" in text
    # 7, 6 and 5 of 8 answers against 4 are correct on every prompt, so only the seed causes variance.
    differences = np.array([3, 2, 1]) / 8
    reach = stats.t.ppf(0.975, 2) * differences.std(ddof=1) / math.sqrt(3)
    p = stats.ttest_1samp(differences, 0).pvalue
    interval = f"{100 * (0.25 - reach):.1f} to {100 * (0.25 + reach):.1f}".replace("-", "\u2212")
    assert f"program \u2212 human +25.0 {interval} {p:.3f}" in text
    comparison = f"program scores 25.0 points more (95% {interval}"
    assert f"no difference was detected between program and human: {comparison}" in text
    assert "program program 1 75.0% 43.9 to 100.0 +62.5* 31.4 to 93.6" in text
    assert "base \u2013 12.5%" in text


def test_one_seed_shows_what_stage_compare_wrote(
    three_seeds: Path, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = {"difference": 0.375, "ci95": [0.3, 0.45], "p": 0.001, "p_holm": 0.002, "detected": True}
    accuracy = {
        name: {"avg_at_k": a, "ci95": [a - 0.1, a + 0.1], "n_prompts": 32, "truncated": 0.0}
        for name, a in SCORES.items()
    }
    accuracy["base"]["truncated"] = 0.353
    pair = {"a": "program", "b": "human", "verdict": "On easy, program beats human."} | result
    entry = {"accuracy": accuracy, "gain": {"program": result, "human": result}, "pairs": [pair]}
    path = workspace / "metrics/compare.json"
    path.unlink()
    comparison = {"arms": ["program", "human"], "benchmarks": {"easy": entry}, "training": {}}
    path.write_text(json.dumps(comparison))
    assert main.main(["compare"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "easy: 32 prompts, seed 7 alone" in text
    assert "program \u2212 human +37.5* 30.0 to 45.0 0.002" in text
    cut = "On easy, 35.3% of the responses of base were cut off at the token limit"
    assert f"On easy, program beats human. {cut}" in text
    assert "In MLflow, grouped by provenance" in text


SCORES = {"base": 0.125, "program": 0.875, "human": 0.5}


def test_only_runs_that_differ_in_the_seed_alone_are_pooled(three_seeds: Path) -> None:
    lock = dvc_lock.read_lock(three_seeds)
    stage = "train@program"

    def key(changed: dict[str, Any]) -> str:
        return dvc_lock.hash_without_seed(changed, stage, changed[stage])

    other_seed, other_steps, other_code = (copy.deepcopy(lock) for _ in range(3))
    for name in ("curate", stage):
        other_seed[name]["params"]["params.yaml"]["seed"] = 1
    for entry in other_seed.values():
        for part in [*entry["outs"], *(dep for dep in entry["deps"] if dep["path"] != "stages.py")]:
            part["md5"] = "of another seed"
    other_steps[stage]["params"]["params.yaml"]["train"]["steps"] = 4
    other_code["curate"]["deps"][0]["md5"] = "of other code"
    assert key(other_seed) == key(lock)
    assert len({key(lock), key(other_steps), key(other_code)}) == 3
    assert key(lock) != dvc_lock.hash_without_seed(lock, "train@human", lock["train@human"])


def test_view_groups_by_provenance(
    three_seeds: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipelines.tracking.mlflow_store import Store

    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    monkeypatch.chdir(three_seeds)
    assert main.main(["compare", "--open", "--port", "5055"]) == 0
    [address] = opened
    assert address.startswith("http://127.0.0.1:5055/#/experiments/") and address in capsys.readouterr().out
    store = Store(three_seeds, "toy")
    key = address.partition("viewStateShareKey=")[2]
    state = json.loads(store.client.get_experiment(store.experiment).tags[f"mlflow.sharedViewState.{key}"])
    assert state["groupBy"]["groupByKeys"] == [{"mode": "tag", "groupByData": "provenance"}]


def test_seeds_that_were_measured_otherwise_are_left_out(
    three_seeds: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from pipelines.tracking.mlflow_store import Store
    from pipelines.tracking.run_layout import SETTINGS_TAG

    store = Store(three_seeds, "toy")
    [run] = [run for run in store.tagged({"provenance": "human"}) if run.data.params["seed"] == "8"]
    store.client.set_tag(run.info.run_id, SETTINGS_TAG, json.dumps({"easy": {"k": 4, "hash": "b"}}))
    try:
        assert "easy: 32 prompts, seeds 7, 9" in " ".join(printed(three_seeds).split())
        assert "only seeds [7, 9] were evaluated on the same prompts, alike" in caplog.text
    finally:
        store.client.set_tag(run.info.run_id, SETTINGS_TAG, "{}")

"""Every stage of the recipe gsm8k_smoke, cut to a slice, on real problems and with a real policy."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from every_stage import run_every_stage

from hpt_core import tables
from hpt_core.data.problems import prompt_id
from hpt_core.verifier import VerifierPool
from pipelines.params import Params, load_params, recipes

REPO = Path(__file__).resolve().parents[2]
GSM8K = Path(os.environ.get("HPT_GSM8K", REPO.parent / "shared" / "data" / "gsm8k")).resolve()
SMOLLM2 = os.environ.get("HPT_SMOLLM2")
MAKE_SMOLLM2 = REPO.parent / "shared" / "bin" / "smollm2"
ARMS = ("human", "mixed", "teacher")
PROBLEMS, DEV, HELD_OUT, GROUP, STEP = 10, 2, 4, 2, 6
SLICE = [
    f"problems={PROBLEMS}",
    f"heldout_problems={HELD_OUT}",
    f"curate.dev_size={DEV}",
    f"rollout.group_size={GROUP}",
    "rollout.max_new_tokens=24",
    # On a CPU without instructions for bfloat16 a step of the recipe's own bfloat16 takes ten minutes.
    "rollout.dtype=float32",
    "train.autocast=float32",
    "train.steps=1",
    f"train.prompts_per_step={STEP}",
    "train.microbatch_tokens=512",
    "train.checkpoint_every=1",
    "train.dev_every=1",
    "evaluate.samples=1",
    "evaluate.bootstrap=200",
]

pytestmark = [
    pytest.mark.skipif(
        not (GSM8K / "model_solutions.jsonl").is_file(),
        reason=f"no GSM8K at {GSM8K}: set HPT_GSM8K to a folder with train.jsonl and model_solutions.jsonl",
    ),
    # The first test pays for all stages, with three arms of 135 M parameters.
    pytest.mark.slow,
    pytest.mark.timeout(1800),
]


@dataclass(frozen=True)
class Results:
    """The folder in which the stages ran, and their parameters."""

    root: Path
    params: Params

    def rows(self, path: str, schema: Any) -> list[dict[str, Any]]:
        return list(tables.read(self.root / path, schema))

    def ids(self, split: str) -> set[str]:
        return {
            prompt.prompt_id for prompt in tables.read_prompts(self.root / f"data/prompts/{split}.parquet")
        }


@pytest.fixture(scope="module")
def policy(pytestconfig: pytest.Config) -> Path:
    """A folder with SmolLM2-135M-Instruct, made once and kept in pytest's cache."""
    if SMOLLM2:
        return Path(SMOLLM2).resolve()
    if not MAKE_SMOLLM2.is_file():
        pytest.skip("no SmolLM2: set HPT_SMOLLM2 to a transformers folder of SmolLM2-135M-Instruct")
    folder = Path(pytestconfig.cache.mkdir("smollm2"))  # type: ignore[union-attr]
    process = subprocess.run(
        [sys.executable, str(MAKE_SMOLLM2), str(folder)], capture_output=True, text=True, timeout=300
    )
    if process.returncode:
        pytest.skip(f"no SmolLM2: {MAKE_SMOLLM2.name} failed: {process.stderr.strip().splitlines()[-1]}")
    return folder


@pytest.fixture(scope="module")
def results(policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Results]:
    root = tmp_path_factory.mktemp("gsm8k")
    shutil.copytree(REPO / "conf", root / "conf")
    recipes.write(root, "gsm8k_smoke", [f"gsm8k={GSM8K}", f"model={policy}", *SLICE])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        params = load_params()
        run_every_stage(params)
        yield Results(root, params)
    # pytest keeps the folder of several runs, and each model has half a gigabyte.
    shutil.rmtree(root / "models")


@pytest.fixture(scope="module")
def claims() -> dict[str, bool]:
    """prompt_id -> whether OpenAI's file marks the teacher's solution right, for the slice's problems."""
    with (GSM8K / "model_solutions.jsonl").open(encoding="utf-8") as file:
        rows = [json.loads(line) for _, line in zip(range(PROBLEMS), file, strict=False)]
    return {prompt_id(row["question"]): row["175b_verification"]["is_correct"] for row in rows}


def test_prompts_are_those_of_the_solutions_and_evaluation_is_apart(
    results: Results, claims: dict[str, bool]
) -> None:
    training, dev = results.ids("train"), results.ids("dev")
    assert training | dev == set(claims)
    assert not training & dev
    held_out = results.rows("data/prompts/benchmarks.parquet", tables.BENCHMARKS)
    assert len(held_out) == HELD_OUT
    assert {row["benchmark"] for row in held_out} == {"gsm8k_heldout"}
    assert not {row["prompt_id"] for row in held_out} & (training | dev)
    assert {row["license"] for row in held_out} == {"MIT"}


def test_people_solved_all_prompts_and_the_teacher_those_that_are_marked_right(
    results: Results, claims: dict[str, bool]
) -> None:
    trajectories = tables.read_experts(results.root / "data/experts/experts.parquet")
    by_kind = {kind: [t for t in trajectories if t.kind == kind] for kind in ("human", "teacher")}
    training = results.ids("train")
    right = {name for name in training if claims[name]}
    assert 0 < len(right) < len(training), "the slice must have solutions of both sorts"
    assert {t.prompt_id for t in by_kind["human"]} == training
    assert {t.prompt_id for t in by_kind["teacher"]} == right
    assert len(trajectories) == len(training) + len(right)
    assert {t.author for t in by_kind["teacher"]} == {"175b_verification (OpenAI, arXiv 2110.14168)"}
    assert {t.license for t in trajectories} == {"MIT"}
    report = json.loads((results.root / "data/experts/report.json").read_text())
    assert report["openai_175b"]["dropped"]["marked_wrong_by_source"] == len(training) - len(right)


def test_demonstrations_pass_the_verifier_as_they_are_trained_on(results: Results) -> None:
    answers = {p.prompt_id: p for p in tables.read_prompts(results.root / "data/prompts/train.parquet")}
    trajectories = tables.read_experts(results.root / "data/experts/experts.parquet")
    with VerifierPool(workers=1, timeout_s=10.0) as verifier:
        verdicts = verifier.verify(
            [
                (t.response, answers[t.prompt_id].answer, answers[t.prompt_id].answer_kind)
                for t in trajectories
            ]
        )
    assert all(verdict.correct for verdict in verdicts)
    assert all("\\boxed{" in t.response and "<<" not in t.response for t in trajectories)


def test_the_base_policy_was_sampled_on_every_training_prompt(results: Results) -> None:
    rows = results.rows("data/rollouts/base/rollouts.parquet", tables.ROLLOUTS)
    assert Counter(row["prompt_id"] for row in rows) == dict.fromkeys(results.ids("train"), GROUP)
    assert all(len(row["token_ids"]) == len(row["logprobs"]) <= 24 for row in rows)
    assert any(row["response"].strip() for row in rows)


def test_arms_meet_the_same_prompts_and_differ_by_their_experts(
    results: Results, claims: dict[str, bool]
) -> None:
    gates = {arm: results.rows(f"data/rollouts/{arm}/gate.parquet", tables.GATE) for arm in ARMS}
    met = {arm: [row["prompt_id"] for row in rows] for arm, rows in gates.items()}
    assert met["human"] == met["teacher"] == met["mixed"]
    assert len(set(met["human"])) == STEP
    for arm in ARMS:
        sampled = results.rows(f"data/rollouts/{arm}/rollouts.parquet", tables.TRAINING_ROLLOUTS)
        assert Counter(row["prompt_id"] for row in sampled) == dict.fromkeys(met[arm], GROUP)
    assert {row["kind"] for row in gates["human"]} == {"human"}
    for row in gates["teacher"]:
        # Where the teacher was wrong, the prompt has no expert and is left to RL.
        assert row["kind"] == ("teacher" if claims[row["prompt_id"]] else None)
        assert row["route"] != "sft" or claims[row["prompt_id"]]
    for row in gates["mixed"]:
        assert row["kind"] in (("human", "teacher") if claims[row["prompt_id"]] else ("human",))


@pytest.mark.parametrize("arm", ARMS)
def test_the_log_counts_what_the_gate_decided(arm: str, results: Results) -> None:
    routes = Counter(row["route"] for row in results.rows(f"data/rollouts/{arm}/gate.parquet", tables.GATE))
    (logged,) = map(json.loads, (results.root / f"metrics/train/{arm}.jsonl").read_text().splitlines())
    assert {name: logged[f"gate/{name}"] for name in ("sft", "rl", "equal", "no_expert")} == {
        name: routes[name] for name in ("sft", "rl", "equal", "no_expert")
    }
    assert 0 <= logged["dev/accuracy"] <= 1
    # The base policy solves nothing in 24 tokens, so the gate chooses demonstrations.
    assert routes["sft"] > 0
    weights = [results.root / f"models/{name}/model.safetensors" for name in (arm, "base")]
    assert weights[0].read_bytes() != weights[1].read_bytes()


def test_metrics_and_report(results: Results) -> None:
    for name in ("base", *ARMS):
        metrics = json.loads((results.root / f"metrics/eval/{name}.json").read_text())["gsm8k_heldout"]
        low, high = metrics["ci95"]
        assert 0 <= low <= metrics["avg_at_k"] <= high <= 1
        assert metrics["avg_at_k"] <= metrics["pass_at_k"] <= 1
        assert (metrics["n_prompts"], metrics["k"]) == (HELD_OUT, 1)
    page = (results.root / "reports/provenance.html").read_text(encoding="utf-8")
    assert all(arm in page for arm in ARMS)
    comparison = json.loads((results.root / "metrics/compare.json").read_text())
    assert sorted(comparison["arms"]) == sorted(ARMS)

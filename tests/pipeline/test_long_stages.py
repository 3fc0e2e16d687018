"""Stages that take hours on real models: killed at any moment they go on, and end with the same bytes."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from every_stage import run_stage
from slow_grading import SECONDS, SLOW_GOLD, grade_slowly

from hpt_core import tables
from hpt_core.config import PromptSource
from hpt_core.errors import InputError, TrainingError, VerifierError
from hpt_core.gate import Switch
from hpt_core.policy.model import load_policy, save_policy
from hpt_core.rollout.engines.hf import HFEngine
from hpt_core.types import Verdict
from hpt_core.verifier import VerifierPool
from pipelines import evaluate, rollouts
from pipelines.params import Params, load_params
from pipelines.stage import regrade

REPO = Path(__file__).parents[2]
PARAMS = """
seed: 3
threads: 1
curate:
  train: [{name: sums, file: raw/data/sums.jsonl, answer_kind: exact, license: mit}]
  dev_size: 1
  max_problem_chars: 200
  benchmarks:
    one: [{name: one, file: raw/data/one.jsonl, answer_kind: exact, license: mit}]
    two: [{name: two, file: raw/data/two.jsonl, answer_kind: exact, license: mit}]
base:
  warm_start: &small
    hidden_size: 48
    layers: 2
    heads: 2
    max_positions: 192
    steps: 120
    batch_size: 16
    optimizer: {name: muon, lr: 0.005, matrix_lr: 0.02}
    sources: [{name: lessons, reasoning_gym: chain_sum, size: 300, seed: 5000, options:
      {min_terms: 2, max_terms: 2, min_digits: 1, max_digits: 1}}]
teacher: {license: mit, samples: 2, max_new_tokens: 24, policy: {warm_start: *small}}
rollout: {group_size: 4, max_prompt_tokens: 120, max_new_tokens: 24, slots: 16}
experts:
  max_tokens: 60
  licenses: [mit]
  sources: [{name: people, kind: human, license: mit, file: raw/data/people.jsonl}]
arms: {human: {mix: {human: 1.0}}}
train:
  steps: 1
  prompts_per_step: 4
  gate: {gamma: 0.25}
  optimizer: {lr: 0.001}
evaluate: {samples: 4, bootstrap: 200}
verifier: {}
tracking: {experiment: e, registered_model: m}
schedule: {cron: "0 2 * * *", timezone: UTC}
"""
OUTPUTS = {
    "rollouts": ["data/rollouts/base"],
    "evaluate_base": ["data/eval/base.parquet", "metrics/eval/base.json"],
    "evaluate@human": ["data/eval/human.parquet", "metrics/eval/human.json"],
}
KEPT = {
    "rollouts": "checkpoints/rollouts@base",
    "evaluate_base": "checkpoints/evaluate@base",
    "evaluate@human": "checkpoints/evaluate@human",
}
COMMAND = {
    "rollouts": ["pipelines.rollouts"],
    "evaluate_base": ["pipelines.evaluate", "base"],
    "evaluate@human": ["pipelines.evaluate", "human"],
}
# Runs a stage as its command does, and dies by SIGKILL at the moment that argv[1] names.
SCRIPT = """
import os, runpy, shutil, signal, sys
from hpt_core.rollout.engines.hf import HFEngine

when = sys.argv.pop(1)
count = {"generate": 0, "move": 0}

def moment(name):
    count[name] += 1
    if when == f"{name} {count[name]}":
        os.kill(os.getpid(), signal.SIGKILL)

def generate(*given, real=HFEngine.generate):
    done = real(*given)
    moment("generate")
    return done

def replace(source, target, real=os.replace):
    if str(target).endswith(".parquet"):
        whole = open(source, "rb").read()
        open(source, "wb").write(whole[: len(whole) // 2])
        moment("move")
        open(source, "wb").write(whole)
    real(source, target)

def rmtree(path, real=shutil.rmtree):
    if when == "discard":
        next(path.glob("*/000000.parquet")).unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    real(path)

HFEngine.generate, os.replace, shutil.rmtree = generate, replace, rmtree
runpy.run_module(sys.argv.pop(1), run_name="__main__")
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prompts and a policy that is right now and then; the arm's is the same with its tokenizer."""
    root = tmp_path_factory.mktemp("made")
    sums = [
        {
            "problem": f"State the final answer to the following arithmetic problem: {a} + {b} =",
            "answer": f"{a + b}",
        }
        for a in range(1, 7)
        for b in range(1, 7)
    ]
    people = [{"problem": row["problem"], "response": f"\\boxed{{{row['answer']}}}"} for row in sums[:6]]
    files = {"sums": sums[:20], "one": sums[20:26], "two": sums[26:35], "people": people}
    (root / "raw/data").mkdir(parents=True)
    for name, rows in files.items():
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (root / f"raw/data/{name}.jsonl").write_text(lines)
    (root / "params.yaml").write_text(PARAMS)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        params = load_params()
        torch.set_num_threads(params.threads)
        for stage in ("curate", "base"):
            run_stage(params, stage)
    shutil.copytree(root / "models/base", root / "models/human")
    return root


@pytest.fixture
def project(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "project"
    shutil.copytree(made, root)
    monkeypatch.chdir(root)
    return root


@pytest.fixture(scope="module")
def expected(made: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """Hashes of what uninterrupted runs leave, by stage."""
    root = tmp_path_factory.mktemp("uninterrupted")
    shutil.copytree(made, root, dirs_exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for stage in OUTPUTS:
            run_stage(load_params(), stage)
    return {stage: hashes(root, stage) for stage in OUTPUTS}


def hashes(root: Path, stage: str) -> dict[str, str]:
    files = [
        file
        for out in OUTPUTS[stage]
        for file in ([root / out] if (root / out).is_file() else sorted((root / out).iterdir()))
    ]
    return {str(file.relative_to(root)): sha256(file.read_bytes()).hexdigest() for file in files}


def start(stage: str, when: str) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SCRIPT, when, *COMMAND[stage]]
    return subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)


def kill(stage: str, when: str) -> None:
    process = start(stage, when)
    _, said = process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL, said


def remove_outputs(stage: str) -> None:
    """As DVC does before it runs a stage."""
    for out in map(Path, OUTPUTS[stage]):
        shutil.rmtree(out) if out.is_dir() else out.unlink(missing_ok=True)


def shards(stage: str) -> list[str]:
    return sorted(path.name for path in Path(KEPT[stage]).glob("*/[0-9]*.parquet"))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many responses each call of the engine was for."""
    calls: list[int] = []

    def generate(
        self: HFEngine, prompts: Any, *given: Any, real: Callable[..., Any] = HFEngine.generate
    ) -> Any:
        calls.append(len(prompts))
        return real(self, prompts, *given)

    monkeypatch.setattr(HFEngine, "generate", generate)
    return calls


def again(stage: str, params: Params | None = None) -> dict[str, str]:
    """What the stage leaves when it is run again."""
    remove_outputs(stage)
    run_stage(params or load_params(), stage)
    assert not Path(KEPT[stage]).exists(), "shards go once the outputs stand"
    return hashes(Path(), stage)


# 19 prompts in parts of 4 are 5 calls; benchmarks of 6 and 9 are 2 and 3.
@pytest.mark.parametrize("stage", ["rollouts", "evaluate@human"])
def test_killed_twice_and_run_again(
    project: Path, expected: dict[str, dict[str, str]], asked: list[int], stage: str
) -> None:
    kill(stage, "generate 3")
    assert shards(stage) == ["000000.parquet", "000001.parquet"], "the third part was in work"
    kill(stage, "move 2")  # half-way through the second shard of this process
    assert shards(stage) == ["000000.parquet", "000001.parquet", "000002.parquet"]
    assert again(stage) == expected[stage]
    assert len(asked) == 2


@pytest.mark.parametrize(("stage", "when"), [("rollouts", "move 6"), ("evaluate_base", "discard")])
def test_killed_over_the_outputs(
    project: Path, expected: dict[str, dict[str, str]], asked: list[int], stage: str, when: str
) -> None:
    kill(stage, when)
    assert again(stage) == expected[stage]
    assert len(asked) == (1 if when == "discard" else 0), "the shard that was removed, and no other"


@pytest.mark.parametrize("stage", ["rollouts", "evaluate_base"])
def test_killed_from_outside(
    project: Path, expected: dict[str, dict[str, str]], asked: list[int], stage: str
) -> None:
    process = start(stage, "never")
    deadline = time.monotonic() + 200
    while not shards(stage) and time.monotonic() < deadline:
        time.sleep(0.001)
    process.kill()
    process.communicate()
    done = len(shards(stage))
    assert done > 0
    assert again(stage) == expected[stage]
    assert len(asked) == 5 - done


def break_off(stage: str) -> None:
    """In the fourth of five parts, in this process."""
    left = iter(range(3))

    def generate(self: HFEngine, *given: Any, real: Callable[..., Any] = HFEngine.generate) -> Any:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return real(self, *given)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(HFEngine, "generate", generate)
        run_stage(load_params(), stage)
    assert len(shards(stage)) == 3


@pytest.mark.parametrize("stage", ["rollouts", "evaluate_base"])
def test_another_seed_reuses_nothing(
    project: Path,
    expected: dict[str, dict[str, str]],
    asked: list[int],
    caplog: pytest.LogCaptureFixture,
    stage: str,
) -> None:
    break_off(stage)
    asked.clear()
    other = load_params().model_copy(update={"seed": 4})
    left = again(stage, other)
    assert len(asked) == 5
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warned) == 1 and "a run with other seed are not used" in warned[0]
    assert left == again(stage, other), "as an uninterrupted run of that seed"
    assert left != expected[stage]


def test_another_chat_template_reuses_nothing(
    project: Path, expected: dict[str, dict[str, str]], asked: list[int]
) -> None:
    break_off("rollouts")
    asked.clear()
    policy = load_policy(Path("models/base"))
    assert isinstance(policy.tokenizer.chat_template, str)
    policy.tokenizer.chat_template = "Add up. " + policy.tokenizer.chat_template
    save_policy(policy, Path("models/base"))
    assert again("rollouts") != expected["rollouts"]
    assert len(asked) == 5, "the weights are the same, and what they are asked is not"


class Slow:
    """A verifier that has no word on what it is asked from the third call on."""

    def __init__(self) -> None:
        self.calls = 0

    def __enter__(self) -> Slow:
        return self

    def __exit__(self, *_: object) -> None: ...

    def verify(self, items: list[tuple[str, str, str]]) -> list[Verdict]:
        self.calls += 1
        with VerifierPool(1, 5.0) as pool:
            judged = pool.verify(items)
        return judged if self.calls < 3 else [Verdict(False, None, "slow") for _ in items]


@pytest.fixture
def pools(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Time-outs of the verifiers that evaluation builds; all take SECONDS over answers to one prompt."""
    built: list[float] = []

    def build(params: Params) -> VerifierPool:
        built.append(params.verifier.timeout_s)
        return VerifierPool(2, params.verifier.timeout_s, grade_slowly)

    for module in (evaluate, regrade):
        monkeypatch.setattr(module, "build_verifier", build)
    return built


def with_timeout(seconds: float) -> Params:
    params = load_params()
    verifier = params.verifier.model_copy(update={"timeout_s": seconds})
    return params.model_copy(update={"verifier": verifier})


def test_a_response_over_time_is_judged_again_with_ten_times_as_much(
    project: Path, expected: dict[str, dict[str, str]], asked: list[int], pools: list[float]
) -> None:
    assert again("evaluate_base", with_timeout(SECONDS / 2)) == expected["evaluate_base"]
    assert pools == [SECONDS / 2, SECONDS * 5]
    assert len(asked) == 5


def test_evaluation_ends_without_a_verdict_only_when_all_else_is_done(
    project: Path, expected: dict[str, dict[str, str]], asked: list[int], pools: list[float]
) -> None:
    slow = [
        (benchmark, prompt.prompt_id)
        for benchmark, prompts in tables.read_benchmarks(evaluate.BENCHMARKS).items()
        for prompt in prompts
        if prompt.answer == SLOW_GOLD
    ]
    [(benchmark, prompt_id)] = slow
    with pytest.raises(VerifierError) as caught:
        run_stage(with_timeout(SECONDS / 20), "evaluate_base")
    said = str(caught.value)
    for sample in range(4):
        place = f"benchmark {benchmark}, prompt {prompt_id}, sample {sample}: grading took over 2 s; raise"
        assert place in said
    assert "raise verifier.timeout_s" in said.lower() and "generates nothing" in said
    assert len(shards("evaluate_base")) == len(asked) == 5
    assert not Path("metrics/eval/base.json").exists() and not Path("data/eval/base.parquet").exists()
    kept = [row for path in Path(KEPT["evaluate_base"]).glob("*/[0-9]*.parquet") for row in tables.read(path)]
    assert len(kept) == 4 * 15 and all(row["response"] for row in kept)
    silent = {(row["benchmark"], row["prompt_id"]) for row in kept if row["no_verdict"]}
    assert silent == {(benchmark, prompt_id)}
    asked.clear()
    assert again("evaluate_base", with_timeout(SECONDS * 2)) == expected["evaluate_base"]
    assert asked == [], "nothing is generated anew"


def test_more_failures_than_an_error_can_name(
    project: Path, asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow()
    for module in (evaluate, regrade):
        monkeypatch.setattr(module, "build_verifier", lambda params: slow)
    with pytest.raises(
        VerifierError, match=r"(?s)^36 of the responses .*benchmark two.*: slow\nand 31 more$"
    ):
        run_stage(load_params(), "evaluate_base")
    assert len(asked) == 5


def with_benchmarks(benchmarks: dict[str, str], samples: object) -> Params:
    """Parameters whose benchmarks are copies of those of the registry, `benchmarks` is ours -> theirs."""
    params = load_params()
    sources = {
        name: [PromptSource(name=name, benchmark=published, file=f"raw/data/{name}.jsonl")]
        for name, published in benchmarks.items()
    }
    curate = params.curate.model_copy(update={"benchmarks": sources})
    config = params.evaluate.model_copy(update={"samples": samples})
    return params.model_copy(update={"curate": curate, "evaluate": config})


@pytest.mark.parametrize(
    ("samples", "expected"), [({"one": 3, "two": 1}, {"one": 3, "two": 1}), (None, {"one": 32, "two": 1})]
)
def test_each_benchmark_has_its_number_of_samples(
    project: Path, caplog: pytest.LogCaptureFixture, samples: object, expected: dict[str, int]
) -> None:
    params = with_benchmarks({"one": "aime24", "two": "gsm8k"}, samples)
    with caplog.at_level(logging.INFO):
        run_stage(params, "evaluate_base")
    metrics = json.loads(Path("metrics/eval/base.json").read_text())
    rows = tables.read(Path("data/eval/base.parquet"), tables.EVALUATION)
    assert {name: entry["k"] for name, entry in metrics.items()} == expected
    for name, entry in metrics.items():
        mine = [row for row in rows if row["benchmark"] == name]
        assert len(mine) == entry["n_prompts"] * expected[name]
        assert entry["pass_curve"][-1]["k"] == expected[name]
    theirs = {"k": 32, "temperature": 0.6, "top_p": 0.95}
    assert metrics["one"]["published"] == {"aime24": theirs}
    assert metrics["two"]["published"] == {"gsm8k": theirs | {"k": 1}}
    assert (metrics["one"]["as_published"], metrics["two"]["as_published"]) == (samples is None, True)
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    ours = f"one is asked with {theirs | {'k': 3}}, in published results on aime24 with {theirs}"
    assert said == ([ours] if samples else [])


def test_a_benchmark_of_our_own_is_compared_with_nothing_published(project: Path) -> None:
    run_stage(load_params(), "evaluate_base")
    metrics = json.loads(Path("metrics/eval/base.json").read_text())
    assert metrics.keys() == {"one", "two"}
    assert not any("published" in key for entry in metrics.values() for key in entry)


def test_benchmarks_of_another_curation_are_refused(project: Path) -> None:
    with pytest.raises(
        InputError, match=r"benchmarks\.parquet has \['one', 'two'\], and .*\['one'\].*repro curate"
    ):
        run_stage(with_benchmarks({"one": "aime24"}, 4), "evaluate_base")
    assert not Path(KEPT["evaluate_base"]).exists()


def test_rollouts_without_a_verdict_are_judged_anew_with_a_longer_time_out(
    project: Path, expected: dict[str, dict[str, str]], asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        slow = Slow()
        patch.setattr(rollouts, "build_verifier", lambda params: slow)
        patch.setattr(rollouts.Shards, "discard", lambda self: None)
        run_stage(load_params(), "rollouts")
    asked.clear()
    longer = load_params()
    longer = longer.model_copy(update={"verifier": longer.verifier.model_copy(update={"timeout_s": 9.0})})
    assert again("rollouts", longer) == expected["rollouts"]
    assert len(asked) == 5


def test_the_forecast_is_of_an_epoch(project: Path) -> None:
    run_stage(load_params(), "rollouts")
    said = json.loads(Path("data/rollouts/base/forecast.json").read_text())
    drawn = tables.read(Path("data/rollouts/base/rollouts.parquet"))
    rates = tables.read(Path("data/rollouts/base/pass_rates.parquet"))
    lengths = {
        name: [len(r["token_ids"]) for r in drawn if r["prompt_id"] == name] for name in prompt_ids(rates)
    }
    assert said["rollout_tokens_per_epoch"] == sum(len(row["token_ids"]) for row in drawn)
    assert said["tokens_per_prompt"] == pytest.approx(said["rollout_tokens_per_epoch"] / len(rates))
    right = [len(row["token_ids"]) for row in drawn if row["reward"] == 1]
    assert 0 < len(right) < len(drawn), "the case must have both"
    for solved in range(4):
        gamma = f"{solved}/4"
        to_sft = [row for row in rates if row["solved"] <= solved]
        to_rl = [row for row in rates if solved < row["solved"] < 4]
        shares = said["gamma"][gamma]
        assert shares["sft"] == len(to_sft) / len(rates) and shares["rl"] == len(to_rl) / len(rates)
        assert said["training_tokens_per_epoch"][gamma] == {
            "rl": sum(sum(lengths[row["prompt_id"]]) for row in to_rl),
            "sft": round(len(to_sft) * sum(right) / len(right)),
        }


def prompt_ids(rows: list[dict[str, Any]]) -> set[str]:
    return {row["prompt_id"] for row in rows}


def test_the_experts_report_says_which_demonstrations_are_missing(project: Path) -> None:
    for stage in ("rollouts", "teacher", "experts"):
        run_stage(load_params(), stage)
    report = json.loads(Path("data/experts/report.json").read_text())
    trajectories = tables.read_experts(Path("data/experts/experts.parquet"))
    rates = tables.read(Path("data/rollouts/base/pass_rates.parquet"))
    assert set(report) == {"people", "teacher"}

    def without(has: set[str]) -> dict[str, int]:
        return {
            f"{solved}/4": sum(
                Switch(solved / 4).route(row["pass_rate"], False, row["prompt_id"] in has) == "no_expert"
                for row in rates
            )
            for solved in range(4)
        }

    everyone = {t.prompt_id for t in trajectories}
    for name, counts in report.items():
        assert counts["without_expert"] == without({t.prompt_id for t in trajectories if t.source == name})
        assert counts["without_any_expert"] == without(everyone)
    assert sum(report["teacher"]["without_expert"].values()) > 0, "the case must have some"


@pytest.mark.parametrize("temperature", [0.0, 0.6])
def test_a_policy_of_nan_weights_is_an_error(project: Path, temperature: float) -> None:
    policy = load_policy(Path("models/base"))
    with torch.no_grad():
        policy.model.get_output_embeddings().weight[3, 3] = torch.nan
    save_policy(policy, Path("models/base"))
    params = load_params()
    params = params.model_copy(
        update={"evaluate": params.evaluate.model_copy(update={"temperature": temperature})}
    )
    with pytest.raises(
        TrainingError, match=r"1 of its weights are not finite \(.* first\); make the model anew"
    ):
        run_stage(params, "evaluate_base")


def test_activations_that_overflow_are_an_error(project: Path) -> None:
    policy = load_policy(Path("models/base"))
    with torch.no_grad():
        policy.model.model.norm.weight.fill_(1e38)
    save_policy(policy, Path("models/base"))
    with pytest.raises(
        TrainingError, match=r"its weights finite: it overflows in torch.float32; set rollout.d"
    ):
        run_stage(load_params(), "rollouts")

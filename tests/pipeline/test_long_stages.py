"""Stages that take hours on real models resume after a kill at any moment, with the same outputs."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from every_stage import run_stage
from slow_grading import SECONDS, SLOW_GOLD, grade_slowly

from hpt_core import tables
from hpt_core.config import PromptSource, Sampling
from hpt_core.errors import InputError, VerifierError
from hpt_core.evaluation import differing_settings
from hpt_core.policy.model import load_policy, save_policy
from hpt_core.rollout.engine_check import NEW_TOKENS
from hpt_core.rollout.engines.decoding import WAYS, Decoder
from hpt_core.rollout.engines.hf import HFEngine
from hpt_core.types import Verdict
from hpt_core.verifier import VerifierPool
from pipelines import evaluate, rollouts
from pipelines.params import Params, load_params
from pipelines.paths import BENCHMARK_PROMPTS
from pipelines.stage import evaluation_settings, regrade

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
SHARDS = {
    "rollouts": "checkpoints/rollouts@base",
    "evaluate_base": "checkpoints/evaluate@base",
    "evaluate@human": "checkpoints/evaluate@human",
}
COMMAND = {
    "rollouts": ["pipelines.rollouts"],
    "evaluate_base": ["pipelines.evaluate", "base"],
    "evaluate@human": ["pipelines.evaluate", "human"],
}
# Runs a stage as its command does, and kills the process at the moment that argv[1] names.
SCRIPT = """
import os, runpy, shutil, signal, sys
from hpt_core.rollout.engine_check import NEW_TOKENS
from hpt_core.rollout.engines.hf import HFEngine

when = sys.argv.pop(1)
count = {"generate": 0, "move": 0}

def moment(name):
    count[name] += 1
    if when == f"{name} {count[name]}":
        os.kill(os.getpid(), signal.SIGKILL)

def generate(*arguments, real=HFEngine.generate):
    completions = real(*arguments)
    if arguments[3].max_new_tokens != NEW_TOKENS:  # not the check of the engine
        moment("generate")
    return completions

def replace(source, target, real=os.replace):
    if str(target).endswith(".parquet"):
        content = open(source, "rb").read()
        open(source, "wb").write(content[: len(content) // 2])
        moment("move")
        open(source, "wb").write(content)
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
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prompts, and a base policy that solves some of them; the arm's policy is a copy of it."""
    root = tmp_path_factory.mktemp("prepared")
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
def project(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "project"
    shutil.copytree(prepared, root)
    monkeypatch.chdir(root)
    return root


@pytest.fixture(scope="module")
def expected(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """Hashes of the outputs of uninterrupted runs, by stage."""
    root = tmp_path_factory.mktemp("uninterrupted")
    shutil.copytree(prepared, root, dirs_exist_ok=True)
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
    _, output = process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL, output


def remove_outputs(stage: str) -> None:
    """As DVC does before it runs a stage."""
    for out in map(Path, OUTPUTS[stage]):
        shutil.rmtree(out) if out.is_dir() else out.unlink(missing_ok=True)


def shards(stage: str) -> list[str]:
    return sorted(path.name for path in Path(SHARDS[stage]).glob("*/[0-9]*.parquet"))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of responses that each call of the engine requests, apart from those that check it."""
    calls: list[int] = []

    def generate(
        self: HFEngine, prompts: Any, seeds: Any, sampling: Sampling, real: Any = HFEngine.generate
    ) -> Any:
        if sampling.max_new_tokens != NEW_TOKENS:
            calls.append(len(prompts))
        return real(self, prompts, seeds, sampling)

    monkeypatch.setattr(HFEngine, "generate", generate)
    return calls


def again(stage: str, params: Params | None = None) -> dict[str, str]:
    """Run the stage again and hash its outputs."""
    remove_outputs(stage)
    run_stage(params or load_params(), stage)
    assert not Path(SHARDS[stage]).exists(), "the shards are removed once the outputs are complete"
    return hashes(Path(), stage)


# 19 prompts in parts of 4 are 5 calls; benchmarks of 6 and 9 are 2 and 3.
@pytest.mark.slow
@pytest.mark.parametrize("stage", ["rollouts", "evaluate@human"])
def test_a_stage_that_was_killed_twice_resumes(
    project: Path, expected: dict[str, dict[str, str]], calls: list[int], stage: str
) -> None:
    kill(stage, "generate 3")
    assert shards(stage) == ["000000.parquet", "000001.parquet"], "the third part was not finished"
    kill(stage, "move 2")  # While the second shard of this process is half written.
    assert shards(stage) == ["000000.parquet", "000001.parquet", "000002.parquet"]
    assert again(stage) == expected[stage]
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("stage", "when"),
    [pytest.param("rollouts", "move 6", marks=pytest.mark.slow), ("evaluate_base", "discard")],
)
def test_a_stage_that_was_killed_while_it_wrote_outputs_resumes(
    project: Path, expected: dict[str, dict[str, str]], calls: list[int], stage: str, when: str
) -> None:
    kill(stage, when)
    assert again(stage) == expected[stage]
    assert len(calls) == (1 if when == "discard" else 0), "the shard that was removed, and no other"


@pytest.mark.parametrize("stage", ["rollouts", pytest.param("evaluate_base", marks=pytest.mark.slow)])
def test_a_stage_that_was_killed_from_outside_resumes(
    project: Path, expected: dict[str, dict[str, str]], calls: list[int], stage: str
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
    assert len(calls) == 5 - done


def interrupt(stage: str) -> None:
    """Interrupt the stage, in this process, in the fourth of five parts."""
    remaining = iter(range(3))

    def generate(
        self: HFEngine, prompts: Any, seeds: Any, sampling: Sampling, real: Any = HFEngine.generate
    ) -> Any:
        if sampling.max_new_tokens != NEW_TOKENS and next(remaining, None) is None:
            raise KeyboardInterrupt
        return real(self, prompts, seeds, sampling)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(HFEngine, "generate", generate)
        run_stage(load_params(), stage)
    assert len(shards(stage)) == 3


@pytest.mark.parametrize("stage", ["rollouts", "evaluate_base"])
def test_a_stage_ends_before_it_samples_another_policy(
    project: Path, calls: list[int], monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    """As an engine would that ignores its cache."""

    def extend(self: Decoder, tokens: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(input_ids=tokens[:, None], use_cache=False).logits
        return logits[:, -1]

    monkeypatch.setattr("hpt_core.rollout.engines.hf.find_way", lambda *_: WAYS[0])
    monkeypatch.setattr(Decoder, "extend", extend)
    with pytest.raises(
        InputError, match=r"rollout\.engine hf in float32 samples another policy .*hpt doctor"
    ):
        run_stage(load_params(), stage)
    assert calls == [] and not Path(SHARDS[stage]).exists()


@pytest.mark.parametrize("stage", [pytest.param("rollouts", marks=pytest.mark.slow), "evaluate_base"])
def test_another_seed_reuses_nothing(
    project: Path,
    expected: dict[str, dict[str, str]],
    calls: list[int],
    caplog: pytest.LogCaptureFixture,
    stage: str,
) -> None:
    interrupt(stage)
    calls.clear()
    other = load_params().model_copy(update={"seed": 4})
    outputs = again(stage, other)
    assert len(calls) == 5
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warned) == 1 and "a run with other seed are not used" in warned[0]
    assert outputs == again(stage, other), "as an uninterrupted run of that seed"
    assert outputs != expected[stage]


def test_another_chat_template_reuses_nothing(
    project: Path, expected: dict[str, dict[str, str]], calls: list[int]
) -> None:
    interrupt("rollouts")
    calls.clear()
    policy = load_policy(Path("models/base"))
    assert isinstance(policy.tokenizer.chat_template, str)
    policy.tokenizer.chat_template = "Add up. " + policy.tokenizer.chat_template
    save_policy(policy, Path("models/base"))
    assert again("rollouts") != expected["rollouts"]
    assert len(calls) == 5, "the weights are the same, and their prompts are not"


class Slow:
    """A verifier that gives no verdict from its third call on."""

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
    """Slow verifiers for evaluation, which take SECONDS for one of the prompts; their time limits."""
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


@pytest.mark.slow
def test_a_response_over_the_time_limit_is_graded_again_with_ten_times_as_much(
    project: Path, expected: dict[str, dict[str, str]], calls: list[int], pools: list[float]
) -> None:
    hashes = again("evaluate_base", with_timeout(SECONDS / 2))
    assert hashes["data/eval/base.parquet"] == expected["evaluate_base"]["data/eval/base.parquet"]
    metrics = json.loads(Path("metrics/eval/base.json").read_text())
    assert {entry["settings"]["timeout_s"] for entry in metrics.values()} == {SECONDS / 2}
    assert {entry["unjudged"] for entry in metrics.values()} == {0.0}
    assert pools == [SECONDS / 2, SECONDS * 5]
    assert len(calls) == 5


def test_evaluation_fails_for_lack_of_a_verdict_only_after_all_else_is_done(
    project: Path, expected: dict[str, dict[str, str]], calls: list[int], pools: list[float]
) -> None:
    slow = [
        (benchmark, prompt.prompt_id)
        for benchmark, prompts in tables.read_benchmarks(BENCHMARK_PROMPTS).items()
        for prompt in prompts
        if prompt.answer == SLOW_GOLD
    ]
    [(benchmark, prompt_id)] = slow
    with pytest.raises(VerifierError) as caught:
        run_stage(with_timeout(SECONDS / 20), "evaluate_base")
    message = str(caught.value)
    for sample in range(4):
        place = f"benchmark {benchmark}, prompt {prompt_id}, sample {sample}: grading took over 2 s; raise"
        assert place in message
    assert "raise verifier.timeout_s" in message.lower() and "generates nothing" in message
    assert len(shards("evaluate_base")) == len(calls) == 5
    assert not Path("metrics/eval/base.json").exists() and not Path("data/eval/base.parquet").exists()
    rows = [
        row for path in Path(SHARDS["evaluate_base"]).glob("*/[0-9]*.parquet") for row in tables.read(path)
    ]
    assert len(rows) == 4 * 15 and all(row["response"] for row in rows)
    unjudged = {(row["benchmark"], row["prompt_id"]) for row in rows if row["no_verdict"]}
    assert unjudged == {(benchmark, prompt_id)}
    calls.clear()
    hashes = again("evaluate_base", with_timeout(SECONDS * 2))
    assert hashes["data/eval/base.parquet"] == expected["evaluate_base"]["data/eval/base.parquet"]
    assert calls == [], "nothing is generated anew"


def test_a_model_that_is_no_arms_is_evaluated_alike(project: Path, calls: list[int]) -> None:
    params = load_params()
    run_stage(params, "evaluate_base")
    evaluate.run_elsewhere(params, Path("models/base"), Path("elsewhere"))
    for name, path in {
        "metrics.json": "metrics/eval/base.json",
        "responses.parquet": "data/eval/base.parquet",
    }.items():
        assert (Path("elsewhere") / name).read_bytes() == Path(path).read_bytes()
    settings = json.loads(Path("metrics/eval/base.json").read_text())["one"]["settings"]
    verifier = params.verifier.model_copy(update={"timeout_s": params.verifier.timeout_s + 1})
    prompts = tables.read_benchmarks(BENCHMARK_PROMPTS)["one"]
    assert evaluation_settings.settings(params, "one", prompts) == settings
    slower = evaluation_settings.settings(params.model_copy(update={"verifier": verifier}), "one", prompts)
    assert differing_settings(settings, slower) == ["timeout_s"] and slower["hash"] != settings["hash"]
    assert differing_settings(settings, evaluation_settings.settings(params, "one", prompts[1:])) == [
        "prompts"
    ]


def test_responses_over_the_limits_count_as_not_solved(
    project: Path, calls: list[int], pools: list[float]
) -> None:
    params = with_timeout(SECONDS / 20)
    evaluation = params.evaluate.model_copy(update={"max_unjudged": 0.2})
    run_stage(params.model_copy(update={"evaluate": evaluation}), "evaluate_base")
    metrics = json.loads(Path("metrics/eval/base.json").read_text())
    [slow] = [name for name, entry in metrics.items() if entry["unjudged"]]
    rows = [row for row in tables.read(Path("data/eval/base.parquet")) if row["benchmark"] == slow]
    assert metrics[slow]["unjudged"] == pytest.approx(4 / len(rows))
    prompts = tables.read_benchmarks(BENCHMARK_PROMPTS)[slow]
    [hard] = [prompt.prompt_id for prompt in prompts if prompt.answer == SLOW_GOLD]
    assert [row["correct"] for row in rows if row["prompt_id"] == hard] == [False] * 4
    assert metrics[slow]["avg_at_k"] == pytest.approx(sum(row["correct"] for row in rows) / len(rows))


def test_more_failures_than_an_error_can_name(
    project: Path, calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow()
    for module in (evaluate, regrade):
        monkeypatch.setattr(module, "build_verifier", lambda params: slow)
    with pytest.raises(
        VerifierError, match=r"(?s)^36 of the responses .*benchmark two.*: slow\nand 31 more$"
    ):
        run_stage(load_params(), "evaluate_base")
    assert len(calls) == 5


def with_benchmarks(benchmarks: dict[str, str], samples: object) -> Params:
    """Parameters with copies of registered benchmarks; `benchmarks` is our name -> the registered name."""
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
    settings = {"k": 32, "temperature": 0.6, "top_p": 0.95}
    assert metrics["one"]["published"] == {"aime24": settings}
    assert metrics["two"]["published"] == {"gsm8k": settings | {"k": 1}}
    assert (metrics["one"]["as_published"], metrics["two"]["as_published"]) == (samples is None, True)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    warning = f"one is sampled with {settings | {'k': 3}}, published results on aime24 with {settings}"
    assert warnings == ([warning] if samples else [])


def test_an_unregistered_benchmark_has_no_published_settings(project: Path) -> None:
    run_stage(load_params(), "evaluate_base")
    metrics = json.loads(Path("metrics/eval/base.json").read_text())
    assert metrics.keys() == {"one", "two"}
    assert not any("published" in key for entry in metrics.values() for key in entry)


def test_benchmarks_of_another_curation_are_refused(project: Path) -> None:
    with pytest.raises(
        InputError, match=r"benchmarks\.parquet has \['one', 'two'\], and .*\['one'\].*repro curate"
    ):
        run_stage(with_benchmarks({"one": "aime24"}, 4), "evaluate_base")
    assert not Path(SHARDS["evaluate_base"]).exists()


def test_a_longer_time_limit_samples_rollouts_anew(
    project: Path, expected: dict[str, dict[str, str]], calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        slow = Slow()
        patch.setattr(rollouts, "build_verifier", lambda params: slow)
        patch.setattr(rollouts.Shards, "discard", lambda self: None)
        run_stage(load_params(), "rollouts")
    calls.clear()
    longer = load_params()
    longer = longer.model_copy(update={"verifier": longer.verifier.model_copy(update={"timeout_s": 9.0})})
    assert again("rollouts", longer) == expected["rollouts"]
    assert len(calls) == 5


def test_the_forecast_is_of_an_epoch(project: Path) -> None:
    run_stage(load_params(), "rollouts")
    forecast = json.loads(Path("data/rollouts/base/forecast.json").read_text())
    drawn = tables.read(Path("data/rollouts/base/rollouts.parquet"))
    rates = tables.read(Path("data/rollouts/base/pass_rates.parquet"))
    lengths = {
        name: [len(r["token_ids"]) for r in drawn if r["prompt_id"] == name] for name in prompt_ids(rates)
    }
    assert forecast["rollout_tokens_per_epoch"] == sum(len(row["token_ids"]) for row in drawn)
    assert forecast["tokens_per_prompt"] == pytest.approx(forecast["rollout_tokens_per_epoch"] / len(rates))
    right = [len(row["token_ids"]) for row in drawn if row["reward"] == 1]
    assert 0 < len(right) < len(drawn), "the case must have both"
    for solved in range(4):
        gamma = f"{solved}/4"
        to_sft = [row for row in rates if row["solved"] <= solved]
        to_rl = [row for row in rates if solved < row["solved"] < 4]
        shares = forecast["gamma"][gamma]
        assert shares["sft"] == len(to_sft) / len(rates) and shares["rl"] == len(to_rl) / len(rates)
        assert forecast["training_tokens_per_epoch"][gamma] == {
            "rl": sum(sum(lengths[row["prompt_id"]]) for row in to_rl),
            "sft": round(len(to_sft) * sum(right) / len(right)),
        }


def prompt_ids(rows: list[dict[str, Any]]) -> set[str]:
    return {row["prompt_id"] for row in rows}


def test_the_experts_report_says_which_demonstrations_are_missing(project: Path) -> None:
    for stage in ("rollouts", "teacher", "teacher_responses", "experts"):
        run_stage(load_params(), stage)
    report = json.loads(Path("data/experts/report.json").read_text())
    trajectories = tables.read_experts(Path("data/experts/experts.parquet"))
    rates = tables.read(Path("data/rollouts/base/pass_rates.parquet"))
    assert set(report) == {"people", "teacher"}

    def without(has: set[str]) -> dict[str, int]:
        return {
            f"{solved}/4": sum(
                row["pass_rate"] <= solved / 4 and row["prompt_id"] not in has for row in rates
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
    with pytest.raises(InputError, match=r"weights are NaN or infinite \(model.embed_tokens.weight"):
        run_stage(params, "evaluate_base")


def test_activations_that_overflow_are_an_error(project: Path) -> None:
    policy = load_policy(Path("models/base"))
    with torch.no_grad():
        policy.model.model.norm.weight.fill_(1e38)
    save_policy(policy, Path("models/base"))
    with pytest.raises(
        InputError, match="its logits are NaN or infinite in float32; take another checkpoint"
    ):
        run_stage(load_params(), "rollouts")

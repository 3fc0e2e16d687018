"""Every stage through its `run`, twice, on a project that is small enough to check row by row."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from dvc.repo import Repo
from every_stage import run_every_stage, run_stage

from hpt_core import tables
from hpt_core.errors import InputError
from hpt_core.policy.chat import Chat
from hpt_core.policy.model import load_policy, weights_hash
from hpt_core.types import Verdict
from pipelines import rollouts
from pipelines.params import Params, load_params

PARAMS = """
seed: 3
threads: 1
curate:
  train:
    - {name: sums, reasoning_gym: chain_sum, size: 30, seed: 1, license: mit, options: &easy
        {min_terms: 2, max_terms: 2, min_digits: 1, max_digits: 1}}
    - {name: own, file: raw/data/own.jsonl, answer_kind: gsm8k, license: mit}
  dev_size: 4
  max_problem_chars: 200
  benchmarks:
    held: [{name: held, reasoning_gym: chain_sum, size: 8, seed: 900, license: mit, options: *easy}]
base:
  system_prompt: Add up.
  warm_start: &small
    hidden_size: 48
    layers: 2
    heads: 2
    max_positions: 192
    steps: 220
    batch_size: 16
    optimizer: {name: muon, lr: 0.005, matrix_lr: 0.02}
    sources: [{name: lessons, reasoning_gym: chain_sum, size: 300, seed: 5000, options: *easy}]
teacher: {license: mit, samples: 2, max_new_tokens: 24, policy: {warm_start: *small}}
rollout: {group_size: 4, max_prompt_tokens: 120, max_new_tokens: 24, slots: 64}
experts:
  max_tokens: 60
  licenses: [mit]
  sources:
    - {name: worked, kind: program, license: mit}
    - {name: people, kind: human, author: us, license: mit, file: raw/data/people.jsonl}
arms:
  human: {mix: {human: 1.0}}
  mixed: {mix: {program: 0.5, teacher: 0.25, human: 0.25}}
train:
  steps: 4
  prompts_per_step: 8
  updates_per_step: 2
  gate: {gamma: 0.25}
  checkpoint_every: 3
  dev_every: 4
  optimizer: {name: muon, lr: 0.001, matrix_lr: 0.005}
evaluate: {samples: 2, bootstrap: 200}
verifier: {}
tracking: {experiment: e, registered_model: m}
schedule: {cron: "0 2 * * *", timezone: UTC}
"""
STEPS, PER_STEP, GROUP = 4, 8, 4
REPO = Path(__file__).parents[2]
OUTPUTS = ("data", "models", "metrics", "reports")


class Project(NamedTuple):
    root: Path
    params: Params

    def rows(self, path: str) -> list[dict[str, Any]]:
        return tables.read(self.root / path)

    def json(self, path: str) -> Any:
        return json.loads((self.root / path).read_text())

    def metrics(self, arm: str) -> list[dict[str, float]]:
        lines = (self.root / "metrics/train" / f"{arm}.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]


def make(root: Path) -> Project:
    """Run every stage on inputs that have an unusable line of each kind."""
    own = [{"problem": f"What is {i} plus {i}?", "answer": f"#### {2 * i}"} for i in range(8)]
    # This problem is within curate's limit of characters and over the policy's limit of tokens.
    own.append({"problem": "9 " * 90, "answer": "#### 9"})
    people = [{"problem": row["problem"], "response": f"\\boxed{{{2 * i}}}"} for i, row in enumerate(own[:5])]
    people[3]["response"] = "\\boxed{7}"
    people.append({"problem": "What is in no file?", "response": "\\boxed{1}"})
    (root / "raw/data").mkdir(parents=True)
    for name, rows in (("own", own), ("people", people)):
        lines = [json.dumps(row) for row in rows]
        (root / "raw/data" / f"{name}.jsonl").write_text(
            "\n".join([*lines[:2], '{"problem": ', *lines[2:]]) + "\n"
        )
    (root / "params.yaml").write_text(PARAMS)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        params = load_params()
        torch.set_num_threads(params.threads)
        run_every_stage(params)
    return Project(root, params)


def contents(path: Path) -> dict[str, bytes]:
    """The bytes of a file, or of all files of a folder, by name."""
    files = [path] if path.is_file() else (file for file in path.rglob("*") if file.is_file())
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    yield make(tmp_path_factory.mktemp("one"))


def test_curate_accounts_for_every_row(project: Project) -> None:
    report = project.json("data/prompts/report.json")
    for sources in report["sources"].values():
        for counts in sources.values():
            assert counts["in"] == counts["kept"] + sum(counts["dropped"].values())
    own = report["sources"]["train"]["own"]
    assert own == {"in": 10, "kept": 9, "dropped": {"malformed_json": 1}}
    bad = [row for row in project.rows("data/prompts/quarantine.parquet") if row["source"] == "own"]
    assert [(row["file"], row["line"], row["reason"]) for row in bad] == [
        ("raw/data/own.jsonl", 3, "malformed_json")
    ]


def test_every_prompt_has_rollouts_or_a_quarantine_row(project: Project) -> None:
    prompts = {row["prompt_id"]: row for row in project.rows("data/prompts/train.parquet")}
    rates = {row["prompt_id"]: row for row in project.rows("data/rollouts/base/pass_rates.parquet")}
    (long,) = project.rows("data/rollouts/base/quarantine.parquet")
    assert (long["reason"], long["source"], long["row"]) == ("prompt_too_long", "own", ("9 " * 90).strip())
    assert "raise rollout.max_prompt_tokens (120)" in long["detail"]
    assert long["file"].endswith("train.parquet") and long["line"] > 0
    assert len(rates) == len(prompts) - 1 and rates.keys() < prompts.keys()
    drawn = project.rows("data/rollouts/base/rollouts.parquet")
    assert Counter(row["prompt_id"] for row in drawn) == dict.fromkeys(rates, GROUP)
    for name, rate in rates.items():
        solved = sum(row["reward"] for row in drawn if row["prompt_id"] == name)
        assert (rate["samples"], rate["solved"], rate["pass_rate"]) == (GROUP, solved, solved / GROUP)
    policy = load_policy(project.root / "models/base")
    assert {row["policy"] for row in drawn} == {weights_hash(policy.model)}
    forecast = project.json("data/rollouts/base/forecast.json")
    assert forecast["prompts"] == len(rates) and forecast["unjudged"] == 0
    assert all(sum(shares.values()) == pytest.approx(1) for shares in forecast["gamma"].values())


def test_a_limit_below_every_prompt_is_an_error(project: Project, tmp_path: Path) -> None:
    short = project.params.rollout.model_copy(update={"max_prompt_tokens": 5})
    params = project.params.model_copy(update={"rollout": short})
    train_path, policy = project.root / "data/prompts/train.parquet", project.root / "models/base"
    with pytest.raises(
        InputError, match=r"each of the \d+ prompts is longer .* raise it .* shortest has \d+ tok"
    ):
        rollouts.run(params, train_path, policy, tmp_path)


def test_prompts_that_cannot_be_judged_are_quarantined(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class PartialVerifier:
        """A verifier without a verdict on the prompts of the source `own`."""

        def __enter__(self) -> PartialVerifier:
            return self

        def __exit__(self, *_: object) -> None: ...

        def verify(self, items: Sequence[tuple[str, str, str]]) -> list[Verdict]:
            return [Verdict(False, None, "slow" if kind == "gsm8k" else None) for _, _, kind in items]

    monkeypatch.setattr(rollouts, "build_verifier", lambda params: PartialVerifier())
    train_path, policy = project.root / "data/prompts/train.parquet", project.root / "models/base"
    rollouts.run(project.params, train_path, policy, tmp_path)
    quarantine = tables.read(tmp_path / "quarantine.parquet", tables.QUARANTINE)
    unjudged = [row for row in quarantine if row["reason"] == "no_verdict"]
    rates = tables.read(tmp_path / "pass_rates.parquet", tables.PASS_RATES)
    assert {row["source"] for row in unjudged} == {"own"} and unjudged
    assert len(rates) + len(quarantine) == len(tables.read_prompts(train_path))
    assert json.loads((tmp_path / "forecast.json").read_text())["unjudged"] == len(unjudged) * GROUP


def test_the_system_prompt_is_in_every_folder_made_from_base(project: Project) -> None:
    for name in ("base", *project.params.arms):
        tokenizer = load_policy(project.root / "models" / name).tokenizer
        assert "Add up." in tokenizer.decode(Chat(tokenizer).prompt("1 + 1 ="))


def test_experts_account_for_every_row(project: Project) -> None:
    report = project.json("data/experts/report.json")
    quarantine = project.rows("data/experts/quarantine.parquet")
    kept = Counter(row["source"] for row in project.rows("data/experts/experts.parquet"))
    for name, counts in report.items():
        assert counts["kept"] == kept[name]
        assert counts["in"] == counts["kept"] + sum(counts["dropped"].values())
        assert sum(counts["dropped"].values()) == sum(row["source"] == name for row in quarantine)
    people = {row["line"]: row for row in quarantine if row["source"] == "people"}
    assert people[3]["reason"] == "malformed_json" and people[3]["row"] == '{"problem":'
    assert people[7]["reason"] == "unknown_prompt" and "What is in no file?" in people[7]["row"]
    assert {row["file"] for row in people.values()} == {"raw/data/people.jsonl"}
    # The fourth answer is wrong, unless its prompt went to dev, where no expert is wanted.
    assert people[5]["reason"] in {"rejected_by_verifier", "left_out_by_curation"}
    assert all(row["verified"] for row in project.rows("data/experts/experts.parquet"))
    assert kept["worked"] and kept["teacher"] and kept["people"]


def test_a_teacher_s_trajectories_record_how_they_were_sampled(project: Project) -> None:
    teacher = load_policy(project.root / "models/teacher_policy")
    template = hashlib.sha256(str(teacher.tokenizer.chat_template).encode()).hexdigest()
    rows = [r for r in project.rows("data/experts/experts.parquet") if r["kind"] == "teacher"]
    assert {row["author"] for row in rows} == {f"warm-start@{weights_hash(teacher.model)}"}
    for sampling in (json.loads(row["sampling"]) for row in rows):
        assert sampling.pop("sample") in (0, 1)
        assert sampling == {
            "temperature": 0.7,
            "top_p": 1.0,
            "max_new_tokens": 24,
            "seed": 3,
            "chat_template": f"sha256:{template}",
            "system_prompt": None,
        }


def expected_route(pass_rate: float, rewards: Sequence[float], has_expert: bool) -> str:
    """HPT's switch at 0.25, written out (arXiv 2509.04419, section 3.3)."""
    if pass_rate <= 0.25:
        return "sft" if has_expert else "no_expert"
    return "equal" if len(set(rewards)) == 1 else "rl"


@pytest.mark.parametrize("arm", ["human", "mixed"])
def test_training_keeps_every_rollout_and_decision(project: Project, arm: str) -> None:
    gate = project.rows(f"data/rollouts/{arm}/gate.parquet")
    drawn = project.rows(f"data/rollouts/{arm}/rollouts.parquet")
    mix = project.params.arms[arm].mix
    trajectories = {row["trajectory_id"]: row for row in project.rows("data/experts/experts.parquet")}
    offered = {row["prompt_id"] for row in trajectories.values() if row["kind"] in mix}
    assert Counter(row["step"] for row in gate) == dict.fromkeys(range(1, STEPS + 1), PER_STEP)
    assert len(drawn) == STEPS * PER_STEP * GROUP
    rewards: dict[tuple[int, str], list[float]] = {}
    trained: dict[tuple[int, str], set[bool]] = {}
    for row in drawn:
        trained.setdefault((row["step"], row["prompt_id"]), set()).add(row["trained"])
        rewards.setdefault((row["step"], row["prompt_id"]), []).append(row["reward"])
        assert len(row["token_ids"]) == len(row["logprobs"]) > 0
    for row in gate:
        earned = rewards[row["step"], row["prompt_id"]]
        assert len(earned) == GROUP and row["pass_rate"] == sum(earned) / GROUP
        expert = row["prompt_id"] in offered
        assert row["route"] == expected_route(row["pass_rate"], earned, expert)
        assert row["trained"] == (row["route"] == "sft")
        # Without a demonstration the prompt is left to RL, which has a signal where the rewards differ.
        by_rl = row["route"] in ("rl", "no_expert") and len(set(earned)) > 1
        assert trained[row["step"], row["prompt_id"]] == ({True} if by_rl else {False})
        assert (row["trajectory_id"] is not None) == expert
        if expert:
            taken = trajectories[row["trajectory_id"]]
            assert (taken["prompt_id"], taken["kind"]) == (row["prompt_id"], row["kind"])


@pytest.mark.parametrize("arm", ["human", "mixed"])
def test_metrics_tell_what_the_gate_did(project: Project, arm: str) -> None:
    gate, steps = project.rows(f"data/rollouts/{arm}/gate.parquet"), project.metrics(arm)
    assert [metrics["step"] for metrics in steps] == list(range(1, STEPS + 1))
    for metrics in steps:
        mine = [row for row in gate if row["step"] == metrics["step"]]
        routes = Counter(row["route"] for row in mine)
        assert {name: metrics[f"gate/{name}"] for name in ("sft", "rl", "equal", "no_expert")} == {
            name: routes[name] for name in ("sft", "rl", "equal", "no_expert")
        }
        for kind, count in Counter(row["kind"] for row in mine if row["route"] == "sft").items():
            assert metrics[f"gate/sft_{kind}"] == count and metrics[f"nll/{kind}"] > 0
        assert not any("second" in name or "time" in name for name in metrics)
    drawn = project.rows(f"data/rollouts/{arm}/rollouts.parquet")
    assert steps[-1]["tokens/generated"] == sum(len(row["token_ids"]) for row in drawn)
    assert "dev/accuracy" in steps[-1]


def test_prompts_without_an_expert_are_counted(project: Project) -> None:
    human, mixed = (
        sum(metrics["gate/no_expert"] for metrics in project.metrics(arm)) for arm in ("human", "mixed")
    )
    assert human > mixed, "people wrote for a few prompts, the mix has a program for most"


def test_training_changes_the_weights_of_each_arm(project: Project) -> None:
    hashes = {
        weights_hash(load_policy(project.root / "models" / name).model) for name in ("base", "human", "mixed")
    }
    assert len(hashes) == 3


def test_evaluation_and_comparison_add_up(project: Project) -> None:
    prompts = {row["prompt_id"] for row in project.rows("data/prompts/benchmarks.parquet")}
    for name in ("base", "human", "mixed"):
        rows = project.rows(f"data/eval/{name}.parquet")
        assert Counter(row["prompt_id"] for row in rows) == dict.fromkeys(prompts, 2)
        held = project.json(f"metrics/eval/{name}.json")["held"]
        assert held["avg_at_k"] == pytest.approx(sum(row["correct"] for row in rows) / len(rows))
        assert (held["n_prompts"], held["k"]) == (len(prompts), 2)
    assert project.json("metrics/compare.json")["arms"] == ["human", "mixed"]
    assert "mixed" in (project.root / "reports/provenance.html").read_text()


def test_the_data_of_plots_has_the_training_logs_and_the_evaluation(project: Project) -> None:
    rows = project.json("reports/plots/training.json")
    for arm in ("human", "mixed"):
        names = ("step", "reward/mean", "offline_share", "dev/accuracy")
        expected = [{name: step.get(name) for name in names} for step in project.metrics(arm)]
        assert [{name: row[name] for name in names} for row in rows if row["arm"] == arm] == expected
        assert [step["dev/accuracy"] is None for step in expected] == [True, True, True, False]
    policies = project.json("reports/plots/evaluation.json")
    assert [row["policy"] for row in policies] == ["base", "human", "mixed"]
    for row in policies:
        held = project.json(f"metrics/eval/{row['policy']}.json")["held"]
        assert (row["benchmark"], row["avg_at_k"]) == ("held", held["avg_at_k"])
        assert [row["low"], row["high"]] == held["ci95"]


@pytest.mark.slow
def test_dvc_knows_of_every_file_that_a_stage_reads(project: Project, tmp_path: Path) -> None:
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").write_text("[core]\n    no_scm = true\n")
    shutil.copy(REPO / "dvc.yaml", tmp_path)
    (tmp_path / "params.yaml").write_text(PARAMS)
    with Repo(str(tmp_path)) as repo:
        stages = {stage.name: stage for stage in repo.index.stages}
    assert len(stages) == 14
    for name, stage in stages.items():
        box = tmp_path / "boxes" / name
        # The folder has the dependencies of the stage and nothing else of the project.
        for path in (dep.def_path for dep in stage.deps):
            if (source := project.root / path).is_dir():
                shutil.copytree(source, box / path)
            elif source.exists():
                (box / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, box / path)
        box.mkdir(parents=True, exist_ok=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(box)
            run_stage(project.params, name)
        for out in (out.def_path for out in stage.outs):
            assert contents(box / out) == contents(project.root / out), f"{out} of {name}"


@pytest.mark.slow
def test_a_second_run_gives_the_same_bytes(
    project: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    again = make(tmp_path_factory.mktemp("two"))
    one, two = (
        {f"{part}/{name}": data for part in OUTPUTS for name, data in contents(root / part).items()}
        for root in (project.root, again.root)
    )
    assert one.keys() == two.keys() and len(one) > 30
    assert [name for name in one if one[name] != two[name]] == []
    places = (str(project.root).encode(), str(again.root).encode())
    assert not [name for name in one if any(place in one[name] for place in places)]

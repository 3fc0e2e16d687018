"""The stage `experts` on sources of several forms: every row is counted, and arms choose by base_logp."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from hpt_core import tables
from hpt_core.data.problems import prompt_id
from hpt_core.errors import InputError
from hpt_core.files import read_json
from hpt_core.policy.chat import Chat
from hpt_core.policy.model import LoadedPolicy, save_policy
from hpt_core.types import Prompt, Verdict
from pipelines import experts, paths, select
from pipelines.params import load_params
from pipelines.stage import regrade
from pipelines.stage.training_data import PROJECT, load_tasks

PARAMS = """\
seed: 3
threads: 1
curate:
  train: [{name: a, reasoning_gym: chain_sum, size: 9, seed: 1}]
  dev_size: 1
  max_problem_chars: 100
  benchmarks: {held: [{name: s, reasoning_gym: chain_sum, size: 1, seed: 2}]}
base: {model: models/base}
teacher: null
rollout: {group_size: 4, max_prompt_tokens: 90, max_new_tokens: 8}
experts:
  max_tokens: 40
  licenses: [mit]
  scripts: [Latin]
  base_logp: true
  distance: 3
  sources:
    - {name: worked, kind: program, license: mit}
    - {name: crowd, kind: human, license: mit, file: crowd.jsonl, columns: {problem: chat, response: chat}}
    - {name: staff, kind: human, license: mit, file: staff.jsonl, columns: {response: all, score: marks}}
    - {name: shady, kind: human, file: crowd.jsonl, columns: {problem: chat, response: chat}}
arms:
  likely: {mix: {human: 1.0}, choose: likeliest}
  short: {mix: {human: 1.0}}
train: {steps: 7, prompts_per_step: 4, optimizer: {lr: 0.003}}
evaluate: {samples: 2}
verifier: {}
tracking: {experiment: e, registered_model: m}
schedule: {cron: "0 2 * * *", timezone: UTC}
"""


@pytest.fixture
def project(policy: LoadedPolicy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    problems = [f"State the final answer: {i} + 4 =" for i in range(5)]
    kind = "reasoning_gym:chain_sum"
    prompts = [Prompt(prompt_id(p), p, str(i + 4), kind, "a", "mit") for i, p in enumerate(problems)]
    crowd = [
        {"chat": [{"role": "user", "content": p}, {"role": "assistant", "content": f"\\boxed{{{i + 4}}}"}]}
        for i, p in enumerate(problems)
    ]
    staff = [
        {
            "problem": p,
            "all": [
                *(f"{word}\\boxed{{{i + 4}}}" for word in ("", "It is ", "= = = ", "ttttt")),
                "\\boxed{0}",
            ],
            "marks": [True, i != 1, True, True, i == 2],
        }
        for i, p in enumerate(problems)
    ]
    data = tmp_path / "data"
    tables.write(data / "prompts/train.parquet", map(tables.as_row, prompts[:-1]), tables.PROMPTS)
    tables.write(data / "prompts/dev.parquet", map(tables.as_row, prompts[-1:]), tables.PROMPTS)
    dev = {"prompt_id": prompts[-1].prompt_id, "reason": "in_dev", "detail": "drawn for the dev split"}
    tables.write(data / "prompts/left_out.parquet", [dev], tables.LEFT_OUT)
    rates = [{"prompt_id": p.prompt_id, "samples": 4, "solved": 1, "pass_rate": 0.25} for p in prompts[:-1]]
    tables.write(data / "rollouts/base/pass_rates.parquet", rates, tables.PASS_RATES)
    ids = Chat(policy.tokenizer).response("\\boxed{4}")
    rest = {"step": 0, "response": "", "reward": 1.0, "finish_reason": "stop", "policy": "p"}
    rollout = {
        "prompt_id": prompts[0].prompt_id,
        "sample": 0,
        "token_ids": ids,
        "logprobs": [-1.0] * len(ids),
    }
    tables.write(data / "rollouts/base/rollouts.parquet", [rollout | rest], tables.ROLLOUTS)
    save_policy(policy, tmp_path / "models/base")
    for name, rows in (("crowd", crowd), ("staff", staff)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "params.yaml").write_text(PARAMS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_row_is_accounted_for(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    report = experts.run(load_params())
    rows = tables.read(Path("data/experts/experts.parquet"), tables.EXPERTS)
    quarantine = tables.read(Path("data/experts/quarantine.parquet"), tables.QUARANTINE)
    assert Counter(row["source"] for row in rows) == {"worked": 4, "crowd": 4, "staff": 12}
    for name, counts in report.items():
        dropped = Counter(row["reason"] for row in quarantine if row["source"] == name)
        assert counts["dropped"] == dropped
        assert counts["in"] == counts["kept"] + dropped.total()
    assert report["crowd"]["dropped"] == {"left_out_by_curation": 1}
    [dev] = [row for row in quarantine if row["source"] == "crowd"]
    assert dev["detail"] == "in_dev: drawn for the dev split"
    # Five samples in five rows: those of the dev prompt, the crowd's responses again, and the wrong ones.
    expected = {"left_out_by_curation": 5, "duplicate": 4, "rejected_by_verifier": 4}
    assert report["staff"]["dropped"] == expected
    assert report["staff"]["contradicts"] == {"marked_right_but_wrong": 1, "marked_wrong_but_right": 1}
    assert "staff: the verifier rejects 1 responses marked right and accepts 1 marked wrong" in caplog.text
    assert report["shady"]["dropped"] == {"left_out_by_curation": 1, "license": 4}
    assert len({counts["content"] for counts in report.values()}) == 3, "shady reads what the crowd wrote"
    [first] = [row for row in quarantine if row["reason"] == "duplicate" and row["line"] == 1]
    assert first["detail"].endswith("stands at crowd.jsonl:1 of source 'crowd'")
    details = [row["detail"] for row in quarantine if row["reason"] == "license"]
    assert details == ["'unknown' is not in experts.licenses ['mit']"] * 4


def test_the_report_has_each_source_s_distance_from_the_starting_policy(project: Path) -> None:
    """Of three trajectories each; the policy's one rollout is what the crowd wrote for its prompt."""
    text = (project / "params.yaml").read_text()
    experts.run(load_params())
    distance = read_json(paths.EXPERTS_DISTANCE)
    assert set(distance) == {"worked", "crowd", "staff"}, "shady has no trajectory"
    for found in distance.values():
        assert found["trajectories"] == 3
        assert found["rank_over_nll"] == pytest.approx(found["rank"] / found["nll"])
        assert found["nll"] > 0 and 1 <= found["rank"] <= 100 and found["gradient_norm"] > 0
    (project / "params.yaml").write_text(text.replace("distance: 3", "distance: 100"))
    experts.run(load_params())
    more = read_json(paths.EXPERTS_DISTANCE)
    assert more["crowd"]["trajectories"] == 4 and more["staff"]["trajectories"] == 12
    assert more["crowd"]["overlap"] == 1.0 > more["staff"]["overlap"] > 0
    rows = tables.read(Path("data/experts/experts.parquet"))
    crowd = [row for row in rows if row["source"] == "crowd"]
    nll = -sum(row["base_logp"] * row["n_tokens"] for row in crowd) / sum(row["n_tokens"] for row in crowd)
    assert more["crowd"]["nll"] == pytest.approx(nll, rel=1e-5)
    (project / "params.yaml").write_text(text.replace("distance: 3", "distance: null"))
    experts.run(load_params())
    assert read_json(paths.EXPERTS_DISTANCE) == {}


def test_an_arm_can_choose_the_trajectory_that_is_likeliest_under_the_starting_policy(
    project: Path, policy: LoadedPolicy
) -> None:
    params = load_params()
    experts.run(params)
    for arm in params.arms:
        select.run(params, arm)
    rows = {row["trajectory_id"]: row for row in tables.read(Path("data/experts/experts.parquet"))}
    assert all(row["base_logp"] < 0 for row in rows.values())
    likely, short = (
        [task.expert for task in load_tasks(params, arm, policy, PROJECT)[0] if task.expert]
        for arm in ("likely", "short")
    )
    assert {expert.source for expert in short} == {"crowd"}
    assert len(likely) == len(short) == 4 and likely != short
    for expert in likely:
        offered = [row for row in rows.values() if row["prompt_id"] == expert.prompt_id]
        humans = [row["base_logp"] for row in offered if row["kind"] == "human"]
        assert (
            rows[expert.trajectory_id]["base_logp"] == max(humans) and len(humans) == 4 and len(offered) == 5
        )


def test_without_base_logp_the_column_is_null_and_a_second_run_gives_the_same_bytes(project: Path) -> None:
    path = project / "params.yaml"
    path.write_text(PARAMS.replace("  base_logp: true\n", "").replace(", choose: likeliest", ""))
    files = [f"data/experts/{name}" for name in ("experts.parquet", "quarantine.parquet", "report.json")]
    experts.run(load_params())
    once = [(project / file).read_bytes() for file in files]
    experts.run(load_params())
    assert [(project / file).read_bytes() for file in files] == once
    assert {row["base_logp"] for row in tables.read(project / files[0])} == {None}


def test_an_unreadable_source_is_an_error_before_the_policy_is_loaded(project: Path) -> None:
    path = project / "params.yaml"
    path.write_text(PARAMS.replace("columns: {problem: chat", "columns: {problem: talk", 1))
    (project / "models/base/model.safetensors").unlink()
    with pytest.raises(InputError, match=r"source 'crowd': crowd\.jsonl:1: missing_column: no 'talk'"):
        experts.run(load_params())


def test_a_response_without_a_verdict_is_graded_again_with_more_time(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fake:
        def __init__(self, *verdicts: Verdict) -> None:
            self.verdicts, self.calls = list(verdicts), list[object]()

        def verify(self, items: object) -> list[Verdict]:
            self.calls.append(items)
            return self.verdicts

        def __enter__(self) -> Fake:
            return self

        def __exit__(self, *_: object) -> None: ...

    right, unjudged = Verdict(True, "1"), Verdict(False, None, "took over 5 s")
    slow = Fake(right)
    monkeypatch.setattr(regrade, "_build_retry_verifier", lambda params: slow)
    monkeypatch.setattr(regrade, "retry_timeout", lambda params: 50.0)
    first = Fake(right, unjudged)
    items = [("a", "1", "exact"), ("b", "1", "exact")]
    assert regrade.RetryingVerifier(None, first).verify(items) == [right, right]  # type: ignore[arg-type]
    assert slow.calls == [[("b", "1", "exact")]], "only the response without a verdict"

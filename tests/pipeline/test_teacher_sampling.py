"""The teacher behind a real server: hardest prompts first, within its budget, and nothing paid for twice."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from every_stage import run_stage
from slow_grading import SECONDS, SLOW_GOLD, grade_slowly

from hpt_core import tables
from hpt_core.config import OptimizerConfig, PromptSource, WarmStart
from hpt_core.data.problems import prompt_id
from hpt_core.errors import EngineError, InputError
from hpt_core.policy.model import save_policy
from hpt_core.policy.warm_start import build_policy
from hpt_core.rollout.engines.hf import HFEngine
from hpt_core.seeds import derive
from hpt_core.types import Prompt
from hpt_core.verifier import VerifierPool
from pipelines import experts
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
  benchmarks: {one: [{name: one, file: raw/data/one.jsonl, answer_kind: exact, license: mit}]}
base: {model: models/base}
teacher:
  license: mit
  samples: 3
  max_new_tokens: 10
  endpoint:
    url: URL
    model: org/big
    revision: r1
    system_prompt: Add up.
    concurrency: 2
    retries: 0
rollout: {group_size: 4, max_prompt_tokens: 60, max_new_tokens: 8}
experts: {max_tokens: 60, licenses: [mit], sources: []}
arms: {teacher: {mix: {teacher: 1.0}}}
train: {steps: 1, prompts_per_step: 4, optimizer: {lr: 0.001}}
evaluate: {samples: 1}
verifier: {}
tracking: {experiment: e, registered_model: m}
schedule: {cron: "0 2 * * *", timezone: UTC}
"""
OF_OUR_OWN = (
    PARAMS[: PARAMS.index("  endpoint:")]
    + "  policy: {model: models/base}\n"
    + PARAMS[PARAMS.index("rollout: {") :].replace("{group_size", "{slots: 6, group_size")
)
# Runs the stage as its command does, and dies by SIGKILL once the third part is generated.
SCRIPT = """
import os, runpy, signal
from hpt_core.rollout.engines.hf import HFEngine

parts = []

def generate(*given, real=HFEngine.generate):
    parts.append(real(*given))
    if len(parts) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return parts[-1]

HFEngine.generate = generate
runpy.run_module("pipelines.experts", run_name="__main__")
"""
SAMPLES, N = 3, 12
PROMPTS = [
    Prompt(prompt_id(f"{a} + 3 ="), f"{a} + 3 =", f"{a + 3}", "exact", "sums", "mit") for a in range(N)
]
# In fourths; the last prompt has no pass rate.
SOLVED = [4, 0, 2, 1, 3, 0, 4, 2, 1, 3, 2]
HARDEST = [
    prompt.problem
    for _, _, prompt in sorted(
        (SOLVED[i] if i < len(SOLVED) else 0, prompt.prompt_id, prompt) for i, prompt in enumerate(PROMPTS)
    )
]
KEPT, JOURNAL = Path("checkpoints/experts@teacher"), Path("checkpoints/experts@teacher.jsonl")
OUTPUTS = [f"data/experts/{name}" for name in ("experts.parquet", "quarantine.parquet", "report.json")]


def answer(body: Any) -> tuple[str, str]:
    """Right for two seeds of three, in three lengths."""
    problem, seed = body["messages"][-1]["content"], body["seed"]
    right = int(problem.partition(" ")[0]) + 3
    return f"so {seed} is " * (seed % 2) + f"\\boxed{{{right if seed % 3 else 99}}}", "stop"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made")
    tables.write(root / "data/prompts/train.parquet", map(tables.as_row, PROMPTS), tables.PROMPTS)
    rates = [
        {"prompt_id": prompt.prompt_id, "samples": 4, "solved": solved, "pass_rate": solved / 4}
        for prompt, solved in zip(PROMPTS, SOLVED, strict=False)
    ]
    tables.write(root / "data/rollouts/base/pass_rates.parquet", rates, tables.PASS_RATES)
    sizes = WarmStart(
        hidden_size=32,
        layers=1,
        heads=2,
        max_positions=128,
        steps=1,
        batch_size=1,
        optimizer=OptimizerConfig(lr=0.01),
        sources=[PromptSource(name="sums", reasoning_gym="chain_sum", size=4, seed=1, license="mit")],
    )
    save_policy(build_policy(sizes, [prompt.problem for prompt in PROMPTS], seed=1), root / "models/base")
    return root


@pytest.fixture
def project(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Any
) -> Callable[..., Params]:
    """A project of its own for each name, in the current folder; returns its parameters."""
    torch.set_num_threads(1)
    server.answer = answer

    def enter(name: str = "project", url: str = server.url, **changes: Any) -> Params:
        root = tmp_path / name
        if not root.exists():
            shutil.copytree(made, root)
        monkeypatch.chdir(root)
        Path("params.yaml").write_text(PARAMS.replace("URL", url))
        params = load_params()
        assert params.teacher
        params = params.model_copy(update={"teacher": params.teacher.model_copy(update=changes)})
        run_stage(params, "teacher")
        return params

    return enter


def endpoint_with(params: Params, **changes: Any) -> Params:
    assert params.teacher and params.teacher.endpoint
    endpoint = params.teacher.endpoint.model_copy(update=changes)
    return params.model_copy(update={"teacher": params.teacher.model_copy(update={"endpoint": endpoint})})


def run(params: Params) -> dict[str, str]:
    """Hashes of what the stage leaves."""
    shutil.rmtree("data/experts", ignore_errors=True)  # as DVC does
    run_stage(params, "experts")
    assert not KEPT.exists(), "shards go once the outputs stand"
    return {out: sha256(Path(out).read_bytes()).hexdigest() for out in OUTPUTS}


def report() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path("data/experts/report.json").read_text())["teacher"]
    return found


def order(server: Any) -> list[str]:
    """The problems in the order in which they were first asked, up to those under way at once."""
    return list(dict.fromkeys(body["messages"][-1]["content"] for body in server.requests))


def test_every_trajectory_says_how_it_came_about(project: Callable[..., Params], server: Any) -> None:
    params = project()
    assert json.loads(Path("models/teacher_policy/teacher.json").read_text()) == {
        "teacher": {"model": "org/big", "revision": "r1"}
    }
    assert os.listdir("models/teacher_policy") == ["teacher.json"]
    run(params)
    rows = tables.read_experts(Path("data/experts/experts.parquet"))
    assert 6 < len(rows) <= N, "two samples of three are right"
    asked = {(body["messages"][-1]["content"], body["seed"]): body for body in server.requests}
    by_id = {prompt.prompt_id: prompt for prompt in PROMPTS}
    for row in rows:
        told, problem = json.loads(row.sampling), by_id[row.prompt_id].problem
        sample = told.pop("sample")
        assert row.sampling == json.dumps(told | {"sample": sample}, sort_keys=True)
        assert told == {
            "temperature": 0.7,
            "top_p": 1.0,
            "max_new_tokens": 10,
            "seed": 3,
            "chat_template": "the server's",
            "system_prompt": "Add up.",
        }
        assert (row.kind, row.source, row.author, row.license) == ("teacher", "teacher", "org/big@r1", "mit")
        body = asked[problem, derive(3, "teacher", row.prompt_id, sample) >> 32]
        assert row.response == answer(body)[0].strip() and row.verified
        assert body["messages"][0] == {"role": "system", "content": "Add up."}
    counts = report()
    assert counts["in"] == SAMPLES * N == counts["kept"] + sum(counts["dropped"].values())
    assert (counts["unasked"], counts["kept"]) == (0, len(rows))
    assert counts["generated_tokens"] == sum(len(answer(body)[0].split()) + 1 for body in server.requests)


def test_the_hardest_prompts_come_first(project: Callable[..., Params], server: Any) -> None:
    run(endpoint_with(project(), concurrency=1))
    assert order(server) == HARDEST


@pytest.mark.parametrize(("budget", "prompts"), [(3, 1), (11, 3), (12, 4), (36, 12), (500, 12)])
def test_a_budget_of_samples(project: Callable[..., Params], server: Any, budget: int, prompts: int) -> None:
    run(project(budget_samples=budget))
    assert len(server.requests) == SAMPLES * prompts <= budget
    assert sorted(order(server)) == sorted(HARDEST[:prompts])
    assert report()["unasked"] == N - prompts and report()["in"] == SAMPLES * prompts


@pytest.mark.parametrize("budget", [30, 61, 90, 10_000])
def test_a_budget_of_tokens_is_used_up_and_never_overdrawn(
    project: Callable[..., Params], server: Any, budget: int
) -> None:
    run(project(budget_tokens=budget))
    counts = report()
    spent = sum(len(answer(body)[0].split()) + 1 for body in server.requests)
    assert counts["generated_tokens"] == spent <= budget
    asked = len(server.requests) // SAMPLES
    assert sorted(order(server)) == sorted(HARDEST[:asked]) and counts["unasked"] == N - asked
    # One more prompt may have taken 3 responses of 10 tokens.
    assert asked == N or budget - spent < 30
    assert asked > budget // 30 or asked == N or budget == 30, (
        "responses shorter than they may be pay for more"
    )


def test_a_server_without_counts_is_taken_to_have_used_all(
    project: Callable[..., Params], server: Any, faults: Any
) -> None:
    reply = {"choices": [{"finish_reason": "stop", "message": {"content": "4"}}]}
    server.faults = {p.problem: [faults.body(json.dumps(reply).encode())] * SAMPLES for p in PROMPTS}
    run(project(budget_tokens=60))
    assert len(server.requests) == 2 * SAMPLES
    assert report()["generated_tokens"] == 60, "what the budget was charged with"


def test_what_is_no_response_is_charged_as_well_unless_it_was_refused(
    project: Callable[..., Params], server: Any, faults: Any
) -> None:
    choices = [{"finish_reason": "content_filter", "message": {"content": "4"}}]
    filtered = faults.body(json.dumps({"choices": choices}).encode())
    too_long = faults.status(400, {"error": {"message": "maximum context length is 8 tokens"}})
    server.faults = {HARDEST[0]: [too_long] * SAMPLES, HARDEST[1]: [filtered] * SAMPLES}
    run(endpoint_with(project(budget_tokens=60), concurrency=1))
    assert order(server)[:2] == HARDEST[:2]
    spent = sum(
        {HARDEST[0]: 0, HARDEST[1]: 10}.get(problem, len(answer(body)[0].split()) + 1)
        for body in server.requests
        for problem in [body["messages"][-1]["content"]]
    )
    counts = report()
    assert counts["dropped"]["no_response"] == 2 * SAMPLES
    assert 30 < counts["generated_tokens"] == spent <= 60


def test_a_prompt_that_no_arm_can_train_on_is_not_asked(project: Callable[..., Params], server: Any) -> None:
    params = project()
    problem = "0 + 3 = " + "1 + " * 60 + "0 ="
    long = Prompt(prompt_id(problem), problem, "63", "exact", "sums", "mit")
    prompts = [*PROMPTS[:4], long, *PROMPTS[4:]]
    tables.write(Path("data/prompts/train.parquet"), map(tables.as_row, prompts), tables.PROMPTS)
    run(params)
    assert sorted(order(server)) == sorted(HARDEST)
    bad = tables.read(Path("data/experts/quarantine.parquet"))
    told = [row for row in bad if row["reason"] == "prompt_too_long"]
    assert [(row["stage"], row["line"], row["row"]) for row in told] == [("experts", 5, problem)]
    assert "raise rollout.max_prompt_tokens (60)" in told[0]["detail"]
    assert (report()["unasked"], report()["in"]) == (0, SAMPLES * N)


def build_slow_verifiers(patch: pytest.MonkeyPatch) -> list[float]:
    """Time-outs of the verifiers that the stage builds; all take SECONDS over answers to one prompt."""
    built: list[float] = []

    def build(params: Params) -> VerifierPool:
        built.append(params.verifier.timeout_s)
        return VerifierPool(2, params.verifier.timeout_s, grade_slowly)

    for module in (experts, regrade):
        patch.setattr(module, "build_verifier", build)
    return built


def with_timeout(params: Params, seconds: float) -> Params:
    verifier = params.verifier.model_copy(update={"timeout_s": seconds})
    return params.model_copy(update={"verifier": verifier})


def test_what_was_paid_for_is_judged_again_with_ten_times_the_time(
    project: Callable[..., Params],
    server: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    params = project()
    expected = run(params)
    with monkeypatch.context() as patch:
        pools = build_slow_verifiers(patch)
        assert run(with_timeout(params, SECONDS / 2)) == expected
        assert pools == [SECONDS / 2, SECONDS * 5]
        assert not [record for record in caplog.records if record.levelno == logging.WARNING]

        assert run(with_timeout(params, SECONDS / 20)) != expected
    assert report()["dropped"]["verifier_error"] == SAMPLES, "nothing is made of them"
    [said] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert said.startswith("3 responses of the teacher have no verdict, not even with 2 s for each")
    bad = tables.read(Path("data/experts/quarantine.parquet"))
    silent = {json.loads(row["row"])["prompt_id"] for row in bad if row["reason"] == "verifier_error"}
    assert silent == {prompt.prompt_id for prompt in PROMPTS if prompt.answer == SLOW_GOLD}
    assert run(params) == expected
    assert len(server.requests) == SAMPLES * N, "the server was asked once"


def test_refused_prompts_are_quarantined_and_the_rest_goes_on(
    project: Callable[..., Params], server: Any, faults: Any
) -> None:
    too_long = faults.status(400, {"error": {"message": "maximum context length is 8 tokens"}})
    server.faults = {HARDEST[0]: [too_long] * SAMPLES}
    run(project())
    counts = report()
    assert counts["dropped"]["no_response"] == SAMPLES and counts["in"] == SAMPLES * N
    bad = tables.read(Path("data/experts/quarantine.parquet"))
    told = [row for row in bad if row["reason"] == "no_response"]
    assert {row["detail"] for row in told} == {"HTTP 400: maximum context length is 8 tokens"}
    assert {json.loads(row["row"])["prompt_id"] for row in told} == {prompt_id(HARDEST[0])}
    assert len(told) == SAMPLES and counts["kept"] > 6


def test_a_server_that_refuses_every_prompt_is_an_error(
    project: Callable[..., Params], server: Any, faults: Any
) -> None:
    too_long = faults.status(400, {"error": {"message": "maximum context length is 8 tokens"}})
    server.faults = {prompt.problem: [too_long] * SAMPLES for prompt in PROMPTS}
    with pytest.raises(
        EngineError, match=r"org/big@r1 answered none of 36 requests: HTTP 400: maximum .*Correct"
    ):
        run(project())
    run(project())  # the server is set right
    assert report()["kept"] > 6


def at_request(when: int, server: Any, end: Callable[[], None]) -> None:
    """`end` something at a request, before it is answered."""

    def reply(body: Any) -> tuple[str, str]:
        if len(server.requests) == when:
            end()
        return answer(body)

    server.answer = reply


def kill_stage(when: int, server: Any) -> None:
    """Run the stage as its command does, and kill it at a request."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pipelines.experts"],
        env={**os.environ, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    at_request(when, server, process.kill)
    _, said = process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL, said


def interrupt_stage(when: int, server: Any) -> None:
    """Ctrl-C at a request."""
    at_request(when, server, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        run(load_params())


@pytest.mark.parametrize("end", [kill_stage, interrupt_stage])
def test_ended_and_run_again(
    project: Callable[..., Params],
    server: Any,
    start_server: Callable[[], Any],
    end: Callable[[int, Any], None],
) -> None:
    expected = run(project("uninterrupted"))
    server.requests.clear()

    params = project("ended")
    end(25, server)
    kept, before = len(JOURNAL.read_bytes().splitlines()), len(server.requests)
    assert len(list(KEPT.glob("*/0*.parquet"))) == 1 and 15 < kept <= 25 <= before < 28
    assert not Path("data/experts").exists()
    other = start_server()
    other.answer = answer
    assert run(endpoint_with(params, url=other.url)) == expected
    assert len(other.requests) == SAMPLES * N - kept, "what was answered is not asked again"
    assert set((server.asked + other.asked).values()) <= {1, 2}
    assert len(server.asked | other.asked) == SAMPLES * N

    # What was paid for stays: another pace, or another server of the same model, asks for nothing.
    asked = len(other.requests)
    assert run(endpoint_with(params, concurrency=5, timeout_s=9.0, retries=4)) == expected
    assert len(server.requests) == before and len(other.requests) == asked and JOURNAL.exists()


def test_a_server_that_dies_in_the_middle(
    project: Callable[..., Params],
    server: Any,
    start_server: Callable[[], Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    expected = run(project("uninterrupted"))
    server.requests.clear()

    project("dead")
    at_request(20, server, server.stop)
    with pytest.raises(SystemExit) as left:
        experts.main()
    kept = len(JOURNAL.read_bytes().splitlines())
    last = caplog.records[-1]
    assert left.value.code == 2 and last.exc_info is None
    assert f"Nothing is lost: {kept} responses are kept in {JOURNAL}" in last.getMessage()
    assert last.getMessage().endswith("then run the stage again")
    other = start_server()
    other.answer = answer
    assert run(project("dead", url=other.url)) == expected
    assert len(other.requests) == SAMPLES * N - kept and kept >= 18


def test_a_policy_of_our_own_goes_on_as_well(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    shutil.copytree(made, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    Path("params.yaml").write_text(OF_OUR_OWN)
    params = load_params()
    run_stage(params, "teacher")
    assert params.teacher
    endless = params.teacher.model_copy(update={"max_new_tokens": 100})
    with pytest.raises(InputError, match=r"teacher.max_new_tokens is 160, and the teacher has 128 positions"):
        run(params.model_copy(update={"teacher": endless}))
    calls: list[int] = []

    def generate(self: HFEngine, prompts: Any, *given: Any, real: Any = HFEngine.generate) -> Any:
        calls.append(len(prompts))
        return real(self, prompts, *given)

    monkeypatch.setattr(HFEngine, "generate", generate)
    expected = run(params)
    assert calls == [6] * 6 and report()["in"] == SAMPLES * N, "parts of two prompts"
    shutil.rmtree("data/experts")

    env = {**os.environ, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=env, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(list(KEPT.glob("*/0*.parquet"))) == 2
    calls.clear()
    assert run(params) == expected
    assert calls == [6] * 4
    assert not JOURNAL.exists()

"""The teacher behind a real server: hardest prompts first, within the budget, no response paid for twice."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
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
from pipelines import teacher_responses
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
LOCAL_TEACHER = (
    PARAMS[: PARAMS.index("  endpoint:")]
    + "  policy: {model: models/base}\n"
    + PARAMS[PARAMS.index("rollout: {") :].replace("{group_size", "{slots: 6, group_size")
)
# Runs the stage as its command does, and kills the process once the third part is generated.
SCRIPT = """
import os, runpy, signal
from hpt_core.rollout.engines.hf import HFEngine

parts = []

def generate(*arguments, real=HFEngine.generate):
    parts.append(real(*arguments))
    if len(parts) == 5:  # two check the engine
        os.kill(os.getpid(), signal.SIGKILL)
    return parts[-1]

HFEngine.generate = generate
runpy.run_module("pipelines.teacher_responses", run_name="__main__")
"""
SAMPLES, N = 3, 12
PROMPTS = [
    Prompt(prompt_id(f"{a} + 3 ="), f"{a} + 3 =", f"{a + 3}", "exact", "sums", "mit") for a in range(N)
]
# Correct rollouts of four, by prompt; the last prompt has no pass rate.
SOLVED = [4, 0, 2, 1, 3, 0, 4, 2, 1, 3, 2]
HARDEST = [
    prompt.problem
    for _, _, prompt in sorted(
        (SOLVED[i] if i < len(SOLVED) else 0, prompt.prompt_id, prompt) for i, prompt in enumerate(PROMPTS)
    )
]
SHARDS, RESPONSE_LOG = Path("checkpoints/experts@teacher"), Path("checkpoints/experts@teacher.jsonl")
OUTPUTS = [
    *(f"data/teacher/{name}" for name in ("responses.parquet", "quarantine.parquet", "teacher.json")),
    *(f"data/experts/{name}" for name in ("experts.parquet", "quarantine.parquet", "report.json")),
]


def answer(body: Any) -> tuple[str, str]:
    """A response that is correct for two of three seeds, in three lengths."""
    problem, seed = body["messages"][-1]["content"], body["seed"]
    right = int(problem.partition(" ")[0]) + 3
    return f"so {seed} is " * (seed % 2) + f"\\boxed{{{right if seed % 3 else 99}}}", "stop"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("prepared")
    tables.write(root / "data/prompts/train.parquet", map(tables.as_row, PROMPTS), tables.PROMPTS)
    tables.write(root / "data/prompts/left_out.parquet", [], tables.LEFT_OUT)
    rates = [
        {"prompt_id": prompt.prompt_id, "samples": 4, "solved": solved, "pass_rate": solved / 4}
        for prompt, solved in zip(PROMPTS, SOLVED, strict=False)
    ]
    tables.write(root / "data/rollouts/base/pass_rates.parquet", rates, tables.PASS_RATES)
    tables.write(root / "data/rollouts/base/rollouts.parquet", [], tables.ROLLOUTS)
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
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Any
) -> Callable[..., Params]:
    """Enter the project of a name, made at the first call, and return its parameters."""
    torch.set_num_threads(1)
    server.answer = answer

    def enter(name: str = "project", url: str = server.url, **changes: Any) -> Params:
        root = tmp_path / name
        if not root.exists():
            shutil.copytree(prepared, root)
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
    """Run the stage and the one that ingests its responses, and hash the outputs of both."""
    for folder in ("data/teacher", "data/experts"):
        shutil.rmtree(folder, ignore_errors=True)  # as DVC does
    run_stage(params, "teacher_responses")
    run_stage(params, "experts")
    assert not SHARDS.exists(), "the shards are removed once the outputs are complete"
    return {out: sha256(Path(out).read_bytes()).hexdigest() for out in OUTPUTS}


def report() -> dict[str, Any]:
    counts: dict[str, Any] = json.loads(Path("data/experts/report.json").read_text())["teacher"]
    return counts


def order(server: Any) -> list[str]:
    """The problems in the order of their first requests; concurrent requests may change places."""
    return list(dict.fromkeys(body["messages"][-1]["content"] for body in server.requests))


def test_every_trajectory_records_how_it_was_sampled(project: Callable[..., Params], server: Any) -> None:
    params = project()
    assert json.loads(Path("models/teacher_policy/teacher.json").read_text()) == {
        "teacher": {"model": "org/big", "revision": "r1"}
    }
    assert os.listdir("models/teacher_policy") == ["teacher.json"]
    run(params)
    rows = tables.read_experts(Path("data/experts/experts.parquet"))
    assert 6 < len(rows) <= N, "two samples of three are right"
    requests = {(body["messages"][-1]["content"], body["seed"]): body for body in server.requests}
    by_id = {prompt.prompt_id: prompt for prompt in PROMPTS}
    for row in rows:
        sampling, problem = json.loads(row.sampling), by_id[row.prompt_id].problem
        sample = sampling.pop("sample")
        assert row.sampling == json.dumps(sampling | {"sample": sample}, sort_keys=True)
        assert sampling == {
            "temperature": 0.7,
            "top_p": 1.0,
            "max_new_tokens": 10,
            "seed": 3,
            "chat_template": "the server's",
            "system_prompt": "Add up.",
        }
        assert (row.kind, row.source, row.author, row.license) == ("teacher", "teacher", "org/big@r1", "mit")
        body = requests[problem, derive(3, "teacher", row.prompt_id, sample) >> 32]
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
def test_a_budget_of_tokens_is_used_up_and_not_exceeded(
    project: Callable[..., Params], server: Any, budget: int
) -> None:
    run(project(budget_tokens=budget))
    counts = report()
    spent = sum(len(answer(body)[0].split()) + 1 for body in server.requests)
    assert counts["generated_tokens"] == spent <= budget
    prompts = len(server.requests) // SAMPLES
    assert sorted(order(server)) == sorted(HARDEST[:prompts]) and counts["unasked"] == N - prompts
    # A further prompt can take 3 responses of 10 tokens.
    assert prompts == N or budget - spent < 30
    assert prompts > budget // 30 or prompts == N or budget == 30, (
        "what short responses leave of the budget pays for further prompts"
    )


def test_without_token_counts_the_longest_response_is_charged(
    project: Callable[..., Params], server: Any, faults: Any
) -> None:
    reply = {"choices": [{"finish_reason": "stop", "message": {"content": "4"}}]}
    server.faults = {p.problem: [faults.body(json.dumps(reply).encode())] * SAMPLES for p in PROMPTS}
    run(project(budget_tokens=60))
    assert len(server.requests) == 2 * SAMPLES
    assert report()["generated_tokens"] == 60, "as charged to the budget"


def test_a_filtered_response_is_charged_and_a_refused_prompt_is_not(
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


def test_a_prompt_that_is_too_long_for_training_is_not_sampled(
    project: Callable[..., Params], server: Any
) -> None:
    params = project()
    problem = "0 + 3 = " + "1 + " * 60 + "0 ="
    long = Prompt(prompt_id(problem), problem, "63", "exact", "sums", "mit")
    prompts = [*PROMPTS[:4], long, *PROMPTS[4:]]
    tables.write(Path("data/prompts/train.parquet"), map(tables.as_row, prompts), tables.PROMPTS)
    run(params)
    assert sorted(order(server)) == sorted(HARDEST)
    bad = tables.read(Path("data/experts/quarantine.parquet"))
    rows = [row for row in bad if row["reason"] == "prompt_too_long"]
    assert [(row["stage"], row["line"], row["row"]) for row in rows] == [("experts", 5, problem)]
    assert "raise rollout.max_prompt_tokens (60)" in rows[0]["detail"]
    assert (report()["unasked"], report()["in"]) == (0, SAMPLES * N)


def build_slow_verifiers(patch: pytest.MonkeyPatch) -> list[float]:
    """Slow verifiers for the stage, which take SECONDS for one of the prompts; returns their time limits."""
    built: list[float] = []

    def build(params: Params) -> VerifierPool:
        built.append(params.verifier.timeout_s)
        return VerifierPool(2, params.verifier.timeout_s, grade_slowly)

    for module in (teacher_responses, regrade):
        patch.setattr(module, "build_verifier", build)
    return built


def with_timeout(params: Params, seconds: float) -> Params:
    verifier = params.verifier.model_copy(update={"timeout_s": seconds})
    return params.model_copy(update={"verifier": verifier})


@pytest.mark.slow
def test_a_response_without_a_verdict_is_graded_again_with_ten_times_the_time(
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
    assert report()["dropped"]["verifier_error"] == SAMPLES, "they become no trajectories"
    [message] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert message.startswith("3 responses of the teacher have no verdict, not even with 2 s for each")
    bad = tables.read(Path("data/experts/quarantine.parquet"))
    unjudged = {json.loads(row["row"])["prompt_id"] for row in bad if row["reason"] == "verifier_error"}
    assert unjudged == {prompt.prompt_id for prompt in PROMPTS if prompt.answer == SLOW_GOLD}
    assert run(params) == expected
    assert len(server.requests) == SAMPLES * N, "each response was requested once"


def test_refused_prompts_are_quarantined_and_the_others_are_sampled(
    project: Callable[..., Params], server: Any, faults: Any
) -> None:
    too_long = faults.status(400, {"error": {"message": "maximum context length is 8 tokens"}})
    server.faults = {HARDEST[0]: [too_long] * SAMPLES}
    run(project())
    counts = report()
    assert counts["dropped"]["no_response"] == SAMPLES and counts["in"] == SAMPLES * N
    bad = tables.read(Path("data/experts/quarantine.parquet"))
    rows = [row for row in bad if row["reason"] == "no_response"]
    assert {row["detail"] for row in rows} == {"HTTP 400: maximum context length is 8 tokens"}
    assert {json.loads(row["row"])["prompt_id"] for row in rows} == {prompt_id(HARDEST[0])}
    assert len(rows) == SAMPLES and counts["kept"] > 6


def test_a_refused_prompt_is_asked_again_only_if_the_parameters_say_so(
    project: Callable[..., Params], server: Any, faults: Any, caplog: pytest.LogCaptureFixture
) -> None:
    filtered = faults.status(
        400, {"error": {"message": "The response was filtered", "code": "content_filter"}}
    )
    server.faults = {HARDEST[0]: [filtered] * SAMPLES}
    first, params = run(project()), project()
    assert report()["dropped"]["no_response"] == SAMPLES and len(server.requests) == SAMPLES * N
    assert f"no response to {SAMPLES} of {SAMPLES * N} requests" in caplog.text
    assert run(params) == first and len(server.requests) == SAMPLES * N
    run(endpoint_with(params, retry_refused=True))
    assert "no_response" not in report()["dropped"] and len(server.requests) == SAMPLES * (N + 1)
    assert {body["messages"][-1]["content"] for body in server.requests[SAMPLES * N :]} == {HARDEST[0]}


def test_reasoning_apart_from_the_answer_becomes_part_of_the_trajectory(
    project: Callable[..., Params], server: Any, faults: Any
) -> None:
    def reasoned(prompt: Prompt) -> Any:
        message = {"content": f"\\boxed{{{prompt.answer}}}", "reasoning_content": "I add."}
        return faults.events({"choices": [{"delta": message, "finish_reason": "STOP"}]})

    server.faults = {prompt.problem: [reasoned(prompt)] * SAMPLES for prompt in PROMPTS}
    params = endpoint_with(project(), reasoning="think", stream=True)
    run(params)
    rows = tables.read_experts(Path("data/experts/experts.parquet"))
    answers = {prompt.prompt_id: prompt.answer for prompt in PROMPTS}
    assert {(row.response, answers[row.prompt_id]) for row in rows} == {
        (f"<think>\nI add.\n</think>\n\n\\boxed{{{answer}}}", answer) for answer in answers.values()
    }
    run(endpoint_with(params, reasoning="omit"))
    rows = tables.read_experts(Path("data/experts/experts.parquet"))
    assert {row.response for row in rows} == {f"\\boxed{{{answer}}}" for answer in answers.values()}
    assert len(server.requests) == SAMPLES * N


def test_a_teacher_rewrites_the_solutions_of_a_program(project: Callable[..., Params], server: Any) -> None:
    def respond(body: Any) -> tuple[str, str]:
        problem, _, solution = body["messages"][-1]["content"].removeprefix("Say ").partition(" by ")
        assert solution.startswith(f"{problem} ")
        return solution.replace("\\boxed", "so \\boxed"), "stop"

    server.answer = respond
    params = project()
    sums = [replace(prompt, answer_kind="reasoning_gym:chain_sum") for prompt in PROMPTS[:4]]
    tables.write(
        Path("data/prompts/train.parquet"), map(tables.as_row, [*sums, *PROMPTS[4:]]), tables.PROMPTS
    )
    config = params.teacher.model_copy(update={"rewrite": "Say {problem} by {solution}"})  # type: ignore[union-attr]
    run(params.model_copy(update={"teacher": config}))
    rows = tables.read_experts(Path("data/experts/experts.parquet"))
    assert {row.prompt_id for row in rows} == {prompt.prompt_id for prompt in sums}
    assert len(server.requests) == SAMPLES * len(sums), "what no program solves is not asked"
    assert {row.response for row in rows} == {f"{a} + 3 = {a + 3}\nso \\boxed{{{a + 3}}}" for a in range(4)}
    assert {json.loads(row.sampling)["rewrite"] for row in rows} == {config.rewrite}


def test_what_the_host_did_not_take_is_recorded_as_null(project: Callable[..., Params], server: Any) -> None:
    sent: list[Any] = []

    def respond(body: Any) -> tuple[str, str]:
        sent.append(body)
        return "\\boxed{3}", "stop"

    server.answer = respond
    run(endpoint_with(project(), parameters={"seed": None, "top_p": None}, body={"top_k": 20}))
    (row,) = tables.read_experts(Path("data/experts/experts.parquet"))
    sampling = json.loads(row.sampling)
    assert [sampling[name] for name in ("temperature", "top_p", "seed", "max_new_tokens", "top_k")] == [
        0.7,
        None,
        None,
        10,
        20,
    ]
    assert len(sent) == SAMPLES * N and all("seed" not in body and body["top_k"] == 20 for body in sent)


def test_a_server_that_refuses_every_prompt_is_an_error(
    project: Callable[..., Params], server: Any, faults: Any
) -> None:
    too_long = faults.status(400, {"error": {"message": "maximum context length is 8 tokens"}})
    server.faults = {prompt.problem: [too_long] * SAMPLES for prompt in PROMPTS}
    with pytest.raises(
        EngineError, match=r"org/big@r1 answered none of 36 requests: HTTP 400: maximum .*Correct"
    ):
        run(project())
    run(project())  # The server accepts the prompts now.
    assert report()["kept"] > 6


def at_request(when: int, server: Any, end: Callable[[], None]) -> None:
    """Call `end` at a request, before its answer."""

    def reply(body: Any) -> tuple[str, str]:
        if len(server.requests) == when:
            end()
        return answer(body)

    server.answer = reply


def kill_stage(when: int, server: Any) -> None:
    """Run the stage as its command does, and kill it at a request."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pipelines.teacher_responses"],
        env={**os.environ, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    at_request(when, server, process.kill)
    _, output = process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL, output


def interrupt_stage(when: int, server: Any) -> None:
    """Interrupt this process, as Ctrl-C does, at a request."""
    at_request(when, server, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        run(load_params())


@pytest.mark.parametrize("end", [pytest.param(kill_stage, marks=pytest.mark.slow), interrupt_stage])
def test_an_interrupted_stage_requests_nothing_twice(
    project: Callable[..., Params],
    server: Any,
    start_server: Callable[[], Any],
    end: Callable[[int, Any], None],
) -> None:
    expected = run(project("uninterrupted"))
    server.requests.clear()

    params = project("ended")
    end(25, server)
    kept, before = len(RESPONSE_LOG.read_bytes().splitlines()), len(server.requests)
    assert len(list(SHARDS.glob("*/0*.parquet"))) == 1 and 15 < kept <= 25 <= before < 28
    assert not Path("data/teacher").exists()
    other = start_server()
    other.answer = answer
    assert run(endpoint_with(params, url=other.url)) == expected
    assert len(other.requests) == SAMPLES * N - kept, "what was answered is not requested again"
    assert set((server.request_counts + other.request_counts).values()) <= {1, 2}
    assert len(server.request_counts | other.request_counts) == SAMPLES * N

    # The logged responses serve a run with another pace or another server of the same model.
    requested = len(other.requests)
    assert run(endpoint_with(params, concurrency=5, timeout_s=9.0, retries=4)) == expected
    assert len(server.requests) == before and len(other.requests) == requested and RESPONSE_LOG.exists()


def test_a_server_that_stops_in_the_middle(
    project: Callable[..., Params],
    server: Any,
    start_server: Callable[[], Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    expected = run(project("uninterrupted"))
    server.requests.clear()

    project("stopped")
    at_request(20, server, server.stop)
    with pytest.raises(SystemExit) as exit_status:
        teacher_responses.main()
    kept = len(RESPONSE_LOG.read_bytes().splitlines())
    last = caplog.records[-1]
    assert exit_status.value.code == 2 and last.exc_info is None
    assert f"Nothing is lost: {kept} responses are kept in {RESPONSE_LOG}" in last.getMessage()
    assert last.getMessage().endswith("then run the stage again")
    other = start_server()
    other.answer = answer
    assert run(project("stopped", url=other.url)) == expected
    assert len(other.requests) == SAMPLES * N - kept and kept >= 18


def test_a_local_teacher_resumes_as_well(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    shutil.copytree(prepared, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    Path("params.yaml").write_text(LOCAL_TEACHER)
    params = load_params()
    run_stage(params, "teacher")
    assert params.teacher
    endless = params.teacher.model_copy(update={"max_new_tokens": 100})
    with pytest.raises(InputError, match=r"teacher.max_new_tokens is 160, and the model has 128 positions"):
        run(params.model_copy(update={"teacher": endless}))
    calls: list[int] = []

    def generate(self: HFEngine, prompts: Any, *arguments: Any, real: Any = HFEngine.generate) -> Any:
        calls.append(len(prompts))
        return real(self, prompts, *arguments)

    monkeypatch.setattr(HFEngine, "generate", generate)
    expected = run(params)
    assert calls == [4, 4] + [6] * 6 and report()["in"] == SAMPLES * N, "a check, and parts of two prompts"
    shutil.rmtree("data/teacher")

    env = {**os.environ, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=env, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(list(SHARDS.glob("*/0*.parquet"))) == 2
    calls.clear()
    assert run(params) == expected
    assert calls == [4, 4] + [6] * 4
    assert not RESPONSE_LOG.exists()

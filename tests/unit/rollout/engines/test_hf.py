"""The transformers engine samples from the model's distribution and reports the right log-probabilities."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from hpt_core.config import Sampling
from hpt_core.policy.model import LoadedPolicy, weights_hash
from hpt_core.policy.weights.hashed import HashedWeights
from hpt_core.rollout.engines.hf import HFEngine
from hpt_core.rollout.engines.sampling import draw
from hpt_core.types import Completion

GREEDY = Sampling(temperature=0.0, max_new_tokens=20)
WARM = Sampling(temperature=0.8, max_new_tokens=20)


def plain_logits(policy: LoadedPolicy, prompt: Sequence[int], response: Sequence[int]) -> Tensor:
    """Logits [T, V] for each response token, from one forward pass without padding or cache."""
    with torch.no_grad():
        logits = policy.model(torch.tensor([[*prompt, *response]]), use_cache=False).logits[0]
    return logits[len(prompt) - 1 : -1]


@pytest.fixture(params=["policy", "absolute"])
def either(request: pytest.FixtureRequest) -> LoadedPolicy:
    """Each of two architectures."""
    policy: LoadedPolicy = request.getfixturevalue(request.param)
    return policy


@pytest.fixture
def stopping(policy: LoadedPolicy, prompt_tokens: list[list[int]]) -> LoadedPolicy:
    """The policy with more stop tokens: some for sampling, and one that greedy decoding reaches early."""
    unstopped = HFEngine(policy).generate(prompt_tokens, [0] * len(prompt_tokens), GREEDY)
    policy.model.generation_config.eos_token_id = [
        policy.tokenizer.eos_token_id,
        *range(100, 120),
        unstopped[0].token_ids[4],
    ]
    return policy


def test_greedy_decoding_equals_that_of_transformers(
    stopping: LoadedPolicy, prompt_tokens: list[list[int]]
) -> None:
    completions = HFEngine(stopping).generate(prompt_tokens, [0] * len(prompt_tokens), GREEDY)
    width, pad = max(map(len, prompt_tokens)), stopping.tokenizer.pad_token_id
    expected = stopping.model.generate(
        torch.tensor([[pad] * (width - len(p)) + p for p in prompt_tokens]),
        attention_mask=torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompt_tokens]),
        do_sample=False,
        max_new_tokens=20,
        eos_token_id=stopping.model.generation_config.eos_token_id,
        pad_token_id=pad,
    )[:, width:].tolist()
    stops = set(stopping.model.generation_config.eos_token_id)
    for completion, row in zip(completions, expected, strict=True):
        end = next((i + 1 for i, token in enumerate(row) if token in stops), len(row))
        assert list(completion.token_ids) == row[:end]
    assert {c.finish_reason for c in completions} == {"stop", "length"}, "the prompts must cover both"


def test_finish_reason_and_the_stop_token(stopping: LoadedPolicy, prompt_tokens: list[list[int]]) -> None:
    stops = set(stopping.model.generation_config.eos_token_id)
    completions = HFEngine(stopping).generate(prompt_tokens * 20, range(100), WARM)
    for completion in completions:
        *body, last = completion.token_ids
        assert not stops & set(body), "nothing is generated after a stop token"
        assert len(completion.logprobs) == len(completion.token_ids) <= 20
        if completion.finish_reason == "stop":
            assert last in stops
        else:
            assert last not in stops and len(completion.token_ids) == 20
    assert {completion.finish_reason for completion in completions} == {"stop", "length"}
    assert not any("<|end|>" in completion.response for completion in completions)


def test_logprobs_equal_those_of_a_plain_forward_pass(
    either: LoadedPolicy, prompt_tokens: list[list[int]]
) -> None:
    prompts = prompt_tokens * 4
    for completion, prompt in zip(HFEngine(either).generate(prompts, range(20), WARM), prompts, strict=True):
        logits = plain_logits(either, prompt, completion.token_ids) / WARM.temperature
        expected = logits.log_softmax(-1).gather(1, torch.tensor(completion.token_ids)[:, None]).squeeze(1)
        assert_close(torch.tensor(completion.logprobs), expected, rtol=0, atol=2e-5)


def test_a_completion_does_not_depend_on_its_batch(
    stopping: LoadedPolicy, prompt_tokens: list[list[int]]
) -> None:
    prompts, seeds = prompt_tokens * 5, list(range(25))
    together = HFEngine(stopping).generate(prompts, seeds, WARM)
    alone = [HFEngine(stopping).generate([p], [s], WARM)[0] for p, s in zip(prompts, seeds, strict=True)]
    backwards = HFEngine(stopping).generate(prompts[::-1], seeds[::-1], WARM)[::-1]
    few_slots = HFEngine(stopping, slots=3).generate(prompts, seeds, WARM)
    for other in (alone, backwards, few_slots):
        assert _without_logprobs(other) == _without_logprobs(together)
    reseeded = HFEngine(stopping).generate(prompts, [seed + 100 for seed in seeds], WARM)
    assert _without_logprobs(reseeded) != _without_logprobs(together)


def _without_logprobs(completions: Sequence[Completion]) -> list[tuple[str, tuple[int, ...], str]]:
    return [(c.response, c.token_ids, c.finish_reason) for c in completions]


@pytest.mark.parametrize("top_p", [1.0, 0.6])
def test_first_tokens_have_the_distribution_of_the_model(
    policy: LoadedPolicy, prompt_tokens: list[list[int]], top_p: float
) -> None:
    sampling = Sampling(temperature=0.3, top_p=top_p, max_new_tokens=1)
    prompt, n = prompt_tokens[1], 4000
    completions = HFEngine(policy, slots=1000).generate([prompt] * n, range(n), sampling)
    logits = plain_logits(policy, prompt, [0])[0].double()
    counts = torch.bincount(
        torch.tensor([c.token_ids[0] for c in completions]), minlength=len(logits)
    ).double()

    expected = _nucleus(logits / 0.3, top_p)
    assert int((expected > 0.01).sum()) >= 3, "the distribution must not be concentrated on one token"
    assert counts[expected == 0].sum() == 0, "a token outside the nucleus was drawn"
    assert _p_value(counts, n * expected) > 1e-3
    # The test has power: a slightly different temperature would fail.
    assert _p_value(counts, n * _nucleus(logits / 0.36, top_p)) < 1e-6


def _nucleus(logits: Tensor, top_p: float) -> Tensor:
    """Probabilities of the fewest most likely tokens that hold `top_p`, scaled to sum to 1."""
    probabilities = logits.softmax(-1)
    kept, mass = torch.zeros_like(probabilities), 0.0
    for token in probabilities.argsort(descending=True).tolist():
        kept[token] = probabilities[token]
        mass += float(probabilities[token])
        if mass >= top_p:
            break
    return kept / kept.sum()


def _p_value(counts: Tensor, expected: Tensor) -> float:
    """The p-value of the chi-square test, with rare tokens in one bin."""
    frequent = expected >= 5
    observed = torch.cat([counts[frequent], counts[~frequent].sum()[None]])
    binned = torch.cat([expected[frequent], expected[~frequent].sum()[None]]).clamp(min=1e-9)
    statistic = ((observed - binned) ** 2 / binned)[binned > 1e-6].sum()
    freedom = torch.tensor(float((binned > 1e-6).sum() - 1), dtype=torch.float64)
    return float(torch.special.gammaincc(freedom / 2, statistic / 2))


def test_extreme_uniforms_never_draw_a_token_without_mass() -> None:
    logits = torch.tensor([[-torch.inf, 1.0, 2.0, -torch.inf]])
    sampling = Sampling(temperature=1.0, max_new_tokens=1)
    drawn = [
        int(draw(logits, torch.tensor([u], dtype=torch.float64), sampling)[0]) for u in (0.0, 1 - 2**-53)
    ]
    assert drawn == [1, 2]


def test_a_copy_in_another_dtype_does_not_change_the_policy(
    policy: LoadedPolicy, prompt_tokens: list[list[int]]
) -> None:
    before = weights_hash(policy.model)
    engine = HFEngine(policy, dtype=torch.bfloat16)
    engine.generate(prompt_tokens, range(5), WARM)
    engine.load_weights(HashedWeights(policy.model))
    assert policy.model.dtype == torch.float32 and weights_hash(policy.model) == before
    assert engine.model.dtype == torch.bfloat16
    assert engine.policy == before, "the hash is that of the policy, not of the copy"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_new_weights_change_the_output_and_the_hash(
    policy: LoadedPolicy, prompt_tokens: list[list[int]], dtype: torch.dtype
) -> None:
    engine = HFEngine(policy, dtype=dtype)
    old, old_hash = engine.generate(prompt_tokens, range(5), WARM), engine.policy
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.mul_(1.2)
    engine.load_weights(HashedWeights(policy.model))
    new = engine.generate(prompt_tokens, range(5), WARM)
    assert engine.policy == weights_hash(policy.model) != old_hash
    assert _without_logprobs(new) != _without_logprobs(old)
    assert _without_logprobs(
        HFEngine(policy, dtype=dtype).generate(prompt_tokens, range(5), WARM)
    ) == _without_logprobs(new)


def test_training_mode_is_restored(policy: LoadedPolicy, prompt_tokens: list[list[int]]) -> None:
    policy.model.train()
    HFEngine(policy).generate(prompt_tokens, range(5), WARM)
    assert policy.model.training

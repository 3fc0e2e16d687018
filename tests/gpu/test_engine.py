"""The transformers engine on the GPU samples what the model's own forward pass says."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from hpt_core.config import Sampling
from hpt_core.policy.batching import TrainingRow, pad
from hpt_core.policy.logprobs import token_logprobs
from hpt_core.policy.model import LoadedPolicy
from hpt_core.rollout.engines.hf import HFEngine
from hpt_core.types import Completion

WARM = Sampling(temperature=0.8, max_new_tokens=24)
GREEDY = Sampling(temperature=0.0, max_new_tokens=24)


def plain_logp(
    policy: LoadedPolicy, prompt: list[int], completion: Completion, temperature: float
) -> torch.Tensor:
    """[T] log-probabilities of the response, from one forward pass without padding or cache."""
    tokens = torch.tensor([[*prompt, *completion.token_ids]], device="cuda")
    with torch.no_grad():
        logits = policy.model(tokens, use_cache=False).logits[0, len(prompt) - 1 : -1]
    return (logits.float() / temperature).log_softmax(-1).gather(1, tokens[0, len(prompt) :, None]).squeeze(1)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.25)], ids=["float32", "bfloat16"]
)
def test_logprobs_equal_those_of_a_plain_forward_pass(
    policy: LoadedPolicy, prompts: list[list[int]], dtype: torch.dtype, tolerance: float
) -> None:
    engine, rows = HFEngine(policy, dtype=dtype), prompts * 4
    for prompt, completion in zip(rows, engine.generate(rows, range(20), WARM), strict=True):
        logprobs = torch.tensor(completion.logprobs, device="cuda")
        expected = plain_logp(policy, prompt, completion, WARM.temperature)
        assert_close(logprobs, expected, rtol=0, atol=tolerance)


def test_greedy_decoding_equals_that_of_transformers(policy: LoadedPolicy, prompts: list[list[int]]) -> None:
    for prompt, completion in zip(
        prompts, HFEngine(policy).generate(prompts, [0] * len(prompts), GREEDY), strict=True
    ):
        expected = policy.model.generate(
            torch.tensor([prompt], device="cuda"),
            do_sample=False,
            max_new_tokens=24,
            eos_token_id=policy.tokenizer.eos_token_id,
            pad_token_id=policy.tokenizer.pad_token_id,
        )[0, len(prompt) :].tolist()
        assert list(completion.token_ids) == expected


def test_the_same_seeds_give_the_same_responses(policy: LoadedPolicy, prompts: list[list[int]]) -> None:
    first, again = (HFEngine(policy).generate(prompts * 4, range(20), WARM) for _ in range(2))
    assert first == again
    other = HFEngine(policy).generate(prompts * 4, range(100, 120), WARM)
    assert [c.token_ids for c in other] != [c.token_ids for c in first]


def test_the_trainer_computes_the_same_logprobs(policy: LoadedPolicy, prompts: list[list[int]]) -> None:
    completions = HFEngine(policy).generate(prompts, range(5), WARM)
    rows = [
        TrainingRow(str(i), prompt, list(completion.token_ids), [], 1.0, i, None)
        for i, (prompt, completion) in enumerate(zip(prompts, completions, strict=True))
    ]
    batch = pad(rows, 0, torch.device("cuda"))
    with torch.no_grad():
        logp = token_logprobs(policy.model, batch, WARM.temperature).logp
    for row, completion in zip(logp, completions, strict=True):
        sampled = torch.tensor(completion.logprobs, device="cuda")
        assert_close(row[: len(sampled)], sampled, rtol=0, atol=1e-4)

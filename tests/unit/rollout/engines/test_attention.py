"""The attention of one new token is the usual one, only faster; so is the nucleus of a large vocabulary."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

from hpt_core.rollout.engines import attention
from hpt_core.rollout.engines.attention import NAME, fast_decoding
from hpt_core.rollout.engines.sampling import HEAD, _nucleus


@pytest.fixture
def model() -> LlamaForCausalLM:
    """Six heads in two groups, with weights large enough that attention is not uniform."""
    torch.manual_seed(3)
    shape = LlamaConfig(
        vocab_size=64,
        hidden_size=48,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=6,
        num_key_value_heads=2,
    )
    built = LlamaForCausalLM(shape).double().eval()
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.mul_(8.0 if parameter.ndim == 2 else 1.0)
    return built


@torch.no_grad()
def decoded(model: LlamaForCausalLM) -> torch.Tensor:
    """Logits of three new tokens after a left-padded prefill."""
    tokens = torch.arange(24).view(2, 12) % 64
    mask = torch.ones_like(tokens)
    mask[1, :5] = 0
    cache, logits = DynamicCache(config=model.config), []
    for first, last in ((0, 9), (9, 10), (10, 11), (11, 12)):
        output = model(
            input_ids=tokens[:, first:last],
            attention_mask=mask[:, :last],
            position_ids=(mask.cumsum(1) - 1).clamp(min=0)[:, first:last],
            past_key_values=cache,
            use_cache=True,
        )
        logits.append(output.logits[:, -1])
    return torch.stack(logits)


def test_one_token_attends_as_usual(model: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = decoded(model)
    lengths: list[int] = []
    ours = attention.decode_attention

    def counted(module: object, query: torch.Tensor, *rest: object, **named: object) -> object:
        lengths.append(query.shape[2])
        return ours(module, query, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setitem(attention.AttentionInterface._global_mapping, NAME, counted)
    with fast_decoding(model):
        fast = decoded(model)
    assert lengths.count(1) == 6, "two layers, three tokens"
    # Scores are taken in float32, whatever the weights are.
    assert_close(fast, usual, rtol=1e-4, atol=1e-4)
    assert usual.std() > 1


def test_the_model_is_left_as_it_was(model: LlamaForCausalLM) -> None:
    with pytest.raises(RuntimeError), fast_decoding(model):
        assert model.config._attn_implementation == NAME
        raise RuntimeError
    assert model.config._attn_implementation == "sdpa"


def test_a_model_that_asks_for_other_attention_keeps_it(model: LlamaForCausalLM) -> None:
    model.set_attn_implementation("eager")
    with fast_decoding(model):
        assert model.config._attn_implementation == "eager"


@pytest.mark.parametrize("sharpness", [0.01, 1.0, 5.0])
def test_the_nucleus_of_a_large_vocabulary_is_that_of_a_full_sort(sharpness: float) -> None:
    logits = torch.randn(6, 8 * HEAD, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    # One flat row beside peaked ones: each is cut as if it were alone.
    logits[1:] *= sharpness
    probabilities = logits.softmax(-1)
    kept = _nucleus(probabilities, 0.9)
    for row, mine in zip(probabilities, kept, strict=True):
        order = row.argsort(descending=True)
        before = row[order].cumsum(0) - row[order]
        expected = torch.zeros_like(row)
        expected[order[before < 0.9]] = row[order[before < 0.9]]
        assert_close(mine, expected, rtol=0, atol=0)

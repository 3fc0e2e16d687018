"""Attention of one new token equals PyTorch's, and the nucleus of a large vocabulary that of a full sort."""

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
    """A Llama with six heads in two groups, and weights so large that attention is not uniform."""
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


def test_attention_of_one_token_equals_pytorch_s(
    model: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = decoded(model)
    lengths: list[int] = []
    original = attention.decode_attention

    def counted(module: object, query: torch.Tensor, *rest: object, **named: object) -> object:
        lengths.append(query.shape[2])
        return original(module, query, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setitem(attention.AttentionInterface._global_mapping, NAME, counted)
    with fast_decoding(model):
        fast = decoded(model)
    assert lengths.count(1) == 6, "two layers, three tokens"
    # Scores are computed in float32, also for float64 weights.
    assert_close(fast, expected, rtol=1e-4, atol=1e-4)
    assert expected.std() > 1


def test_the_configured_attention_is_restored(model: LlamaForCausalLM) -> None:
    with pytest.raises(RuntimeError), fast_decoding(model):
        assert model.config._attn_implementation == NAME
        raise RuntimeError
    assert model.config._attn_implementation == "sdpa"


def test_a_model_with_other_attention_keeps_it(model: LlamaForCausalLM) -> None:
    model.set_attn_implementation("eager")
    with fast_decoding(model):
        assert model.config._attn_implementation == "eager"


@pytest.mark.parametrize("sharpness", [0.01, 1.0, 5.0])
def test_the_nucleus_of_a_large_vocabulary_equals_that_of_a_full_sort(sharpness: float) -> None:
    logits = torch.randn(6, 8 * HEAD, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    # The first row stays flat while the others may be peaked; each is cut independently.
    logits[1:] *= sharpness
    probabilities = logits.softmax(-1)
    kept = _nucleus(probabilities, 0.9)
    for row, kept_row in zip(probabilities, kept, strict=True):
        order = row.argsort(descending=True)
        before = row[order].cumsum(0) - row[order]
        expected = torch.zeros_like(row)
        expected[order[before < 0.9]] = row[order[before < 0.9]]
        assert_close(kept_row, expected, rtol=0, atol=0)

"""A row's log-probabilities do not depend on its neighbours, whatever the rope of the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close
from transformers import AutoModelForCausalLM, PreTrainedModel

from hpt_core.errors import InputError
from hpt_core.policy.batching import TrainingRow, pad
from hpt_core.policy.loading.rope import changing_length, fix_rope, fixed_rope_config
from hpt_core.policy.logprobs import token_logprobs
from hpt_core.policy.model import LoadedPolicy, load_policy
from hpt_core.policy.sizes import check_positions, positions
from tests.unit.policy.small_models import LONG_ROPE, logits, save, small_model

ORIGINAL = 16
CHANGING: dict[str, tuple[str, dict[str, Any]]] = {
    "longrope": ("phi3", {}),
    "dynamic": (
        "llama",
        {
            "max_position_embeddings": ORIGINAL,
            "rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0},
        },
    ),
}


def rows(*lengths: int) -> list[TrainingRow]:
    generator = torch.Generator().manual_seed(5)
    tokens = torch.randint(2, 300, (len(lengths), 40), generator=generator).tolist()
    return [
        TrainingRow("p", row[:4], row[4:length], (), 0.0, 0, None)
        for row, length in zip(tokens, lengths, strict=True)
    ]


def logp(model: PreTrainedModel, *batch: TrainingRow) -> torch.Tensor:
    with torch.no_grad():
        return token_logprobs(model, pad(batch, 0, torch.device("cpu")), 1.0).logp


@pytest.mark.parametrize("kind", CHANGING)
def test_a_longer_neighbour_changes_nothing(policy: LoadedPolicy, tmp_path: Path, kind: str) -> None:
    family, changes = CHANGING[kind]
    model = small_model(family, **changes)
    short, long = rows(12, 40)
    plain = logp(model, short)
    assert (logp(model, short, long)[0, :8] - plain[0]).abs().max() > 0.1, (
        "transformers' own rope depends on it"
    )

    loaded = load_policy(save(small_model(family, **changes), policy.tokenizer, tmp_path)).model
    assert_close(logp(loaded, short), plain, rtol=0, atol=0)
    assert_close(logp(loaded, short, long)[0, :8], plain[0], rtol=1e-5, atol=1e-5)
    assert_close(logp(loaded, short), plain, rtol=0, atol=0), "nor does a longer row before it"


@pytest.mark.parametrize("kind", CHANGING)
def test_rows_beyond_the_original_length_are_refused(kind: str) -> None:
    family, changes = CHANGING[kind]
    model = small_model(family, **changes)
    assert positions(model) == ORIGINAL
    check_positions(model, ORIGINAL, "a row has 16 tokens", "shorten it")
    with pytest.raises(InputError, match=r"^a row has 17 tokens, and the model has 16 positions before"):
        check_positions(model, ORIGINAL + 1, "a row has 17 tokens", "shorten it")


def test_a_longrope_with_one_factor_reaches_all_positions(tmp_path: Path) -> None:
    """The remedy of the message: the model on disk then means one rope for every reader, vLLM included."""
    rope = {**LONG_ROPE, "short_factor": LONG_ROPE["long_factor"]}
    model = small_model("phi3", rope_parameters=rope)
    assert positions(model) == 64 and changing_length(model.config) is None
    short, long = rows(12, 40)
    assert_close(logp(model, short, long)[0, :8], logp(model, short)[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", CHANGING)
def test_the_fixed_config_means_the_fixed_model_at_every_length(kind: str) -> None:
    """An engine that reads it has no length left by which its own rope could change."""
    family, changes = CHANGING[kind]
    model = small_model(family, **changes)
    fixed = fixed_rope_config(model.config)
    before = json.dumps(model.config.to_dict(), default=str)
    other: PreTrainedModel = AutoModelForCausalLM.from_config(fixed).eval()  # type: ignore[assignment]
    other.load_state_dict(model.state_dict())
    fix_rope(model)
    tokens = torch.randint(2, 300, (2, 40), generator=torch.Generator().manual_seed(1))
    assert_close(logits(other, tokens), logits(model, tokens), rtol=1e-5, atol=1e-5)
    assert json.dumps(model.config.to_dict(), default=str) == before, "the saved config is the model's own"


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "bloom", "mamba", "deepseek_v3"])
def test_other_ropes_are_left_alone(family: str) -> None:
    model = small_model(family)
    tokens = torch.arange(2, 42)[None]
    before = logits(model, tokens)
    fix_rope(model)
    assert_close(logits(model, tokens), before, rtol=0, atol=0)
    assert fixed_rope_config(model.config).to_dict() == model.config.to_dict()

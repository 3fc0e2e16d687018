"""The name of a model's weights: made in one pass, the same for every number of threads and ranks."""

from __future__ import annotations

import copy

import pytest
import torch

from hpt_core.policy.model import LoadedPolicy
from hpt_core.policy.weights.hashed import HashedWeights, weights_hash
from hpt_core.policy.weights.merged import named_weights


def test_the_pass_gives_all_weights_and_then_their_name(policy: LoadedPolicy) -> None:
    weights = HashedWeights(policy.model)
    with pytest.raises(AssertionError, match="iterate over all weights first"):
        print(weights.name)
    passed = dict(weights)
    assert passed.keys() == dict(named_weights(policy.model)).keys()
    assert weights.name == weights_hash(policy.model) and len(weights.name) == 16


def test_the_name_covers_names_shapes_types_and_every_byte(policy: LoadedPolicy) -> None:
    names = {weights_hash(policy.model)}

    def differs(model: torch.nn.Module) -> None:
        names.add(weights_hash(model))  # type: ignore[arg-type]

    def changed() -> torch.nn.Module:
        return copy.deepcopy(policy.model)

    model = changed()
    with torch.no_grad():
        weight = next(p for p in model.parameters() if p.ndim == 2)
        weight[0], weight[1] = weight[1].clone(), weight[0].clone()
    differs(model)
    model = changed()
    model.register_buffer("one_more", torch.zeros(1))
    differs(model)
    model = changed()
    model.model.norm.weight = torch.nn.Parameter(model.model.norm.weight.detach()[None])
    differs(model)
    differs(changed().to(torch.bfloat16))
    assert len(names) == 5


def test_the_number_of_threads_does_not_change_the_name(policy: LoadedPolicy) -> None:
    threads, names = torch.get_num_threads(), set()
    try:
        for count in (1, 2, 7):
            torch.set_num_threads(count)
            names.add(weights_hash(policy.model))
    finally:
        torch.set_num_threads(threads)
    assert len(names) == 1

from __future__ import annotations

import pytest
import torch

from hpt_core.gate import Mix, Switch


def test_the_switch_hands_failed_prompts_to_sft_and_the_rest_to_rl():
    alpha, beta = Switch(gamma=0.25)(torch.tensor([0.0, 0.25, 0.375, 1.0]))
    assert alpha.tolist() == [0.0, 0.0, 1.0, 1.0]
    assert beta.tolist() == [1.0, 1.0, 0.0, 0.0]


def test_floats_and_tensors_agree():
    for gamma in (0.0, 0.3, 0.25, 1.0):
        switch = Switch(gamma)
        rates = [solved / 10 for solved in range(11)]
        alpha, beta = switch(torch.tensor(rates, dtype=torch.float64))
        assert [switch(rate) for rate in rates] == list(zip(alpha.tolist(), beta.tolist(), strict=True))


@pytest.mark.parametrize(
    ("pass_rate", "rewards_equal", "has_expert", "route"),
    [
        (0.0, True, True, "sft"),
        (0.25, False, True, "sft"),
        (0.25, False, False, "no_expert"),
        (0.0, True, False, "no_expert"),
        (0.5, False, True, "rl"),
        (0.5, False, False, "rl"),
        (1.0, True, True, "equal"),
    ],
)
def test_each_prompt_has_one_route(pass_rate, rewards_equal, has_expert, route):
    assert Switch(gamma=0.25).route(pass_rate, rewards_equal, has_expert) == route


def test_any_pair_of_functions():
    gate = Mix(lambda p: p, lambda p: (1 - p) / 2)
    alpha, beta = gate(torch.tensor([0.0, 0.5]))
    assert alpha.tolist() == [0.0, 0.5] and beta.tolist() == [0.5, 0.25]

from __future__ import annotations

import pytest
import torch

from hpt_core.gate import FormulaGate, Switch, Table


def weights(gate, pass_rate) -> tuple[float, float, float]:
    """(RL, offline RL, SFT), as the release of HPT orders them."""
    alpha, beta = gate(pass_rate)
    return alpha, gate.offline(pass_rate), beta


def test_the_switch_hands_failed_prompts_to_sft_and_the_rest_to_rl():
    alpha, beta = Switch(gamma=0.25)(torch.tensor([0.0, 0.25, 0.375, 1.0]))
    assert alpha.tolist() == [0.0, 0.0, 1.0, 1.0]
    assert beta.tolist() == [1.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    "gate",
    [Switch(0.0), Switch(0.3), Switch(0.25), Switch(1.0), Table(), FormulaGate(lambda p: p, lambda p: 1 - p)],
)
def test_floats_and_tensors_agree(gate):
    for n in (1, 2, 3, 7, 8, 10):
        rates = [solved / n for solved in range(n + 1)]
        of_tensor = weights(gate, torch.tensor(rates, dtype=torch.float64))
        of_floats = [weights(gate, rate) for rate in rates]
        assert of_floats == list(zip(*(column.tolist() for column in of_tensor), strict=True))


def test_switch_and_mix_have_no_rl_on_demonstrations():
    assert Switch(0.5).offline(0.25) == 0.0
    assert FormulaGate(lambda p: p, lambda p: p).offline(torch.tensor([0.25])).tolist() == [0.0]


def test_any_pair_of_functions():
    gate = FormulaGate(lambda p: p, lambda p: (1 - p) / 2)
    alpha, beta = gate(torch.tensor([0.0, 0.5]))
    assert alpha.tolist() == [0.0, 0.5] and beta.tolist() == [0.5, 0.25]


SOFT = {
    0: (0, 0, 1),
    1: (0, 0, 1),
    2: (0.125, 0.5, 0.5),
    3: (0.25, 1, 0.25),
    4: (0.5, 0.5, 0.125),
    5: (1, 0.25, 0),
    6: (1, 0.125, 0),
    7: (1, 0, 0),
    8: (1, 0, 0),
}


def test_the_soft_gate_is_the_released_table():
    for solved, row in SOFT.items():
        assert weights(Table(), solved / 8) == row
        for column, weight in zip(weights(Table(), torch.tensor(solved / 8)), row, strict=True):
            assert column.item() == weight


@pytest.mark.parametrize(
    ("pass_rate", "solved"),
    [(1 / 4, 2), (1 / 3, 2), (1 / 2, 4), (2 / 3, 5), (0.49, 3), (0.999, 7), (1 / 9, 0)],
)
def test_between_its_steps_the_soft_gate_keeps_to_the_row_below(pass_rate, solved):
    assert weights(Table(), pass_rate) == SOFT[solved]


TENTHS = Table(tuple((i / 10, 0.0, 1 - i / 10) for i in range(11)))


@pytest.mark.parametrize(
    ("rate", "row"),
    [(0.1 * 3, 3), (0.1 + 0.2, 3), (1 - 0.9, 1), (1 - 0.7, 3), (sum([0.1] * 10), 10), (sum([0.1] * 8), 8)],
)
def test_a_rate_that_rounding_moved_is_on_its_step(rate, row):
    assert TENTHS(rate) == (row / 10, 1 - row / 10)
    assert TENTHS(torch.tensor(rate, dtype=torch.float64))[0].item() == row / 10


def test_a_rate_in_float32_is_on_its_step():
    for solved in range(11):
        narrow = torch.tensor(solved / 10, dtype=torch.float32)
        assert TENTHS(narrow)[0].item() == torch.tensor(solved / 10).item()
        # 0.7 in float32 is 0.699999988, and no longer a float32 once it is a number of Python.
        assert TENTHS(narrow.item())[0] == solved / 10
    for solved, row in SOFT.items():
        mean = torch.tensor([1.0] * solved + [0.0] * (8 - solved), dtype=torch.float32).mean()
        assert weights(Table(), mean.item()) == row


def test_a_weight_comes_out_as_it_stands_in_the_table():
    """0.7 + (0.1 - 0.7) + (0 - 0.1) is -2.8e-17 and not 0, which would be a row to train on."""
    table = Table(((0.7, 0.1, 0.3), (0.1, 0.7, 0.1), (0.0, 0.0, 0.0)))
    for row, rate in enumerate((0.0, 0.5, 1.0)):
        assert weights(table, rate) == table.rows[row]
        of_tensor = weights(table, torch.tensor(rate, dtype=torch.float64))
        assert tuple(weight.item() for weight in of_tensor) == table.rows[row]

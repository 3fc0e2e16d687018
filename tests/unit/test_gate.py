from __future__ import annotations

import pytest
import torch

from hpt_core import upge
from hpt_core.gate import OF_SEVEN, FormulaGate, Switch, Table
from hpt_core.groups import Groups, in_float64, pass_rate
from hpt_core.types import RowInfo


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


def test_the_released_soft_gate_counts_the_demonstration_among_its_eight_rows():
    """7 rollouts and the demonstration, which is solved: k of 7 is row k + 1 of the table."""
    for solved in range(8):
        for rate in (solved / 7, torch.tensor(solved / 7)):
            assert tuple(float(weight) for weight in weights(Table(OF_SEVEN), rate)) == SOFT[solved + 1]
    assert weights(Table(), 1 / 7) != weights(Table(OF_SEVEN), 1 / 7)


def test_the_two_soft_gates_agree_for_eight_rollouts():
    for solved in range(9):
        assert weights(Table(OF_SEVEN), solved / 8) == weights(Table(), solved / 8)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("reward", [0.1, 0.2, 0.3, 0.7, 1 / 8])
def test_equal_fractional_rewards_at_gamma_are_imitated_in_every_dtype(reward, dtype):
    for n in (2, 3, 7, 8, 10):
        batch = RowInfo(
            torch.tensor([reward] * n + [1.0], dtype=dtype),
            torch.zeros(n + 1, dtype=torch.int64),
            torch.arange(n + 1) == n,
            torch.full((n + 1,), 4),
        )
        assert upge.plan("hpt", batch, length=8, gamma=reward).active.tolist() == [False] * n + [True]
        assert Switch(reward)(pass_rate([reward] * n)) == (0.0, 1.0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_gate_of_counts_is_exact_for_every_group_size(dtype):
    """k solved of n at gamma = j / n, typed as a fraction or rounded to 7 digits: sft exactly where k <=
    j."""
    for n in range(2, 17):
        for k in range(n + 1):
            solved = torch.tensor([1.0] * k + [0.0] * (n - k), dtype=dtype)
            groups = Groups.of(torch.zeros(n, dtype=torch.int64))
            rate = groups.mean(in_float64(solved), torch.ones(n, dtype=torch.bool))
            assert float(rate) == k / n == pass_rate(solved.tolist())
            for j in range(n + 1):
                for gamma in (j / n, round(j / n, 7)):
                    alpha, beta = Switch(gamma)(rate)
                    assert (float(alpha), float(beta)) == (float(k > j), float(k <= j))
                    assert Switch(gamma)(k / n) == (float(k > j), float(k <= j))


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

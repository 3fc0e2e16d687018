"""Formulas of the pass rate P: their values, and that anything else is refused."""

from __future__ import annotations

import pytest
import torch

from hpt_core import formula
from hpt_core.config import GateConfig
from hpt_core.gate import OF_SEVEN, Table, gate_of

RATES = [0.0, 0.125, 0.5, 0.875, 1.0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("P", lambda p: p),
        ("1 - P", lambda p: 1 - p),
        ("P ** 2 / 2 + 0.25", lambda p: p**2 / 2 + 0.25),
        ("P > 0.5", lambda p: float(p > 0.5)),
        ("(P <= 0.5) * 2", lambda p: 2.0 * (p <= 0.5)),
        ("0.3 * (P > 0.5)", lambda p: 0.3 * (p > 0.5)),
        ("min(P, 0.3)", lambda p: min(p, 0.3)),
        ("max(P, 0.3)", lambda p: max(p, 0.3)),
        ("sqrt(P) * exp(-P)", lambda p: p**0.5 * 2.718281828459045**-p),
        ("abs(P - 0.5)", lambda p: abs(p - 0.5)),
        ("1", lambda p: 1.0),
    ],
)
def test_floats_and_tensors_agree(text: str, expected: formula.Function) -> None:
    function = formula.parse(text)
    values = [expected(rate) for rate in RATES]
    assert [function(rate) for rate in RATES] == pytest.approx(values, rel=1e-12, abs=1e-15)
    assert function(torch.tensor(RATES).double()).tolist() == pytest.approx(values, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize(
    "text",
    [
        "Q",
        "P.real",
        "__import__('os')",
        "(lambda: P)()",
        "P if P else 1",
        "[P]",
        "0 < P < 1",
        "True",
        "'a'",
        "P +",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="formula of P"):
        formula.parse(text)


def test_gates_from_parameters() -> None:
    rate = torch.tensor([0.0, 0.25, 1.0])
    alpha, beta = gate_of(GateConfig(gamma=0.25))(rate)
    assert (alpha.tolist(), beta.tolist()) == ([0, 0, 1], [1, 1, 0])
    assert gate_of(GateConfig(kind="soft")) == Table()
    assert gate_of(GateConfig(kind="soft_released")) == Table(OF_SEVEN)
    gate = gate_of(GateConfig(kind="formula", alpha="P", beta="1 - P", offline="P * (1 - P)"))
    assert [value.tolist() for value in gate(rate)] == [[0, 0.25, 1], [1, 0.75, 0]]
    assert gate.offline(rate).tolist() == [0, 0.1875, 0]


@pytest.mark.parametrize("text", ["P > 0.1", "P <= 0.1", "P < 0.1", "P >= 0.1"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_rate_that_rounding_moved_is_what_was_meant(text: str, dtype: torch.dtype) -> None:
    """The mean of 0.1, 0.1 and 0.1 is 0.1, although it is 0.10000000000000002, and 0.100000001 in float32."""
    rates = [0.1, sum([0.1] * 3) / 3, sum([0.1] * 10) / 10, float(torch.tensor(0.1))]
    expected = 1.0 if "=" in text else 0.0
    function = formula.parse(text)
    assert [function(rate) for rate in rates] == [expected] * 4
    assert function(torch.tensor(rates, dtype=dtype)).tolist() == [expected] * 4
    assert function(0.1 + 1e-3) == float(">" in text) and function(0.1 - 1e-3) == float("<" in text)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"alpha": "P - 1"}, "alpha is -1.0 at P = 0.0"),
        ({"beta": "1 / P"}, "beta has no value at P = 0.0"),
        ({"offline": "sqrt(P - 1)"}, "offline is"),
        ({"alpha": "rate"}, "'rate' in 'rate'"),
        ({"alpha": "1 / (P - 3 / 7) ** 2"}, r"alpha has no value at P = 0\.428\d* \(3/7 solved\)"),
        ({"beta": "P * 1e308 * 10"}, "beta is inf at P = "),
        ({"beta": "10 ** 400 * P"}, "beta has no value at P = 0.0"),
    ],
)
def test_weights_without_a_valid_value_are_refused_on_reading(keys: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GateConfig(kind="formula", **keys)


def test_the_rates_of_a_large_group_are_checked_with_its_size() -> None:
    gate = GateConfig(kind="formula", alpha="1 / abs(P - 5 / 12)")
    gate.check(11)
    with pytest.raises(ValueError, match=r"alpha has no value at P = 0\.41\d* \(5/12 solved\)"):
        gate.check(16)

"""The ledger of the gate: which row and column a decision comes to lie in, and how it is drawn."""

from __future__ import annotations

import random
import re
from collections import Counter
from typing import Any

import pytest

from pipelines.report.gate_colours import palette
from pipelines.report.gate_heatmap import APART, GateHistory, asked, gate_history, heat_map

Row = dict[str, Any]


def decision(prompt: str, step: int, route: str = "sft", kind: str | None = "human") -> Row:
    return {"prompt_id": prompt, "step": step, "route": route, "kind": kind, "pass_rate": 0.5}


def many(prompts: int, steps: int, per_step: int, samples: int = 8) -> tuple[list[Row], dict[str, float]]:
    """Decisions on prompts in turn, with routes drawn by chance, and the prompts' pass rates."""
    chance = random.Random(3)
    names = [f"p{number}" for number in range(prompts)]
    rates = {name: chance.randint(0, samples) / samples for name in names}
    gate = [
        decision(names[place % prompts], 1 + place // per_step, route, chance.choice(["human", "teacher"]))
        for place in range(steps * per_step)
        for route in [chance.choice(["sft", "both", "rl", "equal", "no_expert"])]
    ]
    return gate, rates


def drawn(found: GateHistory) -> dict[str, list[tuple[float, float, float, float]]]:
    """Colour -> x, y, width and height of each box of the map."""
    svg = heat_map("title", found, found)
    paths = re.findall(r'<path d="([^"]*)" class="route r-([a-z_-]+)"', svg)
    box = re.compile(r"M(\S+) (\S+)h(\S+)v(\S+)h\S+z")
    return {colour: [tuple(map(float, one)) for one in box.findall(d)] for d, colour in paths}  # type: ignore[misc]


def test_rows_are_in_the_order_of_the_base_policy_whatever_was_decided() -> None:
    gate, rates = many(prompts=200, steps=40, per_step=32)
    del rates["p17"]  # none of its rollouts was judged
    found = gate_history(gate, rates, palette(gate))
    assert [band.label for band in found.bands] == [*(f"{12.5 * solved:g}%" for solved in range(9)), "?"]
    for band in found.bands[:-1]:
        assert band.rates is not None
        assert set(band.prompts) == {name for name, rate in rates.items() if (rate, rate) == band.rates}
    assert found.bands[-1].prompts == ("p17",)
    other = [row | {"route": "rl"} for row in random.Random(5).sample(gate, len(gate))]
    assert [band.prompts for band in gate_history(other, rates, palette(other)).bands] == [
        band.prompts for band in found.bands
    ]


def test_every_decision_lies_in_the_row_of_its_prompt_and_the_column_of_its_step() -> None:
    gate, rates = many(prompts=200, steps=90, per_step=32)
    colours = palette(gate)
    found = gate_history(gate, rates, colours)
    assert [first for first, _ in found.columns[1:]] == [last + 1 for _, last in found.columns[:-1]]
    assert (found.columns[0][0], found.columns[-1][1]) == (1, 90)
    for band in found.bands:
        for (first, last), cell in zip(found.columns, band.cells, strict=True):
            inside = [r for r in gate if r["prompt_id"] in band.prompts and first <= r["step"] <= last]
            split = Counter(
                f"{row['route']}-{row['kind']}" if row["route"] in ("sft", "both") else row["route"]
                for row in inside
            )
            assert cell == split
            assert list(cell) == [colour for colour in colours if colour in cell]
            taken = split.total() and (asked(cell) or 0) * split.total()
            assert taken == pytest.approx(sum(row["route"] in ("sft", "both") for row in inside))


@pytest.mark.parametrize("prompts", [APART, APART + 1])
def test_few_prompts_are_a_row_each_and_a_visit_a_column(prompts: int) -> None:
    gate, rates = many(prompts, steps=prompts * 5 // 10, per_step=10)
    found = gate_history(gate, rates, palette(gate))
    if prompts > APART:
        assert len(found.bands) == len(set(rates.values()))
    else:
        order = sorted(rates, key=lambda name: (rates[name], name))
        assert [band.prompts for band in found.bands] == [(name,) for name in order]
        assert len(found.columns) == 5
        assert all(sum(cell.values()) == 1 for band in found.bands for cell in band.cells)


def test_many_levels_are_told_apart_by_tenths() -> None:
    gate, rates = many(prompts=500, steps=20, per_step=25, samples=64)
    found = gate_history(gate, rates, palette(gate))
    assert len(found.bands) == 11 and found.bands[-1].label == "100%"
    for tenth, band in enumerate(found.bands):
        assert all(tenth == int(10 * rates[name] + 1e-9) for name in band.prompts)
        assert band.rates == (
            min(rates[name] for name in band.prompts),
            max(rates[name] for name in band.prompts),
        )


def test_a_cell_is_filled_by_the_shares_of_its_decisions() -> None:
    kinds = [("sft", 3), ("rl", 2), ("equal", 1)]
    gate = [decision(f"p{i}", 1, route) for i, (route, n) in enumerate(kinds) for _ in range(n)]
    gate += [decision("p9", 2, "rl"), decision("p9", 2, "no_expert", None)]
    rates = {"p0": 0.5, "p1": 0.5, "p2": 0.5, "p9": 1.0}
    found = gate_history(gate, rates, palette(gate), apart=0, columns=2)
    boxes = drawn(found)
    sft, rl, equal, none = boxes["sft"][0], boxes["rl"], boxes["equal"][0], boxes["no_expert"][0]
    height = sft[3] + rl[0][3] + equal[3]
    assert [sft[3] / height, rl[0][3] / height, equal[3] / height] == pytest.approx(
        [1 / 2, 1 / 3, 1 / 6], abs=2e-3
    )
    # From the bottom up, as in the chart of shares; the second row and column is below and to the right.
    assert sft[1] == pytest.approx(rl[0][1] + rl[0][3]) and rl[0][1] == pytest.approx(equal[1] + equal[3])
    assert rl[1][0] == none[0] == sft[0] + sft[2] and none[1] > sft[1] + sft[3]
    assert sum(len(of) for of in boxes.values()) == 5  # blank where no prompt came up
    assert height > 2 * (rl[1][3] + none[3])  # three prompts, and one


def test_a_training_of_the_size_of_the_paper_is_a_small_picture() -> None:
    gate, rates = many(prompts=46_000, steps=500, per_step=128)
    found, thirds = (
        gate_history(gate, rates, palette(gate), apart=apart, columns=n)
        for apart, n in ((APART, None), (0, 3))
    )
    svg = heat_map("Ledger", found, thirds)
    assert len(svg) < 150_000
    shuffled = random.Random(1).sample(gate, len(gate))
    assert heat_map("Ledger", gate_history(shuffled, rates, palette(shuffled)), thirds) == svg
    said = re.search(r"<desc>(.*)</desc>", svg)
    assert said and all(
        f"{len(band.prompts)} prompts that base solves {band.label}" in said[1] for band in found.bands
    )


def test_kinds_of_experts_have_their_own_colours_where_there_are_several() -> None:
    one = [decision("p0", 1), decision("p1", 1, "rl", "teacher")]
    assert list(palette(one)) == ["sft", "rl", "equal", "no_expert"]
    both = [*one, decision("p2", 1, "both", "teacher")]
    assert list(palette(both))[:4] == ["sft-human", "sft-teacher", "both-human", "both-teacher"]
    assert "a person's" in palette(both)["sft-human"].meaning

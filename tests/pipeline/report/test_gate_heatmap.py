"""The gate history: the row and column of each decision, and how the heat map draws them."""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest

from hpt_core.tables import GateRow
from pipelines.report.gate_colours import palette
from pipelines.report.gate_heatmap import heat_map, share_chart
from pipelines.report.gate_history import SINGLE_ROWS, demonstration_share, gate_history

Box = tuple[float, float, float, float]
"""x, y, width and height"""


def decision(prompt: str, step: int, route: str = "sft", kind: str | None = "human") -> GateRow:
    return {
        "step": step,
        "prompt_id": prompt,
        "pass_rate": 0.5,
        "route": route,
        "trajectory_id": "t" if kind else None,
        "kind": kind,
        "source": kind,
        "trained": route in ("sft", "both"),
    }


def many(prompts: int, steps: int, per_step: int, samples: int = 8) -> tuple[list[GateRow], dict[str, float]]:
    """Decisions on prompts in turn, with random routes, and the prompts' pass rates."""
    chance = random.Random(3)
    names = [f"p{number}" for number in range(prompts)]
    rates = {name: chance.randint(0, samples) / samples for name in names}
    gate = [
        decision(names[place % prompts], 1 + place // per_step, route, chance.choice(["human", "teacher"]))
        for place in range(steps * per_step)
        for route in [chance.choice(["sft", "both", "rl", "equal", "no_expert"])]
    ]
    return gate, rates


def boxes_of(svg: str) -> dict[str, list[Box]]:
    """Colour -> the boxes that have it."""
    paths = re.findall(r'<path d="([^"]*)" class="route r-([a-z_-]+)"', svg)
    pattern = re.compile(r"M(\S+) (\S+)h(\S+)v(\S+)h\S+z")
    return {
        colour: [(float(x), float(y), float(w), float(h)) for x, y, w, h in pattern.findall(path)]
        for path, colour in paths
    }


def test_the_order_of_rows_depends_on_the_base_policy_alone() -> None:
    gate, rates = many(prompts=200, steps=40, per_step=32)
    del rates["p17"]  # none of its rollouts was verified
    history = gate_history(gate, rates, palette(gate))
    assert [band.label for band in history.bands] == [*(f"{12.5 * solved:g}%" for solved in range(9)), "?"]
    for band in history.bands[:-1]:
        assert band.rates is not None
        assert set(band.prompts) == {name for name, rate in rates.items() if (rate, rate) == band.rates}
    assert history.bands[-1].prompts == ("p17",)
    other: list[GateRow] = [{**row, "route": "rl"} for row in random.Random(5).sample(gate, len(gate))]
    assert [band.prompts for band in gate_history(other, rates, palette(other)).bands] == [
        band.prompts for band in history.bands
    ]


def test_every_decision_is_in_the_row_of_its_prompt_and_the_column_of_its_step() -> None:
    gate, rates = many(prompts=200, steps=90, per_step=32)
    colours = palette(gate)
    history = gate_history(gate, rates, colours)
    assert [first for first, _ in history.columns[1:]] == [last + 1 for _, last in history.columns[:-1]]
    assert (history.columns[0][0], history.columns[-1][1]) == (1, 90)
    for band in history.bands:
        for (first, last), cell in zip(history.columns, band.cells, strict=True):
            inside = [r for r in gate if r["prompt_id"] in band.prompts and first <= r["step"] <= last]
            split = Counter(
                f"{row['route']}-{row['kind']}" if row["route"] in ("sft", "both") else row["route"]
                for row in inside
            )
            assert cell == split
            assert list(cell) == [colour for colour in colours if colour in cell]
            taken = split.total() and (demonstration_share(cell) or 0) * split.total()
            assert taken == pytest.approx(sum(row["route"] in ("sft", "both") for row in inside))


@pytest.mark.parametrize("prompts", [SINGLE_ROWS, SINGLE_ROWS + 1])
def test_few_prompts_get_a_row_each_and_a_visit_a_column(prompts: int) -> None:
    gate, rates = many(prompts, steps=prompts * 5 // 10, per_step=10)
    history = gate_history(gate, rates, palette(gate))
    if prompts > SINGLE_ROWS:
        assert len(history.bands) == len(set(rates.values()))
    else:
        order = sorted(rates, key=lambda name: (rates[name], name))
        assert [band.prompts for band in history.bands] == [(name,) for name in order]
        assert len(history.columns) == 5
        assert all(sum(cell.values()) == 1 for band in history.bands for cell in band.cells)


def test_many_pass_rates_are_grouped_by_tenths() -> None:
    gate, rates = many(prompts=500, steps=20, per_step=25, samples=64)
    history = gate_history(gate, rates, palette(gate))
    assert len(history.bands) == 11 and history.bands[-1].label == "100%"
    for tenth, band in enumerate(history.bands):
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
    history = gate_history(gate, rates, palette(gate), single_rows=0, columns=2)
    boxes = boxes_of(heat_map("title", history, history).svg())
    sft, rl, equal, none = boxes["sft"][0], boxes["rl"], boxes["equal"][0], boxes["no_expert"][0]
    height = sft[3] + rl[0][3] + equal[3]
    assert [sft[3] / height, rl[0][3] / height, equal[3] / height] == pytest.approx(
        [1 / 2, 1 / 3, 1 / 6], abs=2e-3
    )
    # Stacked from the bottom, as in the chart of shares. The second row and column is below and to the right.
    assert sft[1] == pytest.approx(rl[0][1] + rl[0][3]) and rl[0][1] == pytest.approx(equal[1] + equal[3])
    assert rl[1][0] == none[0] == sft[0] + sft[2] and none[1] > sft[1] + sft[3]
    assert sum(map(len, boxes.values())) == 5  # blank where no prompt occurred
    assert height > 2 * (rl[1][3] + none[3])  # three prompts, and one


def test_the_heat_map_of_a_training_as_long_as_the_papers_is_a_small_file() -> None:
    gate, rates = many(prompts=46_000, steps=500, per_step=128)
    history, thirds = (
        gate_history(gate, rates, palette(gate), single_rows=rows, columns=n)
        for rows, n in ((SINGLE_ROWS, None), (0, 3))
    )
    svg = heat_map("Gate history", history, thirds).svg()
    assert len(svg) < 150_000
    shuffled = random.Random(1).sample(gate, len(gate))
    again = gate_history(shuffled, rates, palette(shuffled))
    assert heat_map("Gate history", again, thirds).svg() == svg
    description = re.search(r"<desc>(.*)</desc>", svg)
    assert description and all(
        f"{len(band.prompts)} prompts that base solves {band.label}" in description[1]
        for band in history.bands
    )


def test_kinds_of_experts_have_their_own_colours_where_there_are_several() -> None:
    one = [decision("p0", 1), decision("p1", 1, "rl", "teacher")]
    assert list(palette(one)) == ["sft", "rl", "equal", "no_expert"]
    both = [*one, decision("p2", 1, "both", "teacher")]
    assert list(palette(both))[:4] == ["sft-human", "sft-teacher", "both-human", "both-teacher"]
    assert "a person's" in palette(both)["sft-human"].meaning


def test_a_route_without_weight_has_a_colour_where_it_occurs() -> None:
    gate = [decision("p0", 1), decision("p1", 1, "none", None)]
    assert list(palette(gate)) == ["sft", "rl", "equal", "no_expert", "none"]
    svg = share_chart("shares", gate, palette(gate)).svg()
    assert boxes_of(svg)["none"][0][3] == boxes_of(svg)["sft"][0][3]


def test_gate_shares_fill_the_chart() -> None:
    gate = [
        decision(f"p{i}", step, route)
        for step in range(1, 201)
        for i, route in enumerate(["sft", "sft", "sft", "rl"])
    ]
    boxes = boxes_of(share_chart("shares", gate, palette(gate)).svg())
    heights = {route: sum(height for *_, height in boxes[route]) for route in ("sft", "rl")}
    assert heights["sft"] == pytest.approx(3 * heights["rl"])
    assert heights["sft"] + heights["rl"] == pytest.approx(60 * 120)
    assert {route: len(of_route) for route, of_route in boxes.items()} == {"sft": 60, "rl": 60}

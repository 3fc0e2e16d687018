"""The plan as text of at most 100 columns."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from pipelines.plan.plan import Plan
from pipelines.plan.sizes import Line

WIDTH = 100
UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def show(plan: Plan, console: Console) -> None:
    """Print the plan: a table of each moment's memory, one of the effort, and the verdict."""
    shape, device = plan.shape, plan.device
    console.print(
        f"{shape.name}: {shape.parameters:,} weights, {shape.trained:,} trained, {shape.layers} layers"
    )
    console.print(f"{device.name}: {_gib(device.memory)} GiB, {plan.ranks} rank(s); {device.source}")
    titles = [(f"memory of a rank, {moment.name}", moment) for moment in plan.moments]
    titles += [(f"memory of a replica, {moment.name}", moment) for moment in plan.replicas]
    for title, moment in titles:
        table = _table(title, "GiB")
        for line in moment.lines:
            table.add_row(line.what, _gib(line.amount), _how(line))
        table.add_row("sum", _gib(moment.total), f"of {_gib(device.memory)}", style="bold")
        console.print(table)
    table = _table("tokens, time, traffic", "")
    for line in plan.effort.lines:
        unit, _, what = line.what.partition(" ") if line.what[:2] in ("s ", "B ") else ("", "", line.what)
        table.add_row(what, f"{_amount(line.amount)} {unit}".rstrip(), _how(line))
    console.print(table)
    console.print(_summary(plan))
    for note in plan.notes:
        console.print(note)
    for fault in plan.faults:
        console.print(f"does not fit: {fault}", style="red")
    if plan.fits:
        console.print("fits", style="green")


def _table(title: str, unit: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, width=WIDTH)
    table.add_column("what", width=36)
    table.add_column(unit, justify="right", width=9)
    table.add_column("how")
    return table


def _how(line: Line) -> str:
    return f"{line.formula} [{line.source}]".replace("[", r"\[")


def _summary(plan: Plan) -> str:
    effort = plan.effort
    kind = (
        f"from {effort.measured}" if effort.measured else "an estimate, which leaves out what no line names"
    )
    price = "" if effort.cost is None else f", {effort.cost:,.0f} USD"
    run = f"a run {effort.hours:,.1f} h on {effort.gpus} device(s)"
    return f"a step {effort.step_seconds:,.1f} s, {run}{price} ({kind})"


def _gib(amount: float) -> str:
    return f"{amount / 2**30:.2f}"


def _amount(amount: float) -> str:
    for size, letter in UNITS:
        if amount >= size:
            return f"{amount / size:,.1f}{letter}"
    return f"{amount:,.1f}"

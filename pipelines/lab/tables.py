"""What the results of a study say, with intervals over seeds and prompts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hpt_core.evaluation import PassAtK, doublings, passes_of_prompts
from hpt_core.files import read_json
from hpt_core.pooling import pool, pooled_difference
from hpt_core.seeds import derive
from hpt_core.significance import Reals, bootstrap_interval, holm
from hpt_core.tables import read_benchmarks
from pipelines import paths
from pipelines.lab.cell_result import SPENT
from pipelines.lab.cells import Cell, Study
from pipelines.lab.choice import chosen_rates
from pipelines.lab.contrasts import contrasts
from pipelines.lab.scores import FAILED, Results, flags, matching, scores

DRAWS = 2000
Row = dict[str, Any]


def tables(study: Study) -> dict[str, Any]:
    """All tables of the study, of the cells that are complete; "missing" counts the others."""
    trials = study.results(study.trials())
    chosen = chosen_rates(trials)
    cells = study.cells(chosen)
    results = study.results(cells)
    design = study.design
    return {
        "question": design.question,
        "benchmark": design.benchmark,
        "reference": design.reference,
        "seeds": design.seeds,
        "missing": len(study.trials()) - len(trials) + len(cells) - len(results),
        "distance": _distances(study, cells),
        "contrasts": contrasts(study, results),
        "trials": [_trial(study, cell, result, chosen) for cell, result in trials.items()],
        "results": {
            setting: {
                budget: _compared(study, matching(results, setting=setting, budget=budget))
                for budget in design.budgets
            }
            for setting in design.settings
        },
    }


def accuracies(study: Study, results: Results) -> dict[str, dict[str, float]]:
    """Method -> seed -> accuracy on the benchmark of the study."""
    found: dict[str, dict[str, float]] = {}
    for cell, result in results.items():
        if FAILED not in result:
            found.setdefault(cell.method, {})[str(cell.seed)] = _accuracy(result, study.design.benchmark)
    return found


def _distances(study: Study, cells: Sequence[Cell]) -> dict[str, Any]:
    """Setting -> source of demonstrations -> its distance from the base, of settings that are prepared."""
    files = {cell.setting: study.setting_at(cell) / paths.EXPERTS_DISTANCE for cell in cells}
    return {setting: read_json(file) for setting, file in files.items() if file.exists()}


def _trial(study: Study, cell: Cell, result: Mapping[str, Any], chosen: Mapping[str, int]) -> Row:
    assert cell.trial is not None
    return {
        "method": cell.method,
        "rates": study.design.methods[cell.method].trials[cell.trial],
        "dev": result.get("dev"),
        "health": result.get("health", {}),
        "failed": result.get(FAILED),
        "chosen": chosen[cell.method] == cell.trial,
    }


def _compared(study: Study, results: Results) -> dict[str, Any]:
    """The methods of one setting and budget against each other."""
    design = study.design
    by_method = {method: matching(results, method=method) for method in design.methods}
    complete = {
        method: {cell.seed: result for cell, result in of.items() if FAILED not in result}
        for method, of in by_method.items()
    }
    complete = {method: of for method, of in complete.items() if of}
    benchmarks = next((list(r["solved"]) for of in complete.values() for r in of.values()), [])
    problems = _problems(study, next(iter(results), None))
    return {
        "accuracy": accuracies(study, results),
        "failed": {
            method: {str(cell.seed): result[FAILED] for cell, result in of.items() if FAILED in result}
            for method, of in by_method.items()
            if any(FAILED in result for result in of.values())
        },
        "methods": {method: _method(list(of.values()), benchmarks) for method, of in complete.items()},
        "differences": {name: _differences(complete, design.reference, name) for name in benchmarks},
        "only": {name: _solved_by_one(complete, name, problems) for name in benchmarks},
    }


def _problems(study: Study, cell: Cell | None) -> dict[str, str]:
    """Prompt -> its text, of the benchmarks of a cell's setting."""
    if cell is None:
        return {}
    benchmarks = read_benchmarks(study.setting_at(cell) / paths.BENCHMARK_PROMPTS)
    return {prompt.prompt_id: prompt.problem for prompts in benchmarks.values() for prompt in prompts}


def _method(results: Sequence[Mapping[str, Any]], benchmarks: Sequence[str]) -> Row:
    """Means of a method over its seeds."""
    return {
        "seeds": len(results),
        "benchmarks": {name: _benchmark(results, name) for name in benchmarks},
        "spent": {name: _mean([result["spent"][name] for result in results]) for name in SPENT},
        "health": Counter(rule for result in results for rule in result["health"]),
        "curves": {key: _mean_curve(results, key) for key in results[0]["curves"]},
        "phases": [result["phases"] for result in results],
        "nll": _nll(results),
    }


def _nll(results: Sequence[Mapping[str, Any]]) -> dict[str, Row]:
    """Source -> NLL per token of solutions that were not trained on; nothing where it was not measured."""
    measured = [result["nll"] for result in results if "nll" in result]
    return {
        source: {
            "mean": _mean([each[source] for each in measured]),
            "seeds": [each[source] for each in measured],
        }
        for source in (measured[0] if measured else ())
    }


def _benchmark(results: Sequence[Mapping[str, Any]], name: str) -> Row:
    of_prompts = np.stack([scores(result, name) for result in results])
    mean, interval = _pooled(of_prompts)
    correct = [flags(result, name) for result in results]
    curve: list[PassAtK] = []
    for k in doublings(correct[0].shape[1]):
        at_k, ci95 = _pooled(np.stack([passes_of_prompts(flags, k) for flags in correct]))
        curve.append({"k": k, "pass_at_k": at_k, "ci95": ci95})
    truncated = _mean([result["truncated"][name] for result in results])
    return {"accuracy": mean, "ci95": interval, "pass_curve": curve, "truncated": truncated}


def _differences(
    complete: Mapping[str, Mapping[int, Mapping[str, Any]]], reference: str, name: str
) -> dict[str, Row]:
    """Method -> its accuracy minus that of the reference, over the seeds that both have."""
    found: dict[str, Row] = {}
    for method, of in complete.items():
        seeds = sorted(of.keys() & complete.get(reference, {}).keys())
        if method == reference or len(seeds) < 2:
            continue
        pairs = ((of[seed], complete[reference][seed]) for seed in seeds)
        ours, theirs = zip(*((scores(a, name), scores(b, name)) for a, b in pairs), strict=True)
        difference = pooled_difference(np.stack(ours), np.stack(theirs))
        found[method] = {
            "difference": difference.difference,
            "ci95": list(difference.interval),
            "p": difference.p,
            "seeds": len(seeds),
        }
    corrected = holm([row["p"] for row in found.values()])
    for row, p in zip(found.values(), corrected, strict=True):
        row["p_corrected"] = p
    return found


def _solved_by_one(
    complete: Mapping[str, Mapping[int, Mapping[str, Any]]], name: str, problems: Mapping[str, str]
) -> dict[str, list[str]]:
    """Method -> problems that it solves in more than half of its seeds, and no other method in any seed."""
    solved = {
        method: Counter(prompt for result in of.values() for prompt, n in result["solved"][name].items() if n)
        for method, of in complete.items()
    }
    return {
        method: sorted(
            problems[prompt]
            for prompt, seeds in counts.items()
            if 2 * seeds > len(complete[method])
            and not any(other[prompt] for them, other in solved.items() if them != method)
        )
        for method, counts in solved.items()
    }


def _accuracy(result: Mapping[str, Any], name: str) -> float:
    return float(scores(result, name).mean())


def _pooled(values: Reals) -> tuple[float, list[float]]:
    """Mean and 95% interval of values [seeds, prompts]; with one seed, over its prompts alone."""
    if min(values.shape) >= 2:
        pooled = pool(values, (0.0, 1.0))
        return pooled.mean, list(pooled.ci95)
    interval = bootstrap_interval(values.ravel(), derive(0, "lab"), DRAWS)
    return float(values.mean()), list(interval)


def _mean_curve(results: Sequence[Mapping[str, Any]], key: str) -> list[tuple[int, float]]:
    """The mean over seeds at the steps that all of them have."""
    curves = [dict(map(tuple, result["curves"].get(key, []))) for result in results]
    steps = sorted(set.intersection(*map(set, curves)))
    return [(step, _mean([curve[step] for curve in curves])) for step in steps]


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))

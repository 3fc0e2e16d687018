"""The promotion gate on its own, without the registry."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from hpt_core import significance
from hpt_core.config import CurateConfig, EvaluateConfig
from hpt_core.errors import InputError
from hpt_core.significance import paired_difference
from pipelines.params import Params, load_params
from pipelines.params.sections import PromotionConfig
from pipelines.report.comparisons import corrected
from pipelines.tracking.evaluation_data import Scores
from pipelines.tracking.registry.promotion import Clause, data_clauses, decide

CLEAN = [Clause(True, "the data are clean")]


def params(**promotion: Any) -> Params:
    return Params.model_construct(
        seed=7,
        curate=CurateConfig.model_construct(benchmarks={"sums": [], "words": [], "far": []}),
        evaluate=EvaluateConfig(samples=4, bootstrap=2000),
        promotion=PromotionConfig(**{"out_of_distribution": ["far"]} | promotion),
    )


def scores(gain: float = 0.0, prompts: int = 100, **gains: float) -> Scores:
    """Scores of a policy with a mean of 0.4 and `gain` on every benchmark; gains: for single benchmarks."""
    noise = np.random.default_rng(1).uniform(-0.2, 0.2, prompts)
    noise -= noise.mean()
    return {
        name: {f"{name}-{i}": 0.4 + gains.get(name, gain) + noise[i] for i in range(prompts)}
        for name in ("sums", "words", "far")
    }


def spread(table: Scores, seed: int = 2) -> Scores:
    """Scores with the same means and other values, so that differences vary from prompt to prompt."""
    rng = np.random.default_rng(seed)
    shifted = {}
    for name, of_prompts in table.items():
        shift = rng.uniform(-0.3, 0.3, len(of_prompts))
        shift -= shift.mean()
        shifted[name] = {p: s + d for (p, s), d in zip(of_prompts.items(), shift, strict=True)}
    return shifted


def test_better_everywhere_is_promoted_with_numbers() -> None:
    decision = decide(spread(scores(0.1)), scores(), "champion v1", CLEAN, params())
    assert decision.promoted
    assert decision.reason.startswith("promoted: against champion v1, on sums +10.0 points (95% ")
    assert "on far +10.0 points" in decision.reason and decision.reason.endswith("the data are clean")


@pytest.mark.parametrize(("margin", "promoted"), [(0.0, True), (0.05, True), (0.1, False)])
def test_the_whole_interval_clears_the_margin(margin: float, promoted: bool) -> None:
    # sd 0.17 over 100 prompts: the interval reaches 0.034 to either side of 0.1.
    assert decide(spread(scores(0.1)), scores(), "v1", CLEAN, params(margin=margin)).promoted is promoted


def test_higher_confidence_needs_a_larger_gain() -> None:
    candidate = spread(scores(0.04))
    assert decide(candidate, scores(), "v1", CLEAN, params(confidence=0.9)).promoted
    refused = decide(candidate, scores(), "v1", CLEAN, params(confidence=0.999))
    assert not refused.promoted
    assert "(99.9% " in refused.reason and "not wholly above the margin of 0.0" in refused.reason


def test_one_benchmark_that_is_no_better_is_enough_to_refuse() -> None:
    candidate = spread(scores(0.1, words=0.0))
    refused = decide(candidate, scores(), "champion v1", CLEAN, params())
    assert not refused.promoted
    assert refused.reason.startswith("refused: against champion v1, on words ")
    assert decide(candidate, scores(), "champion v1", CLEAN, params(benchmarks=["sums"])).promoted


@pytest.mark.parametrize(("loss", "promoted"), [(0.01, True), (0.02, True), (0.03, False)])
def test_out_of_distribution_may_fall_by_the_tolerance(loss: float, promoted: bool) -> None:
    decision = decide(spread(scores(0.1, far=-loss)), scores(), "v1", CLEAN, params(tolerance=0.02))
    assert decision.promoted is promoted
    assert "a loss of 2.0 is tolerated" in decision.reason


def test_data_that_are_not_clean_are_refused_whatever_the_scores() -> None:
    faults = [Clause(False, "2 of 9 expert trajectories are not verified")]
    refused = decide(spread(scores(0.3)), scores(), "v1", faults, params())
    assert not refused.promoted
    assert refused.reason.startswith("refused: against v1, 2 of 9 expert trajectories are not verified; ")


def few_wins(wins: int, prompts: int = 359) -> tuple[Scores, Scores]:
    """A candidate and an opponent that differ on `wins` prompts."""
    opponent = {name: {f"{name}-{i}": 0.0 for i in range(prompts)} for name in ("sums", "words", "far")}
    candidate = {
        name: {p: float(int(p.split("-")[1]) < wins) for p in table} for name, table in opponent.items()
    }
    return candidate, opponent


@pytest.mark.parametrize(("wins", "promoted"), [(4, False), (5, False), (6, True)])
def test_the_gate_decides_as_the_comparison_does(wins: int, promoted: bool) -> None:
    candidate, opponent = few_wins(wins)
    result = paired_difference(
        np.array(list(candidate["sums"].values())), np.array(list(opponent["sums"].values())), 0, 2000
    )
    [entry] = corrected([result])
    assert decide(candidate, opponent, "v1", CLEAN, params()).promoted is promoted
    assert entry["detected"] is promoted


def test_every_further_attempt_needs_more_evidence_and_says_so() -> None:
    candidate, opponent = few_wins(8)  # p = 2 / 2^8 = 0.0078
    assert decide(candidate, opponent, "v1", CLEAN, params(), attempt=3).promoted  # 0.1 / 12 = 0.0083
    refused = decide(candidate, opponent, "v1", CLEAN, params(), attempt=4)
    assert not refused.promoted
    assert "above the margin of 0.0, without p < 0.005" in refused.reason
    assert (
        "attempt 4 needs p < 0.005, so that errors over all attempts against v1 stay within 0.05"
        in refused.reason
    )


def promotions(seed: int, gain: float = 0.0, since: int = 0) -> tuple[int | None, int | None]:
    """The first of 30 nights that promotes, without and with the error budget; None for no night.

    All policies share 100 prompts and their difficulty, and the champion was measured once, with 4 samples.
    The candidates are equal to it; from night `since` on, `gain` is added to their pass rates.
    """
    rng = np.random.default_rng(seed)
    rates = rng.beta(0.6, 0.6, 100)

    def measured(rates: NDArray[np.float64]) -> Scores:
        return {"sums": {f"{i}": share for i, share in enumerate((rng.binomial(4, rates) / 4).tolist())}}

    champion, config = measured(rates), params(benchmarks=["sums"], out_of_distribution=[])
    unbounded = None
    for night in range(30):
        candidate = measured(np.clip(rates + (gain if night >= since else 0), 0, 1))
        # What the first attempt may not promote, no later one may.
        if decide(candidate, champion, "champion v1", CLEAN, config).promoted:
            unbounded = night if unbounded is None else unbounded
            if decide(candidate, champion, "champion v1", CLEAN, config, attempt=night + 1).promoted:
                return unbounded, night
    return unbounded, None


@pytest.mark.slow
def test_thirty_nights_of_equal_policies_promote_in_at_most_5_percent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(significance, "DRAWS", 1000)
    nights = [promotions(seed) for seed in range(100)]
    assert np.mean([bounded is not None for _, bounded in nights]) <= 0.05
    # Where every night has the level of a single comparison, the errors add up.
    assert np.mean([unbounded is not None for unbounded, _ in nights]) > 0.1


def test_a_clearly_better_policy_is_promoted_within_a_few_nights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(significance, "DRAWS", 1000)
    nights = [promotions(seed, gain=0.25, since=10)[1] for seed in range(20)]
    assert all(night is not None and 10 <= night <= 12 for night in nights)


@pytest.mark.parametrize("opponent", [None, {}, scores(prompts=99)])
def test_nothing_to_compare_with_is_refused(opponent: Scores | None) -> None:
    assert not decide(spread(scores(0.3)), opponent, "v1", CLEAN, params()).promoted


def change_report(root: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = root / "data/prompts/report.json"
    report = json.loads(path.read_text())
    change(report)
    path.unlink()  # DVC's cache may share the file
    path.write_text(json.dumps(report))


def change_table(root: Path, path: str, **columns: Any) -> None:
    rows = pq.read_table(root / path).to_pylist()
    (root / path).unlink()
    pq.write_table(pa.Table.from_pylist([rows[0] | columns, *rows[1:]]), root / path)


def clauses(root: Path) -> list[str]:
    return [clause.words for clause in data_clauses(root, ["easy"]) if not clause.met]


def test_data_clauses_are_read_from_the_files(workspace: Path) -> None:
    assert clauses(workspace) == []
    assert [clause.words for clause in data_clauses(workspace, ["easy"])] == [
        "no benchmark problem among the training prompts (1 were left out)",
        "all 8 expert trajectories are verified",
    ]
    assert [c.met for c in data_clauses(workspace, ["easy", "hard"])] == [False, True]


def test_contamination_and_unverified_experts_are_found(workspace: Path) -> None:
    change_table(workspace, "data/experts/experts.parquet", verified=False)
    change_table(workspace, "data/prompts/train.parquet", prompt_id="b3")
    assert clauses(workspace) == [
        "1 training prompts are benchmark problems, such as b3",
        "1 of 8 expert trajectories are not verified",
    ]


def test_a_report_that_does_not_add_up_is_found(workspace: Path) -> None:
    change_report(workspace, lambda report: report["contamination"]["found"]["easy"].update(inside=2))
    assert clauses(workspace) == [
        "3 training prompts matched a benchmark and 1 were left out: see data/prompts/report.json"
    ]
    change_report(workspace, lambda report: report["checks"].update(disjoint=False))
    assert clauses(workspace) == ["data/prompts/report.json says that ['disjoint'] failed"]


@pytest.mark.parametrize(
    ("promotion", "message"),
    [
        ("{benchmarks: [eazy]}", "promotion.benchmarks.0: no benchmark 'eazy'"),
        (
            "{out_of_distribution: [easy]}",
            "promotion.out_of_distribution: no benchmark is left to be better on",
        ),
        ("{benchmarks: [easy], out_of_distribution: [easy]}", "promotion.benchmarks: ['easy'] is out of"),
        ("{confidence: 1.0}", "promotion.confidence"),
    ],
)
def test_promotion_keys_are_checked(promotion: str, message: str, workspace: Path) -> None:
    path = workspace / "params.yaml"
    path.write_text(f"{path.read_text()}promotion: {promotion}\n")
    with pytest.raises(InputError, match=r"params.yaml:\d+: ") as caught:
        load_params(path)
    assert message in str(caught.value)


def test_data_that_changed_after_training_fail_the_gate() -> None:
    from pipelines.tracking.registry.promotion import outdated

    lock = {
        "curate": {"outs": [{"path": "data/prompts/train.parquet", "md5": "a"}]},
        "train@one": {
            "deps": [{"path": "data/prompts/train.parquet", "md5": "a"}, {"path": "code", "md5": "c"}]
        },
        "train@two": {"deps": [{"path": "data/prompts/train.parquet", "md5": "b"}]},
    }
    assert outdated(lock, "one") is None
    clause = outdated(lock, "two")
    assert clause is not None and not clause.met
    assert clause.words.startswith("data/prompts/train.parquet changed since two was trained")

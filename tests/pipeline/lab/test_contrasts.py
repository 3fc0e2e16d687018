"""Contrasts of settings: known effects in made-up cells, and what a study says of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from test_lab import DESIGN, make

from hpt_core import tables
from hpt_core.errors import InputError
from hpt_core.files import write_json
from hpt_core.fingerprint import write_sealed
from hpt_core.types import Trajectory
from pipelines import paths
from pipelines.lab.cells import RESULT, Study
from pipelines.lab.contrasts import contrasts, effect, weights
from pipelines.lab.design import Contrast, read_design
from pipelines.lab.sentences import sentences
from pipelines.lab.tables import tables as tables_of
from pipelines.report.words import MINUS

LEVELS = [
    {"author": author, "wording": wording}
    for wording in ("plain", "marked", "labelled")
    for author in ("program", "teacher")
]
NLL = [0.3, 0.2, 1.0, 0.8, 1.6, 1.1]
MEASURED = [{"tokens": 40.0 + 5 * (i // 4), "nll": nll} for i, nll in enumerate(NLL)]
TEACHER = np.array([each["author"] == "teacher" for each in LEVELS])


def contrast(**more: object) -> Contrast:
    keys = {"factor": "author", "base": "program", "to": "teacher", "settings": ["a", "b"], **more}
    return Contrast.model_validate(keys)


def test_pairs_within_a_wording_give_the_mean_difference() -> None:
    found = weights(contrast(equal=["wording"]), LEVELS, MEASURED)
    assert found == pytest.approx([-1 / 3, 1 / 3] * 3)


def test_a_covariate_that_an_author_is_nearer_to_is_held_equal() -> None:
    accuracy = 0.5 + 0.04 * TEACHER - 0.1 * np.array(NLL)
    naive = weights(contrast(), LEVELS, MEASURED)
    adjusted = weights(contrast(covariates=["nll"]), LEVELS, MEASURED)
    both = weights(contrast(equal=["wording"], covariates=["nll"]), LEVELS, MEASURED)
    assert naive is not None and adjusted is not None and both is not None
    assert naive @ accuracy == pytest.approx(0.04 + 0.1 * 4 / 15)
    assert adjusted @ accuracy == pytest.approx(0.04) == both @ accuracy


def test_what_the_settings_do_not_tell_apart_has_no_effect() -> None:
    confounded = [{"author": a, "wording": w} for a, w in (("program", "plain"), ("teacher", "marked"))]
    assert weights(contrast(equal=["wording"]), confounded, MEASURED[:2]) is None
    assert weights(contrast(covariates=["nll"]), LEVELS[:2], MEASURED[:2]) is None
    alike = [{**each, "nll": 0.5} for each in MEASURED]
    assert weights(contrast(covariates=["nll"]), LEVELS, alike) == pytest.approx([-1 / 3, 1 / 3] * 3)


def test_the_interval_holds_a_known_effect() -> None:
    """95% of 400 made-up studies of three seeds and 60 prompts, less three standard errors."""
    weight = weights(contrast(equal=["wording"], covariates=["nll"]), LEVELS, MEASURED)
    assert weight is not None
    rng, truth, held, decided = np.random.default_rng(3), 0.03, 0, 0
    for _ in range(400):
        seed_effects = rng.normal(0, 0.02, (6, 3, 1))  # Each run has an effect of its own.
        prompts, per_setting = rng.normal(0, 0.3, (1, 1, 60)), rng.normal(0, 0.1, (6, 1, 60))
        mean = (0.5 + truth * TEACHER - 0.1 * np.array(NLL))[:, None, None]
        noise = rng.normal(0, 0.1, (6, 3, 60))
        found = effect(weight, mean + seed_effects + prompts + per_setting + noise)
        low, high = found["ci95"]
        held += low <= truth <= high
        decided += not low <= 0 <= high
    assert held / 400 > 0.95 - 3 * np.sqrt(0.95 * 0.05 / 400)
    assert decided < 400, "the interval is as wide as three seeds allow"


STUDY = (
    DESIGN.replace("  tiny: {}\n", "  people: {}\n  model: {seed: 18}\n")
    .replace("reference: hpt", "reference: sft")
    .split("methods:")[0]
    + """\
methods:
  base: {train: null}
  sft: {train: {algorithm: sft}}
  hpt: {train: {algorithm: hpt}}
factors:
  people: {author: people}
  model: {author: model}
contrasts:
  author: {factor: author, base: people, to: model, settings: [people, model]}
"""
)


def planted(
    root: Path, right: dict[str, list[list[int]]], nll: dict[str, list[dict[str, float]]] | None = None
) -> Study:
    """A study whose cells have these numbers of right responses, of 4, by setting, seed and prompt, and these
    NLLs by setting, seed and source.
    """
    (make(root) / "conf/lab/small.yaml").write_text(STUDY)
    study = Study(root, "small", read_design(root, "small"))
    shown = Trajectory("t", "p", "r", "program", "worked", "a", "mit", "{}", True, 9, "h")
    row = {name: getattr(shown, name) for name in tables.DEMONSTRATIONS.names}
    for cell in study.cells({}):
        setting = study.setting_at(cell)
        tables.write(setting / paths.demonstrations("program"), [row], tables.DEMONSTRATIONS)
        tables.write(setting / paths.BENCHMARK_PROMPTS, [], tables.BENCHMARKS)
        write_json(setting / paths.EXPERTS_DISTANCE, {"worked": {"nll": 0.5}})
        counts = right[cell.setting][cell.seed - 1] if cell.trained else [0, 0, 0]
        result = {
            "k": {"held": 4},
            "solved": {"held": {f"p{i}": n for i, n in enumerate(counts)}},
            "truncated": {"held": 0.0},
            "spent": dict.fromkeys(("steps", "generated_tokens", "trained_tokens", "flops"), 1.0),
            "dev": 0.5,
            "curves": {},
            "phases": [4],
            "health": {},
        }
        if nll is not None:
            result["nll"] = nll[cell.setting][cell.seed - 1]
        write_sealed(study.at(cell) / RESULT, result)
    return study


def test_a_study_says_what_its_contrasts_show(tmp_path: Path) -> None:
    study = planted(tmp_path, {"people": [[0, 1, 2], [0, 2, 2]], "model": [[1, 2, 4], [1, 3, 3]]})
    found = tables_of(study)
    effects = found["contrasts"]["author"]["budgets"]["steps"]
    assert effects.keys() == {"weights", "sft", "hpt", "all"}, "what is not trained has no effect"
    # Of 4 responses: 1, 1 and 2 more in the first seed, 1, 1 and 1 in the second.
    assert effects["all"]["difference"] == pytest.approx((4 + 3) / 6 / 4, abs=1e-9)
    [sentence] = sentences(found)
    assert sentence.startswith("author, steps: author model in place of people")
    assert "the mean of 2 methods over 2 seeds and 3 prompts" in sentence and "+29.2 points" in sentence


def test_a_contrast_also_says_what_changes_in_the_nll(tmp_path: Path) -> None:
    right = {"people": [[0, 1, 2], [0, 2, 2]], "model": [[1, 2, 4], [1, 3, 3]]}
    nll = {
        "people": [{"worked": 1.0, "own": 2.0}, {"worked": 1.1, "own": 2.0}],
        "model": [{"worked": 0.9, "own": 2.0}, {"worked": 0.96, "own": 2.5}],
    }
    found = tables_of(planted(tmp_path, right, nll))
    effect = found["contrasts"]["author"]["budgets"]["steps"]["nll"]
    # -0.10 and -0.14: the mean, and 12.7 (Student's t, one degree of freedom) standard errors of 0.02.
    assert effect["worked"]["difference"] == pytest.approx(-0.12)
    assert effect["worked"]["ci95"] == pytest.approx([-0.12 - 12.706 * 0.02, -0.12 + 12.706 * 0.02], abs=1e-4)
    [sentence] = sentences(found)
    assert (
        "the mean of 2 methods over" in sentence
        and "worked -0.120 (-0.374 to +0.134)" in sentence.replace(MINUS, "-")
    )


def test_a_setting_may_have_fewer_methods(tmp_path: Path) -> None:
    (make(tmp_path) / "conf/lab/small.yaml").write_text(STUDY + "methods_of: {model: [hpt]}\n")
    cells = Study(tmp_path, "small", read_design(tmp_path, "small")).cells({})
    assert [(cell.setting, cell.method) for cell in cells if cell.seed == 1] == [
        *(("people", method) for method in ("base", "sft", "hpt")),
        ("model", "hpt"),
    ]


def test_an_effect_of_incomplete_settings_says_what_is_missing(tmp_path: Path) -> None:
    study = planted(tmp_path, {"people": [[0, 1, 2]] * 2, "model": [[1, 2, 3]] * 2})
    cells = {cell: study.result(cell) for cell in study.cells({}) if cell.setting == "people"}
    found = contrasts(study, {cell: result for cell, result in cells.items() if result})
    assert "of model" in found["author"]["budgets"]["steps"]["none"]
    assert "is not known yet" in sentences({"contrasts": found, "benchmark": "held"})[0]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("settings: [people, model]", "settings: [people, modl]", "there is no setting 'modl'"),
        ("  model: {author: model}\n", "", "contrast author needs a level of"),
        ("to: model, settings", "to: machine, settings", "'model', which is not one of the two levels"),
        ("factors:", "methods_of: {people: [sft]}\nfactors:", "the settings after people"),
        ("factors:", "methods_of: {model: [sftt]}\nfactors:", "no such methods"),
        ("recipe: tiny", "recipe: tiny\nparams_of: small", "name another study"),
    ],
)
def test_a_contrast_without_levels_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    (make(tmp_path) / "conf/lab/small.yaml").write_text(STUDY.replace(old, new))
    with pytest.raises(InputError, match=message):
        read_design(tmp_path, "small")

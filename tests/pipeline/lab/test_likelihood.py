"""The NLL of solutions that were not trained on; settings share what their arms do not change."""

from __future__ import annotations

from dataclasses import replace

import pytest
from test_lab import DESIGN, make

from hpt_core.errors import InputError
from hpt_core.files import read_json
from pipelines import paths
from pipelines.lab import worker
from pipelines.lab.cells import Cell, Study
from pipelines.lab.design import read_design
from pipelines.lab.likelihood import OWN, held_out_nll
from pipelines.lab.tables import tables

pytestmark = pytest.mark.slow
STUDY = (
    DESIGN.split("methods:")[0]
    .replace("  tiny: {}\n", "  half: {arms: {program: {coverage: 0.5}}}\n  all: {}\n")
    .replace("reference: hpt", "reference: sft\nlikelihood: 6")
    .replace("{steps: 4}", "{steps: 6}")
    + "methods:\n  base: {train: null}\n  sft: {train: {algorithm: sft}}\n"
)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    root = make(tmp_path_factory.mktemp("likelihood"))
    (root / "conf/lab/small.yaml").write_text(STUDY)
    return Study(root, "small", read_design(root, "small"))


def cell(study: Study, setting: str, method: str) -> Cell:
    return next(c for c in study.cells({}) if (c.setting, c.method) == (setting, method))


def test_imitation_lowers_the_nll_of_solutions_it_has_not_seen(study: Study) -> None:
    before, after = cell(study, "half", "base"), cell(study, "half", "sft")
    for each in (before, after):
        assert worker.make(study, each)
    nll = {each: study.result(each)["nll"] for each in (before, after)}  # type: ignore[index]
    assert nll[before].keys() == {"worked", OWN}
    assert nll[after]["worked"] < nll[before]["worked"]
    assert nll[after][OWN] != nll[before][OWN]
    measured = read_json(study.setting_at(before) / paths.EXPERTS_DISTANCE)["worked"]["nll"]
    assert nll[before]["worked"] == pytest.approx(measured, rel=0.3), "the mean of other solutions"
    shown = tables(study)["results"]["half"]["steps"]["methods"]["sft"]["nll"]
    assert shown["worked"] == {"mean": nll[after]["worked"], "seeds": [nll[after]["worked"]]}


def test_settings_share_what_their_arms_do_not_change(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    half, everything = cell(study, "half", "base"), cell(study, "all", "base")
    assert half.sources_content == everything.sources_content
    worker.prepared(study, half)
    monkeypatch.setattr(worker, "SOURCES", dict.fromkeys(worker.SOURCES))  # None of them runs again.
    folder = worker.prepared(study, everything)
    counts = [read_json(at / paths.coverage("program")) for at in (study.setting_at(half), folder)]
    assert counts[0]["with_expert"] < counts[1]["with_expert"] == counts[1]["prompts"]
    with monkeypatch.context() as inside:
        inside.chdir(folder)
        with pytest.raises(InputError, match=r"lower\s+arms.program.coverage"):
            held_out_nll(everything, "base", folder, study.design)


def test_another_likelihood_is_another_cell(study: Study) -> None:
    one = cell(study, "half", "base")
    assert replace(one, likelihood=7).content != one.content == replace(one).content

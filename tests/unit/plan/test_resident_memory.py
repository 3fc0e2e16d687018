"""The memory that `hpt plan --device cpu` predicts, beside what the ranks of a run have resident.

`python -m pytest -n 0 -s -m slow tests/unit/plan/test_resident_memory.py` prints the table of docs/scale.md.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from smollm2_run import make_project, resident_memory, save_model

from hpt_core.policy.chat import Chat
from pipelines.params import load_params
from pipelines.plan import devices
from pipelines.plan.host import LIBRARIES
from pipelines.plan.plan import Request, plan

TOLERANCE = 0.15


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Chat]:
    folder = tmp_path_factory.mktemp("smollm2") / "model"
    return folder, save_model(folder)


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_every_moment_of_every_rank(
    ranks: int, base: tuple[Path, Chat], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(tmp_path, *base, ranks)
    monkeypatch.chdir(project)
    made = plan(load_params(), Request(devices.device("cpu")))
    measured = resident_memory(project, ranks)
    rows = [
        ("interpreter and libraries", rank, LIBRARIES, each.afterwards) for rank, each in enumerate(measured)
    ]
    for moment in made.moments:
        name = moment.name.split(",")[0]
        for rank, each in enumerate(measured):
            predicted = moment.total - LIBRARIES - (moment.of_main if rank else 0)
            rows.append((name, rank, predicted, each.of_model(name)))
    print(f"\n{ranks} rank(s), MiB: what, rank, predicted, measured, ratio")
    for name, rank, predicted, found in rows:
        print(f"{name:26} {rank} {predicted / 2**20:6,.0f} {found / 2**20:6,.0f} {predicted / found:.2f}")
    for name, rank, predicted, found in rows:
        assert predicted == pytest.approx(found, rel=TOLERANCE), f"{name}, rank {rank}"

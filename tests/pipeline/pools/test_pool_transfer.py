"""A stage that runs in another checkout leaves the same bytes as one that runs here, or nothing at all."""

from __future__ import annotations

import shutil
from contextlib import chdir
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from pool_checkouts import (
    STAGE,
    Pair,
    accept,
    commit,
    contents,
    handover,
    make_pair,
    offer,
    replace_in_params,
    take,
    work,
)

from hpt_core.errors import InputError
from pipelines.orchestration.dvc_stage import reproduce
from pipelines.orchestration.process_group import ProcessGroups
from pipelines.pools import transfer
from pipelines.pools.handover import Handover, Reply
from pipelines.tracking.dvc_lock import read_lock


@dataclass(frozen=True)
class Worked:
    """A pair of which the worker has done its part, and the flow's has not taken it over."""

    pair: Pair
    given: Handover
    reply: Reply
    local: dict[str, bytes]
    """What a local run of the same stage leaves."""


@pytest.fixture(scope="module")
def worked(reproduced: Path, tmp_path_factory: pytest.TempPathFactory) -> Worked:
    folder = tmp_path_factory.mktemp("pools")
    pair = make_pair(folder, reproduced)
    local = Path(shutil.copytree(pair.flow, folder / "local", symlinks=True))
    reproduce(STAGE, local, ProcessGroups(), lambda line: None, {})
    assert offer(pair.flow) == transfer.OFFERED
    given = handover(pair.flow)
    return Worked(pair, given, work(pair.worker, given), contents(local))


@pytest.fixture
def flow(worked: Worked, tmp_path: Path) -> Path:
    """A copy of the flow's checkout."""
    return Path(shutil.copytree(worked.pair.flow, tmp_path / "flow", symlinks=True))


def test_only_the_inputs_of_the_stage_are_sent(worked: Worked) -> None:
    made = ("models/program", "data/rollouts", "metrics/train")
    there = {"/".join(path.split("/")[:2]) for path in contents(worked.pair.worker) if "/" in path}
    assert there == {"data/prompts", "data/experts", "models/base", *made}


def test_dvc_lock_goes_whole_but_for_what_other_arms_read(worked: Worked) -> None:
    here = read_lock(worked.pair.flow)
    sent = {name: set(entry) for name, entry in worked.given.lock.items()}
    assert {name for name in here if sent[name] == {"cmd", "outs"}} == {"train@human", "evaluate@human"}
    assert all(worked.given.lock[name]["outs"] == here[name]["outs"] for name in here)


def test_the_bytes_are_those_of_a_local_run_and_the_next_run_asks_no_worker(
    worked: Worked, flow: Path
) -> None:
    assert not (flow / "models/program").exists(), "as before a local run, the old outputs are gone"
    assert accept(flow, worked.reply) == transfer.ACCEPTED
    assert contents(flow) == worked.local
    assert offer(flow) == "unchanged"

    # An earlier state comes from DVC's cache of runs, as it does for a stage that ran here.
    replace_in_params(flow, "seed: 8", "seed: 7")
    assert offer(flow) == "restored"
    replace_in_params(flow, "seed: 7", "seed: 8")
    assert offer(flow) == "restored"
    assert contents(flow) == worked.local


def test_an_entry_of_other_inputs_is_refused(worked: Worked, flow: Path) -> None:
    before = (flow / "dvc.lock").read_bytes()
    replace_in_params(flow, "steps: 3", "steps: 4")
    with pytest.raises(
        InputError, match=r"params\.yaml:train of train@program changed here while a worker ran"
    ):
        accept(flow, worked.reply)
    assert (flow / "dvc.lock").read_bytes() == before


def test_outputs_that_never_reached_the_remote_are_refused(worked: Worked, flow: Path) -> None:
    before = (flow / "dvc.lock").read_bytes()
    config = flow / ".dvc/config"
    config.write_text(config.read_text().replace(str(worked.pair.remote), str(flow.parent / "empty")))
    with pytest.raises(InputError, match="not whole in the DVC remote of this checkout"):
        accept(flow, worked.reply)
    assert (flow / "dvc.lock").read_bytes() == before


def test_a_forged_entry_writes_only_where_the_stage_does(worked: Worked, flow: Path) -> None:
    planted: Any = [{**out, "path": f"../planted/{out['path']}"} for out in worked.reply.entry["outs"]]
    with pytest.raises(InputError, match="the worker made no"):
        accept(flow, Reply({**worked.reply.entry, "outs": planted}, None))
    assert not (flow.parent / "planted").exists()


def test_the_worker_refuses_inputs_that_are_not_the_flows(worked: Worked) -> None:
    deps: Any = [
        {**dep, "md5": "0" * 32} if dep["path"] == "models/base" else dep
        for dep in worked.given.expected["deps"]
    ]
    other = replace(worked.given, expected={**worked.given.expected, "deps": deps})
    with pytest.raises(InputError, match=r"^models/base differ between the flow's checkout and the worker's"):
        take(worked.pair.worker, other)


@pytest.mark.parametrize("stage", ["--help", "x; touch planted", "data/prompts", "../flow/dvc.yaml:curate"])
def test_the_worker_runs_stages_of_its_dvc_yaml_alone(worked: Worked, stage: str) -> None:
    with chdir(worked.pair.worker), pytest.raises(InputError, match=r"dvc\.yaml has no stage"):
        transfer.take(Path("."), stage)


@pytest.mark.parametrize("stage", ["../../x", "/tmp/x", "train@../x", "", "a b"])
def test_no_file_is_named_after_what_cannot_be_a_stage(stage: str) -> None:
    with pytest.raises(InputError, match=r"is no stage of dvc\.yaml; a stage's name has letters"):
        transfer.place(stage)


def test_the_worker_refuses_another_commit_and_a_tree_of_its_own(worked: Worked, tmp_path: Path) -> None:
    worker = Path(shutil.copytree(worked.pair.worker, tmp_path / "worker", symlinks=True))
    (worker / "dvc.lock").unlink()
    (worker / "stages.py").write_text("# edited\n")
    with pytest.raises(InputError, match=r"^stages\.py differ from the commit .* git stash"):
        take(worker, worked.given)
    theirs, ours = commit(worker), worked.given.commit
    with pytest.raises(InputError, match=rf"runs commit {ours}, and .* at {theirs}; there: git fetch"):
        take(worker, worked.given)
    assert not (worker / "dvc.lock").exists(), "nothing is written before"

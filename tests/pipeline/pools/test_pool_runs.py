"""A real Prefect server and two workers in clones of their own: the tests follow each other."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from pool_checkouts import clone, contents, replace_in_params
from processes import marked
from waiting import wait_for

from tests.pipeline.pools.conftest import LIMIT, POOLS, Farm

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

ARMS = {"left": "train@program", "right": "train@human"}
"""Pool -> the stage that params.yaml gives it."""


def next_seed(farm: Farm) -> dict[str, bytes]:
    """Put the arms out of date; what a run without pools leaves then."""
    [seed] = re.findall(r"^seed: (\d+)", (farm.root / "params.yaml").read_text(), re.MULTILINE)
    replace_in_params(farm.root, f"seed: {seed}", f"seed: {int(seed) + 1}")
    local = farm.root.with_name(f"local-{seed}")
    shutil.copytree(farm.root, local, symlinks=True)
    replace_in_params(local, "pools: {train@program: left, train@human: right}", "pools: {}")
    subprocess.run(["dvc", "repro", "-q"], cwd=local, env=farm.environment, check=True)
    return contents(local)


def test_without_a_server_or_a_remote_the_key_is_named(farm: Farm) -> None:
    next_seed(farm)
    before = (farm.root / "dvc.lock").read_bytes()
    status, output = farm.hpt("run", "--without-prefect")
    assert status == 2 and "params.yaml: pools gives train@program to left, whose workers need" in output, (
        output
    )
    status, output = farm.hpt("run")
    assert status == 1 and "has no deployment hpt-stage/stage-left" in output and "hpt deploy" in output, (
        output
    )
    assert "train@program" not in (farm.root / "dvc.lock").read_text()[len(before) :]


def test_deploying_makes_a_pool_and_a_deployment_for_each(farm: Farm) -> None:
    status, output = farm.hpt("deploy")
    assert status == 0, output
    for pool in POOLS:
        made = farm.api.get(f"deployments/name/hpt-stage/stage-{pool}")
        assert (made["work_pool_name"], made["global_concurrency_limit"]) == (pool, None)
        assert farm.api.get(f"work_pools/{pool}")["type"] == "process"
    assert farm.hpt("deploy")[1].startswith("nothing to change")


def test_two_arms_run_on_two_pools_at_the_same_time_and_give_the_bytes_of_a_local_run(farm: Farm) -> None:
    expected = next_seed(farm)
    began = farm.root / "logs/began"
    before = {arm: (began / arm).read_text() for arm in ARMS.values()}
    for pool in POOLS:
        farm.start_worker(pool)
    with farm.held("left", "train@program"), farm.held("right", "train@human"):
        run = farm.start("run")
        for pool, stage in ARMS.items():
            farm.wait_until_begun(pool, stage, run)
    assert run.wait(LIMIT) == 0, farm.output.read_text()
    assert contents(farm.root) == expected
    assert {arm: (began / arm).read_text() for arm in ARMS.values()} == before, "no arm was trained here"
    # The workers have logged live, into runs that the flow could complete.
    assert "completed: program, human" in farm.output.read_text()


def test_a_second_run_starts_no_run_of_a_worker(farm: Farm) -> None:
    before = len(farm.stage_runs())
    status, output = farm.hpt("run")
    assert status == 0 and "every stage is up to date" in output, output
    assert len(farm.stage_runs()) == before


def test_a_worker_with_edits_is_refused_and_the_run_says_where_and_why(farm: Farm) -> None:
    next_seed(farm)
    code = farm.clones["right"] / "stages.py"
    original = code.read_text()
    code.write_text(original + "# edited\n")
    status, output = farm.hpt("run")
    code.write_text(original)
    assert status == 1, output
    assert re.search(
        r"train@human on pool right, flow run .* is FAILED: stages\.py differ from the commit", output
    )
    # The other arm does not depend on it.
    assert "train@program" not in re.findall(r"not run: (.*)", output)[0]


def test_cancelling_the_run_cancels_that_of_the_worker(farm: Farm) -> None:
    next_seed(farm)
    with farm.held("left", "train@program"), farm.held("right", "train@human"):
        run = farm.start("run")
        for pool, stage in ARMS.items():
            farm.wait_until_begun(pool, stage, run)
        run.send_signal(signal.SIGTERM)
        assert run.wait(LIMIT) != 0
        for child in farm.stage_runs()[-2:]:
            farm.api.wait(child["id"], "Cancelled")
        for folder in farm.clones.values():
            wait_for(lambda folder=folder: not stages_of(folder), seen=lambda: farm.output.read_text())


def stages_of(folder: Path) -> list[str]:
    """The commands of stages that run in a clone."""
    return [command for command in marked(str(folder)).values() if "stages.py" in command]


def test_a_killed_worker_fails_the_run_and_the_same_command_goes_on(farm: Farm) -> None:
    expected = next_seed(farm)
    with farm.held("left", "train@program"):
        run = farm.start("run")
        farm.wait_until_begun("left", "train@program", run)
        farm.kill_worker("left")
        assert run.wait(LIMIT) == 1
    output = farm.output.read_text()
    assert re.search(r"train@program on pool left, flow run .* is CRASHED: no heartbeat for", output), output
    farm.start_worker("left")
    status, output = farm.hpt("run")
    assert status == 0, output
    assert contents(farm.root) == expected


def test_the_run_after_a_killed_one_waits_for_what_the_worker_makes(farm: Farm) -> None:
    expected = next_seed(farm)
    with farm.held("left", "train@program"):
        run = farm.start("run")
        farm.wait_until_begun("left", "train@program", run)
        run.kill()
        run.wait()
        begun = len(farm.stage_runs())
        # A second worker of the pool is free, and would begin the stage anew.
        idle = clone(farm.root, farm.root.with_name("idle"))
        farm.start_worker("left", idle, name="idle")
        again = farm.start("run")
        told = re.compile(r"train@program runs on pool left, .*, which an earlier run has begun")
        wait_for(lambda: told.search(farm.output.read_text()), LIMIT, farm.output.read_text)
    assert again.wait(LIMIT) == 0, farm.output.read_text()
    farm.stop_worker("idle")
    assert contents(farm.root) == expected
    assert not (idle / "logs/began/train@program").exists()
    names = [run["name"].partition(" of ")[0] for run in farm.stage_runs()[begun:]]
    assert "train@program" not in names


def test_a_worker_in_the_checkout_of_the_flow_is_refused(farm: Farm) -> None:
    next_seed(farm)
    farm.stop_worker("left")
    farm.start_worker("left", farm.root)
    status, output = farm.hpt("run")
    assert status == 1 and "is the checkout in which the flow itself runs" in output, output

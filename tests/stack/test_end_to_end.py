"""From an upload to a judged model on the stack, and on to a colleague's clone: nobody is asked in between.

The project is the default one with fewer problems, smaller models and fewer steps; everything else is real.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import reasoning_gym
from nights import NIGHT, OVER
from ruamel.yaml import YAML
from running_stack import Stack, choose_ports, ends_with_this_process, remove
from toy_project import IDENTITY, REPO
from waiting import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

DVC = (sys.executable, "-m", "dvc")
SUMS = {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}
PROBLEMS = {"name": "sums", "reasoning_gym": "chain_sum", "license": "Apache-2.0", "options": SUMS}
POLL = 300
"""Seconds between two polls of the inbox."""


def smaller(text: str) -> str:
    """params.yaml of the default with less of everything, an inbox, and an arm that learns from its files."""
    params = YAML(typ="safe").load(text)
    params["curate"]["train"] = [{**PROBLEMS, "size": 60, "seed": 1000}]
    params["curate"]["dev_size"] = 8
    params["curate"]["benchmarks"] = {"held_out": [{**PROBLEMS, "size": 16, "seed": 2000}]}
    start = params["base"]["warm_start"]
    start |= {"hidden_size": 32, "layers": 1, "heads": 2, "steps": 20}
    start["sources"] = [{**PROBLEMS, "size": 64, "seed": 3000}]
    params["teacher"] = None
    params["rollout"] |= {"group_size": 2, "max_new_tokens": 24}
    columns = {"problem": "question", "response": "solution"}
    crowd = {"name": "crowd", "kind": "human", "license": "MIT", "columns": columns}
    params["experts"]["sources"].append({**crowd, "file": "raw/data/inbox/crowd"})
    params["arms"] = {"program": {"mix": {"program": 1.0}}, "people": {"mix": {"human": 1.0}}}
    params["train"] |= {"steps": 2, "prompts_per_step": 4, "warmup_steps": 0, "cooldown_steps": 0}
    params["evaluate"] |= {"samples": 2}
    params["inbox"] = {"url": "s3://hpt-inbox/team", "settle_s": 0}
    text = json.dumps(params, indent=2)
    return f"# recipe: embedded\n{text}\n"


def solutions() -> str:
    """What people wrote on the training problems."""
    problems = reasoning_gym.create_dataset("chain_sum", size=60, seed=1000, **SUMS)
    rows = ({"question": p["question"], "solution": f"It is \\boxed{{{p['answer']}}}."} for p in problems)
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A clone of this project, committed, with a running stack."""
    root = tmp_path_factory.mktemp("end-to-end") / "project"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPO, capture_output=True, check=True).stdout
    for name in filter(None, listed.decode().split("\0")):
        if not name.startswith(("tests/", "docs/")) and (REPO / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes((REPO / name).read_bytes())
    (root / "params.yaml").write_text(smaller((root / "params.yaml").read_text()))
    (root / "dvc.lock").unlink(missing_ok=True)
    choose_ports(root)
    for command in (["init", "-q"], ["add", "-A"], [*IDENTITY, "commit", "-qm", "project"]):
        subprocess.run(["git", *command], cwd=root, check=True)
    variables = {"DVC_SITE_CACHE_DIR": str(root.parent / "dvc-site"), "PYTHONPATH": str(root)}
    made = ends_with_this_process(Stack(root, {**variables, "OMP_NUM_THREADS": "1"}))
    try:
        made.hpt("stack", "up")
        yield made
    finally:
        remove(made)


def test_an_upload_becomes_a_model_that_a_clone_has(project: Stack, tmp_path: Path) -> None:
    project.hpt("remote", f"s3://{project.definition['HPT_DVC_BUCKET']}")
    project.hpt("deploy")
    upload = tmp_path / "may.jsonl"
    upload.write_text(solutions())
    project.hpt("inbox", "put", str(upload), "--source", "crowd")

    # The inbox is polled on its schedule, the file starts the training, and the worker runs both.
    query = (
        "SELECT flow_run.id, flow_run.state_name FROM flow_run JOIN deployment ON deployment.id = "
        "deployment_id WHERE deployment.name = '{}' AND start_time IS NOT NULL".format
    )
    [[run, _]] = wait_for(lambda: project.rows("PREFECT", query("retrain")), POLL + NIGHT)
    wait_for(lambda: project.run_state(run) in OVER, NIGHT, lambda: project.run_state(run))
    log = (project.root / ".stack" / "logs" / "worker.log").read_text(errors="replace")[-5000:]
    assert project.run_state(run) == "Completed", log
    assert all(
        state in ("Completed", "Unchanged", "Waiting") for _, state in project.rows("PREFECT", query("inbox"))
    )
    assert (project.root / "raw/data/inbox/crowd/may.jsonl").read_text() == upload.read_text()

    # What it made is in the store, on record and in the registry.
    cached = {path.relative_to(project.root / ".dvc/cache").as_posix() for path in project.cached()}
    assert cached and cached <= project.keys("HPT_DVC_BUCKET")
    arms = "SELECT value, status FROM tags JOIN runs USING (run_uuid) WHERE key = 'provenance' ORDER BY 1"
    assert project.rows("MLFLOW", arms) == [(name, "FINISHED") for name in ("base", "people", "program")]
    aliases = {alias for (alias,) in project.rows("MLFLOW", "SELECT alias FROM registered_model_aliases")}
    reasons = project.rows("MLFLOW", "SELECT value FROM model_version_tags WHERE key = 'promotion'")
    assert "candidate" in aliases and reasons
    # Whether a model of two steps is better than its start is open, but not whether the gate has judged it.
    assert ("champion" in aliases) == any(re.match("promoted", reason) for (reason,) in reasons), reasons

    # The promotion alone is a deployment too, and finds nothing to do.
    run = project.prefect.start("hpt-promotion/promotion")
    wait_for(lambda: project.run_state(run) in OVER, NIGHT, lambda: project.run_state(run))
    assert project.run_state(run) in ("Completed", "Unchanged")

    # A colleague gets all of it, and has nothing to compute.
    project.command("git", "add", "-A")
    project.command("git", *IDENTITY, "commit", "-qm", "the night")
    project.command("git", "clone", "-q", str(project.root), str(tmp_path / "clone"))
    variables = {**project.variables, **project.connection, "PYTHONPATH": str(tmp_path / "clone")}
    variables |= {"DVC_SITE_CACHE_DIR": str(tmp_path / "site")}
    variables |= {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    clone = Stack(tmp_path / "clone", variables)
    clone.command(*DVC, "pull")
    assert "Running stage" not in clone.command(*DVC, "repro").stdout
    assert not clone.command("git", "status", "--short").stdout
    arm = "models/people/model.safetensors"
    assert (clone.root / arm).read_bytes() == (project.root / arm).read_bytes()

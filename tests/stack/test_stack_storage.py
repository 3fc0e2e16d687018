"""A run on the stack stores data and artifacts in S3, its record in PostgreSQL; a clone gets it all back."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from running_stack import Stack
from toy_project import IDENTITY

pytestmark = pytest.mark.slow

DVC = (sys.executable, "-m", "dvc")


@pytest.fixture(scope="module")
def ran(stack: Stack) -> Stack:
    """The stack after one run of the toy project."""
    stack.hpt("run")
    return stack


def runs(stack: Stack) -> list[tuple[Any, ...]]:
    """The ids of the runs that MLflow has."""
    return stack.rows("MLFLOW", "SELECT run_uuid FROM runs ORDER BY 1")


def test_a_run_goes_to_the_servers_and_nothing_stays_in_the_checkout(ran: Stack) -> None:
    cached = {path.relative_to(ran.root / ".dvc/cache").as_posix() for path in ran.cached()}
    assert cached and cached <= ran.keys("HPT_DVC_BUCKET")
    (artifacts,) = set(ran.rows("MLFLOW", "SELECT split_part(artifact_uri, '/', 3) FROM runs"))
    assert artifacts == (ran.definition["HPT_MLFLOW_BUCKET"],)
    assert ran.keys("HPT_MLFLOW_BUCKET")
    assert ran.rows("MLFLOW", "SELECT DISTINCT status FROM runs") == [("FINISHED",)]
    assert ran.rows("PREFECT", "SELECT state_type FROM flow_run") == [("COMPLETED",)]
    for embedded in (".remote", "mlflow.db", "mlartifacts"):
        assert not (ran.root / embedded).exists()


def test_no_secret_is_in_what_a_run_leaves(ran: Stack) -> None:
    for name, secret in ran.secrets.items():
        for path in ran.root.rglob("*"):
            if path.is_file() and ".stack" not in path.parts and secret.encode() in path.read_bytes():
                pytest.fail(f"{name} is in {path}")
        for table in ("params", "tags", "experiment_tags"):
            found = ran.rows("MLFLOW", f"SELECT 1 FROM {table} WHERE value LIKE '%{secret}%'")
            assert not found, f"{name} is in MLflow's {table}"


def test_a_run_with_nothing_to_do_changes_nothing(ran: Stack) -> None:
    before = ran.keys("HPT_MLFLOW_BUCKET"), runs(ran)
    assert "up to date" in ran.hpt("run").stdout
    assert before == (
        ran.keys("HPT_MLFLOW_BUCKET"),
        runs(ran),
    )


def test_a_clone_needs_credentials_and_dvc_pull(ran: Stack, tmp_path: Path) -> None:
    bucket = f"s3://{ran.definition['HPT_DVC_BUCKET']}"
    said = ran.hpt("remote", bucket).stdout
    assert "can be reached" in said and "dvc push" in said
    ran.command(*DVC, "push")
    ran.command("git", "add", "-A")
    ran.command("git", *IDENTITY, "commit", "-qm", "a run")
    committed = ran.command("git", "show", "HEAD:.dvc/config").stdout
    assert bucket in committed and ran.connection["AWS_ENDPOINT_URL"] in committed
    assert not any(secret in committed for secret in ran.secrets.values())
    ran.command("git", "clone", "-q", str(ran.root), str(tmp_path / "clone"))
    clone = Stack(tmp_path / "clone", {**ran.connection, "DVC_SITE_CACHE_DIR": str(tmp_path / "site")})
    clone.command(*DVC, "pull")
    assert "Running stage" not in clone.command(*DVC, "repro").stdout
    assert clone.cached()
    assert not clone.command("git", "status", "--short").stdout


@pytest.mark.parametrize(
    ("url", "variables", "said"),
    [
        ("s3://user:pass-word@hpt-dvc", {}, "credentials"),
        ("s3://hpt-dvc?AWS_SECRET_ACCESS_KEY=pass-word", {}, "credentials"),
        ("s3://hpt-nothing", {}, "cannot be used"),
        ("s3://hpt-dvc", {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "cannot be reached"),
        ("s3://hpt-dvc", {"AWS_SECRET_ACCESS_KEY": "pass-word"}, "AWS_SECRET_ACCESS_KEY"),
        ("nonsense://hpt", {}, "cannot be reached"),
    ],
)
def test_a_remote_that_cannot_be_shared_is_one_line_and_changes_nothing(
    stack: Stack, url: str, variables: dict[str, str], said: str
) -> None:
    before = (stack.root / ".dvc" / "config").read_text()
    other = Stack(stack.root, {**stack.variables, **stack.connection, **variables})
    done = other.hpt("remote", url, check=False)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert said in done.stderr and "pass-word" not in done.stderr
    assert (stack.root / ".dvc" / "config").read_text() == before


@pytest.mark.slow
def test_a_backup_restores_what_was_lost_and_rotation_changes_every_secret(
    ran: Stack, tmp_path: Path
) -> None:
    published, objects = runs(ran), ran.keys("HPT_MLFLOW_BUCKET")
    ran.hpt("stack", "backup", str(tmp_path / "backup"))
    old = ran.secrets
    ran.hpt("stack", "rotate")
    assert all(secret != old[name] for name, secret in ran.secrets.items())
    ran.rows("MLFLOW", "DELETE FROM tags RETURNING 1")
    for key in objects:
        ran.s3().delete_object(Bucket=ran.definition["HPT_MLFLOW_BUCKET"], Key=key)
    refused = ran.hpt("stack", "restore", "--yes", str(tmp_path), check=False)
    assert refused.returncode == 2 and len(refused.stderr.splitlines()) == 1
    ran.hpt("stack", "restore", "--yes", str(tmp_path / "backup"))
    assert runs(ran) == published
    assert ran.keys("HPT_MLFLOW_BUCKET") == objects
    # The servers are healthy with the new passwords, and the pipeline finds all published.
    assert "up to date" in ran.hpt("run").stdout

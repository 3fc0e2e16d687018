"""Candidates and champions in the real registry: promotion, rollback, attempts, and other measurements."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hpt_core.errors import InputError
from pipelines.cli import main
from pipelines.tracking import dvc_lock
from pipelines.tracking.evaluation_data import Measurement


@pytest.fixture
def two_champions(workspace: Path) -> Path:
    """A project whose champions were v2, set by hand, and then v1, promoted by the gate."""
    from pipelines.tracking.publish import publish
    from pipelines.tracking.registry import register

    publish(workspace)
    register(workspace)
    client = registry(workspace)
    # This is the state after a person chose the other arm before the gate existed.
    client.delete_registered_model_tag("toy", "champion.history")
    client.set_registered_model_alias("toy", "champion", "2")
    assert register(workspace).promoted
    assert champion(workspace) == 1
    return workspace


def registry(root: Path) -> Any:
    from pipelines.tracking.mlflow_store import Store

    return Store(root, "toy").client


def champion(root: Path) -> int:
    return int(registry(root).get_model_version_by_alias("toy", "champion").version)


def tags(root: Path, version: int) -> dict[str, str]:
    return dict(registry(root).get_model_version("toy", str(version)).tags)


def test_rollback_to_the_one_before_and_it_stays(
    two_champions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipelines.tracking.registry import register

    assert main.main(["rollback", "--reason", "answers too long"]) == 0
    assert capsys.readouterr().out.startswith("champion is v2; v1 rolled back to v2 on ")
    assert champion(two_champions) == 2
    assert tags(two_champions, 1)["rollback"].endswith(": answers too long")
    # The scores are the same, so without the rollback the gate would promote it again.
    done = register(two_champions)
    assert (done.promoted, champion(two_champions)) == (False, 2)
    assert "answers too long" in done.reason and "hpt rollback --to 1" in done.reason


def test_rollback_twice_to_the_same_version_changes_nothing(
    two_champions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["rollback", "--to", "v2"]) == 0
    before = tags(two_champions, 1)
    capsys.readouterr()
    assert main.main(["rollback", "--to", "2"]) == 0
    assert capsys.readouterr().out == "v2 is the champion; nothing to do\n"
    assert (champion(two_champions), tags(two_champions, 1)) == (2, before)


def test_rolled_forward_again(two_champions: Path) -> None:
    from pipelines.tracking.registry import register, rollback

    rollback(two_champions)
    rollback(two_champions, "1", "it was the data")
    assert champion(two_champions) == 1
    assert "rollback" not in tags(two_champions, 1)
    assert tags(two_champions, 1)["restored"].endswith("it was the data")
    assert not register(two_champions).changed
    rollback(two_champions)
    assert champion(two_champions) == 2


def test_an_impossible_rollback_names_the_champions(
    two_champions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipelines.tracking.registry import rollback

    with pytest.raises(InputError, match=r"toy: v9 was never champion; champions so far: v1, v2"):
        rollback(two_champions, "9")
    rollback(two_champions)
    assert main.main(["rollback"]) == 2
    assert "v2 is the first champion" in capsys.readouterr().err
    assert champion(two_champions) == 2


def test_no_champion_to_roll_back(workspace: Path) -> None:
    from pipelines.tracking.registry import rollback

    with pytest.raises(InputError, match="there is no champion"):
        rollback(workspace)


def test_an_attempt_keeps_its_number(two_champions: Path) -> None:
    from pipelines.tracking.mlflow_store import Store
    from pipelines.tracking.registry import register
    from pipelines.tracking.registry.registered_model import RegisteredModel

    def model() -> RegisteredModel:
        return RegisteredModel(Store(two_champions, "toy"), "toy")

    [first, second] = json.loads(tags(two_champions, 1)["promotion.attempts"])
    assert (first["against"], first["number"]) == ("base", 1)
    assert (second["against"], second["number"]) == ("2", 1)
    assert not register(two_champions).changed
    version = registry(two_champions).get_model_version("toy", "2")
    assert model().attempt(version, "2", second["compared"]) == 1  # The same policy, trained again.
    assert model().attempt(version, "2", "other scores") == 2
    assert model().attempt(version, "2", "other scores") == 2
    assert model().attempt(version, "2", "third scores") == 3
    assert model().attempt(version, "1", "other scores") == 1


def measure_otherwise(root: Path, **settings: dict[str, Any]) -> None:
    """Set how the runs of these arms were measured."""
    client = registry(root)
    for arm, values in settings.items():
        [version] = [v for v in client.search_model_versions("name='toy'") if v.tags["arm"] == arm]
        client.set_tag(version.run_id, "eval.settings", json.dumps({"easy": values}))


@pytest.fixture
def measured_otherwise(workspace: Path) -> Path:
    """A project whose champion is the arm `human`; its scores were measured with 4 samples, and `program`
    with 8."""
    from pipelines.tracking.publish import publish
    from pipelines.tracking.registry import register

    publish(workspace)
    register(workspace)
    client = registry(workspace)
    client.set_registered_model_alias("toy", "champion", "2")
    client.delete_registered_model_tag("toy", "champion.history")
    assert (tags(workspace, 1)["arm"], tags(workspace, 2)["arm"]) == ("program", "human")
    measure_otherwise(workspace, program={"k": 8, "hash": "a"}, human={"k": 4, "hash": "b"})
    return workspace


def test_a_champion_that_was_measured_otherwise_is_evaluated_again(
    measured_otherwise: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.tracking import registry as registration

    asked = []

    def evaluate(root: Path, version: str, weights: str) -> Measurement:
        asked.append((version, weights))
        return Measurement({"easy": {f"b{i}": 0.5 for i in range(32)}}, {"easy": {"k": 8, "hash": "a"}})

    monkeypatch.setattr(registration, "remeasure", evaluate)
    done = registration.register(measured_otherwise)
    assert done.promoted and done.reason.startswith("promoted: against champion v2, on easy +37.5 points")
    assert asked == [("2", dvc_lock.output_hash(dvc_lock.read_lock(measured_otherwise), "models/human"))]
    # The scores are kept: they are not measured a second time.
    registry(measured_otherwise).set_registered_model_alias("toy", "champion", "2")
    assert registration.register(measured_otherwise).promoted and len(asked) == 1


def test_a_champion_that_cannot_be_evaluated_again_stays(
    measured_otherwise: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.tracking import registry as registration

    def fail(root: Path, version: str, weights: str) -> Measurement:
        raise InputError("the weights are gone")

    monkeypatch.setattr(registration, "remeasure", fail)
    done = registration.register(measured_otherwise)
    assert not done.promoted and champion(measured_otherwise) == 2
    assert done.reason == (
        "refused: champion v2 was measured otherwise (k) and cannot be evaluated again: the weights are gone"
        "; set the alias `champion` by hand once you have compared them"
    )
    assert tags(measured_otherwise, 1)["promotion"] == done.reason
    # Scores of an older version, whose settings are not known, are not comparable either.
    measure_otherwise(measured_otherwise, program={"k": 8, "hash": "a"})
    run = registry(measured_otherwise).get_model_version("toy", "2").run_id
    registry(measured_otherwise).delete_tag(run, "eval.settings")
    reason = registration.register(measured_otherwise).reason
    assert "measured otherwise (settings that are not recorded)" in reason


def test_weights_come_back_from_the_cache_of_dvc(workspace: Path) -> None:
    from pipelines.tracking.registry.remeasure import restore

    weights = dvc_lock.output_hash(dvc_lock.read_lock(workspace), "models/human")
    assert weights is not None
    restore(workspace, weights, workspace / "again")
    assert (workspace / "again/weights").read_text() == (workspace / "models/human/weights").read_text()
    shutil.rmtree(workspace / ".dvc/cache")
    with pytest.raises(InputError, match=f"neither DVC's cache nor its remote has its weights .{weights}"):
        restore(workspace, weights, workspace / "missing")


def test_reason_is_kept_either_way(two_champions: Path) -> None:
    assert tags(two_champions, 1)["promotion"].startswith(
        "promoted: against champion v2, on easy +37.5 points"
    )
    assert registry(two_champions).get_registered_model("toy").tags["champion.history"] == "2 1"


def test_candidate_by_dev_and_champion_by_the_gate(workspace: Path) -> None:
    from pipelines.tracking.publish import publish
    from pipelines.tracking.registry import register

    publish(workspace)
    done = register(workspace)
    assert (done.candidate, done.promoted) == ("program", True)
    client = registry(workspace)
    champion = client.get_model_version_by_alias("toy", "champion")
    assert champion.version == client.get_model_version_by_alias("toy", "candidate").version
    assert champion.tags["arm"] == "program"
    assert champion.tags["dvc.model"] == dvc_lock.output_hash(dvc_lock.read_lock(workspace), "models/program")
    assert champion.tags["promotion"].startswith("promoted: against the starting policy")


def test_no_better_than_the_champion_is_not_promoted(workspace: Path) -> None:
    from pipelines.tracking.publish import publish
    from pipelines.tracking.registry import register

    publish(workspace)
    register(workspace)
    # Another seed gives the same skill: a new version that is no better on the benchmark.
    path = workspace / "params.yaml"
    path.write_text(path.read_text().replace("seed: 7", "seed: 8"))
    subprocess.run(["dvc", "repro", "-q"], cwd=workspace, check=True)
    assert publish(workspace).created == ["program", "human"]
    done = register(workspace)
    assert not done.promoted
    client = registry(workspace)
    assert str(client.get_model_version_by_alias("toy", "champion").version) == "1"
    candidate = client.get_model_version_by_alias("toy", "candidate")
    assert str(candidate.version) == "3"
    assert candidate.tags["promotion"].startswith("refused: against champion v1")

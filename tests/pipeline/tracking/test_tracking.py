"""Publishing a toy project that `dvc repro` brought up to date, with real DVC and real MLflow on SQLite."""

from __future__ import annotations

import json
import logging
import os
import subprocess
from pathlib import Path

import pytest
from published_runs import history, runs

from hpt_core.errors import InputError
from pipelines.tracking import dvc_lock


@pytest.fixture
def toy(workspace: Path) -> Path:
    return workspace


def edit_evaluation(root: Path, samples: int) -> None:
    path = root / "params.yaml"
    path.write_text(path.read_text().replace("samples: 2", f"samples: {samples}"))
    subprocess.run(["dvc", "repro", "-q"], cwd=root, check=True)


def test_live_content_is_locked_content(toy: Path) -> None:
    lock = dvc_lock.read_lock(toy)
    for arm in ("program", "human"):
        assert dvc_lock.digest(dvc_lock.live_entry(toy, f"train@{arm}")) == dvc_lock.locked_digest(
            lock, f"train@{arm}"
        )


def test_content_follows_data_and_params(toy: Path) -> None:
    before = dvc_lock.locked_digest(dvc_lock.read_lock(toy), "train@program")
    params = toy / "params.yaml"
    text = params.read_text()
    params.write_text(text.replace("lr: 1.0e-3", "lr: 2.0e-3"))
    assert dvc_lock.digest(dvc_lock.live_entry(toy, "train@program")) != before
    params.write_text(text.replace("experiment: toy", "experiment: other"))
    assert dvc_lock.digest(dvc_lock.live_entry(toy, "train@program")) == before
    (toy / "models" / "base" / "config.json").unlink()
    (toy / "models" / "base" / "config.json").write_text('{"other": 1}')
    assert dvc_lock.digest(dvc_lock.live_entry(toy, "train@program")) != before


def test_published_whole_from_files(toy: Path) -> None:
    from pipelines.tracking.publish import publish

    assert publish(toy).created == ["program", "human"]
    lock = dvc_lock.read_lock(toy)
    [run] = runs(toy, provenance="program")
    assert history(toy, run, "reward/mean") == [(1, 0.1), (2, 0.2), (3, 0.3)]
    assert run.data.metrics["eval/easy/avg_at_k"] == run.data.metrics["eval/easy/pass_at_1"] == 7 / 8
    assert run.data.metrics["eval/easy/pass_at_8"] == 1
    assert run.data.tags["content"] == dvc_lock.locked_digest(lock, "train@program")
    experts = dvc_lock.output_hash(lock, "data/experts/experts.parquet")
    assert run.data.tags["dvc.experts"] == experts
    assert run.data.tags["recipe"] == "toy"
    assert json.loads(run.data.tags["provenance.mix"]) == {"program": 1.0}
    params = {"provenance": "program", "train.steps": "3", "mix.program": "1.0", "base.model": "nowhere"}
    assert params.items() <= run.data.params.items()
    inputs = {item.dataset.name: item.dataset.digest for item in run.inputs.dataset_inputs}
    assert inputs["program: worked"] == experts
    assert not any("people" in name for name in inputs), "the arm does not train on this source"
    assert {"prompts", "benchmark: easy"} <= set(inputs)


def test_final_metrics_are_linked_to_the_model_and_its_benchmark(toy: Path) -> None:
    from pipelines.tracking.mlflow_store import Store
    from pipelines.tracking.publish import publish

    publish(toy)
    [run] = runs(toy, provenance="human")
    model = Store(toy, "toy").client.get_logged_model(run.outputs.model_outputs[0].model_id)
    linked = {metric.key: (metric.value, metric.dataset_name) for metric in model.metrics}
    assert linked["eval/easy/avg_at_k"] == (0.5, "benchmark: easy")
    assert not any(key.startswith("reward") for key in linked)


def test_publishing_twice_changes_nothing(toy: Path) -> None:
    from pipelines.tracking.publish import publish
    from pipelines.tracking.registry import register

    publish(toy)
    first = register(toy)
    before = len(runs(toy))
    again = publish(toy)
    assert (again.unchanged, again.changed) == (["program", "human"], False)
    assert len(runs(toy)) == before == 4
    assert not register(toy).changed
    assert register(toy).versions == first.versions == {"program": "1", "human": "2"}


def test_changed_evaluation_updates_the_same_run(toy: Path) -> None:
    from pipelines.tracking.publish import publish

    publish(toy)
    [before] = runs(toy, provenance="program")
    edit_evaluation(toy, samples=4)
    assert publish(toy).evaluated == ["program", "human"]
    [after] = runs(toy, provenance="program")
    assert after.info.run_id == before.info.run_id
    assert after.data.tags["content.evaluation"] != before.data.tags["content.evaluation"]
    assert history(toy, after, "reward/mean") == [(1, 0.1), (2, 0.2), (3, 0.3)]


def test_live_run_cut_short_is_completed_without_duplicates(
    toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.tracking.live import LiveSink
    from pipelines.tracking.publish import publish

    monkeypatch.setenv("HPT_FLOW_RUN", "first")
    LiveSink("program").log(1, {"reward/mean": 0.1, "gate/sft": 3})
    # The next flow run trains the arm again from the start; the first step is already published.
    monkeypatch.setenv("HPT_FLOW_RUN", "second")
    sink = LiveSink("program")
    sink.log(1, {"reward/mean": 0.1, "gate/sft": 3})
    sink.log(2, {"reward/mean": 0.2, "gate/sft": 2})
    done = publish(toy, "second")
    assert (done.completed, done.created) == (["program"], ["human"])
    [run] = runs(toy, provenance="program")
    assert history(toy, run, "reward/mean") == [(1, 0.1), (2, 0.2), (3, 0.3)]
    [parent] = runs(toy, **{"hpt.flow_run": "second"})
    assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id


def test_arm_that_failed_in_training_ends_as_failed(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.tracking.live import LiveSink
    from pipelines.tracking.publish import publish

    monkeypatch.setenv("HPT_FLOW_RUN", "broken")
    LiveSink("program").log(1, {"reward/mean": 0.1})
    (toy / "metrics" / "train" / "program.jsonl").unlink()
    publish(toy, "broken", status="FAILED")
    [run] = runs(toy, provenance="program")
    assert run.info.status == "FAILED"


def test_training_goes_on_without_mlflow_and_is_published_later(
    toy: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from pipelines.tracking.live import LiveSink
    from pipelines.tracking.publish import publish

    monkeypatch.setenv("HPT_FLOW_RUN", "down")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with caplog.at_level(logging.WARNING):
        sink = LiveSink("program")
        for step in (1, 2, 3):
            sink.log(step, {"reward/mean": step / 10})
    warnings = [record.getMessage() for record in caplog.records if record.name == "pipelines.tracking.live"]
    assert len(warnings) == 1
    assert "MLflow cannot be reached" in warnings[0] and "hpt publish" in warnings[0]
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert publish(toy, "down").created == ["program", "human"]
    [run] = runs(toy, provenance="program")
    assert history(toy, run, "reward/mean") == [(1, 0.1), (2, 0.2), (3, 0.3)]


def test_run_that_mlflow_missed_equals_one_that_was_logged_live(
    toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Speed and use of the machine are published too, although no output of a stage has them."""
    from pipelines.tracking.live import LiveSink
    from pipelines.tracking.mlflow_store import Store
    from pipelines.tracking.publish import publish

    monkeypatch.setenv("HPT_FLOW_RUN", "night")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for arm in ("program", "human"):
        rows = [json.loads(line) for line in (toy / f"metrics/train/{arm}.jsonl").read_text().splitlines()]
        with monkeypatch.context() as down:
            if arm == "human":
                down.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
            sink = LiveSink(arm)
            for row in rows:
                sink.log(
                    row["step"], {k: v for k, v in row.items() if k != "step"} | {"mfu": row["step"] / 4}
                )
    assert publish(toy, "night").completed == ["program"]
    [live], [missed] = runs(toy, provenance="program"), runs(toy, provenance="human")
    assert live.data.metrics.keys() == missed.data.metrics.keys()
    assert {
        "system/cpu_utilization_percentage",
        "system/system_memory_usage_megabytes",
    } <= live.data.metrics.keys()
    for run in (live, missed):
        assert history(toy, run, "mfu") == [(1, 0.25), (2, 0.5), (3, 0.75)]
        assert [step for step, _ in history(toy, run, "system/cpu_utilization_percentage")] == [1, 2, 3]
    files = [
        {f.path for f in Store(toy, "toy").client.list_artifacts(run.info.run_id)} for run in (live, missed)
    ]
    assert files[0] == files[1] == {"eval", "figures", "lineage", "samples.json"}


def test_the_step_log_of_another_run_is_not_published(toy: Path) -> None:
    from pipelines.tracking.live import LiveSink
    from pipelines.tracking.publish import publish

    sink = LiveSink("program")
    for step in (1, 2, 3):
        sink.log(step, {"reward/mean": step / 10 + 0.01, "gate/sft": 4 - step, "mfu": 0.5})
    publish(toy)
    [run] = runs(toy, provenance="program")
    assert history(toy, run, "reward/mean") == [(1, 0.1), (2, 0.2), (3, 0.3)]
    assert "mfu" not in run.data.metrics


@pytest.mark.parametrize(
    ("remote", "expected"),
    [
        ("https://data.example.org/hpt", ("http", "url", "https://data.example.org/hpt/files/md5/")),
        ("s3://bucket/hpt", ("s3", "uri", "s3://bucket/hpt/files/md5/")),
        (".remote", ("local", "uri", "{root}/.remote/files/md5/")),
    ],
)
def test_source_of_a_dataset_is_of_a_type_that_mlflow_knows(
    remote: str, expected: tuple[str, str, str], toy: Path
) -> None:
    """MLflow's page reads `url` of an HTTP source, and `uri` of an S3 or local source."""
    from mlflow.data.dataset_source_registry import get_dataset_source_from_json

    from pipelines.tracking.publish import publish

    command = ["dvc", "remote", "add", "-q", "--local", "-d", "--force", "store", remote]
    subprocess.run(command, cwd=toy, check=True)
    publish(toy)
    [run] = runs(toy, provenance="human")
    [people] = [item.dataset for item in run.inputs.dataset_inputs if item.dataset.name == "human: people"]
    kind, key, place = expected
    assert people.source_type == kind
    assert json.loads(people.source)[key].startswith(place.format(root=toy))
    assert get_dataset_source_from_json(people.source, kind).to_dict()[key] == json.loads(people.source)[key]


def test_arm_of_one_source_and_names_that_mlflow_rejects(toy: Path) -> None:
    from hpt_core.config.data import SOURCE
    from pipelines.tracking import run_data
    from pipelines.tracking.publish import publish

    path = toy / "params.yaml"
    mix = f'human: {{mix: {{"{SOURCE}people": 0.5}}}}'
    path.write_text(path.read_text().replace("human: {mix: {human: 1.0}}", mix))
    subprocess.run(["dvc", "repro", "-q"], cwd=toy, check=True)
    publish(toy)
    [run] = runs(toy, provenance="human")
    assert "human: people" in {item.dataset.name for item in run.inputs.dataset_inputs}
    assert run.data.params[f"mix.{SOURCE}people"] == "0.5"
    assert run_data.flatten({"mix": {"a=b, (c)": 1.0}}) == {"mix.a_b_ _c_": "1.0"}


def damage(root: Path, fault: str) -> Path:
    """Move a file of the project away, or replace dvc.yaml by a damaged one; returns its path."""
    path = root / fault
    path.rename(path.with_name("elsewhere"))
    if fault == "dvc.yaml":
        path.write_text("stages: [")
    return path


@pytest.mark.parametrize("fault", ["data/experts/experts.parquet", "dvc.yaml"])
def test_training_goes_on_where_the_run_cannot_be_opened(
    fault: str, toy: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from pipelines.tracking.live import LiveSink
    from pipelines.tracking.publish import publish

    monkeypatch.setenv("HPT_FLOW_RUN", "damaged")
    path = damage(toy, fault)
    with caplog.at_level(logging.WARNING):
        LiveSink("program").log(1, {"reward/mean": 0.1})
    [warning] = [record.getMessage() for record in caplog.records if record.name == "pipelines.tracking.live"]
    assert Path(fault).name in warning and "hpt publish" in warning
    assert "MLflow cannot be reached" not in warning
    path.with_name("elsewhere").replace(path)
    assert publish(toy, "damaged").created == ["program", "human"]


@pytest.mark.parametrize(
    ("path", "stage"),
    [
        ("data/eval/human.parquet", "evaluate@human"),
        ("data/eval/base.parquet", "evaluate_base"),
        ("data/experts/experts.parquet", "experts"),
    ],
)
def test_missing_file_is_not_blamed_on_mlflow(
    path: str, stage: str, toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipelines.cli import main

    (toy / path).unlink()
    assert main.main(["publish"]) == 2
    assert capsys.readouterr().err == f"hpt: {path}: not found; run `dvc repro {stage}`\n"
    subprocess.run(["dvc", "repro", "-q", stage], cwd=toy, check=True)
    assert main.main(["publish"]) == 0


def test_nothing_goes_to_mlflow_outside_a_flow_run(toy: Path) -> None:
    from pipelines.tracking.live import LiveSink

    assert "HPT_FLOW_RUN" not in os.environ
    LiveSink("program").log(1, {"reward/mean": 0.1})
    assert runs(toy) == []


def test_prompts_that_are_missing_are_named(toy: Path) -> None:
    from pipelines.tracking.publish import publish

    (toy / "data/prompts/benchmarks.parquet").unlink()
    with pytest.raises(InputError, match=r"benchmarks.parquet: not found; "):
        publish(toy, "night")

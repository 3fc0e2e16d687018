"""Runs the stages of dvc.yaml by name, through their `run`, in the current folder."""

from __future__ import annotations

from pathlib import Path

from pipelines import base, compare, curate, evaluate, experts, rollouts, select, teacher_responses, train
from pipelines.params import Params


def run_stage(params: Params, name: str) -> None:
    stage, _, arm = name.partition("@")
    match stage:
        case "base":
            base.run(params, "base", Path("models/base"))
        case "teacher":
            base.run(params, "teacher", Path("models/teacher_policy"))
        case "teacher_responses":
            teacher_responses.run(params)
        case "select":
            select.run(params, arm)
        case "train":
            train.run(params, arm)
        case "evaluate" | "evaluate_base":
            evaluate.run(params, arm or "base")
        case _:
            {"curate": curate, "rollouts": rollouts, "experts": experts, "compare": compare}[stage].run(
                params
            )


def run_every_stage(params: Params) -> None:
    for name in ("curate", "base", "teacher", "rollouts", "teacher_responses", "experts"):
        run_stage(params, name)
    for arm in params.arms:
        run_stage(params, f"select@{arm}")
        run_stage(params, f"train@{arm}")
    for name in ("evaluate_base", *(f"evaluate@{arm}" for arm in params.arms), "compare"):
        run_stage(params, name)

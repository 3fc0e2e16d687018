"""Every path that more than one module names: inputs and outputs of the stages, relative to the project."""

from __future__ import annotations

from pathlib import Path

PARAMS = Path("params.yaml")
DVC_LOCK = Path("dvc.lock")
RECIPES = Path("conf/recipe")
LOGS = Path("logs")
"""What no result depends on; not under DVC."""

EDITED = LOGS / "edited"
"""Outputs of stages that somebody had changed, as they were before a run restored the stage's own."""

PROMPTS_FOLDER = Path("data/prompts")
TRAIN_PROMPTS = Path("data/prompts/train.parquet")
DEV_PROMPTS = Path("data/prompts/dev.parquet")
BENCHMARK_PROMPTS = Path("data/prompts/benchmarks.parquet")
LEFT_OUT_PROMPTS = Path("data/prompts/left_out.parquet")
PROMPTS_REPORT = Path("data/prompts/report.json")
EXPERTS_FOLDER = Path("data/experts")
EXPERTS = Path("data/experts/experts.parquet")
EXPERTS_REPORT = Path("data/experts/report.json")
EXPERTS_DISTANCE = Path("data/experts/distance.json")
"""Source of demonstrations -> its distance from the starting policy."""
TEACHER_FOLDER = Path("data/teacher")
PASS_RATES = Path("data/rollouts/base/pass_rates.parquet")
BASE_ROLLOUTS = Path("data/rollouts/base/rollouts.parquet")
BASE_MODEL = Path("models/base")
TEACHER_MODEL = Path("models/teacher_policy")
"""An arm may be called "teacher", and models/teacher is then that arm's."""
RESERVED_NAMES = (BASE_MODEL.name, TEACHER_MODEL.name)
"""Folders of models/ that the stages base and teacher write, which no arm may be called."""
INBOX_FOLDERS = ("claims", "quarantine", "receipts")
"""Folders of an inbox beside those of the sources."""
COMPARISON = Path("metrics/compare.json")
REPORT = Path("reports/provenance.html")
LATEST_REPORT = Path("reports/latest.html")
"""REPORT with the date, the commit and the links of the run; in no version."""
PLOT_DATA = Path("reports/plots")
LAB_TABLES = Path("reports/lab.json")
LAB_REPORT = Path("reports/lab.html")
"""What the studies of `hpt lab` say; in no version, since each study is as new as its last run."""


def recipe_names(root: Path) -> list[str]:
    """The recipes of the project under `root`."""
    return sorted(path.stem for path in (root / RECIPES).glob("*.yaml"))


def model(policy: str) -> Path:
    """The folder of the base policy, of the teacher policy or of an arm."""
    return Path("models") / policy


def rollouts(policy: str) -> Path:
    """The folder with the rollouts of the base policy, or of the training of an arm."""
    return Path("data/rollouts") / policy


def gate_decisions(arm: str) -> Path:
    """The table `hpt_core.tables.GATE` of an arm."""
    return rollouts(arm) / "gate.parquet"


def demonstrations(arm: str) -> Path:
    """The demonstrations of an arm."""
    return Path(f"data/demonstrations/{arm}.parquet")


def coverage(arm: str) -> Path:
    """The number of training prompts, and of those for which an arm has a demonstration."""
    return Path(f"metrics/demonstrations/{arm}.json")


def source_statistics(arm: str) -> Path:
    """The contribution of each source of demonstrations to an arm."""
    return rollouts(arm) / "provenance.json"


def training_metrics(arm: str) -> Path:
    """The metrics of every step that are the same for every run of the same inputs."""
    return Path(f"metrics/train/{arm}.jsonl")


def step_log(arm: str) -> Path:
    """The metrics of every step with speed and use of the machine; not an output of DVC."""
    return LOGS / f"steps/{arm}.jsonl"


def timing(stage: str) -> Path:
    """The duration of the last run of a stage; not under DVC."""
    return LOGS / f"timings/{stage}.json"


def evaluation_metrics(policy: str) -> Path:
    return Path(f"metrics/eval/{policy}.json")


def evaluation_responses(policy: str) -> Path:
    return Path(f"data/eval/{policy}.parquet")


def checkpoints(run: str) -> Path:
    """The folder that an interrupted run resumes from.

    It is not an output, because DVC removes outputs before it runs a stage again.
    `run` is the name of an arm, or STAGE@NAME, which no arm can be called.
    """
    return Path("checkpoints") / run

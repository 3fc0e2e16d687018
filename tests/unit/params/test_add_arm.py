"""Arms: one command adds one with its source, and arms differ only in their mix and choice."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from dvc.repo import Repo

from hpt_core import tables
from hpt_core.data.problems import prompt_id
from hpt_core.errors import InputError
from hpt_core.policy.model import LoadedPolicy, save_policy
from hpt_core.types import Prompt, Trajectory
from pipelines import select
from pipelines.params import Params, add_arm, load_params, recipes
from pipelines.stage.training_data import TrainingFiles, load_tasks
from pipelines.train import run_inputs

REPO = Path(__file__).parents[3]
SOURCE_KEYS = [
    "kind=human",
    "license=MIT",
    "file=raw/data/new.jsonl",
    "columns={problem: question}",
    "weight=2.0",
]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(REPO / name, tmp_path)
    return tmp_path


def test_a_new_source_becomes_an_arm_and_nothing_else_changes(project: Path) -> None:
    before = (REPO / "params.yaml").read_text()
    add_arm.add(project, "annotators", add_arm.parse(SOURCE_KEYS))
    params = load_params(project / "params.yaml")
    source = params.experts.sources[-1]
    assert (source.name, source.kind, source.weight) == ("annotators", "human", 2.0)
    assert source.columns == {"problem": "question"}
    assert params.arms["annotators"].mix == {"source/annotators": 1.0}
    after = (project / "params.yaml").read_text().splitlines()
    added = [line for line in after if line not in before.splitlines()]
    assert added == [
        "# recipe: embedded +arms.annotators",
        "    - {name: annotators, kind: human, license: MIT, file: raw/data/new.jsonl, columns: {problem: "
        "question}, weight: 2.0}",
        "  annotators: {mix: {source/annotators: 1.0}}",
    ]
    assert [line for line in after if line not in added] == before.splitlines()[1:], "comments and all"


def test_dvc_has_its_stages(project: Path) -> None:
    (project / ".dvc").mkdir()
    (project / ".dvc/config").write_text("[core]\n    no_scm = true\n")
    add_arm.add(project, "annotators", add_arm.parse(SOURCE_KEYS))
    with Repo(str(project)) as repo:
        assert {"train@annotators", "evaluate@annotators"} <= {stage.name for stage in repo.index.stages}


@pytest.mark.parametrize(
    ("name", "keys", "message"),
    [
        ("mixed", SOURCE_KEYS, r"there is an arm 'mixed'; choose another name"),
        ("worked", SOURCE_KEYS, r"left as it was: .*two sources are named 'worked'; rename one"),
        ("base", SOURCE_KEYS, r"models/base is not an arm's"),
        ("a/b", SOURCE_KEYS, r"an arm's name has letters, digits"),
        ("new", [*SOURCE_KEYS, "kind=alien"], r"kind: Input should be 'human', 'teacher' or 'program'"),
        ("new", [*SOURCE_KEYS, "size=4"], r"sources\.1\.size: unknown key"),
        ("new", ["kind=human", "license=MIT"], r"expert source 'new': give exactly one of file, hub"),
        ("new", [*SOURCE_KEYS, "file"], r"file: give key=value"),
        ("new", [*SOURCE_KEYS, "columns={problem: q"], r"columns=.* the value is not YAML"),
    ],
)
def test_an_invalid_arm_changes_nothing(project: Path, name: str, keys: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        add_arm.add(project, name, add_arm.parse(keys))
    assert (project / "params.yaml").read_text() == (REPO / "params.yaml").read_text()


def test_a_recipe_removes_added_arms(project: Path) -> None:
    shutil.copytree(REPO / "conf", project / "conf")
    add_arm.add(project, "annotators", add_arm.parse(SOURCE_KEYS))
    recipes.write(project, "embedded", [])
    assert (project / "params.yaml").read_text() == (REPO / "params.yaml").read_text()


PARAMS = """\
seed: 3
threads: 1
curate:
  train: [{name: a, reasoning_gym: chain_sum, size: 9, seed: 1}]
  dev_size: 1
  max_problem_chars: 100
  benchmarks: {held: [{name: s, reasoning_gym: chain_sum, size: 1, seed: 2}]}
base: {model: models/base}
teacher: null
rollout: {group_size: 4, max_prompt_tokens: 60, max_new_tokens: 8}
experts:
  max_tokens: 40
  licenses: [mit]
  sources:
    - {name: crowd, kind: human, license: mit, file: c.jsonl}
    - {name: staff, kind: human, license: mit, file: s.jsonl}
    - {name: big, kind: teacher, license: mit, file: t.jsonl}
arms:
  people: {mix: {human: 1.0}}
  staff: {mix: {"source/staff": 1.0}}
  half: {mix: {"source/crowd": 0.5, teacher: 0.5}, choose: random}
  order: {mix: {teacher: 0.9, human: 0.1}, choose: preferred}
train: {steps: 7, prompts_per_step: 4, optimizer: {lr: 0.003}}
evaluate: {samples: 2}
verifier: {}
tracking: {experiment: e, registered_model: m}
schedule: {cron: "0 2 * * *", timezone: UTC}
"""


@pytest.fixture
def trained(policy: LoadedPolicy, tmp_path: Path) -> tuple[Params, LoadedPolicy, TrainingFiles]:
    """Forty prompts with solutions of crowd, staff and a teacher, who left out every fourth prompt."""
    problems = [f"{i} + {i} =" for i in range(41)]
    prompts = [Prompt(prompt_id(p), p, "0", "exact", "a", "mit") for p in problems]
    experts = [
        Trajectory(f"{source}{i}", p.prompt_id, source, kind, source, "a", "mit", "{}", True, length, "h")
        for i, p in enumerate(prompts[:-1])
        for source, kind, length in (("crowd", "human", 5), ("staff", "human", 6), ("big", "teacher", 7))
        if source != "big" or i % 4
    ]
    data = tmp_path / "data"
    tables.write(data / "prompts/train.parquet", map(tables.as_row, prompts[:-1]), tables.PROMPTS)
    tables.write(data / "prompts/dev.parquet", map(tables.as_row, prompts[-1:]), tables.PROMPTS)
    tables.write(data / "experts/experts.parquet", map(tables.as_row, experts), tables.EXPERTS)
    save_policy(policy, tmp_path / "models/base")
    (tmp_path / "params.yaml").write_text(PARAMS)
    params = load_params(tmp_path / "params.yaml")
    for arm in params.arms:
        select.run(params, arm, tmp_path)
    return params, policy, TrainingFiles(tmp_path)


def test_arms_have_the_same_prompts_budget_and_seeds(
    trained: tuple[Params, LoadedPolicy, TrainingFiles],
) -> None:
    params, policy, paths = trained
    loaded = {arm: load_tasks(params, arm, policy, paths) for arm in params.arms}
    inputs = {arm: run_inputs(params, arm, "weights", paths) for arm in params.arms}
    for arm in params.arms:
        tasks, dev, left_out = loaded[arm]
        assert [task.prompt for task in tasks] == [task.prompt for task in loaded["people"][0]]
        assert [task.tokens for task in tasks] == [task.tokens for task in loaded["people"][0]]
        assert (dev, left_out) == loaded["people"][1:]
        del inputs[arm]["arm"], inputs[arm]["data"]["demonstrations"]
        assert inputs[arm] == inputs["people"], "arms differ only in their mix and choice"


def test_each_arm_learns_from_its_mix(trained: tuple[Params, LoadedPolicy, TrainingFiles]) -> None:
    params, policy, paths = trained

    def sources(arm: str) -> list[str]:
        return [t.expert.source for t in load_tasks(params, arm, policy, paths)[0] if t.expert]

    assert sources("people") == ["crowd"] * 40, "the shorter of two people"
    assert sources("staff") == ["staff"] * 40
    assert sources("order") == ["big" if i % 4 else "crowd" for i in range(40)]
    half = sources("half")
    assert set(half) == {"crowd", "big"} and half[::4] == ["crowd"] * 10 and 8 < half.count("big") < 22


def test_the_choice_is_a_part_of_the_run_inputs(
    trained: tuple[Params, LoadedPolicy, TrainingFiles],
) -> None:
    params, _, paths = trained
    people = params.arms["people"]
    other = params.model_copy(update={"arms": {"people": people.model_copy(update={"choose": "random"})}})
    assert run_inputs(params, "people", "", paths) != run_inputs(other, "people", "", paths)

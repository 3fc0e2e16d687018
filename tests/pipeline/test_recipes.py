"""conf/: the parameters of each recipe, and that switching recipes and back restores params.yaml."""

from __future__ import annotations

import shutil
import textwrap
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hpt_core.config import BENCHMARKS, LoraConfig
from hpt_core.data.reading.records import SourceRow
from hpt_core.data.reading.sources import read_rows
from hpt_core.errors import InputError
from pipelines.params import Params, load_params, recipes
from pipelines.params.reference_text import INTRODUCTION
from pipelines.paths import recipe_names

REPO = Path(__file__).parents[2]
GSM8K = ["gsm8k=/data/gsm8k", "model=/models/smollm2"]
PAPER = ["data=/data/openr1.parquet"]
INPUTS = {
    "embedded": [],
    "gsm8k": GSM8K,
    "gsm8k_smoke": GSM8K,
    "paper_llama_8b": PAPER,
    "paper_qwen_1_5b": PAPER,
    "paper_qwen_7b": PAPER,
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    shutil.copytree(REPO / "conf", tmp_path / "conf")
    shutil.copy(REPO / "params.yaml", tmp_path / "params.yaml")
    return tmp_path


def compose(project: Path, recipe: str, *overrides: str) -> Params:
    recipes.write(project, recipe, [*INPUTS[recipe], *overrides])
    return load_params(project / "params.yaml")


def test_these_are_the_recipes() -> None:
    assert recipe_names(REPO) == sorted(INPUTS)


def test_params_yaml_is_the_embedded_recipe(project: Path) -> None:
    committed = (project / "params.yaml").read_text()
    compose(project, "embedded")
    assert (project / "params.yaml").read_text() == committed
    # The same without a params.yaml: every comment comes from the recipe or the schema.
    (project / "params.yaml").unlink()
    compose(project, "embedded")
    assert (project / "params.yaml").read_text() == committed


def test_a_recipe_replaces_params_yaml_with_its_comments(project: Path) -> None:
    path = project / "params.yaml"
    committed = path.read_text()
    path.write_text(
        committed.replace("seed: 17  #", "seed: 18  # of mine:").replace("threads: 1", "threads: 2")
    )
    compose(project, "embedded")
    assert path.read_text() == committed


def test_an_override_keeps_every_other_line(project: Path) -> None:
    path = project / "params.yaml"
    edited = path.read_text().replace("threads: 1  #", "threads: 1  # My own comment:")
    path.write_text(edited.replace("\ntrain:", "\n# My own line\ntrain:"))
    before = path.read_text().splitlines()
    recipes.override(project, ["seed=2"])
    after = path.read_text().splitlines()
    assert len(after) == len(before)
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert [(old.split("  #")[0], new.split("  #")[0]) for old, new in changed] == [
        ("# recipe: embedded", "# recipe: embedded seed=2"),
        ("seed: 17", "seed: 2"),
    ]
    assert sum("y own" in line for line in after) == 2


def test_an_override_adds_and_removes_keys(project: Path) -> None:
    path = project / "params.yaml"
    path.write_text(path.read_text().replace("\ntrain:", "\n# My own line\ntrain:"))
    recipes.override(project, ["+train.lora.rank=8", "~arms.teacher"])
    assert load_params(path).train.lora == LoraConfig(rank=8)
    text = path.read_text()
    assert "\n  dev_every: 10  # Steps between greedy evaluations on the dev set\n  lora:  # Low-rank" in text
    assert "\n    rank: 8  # Rank of each adapter\n\nevaluate:" in text
    assert "\n\n# My own line\ntrain:" in text
    assert list(load_params(path).arms) == ["program", "mixed"]


def test_the_documents_example_of_an_own_recipe(project: Path) -> None:
    _, text = INTRODUCTION.split("# @package _global_\n")
    example = textwrap.dedent("    # @package _global_\n" + text)
    example = example.replace("\ntrain:\n", "\ntrain:  # A reason of the section\n")
    (project / "conf/recipe/mine.yaml").write_text(example)
    recipes.write(project, "mine", [])
    lines = (project / "params.yaml").read_text().splitlines()
    assert lines[:2] == ["# recipe: mine", "# What this recipe is for."]
    assert (
        "  steps: 100  # A comment here replaces the description that params.yaml shows behind the key."
        in lines
    )
    assert {"train:  # A reason of the section", "  prompts_per_step: 32  # Prompts per step"} <= set(lines)
    mine = load_params(project / "params.yaml")
    train = mine.train.model_copy(update={"steps": 50})
    assert mine.model_copy(update={"train": train}) == load_params(REPO / "params.yaml")


@pytest.mark.parametrize("recipe", sorted(INPUTS))
def test_there_and_back(recipe: str, project: Path) -> None:
    before = (project / "params.yaml").read_text()
    compose(project, recipe)
    text = (project / "params.yaml").read_text()
    assert not any(line.startswith(("inputs:", "gsm8k:", "model:", "data:")) for line in text.splitlines())
    assert "${" not in text
    compose(project, "embedded")
    assert (project / "params.yaml").read_text() == before


@pytest.mark.parametrize(
    ("recipe", "overrides", "message"),
    [
        ("gsm8k", [], "needs gsm8k=...: a folder with GSM8K's train.jsonl"),
        ("gsm8k_smoke", ["model=/models/smollm2"], "needs gsm8k=...: a folder"),
        ("paper_qwen_7b", [], "needs data=...: openr1.parquet of the data set"),
        ("paper_qwen_7b", [*PAPER, "suite=folder"], "needs benchmarks=...: a folder with AIME24, AIME25"),
    ],
)
def test_a_missing_input_is_named(recipe: str, overrides: list[str], message: str, project: Path) -> None:
    before = (project / "params.yaml").read_text()
    with pytest.raises(InputError) as error:
        recipes.write(project, recipe, overrides)
    assert message in str(error.value)
    assert (project / "params.yaml").read_text() == before


@pytest.mark.parametrize("origin", ["folder", "hub"])
def test_gsm8k_trains_on_the_problems_that_both_solved(origin: str, project: Path) -> None:
    params = compose(project, "gsm8k", f"origin={origin}")
    (problems,) = params.curate.train
    (heldout,) = params.curate.benchmarks["gsm8k_heldout"]
    people, teacher = params.experts.sources
    if origin == "hub":
        assert (problems.hub, problems.split) == (people.hub, people.split) == ("openai/gsm8k", "test")
        assert (heldout.hub, heldout.split) == ("openai/gsm8k", "train")
    else:
        assert problems.file == people.file == "/data/gsm8k/model_solutions.jsonl"
        assert heldout.file == "/data/gsm8k/train.jsonl"
    # Only OpenAI's release has the teacher's solutions.
    assert teacher.file == "/data/gsm8k/model_solutions.jsonl"
    assert teacher.columns["keep"] == "175b_verification.is_correct"
    assert [people.kind, teacher.kind] == ["human", "teacher"]
    assert {name: dict(arm.mix) for name, arm in params.arms.items()} == {
        "human": {"human": 1.0},
        "teacher": {"teacher": 1.0},
        "mixed": {"human": 0.5, "teacher": 0.5},
    }


def test_the_smoke_differs_from_gsm8k_in_size_alone(project: Path) -> None:
    full, smoke = compose(project, "gsm8k").model_dump(), compose(project, "gsm8k_smoke").model_dump()
    for section in ("arms", "base", "teacher", "verifier"):
        assert full[section] == smoke[section]
    assert full["train"]["gate"] == smoke["train"]["gate"]
    assert [s["name"] for s in full["experts"]["sources"]] == [s["name"] for s in smoke["experts"]["sources"]]
    assert smoke["curate"]["train"][0]["limit"] < 100
    assert full["curate"]["train"][0]["limit"] is None


@pytest.mark.parametrize(
    ("recipe", "gamma", "sft_coefficient", "skip_norm"),
    [
        ("paper_qwen_1_5b", 0.0, 0.3, 80.0),
        ("paper_qwen_7b", 0.0, 1.0, 80.0),
        ("paper_llama_8b", 0.25, 1.0, None),
    ],
)
def test_the_papers_settings(
    recipe: str, gamma: float, sft_coefficient: float, skip_norm: float | None, project: Path
) -> None:
    params = compose(project, recipe)
    train, rollout = params.train, params.rollout
    assert (train.gate.gamma, train.sft_coefficient, train.skip_norm) == (gamma, sft_coefficient, skip_norm)
    assert (rollout.group_size, rollout.temperature) == (8, 1.0)
    assert (rollout.max_prompt_tokens, rollout.max_new_tokens) == (1024, 8192)
    assert train.prompts_per_step // train.updates_per_step == 64
    assert (train.optimizer.betas, train.optimizer.weight_decay) == ([0.9, 0.999], 0.01)
    assert (train.steps, train.optimizer.lr, train.warmup_steps, train.cooldown_steps) == (500, 5e-6, 0, 0)
    assert (train.entropy_coefficient, train.clip_norm) == (0.001, 1.0)
    assert (params.evaluate.temperature, params.evaluate.top_p) == (0.6, 0.95)
    assert params.samples == {
        "aime24": 32,
        "aime25": 32,
        "amc23": 32,
        "math500": 1,
        "minerva": 1,
        "olympiadbench": 1,
    }
    for name, [source] in params.curate.benchmarks.items():
        assert source.hub == BENCHMARKS[name].origin["hub"] and source.revision


@pytest.mark.parametrize("recipe", ["embedded", "gsm8k", "gsm8k_smoke"])
def test_the_weight_of_the_demonstrations_is_the_methods_own(recipe: str, project: Path) -> None:
    assert compose(project, recipe).train.sft_coefficient is None


def test_the_papers_benchmarks_from_a_folder(project: Path) -> None:
    params = compose(project, "paper_qwen_7b", "suite=folder", "benchmarks=/data/b", "evaluate.samples=4")
    files = {name: source.file for name, [source] in params.curate.benchmarks.items()}
    assert files == {
        "aime24": "/data/b/AIME24/test.json",
        "aime25": "/data/b/AIME25/test.json",
        "math500": "/data/b/MATH-500/test.json",
        "minerva": "/data/b/Minerva/test.json",
    }
    assert set(params.samples.values()) == {4}


def test_openr1_is_read_as_it_is_published(project: Path, tmp_path: Path) -> None:
    params = compose(project, "paper_qwen_1_5b", f"data={tmp_path}/openr1.parquet")
    row = {
        "data_source": "Elliott/Openr1-Math-46k-8192",
        "prompt": [
            {"content": "Your task is to follow a systematic reasoning process.", "role": "system"},
            {"content": "What is 6 times 7?", "role": "user"},
        ],
        "target": [{"content": "<think>Six sevens.</think> \\boxed{42}", "role": "assistant"}],
        "ability": "math",
        "reward_model": {"ground_truth": "42", "style": "rule"},
        "extra_info": {"index": -1, "split": "default"},
    }
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "openr1.parquet")
    [prompt], [expert] = (list(read_rows(s)) for s in (params.curate.train[0], params.experts.sources[0]))
    assert isinstance(prompt, SourceRow) and prompt.values == {
        "problem": "What is 6 times 7?",
        "answer": "42",
    }
    assert isinstance(expert, SourceRow) and expert.values["problem"] == prompt.values["problem"]
    assert expert.values["response"] == "<think>Six sevens.</think> \\boxed{42}"


def test_the_chat_template_for_a_base_model_opens_the_assistants_turn(project: Path) -> None:
    from jinja2 import Template

    path = compose(project, "paper_llama_8b").base.chat_template
    assert path is not None
    turns = [{"role": "system", "content": "Reason."}, {"role": "user", "content": "1 + 1?"}]
    text = Template((REPO / path).read_text()).render(messages=turns, add_generation_prompt=True)
    assert text == "Reason.\n\nUser: 1 + 1?\n\nAssistant:"

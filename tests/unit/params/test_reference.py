"""docs/configuration.md and the comments of params.yaml: every key is described, and both are up to date."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from pydantic import Field

from hpt_core.config.base import Config
from pipelines.params import Params, commented_yaml, reference
from pipelines.params.descriptions import description, subsection, summary

REPO = Path(__file__).parents[3]


def models(base: type[Config] = Config) -> Iterator[type[Config]]:
    """Every section of the parameters, wherever it is defined."""
    for model in base.__subclasses__():
        if model.__module__.startswith(("hpt_core.", "pipelines.")):
            yield model
            yield from models(model)


def without_description() -> list[str]:
    fields = ((model, name, field) for model in models() for name, field in model.model_fields.items())
    return [f"{model.__name__}.{name}" for model, name, field in fields if not field.description]


def test_every_field_has_a_description() -> None:
    assert Params in models()
    assert without_description() == []


def test_a_field_without_description_is_found() -> None:
    class Undescribed(Config):
        described: int
        """A number."""
        bare: int

    Undescribed.__module__ = "pipelines.params.sections"
    try:
        assert without_description() == ["Undescribed.bare"]
    finally:
        Undescribed.__module__ = __name__


def test_summaries_fit_behind_a_key() -> None:
    long = {
        f"{model.__name__}.{name}": summary(field)
        for model in models()
        for name, field in model.model_fields.items()
        if len(summary(field)) > 110
    }
    assert long == {}


def test_the_document_is_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPO)
    monkeypatch.setattr("sys.argv", ["reference", "--check"])
    assert reference.main() == 0, f"run {reference.COMMAND}"


def test_a_stale_document_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "conf").symlink_to(REPO / "conf")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["reference"])
    assert reference.main() == 0
    text = capsys.readouterr().out
    (tmp_path / "docs").mkdir()
    monkeypatch.setattr("sys.argv", ["reference", "--check"])
    assert reference.main() == 1, "no document"
    (tmp_path / reference.DOCUMENT).write_text(text)
    assert reference.main() == 0
    (tmp_path / reference.DOCUMENT).write_text(text.replace("Random seed", "Seed"))
    assert reference.main() == 1
    assert "docs/configuration.md is stale; run `python -m pipelines.params.ref" in capsys.readouterr().err


def keys(model: type[Config], prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}"
        if below := subsection(field.annotation):
            yield from keys(below, f"{prefix}{name}.")


def test_the_document_has_every_key() -> None:
    text = reference.document(REPO)
    documented = set(re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE))
    sections = set(re.findall(r"^## (\w+)$", text, re.MULTILINE))
    assert {name for name in Params.model_fields if name not in documented} <= sections
    expected = {key for key in keys(Params, "") if "." in key and not key.startswith("teacher.policy.")}
    assert expected - documented == set()
    assert {"arms.NAME.mix", "arms.NAME.choose", "benchmark", "reasoning_gym", "rewrite"} <= documented


@pytest.mark.parametrize(
    ("key", "cells"),
    [
        ("threads", "integer > 0 | required"),
        ("train.gate.gamma", "number >= 0, <= 1 | `0.0`"),
        ("promotion.margin", "number >= 0, < 1 | `0.0`"),
        ("curate.near_duplicates", "number > 0, <= 1; or `null` | `0.8`"),
        ("train.optimizer.betas", "list of 2, each number | `[0.9, 0.95]`"),
        ("train.kl.estimate", 'one of `k1`, `k2`, `k3`, `k3_capped` | `"k3"`'),
        ("curate.train", "list, each [prompt source](#prompt-sources) | required"),
        ("curate.incomplete", "map from name to integer > 0 | `{}`"),
        ("teacher.policy", "[policy](#base) or `null` | `null`"),
    ],
)
def test_types_and_defaults(key: str, cells: str) -> None:
    assert f"| `{key}` | {cells} |" in reference.document(REPO)


def test_a_pipe_in_a_cell_does_not_end_it() -> None:
    assert r"a \| b" in "\n".join(reference._table(iter([("`k`", "text", "required", "a | b")])))


def test_params_yaml_has_the_summary_of_each_key_as_comment() -> None:
    tree = yaml.safe_load((REPO / "params.yaml").read_text())
    _, comments = commented_yaml.comments_of((REPO / "params.yaml").read_text())
    _, reasons = commented_yaml.comments_of((REPO / "conf/recipe/embedded.yaml").read_text())

    def check(model: type[Config], values: dict[str, object], path: tuple[str, ...]) -> None:
        for key, value in values.items():
            field = model.model_fields[key]
            assert comments[*path, key] == reasons.get((*path, key), summary(field))
            if (below := subsection(field.annotation)) and isinstance(value, dict):
                check(below, value, (*path, key))

    check(Params, tree, ())
    assert reasons, "the recipe gives a reason somewhere"


def test_descriptions_are_one_line_and_summaries_their_first_sentence() -> None:
    class Section(Config):
        key: int = Field(gt=0)
        """Number of things; null: none. It has
        a second sentence."""

    field = Section.model_fields["key"]
    assert description(field) == "Number of things; null: none. It has a second sentence."
    assert summary(field) == "Number of things; null: none"

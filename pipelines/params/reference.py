"""Generates docs/configuration.md from the schema of params.yaml and the recipes' own introductions.

`python -m pipelines.params.reference > docs/configuration.md` writes it; with `--check` it is only compared.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any, get_args

from pydantic.fields import FieldInfo

from hpt_core.config import (
    ArmConfig,
    Column,
    Config,
    ExpertSource,
    MethodConfig,
    PhaseConfig,
    Policy,
    PromptSource,
    Response,
    Turns,
)
from pipelines.params import Params
from pipelines.params.commented_yaml import comments_of
from pipelines.params.descriptions import description, subsection
from pipelines.params.reference_text import (
    COLUMNS,
    COMMAND,
    DOCUMENT,
    EXPERT_SOURCES,
    INTRODUCTION,
    PHASES,
    PROMPT_SOURCES,
    TURNS,
)
from pipelines.paths import RECIPES, recipe_names

LINKS = {
    PromptSource: "[prompt source](#prompt-sources)",
    ExpertSource: "[expert source](#expert-sources)",
    Policy: "[policy](#base)",
    Column: "[entry](#entries-of-columns)",
    Response: "[entry](#entries-of-columns)",
    Turns: "[turns](#turns)",
    PhaseConfig: "[phase](#phases)",
}
"""Models that several keys share -> the link to the section that describes them."""

WORDS = {
    "integer": "integer",
    "number": "number",
    "string": "text",
    "boolean": "true or false",
    "null": "`null`",
}
"""JSON schema's name of a type -> ours."""

Schema = dict[str, Any]
"""A JSON schema, as pydantic writes it."""
Row = tuple[str, str, str, str]
"""Key, type, default and description."""


def document(root: Path) -> str:
    """The text of docs/configuration.md."""
    return "\n".join([INTRODUCTION, *_recipes(root), *_sections(), *_sources()])


def _recipes(root: Path) -> Iterator[str]:
    yield from ("## Recipes", "", "| recipe | what it is |", "|---|---|")
    for name in recipe_names(root):
        head, _ = comments_of((root / RECIPES / f"{name}.yaml").read_text(encoding="utf-8"))
        # The first line is Hydra's `# @package _global_`; the recipe's first paragraph follows it.
        paragraph = takewhile(bool, (line.removeprefix("#").strip() for line in head[1:]))
        yield f"| `{name}` | {' '.join(paragraph)} |"
    yield ""


def _sections() -> Iterator[str]:
    """Keys outside the sections first, then each section in the order of params.yaml."""
    sections = {name: model for name, field in Params.model_fields.items() if (model := _section(field))}
    values = (row for row in _rows(Params, "") if row[0].strip("`").partition(".")[0] not in sections)
    yield from ("## Keys outside the sections", "", *_table(values))
    for name, model in sections.items():
        prefix = "arms.NAME." if model is ArmConfig else f"{name}."
        yield from (f"## {name}", "", description(Params.model_fields[name]), "")
        yield from _table(_rows(model, prefix))


def _section(field: FieldInfo) -> type[Config] | None:
    return ArmConfig if ArmConfig in get_args(field.annotation) else subsection(field.annotation)


def _sources() -> Iterator[str]:
    for title, model, example in (
        ("Prompt sources", PromptSource, PROMPT_SOURCES),
        ("Expert sources", ExpertSource, EXPERT_SOURCES),
        ("Entries of columns", Response, COLUMNS),
        ("Turns", Turns, TURNS),
        ("Phases", PhaseConfig, PHASES),
    ):
        yield from (f"## {title}", "", " ".join(str(model.__doc__).split()), "", example)
        # The keys of a method are listed once, in the section train.
        inherited = MethodConfig.model_fields if model is PhaseConfig else {}
        yield from _table(row for row in _rows(model, "") if row[0].strip("`").split(".")[0] not in inherited)


def _table(rows: Iterator[Row]) -> Iterator[str]:
    yield from ("| key | type | default | what it does |", "|---|---|---|---|")
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |"
    yield ""


def _rows(model: type[Config], prefix: str) -> Iterator[Row]:
    """One row for each field of `model`; those of a subsection follow it."""
    schemas = model.model_json_schema()["properties"]
    for name, field in model.model_fields.items():
        below = subsection(field.annotation)
        yield f"`{prefix}{name}`", _type(schemas[name]), _default(field), description(field)
        if below and below not in LINKS:
            yield from _rows(below, f"{prefix}{name}.")


def _type(schema: Schema) -> str:
    """The type in words, with its bounds."""
    match schema:
        case {"$ref": str(reference)}:
            name = reference.rpartition("/")[2]
            return next((link for model, link in LINKS.items() if model.__name__ == name), "subsection")
        case {"anyOf": alternatives} | {"oneOf": alternatives}:
            texts = list(map(_type, alternatives))
            return ("; or " if any("," in text for text in texts) else " or ").join(texts)
        case {"enum": values}:
            return "one of " + ", ".join(f"`{value}`" for value in values)
        case {"const": value}:
            return f"`{value}`"
        case {"type": "array", "minItems": count, "maxItems": most, "items": items} if count == most:
            return f"list of {count}, each {_type(items)}"
        case {"type": "array", "items": items}:
            return f"list, each {_type(items)}"
        case {"type": "object", "additionalProperties": dict(values)}:
            return f"map from name to {_type(values)}"
        case {"type": "object"}:
            return "map"
    return WORDS[schema["type"]] + _bounds(schema)


def _bounds(schema: Schema) -> str:
    bounds = []
    if "exclusiveMinimum" in schema:
        bounds.append(f"> {schema['exclusiveMinimum']:g}")
    elif "minimum" in schema:
        bounds.append(f">= {schema['minimum']:g}")
    if "exclusiveMaximum" in schema:
        bounds.append(f"< {schema['exclusiveMaximum']:g}")
    elif "maximum" in schema:
        bounds.append(f"<= {schema['maximum']:g}")
    return " " + ", ".join(bounds) if bounds else ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    return "its keys' defaults" if isinstance(value, Config) else f"`{json.dumps(value)}`"


def main() -> int:
    text = document(Path("."))
    if sys.argv[1:] != ["--check"]:
        print(text, end="")
    elif not DOCUMENT.exists() or DOCUMENT.read_text(encoding="utf-8") != text:
        print(f"{DOCUMENT} is stale; run `{COMMAND}`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Parameters that would take for ever, fill the memory or run code are errors, within a second."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from hpt_core import formula
from hpt_core.config import GateConfig, PromptSource
from hpt_core.errors import InputError
from pipelines.params import load_params


@pytest.fixture(autouse=True)
def within_seconds() -> Iterator[None]:
    started = time.process_time()
    yield
    assert time.process_time() - started < 10


@pytest.mark.parametrize(
    "text",
    [
        "9**9**9**9",
        "P ** 9**9**9",
        "2 ** (2 ** (2 ** (2 ** (2 ** 9))))",
        "exp(exp(exp(exp(9))))",
        "1e308 * 10",
        "1e309",
        "9" * 400,
        "1" + "0" * 5000,
        "-" * 900 + "P",
        "(" * 300 + "P" + ")" * 300,
        "abs(" * 150 + "P" + ")" * 150,
        "+".join(["P"] * 400),
        "1" + "+1" * 100_000,
        "P" * 100_000,
        "(-1) ** 0.5 > 0",
        "sqrt(P - 2)",
        "0 ** -1",
        "1 / (P - P)",
        "1e308 * 1e308 - 1e308 * 1e308",
        "P\x00",
        "P\ud800",
        "",
        "\n" * 50,
        "P if P else 1",
        "().__class__.__mro__",
        "f'{P}'",
        "[P for P in P]",
        "(P := 1)",
    ],
    ids=lambda text: repr(text[:20]),
)
def test_a_formula_without_end_or_value_is_an_error(text: str) -> None:
    with pytest.raises(ValueError) as raised:
        GateConfig(kind="formula", alpha=text)
    assert len(str(raised.value)) < 2000


def test_a_formula_that_people_write_is_none() -> None:
    for text in ("0.5 * (1 + P) ** 8", "+".join(["P"] * 40), "(" * 40 + "P" + ")" * 40, "P ** 100"):
        assert formula.parse(text)(0.5) >= 0


def test_a_large_group_is_checked_in_time() -> None:
    GateConfig(kind="formula", alpha="1 - P").check(20_000)
    with pytest.raises(ValueError, match="alpha"):
        GateConfig(kind="formula", alpha="P - P ** 2 * 1.0001").check(20_000)


REPO = Path(__file__).parents[2]
BOMB = "\n".join(["a0: &a0 [x, x]", *(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 60))])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (BOMB, "aliases"),
        ("a: &a [*a]", "params.yaml"),
        ("[" * 50_000, "levels"),
        ("- " * 50_000, "levels"),
        ("{a: " * 50_000, "levels"),
        ("a: " + "[" * 200 + "]" * 200, "levels"),
        ("a: '" + "x" * (1 << 18) + "'", "bytes"),
        ("seed: !!python/object/apply:os.system ['touch planted']", "params.yaml"),
        ("seed: !!python/name:os.system", "params.yaml"),
        ("a: \x07", "not YAML"),
        ("seed: 1\nseed: 2", "not YAML"),
        ("\t- a", "not YAML"),
    ],
    ids=lambda text: repr(text[:12]),
)
def test_a_file_that_is_no_list_of_parameters_is_an_error(text: str, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=reason) as raised:
        load_params(file)
    assert str(raised.value).startswith(str(file)) and len(str(raised.value)) < 3000
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


def test_bytes_that_are_no_text_and_folders_are_errors(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_bytes(b"seed: \xff\xfe")
    for path in (tmp_path / "params.yaml", tmp_path):
        with pytest.raises(InputError, match=str(path)):
            load_params(path)


HOSTILE_NAMES = [
    "..",
    "../outside",
    "/etc/cron.d/x",
    "a/../../b",
    "a\\..\\b",
    "~root",
    "x; touch planted",
    "$(touch planted)",
    "`touch planted`",
    "-rf",
    "--help",
    "a\nb",
    "a\x00b",
    "a\x1b[2J",
    "a\u202eb",
    "hum\u0430n",  # a Cyrillic a
    "CON",
    "nul.txt",
    "x" * 300,
    "",
    " ",
    ".hidden",
    "trailing.",
    "${arms}",
    "*",
    "base",
]


@pytest.mark.parametrize("name", HOSTILE_NAMES, ids=ascii)
@pytest.mark.parametrize("where", ["arm", "benchmark"])
def test_a_name_that_leaves_its_folder_or_hides_is_refused(where: str, name: str, tmp_path: Path) -> None:
    if (where, name) == ("benchmark", "base"):
        pytest.skip("only a policy is called base")
    keys = YAML(typ="safe").load(REPO / "params.yaml")
    if where == "arm":
        keys["arms"][name] = next(iter(keys["arms"].values()))
    else:
        keys["curate"]["benchmarks"][name] = keys["curate"]["benchmarks"].pop("held_out")
    write(keys, tmp_path / "params.yaml")
    with pytest.raises(InputError, match=r"name|arm"):
        load_params(tmp_path / "params.yaml")


def test_two_names_that_are_one_file_on_some_systems_are_refused(tmp_path: Path) -> None:
    keys = YAML(typ="safe").load(REPO / "params.yaml")
    keys["arms"] |= {"Crowd": next(iter(keys["arms"].values())), "crowd": next(iter(keys["arms"].values()))}
    write(keys, tmp_path / "params.yaml")
    with pytest.raises(InputError, match="Crowd"):
        load_params(tmp_path / "params.yaml")


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[2J", "a\u202eb", "", " ", "x" * 300], ids=ascii)
def test_a_source_has_a_name_that_can_be_shown(name: str) -> None:
    with pytest.raises(ValueError, match="a name has"):
        PromptSource(name=name, file="raw/data/x.jsonl", answer_kind="exact")
    for fine in ("raw/data/x.jsonl", "Größe 3", "openai/gsm8k", "問題"):
        PromptSource(name=fine, file="raw/data/x.jsonl", answer_kind="exact")


def write(keys: object, path: Path) -> None:
    with path.open("w") as file:
        YAML(typ="safe").dump(keys, file)

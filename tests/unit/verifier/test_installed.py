"""Answer kinds of packages that pip builds and installs, the example of docs/verifier.md among them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hpt_core.errors import InputError, VerifierError
from hpt_core.types import Completion, Verdict
from hpt_core.verifier import VerifierPool, check_kind, gold_problem, grade, installed_versions

REPO = Path(__file__).parents[3]

FAULTY = '''
"""Functions that a person may get wrong, and some that are right."""

import os
import signal
import time

from hpt_core.errors import VerifierError
from hpt_core.types import Verdict

score = 7


def one_argument(response):
    return True


def keywords(*, response, gold):
    return True


def with_default(response, gold, strict=True):
    return response == gold


def returns(response, gold):
    """Whatever the response says, in Python."""
    return eval(response, {"Verdict": Verdict, "nan": float("nan")})


def acts(response, gold):
    if response == "hang":
        time.sleep(600)
    if response == "hang without a timer":
        signal.setitimer(signal.ITIMER_REAL, 0)
        time.sleep(600)
    if response == "exit":
        os._exit(3)
    if response == "raise":
        raise KeyError("metadata")
    if response == "unreadable":
        raise VerifierError("the reference is no list")
    if response == "memory":
        bytearray(64 << 30)
    return response == gold
'''
PYPROJECT = """
[project]
name = "faulty-verifier"
version = "2.5"

[project.entry-points."hpt.verifiers"]
math = "faulty_verifier:returns"
not_callable = "faulty_verifier:score"
one_argument = "faulty_verifier:one_argument"
keywords = "faulty_verifier:keywords"
absent = "faulty_verifier:no_such_function"
no_module = "no_such_module:grade"
broken = "broken_on_import:grade"
crashing = "crashing_on_import:grade"
with_default = "faulty_verifier:with_default"
returns = "faulty_verifier:returns"
acts = "faulty_verifier:acts"
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip has installed the example of the document and a package of faulty functions."""
    folder = tmp_path_factory.mktemp("packages")
    document = (REPO / "docs" / "verifier.md").read_text("utf-8")
    (module,) = re.findall(r"```python\n(.*?)```", document, re.DOTALL)
    (pyproject,) = re.findall(r"```toml\n(.*?)```", document, re.DOTALL)
    assert len([line for line in module.splitlines() if line]) <= 10
    example, faulty = folder / "example", folder / "faulty"
    for package in (example, faulty):
        package.mkdir()
    (example / "word_verifier.py").write_text(module, encoding="utf-8")
    (example / "pyproject.toml").write_text(pyproject, encoding="utf-8")
    (faulty / "faulty_verifier.py").write_text(FAULTY, encoding="utf-8")
    (faulty / "broken_on_import.py").write_text("import sys\nprint('hello')\nraise OSError('no word list')\n")
    (faulty / "crashing_on_import.py").write_text("import os\nos.abort()\n")
    modules = ["faulty_verifier", "broken_on_import", "crashing_on_import"]
    (faulty / "pyproject.toml").write_text(PYPROJECT + f"[tool.setuptools]\npy-modules = {modules}\n")
    pip = [sys.executable, "-m", "pip", "install", "-qq", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(folder / "site"), str(example), str(faulty)], check=True)
    return folder / "site"


@pytest.fixture
def packages(site: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(site)
    return site


def test_the_example_of_the_document_gives_credit_in_part(packages: Path) -> None:
    check_kind("words")
    assert gold_problem("red green", "words") is None and "empty" in str(gold_problem(" ", "words"))
    items = [
        ("The colours are\ngreen red", "red green", "words"),
        ("red green blue black", "red green", "words"),
        ("<think>red green", "red green", "words"),
        (r"\boxed{(x-1)(x+1)}", "x^2-1", "exact"),
        ("blue", "red green", "words"),
    ]
    with VerifierPool(2, 5.0) as pool:
        verdicts = pool.verify(items)
    assert [(v.correct, v.score, v.error) for v in verdicts] == [
        (True, 1.0, None),
        (False, 0.5, None),
        (False, 0.0, None),
        (False, None, None),
        (False, 0.0, None),
    ]
    assert grade(*items[1]) == verdicts[1]


def test_credit_in_part_is_the_reward() -> None:
    from hpt_core.rollout.group import reward

    assert reward(Verdict(False, None, score=0.25)) == 0.25
    assert reward(Verdict(True, None, score=1.0)) == reward(Verdict(True, "5")) == 1.0
    assert reward(Verdict(False, None, "took too long", over_limit=True)) == 0.0
    assert reward(Verdict(False, None, "failed")) is None
    assert Completion("", (), (), "stop").error is None


def test_lines_of_the_command_have_the_score(packages: Path, tmp_path: Path) -> None:
    rows = [
        {"response": "red", "gold": "red green", "kind": "words"},
        {"response": "1", "gold": "1", "kind": "x"},
    ]
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = [sys.executable, "-m", "pipelines.cli", "verify"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(packages), *sys.path])}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, *arguments], capture_output=True, text=True, env=environment)

    first, second = map(json.loads, run(str(path)).stdout.splitlines())
    assert first == {"correct": False, "extracted": None, "error": None, "score": 0.5}
    assert second["error"].startswith(f"{path}:2: unknown answer kind 'x'")
    assert "math, gsm8k, choice, exact, reasoning_gym:NAME" in second["error"]
    assert "words (word-verifier 1.0)" in second["error"]
    golds = tmp_path / "golds.jsonl"
    golds.write_text('{"answer": "red green"}\n')
    assert run("--gold-check", "--kind", "words", str(golds)).returncode == 0
    bad = run("--gold-check", "--kind", "broken", str(golds))
    assert bad.returncode == 2 and "OSError: no word list" in bad.stderr and bad.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("math", "is built in, and faulty-verifier 2.5 brings one of the same name"),
        ("not_callable", "faulty_verifier:score is a int and no function"),
        ("one_argument", "does not take two arguments"),
        ("keywords", "does not take two arguments"),
        ("absent", "no_such_function"),
        ("no_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("broken", "OSError: no word list"),
        ("crashing", "exit code -6"),
    ],
)
def test_a_kind_that_cannot_be_used_is_refused_with_its_package(
    packages: Path, kind: str, words: str
) -> None:
    for ask in (check_kind, lambda kind: installed_versions(["words", kind])):
        with pytest.raises(InputError) as error:
            ask(kind)
        assert words in str(error.value) and "faulty-verifier 2.5" in str(error.value)
        assert repr(kind) in str(error.value) and "\n" not in str(error.value)
    if kind != "crashing":
        with VerifierPool(1, 5.0) as pool:
            (verdict,) = pool.verify([("1", "1", kind)])
        assert not verdict.correct and not verdict.over_limit and words in str(verdict.error)


def test_a_crash_at_import_costs_no_other_item(packages: Path) -> None:
    with VerifierPool(1, 5.0) as pool:
        verdicts = pool.verify([("1", "1", "acts"), ("1", "1", "crashing"), ("1", "1", "acts")])
    assert [verdict.correct for verdict in verdicts] == [True, False, True]
    assert "signal 6" in str(verdicts[1].error) and not verdicts[1].over_limit


@pytest.mark.parametrize(
    ("value", "correct", "score"),
    [
        ("True", True, None),
        ("False", False, None),
        ("1", True, 1.0),
        ("0", False, 0.0),
        ("0.75", False, 0.75),
        ("__import__('numpy').bool_(True)", True, None),
        ("__import__('numpy').float32(0.5)", False, 0.5),
        ("__import__('fractions').Fraction(1, 4)", False, 0.25),
        ("Verdict(True, 'five')", True, None),
        ("Verdict(False, 'five', score=1.0)", True, 1.0),
    ],
)
def test_what_a_function_may_return(packages: Path, value: str, correct: bool, score: float | None) -> None:
    verdict = grade(value, "gold", "returns")
    assert (verdict.correct, verdict.score, verdict.error) == (correct, score, None)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("1.5", "the score 1.5"),
        ("-0.1", "the score -0.1"),
        ("nan", "the score nan"),
        ("Verdict(True, None, score=2.0)", "the score 2"),
        ("None", "returned None; return a bool, a number from 0 to 1, or a Verdict"),
        ("'yes'", "returned 'yes'"),
        ("(1.0, 'reason')", "returned (1.0, 'reason')"),
        ("1 / 0", "failed with ZeroDivisionError"),
    ],
)
def test_what_is_no_verdict_is_an_error_and_never_a_reward(packages: Path, value: str, words: str) -> None:
    with pytest.raises(VerifierError, match=r"answer kind 'returns' of faulty-verifier 2\.5") as error:
        grade(value, "gold", "returns")
    assert words in str(error.value)


def test_a_function_runs_under_the_limits_of_the_grading_processes(packages: Path) -> None:
    responses = ["gold", "hang", "gold", "exit", "raise", "unreadable", "memory", "gold"]
    with VerifierPool(1, 0.5) as pool:
        verdicts = pool.verify([(response, "gold", "acts") for response in responses])
    assert [verdict.correct for verdict in verdicts] == [r == "gold" for r in responses]
    assert [verdict.over_limit for verdict in verdicts] == [r in ("hang", "memory") for r in responses]
    errors = [str(verdict.error) for verdict in verdicts]
    assert "took over 0.5 s" in errors[1] and "exit code 3" in errors[3]
    assert errors[4].startswith("answer kind 'acts' of faulty-verifier 2.5 failed with KeyError")
    assert errors[5] == "the reference is no list" and "MemoryError" in errors[6]


def test_a_function_that_takes_away_the_timer_is_killed_all_the_same(
    packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpt_core.verifier.pool.IMPORT_LIMIT_S", 1)
    with VerifierPool(2, 0.2) as pool:
        verdicts = pool.verify(
            [("gold", "gold", "acts"), ("hang without a timer", "gold", "acts"), ("gold", "gold", "acts")]
        )
    assert [verdict.correct for verdict in verdicts] == [True, False, True]
    assert verdicts[1].over_limit and "took over 0.2 s" in str(verdicts[1].error)


def test_a_slow_import_is_an_error_and_not_the_fault_of_the_response(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "slow_verifier-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: slow-verifier\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[hpt.verifiers]\nslow = slow_verifier:grade\n")
    (tmp_path / "slow_verifier.py").write_text("import time\ntime.sleep(600)\n")
    monkeypatch.syspath_prepend(tmp_path)
    limit = tmp_path / "sitecustomize.py"  # The processes take their limit from the code.
    limit.write_text("import hpt_core.verifier.installed as i\ni.IMPORT_LIMIT_S = 0.5\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *filter(None, sys.path)]))
    monkeypatch.setattr("hpt_core.verifier.installed.IMPORT_LIMIT_S", 0.5)
    with pytest.raises(InputError, match=r"'slow' of slow-verifier 1.0 .*the import took over 0.5 s"):
        check_kind("slow")
    with VerifierPool(1, 0.2) as pool:
        (verdict,) = pool.verify([("1", "1", "slow")])
    assert "importing the package of the answer kind took over" in str(verdict.error)
    assert not verdict.over_limit


def test_package_version_and_code_identify_the_verifier(packages: Path) -> None:
    versions = installed_versions(["words", "exact"])
    assert list(versions) == ["words"]
    assert versions["words"]["package"] == "word-verifier" and versions["words"]["version"] == "1.0"
    module = packages / "word_verifier.py"
    before = module.read_text("utf-8")
    module.write_text(before + "\n# edited\n")
    try:
        edited = installed_versions(["words"])
    finally:
        module.write_text(before)
    assert edited["words"]["code"] != versions["words"]["code"]
    assert installed_versions(["words"]) == versions

"""The mutation check: what it changes, what it leaves alone, and that a fault of a verifier is counted."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from hpt_core.data.curation.answer_sample import SIZE, AnswerSample
from hpt_core.mutation import error_rates
from hpt_core.mutation.check import LONGEST, REFUSED, variants_of
from hpt_core.mutation.mutants import (
    PER_CHANGE,
    Mutant,
    choice_mutants,
    math_mutants,
    number_mutants,
)
from hpt_core.mutation.report import entry, sentence
from hpt_core.mutation.rewrites import math_rewrites, number_rewrites
from hpt_core.types import Gold, Prompt, Verdict
from hpt_core.verifier import VerifierPool
from pipelines.cli import main


def of(change: str, answer: str) -> list[str]:
    return [mutant.answer for mutant in math_mutants(answer) if mutant.change == change]


@pytest.mark.parametrize(
    ("answer", "change", "mutants"),
    [
        ("42", "digit", ["52", "43"]),
        ("9", "digit", ["8"]),
        (r"\frac{1}{2}", "digit", [r"\frac{2}{2}", r"\frac{1}{3}"]),
        ("(3,-4)", "digit", ["(4,-4)", "(3,-5)"]),
        (r"0.\overline{37}", "digit", [r"1.\overline{37}", r"0.\overline{47}", r"0.\overline{38}"]),
        (r"5\text{ cm}, 7\text{ cm}", "digit", [r"6\text{ cm}, 7\text{ cm}", r"5\text{ cm}, 8\text{ cm}"]),
        (r"x \equiv 13 \pmod 7", "digit", [r"x \equiv 14 \pmod 7", r"x \equiv 13 \pmod 8"]),
        (r"\cos 140^\circ", "digit", [r"\cos 141^\circ"]),
        ("1,234", "digit", ["2,234", "1,334", "1,244", "1,235"]),
        # The digits of a number in base 2 stay digits of base 2.
        ("101_2", "digit", ["001_2", "111_2", "100_2"]),
        ("101_2", "index", ["101_3"]),
        (r"\sqrt[3]{7}", "index", [r"\sqrt[4]{7}"]),
        (r"\log_2 3", "index", [r"\log_3 3"]),
        (r"\pi r^2 h", "exponent", [r"\pi r^3 h"]),
        (r"864 \mbox{ inches}^2", "exponent", [r"864 \mbox{ inches}^3"]),
        ("-7", "sign", ["7"]),
        (r"\frac{1}{2}", "sign", [r"-\frac{1}{2}"]),
        ("3+4i", "sign", ["3-4i"]),
        ("(3,-4)", "sign", ["(-3,-4)", "(3,4)"]),
        ("10^{-5}", "sign", ["10^{5}", "-10^{-5}"]),
        ("11,111", "sign", ["-11,111"]),
        (r"\pi r^2 h", "letter", [r"\chi  r^2 h", r"\pi q^2 h", r"\pi r^2 q"]),
        (r"\text{Evelyn}", "letter", [r"\text{Qvelyn}"]),
        ("C", "letter", ["Q"]),
        (r"5.4\text{ cents}", "unit", [r"5.4\text{ dollars}"]),
        (r"10:30\text{ a.m.}", "unit", [r"10:30\text{ p.m.}"]),
        (r"9.8\,\mathrm{m/s^2}", "unit", [r"9.8\,\mathrm{km/h^2}"]),
        ("30 mph", "unit", ["30 m/s"]),
        (r"\{1, 2, 3\}", "element", [r"\{1, 2\}"]),
        ("1, 2", "element", ["1"]),
        (r"\left( 3, \frac{\pi}{2} \right)", "element", [r"\left( 3\right)"]),
    ],
)
def test_a_mutant_is_another_answer(answer: str, change: str, mutants: list[str]) -> None:
    assert of(change, answer) == mutants


@pytest.mark.parametrize(
    ("answer", "changes"),
    [
        # A change that may leave the value as it is.
        (r"\frac{0}{5}", "digit sign"),
        ("1^5", "digit exponent"),
        (r"\log_7 1", "digit index"),
        (r"\binom{5}{2}", "digit sign"),
        ("0!", "digit"),
        ("|x-3|", "sign digit"),
        (r"(-1)^{n-1}", "sign exponent letter"),
        ("i^{10}", "exponent"),
        (r"\sin\frac{4\pi}{9}", "digit sign"),
        (r"\cos(x-\pi)", "sign"),
        ("(-2)^2", "sign"),
        (r"1 \pm \sqrt{5}", "sign"),
        ("2x=0", "sign letter"),
        ("x^2+1>0", "digit exponent sign"),
        ("0", "sign"),
        (r"0\text{ cm}", "unit"),
        ("5_8", "index"),
        (r"x \equiv -1 \pmod 2", "sign"),
        ("0,245", "sign"),
        (r"\lfloor 2.5 \rfloor", "digit sign"),
        # A name that the answer chooses.
        ("x=5", "letter"),
        ("f(x)=5", "letter"),
        ("x>3", "letter"),
        (r"2k, k \in \mathbb{Z}", "letter"),
        (r"\sum_{k=1}^{n} k^2", "letter digit exponent"),
        ("x^2+C", "digit exponent sign letter"),
        # What is no list.
        ("1,234", "element"),
        ("(2, 3]", "element"),
        ("x=1, y=2", "element"),
        (r"\text{red, blue}", "element"),
    ],
)
def test_what_may_mean_the_same_is_left_alone(answer: str, changes: str) -> None:
    assert {change: of(change, answer) for change in changes.split() if of(change, answer)} == {}


def test_a_hyphen_in_a_unit_is_no_sign() -> None:
    assert of("sign", r"5 \mathrm{N}-\mathrm{m}") == [r"-5 \mathrm{N}-\mathrm{m}"]


def test_a_number_does_not_become_another_item_of_its_set() -> None:
    assert r"\{2,1,2\}" not in of("digit", r"\{1,1,2\}")
    assert r"\{1,1,3\}" in of("digit", r"\{1,1,2\}")


@pytest.mark.parametrize(
    ("answer", "change", "rewrite"),
    [
        (r"\frac{1}{2}", "fraction", r"\dfrac{1}{2}"),
        (r"-\frac{1}{2}", "slash", "-1/2"),
        ("1/2", "slash", r"\frac{1}{2}"),
        (r"\frac{1}{2}", "short fraction", r"\frac12"),
        ("12345", "separators", "12,345"),
        ("1,234", "separators", "1234"),
        ("0.5", "trailing zero", "0.50"),
        ("5", "trailing zero", "5.0"),
        ("0.5", "leading zero", ".5"),
        ("-5", "unicode minus", "\N{MINUS SIGN}5"),
        (r"2\sqrt{3}", "unicode", "2√3"),
        (r"(-\infty,3]", "unicode", "(-∞,3]"),
        ("x^2+1", "unicode powers", "x²+1"),
        (r"\{1,2\}", "set order", r"\{2, 1\}"),
        ("(1,2)", "left and right", r"\left(1,2\right)"),
        (r"\text{east}", "text", "east"),
        ("x=5", "without name", "5"),
        (r"5\text{ cm}", "without unit", "5"),
    ],
)
def test_a_rewrite_means_the_same(answer: str, change: str, rewrite: str) -> None:
    assert [made.answer for made in math_rewrites(answer) if made.change == change] == [rewrite]


@pytest.mark.parametrize(
    ("answer", "changes"),
    [
        (r"\frac{1}{2}x", "slash"),  # 1/2x
        (r"\sqrt{2}x", "unicode"),  # √2x
        (r"\{1,x\}", "set order"),
        ("(0,1]", "left and right"),
        ("1, 2345", "separators"),
        ("30 mph", "dollars"),
        (r"5\text{ apples}", "without unit"),
        ("0123", "separators"),
    ],
)
def test_a_rewrite_of_doubtful_meaning_is_not_made(answer: str, changes: str) -> None:
    assert [made for made in math_rewrites(answer) if made.change == changes] == []


def test_kinds_beside_math() -> None:
    assert choice_mutants("A") == [Mutant("letter", "B")]
    assert choice_mutants("C") == [Mutant("letter", "B"), Mutant("letter", "D")]
    assert [made.answer for made in number_mutants("$1,200")] == [
        "$2,200",
        "$1,300",
        "$1,210",
        "$1,201",
        "$-1,200",
    ]
    assert "1200" in [made.answer for made in number_rewrites("1,200")]
    assert len(math_mutants("1" * 50)) == PER_CHANGE + 1
    golds = [
        Gold("1", "so it is\n#### 72", "gsm8k"),
        Gold("2", "(C)", "choice"),
        Gold("3", "red apple", "exact"),
        Gold("4", r"we get $\boxed{\frac{1}{2}}$", "math"),
        Gold("5", "4", "reasoning_gym:gcd"),
        Gold("6", "no number", "gsm8k"),
    ]
    with VerifierPool(1, 5.0) as pool:
        rates = error_rates(golds, pool)
    assert rates.answers == 6 and rates.faults == []
    assert rates.unchecked == {"of kind reasoning_gym:gcd": 1, REFUSED: 1}
    assert rates.mutants.made == {"digit": 4, "sign": 2, "letter": 3}
    assert rates.mutants.wrong.total() == rates.rewrites.wrong.total() == 0


@pytest.mark.parametrize(
    "piece",
    ["a", "ab ", "1", "1,", "1,111", "(", "{", r"\{", r"\frac{1}{2}", "x=", "-", " ", r"\text{a}", "^"],
)
def test_an_answer_of_the_greatest_length_is_changed_at_once(piece: str) -> None:
    answer = (piece * LONGEST)[: LONGEST - 1] + "!"
    before = time.perf_counter()
    list(variants_of(Gold("here", answer, "math")))
    list(variants_of(Gold("here", answer[:-1], "math")))
    assert time.perf_counter() - before < 2
    assert error_rates([Gold("here", 2 * answer, "math")], Faulty()).unchecked.total() == 1


class Faulty:
    """A verifier that reads nothing but digits, and has no verdict on what has a z."""

    def verify(self, items: Sequence[tuple[str, str, str]]) -> list[Verdict]:
        return [self._verdict(response, gold) for response, gold, _ in items]

    def _verdict(self, response: str, gold: str) -> Verdict:
        if "Z" in response:
            return Verdict(False, None, "took too long", over_limit=True)
        digits: Callable[[str], str] = lambda text: "".join(filter(str.isdigit, text))  # noqa: E731
        return Verdict(digits(response) == digits(gold), None)


def test_wrong_verdicts_are_counted_by_change() -> None:
    rates = error_rates(
        [Gold("a:1", "-5", "math"), Gold("a:2", "5", "math"), Gold("a:3", "Y", "choice")], Faulty()
    )
    assert rates.mutants.made == {"digit": 2, "sign": 2, "letter": 2}
    # It takes -5 for 5, and any letter for any other, and a trailing zero for another number.
    assert rates.mutants.wrong == {"sign": 2, "letter": 1} and rates.mutants.unjudged == {"letter": 1}
    assert rates.rewrites.wrong == {"trailing zero": 2}
    low, high = rates.mutants.interval()
    assert low == pytest.approx(0.2307, abs=1e-4) and high == pytest.approx(0.8824, abs=1e-4)
    written = entry(rates)
    assert written["examples"][0] == {
        "where": "a:1", "reference": "-5", "change": "sign", "answer": "5", "verdict": "accepted",
    }  # fmt: skip
    assert sentence("mine", written) == (
        "mine: of the changes of 3 reference answers, the verifier accepts 3 of 6 wrong ones and rejects "
        f"2 of {sum(written['rewrites']['made'].values())} harmless ones; 1 have no verdict"
    )


def test_a_sample_does_not_depend_on_the_order_of_the_prompts() -> None:
    prompts = [Prompt(f"id{i}", f"What is {i}?", str(i), "math", f"s{i % 2}", "mit") for i in range(300)]
    drawn = []
    for order in (prompts, prompts[::-1]):
        sample = AnswerSample(17)
        for prompt in order:
            sample.offer(prompt)
        drawn.append(sample.rates(Faulty()))
    assert drawn[0] == drawn[1]
    assert [drawn[0][source]["answers"] for source in ("s0", "s1")] == [SIZE, SIZE]
    other = AnswerSample(18)
    for prompt in prompts:
        other.offer(prompt)
    assert other.rates(Faulty()) != drawn[0]


def test_the_command_lists_wrong_verdicts_and_sets_the_exit_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "golds.jsonl"
    path.write_text('{"answer": "-5"}\n{"answer": "\\\\frac{3}{4}"}\n')
    assert main.main(["verify", "--mutation-check", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "another digit" in shown and "0.00%" in shown
    monkeypatch.setattr(VerifierPool, "verify", Faulty().verify)
    assert main.main(["verify", "--mutation-check", str(path)]) == 1
    assert f"{path}:1: math answer '-5': wrong answer '5' (sign): accepted" in capsys.readouterr().out
    assert main.main(["verify", "--mutation-check", "--kind", "reasoning_gym:gcd", str(path)]) == 2
    assert "no answer can be changed" in capsys.readouterr().err
    assert main.main(["verify", "--mutation-check", "--gold-check", str(path)]) == 2
    assert main.main(["verify", "--mutation-check", "--kind", "maths", str(path)]) == 2


@pytest.mark.parametrize(
    "answer",
    [
        r"52_8", r"4210_{5}", r"864 \mbox{ inches}^2", r"5.4 \text{ cents}", r"15\mbox{ cm}^2", r"3\sqrt{13}",
        r"\left( 3, \frac{\pi}{2} \right)", r"x^3+3x-6", r"6 - 5i", r"(-\infty, 2) \cup (3, \infty)",
        r"\begin{pmatrix} -1 & 0 \\ 0 & -1 \end{pmatrix}", r"\{1\pm\sqrt{5},-2\}", r"11,\! 111,\! 111,\! 100",
        r"\text{Evelyn}", r"10\%", r"\$18.90", r"1\frac{4}{5}", r"x \in [-2,7]", r"y = 2x + 3", "p - q",
        r"1,-2", r"\pi r^2 h", r"3+4\mathrm{i}", r"5\text{ cm}, 7\text{ cm}", r"6.02 \times 10^{23}",
        r"\frac{1}{2^{99}}", r"0.\overline{37}", "10:30\\text{ a.m.}", r"30 \mathrm{mph}, 40 \mathrm{mph}",
        r"x \equiv 3 \pmod 7", "2:15 PM", r"e^{-2 t} \cos (3 t)", r"\frac{\sqrt{3}}{3}",
    ],
)  # fmt: skip
def test_the_verifier_takes_no_mutant_and_every_rewrite(answer: str) -> None:
    gold = Gold("here", answer, "math")
    assert list(variants_of(gold))
    with VerifierPool(1, 5.0) as pool:
        rates = error_rates([gold], pool)
    assert [(fault.variant.change, fault.variant.answer) for fault in rates.faults] == []
    assert not rates.unchecked and rates.mutants.made
    assert json.loads(json.dumps(entry(rates)))["answers"] == 1

"""Comparison without algebra: equal, unequal, or left to math-verify."""

from __future__ import annotations

import pytest

from hpt_core.verifier import exact, latex, symbolic


@pytest.mark.parametrize(
    ("answer", "gold", "verdict"),
    [
        ("0.5", r"\frac{1}{2}", True),
        (r"\dfrac12", "1/2", True),
        (r"1\frac{4}{5}", r"\frac{9}{5}", True),
        (r"11,\! 111,\! 100", "11111100", True),
        (r"\$18.90", "18.9", True),
        (r"90^\circ", "90", True),
        (r"4.5 \times 10^{33}", "4.5e33", True),
        (r"\text{even}", "even", True),
        (r"(3, \frac{1}{2})", "(3,0.5)", True),
        ("2,1", "1,2", True),
        (r"\{2,1\}", r"\{1,2\}", True),
        ("2e-8", "1e-8", False),
        ("0.00000002", "0.00000001", False),
        ("(2,1)", "(1,2)", False),
        ("2 3", "23", None),
        ("1,2", "1,2,3", False),
        (r"\text{even}", r"\text{odd}", False),
        (r"\text{five}", "5", False),
        ("1/0", "1", None),
        ("0.33333", r"\frac{1}{3}", None),
        (r"50\%", "50", None),
        ("(1,2)", "[1,2]", None),
        ("(1,2)", "1,2", None),
        (r"12\text{ cm}", "12", None),
        ("x=5", "5", None),
        ("52_8", "52", None),
    ],
)
def test_compare(answer: str, gold: str, verdict: bool | None) -> None:
    assert exact.compare(answer, gold) is verdict
    assert exact.compare(gold, answer) is verdict


FORMS = [
    "3",
    "-3",
    "0.25",
    r"\frac{1}{4}",
    r"\frac14",
    "-1/4",
    "1,250",
    "1250",
    "(3,4)",
    "(4,3)",
    "[3,4]",
    "3,4",
]
FORMS += [
    "4,3",
    r"\{3,4\}",
    r"\text{even}",
    r"\text{odd}",
    r"30^\circ",
    "30",
    r"2\frac{1}{2}",
    "2.5",
    "0",
    "-0",
]


@pytest.mark.parametrize("gold", FORMS)
def test_decisions_agree_with_math_verify(gold: str) -> None:
    for answer in FORMS:
        verdict = exact.compare(answer, gold)
        assert verdict is None or verdict == symbolic.equal(answer, gold), answer


@pytest.mark.parametrize(
    ("a", "b", "different"),
    [
        ("x^2-1", "(x-1)(x+1)", False),
        ("x^2-1", "(x-1)(x+2)", True),
        (r"\sqrt{8}", r"2\sqrt{2}", False),
        (r"\sqrt{8}", r"2\sqrt{3}", True),
        ("6-5i", "6+5i", True),
        ("x=5", "5", False),
        (r"9\%", "9", False),
    ],
)
def test_expressions_that_differ_at_a_point(a: str, b: str, different: bool) -> None:
    assert symbolic.differ_at_a_point(latex.parse(a)[0], latex.parse(b)[0]) is different


def test_the_two_stage_parser_finds_the_same_tree() -> None:
    from antlr4.atn.PredictionMode import PredictionMode
    from latex2sympy2_extended import latex2sympy2
    from math_verify import LatexExtractionConfig

    latex.load()
    config = LatexExtractionConfig().normalization_config
    for text in (*latex._TYPICAL, r"6r^2-4r-24", r"\sqrt{4 \pi G r_{0}^{2}}", r"x^{-\frac{1}{2}}"):
        text, trees = latex2sympy2.normalize_latex(text, config), []
        for parser in (latex2sympy2.PSParser, latex2sympy2.PSParser.__base__):
            stream = latex2sympy2.CommonTokenStream(latex2sympy2.PSLexer(latex2sympy2.InputStream(text)))
            instance = parser(stream)
            instance.removeErrorListeners()
            instance.addErrorListener(latex2sympy2._Latex2Sympy.MathErrorListener(text))
            assert instance._interp.predictionMode == PredictionMode.LL
            trees.append(instance.math().toStringTree(recog=instance))
        assert trees[0] == trees[1]

"""References that no answer can be compared with, and those that only look like them."""

from __future__ import annotations

import pytest

from hpt_core.errors import VerifierError
from hpt_core.verifier import gold_problem, grade

AM_GM = r"By AM-GM we have $a+b \ge 2\sqrt{ab}$ with equality iff $a=b=1$. Hence the claim holds."
SQUARE = r"We show $n^2 \equiv 0 \pmod 4$. Let $n = 2k$. Then $n^2 = 4k^2$. QED"


@pytest.mark.parametrize(
    "gold",
    [
        *(
            "nan",
            "NaN",
            "None",
            "null",
            "N/A",
            "n/a.",
            r"\text{N/A}",
            "notfound",
            "Not found",
            "NOT FOUND",
            "TBD",
        ),
        *(
            "-",
            "--",
            "?",
            "...",
            r"\boxed{}",
            r"\text{}",
            "$$",
            "{}",
            "No answer provided.",
            "unknown",
            "略",
            "无答案",
        ),
        *(
            "proof",
            "Proof.",
            r"\text{Proof}",
            r"$\text{proof}$",
            r"\boxed{\text{Proof}}",
            "Induction.",
            "QED",
        ),
        *("Q.E.D.", r"\blacksquare", "Proved", "Hence proved.", "Proof by contradiction", "The claim holds."),
        *(
            "证明略",
            "Beweis.",
            "see solution",
            "See the solution above.",
            "Answers may vary",
            "Proof omitted.",
        ),
        *(
            "left to the reader",
            "See figure 3",
            "image",
            "N.A.",
            r"\ldots",
            "(proof)",
            "∎",
            "Solution not found",
        ),
        r"\textbf{Proof.} Assume $n$ is even, so $n=2k$ and $n^2=4k^2$ is divisible by 4.",
        "It suffices to show that $n$ is odd. Since $n=2k+1$, we are done.",
        AM_GM,
        SQUARE,
        r"\[a + b \ge 2\] as desired.",
        "Assume the contrary. Then a prime $p$ divides both, which is a contradiction.",
        r"Without loss of generality $a \le b$. Then $2a \le a + b$, so the inequality follows.",
        "The first player draws a line through the centre. Every further move of the second is mirrored "
        "in it, so that the first always has a move. After finitely many moves the other one has none left.",
    ],
)
def test_a_reference_without_an_answer_is_named(gold: str) -> None:
    assert gold_problem(gold, "math") is not None
    for response in (gold, r"\boxed{1}", f"\\boxed{{{gold}}}"):
        with pytest.raises(VerifierError, match="reference"):
            grade(response, gold, "math")


@pytest.mark.parametrize(
    "gold",
    [
        *(
            "0",
            "n",
            "x",
            "e",
            "A",
            "-1",
            r"\emptyset",
            r"\infty",
            "5.",
            "(?, 3)",
            r"\text{no solution}",
            "No solution",
        ),
        *(
            "undefined",
            "DNE",
            r"\text{does not exist}",
            "Yes",
            r"\text{True}",
            "none of the above",
            "inconclusive",
        ),
        *("2 (mod 5)", r"\text{equilateral triangle}", "all n except 4", "between 3 and 5", r"\square ABCD"),
        *(
            "no real solutions",
            "All functions $f(x)=cx$ with a constant $c$.",
            "the graph of y = x^2 moved up by 3",
        ),
        *(
            "n a",
            "The statement is true.",
            "Bob wins",
            "The first player has a winning strategy.",
            "zero",
            r"\{\}",
        ),
        "The roots are $3$ and $7$.",
        f"{SQUARE} Therefore the answer is 4.",
        rf"{AM_GM} So the minimum is \boxed{{2}}.",
    ],
)
def test_an_answer_that_looks_like_none_is_a_reference(gold: str) -> None:
    assert gold_problem(gold, "math") is None


def test_the_kind_decides_which_words_are_answers() -> None:
    for text in ("None", "Induction", "-", "proof", "see figure"):
        assert gold_problem(text, "exact") is None
    for text in ("nan", "N/A", "notfound"):
        assert "no answer" in (gold_problem(text, "exact") or "")
    assert "proof" in (gold_problem("proof", "gsm8k") or "")
    assert "no answer" in (gold_problem("N/A", "choice") or "")

"""Problems with answers, solutions and model responses, written for these tests; shapes.py puts them into the
rows of published data sets."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Item:
    """One problem, and what people and models wrote about it."""

    number: int
    problem: str
    answer: str
    working: str
    """The steps to the answer, without stating it."""
    wrong: str = "0"
    options: tuple[str, ...] = ()
    letter: str = ""

    @property
    def solution(self) -> str:
        """A person's solution in the style of MATH: worked, and boxed."""
        return f"{self.working} Therefore the value is $\\boxed{{{self.answer}}}$."

    @property
    def prose(self) -> str:
        """A solution without mark-up of its answer."""
        return f"{self.working} So we get {self.answer} in the end."

    @property
    def hashed(self) -> str:
        """A solution in the style of GSM8K."""
        return f"{self.working}\nThat makes <<1*1=1>>the total.\n#### {self.answer}"

    @property
    def thought(self) -> str:
        return f"Okay, so I need to work this out. {self.working} Wait, let me check that. Yes, it holds."

    @property
    def attempt(self) -> str:
        return f"**Solution.** {self.working}\n\nThe final answer is \\boxed{{{self.answer}}}."

    @property
    def failed(self) -> str:
        return f"**Solution.** I guessed, without much care.\n\nThe final answer is \\boxed{{{self.wrong}}}."

    @property
    def trace(self) -> str:
        """A reasoning model's response."""
        return f"<think>\n{self.thought}\n</think>\n\n{self.attempt}"


MATH = (
    Item(
        1,
        "What is the sum of the first 10 positive integers?",
        "55",
        "Pair 1 with 10, 2 with 9, and so on: five pairs of 11.",
    ),
    Item(
        2,
        "Find the larger root of $x^2 - 5x + 6 = 0$.",
        "3",
        "The polynomial factors as $(x-2)(x-3)$, so its roots are 2 and 3.",
    ),
    Item(
        3,
        "A fair die is thrown twice. Compute the probability that at least one throw is even.",
        "\\frac{3}{4}",
        "Both throws are odd with probability $\\frac12 \\cdot \\frac12$, and the event is the complement.",
    ),
    Item(
        4,
        "Evaluate $\\sqrt{12}$ and simplify the result.",
        "2\\sqrt{3}",
        "Since $12 = 4 \\cdot 3$, the square root of 4 comes out of the radical.",
    ),
    Item(5, "Let $f(t) = 3t - 7$. Determine $f(12)$.", "29", "Substituting gives $36 - 7$."),
    Item(
        6,
        "How many diagonals does a convex octagon have?",
        "20",
        "Each of 8 vertices sends 5 diagonals, and each one is counted twice.",
    ),
)
"""Competition problems."""
SCHOOL = (
    Item(
        1,
        "Mira has 14 pencils and buys 3 boxes of 6 more. How many pencils does she have now?",
        "32",
        "Three boxes hold 3*6=18 pencils.\nWith the first ones that is 14+18=32.",
    ),
    Item(
        2,
        "A bus carries 45 people. At the first stop 12 leave and 7 enter. How many are on the bus?",
        "40",
        "After 12 leave there are 45-12=33.\nThen 33+7=40 are on it.",
    ),
    Item(
        3,
        "Jon reads 25 pages a day. How many pages does he read in a week?",
        "175",
        "A week has 7 days.\nHe reads 25*7=175.",
    ),
    Item(
        4,
        "A farmer sells 120 eggs in cartons of 12 at 4 dollars each. How much does she earn?",
        "40",
        "She fills 120/12=10 cartons.\nThey bring 10*4=40 dollars.",
    ),
    Item(
        5,
        "Lea saves 15 euros a month. After how many months has she saved 1,050 euros?",
        "70",
        "Divide what she wants by what she saves.\n1050/15=70.",
    ),
)
"""Word problems of primary school."""
CHOICE = (
    Item(
        1,
        "Which of these metals is liquid at room temperature?",
        "Mercury",
        "Of the four only one melts far below 20 degrees.",
        options=("Iron", "Mercury", "Copper", "Tin"),
        letter="B",
    ),
    Item(
        2,
        "What is 15% of 80?",
        "12",
        "A tenth is 8, and half of that is 4.",
        options=("8", "10", "12", "16"),
        letter="C",
    ),
    Item(
        3,
        "Which planet of the solar system has the largest mass?",
        "Jupiter",
        "It outweighs all others together.",
        options=("Jupiter", "Saturn", "Earth", "Neptune"),
        letter="A",
    ),
    Item(
        4,
        "A train runs 90 km in 45 minutes. What is its speed?",
        "120 km/h",
        "It would run twice as far in one hour and a half.",
        options=("60 km/h", "90 km/h", "100 km/h", "120 km/h"),
        letter="D",
    ),
)
"""Questions with four options."""

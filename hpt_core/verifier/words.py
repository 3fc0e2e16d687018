"""The words with which responses announce, join and qualify answers, in the languages that models write.

Nouns are in lower case. A word that is missing costs a response its verdict, and gives none a wrong one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable


def any_of(words: Iterable[str]) -> str:
    """A pattern for any of `words`, the longest first, with any white space for a space."""
    return "|".join(re.escape(word).replace(r"\ ", r"\s+") for word in sorted(words, key=len, reverse=True))


ASCII_NOUNS = (
    *("answer", "ans", "antwort", "antwoord", "reponse", "respuesta", "resposta", "risposta", "svar"),
    *("vastaus", "vastus", "cevap", "yanit", "jawaban", "jawapan", "sagot", "jibu", "odgovor"),
    *("atsakymas",),
)
OTHER_NOUNS = (
    *("réponse", "odpowiedź", "odpověď", "odpoveď", "válasz", "răspuns", "raspuns", "yanıt", "atbilde"),
    *("đáp án", "đáp số", "trả lời", "ответ", "відповідь", "отговор", "одговор", "απάντηση", "الجواب"),
    *("الإجابة", "جواب", "إجابة", "پاسخ", "תשובה", "התשובה", "उत्तर", "উত্তর", "คำตอบ", "答案", "答え"),
    *("解答", "正解", "回答", "答", "정답", "답"),
)
CHOICE_NOUNS = (
    *(
        "option",
        "choice",
        "opción",
        "opcion",
        "opção",
        "opcao",
        "opzione",
        "alternativa",
        "auswahl",
        "letter",
        "вариант",
        "选项",
    ),
    *("選項", "选择", "故选", "應選", "应选", "選択肢", "보기"),
)
"""What a choice is called: "the correct option is B"."""

COPULAS = (
    *("is", "are", "was", "were", "equals", "equal", "would be", "will be", "must be", "should be"),
    *("has to be", "comes out to be", "comes out to", "turns out to be", "comes to", "works out to be"),
    *("becomes", "ist", "lautet", "beträgt", "est", "sont", "vaut", "es", "es igual a", "son", "è", "e'"),
    *("sono", "é", "são", "is gelijk aan", "luidt", "är", "er", "on", "je", "jest", "to", "brzmi"),
    *("este", "είναι", "равен", "равна", "равно", "равняется", "есть", "это", "є", "là", "adalah"),
    *("ialah", "คือ", "هو", "هي"),
)
"""Verbs between noun and answer that white space sets apart."""
JOINED_COPULAS = (
    *("应该是", "應該是", "应为", "應為", "等于", "等於", "就是", "即为", "是", "为", "為", "は", "은"),
    *("는",),
)
"""The same in scripts without white space between words."""

ADVERBS = (
    *("therefore", "thus", "then", "hence", "simply", "just", "clearly", "indeed", "obviously"),
    *("definitely", "exactly", "given by", "equal to", "as follows", "also", "still", "option", "choice"),
    *(
        "letter",
        "answer",
        "la opción",
        "la letra",
        "a letra",
        "la lettre",
        "la lettera",
        "der buchstabe",
        "die option",
        "l'option",
        "a opção",
        "l'opzione",
        "вариант",
    ),
    *("选项", "選項"),
)
"""Words between verb and answer that do not change it."""

ANDS = (
    *(
        "and",
        "as well as",
        "und",
        "et",
        "y",
        "e",
        "en",
        "och",
        "og",
        "i",
        "и",
        "та",
        "và",
        "dan",
        "ve",
        "και",
    ),
    *("和", "与", "與", "及", "以及", "と", "また", "および", "및", "와", "과"),
)
ORS = (
    *("or", "oder", "ou", "o", "oppure", "of", "eller", "lub", "или", "або", "hoặc", "atau", "veya", "ή"),
    *("或", "或者", "还是", "または", "또는"),
)
AND_OR = ANDS + ORS
"""Conjunctions that join several answers."""

HEDGES = (
    *("maybe", "perhaps", "possibly", "probably", "alternatively", "either", "otherwise", "else", "also"),
    *("could be", "might be", "both", "if", "when", "instead", "rather", "vielleicht", "peut-être"),
    *("quizás", "可能", "也许", "或许"),
)
"""Words that, with a conjunction or a comma, join alternatives between which a response does not decide."""

REASONS = (
    *("since", "because", "as", "so", "which", "where", "given", "due", "after", "when", "in order"),
    *("for a total", "weil", "denn", "car", "parce que", "porque", "perché", "потому что", "так как"),
    *("因为", "因為", "由于"),
)
"""Words that begin a reason, in which there may be other numbers and letters than the answer."""

LATEX_TEXT = "text|textbf|textit|textrm|mathrm|mathbf|mathsf|mathit|mbox|emph|underline|operatorname"
"""Commands whose argument is text, as a pattern."""

"""References that no answer can be compared with: marks of a missing answer, proofs, pointers elsewhere.

Data sets have them where a problem asks for a proof or where no answer was found. As a reference they would
make every right answer wrong, and a response that repeats them right.
"""

from __future__ import annotations

import re
from functools import lru_cache

from hpt_core.verifier.answers.texts import plain_characters
from hpt_core.verifier.extraction.references import states_answer
from hpt_core.verifier.words import LATEX_TEXT, any_of

_PUNCTUATION = re.compile(
    rf"\\(?:{LATEX_TEXT}|boxed|fbox)\s?\{{|\\[()\[\],;: !]|[\s$*_`\"'“”‘’{{}}()\[\]<>.!:;,。]+"
)
_MISSING = frozenset(
    {
        *("nan", "null", "nil", "n/a", "na/na", "#n/a", "tbd", "todo", "to be determined", "missing"),
        *("empty", "not found", "notfound", "no answer", "no answer found", "answer not found"),
        *("no answer available", "no answer provided", "answer not provided", "not provided"),
        *("not available", "answer not available", "not given", "answer not given", "no final answer"),
        *("no final answer provided", "no solution provided", "solution not provided"),
        *("no solution given", "not applicable", "not specified", "no numerical answer"),
        *("no short answer", "no answer needed", "no answer required", "none given"),
        *("no reference answer", "no answer given", "solution not found", r"\ldots", r"\dots", "error"),
        *("failed", "timeout", "blank", "无答案", "暂无答案", "缺失"),
    }
)
_MISSING_UNLESS_EXACT = frozenset({"none", "na", "unknown", "无"})
_PROOF = frozenset(
    {
        *("proof", "the proof", "證明", "∎", r"q e d \square", "proofs", "prove", "proved", "proven"),
        *("prove it", "to prove", "to be proved", "to be proven", "proof question", "proof problem"),
        *("proof required", "proof needed", "proof based", "proof-based", "proof omitted", "proof given"),
        *("proof above", "proof below", "proof complete", "proof verified", "induction", "by induction"),
        *("mathematical induction", "by mathematical induction", "proof by induction", "contradiction"),
        *("by contradiction", "proof by contradiction", "qed", "q e d", r"\blacksquare", r"\qed"),
        *("shown", "as shown", "shown above", "as desired", "as required", "as claimed", "hence proved"),
        *("hence proven", "proved above", "statement proved", "statement is proved"),
        *("the statement is proved", "the statement is proven", "the proof is complete"),
        *("the proof is given", "the claim holds", "claim holds", "the statement holds"),
        *("the inequality holds", "inequality holds", "inequality proved", "identity holds"),
        *("the identity holds", "identity proved", "the result follows", "trivial", "verified"),
        *("verification", "derivation", "demonstration", "证明", "证明略", "证明见解析", "证毕", "得证"),
        *("命题得证", "证明题", "証明", "beweis", "démonstration", "preuve", "demostración"),
        *("demonstração", "dimostrazione", "доказательство", "доказано", "dowód", "bewijs"),
    }
)
_POINTERS = (
    *("solution", "solutions", "proof", "proofs", "explanation", "above", "below", "answer", "answers"),
    *("text", "figure", "diagram", "graph", "image", "picture", "attachment", "derivation", "discussion"),
    *("work", "steps", "notes", "comments", "details", "reference"),
)
_ELSEWHERE = re.compile(
    rf"""(?:please\s)? (?:see|refer\sto|cf|as\sin|given\sin|shown\sin|follow)\s (?:the\s)?
         (?:(?:above|below|attached|full|complete|detailed|following)\s)?
         (?:{any_of(_POINTERS)}) (?:\s[^$\\=]{{0,40}})?
       | (?:the\s)? (?:answers?|solutions?|proofs?|results?|graphs?)\s (?:(?:may|can|will|is|are)\s)?
         (?:vary|varies|omitted|left|not\sshown|shown|above|below|given) (?:\s[^$\\=]{{0,40}})?
       | (?:figure|diagram|graph|image|picture|sketch|table|plot|screenshot)
         (?:\s(?:above|below|omitted|attached|only|not\sshown|\d+))?
       | left\s(?:as\san\sexercise|to\sthe\sreader)[^$\\=]* | exercise | omitted | various
       | subjective | own\sanswer
       | many\spossible\sanswers | multiple\sanswers(?:\spossible)? | open[-\s]ended(?:\squestion)?
       | free\sresponse
       | 略 | 解略 | 略解 | 省略 | 见解析 | 見解析 | 详见解析 | 見解説 | 见图 | 如图 | 如图所示
       | siehe\slösung | voir\sla\ssolution | ver\ssolución | см\.?\sрешение""",
    re.IGNORECASE | re.VERBOSE,
)
_CLAIM = "claim|statement|inequality|identity|assertion|proposition|theorem|lemma|conclusion|result|equality"
_PROOF_MARKS = re.compile(
    rf"""\bq\.?\s?e\.?\s?d\b | ∎ | \\blacksquare\b | \\qed(?:symbol|here)?\b | \\(?:square|Box)\s*\$?\s*$
       | \\begin\{{proof\}} | ^(?:\W|\\text\w*)*(?:proof|beweis|démonstration|证明)\b\s*[:.：]
       | \b(?:we|let\sus|let's)\s (?:(?:will|now|can|shall|first|must|need\sto|want\sto)\s)?
         (?:prove|show|claim|argue)\b
       | \b(?:hence|thus|therefore|so|and|which|this)\s (?:(?:the|we|that|it|is|have|are)\s){{0,3}}
         (?:completes?|proves?|proved|proven|concludes?|done)\b
       | \bas\s(?:desired|required|claimed|wanted|was\sto\sbe\s(?:shown|proved|proven))\b
       | \bwhat\s(?:we\s)?(?:had|have|was|want|wanted)\sto\s(?:be\s)?(?:prove|show)
       | \b(?:{_CLAIM})\s (?:(?:is|has\sbeen|now|then|thus)\s)*
         (?:holds?|follows?|proved|proven|established|shown)\b
       | \b(?:by|using|proof\sby|via)\s(?:(?:strong|mathematical)\s)?
         (?:induction|contradiction|contraposition)\b
       | \ba\scontradiction\b | \bcontradicts?\b | \bwithout\sloss\sof\sgenerality\b | \bwlog\b
       | \bsuffices\sto\s(?:show|prove)\b | 证毕 | 得证 | 故(?:命题|结论)成立 | что\sи\sтребовалось""",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
_SAYS_SOMETHING = re.compile(r"[^-–—?!.…_/|~*#&+=^%@<>]")
_SENTENCE = re.compile(r"[.。!?](?:\s|$)")
_WORD = re.compile(r"[^\W\d_]{2,}")
_MANY_SENTENCES, _MANY_WORDS = 3, 25
"""A text of as many sentences and words that announces no answer is a solution or a proof, not an answer."""


@lru_cache(maxsize=8192)
def unverifiable(gold: str, kind: str) -> str | None:
    """Why no answer of `kind` can be compared with the reference `gold`; None if one can.

    Of kind exact only marks of a missing answer count, since any other text may be the answer; what a
    reasoning-gym reference must be is for the task's scorer to say.
    """
    if kind.startswith("reasoning_gym:"):
        return None
    words = _words(gold)
    if not words:
        return "the reference answer is empty"
    if words in _MISSING or (kind != "exact" and words in _MISSING_UNLESS_EXACT):
        return f"the reference {_quoted(gold)} says that there is no answer"
    if kind == "exact":
        return None
    if words in _PROOF:
        return f"the reference {_quoted(gold)} stands for a proof, which cannot be verified"
    if not _SAYS_SOMETHING.search(words):
        return f"the reference {_quoted(gold)} holds no number, letter or word"
    if _ELSEWHERE.fullmatch(words):
        return f"the reference {_quoted(gold)} points elsewhere or leaves the answer open"
    return _prose_problem(gold) if kind == "math" else None


def _prose_problem(gold: str) -> str | None:
    words = len(_WORD.findall(gold))
    if words < 3 or states_answer(gold):
        return None
    if _PROOF_MARKS.search(gold):
        return f"the reference {_quoted(gold)} is a proof, which cannot be verified"
    if words >= _MANY_WORDS and len(_SENTENCE.findall(gold)) >= _MANY_SENTENCES:
        return f"the reference {_quoted(gold)} is a text that states no final answer"
    return None


def _words(gold: str) -> str:
    """`gold` in lower case with single spaces, without markup and punctuation; "" if it has only braces."""
    folded = plain_characters(gold).casefold().strip()
    if len(folded) > 200:
        return folded
    folded = re.sub(r"\bn\.\s?a\b\.?", "n/a", folded)
    words = " ".join(_PUNCTUATION.sub(" ", folded).split())
    return words or re.sub(rf"\\(?:{LATEX_TEXT}|boxed|fbox)|[\s${{}}()\[\]\"']", "", folded)


def _quoted(gold: str) -> str:
    gold = " ".join(gold.split())
    return repr(gold if len(gold) <= 60 else gold[:40] + "..." + gold[-17:])

"""Expert trajectories: matched to a prompt, verified whatever their source claims, with provenance."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice

from hpt_core.config import ExpertSource
from hpt_core.data.demonstrations.eligibility import Candidate, Eligibility, Provenance, judge
from hpt_core.data.demonstrations.program_solutions import program_solution
from hpt_core.data.demonstrations.report import Ingested, IngestReport
from hpt_core.data.problems import prompt_id
from hpt_core.data.progress import watched
from hpt_core.data.reading.columns import MARKS
from hpt_core.data.reading.records import Reject, SourceRow
from hpt_core.data.reading.sources import read_rows
from hpt_core.errors import InputError
from hpt_core.protocols import Verifier
from hpt_core.types import Prompt, Verdict

BATCH = 256
"""Rows at a time: their responses are one call of the verifier."""


FIRST = 100
"""Rows of a source of which one has to be usable."""


def check(sources: Iterable[ExpertSource]) -> None:
    """Before anything is spent: raises InputError, a line for each source of which no row is usable."""
    told = {source.name: _unusable(source) for source in sources if source.kind != "program"}
    troubles = [f"expert source {name!r}: {trouble}" for name, trouble in told.items() if trouble]
    if troubles:
        raise InputError("params.yaml: " + "\n".join(troubles))


def _unusable(source: ExpertSource) -> str | None:
    rows = list(islice(read_rows(source), FIRST))
    if not rows:
        return f"{source.file or source.hub} has no rows; correct `file` or `hub`"
    bad = [row for row in rows if isinstance(row, Reject)]
    if len(bad) < len(rows):
        return None
    first = f"{bad[0].file}:{bad[0].line}: {bad[0].reason}: {bad[0].detail}"
    rest = f"; none of the first {len(rows)} rows is usable" if len(rows) > 1 else ""
    return f"{first}{rest}; correct `file`, `hub` or `columns`"


def ingest(
    source: ExpertSource, prompts: Iterable[Prompt], verifier: Verifier, admission: Eligibility
) -> Ingested:
    """The trajectories of `source` for `prompts`, each verified here.

    Raises InputError where the source cannot be read, or is not what its `content` in params.yaml says.
    """
    known = {prompt.prompt_id: prompt for prompt in prompts}
    rows = _program_rows(source, known.values()) if source.kind == "program" else read_rows(source)
    tally = IngestReport()
    results = _taken(watched(rows, f"experts {source.name}"), source, known, admission, tally)
    while batch := list(islice(results, BATCH)):
        verdicts = _verdicts(batch, verifier)
        for result in batch:
            if isinstance(result, Reject):
                tally.drop(result)
                continue
            verdict = next(verdicts)
            tally.judged(result.row, verdict)
            if trouble := judge(result.row, result.prompt, verdict):
                tally.drop(trouble)
            else:
                tally.keep(result)
    if source.content not in (None, tally.content):
        raise InputError(
            f"params.yaml: expert source {source.name!r} has changed under the same name: its rows hash to "
            f"{tally.content}, and `content` is {source.content}; restore the source, or correct `content`"
        )
    return tally.close(len(known), marks=not source.columns.keys().isdisjoint(MARKS))


def _taken(
    rows: Iterable[SourceRow | Reject],
    source: ExpertSource,
    known: Mapping[str, Prompt],
    admission: Eligibility,
    tally: IngestReport,
) -> Iterator[Candidate | Reject]:
    for row in rows:
        tally.see(row)
        yield row if isinstance(row, Reject) else _take(row, source, known, admission)


def _take(
    row: SourceRow, source: ExpertSource, known: Mapping[str, Prompt], admission: Eligibility
) -> Candidate | Reject:
    prompt = known.get(prompt_id(row.values["problem"]))
    if prompt is None:
        return row.reject("unknown_prompt", "no training prompt has this problem; add it to curate.train")
    if row.values.get("keep") is False:
        return row.reject("marked_wrong_by_source", f"{source.columns['keep']!r} is false")
    response = row.values["response"]
    for name in source.rewrite:
        response = REWRITES[name](response)
    row = replace(row, values=row.values | {"response": response})
    provenance = Provenance(source.kind, source.author, source.license, source.weight)
    return admission.admit(row, prompt, provenance)


def _program_rows(source: ExpertSource, prompts: Iterable[Prompt]) -> Iterator[SourceRow | Reject]:
    for number, prompt in enumerate(prompts, 1):
        record = {"prompt_id": prompt.prompt_id, "answer_kind": prompt.answer_kind, "problem": prompt.problem}
        row = SourceRow(source.name, "train.parquet", number, {"problem": prompt.problem}, record)
        response = program_solution(prompt)
        if response is None:
            yield row.reject(
                "no_writer",
                f"hpt_core.data.worked writes no solution of {prompt.answer_kind}",
            )
        else:
            yield replace(row, values=row.values | {"response": response})


def _verdicts(batch: Sequence[Candidate | Reject], verifier: Verifier) -> Iterator[Verdict]:
    """One for each candidate, in their order."""
    items = [
        (result.trajectory.response, result.prompt.answer, result.prompt.answer_kind)
        for result in batch
        if isinstance(result, Candidate)
    ]
    verdicts = verifier.verify(items)
    assert len(verdicts) == len(items), "a response went unjudged"
    return iter(verdicts)


_CALCULATION = re.compile(r"<<[^<>]*>>")
_ANSWER_LINE = re.compile(r"(?:####|A:)\s*\$?(?P<answer>\S.*?)\.?")


def gsm8k_rewrite(response: str) -> str:
    """GSM8K's mark-up as plain text: <<48/2=24>> goes, "#### 72" or "A: 72" becomes a sentence
    with a box. Without such a last line nothing is boxed, and the verifier decides."""
    lines = [line.rstrip() for line in _CALCULATION.sub("", response).strip().splitlines()]
    if lines and (marked := _ANSWER_LINE.fullmatch(lines[-1].strip())):
        lines[-1] = f"The answer is \\boxed{{{marked['answer']}}}."
    return "\n".join(lines)


REWRITES: dict[str, Callable[[str], str]] = {"gsm8k": gsm8k_rewrite}
"""Named clean-ups of a response, applied before it is verified."""

"""Ingestion of expert sources: each response is matched to a prompt, verified, and gets its provenance."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from types import MappingProxyType

from hpt_core.config import ExpertSource
from hpt_core.data.demonstrations.eligibility import Candidate, Eligibility, Provenance, verdict_reject
from hpt_core.data.demonstrations.program_rows import program_rows, rows_with_slips, with_response
from hpt_core.data.demonstrations.report import Ingested, IngestReport
from hpt_core.data.problems import GSM8K_MARKER, prompt_id
from hpt_core.data.progress import with_progress
from hpt_core.data.reading.records import Reject, SourceRow
from hpt_core.data.reading.sources import first_rows, read_rows, why_unusable
from hpt_core.errors import InputError
from hpt_core.protocols import Verifier
from hpt_core.thinking import with_thinking
from hpt_core.types import Prompt, Verdict

BATCH = 256
"""Rows whose responses are verified in one call."""


def check(sources: Iterable[ExpertSource]) -> None:
    """Check the sources before any work. Raises InputError, a line for each source without a usable row."""
    read = [source for source in sources if source.kind != "program"]
    faults = {source.name: _fault(source) for source in read}
    lines = [f"expert source {name!r}: {fault}" for name, fault in faults.items() if fault]
    if lines:
        raise InputError("params.yaml: " + "\n".join(lines))


def _fault(source: ExpertSource) -> str | None:
    try:
        return why_unusable(source, first_rows(source), {})
    except InputError as error:
        return str(error)


@dataclass(frozen=True)
class TrainingProblems:
    """The problems that a demonstration may be for."""

    prompts: Mapping[str, Prompt]
    """prompt_id -> prompt."""
    left_out: Mapping[str, str]
    """prompt_id -> why curation left the problem out."""

    def why_unknown(self, row: SourceRow) -> Reject:
        """The reject of a row whose problem is not in training."""
        if why := self.left_out.get(prompt_id(row.values["problem"])):
            return row.reject("left_out_by_curation", why)
        return row.reject("unknown_prompt", "no training prompt has this problem; add it to curate.train")


def ingest(
    source: ExpertSource,
    prompts: Iterable[Prompt],
    verifier: Verifier,
    eligibility: Eligibility,
    left_out: Mapping[str, str] = MappingProxyType({}),
    wrong: bool = False,
) -> Ingested:
    """The trajectories of `source` for `prompts`, all verified here, whatever the source claims.

    left_out: prompt_id -> why curation left the problem out. wrong: keep those that the verifier rejects, as
    wrong ones; a program then writes solutions with a slip as well.

    Raises InputError if the source cannot be read, or if `content` in params.yaml does not match its rows.
    """
    problems = TrainingProblems({prompt.prompt_id: prompt for prompt in prompts}, left_out)
    report = IngestReport()
    candidates = _candidates(
        with_progress(_rows(source, problems, wrong), f"experts {source.name}"),
        source,
        problems,
        eligibility,
        report,
    )
    while batch := list(islice(candidates, BATCH)):
        verdicts = _verdicts(batch, verifier)
        for result in batch:
            if isinstance(result, Reject):
                report.drop(result)
                continue
            verdict = next(verdicts)
            report.count_mark(result.row, verdict)
            if reject := verdict_reject(result.row, result.prompt, verdict):
                report.drop(reject)
                if wrong and verdict.error is None:
                    report.keep_wrong(result)
            else:
                report.keep(result)
    if source.content not in (None, report.content):
        raise InputError(
            f"params.yaml: expert source {source.name!r} has changed under the same name: its rows hash to "
            f"{report.content}, and `content` is {source.content}; restore the source, or correct `content`"
        )
    return report.close(len(problems.prompts), marks=source.has_marks)


def _rows(source: ExpertSource, problems: TrainingProblems, wrong: bool) -> Iterator[SourceRow | Reject]:
    prompts = problems.prompts.values()
    if source.kind != "program":
        return read_rows(source)
    return chain(program_rows(source, prompts), rows_with_slips(source, prompts) if wrong else ())


def _candidates(
    rows: Iterable[SourceRow | Reject],
    source: ExpertSource,
    problems: TrainingProblems,
    eligibility: Eligibility,
    report: IngestReport,
) -> Iterator[Candidate | Reject]:
    for row in rows:
        report.count_read(row)
        yield row if isinstance(row, Reject) else _candidate(row, source, problems, eligibility)


def _candidate(
    row: SourceRow, source: ExpertSource, problems: TrainingProblems, eligibility: Eligibility
) -> Candidate | Reject:
    prompt = problems.prompts.get(prompt_id(row.values["problem"]))
    if prompt is None:
        return problems.why_unknown(row)
    if row.values.get("keep") is False:
        return row.reject("marked_wrong_by_source", "`keep` is false")
    response = row.values["response"]
    for name in source.rewrite:
        response = REWRITES[name](response)
    author = row.values.get("author", source.author)
    provenance = Provenance(row.kind or source.kind, author, source.license, source.weight)
    return eligibility.check(with_response(row, response), prompt, provenance)


def _verdicts(batch: Sequence[Candidate | Reject], verifier: Verifier) -> Iterator[Verdict]:
    """One verdict for each candidate of the batch, in their order."""
    items = [
        (result.trajectory.response, result.prompt.answer, result.prompt.answer_kind)
        for result in batch
        if isinstance(result, Candidate)
    ]
    verdicts = verifier.verify(items)
    assert len(verdicts) == len(items), "the verifier skipped a response"
    return iter(verdicts)


_CALCULATION = re.compile(r"<<[^<>]*>>")
_ANSWER_LINE = re.compile(GSM8K_MARKER + r"\$?(?P<answer>\S.*?)\.?")


def gsm8k_rewrite(response: str) -> str:
    """GSM8K's mark-up as plain text: <<48/2=24>> is removed, and a last line "#### 72" or "A: 72" becomes a
    sentence with a box. A response without such a last line gets no box."""
    lines = [line.rstrip() for line in _CALCULATION.sub("", response).strip().splitlines()]
    if lines and (marked := _ANSWER_LINE.fullmatch(lines[-1].strip())):
        lines[-1] = f"The answer is \\boxed{{{marked['answer']}}}."
    return "\n".join(lines)


_THOUGHT = re.compile(r"\s*<\|begin_of_thought\|>(?P<thought>.*?)<\|end_of_thought\|>(?P<rest>.*)", re.DOTALL)
_SOLUTION_TAGS = re.compile(r"<\|(?:begin|end)_of_solution\|>")


def think_rewrite(response: str) -> str:
    """A response with the tags of OpenThoughts around its thoughts and its solution, with <think> in their
    place. Another response is returned as it is."""
    marked = _THOUGHT.fullmatch(response)
    if marked is None:
        return response
    return with_thinking(marked["thought"], _SOLUTION_TAGS.sub("", marked["rest"]).strip())


REWRITES: dict[str, Callable[[str], str]] = {"gsm8k": gsm8k_rewrite, "think": think_rewrite}
"""Name in `rewrite` -> function that rewrites a response before it is verified."""

"""What is wrong with the rows of a source, before a stage reads all of them.

The readers of the stages read the rows, from the top of each file. Tasks generate rows that fulfil the
contract, and data sets on the hub are read by `curate` and `experts` alone: a check needs no network.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from hpt_core.config import ExpertSource, Policy, PromptSource
from hpt_core.data.curation.filters import NOT_EMPTY, training_filters
from hpt_core.data.curation.read_prompts import read_prompts
from hpt_core.data.curation.report import CurationReport
from hpt_core.data.problems import prompt_id
from hpt_core.data.reading.records import Reject, SourceRow
from hpt_core.data.reading.sources import read_rows
from hpt_core.errors import InputError
from hpt_core.types import Prompt
from hpt_core.verifier import check_kind
from pipelines.params import Params
from pipelines.stage.check import Check
from pipelines.stage.model_files import token_counter

ROWS = 2000
"""Rows of a source that are read."""
SHOWN = 3
"""Kinds of faults of a source that are named, each by its first row."""


def check_prompts(params: Params, group: str, key: str, source: PromptSource) -> Check:
    """A source of prompts of `group`, which stands under `key` in params.yaml."""
    what = f"{key}: {source.name}"
    try:
        check_kind(source.verifier_kind)
        if not _is_read(source):
            return Check(what, _elsewhere(source))
        kept, rejects = _curated(params, group, source)
    except InputError as error:
        return Check(what, "unreadable", errors=[str(error)])
    faults = _first_of_each(rejects)
    if not kept:
        return Check(
            what, _counts(0, len(rejects)), errors=faults or [f"{source.file} has no rows"], usable=0
        )
    faults += _too_long(params, [prompt.problem for prompt in kept], "rollout.max_prompt_tokens")
    return Check(what, _counts(len(kept), len(kept) + len(rejects)), warnings=faults, usable=len(kept))


def check_experts(params: Params, source: ExpertSource, known: dict[str, str] | None) -> Check:
    """An expert source; `known`: see `known_problems`."""
    what = f"experts.sources: {source.name}"
    warnings = unlisted_license(params, source)
    licensed = not warnings
    if not _is_read(source):
        return Check(what, _elsewhere(source), warnings=warnings, usable=None if licensed else 0)
    try:
        rows = list(islice(read_rows(source), ROWS))
    except InputError as error:
        return Check(what, "unreadable", errors=[str(error)], usable=0)
    rejects = [row for row in rows if isinstance(row, Reject)]
    readable = [row for row in rows if not isinstance(row, Reject)]
    if not readable:
        faults = _first_of_each(rejects) or [f"{source.file} has no rows"]
        return Check(what, _counts(0, len(rows)), errors=faults, usable=0)
    unknown = [] if known is None else _without_prompt(readable, known)
    long = _too_long(params, [row.values["response"] for row in readable], "experts.max_tokens")
    usable = len(readable) - len(unknown) if licensed else 0
    return Check(
        what,
        _counts(usable, len(rows)),
        warnings=[*warnings, *_first_of_each(rejects + unknown), *long],
        usable=usable,
    )


def check_warm_start(what: str, policy: Policy | None) -> Iterator[Check]:
    """The sources of a policy that is built here, where one row that cannot be used is an error."""
    for source in policy.warm_start.sources if policy and policy.warm_start else []:
        place = f"{what}.warm_start.sources: {source.name}"
        try:
            check_kind(source.verifier_kind)
            rows = list(islice(read_rows(source), ROWS)) if _is_read(source) else []
        except InputError as error:
            yield Check(place, "unreadable", errors=[str(error)])
            continue
        faults = _first_of_each([row for row in rows if isinstance(row, Reject)])
        if faults or _is_read(source):
            yield Check(place, _counts(len(rows), len(rows)), errors=faults)


def known_problems(params: Params) -> dict[str, str] | None:
    """prompt_id of each problem of curate.train -> why it is left out, "" if it is not.

    None where they are not needed, or not all can be read here.
    """
    if not any(_is_read(source) for source in params.experts.sources):
        return None
    if any(source.hub or (source.file and not _is_read(source)) for source in params.curate.train):
        return None
    known: dict[str, str] = {}
    try:
        for source in params.curate.train:
            rejects: list[Reject] = []
            kept = [prompt.prompt_id for prompt in _prompts_of(params, "train", source, rejects)]
            known = {reject.prompt_id: f"{reject.reason}: {reject.detail}" for reject in rejects} | known
            known |= dict.fromkeys(kept, "")
    except InputError:
        return None  # The source of prompts has the error.
    return known


def unlisted_license(params: Params, source: ExpertSource) -> list[str]:
    """Why none of the rows is used, where the license of the source is not among experts.licenses."""
    if source.license in params.experts.licenses:
        return []
    return [
        f"license {source.license!r} is not in experts.licenses {params.experts.licenses}, so none of its "
        "rows is used; add it there, or correct it"
    ]


def _is_read(source: PromptSource | ExpertSource) -> bool:
    return source.file is not None and "://" not in source.file


def _elsewhere(source: PromptSource | ExpertSource) -> str:
    if isinstance(source, ExpertSource) and source.kind == "program":
        return "written by a program"
    return "generated" if source.hub is None and source.file is None else "read when its stage runs"


def _curated(params: Params, group: str, source: PromptSource) -> tuple[list[Prompt], list[Reject]]:
    """Of the first rows of a source, the prompts that pass the rules of one row, and the rejects."""
    rejects: list[Reject] = []
    kept: list[Prompt] = []
    for prompt in _prompts_of(params, group, source, rejects):
        kept.append(prompt)
        if len(kept) + len(rejects) >= ROWS:
            break
    return kept, rejects


def _prompts_of(params: Params, group: str, source: PromptSource, rejects: list[Reject]) -> Iterator[Prompt]:
    """The prompts of a source that pass the rules of one row; the others go to `rejects`."""
    filters = training_filters(params.curate) if group == "train" else NOT_EMPTY
    report = CurationReport(lambda group, reject: rejects.append(reject))
    return (prompt for _, prompt in read_prompts(group, [source], filters, report, lambda row: None))


def _without_prompt(rows: Sequence[SourceRow], known: Mapping[str, str]) -> list[Reject]:
    """The rows for problems that curation has not, or leaves out by their text alone."""
    rejects = []
    for row in rows:
        why = known.get(prompt_id(row.values["problem"]))
        if why is None:
            rejects.append(row.reject("unknown_prompt", "no source of curate.train has this problem"))
        elif why:
            rejects.append(row.reject("left_out_by_curation", why))
    return rejects


def _too_long(params: Params, texts: Sequence[str], key: str) -> list[str]:
    """A warning where texts have more tokens than the limit `key`: the share of those that are left out."""
    count = token_counter(params.base)
    section, _, name = key.partition(".")
    limit = getattr(getattr(params, section), name)
    lengths = [count(text) for text in texts] if count else []
    beyond = [length for length in lengths if length > limit]
    if not beyond:
        return []
    share = f"{len(beyond)} of {len(lengths)} ({len(beyond) / len(lengths):.0%})"
    return [
        f"{share} have more than {key} = {limit} tokens and would be left out; the longest has {max(beyond)}"
    ]


def _counts(usable: int, read: int) -> str:
    return f"{usable} of the first {read} rows" if read >= ROWS else f"{usable} of {read} rows"


def _first_of_each(rejects: Sequence[Reject]) -> list[str]:
    """For each reason, the number of rows and the first one."""
    counts = Counter(reject.reason for reject in rejects)
    first = {reject.reason: reject for reject in reversed(rejects)}
    return [
        f"{first[reason].file}:{first[reason].line}: {reason}: {first[reason].detail}"
        + (f" (and {count - 1} more rows)" if count > 1 else "")
        for reason, count in counts.most_common(SHOWN)
    ]

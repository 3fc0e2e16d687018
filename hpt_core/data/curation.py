"""Raw rows -> prompts to train on, to steer by (dev) and to evaluate on, no problem in two of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hpt_core.config import PromptSource
from hpt_core.data.problems import final_number, normalise, overlap_key, prompt_id, same_answer
from hpt_core.data.progress import watched
from hpt_core.data.sources import Reject, Row, read_rows
from hpt_core.errors import InputError
from hpt_core.seeds import derive
from hpt_core.types import Prompt
from hpt_core.verifier import check_kind, gold_problem

__all__ = ["Curated", "check_disjoint", "curate", "normalise", "prompt_id"]


@dataclass(frozen=True)
class Curated:
    """The prompts of a run, all that was left out, and the counts that add up."""

    train: list[Prompt]
    dev: list[Prompt]
    benchmarks: dict[str, list[Prompt]]
    quarantine: list[Reject]
    report: dict[str, Any]


@dataclass
class _Batch:
    """The rows of some sources: those still in, in order, and those left out."""

    entries: list[tuple[Row, Prompt]] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    read: Counter[str] = field(default_factory=Counter)
    seen: set[str] = field(default_factory=set)
    """Overlap keys of every problem that was read, whatever became of its row."""

    def drop(self, verdicts: Mapping[int, tuple[str, str]]) -> None:
        """Leave out the entries at these positions, each for its (reason, detail)."""
        self.rejects += [self.entries[at][0].reject(*verdicts[at]) for at in sorted(verdicts)]
        self.entries = [entry for at, entry in enumerate(self.entries) if at not in verdicts]

    def counts(self) -> dict[str, Any]:
        """By source: in = kept + dropped, the dropped by reason."""
        kept = Counter(row.source for row, _ in self.entries)
        report = {}
        for name, read in self.read.items():
            dropped = Counter(reject.reason for reject in self.rejects if reject.source == name)
            assert read == kept[name] + dropped.total(), f"source {name}: a row went uncounted"
            report[name] = {"in": read, "kept": kept[name], "dropped": dict(sorted(dropped.items()))}
        return report


def curate(
    train: Sequence[PromptSource],
    benchmarks: Mapping[str, Sequence[PromptSource]],
    dev_size: int,
    max_problem_chars: int,
    seed: int,
) -> Curated:
    """Read, check, deduplicate and split.

    A problem that stands in a benchmark is never trained on, dev is drawn by a seeded hash of
    prompt_id, and every row that is left out is in `quarantine` with its place and reason. Raises
    InputError where a source cannot be read, too little is left, or the splits overlap.
    """
    held_out = {
        name: _read(f"benchmark {name}", sources, max_problem_chars) for name, sources in benchmarks.items()
    }
    for batch in held_out.values():
        batch.drop(_repeats(batch.entries))
    ours = _read("training prompts", train, max_problem_chars)
    owners = {key: name for name, batch in held_out.items() for key in batch.seen}
    ours.drop(
        {
            at: ("in_benchmark", f"stands in benchmark {owners[key]!r}")
            for at, (_, prompt) in enumerate(ours.entries)
            if (key := overlap_key(prompt.problem)) in owners
        }
    )
    ours.drop(_repeats(ours.entries))
    chosen = _draw_dev(ours, dev_size, seed)
    prompts = [prompt for _, prompt in ours.entries]
    curated = Curated(
        train=[prompt for prompt in prompts if prompt.prompt_id not in chosen],
        dev=[prompt for prompt in prompts if prompt.prompt_id in chosen],
        benchmarks={name: [prompt for _, prompt in batch.entries] for name, batch in held_out.items()},
        quarantine=[reject for batch in (ours, *held_out.values()) for reject in batch.rejects],
        report={
            "sources": {"train": ours.counts()} | {f"benchmark:{n}": b.counts() for n, b in held_out.items()}
        },
    )
    _check_sizes(curated, train)
    curated.report["checks"] = {"disjoint": check_disjoint(curated.train, curated.dev, curated.benchmarks)}
    curated.report["sizes"] = {
        "train": len(curated.train),
        "dev": len(curated.dev),
        "quarantine": len(curated.quarantine),
        "benchmarks": {name: len(rows) for name, rows in curated.benchmarks.items()},
    }
    return curated


def check_disjoint(
    train: Iterable[Prompt], dev: Iterable[Prompt], benchmarks: Mapping[str, Iterable[Prompt]]
) -> bool:
    """True, or InputError naming a problem that two of training, dev and evaluation share.

    Compares overlap keys as well as ids, so that a change of case is no way around it.
    """
    splits = {"train": train, "dev": dev, "benchmarks": [p for rows in benchmarks.values() for p in rows]}
    owner: dict[str, str] = {}
    for split, prompts in splits.items():
        for prompt in prompts:
            for key in (prompt.prompt_id, overlap_key(prompt.problem)):
                if owner.setdefault(key, split) != split:
                    raise InputError(
                        f"prompt {prompt.prompt_id} stands in {owner[key]} and in {split} "
                        f"({prompt.problem[:80]!r}, source {prompt.source!r}); remove it from one of the "
                        f"two sources in params.yaml (curate.train, curate.benchmarks)"
                    )
    return True


def _read(what: str, sources: Sequence[PromptSource], max_problem_chars: int) -> _Batch:
    batch = _Batch()
    for source in watched(sources, what):
        if source.name in batch.read:
            raise InputError(f"params.yaml: {what} has two sources named {source.name!r}; rename one")
        kind = source.answer_kind or f"reasoning_gym:{source.reasoning_gym}"
        try:
            check_kind(kind)
        except InputError as error:
            raise InputError(f"params.yaml: {what}, source {source.name!r}: {error}") from error
        batch.read[source.name] = 0
        for row in read_rows(source):
            batch.read[source.name] += 1
            if isinstance(row, Row):
                batch.seen.add(overlap_key(row.values["problem"]))
                row = _admit(batch, row, source, kind, max_problem_chars) or row
            if isinstance(row, Reject):
                batch.rejects.append(row)
    return batch


def _admit(batch: _Batch, row: Row, source: PromptSource, kind: str, max_problem_chars: int) -> Reject | None:
    """Take the row in as a prompt, or say what is wrong with it."""
    problem, answer = row.values["problem"].strip(), row.values["answer"].strip()
    for name, text in (("problem", problem), ("answer", answer)):
        if not text:
            return row.reject(f"empty_{name}", f"the {name} is empty")
    if len(problem) > max_problem_chars:
        detail = f"{len(problem)} characters; curate.max_problem_chars is {max_problem_chars}"
        return row.reject("problem_too_long", detail)
    if kind == "gsm8k":
        number = final_number(answer)
        if number is None:
            return row.reject("unreadable_answer", "the last line is no '#### number', 'A: number' or number")
        answer = number
    trouble = gold_problem(answer, kind)
    if trouble and source.reasoning_gym:
        answer, trouble = _with_metadata(row, kind)
    if trouble:
        return row.reject("unreadable_answer", trouble)
    prompt = Prompt(prompt_id(problem), problem, answer, kind, source.name, source.license)
    batch.entries.append((row, prompt))
    return None


def _with_metadata(row: Row, kind: str) -> tuple[str, str | None]:
    """The reference as JSON, for tasks whose scorer reads more than the answer; and its trouble."""
    try:
        entry = {"answer": row.record["answer"], "metadata": row.record["metadata"]}
        gold = json.dumps(entry, sort_keys=True)
    except (TypeError, ValueError) as error:
        return "", f"its metadata does not fit into JSON ({error}); choose another task"
    return gold, gold_problem(gold, kind)


def _repeats(entries: Sequence[tuple[Row, Prompt]]) -> dict[int, tuple[str, str]]:
    """Positions of repeated problems: all but the first, or all of them where the answers differ."""
    places: dict[str, list[int]] = {}
    for at, (_, prompt) in enumerate(entries):
        places.setdefault(prompt.prompt_id, []).append(at)
    verdicts: dict[int, tuple[str, str]] = {}
    for first, *rest in places.values():
        row, prompt = entries[first]
        odd = next((at for at in rest if not same_answer(entries[at][1].answer, prompt.answer)), None)
        if odd is None:
            verdicts |= dict.fromkeys(rest, ("duplicate", f"same problem as {row.where}"))
            continue
        told = ", ".join(f"{entries[at][1].answer!r} at {entries[at][0].where}" for at in (first, odd))
        verdicts |= dict.fromkeys((first, *rest), ("conflicting_answers", f"the same problem has {told}"))
    return verdicts


def _draw_dev(batch: _Batch, size: int, seed: int) -> set[str]:
    """Ids of the dev prompts; near-repeats of them leave the batch, lest training see them."""
    prompts = [prompt for _, prompt in batch.entries]
    drawn = sorted(prompts, key=lambda p: (derive(seed, "dev", p.prompt_id), p.prompt_id))[:size]
    ids = {prompt.prompt_id for prompt in drawn}
    owners: dict[str, str] = {}
    for prompt in drawn:
        owners.setdefault(overlap_key(prompt.problem), prompt.prompt_id)
    near = {
        at: ("in_dev", f"differs from dev prompt {owners[key]} in case or punctuation only")
        for at, prompt in enumerate(prompts)
        if prompt.prompt_id not in ids and (key := overlap_key(prompt.problem)) in owners
    }
    batch.drop(near)
    return ids


def _check_sizes(curated: Curated, train: Sequence[PromptSource]) -> None:
    counts = curated.report["sources"]
    if not curated.train:
        names = [source.name for source in train]
        raise InputError(
            f"no prompt is left to train on from {names} beside {len(curated.dev)} for dev: "
            f"{counts['train']}; give more rows, or lower curate.dev_size"
        )
    for name, prompts in curated.benchmarks.items():
        if not prompts:
            raise InputError(
                f"benchmark {name!r} has no usable prompt: {counts[f'benchmark:{name}']}; correct "
                f"curate.benchmarks.{name} in params.yaml"
            )

"""`python -m tests.bench.ingest [--rows N] [--model FOLDER]`: the time of ingestion without verification.

A substitute for the verifier compares the last box. Everything else, from the files to the tables, is the
code of the stage `experts`. Half of the trajectories are text with GSM8K's mark-up; half are rows of four
samples with a score each, one in fifty of which is false. One in eight is wrong, one in 32 repeats another.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from hpt_core import tables
from hpt_core.config import ExpertSource, OptimizerConfig, PromptSource, WarmStart
from hpt_core.data.demonstrations.eligibility import Eligibility
from hpt_core.data.demonstrations.ingest import check, ingest
from hpt_core.data.problems import final_number, prompt_id
from hpt_core.policy.chat import Chat
from hpt_core.policy.warm_start import build_policy
from hpt_core.types import Prompt, Verdict
from tests.bench.table import show

SAMPLES = 4
"""Responses of a row that has several, and responses to a prompt in the plain file."""


class LastBox:
    """A verifier that takes no time: it compares the last box."""

    def verify(self, items: Sequence[tuple[str, str, str]]) -> list[Verdict]:
        answers = [response.rpartition("\\boxed{")[2].partition("}")[0] for response, _, _ in items]
        return [Verdict(answer == gold, answer) for answer, (_, gold, _) in zip(answers, items, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.ingest", description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000, help="trajectories (default 100,000)")
    parser.add_argument(
        "--model", type=Path, help="folder with a tokenizer; default: a tokenizer of characters"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prompts = [_prompt(i) for i in range(max(1, options.rows // (2 * SAMPLES)))]
        sources = _write(folder, prompts, options.rows)
        chat = Chat(_tokenizer(options.model, prompts))
        before, start, cpu_start = _peak(), time.perf_counter(), time.process_time()
        reports, tokens = _ingest(folder / "out", sources, prompts, chat)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu_start
    read, kept = (sum(report[key] for report in reports) for key in ("in", "kept"))
    dropped = {name: report["dropped"] for name, report in zip(("plain", "samples"), reports, strict=True)}
    columns = ["trajectories", "took", "CPU", "MiB before", "peak MiB", "kept", "tokens each", "required"]
    row = [f"{read:,}", f"{seconds:.1f} s", f"{cpu:.1f} s", f"{before:.0f}", f"{_peak():.0f}"]
    required = "60 s" if read == 100_000 else ""
    show("ingestion without verification", columns, [[*row, f"{kept:,}", f"{tokens / kept:.0f}", required]])
    print(json.dumps({"dropped": dropped, "contradicts": reports[1]["contradicts"]}))


def _ingest(
    out: Path, sources: list[ExpertSource], prompts: list[Prompt], chat: Chat
) -> tuple[list[dict[str, Any]], int]:
    """The reports of the sources, and the number of tokens that were kept."""
    check(sources)
    eligibility = Eligibility(lambda text: len(chat.response(text)), ["mit"], 4096)
    ingested = [ingest(source, prompts, LastBox(), eligibility) for source in sources]
    accepted = [trajectory for part in ingested for trajectory in part.trajectories]
    rejects = [reject.quarantine("experts") for part in ingested for reject in part.rejects]
    tables.write(out / "experts.parquet", map(tables.as_row, accepted), tables.EXPERTS)
    tables.write(out / "quarantine.parquet", rejects, tables.QUARANTINE)
    return [part.report for part in ingested], sum(t.n_tokens for t in accepted)


def _prompt(number: int) -> Prompt:
    problem = (
        f"Shop {number} sells {number % 97 + 3} boxes of pens a day. How many in {number % 11 + 2} days?"
    )
    answer = str((number % 97 + 3) * (number % 11 + 2))
    return Prompt(prompt_id(problem), problem, answer, "gsm8k", "shops", "mit")


def _write(folder: Path, prompts: list[Prompt], rows: int) -> list[ExpertSource]:
    """Write half of the trajectories to each of two files; returns their sources."""
    draw = random.Random(0)
    plain, several = folder / "plain.jsonl", folder / "several.jsonl"
    with plain.open("w") as file:
        for row in range(rows // 2):
            prompt = prompts[row % len(prompts)]
            file.write(json.dumps({"problem": prompt.problem, "response": _solution(draw, prompt)}) + "\n")
    with several.open("w") as file:
        for row in range((rows - rows // 2) // SAMPLES):
            prompt = prompts[row % len(prompts)]
            responses = [_solution(draw, prompt) for _ in range(SAMPLES)]
            if row % 4 == 0:
                responses[1] = responses[0]
            marks = [(final_number(text) == prompt.answer) != (draw.random() < 0.02) for text in responses]
            file.write(
                json.dumps({"problem": prompt.problem, "generations": responses, "score": marks}) + "\n"
            )
    common: dict[str, Any] = {"license": "mit", "rewrite": ["gsm8k"]}
    return [
        ExpertSource(name="plain", kind="human", file=str(plain), **common),
        ExpertSource(
            name="several",
            kind="teacher",
            file=str(several),
            columns={"response": "generations", "score": "score"},
            **common,
        ),
    ]


def _solution(draw: random.Random, prompt: Prompt) -> str:
    """Three to eight steps and a last line, as in GSM8K."""
    steps = list(_steps(draw))
    answer = prompt.answer if draw.random() < 7 / 8 else f"{prompt.answer}1"
    return "\n".join([*steps, f"#### {answer}"])


def _steps(draw: random.Random) -> Iterator[str]:
    for _ in range(draw.randint(3, 8)):
        a, b = draw.randint(2, 900), draw.randint(2, 90)
        thing = draw.choice(("boxes", "pens", "crates", "customers", "dollars"))
        yield f"The shop sells {a} {thing} and then {b} more, so {a}+{b}=<<{a}+{b}={a + b}>>{a + b} {thing}."


def _tokenizer(folder: Path | None, prompts: list[Prompt]) -> PreTrainedTokenizerBase:
    if folder is not None:
        return AutoTokenizer.from_pretrained(folder)
    source = PromptSource(name="s", reasoning_gym="chain_sum", size=1, seed=1)
    optimizer = OptimizerConfig(lr=0.01)
    shape = WarmStart(
        hidden_size=32,
        layers=1,
        heads=2,
        max_positions=256,
        steps=1,
        batch_size=1,
        optimizer=optimizer,
        sources=[source],
    )
    draw = random.Random(1)
    texts = [text for prompt in prompts[:200] for text in (prompt.problem, _solution(draw, prompt))]
    return build_policy(shape, texts, seed=0).tokenizer


def _peak() -> float:
    """Peak of resident memory so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


if __name__ == "__main__":
    main()

"""The handwritten parts of docs/configuration.md."""

from __future__ import annotations

from pathlib import Path
from typing import Final

DOCUMENT: Final = Path("docs/configuration.md")
COMMAND: Final = f"python -m pipelines.params.reference > {DOCUMENT}"

INTRODUCTION: Final = f"""\
# Configuration

<!-- Generated: edit the schema (pipelines/params, hpt_core/config) and run `{COMMAND}`. -->

`params.yaml` holds every setting of a run. A stage runs again when a key that it reads changes, as `dvc.yaml`
says. An optional key that is missing takes the default below; a required key has no default, and in an
optional subsection it is required where the subsection is given. An unknown or ill-typed key stops every
command before it does anything, with file, line, key and remedy:

    params.yaml:25: train.stepz: unknown key; correct its spelling or remove it ({DOCUMENT} ...)

## Three ways to set a key

**A recipe** is a file `conf/recipe/NAME.yaml`. Hydra merges it into the shared values of `conf/config.yaml`,
and the result replaces `params.yaml`, edits by hand included. `hpt recipe embedded` brings the default back.

    hpt recipe gsm8k gsm8k=raw/data/gsm8k            # write params.yaml
    hpt run --recipe gsm8k gsm8k=raw/data/gsm8k      # write it, then run
    hpt run --recipe embedded train.steps=20         # with another value for one key

Some recipes have inputs that are no keys of `params.yaml`, such as `gsm8k=FOLDER` above; an error names each
missing one. The first line of `params.yaml` names the recipe and its overrides, and MLflow shows it as the
tag `recipe`.

**An override** without a recipe changes single keys of `params.yaml` and keeps everything else, comments
included:

    hpt run seed=18 train.optimizer.lr=1e-5          # keys that are in params.yaml
    hpt run +train.lora.rank=8                       # a key that is not there yet
    hpt run '~arms.mixed'                            # remove a key

The syntax is [Hydra's](https://hydra.cc/docs/advanced/override_grammar/basic/), also for lists and maps.
Quote what the shell would interpret.

**An edit by hand** is as good; the next command checks it. `hpt recipe` discards it, so keep what you want to
use again as a recipe of your own. It starts from another one and holds only what differs:

    # @package _global_
    # What this recipe is for.
    defaults:
      - embedded
      - _self_

    train:
      steps: 100  # A comment here replaces the description that params.yaml shows behind the key.
"""

PROMPT_SOURCES: Final = """\
    - {name: mine, file: raw/data/prompts.jsonl, answer_kind: math, license: MIT,
       columns: {problem: question, answer: solution}}
    - {name: gsm8k, hub: openai/gsm8k, subset: main, answer_kind: gsm8k, license: MIT,
       columns: {problem: question}}
    - {name: sums, reasoning_gym: chain_sum, size: 100, seed: 1, options: {min_terms: 2, max_terms: 3}}
    - {name: aime24, benchmark: aime24}
"""
EXPERT_SOURCES: Final = """\
    - {name: annotators, kind: human, author: our team, license: MIT, file: raw/data/solutions.jsonl,
       columns: {problem: question, response: solution}}
    - {name: big-model, kind: teacher, author: MODEL@REVISION, license: MIT, file: raw/data/samples.jsonl,
       columns: {problem: question, response: sample.text, keep: sample.correct}}
    - {name: worked, kind: program}
"""
COLUMNS: Final = """\
    columns: {problem: question, response: {read: steps, join: "\\n\\n"}}
    columns: {problem: question, response: [{read: people, kind: human}, {read: gpt4, author: gpt-4}]}
"""
PHASES: Final = """\
    phases:
      - {algorithm: sft, until: plateau}
      - {algorithm: dr_grpo, until: {steps: 200, flops: 1.0e+15}, optimizer: {lr: 1.0e-4}, warmup_steps: 10}
      - {algorithm: hpt}
"""
TURNS: Final = """\
    turns: {role: speaker, text: utterance, user: [student], assistant: [tutor], thinking: keep}
"""

"""A params.yaml with little in it, and the error that a changed one gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpt_core.errors import InputError
from pipelines.params import load_params

TEXT = """\
seed: 3
threads: 1
curate:
  train:
    - {name: a, reasoning_gym: chain_sum, size: 9, seed: 1}
    - name: b
      reasoning_gym: chain_sum
      size: 9
      seed: 2
  dev_size: 1
  max_problem_chars: 100
  benchmarks: {held: [{name: s, reasoning_gym: chain_sum, size: 1, seed: 2}]}
base: {model: models/base}
teacher: null
rollout:
  group_size: 4
  max_prompt_tokens: 40
  max_new_tokens: 8
experts: {max_tokens: 40, licenses: [mit], sources: [{name: worked, kind: program}]}
arms:
  program:
    mix: {program: 1.0}
train:
  steps: 7
  prompts_per_step: 4
  optimizer: {lr: 0.003}
evaluate: {samples: 2}
verifier: {}
tracking: {experiment: e, registered_model: m}
schedule: {cron: "0 2 * * *", timezone: UTC}
"""


def error_of(tmp_path: Path, text: str) -> str:
    """The message of the error that loading `text` raises, without the folder."""
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_params(path)
    return str(caught.value).replace(f"{path}:", "params.yaml:")

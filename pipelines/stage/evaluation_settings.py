"""What a score was measured with, and what published scores on the same benchmark were."""

from __future__ import annotations

import logging
from collections.abc import Sequence, Set
from importlib.metadata import version
from pathlib import Path
from typing import Any

import hpt_core.verifier
from hpt_core.config import BENCHMARKS as PUBLISHED
from hpt_core.evaluation import Settings
from hpt_core.fingerprint import json_hash
from hpt_core.types import Prompt
from hpt_core.verifier import installed_versions
from pipelines.params import Params

log = logging.getLogger(__name__)

VERIFIER_LIBRARIES = ("mpmath", "sympy", "reasoning-gym")
"""The distributions that decide verdicts beside the code of hpt_core/verifier."""


def settings(params: Params, benchmark: str, prompts: Sequence[Prompt]) -> Settings:
    """All that a score depends on beside the policy and the seed.

    The chat template is a part of the policy. The kernels of an engine, which round otherwise, do not count.
    """
    problems = sorted((p.prompt_id, p.problem, p.answer, p.answer_kind) for p in prompts)
    measured = {
        "k": params.samples[benchmark],
        "temperature": params.evaluate.temperature,
        "top_p": params.evaluate.top_p,
        "max_new_tokens": params.rollout.max_new_tokens,
        "max_prompt_tokens": params.rollout.max_prompt_tokens,
        "verifier": _verifier_version({prompt.answer_kind for prompt in prompts}),
        "timeout_s": params.verifier.timeout_s,
        "prompts": json_hash(problems),
    }
    return measured | {"hash": json_hash(measured)}


def published_settings(params: Params, benchmark: str) -> dict[str, Any]:
    """The settings of published results and whether ours are the same; {} for an unregistered benchmark."""
    config, sources = params.evaluate, params.curate.benchmarks[benchmark]
    ours = {"k": params.samples[benchmark], "temperature": config.temperature, "top_p": config.top_p}
    published = {
        name: {"k": entry.samples, "temperature": entry.temperature, "top_p": entry.top_p}
        for name, entry in PUBLISHED.items()
        if name in {source.benchmark for source in sources}
    }
    if not published:
        return {}
    for name, settings in published.items():
        if ours != settings:
            log.warning(
                "%s is sampled with %s, published results on %s with %s", benchmark, ours, name, settings
            )
    return {"published": published, "as_published": all(ours == settings for settings in published.values())}


def _verifier_version(kinds: Set[str]) -> str:
    """16 hex digits of the verifier's code, the versions of its libraries, and the packages of `kinds`."""
    folder = Path(hpt_core.verifier.__file__).parent
    code = [path.read_text("utf-8") for path in sorted(folder.rglob("*.py"))]
    libraries = [f"{name} {version(name)}" for name in VERIFIER_LIBRARIES]
    packages = [json_hash(entry) for entry in installed_versions(kinds).items()]
    return json_hash([*code, *libraries, *packages])

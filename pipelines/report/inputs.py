"""What a comparison was made from, in words: settings, models, data and licenses, from params.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hpt_core.config import Policy, TeacherConfig
from pipelines.params import Params
from pipelines.report.words import listed

if TYPE_CHECKING:
    # At run time they would import curation and verifier, on which no page depends.
    from hpt_core.data.curation.report import ReportFile
    from hpt_core.mutation.report import CountsEntry, RatesEntry

Mixes = Mapping[str, Mapping[str, float]]
"""arm -> kind of demonstration, or source/NAME -> its weight"""


@dataclass(frozen=True)
class Inputs:
    """The inputs of a comparison; all of it is the same for every run of the same inputs."""

    seed: int
    mixes: Mixes
    facts: Mapping[str, str]
    """Heading -> a few words."""
    kinds: Mapping[str, str]
    """Source of demonstrations -> who wrote them: human, teacher, program."""
    licenses: Mapping[str, str]
    """Source of demonstrations -> its license."""
    verifier: Mapping[str, tuple[str, str]]
    """Source of prompts -> wrong answers that the verifier accepts, and harmless rewrites that it rejects, of
    how many that were made from its reference answers."""


def describe(params: Params, prompts: ReportFile | None) -> Inputs:
    """The inputs of a run. prompts: data/prompts/report.json; None where there is none."""
    sources = params.experts.sources
    kinds = {source.name: ", ".join(sorted(source.kinds)) for source in sources}
    licenses = {source.name: source.license for source in sources}
    if params.teacher:
        kinds["teacher"], licenses["teacher"] = "teacher", params.teacher.license
    return Inputs(
        seed=params.seed,
        mixes={name: dict(arm.mix) for name, arm in params.arms.items()},
        facts=_facts(params, prompts),
        kinds=kinds,
        licenses=licenses,
        verifier=verifier_errors(prompts),
    )


def verifier_errors(prompts: ReportFile | None) -> dict[str, tuple[str, str]]:
    """`Inputs.verifier`, of the sources with answers that can be changed."""
    rates: Mapping[str, RatesEntry] = prompts.get("verifier", {}) if prompts else {}
    return {
        source: (_of(each["mutants"]), _of(each["rewrites"]))
        for source, each in rates.items()
        if each["mutants"]["made"] or each["rewrites"]["made"]
    }


def _of(counts: CountsEntry) -> str:
    return f"{sum(counts['wrong'].values())} of {sum(counts['made'].values())}"


def _facts(params: Params, prompts: ReportFile | None) -> dict[str, str]:
    train, rollout, evaluate = params.train, params.rollout, params.evaluate
    facts = {
        "Seed": str(params.seed),
        "Base model": _policy(params.base),
        "Teacher": _teacher(params.teacher),
        "Method": _method(params),
        "Training": f"{train.steps} steps, {train.prompts_per_step} prompts x {rollout.group_size} rollouts",
        "Optimizer": f"{train.optimizer.name}, learning rate {train.optimizer.lr:g}",
        "Responses": f"at most {rollout.max_new_tokens} tokens",
        "Evaluation": f"temperature {evaluate.temperature:g}, top_p {evaluate.top_p:g}",
    }
    if prompts:
        sizes = prompts["sizes"]
        facts["Prompts"] = f"{sizes['train']} to train on, {sizes['dev']} dev"
    of_teacher = {params.teacher.license} if params.teacher else set()
    of_demonstrations = sorted({source.license for source in params.experts.sources} | of_teacher)
    of_prompts = sorted({source.license for source in params.curate.train})
    facts["Licenses"] = f"prompts {listed(of_prompts)}; demonstrations {listed(of_demonstrations)}"
    return facts


def _policy(policy: Policy) -> str:
    if policy.model is not None:
        return policy.model + (f" @ {policy.revision}" if policy.revision else "")
    start = policy.warm_start
    assert start is not None
    return f"Llama built here, {start.layers} layers of {start.hidden_size}, {start.steps} steps"


def _teacher(teacher: TeacherConfig | None) -> str:
    if teacher is None:
        return "none"
    if teacher.policy is not None:
        return f"{_policy(teacher.policy)}; {teacher.samples} responses per prompt"
    assert teacher.endpoint is not None
    return f"{teacher.endpoint.model}, behind a server; {teacher.samples} responses per prompt"


def _method(params: Params) -> str:
    train = params.train
    if train.algorithm != "hpt":
        return train.algorithm
    gate = train.gate
    return f"hpt, gate {gate.kind}" + (f" at gamma {gate.gamma:g}" if gate.kind == "switch" else "")

"""Expert trajectories: the teacher that writes some, the sources of others, and the mix of each arm."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator, model_validator

from hpt_core.config.base import Config, Fraction, Positive, error_at
from hpt_core.config.curation import Script
from hpt_core.config.data import WRONG, Choice, ExpertSource, Keep
from hpt_core.config.endpoint import EndpointConfig
from hpt_core.config.policy import Policy, Sampling


class TeacherConfig(Config):
    """The model that writes teacher trajectories, and how it is sampled. Exactly one of `policy` and
    `endpoint` is given."""

    policy: Policy | None = None
    """A policy that is sampled here, with the keys of `base`."""
    endpoint: EndpointConfig | None = None
    """A model behind an OpenAI-compatible server: `vllm serve` or a hosted one."""
    license: str
    """License of the teacher's responses; it must be in `experts.licenses`."""
    samples: Positive
    """Responses per prompt."""
    temperature: Annotated[float, Field(gt=0)] = 0.7
    """Sampling temperature."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Probability mass that nucleus sampling keeps; 1 keeps all."""
    max_new_tokens: Positive
    """Longest response, in tokens."""
    rewrite: str | None = None
    """Text that asks the teacher to rewrite a program's solution in its own words; null: it solves the
    problem. {problem} and {solution} in it are filled in. Problems without a program's solution are not
    asked. The teacher must follow instructions; with the policy of `base` the student rewrites."""
    keep: Keep = "shortest"
    """Correct responses to a prompt that become trajectories: shortest keeps one, all keeps each. With all,
    each arm chooses by `arms.NAME.choose`."""
    budget_samples: Positive | None = None
    """Responses requested at most; null: no limit. The budget goes to the prompts that the starting policy
    solves least often."""
    budget_tokens: Positive | None = None
    """Generated tokens requested at most; null: no limit. Tokens are counted as the server reports them, or
    as max_new_tokens per response where it reports none. What a host bills for failed attempts comes on top.
    The budget goes to the prompts that the starting policy solves least often."""

    @property
    def sampling(self) -> Sampling:
        """How one response is sampled."""
        return Sampling(temperature=self.temperature, top_p=self.top_p, max_new_tokens=self.max_new_tokens)

    @field_validator("rewrite")
    @classmethod
    def _asks_with_both(cls, text: str | None) -> str | None:
        if text is not None and not ("{problem}" in text and "{solution}" in text):
            raise error_at((), "the text needs {problem} and {solution}, which are filled in")
        return text

    @model_validator(mode="after")
    def _one_teacher(self) -> TeacherConfig:
        if (self.policy is None) == (self.endpoint is None):
            raise error_at((), "give exactly one of policy (sampled here) and endpoint (a server)")
        return self

    @model_validator(mode="after")
    def _budget_covers_one_prompt(self) -> TeacherConfig:
        costs = {"budget_samples": self.samples, "budget_tokens": self.samples * self.max_new_tokens}
        for name, needed in costs.items():
            budget = getattr(self, name)
            if budget is not None and budget < needed:
                raise error_at((name,), f"{budget} is not enough for one prompt, which may take {needed}")
        return self


class ExpertsConfig(Config):
    """Expert trajectories: their sources, and which of them may be trained on."""

    sources: list[ExpertSource]
    """Sources of expert trajectories, one per line. Correct responses of `teacher` are added to them."""
    licenses: list[str]
    """Licenses that may be trained on; trajectories under others are quarantined."""
    max_tokens: Positive
    """Longest trajectory, in tokens; a longer one is quarantined."""
    scripts: Annotated[list[Script], Field(min_length=1)] | None = None
    """Scripts that 90% of a response's letters must be in, such as [Latin]; null: any."""
    base_logp: bool = False
    """Compute the log-probability of each trajectory under the starting policy. Arms with `choose: likeliest`
    need it."""
    distance: Positive | None = 64
    """Trajectories of each source whose distance from the starting policy is measured; null: none. Each
    costs a forward pass, and sixteen of a source a backward pass (docs/data.md)."""

    wrong: bool = False
    """Keep trajectories that the verifier rejects as well, for studies with `arms.NAME.wrong_share`. Their
    source is NAME-wrong and `verified` is false, no other arm gets one, and a project with one promotes
    nothing. For a program, solutions with a slip are written."""

    @model_validator(mode="after")
    def _source_names_are_unique(self) -> ExpertsConfig:
        # The name identifies the source of a trajectory and its dataset in MLflow.
        seen: set[str] = set()
        for i, source in enumerate(self.sources):
            if source.name in seen:
                raise error_at(("sources", i, "name"), f"two sources are named {source.name!r}; rename one")
            seen |= {source.name, source.name + WRONG} if self.wrong else {source.name}
        return self


class ArmConfig(Config):
    """One arm: the mix of experts that it learns from."""

    mix: Annotated[dict[str, Fraction], Field(min_length=1)]
    """Expert kind (human, teacher, program) or source/NAME -> weight. Where a prompt has trajectories of
    several entries, one entry is drawn in proportion to its weight."""
    choose: Choice = "shortest"
    """Choice among several trajectories of a prompt. shortest, random and likeliest choose within the entry
    that was drawn: the fewest tokens, a draw by the sources' weights, or the highest mean log-probability
    under the starting policy (which needs `experts.base_logp`). preferred takes the entry with the largest
    weight that the prompt has, and its shortest trajectory."""
    coverage: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the training prompts that may have a demonstration, drawn by `seed`, the same for every arm.
    The others are left to RL."""
    shared: list[str] = Field(default_factory=list)
    """Entries, as in a mix, of each of which a prompt must have a trajectory to get a demonstration. Arms
    with the same list have demonstrations for the same prompts."""
    per_prompt: Positive = 1
    """Demonstrations of a prompt at most; the others follow by the same choice among those that are left.
    Training takes them in turn, one at each visit of the prompt."""
    match_length: str | None = None
    """An entry, as in a mix, to whose mean length the demonstrations are brought; null: none. The longest are
    left out until their mean is not above that of the entry's own for the prompts that may have one."""
    max_demonstrations: Positive | None = None
    """Demonstrations at most, drawn by `seed`; null: any number."""
    max_tokens: Positive | None = None
    """Tokens of all demonstrations together at most, drawn by `seed`; null: any number."""
    wrong_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the demonstrations that are replaced by wrong ones, for studies of what that does. They are
    drawn by `seed` and have the same prompt and mix. It needs `experts.wrong`."""

    @model_validator(mode="after")
    def _weights_decide(self) -> ArmConfig:
        weights = sorted(weight for weight in self.mix.values() if weight > 0)
        if not weights:
            raise error_at(("mix",), "every weight is 0, so it has no demonstrations; raise one")
        if self.choose == "preferred" and len(set(weights)) < len(weights):
            message = (
                f"choose: preferred goes by weight, and of {weights} some are equal; make them different"
            )
            raise error_at(("mix",), message)
        return self

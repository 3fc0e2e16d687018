"""base_logp: the mean log-probability of the response's tokens under the starting policy."""

from __future__ import annotations

import pytest
import torch

from hpt_core.data.problems import prompt_id
from hpt_core.errors import InputError
from hpt_core.policy.chat import Chat
from hpt_core.policy.model import LoadedPolicy
from hpt_core.types import Prompt, Trajectory
from pipelines.stage import base_logp
from pipelines.stage.base_logp import with_base_logp

PROMPTS = [Prompt(prompt_id(p), p, "7", "exact", "s", "mit") for p in ("3 + 4 =", "Spell: stop")]


def written(prompt: Prompt, response: str) -> Trajectory:
    name = f"{prompt.prompt_id}{len(response)}"
    return Trajectory(name, prompt.prompt_id, response, "human", "s", "a", "mit", "{}", True, 5, "h")


TRAJECTORIES = [
    written(PROMPTS[0], "7"),
    written(PROMPTS[1], "pots as ever"),
    written(PROMPTS[0], "3 + 4 = 7"),
]


def expected(policy: LoadedPolicy, prompt: Prompt, response: str) -> float:
    """One sequence at a time, from the logits."""
    chat = Chat(policy.tokenizer)
    before, tokens = chat.prompt(prompt.problem), chat.response(response)
    with torch.no_grad():
        logits = policy.model(torch.tensor([[*before, *tokens]])).logits[0, len(before) - 1 : -1]
    logp = logits.double().log_softmax(-1).gather(1, torch.tensor(tokens)[:, None])
    return float(logp.mean())


@pytest.mark.parametrize("kind", ["policy", "absolute"])
@pytest.mark.parametrize("budget", [1, 60, 16384])
def test_mean_log_probability(
    kind: str, budget: int, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy: LoadedPolicy = request.getfixturevalue(kind)
    monkeypatch.setattr(base_logp, "MICROBATCH_TOKENS", budget)
    results = with_base_logp(policy, TRAJECTORIES, PROMPTS)
    assert [t.trajectory_id for t in results] == [t.trajectory_id for t in TRAJECTORIES]
    by_id = {prompt.prompt_id: prompt for prompt in PROMPTS}
    for trajectory in results:
        logp = expected(policy, by_id[trajectory.prompt_id], trajectory.response)
        assert trajectory.base_logp == pytest.approx(logp, abs=2e-6) and logp < -0.1


def test_a_trajectory_longer_than_the_model_s_positions_is_an_error(policy: LoadedPolicy) -> None:
    with pytest.raises(InputError, match=r"has 128 positions; lower experts\.max_tokens"):
        with_base_logp(policy, [*TRAJECTORIES, written(PROMPTS[1], "pots" * 40)], PROMPTS)


def test_no_trajectories(policy: LoadedPolicy) -> None:
    assert with_base_logp(policy, [], PROMPTS) == []

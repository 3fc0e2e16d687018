"""base_logp: the mean log-probability of a trajectory as the starting policy itself has it."""

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


GIVEN = [
    written(PROMPTS[0], "7"),
    written(PROMPTS[1], "pots as ever"),
    written(PROMPTS[0], "3 + 4 = 7"),
]


def expected(policy: LoadedPolicy, prompt: Prompt, response: str) -> float:
    """One sequence at a time, from the logits."""
    chat = Chat(policy.tokenizer)
    asked, said = chat.prompt(prompt.problem), chat.response(response)
    with torch.no_grad():
        logits = policy.model(torch.tensor([[*asked, *said]])).logits[0, len(asked) - 1 : -1]
    logp = logits.double().log_softmax(-1).gather(1, torch.tensor(said)[:, None])
    return float(logp.mean())


@pytest.mark.parametrize("kind", ["policy", "absolute"])
@pytest.mark.parametrize("budget", [1, 60, 16384])
def test_mean_log_probability(
    kind: str, budget: int, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy: LoadedPolicy = request.getfixturevalue(kind)
    monkeypatch.setattr(base_logp, "MICROBATCH_TOKENS", budget)
    found = with_base_logp(policy, GIVEN, PROMPTS)
    assert [t.trajectory_id for t in found] == [t.trajectory_id for t in GIVEN]
    by_id = {prompt.prompt_id: prompt for prompt in PROMPTS}
    for one in found:
        logp = expected(policy, by_id[one.prompt_id], one.response)
        assert one.base_logp == pytest.approx(logp, abs=2e-6) and logp < -0.1


def test_a_trajectory_that_the_model_has_no_room_for(policy: LoadedPolicy) -> None:
    with pytest.raises(InputError, match=r"has 128 positions; lower experts\.max_tokens"):
        with_base_logp(policy, [*GIVEN, written(PROMPTS[1], "pots" * 40)], PROMPTS)


def test_nothing_to_measure(policy: LoadedPolicy) -> None:
    assert with_base_logp(policy, [], PROMPTS) == []

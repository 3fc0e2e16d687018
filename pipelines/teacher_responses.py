"""Stage `teacher_responses`: the teacher's responses to the training prompts, each with a verdict.

It is a stage of its own so that a further source of trajectories, or another filter of them, does not sample
the teacher again. Without a teacher it writes empty tables.
"""

from __future__ import annotations

from pathlib import Path

from hpt_core import tables
from hpt_core.policy.chat import Chat
from hpt_core.policy.model import load_policy
from hpt_core.verifier import check_kind
from pipelines.params import Params
from pipelines.paths import TEACHER_FOLDER, checkpoints
from pipelines.stage.generation import build_verifier
from pipelines.stage.launch import launch
from pipelines.stage.teacher.files import write_samples
from pipelines.stage.teacher.sampling import TeacherInputs, sample_teacher

INPUTS = TeacherInputs()
SHARDS = checkpoints("experts@teacher")
"""The name that earlier versions had, whose log may hold responses that are paid for."""


def run(params: Params, inputs: TeacherInputs = INPUTS, out: Path = TEACHER_FOLDER) -> None:
    """Write the responses to `out`.

    They are kept in SHARDS until the outputs are complete; the log of a server's responses, beside that
    folder, stays. If `out` is another folder than the project's, both are in `out`. Raises EngineError where
    the teacher fails or answers no prompt, InputError where it cannot be used.
    """
    if params.teacher is None:
        write_samples(None, out)
        return
    for kind in {prompt.answer_kind for prompt in tables.read_prompts(inputs.train)}:
        check_kind(kind)
    chat = Chat(load_policy(inputs.base).tokenizer)
    folder = SHARDS if out == TEACHER_FOLDER else out / ".teacher"
    with build_verifier(params) as verifier:
        samples, shards = sample_teacher(params, params.teacher, inputs, chat, folder, verifier)
    write_samples(samples, out)
    shards.discard()


def main() -> None:
    """Entry point of `python -m pipelines.teacher_responses`."""
    launch("teacher_responses", run)


if __name__ == "__main__":
    main()

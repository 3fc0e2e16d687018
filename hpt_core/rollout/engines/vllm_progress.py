"""How far vLLM has come with the responses that it was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hpt_core.protocols import Progress


@contextmanager
def followed(engine: Any, progress: Progress, asked: int) -> Iterator[None]:
    """Call `progress` after each step of an `LLMEngine`, which is one forward pass, with `asked` requests.

    vLLM's own progress bar moves only where a response is finished, which may take long.
    """
    step, finished = engine.step, 0

    def reporting_step() -> Any:
        nonlocal finished
        outputs = step()
        finished += sum(output.finished for output in outputs)
        progress(finished, asked)
        return outputs

    engine.step = reporting_step
    try:
        yield
    finally:
        engine.step = step

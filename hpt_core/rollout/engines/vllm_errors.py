"""What a user is told of an error inside vLLM: what it was, and what helps against that."""

from __future__ import annotations

from collections.abc import Iterator

from hpt_core.errors import EngineError, one_line

LONGEST = 300
"""Characters of vLLM's own message: it may list all the names that it knows."""
KEPT = "what was sampled before is kept: run it again"
MEMORY = (
    "memory was short: lower rollout.slots, or change rollout.vllm.memory (a GPU's share) or "
    "rollout.vllm.cpu_cache_gib"
)
ADAPTERS = "vLLM cannot add adapters to this model while it computes: set rollout.vllm.lora: false"
OTHER = "vLLM cannot run this model so: set rollout.engine: hf, or take a version of vLLM that can"
SHORT_OF_MEMORY = ("out of memory", "no available memory", "not enough memory", "can't allocate", "kv cache")


def engine_error(event: str, error: Exception) -> EngineError:
    """The error about `event`, with the first cause of `error` and the remedy for it, on one line."""
    causes = [one_line(cause, LONGEST) for cause in _chain(error)]
    short = any(sign in cause.lower() for cause in causes for sign in SHORT_OF_MEMORY)
    said = causes[0] if causes[-1] == causes[0] else f"{causes[0]}, because of {causes[-1]}"
    remedy = ADAPTERS if any("lora" in cause.lower() for cause in causes) else OTHER
    return EngineError(f"vLLM {event} ({said}); {KEPT}; {MEMORY if short else remedy}")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, what caused it, and so on."""
    while error is not None:
        yield error
        error = error.__cause__

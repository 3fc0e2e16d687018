"""The mutation check: error rates of the verifier on reference answers that were changed on purpose."""

from __future__ import annotations

from hpt_core.mutation.check import ErrorRates, error_rates

__all__ = ["ErrorRates", "error_rates"]

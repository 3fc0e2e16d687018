"""Typed parameters: frozen, unknown keys refused. Imports no torch, so that reading them is cheap."""

from hpt_core.config.base import Config, Fraction, Positive, PositiveFloat
from hpt_core.config.data import ExpertSource, PromptSource
from hpt_core.config.policy import (
    EvaluateConfig,
    OptimizerConfig,
    Policy,
    RolloutConfig,
    Sampling,
    VerifierConfig,
    WarmStart,
)
from hpt_core.config.training import (
    AlgorithmName,
    GateConfig,
    HintConfig,
    KLConfig,
    LoraConfig,
    MixSchedule,
    TrainConfig,
    ValueConfig,
)

__all__ = [
    "AlgorithmName",
    "Config",
    "EvaluateConfig",
    "ExpertSource",
    "Fraction",
    "GateConfig",
    "HintConfig",
    "KLConfig",
    "LoraConfig",
    "MixSchedule",
    "OptimizerConfig",
    "Policy",
    "Positive",
    "PositiveFloat",
    "PromptSource",
    "RolloutConfig",
    "Sampling",
    "TrainConfig",
    "ValueConfig",
    "VerifierConfig",
    "WarmStart",
]

"""Typed, frozen parameters; unknown keys are refused. Imports no torch, so that reading them is cheap."""

from hpt_core.config.base import Config, Fraction, Positive, PositiveFloat
from hpt_core.config.benchmarks import BENCHMARKS, Benchmark
from hpt_core.config.columns import Column, Response
from hpt_core.config.curation import CurateConfig, DecontaminationConfig, Script
from hpt_core.config.data import Choice, ExpertSource, Keep, PromptSource
from hpt_core.config.endpoint import EndpointConfig
from hpt_core.config.estimator import GateConfig, HintConfig, KLConfig, MixSchedule, ValueConfig
from hpt_core.config.experts import ArmConfig, ExpertsConfig, TeacherConfig
from hpt_core.config.methods import (
    AlgorithmName,
    DynamicSamplingConfig,
    ImportanceConfig,
    OverlongConfig,
    SequenceMaskConfig,
)
from hpt_core.config.phases import (
    BudgetConfig,
    HealthConfig,
    MethodConfig,
    PhaseConfig,
    PlateauConfig,
    UntilConfig,
)
from hpt_core.config.policy import (
    EvaluateConfig,
    OptimizerConfig,
    Policy,
    RolloutConfig,
    Sampling,
    VerifierConfig,
    VLLMConfig,
    WarmStart,
)
from hpt_core.config.training import SERVED_RANKS, LoraConfig, TrainConfig, served_adapters
from hpt_core.config.turns import Turns

__all__ = [
    "BENCHMARKS",
    "SERVED_RANKS",
    "AlgorithmName",
    "ArmConfig",
    "Benchmark",
    "BudgetConfig",
    "Choice",
    "Column",
    "Config",
    "CurateConfig",
    "DecontaminationConfig",
    "DynamicSamplingConfig",
    "EndpointConfig",
    "EvaluateConfig",
    "ExpertSource",
    "ExpertsConfig",
    "Fraction",
    "GateConfig",
    "HealthConfig",
    "HintConfig",
    "ImportanceConfig",
    "KLConfig",
    "Keep",
    "LoraConfig",
    "MethodConfig",
    "MixSchedule",
    "OptimizerConfig",
    "OverlongConfig",
    "PhaseConfig",
    "PlateauConfig",
    "Policy",
    "Positive",
    "PositiveFloat",
    "PromptSource",
    "Response",
    "RolloutConfig",
    "Sampling",
    "Script",
    "SequenceMaskConfig",
    "TeacherConfig",
    "TrainConfig",
    "Turns",
    "UntilConfig",
    "VLLMConfig",
    "ValueConfig",
    "VerifierConfig",
    "WarmStart",
    "served_adapters",
]

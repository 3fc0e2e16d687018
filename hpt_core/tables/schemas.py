"""The columns of the parquet tables that stages pass to each other."""

from __future__ import annotations

import pyarrow as pa


def _schema(nullable: tuple[str, ...] = (), **columns: pa.DataType) -> pa.Schema:
    return pa.schema([pa.field(name, kind, nullable=name in nullable) for name, kind in columns.items()])


def _list_of(kind: pa.DataType) -> pa.DataType:
    return pa.list_(pa.field("element", kind, nullable=False))


TEXT, INT, REAL, FLAG = pa.string(), pa.int64(), pa.float64(), pa.bool_()

PROMPTS = _schema(prompt_id=TEXT, problem=TEXT, answer=TEXT, answer_kind=TEXT, source=TEXT, license=TEXT)
BENCHMARKS = PROMPTS.append(pa.field("benchmark", TEXT, nullable=False))
LEFT_OUT = _schema(prompt_id=TEXT, reason=TEXT, detail=TEXT)
"""Problems of rows that curation did not give to training, and why; another row may have done so."""
EXPERTS = _schema(
    nullable=("base_logp",),
    trajectory_id=TEXT,
    prompt_id=TEXT,
    response=TEXT,
    kind=TEXT,
    source=TEXT,
    author=TEXT,
    license=TEXT,
    sampling=TEXT,
    verified=FLAG,
    n_tokens=INT,
    sha256=TEXT,
    weight=REAL,
    base_logp=REAL,
)
DEMONSTRATIONS = pa.schema([column for column in EXPERTS if column.name not in ("weight", "base_logp")])
"""The demonstrations of an arm, without the columns by which it chose them: another weight of a source trains
only the arms that choose other rows by it."""
ROLLOUTS = _schema(
    nullable=("reward",),
    prompt_id=TEXT,
    sample=INT,
    step=INT,
    response=TEXT,
    token_ids=_list_of(pa.int32()),
    logprobs=_list_of(pa.float32()),
    reward=REAL,
    finish_reason=TEXT,
    policy=TEXT,
)
TRAINING_ROLLOUTS = ROLLOUTS.append(pa.field("trained", FLAG, nullable=False))
"""The rollouts of training; trained: the rollout had a gradient in an update that the optimizer took."""
WAITING_ROLLOUTS = _schema(
    nullable=("reward",),
    **{column.name: column.type for column in ROLLOUTS if column.name != "logprobs"},
    # As the engine gave them, so that a resumed run trains on the same numbers.
    logprobs=_list_of(REAL),
    over_limit=FLAG,
)
"""The rollouts in a checkpoint that later steps train on (`rollout.lag`)."""
TEACHER_RESPONSES = _schema(
    nullable=("extracted", "no_response", "no_verdict"),
    prompt_id=TEXT,
    sample=INT,
    response=TEXT,
    finish_reason=TEXT,
    n_tokens=INT,
    extracted=TEXT,
    correct=FLAG,
    no_response=TEXT,
    no_verdict=TEXT,
)
"""Teacher responses; no_response and no_verdict: why there is no response or verdict."""
PASS_RATES = _schema(prompt_id=TEXT, samples=INT, solved=INT, pass_rate=REAL)
GATE = _schema(
    nullable=("pass_rate", "trajectory_id", "kind", "source"),
    step=INT,
    prompt_id=TEXT,
    pass_rate=REAL,
    route=TEXT,
    trajectory_id=TEXT,
    kind=TEXT,
    source=TEXT,
    trained=FLAG,
)


EVALUATION = _schema(
    nullable=("extracted",),
    benchmark=TEXT,
    prompt_id=TEXT,
    source=TEXT,
    sample=INT,
    response=TEXT,
    extracted=TEXT,
    correct=FLAG,
    finish_reason=TEXT,
    n_tokens=INT,
)
UNFINISHED_EVALUATION = EVALUATION.append(pa.field("no_verdict", TEXT))
"""EVALUATION while the stage runs; no_verdict: why there is no verdict yet."""
QUARANTINE = _schema(stage=TEXT, source=TEXT, file=TEXT, line=INT, reason=TEXT, detail=TEXT, row=TEXT)

"""The relations that sections of params.yaml must keep to each other.

Each is a function that raises for the key that breaks it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from hpt_core.config import ExpertSource, PromptSource
from hpt_core.config.base import error_at
from hpt_core.config.data import SOURCE, TO_FILL_IN
from hpt_core.config.names import file_name_fault, same_but_for_case
from pipelines.params import scale_relations as scale
from pipelines.params.sections import FLOW_POOLS
from pipelines.paths import INBOX_FOLDERS, RESERVED_NAMES

if TYPE_CHECKING:
    from pipelines.params.schema import Params


def every_benchmark_has_samples(params: Params) -> None:
    samples, benchmarks = params.evaluate.samples, list(params.curate.benchmarks)
    key = ("evaluate", "samples")
    if isinstance(samples, dict):
        for name in samples:
            if name not in benchmarks:
                message = f"no such benchmark: curate.benchmarks has {benchmarks}; remove it"
                raise error_at((*key, name), message)
        if missing := [name for name in benchmarks if name not in samples]:
            raise error_at(key, f"no number for {missing}; add one for each, or give one number for all")
    elif samples is None:
        for name in benchmarks:
            params.published_samples(name)


def promotion_names_benchmarks(params: Params) -> None:
    benchmarks, outside = list(params.curate.benchmarks), params.promotion.out_of_distribution
    for key in ("benchmarks", "out_of_distribution"):
        for i, name in enumerate(getattr(params.promotion, key) or []):
            if name not in benchmarks:
                raise error_at(
                    ("promotion", key, i),
                    f"no benchmark {name!r}: curate.benchmarks has {benchmarks}; correct or remove it",
                )
    if not params.promotion_benchmarks:
        raise error_at(
            ("promotion", "out_of_distribution"), "no benchmark is left to be better on; remove one"
        )
    if both := sorted(set(params.promotion_benchmarks) & set(outside)):
        raise error_at(("promotion", "benchmarks"), f"{both} is out of distribution as well; keep it in one")


def gate_has_weights_at_every_pass_rate(params: Params) -> None:
    for at, method in params.train.located:
        try:
            method.gate.check(params.rollout.group_size)
        except ValueError as error:
            raise error_at(
                ("train", *at, "gate"),
                f"{error} of rollout.group_size {params.rollout.group_size}; correct the formula",
            ) from None


def overlong_buffer_is_within_the_response(params: Params) -> None:
    longest = params.rollout.max_new_tokens
    for at, method in params.train.located:
        if (overlong := method.overlong) is not None and overlong.buffer > longest:
            raise error_at(
                ("train", *at, "overlong", "buffer"),
                f"{overlong.buffer} tokens are more than rollout.max_new_tokens, {longest}; lower it",
            )


def sources_are_filled_in(params: Params) -> None:
    """`hpt inspect` writes TO_FILL_IN for what rows do not say; nothing may be trained under it."""
    groups: list[tuple[tuple[str | int, ...], Sequence[PromptSource | ExpertSource]]] = [
        (("curate", "train"), params.curate.train),
        *((("curate", "benchmarks", name), each) for name, each in params.curate.benchmarks.items()),
        (("curate", "decontamination", "against"), params.curate.decontamination.against),
        (("experts", "sources"), params.experts.sources),
    ]
    for place, sources in groups:
        for i, source in enumerate(sources):
            for key in ("license", "author", "revision"):
                if getattr(source, key, None) == TO_FILL_IN:
                    message = f"fill in the {key} of source {source.name!r}, or write unknown"
                    raise error_at((*place, i, key), message)


def no_source_is_named_teacher(params: Params) -> None:
    for i, source in enumerate(params.experts.sources):
        if params.teacher and source.name == "teacher":
            raise error_at(
                ("experts", "sources", i, "name"),
                "'teacher' is the source of what `teacher` writes; rename this one, or set teacher: null",
            )


def arms_have_sources(params: Params) -> None:
    sources = [(kind, source.name) for source in params.experts.sources for kind in sorted(source.kinds)]
    sources += [("teacher", "teacher")] if params.teacher else []
    mix_entries = sorted({entry for kind, name in sources for entry in (kind, f"{SOURCE}{name}")})
    for name, arm in params.arms.items():
        if missing := sorted(set(arm.mix) - set(mix_entries)):
            raise error_at(
                ("arms", name, "mix", missing[0]),
                f"nothing gives {missing}: experts.sources and teacher give {mix_entries}; add a "
                "source, or drop the entry from the mix",
            )
        named = {"shared": arm.shared, "match_length": [arm.match_length] if arm.match_length else []}
        for key, entries in named.items():
            if missing := sorted(set(entries) - set(mix_entries)):
                raise error_at(("arms", name, key), f"nothing gives {missing}; choose among {mix_entries}")


def wrong_trajectories_are_kept(params: Params) -> None:
    for name, arm in params.arms.items():
        if arm.wrong_share and not params.experts.wrong:
            raise error_at(
                ("arms", name, "wrong_share"),
                "the stage experts keeps wrong trajectories on request only; set experts.wrong: true",
            )


def inbox_folders_are_not_sources(params: Params) -> None:
    for i, source in enumerate(params.experts.sources if params.inbox else []):
        if source.name in INBOX_FOLDERS:
            message = f"{source.name!r} is a folder of the inbox; give the source another name"
            raise error_at(("experts", "sources", i, "name"), message)


def likeliest_has_log_probabilities(params: Params) -> None:
    for name, arm in params.arms.items():
        if arm.choose == "likeliest" and not params.experts.base_logp:
            raise error_at(
                ("arms", name, "choose"),
                "likeliest needs log-probabilities, which the stage experts computes on request; set "
                "experts.base_logp: true",
            )


def arm_names_are_file_names(params: Params) -> None:
    for name in params.arms:
        if name in RESERVED_NAMES:
            raise error_at(("arms", name), f"models/{name} is not an arm's; give the arm another name")
        # Files and DVC stages have this name, and DVC reads a dot as a path into params.yaml.
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            raise error_at(("arms", name), "an arm's name has letters, digits, _ and - only; rename it")


def names_are_file_names(params: Params) -> None:
    for place, names in (
        (("arms",), list(params.arms)),
        (("curate", "benchmarks"), list(params.curate.benchmarks)),
    ):
        for name in names:
            if fault := file_name_fault(name):
                raise error_at((*place, name), fault)
        if pair := same_but_for_case(names):
            raise error_at((*place, pair[1]), f"{pair[0]} is the same file name on some systems; rename it")


def pools_are_of_stages_alone(params: Params) -> None:
    for key, pool in params.pools.items():
        if pool in FLOW_POOLS:
            raise error_at(("pools", key), f"{pool} is the pool of the flow itself; name another pool")
        # Prefect's names of pools and deployments take no more than this everywhere.
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", pool):
            raise error_at(("pools", key), "a pool's name has letters, digits, _, . and - only; rename it")


RELATIONS: tuple[Callable[[Params], None], ...] = (
    every_benchmark_has_samples,
    promotion_names_benchmarks,
    gate_has_weights_at_every_pass_rate,
    overlong_buffer_is_within_the_response,
    scale.ranks_are_whole_engines,
    scale.ranks_are_whole_contexts,
    scale.bfloat16_is_gathered_where_all_compute_in_it,
    scale.replicas_hold_whole_copies,
    scale.served_adapters_are_trained,
    sources_are_filled_in,
    no_source_is_named_teacher,
    arms_have_sources,
    inbox_folders_are_not_sources,
    likeliest_has_log_probabilities,
    wrong_trajectories_are_kept,
    arm_names_are_file_names,
    names_are_file_names,
    pools_are_of_stages_alone,
)
"""In the order in which they are checked; the first that is broken is reported."""

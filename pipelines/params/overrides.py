"""What a user may have meant by a key that params.yaml does not have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from types import UnionType
from typing import Any, Union, get_args, get_origin

from hpt_core.config import Config


def unknown_key(override: str, schema: type[Config], values: Mapping[str, Any]) -> str | None:
    """What to do about `override`, KEY=VALUE, whose key is not in `values`; None where it is.

    schema: knows the keys that may be added.
    """
    key, equals, value = override.partition("=")
    if not equals or key.startswith(("+", "~")) or key in (present := dict.fromkeys(_keys(values))):
        return None
    known = list(dict.fromkeys([*_fields(schema), *present]))
    if key in known:
        return f"{key} is not in params.yaml yet; add it with +{override}"
    ends = [each for each in known if each.rpartition(".")[2] == key.rpartition(".")[2]]
    close = (ends if len(ends) == 1 else []) or get_close_matches(key, known, n=1)
    meant = f"did you mean {close[0]}={value}? " if close else ""
    return f"there is no key {key!r}; {meant}docs/configuration.md lists every key"


def _keys(values: Any, prefix: str = "") -> Iterator[str]:
    """Dotted keys of nested maps."""
    for name, value in values.items() if isinstance(values, Mapping) else ():
        yield f"{prefix}{name}"
        yield from _keys(value, f"{prefix}{name}.")


def _fields(schema: type[Config], prefix: str = "") -> Iterator[str]:
    """Dotted keys of the sections of a schema; those of lists and maps have no fixed names."""
    for name, field in schema.model_fields.items():
        yield f"{prefix}{name}"
        for kind in _sections(field.annotation):
            yield from _fields(kind, f"{prefix}{name}.")


def _sections(annotation: Any) -> Iterator[type[Config]]:
    if isinstance(annotation, type) and issubclass(annotation, Config):
        yield annotation
    elif get_origin(annotation) in (Union, UnionType):
        for each in get_args(annotation):
            yield from _sections(each)

"""Check dtype and shape of each tensor field when a test makes a Tokens, RowInfo, Padded or TokenLogprobs.

The fields declare both with jaxtyping (`logp: Float[Tensor, "B T"]`). Production code never evaluates these
annotations, so it needs no jaxtyping, and `hpt_core.types` loads without torch.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, get_type_hints

import jaxtyping
import pytest
from torch import Tensor

from hpt_core.policy.batching import Padded
from hpt_core.policy.logprobs import TokenLogprobs
from hpt_core.types import RowInfo, Tokens

NAMES = {"Tensor": Tensor} | {
    name: getattr(jaxtyping, name) for name in ("Bool", "Float", "Float32", "Int64")
}
"""The names in annotations that the checked modules import under TYPE_CHECKING only."""


@contextmanager
def checked_shapes() -> Iterator[None]:
    """Within the context, an instance with a wrong dtype or shape raises TypeError."""
    with pytest.MonkeyPatch.context() as patch:
        for cls in (Tokens, RowInfo, Padded):
            patch.setattr(cls, "__init__", _checked(cls.__init__, cls))
        # A NamedTuple gets its fields in __new__.
        new = _checked(TokenLogprobs.__new__, TokenLogprobs)
        patch.setattr(TokenLogprobs, "__new__", staticmethod(new))
        yield


def _checked(make: Callable[..., Any], cls: type) -> Callable[..., Any]:
    """`make`, which is __init__ or __new__ of `cls`, followed by a check of the fields."""
    hints = get_type_hints(cls, localns=NAMES)

    @functools.wraps(make)
    def checked(*args: Any, **kwargs: Any) -> Any:
        created = make(*args, **kwargs)
        check_fields(args[0] if created is None else created, hints)
        return created

    return checked


def check_fields(instance: object, hints: Mapping[str, Any]) -> None:
    """Raise TypeError for the first field that does not fit; B or T is the same size in all fields."""
    with jaxtyping.jaxtyped("context"):
        for name, hint in hints.items():
            value = getattr(instance, name)
            if not isinstance(value, hint):
                actual = f"{value.dtype} {list(value.shape)}" if isinstance(value, Tensor) else repr(value)
                expected = getattr(hint, "__name__", str(hint))
                raise TypeError(f"{type(instance).__name__}.{name} is {actual} and not {expected}")

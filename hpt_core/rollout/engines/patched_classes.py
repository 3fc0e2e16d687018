"""Keeps vLLM's changes of transformers' classes to vLLM's own model.

For a family without code of its own (SmolLM3, OLMo 2, GPT-NeoX) vLLM runs transformers' class, and first
changes that class in this process so that its calls may be compiled. The trainer's model, and any that is
loaded later, is of the same class and would run vLLM's code.
"""

from __future__ import annotations

from typing import Any

from torch import nn


class Classes:
    """The classes of a model's modules as they are now."""

    def __init__(self, model: nn.Module) -> None:
        self.before = {
            kind: (kind.__bases__, dict(vars(kind)))
            for kind in {type(module) for module in model.modules()}
            if not kind.__module__.startswith("torch.")
        }

    def restore(self, changed_model: nn.Module | None) -> None:
        """Undo all changes since; the modules of `changed_model` keep them, in a subclass of their own."""
        for kind, (bases, attributes) in self.before.items():
            if kind.__bases__ == bases:
                continue
            changes = {
                name: value
                for name, value in vars(kind).items()
                if name not in attributes or attributes[name] is not value
            }
            added = tuple(base for base in kind.__bases__ if base not in bases)
            kind.__bases__ = bases
            for name in changes:
                if name in attributes:
                    setattr(kind, name, attributes[name])
                else:
                    delattr(kind, name)
            _move(changed_model, kind, added, changes)


def _move(model: nn.Module | None, kind: type, bases: tuple[type, ...], attributes: dict[str, Any]) -> None:
    """Give the modules of class `kind` in `model` a subclass with these bases and attributes."""
    modules = [] if model is None else [module for module in model.modules() if type(module) is kind]
    if modules:
        own = type(kind.__name__, (kind, *bases), attributes | {"__module__": kind.__module__})
        for module in modules:
            module.__class__ = own
